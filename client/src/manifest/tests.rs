#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::types::ManifestRef;

fn digest() -> String {
    "ab".repeat(32)
}

fn image() -> ImageReference {
    parse(&format!("localhost:5000/hello@sha256:{}", digest())).unwrap()
}

fn parse(text: &str) -> Result<ImageReference, ImageError> {
    text.parse()
}

#[test]
fn manifest_bytes_are_pinned() {
    let mut manifest = JobManifest::new(parse(&format!("localhost:5000/hello@sha256:{}", digest())).unwrap());
    let bytes = manifest.to_bytes().unwrap();
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        format!(
            r#"{{"version":1,"image":"localhost:5000/hello@sha256:{}","network":false}}"#,
            digest()
        )
    );
    manifest.command = vec!["/hello".into()];
    manifest.env.insert("NAME".into(), "you".into());
    manifest.network = NetworkAccess::On;
    let bytes = manifest.to_bytes().unwrap();
    assert_eq!(
        String::from_utf8(bytes.clone()).unwrap(),
        format!(
            r#"{{"version":1,"image":"localhost:5000/hello@sha256:{}","command":["/hello"],"env":{{"NAME":"you"}},"network":true}}"#,
            digest()
        )
    );
    assert_eq!(JobManifest::from_bytes(&bytes).unwrap(), manifest);
    manifest.capture_stdout = false;
    let silent = manifest.to_bytes().unwrap();
    assert!(silent.ends_with(br#""network":true,"capture_stdout":false}"#));
    assert_eq!(JobManifest::from_bytes(&silent).unwrap(), manifest);
    assert_eq!(ManifestRef::of(&bytes).length_bytes as usize, bytes.len());
}

#[test]
fn manifest_hash_is_blake2_256() {
    // The hash of nothing, as everybody computes it.
    assert_eq!(
        hex::encode(ManifestRef::of(b"").hash),
        "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"
    );
}

#[test]
fn manifest_fails_when_it_is_not_valid() {
    let image = format!("localhost:5000/hello@sha256:{}", digest());
    for text in [
        String::new(),
        "{}".into(),
        "[]".into(),
        r#"{"image":"busybox"}"#.into(),
        format!(r#"{{"image":"{image}","privileged":true}}"#),
        format!(r#"{{"image":"{image}","capture_stdout":1}}"#),
        format!(r#"{{"image":"{image}","command":"sh"}}"#),
        format!(r#"{{"image":"{image}","env":{{"A":1}}}}"#),
        format!(r#"{{"image":"{image}"}} trailing"#),
    ] {
        let error = JobManifest::from_bytes(text.as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::NotValid { .. }), "{text}: {error}");
    }
    for name in ["", "A=B", "A\\u0000"] {
        let text = format!(r#"{{"image":"{image}","env":{{"{name}":"1"}}}}"#);
        let error = JobManifest::from_bytes(text.as_bytes()).unwrap_err();
        assert!(
            matches!(error, ManifestError::BadVariable { .. }),
            "{text}: {error}"
        );
    }
    let text = format!(r#"{{"image":"{image}","command":["a\u0000b"]}}"#);
    let error = JobManifest::from_bytes(text.as_bytes()).unwrap_err();
    assert!(matches!(error, ManifestError::NulByte { .. }), "{error}");
}

#[test]
fn manifest_fails_when_it_is_too_large() {
    let mut manifest = JobManifest::new(parse(&format!("busybox@sha256:{}", digest())).unwrap());
    manifest.command = vec!["x".repeat(MAX_MANIFEST_BYTES)];
    assert!(matches!(manifest.to_bytes(), Err(ManifestError::TooLarge { .. })));
    assert!(matches!(
        JobManifest::from_bytes(&vec![b' '; MAX_MANIFEST_BYTES + 1]),
        Err(ManifestError::TooLarge { .. })
    ));
}

proptest! {
    #[test]
    fn every_manifest_survives_formatting(
        command in proptest::collection::vec("[^\0]{0,20}", 0..4),
        env in proptest::collection::btree_map("[A-Z_]{1,8}", "[^\0]{0,20}", 0..4),
        network: bool,
        capture_stdout: bool,
    ) {
        let image = parse(&format!("localhost:5000/hello:1@sha256:{}", "ab".repeat(32))).unwrap();
        let manifest = JobManifest {
            command,
            env,
            network: if network { NetworkAccess::On } else { NetworkAccess::Off },
            capture_stdout,
            ..JobManifest::new(image)
        };
        prop_assert_eq!(JobManifest::from_bytes(&manifest.to_bytes().unwrap()), Ok(manifest));
    }

    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = JobManifest::from_bytes(&bytes);
    }
}

#[test]
fn every_key_of_a_manifest_is_read() {
    let text = format!(
        r#"{{"version":1,"image":"localhost:5000/hello@sha256:{}","entrypoint":["/bin/sh"],"command":["-c","x"],"secrets":{{"key.bin":{{"base64":"AP8="}},"token":"s3cret"}},"registry":{{"username":"u","password":"p"}},"network":{{"allow":["example.org:443"]}},"ports":[{{"port":8080,"protocol":"http","name":"web","public":true}},{{"port":22,"protocol":"tcp"}}],"work_dir":"/data","output":"/data/out","writable_root":true,"shm_mib":1024,"profile":"interactive","runtime":"runsc","delegates":["5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"],"capture_stdout":false}}"#,
        digest()
    );
    let manifest = JobManifest::from_sealed_bytes(text.as_bytes()).unwrap();
    assert_eq!(manifest.ports[1].name(), "tcp-22");
    assert_eq!(manifest.work_dir(), "/data");
    assert_eq!(
        String::from_utf8(manifest.to_sealed_bytes().unwrap()).unwrap(),
        text
    );
    assert_eq!(
        JobManifest::from_bytes(text.as_bytes()),
        Err(ManifestError::Exposed { key: "secrets" })
    );
    assert_eq!(
        manifest.to_bytes(),
        Err(ManifestError::Exposed { key: "secrets" })
    );
    assert!(!format!("{manifest:?}").contains("s3cret"));
}

#[test]
fn manifest_fails_when_a_wish_is_not_valid() {
    let check = |change: &dyn Fn(&mut JobManifest)| {
        let mut manifest = JobManifest::new(image());
        change(&mut manifest);
        manifest.to_sealed_bytes().unwrap_err()
    };
    let port = |port, protocol, name: &str| PublishPort {
        port,
        protocol,
        name: Some(name.to_owned()),
        public: false,
    };
    assert_eq!(
        check(&|m| m.version = 2),
        ManifestError::OtherVersion { version: 2 }
    );
    for bad in [
        port(0, PortProtocol::Tcp, "a"),
        port(1, PortProtocol::Tcp, "A"),
        port(1, PortProtocol::Tcp, ""),
    ] {
        let error = check(&|m| m.ports = vec![bad.clone()]);
        assert!(matches!(error, ManifestError::BadPort { .. }), "{error}");
    }
    for second in [port(2, PortProtocol::Tcp, "a"), port(1, PortProtocol::Http, "b")] {
        let error = check(&|m| m.ports = vec![port(1, PortProtocol::Tcp, "a"), second.clone()]);
        assert!(matches!(error, ManifestError::RepeatedPort { .. }), "{error}");
    }
    let error = check(&|m| {
        m.ports = (1..=17)
            .map(|number| PublishPort {
                port: number,
                protocol: PortProtocol::Udp,
                name: None,
                public: false,
            })
            .collect()
    });
    assert!(
        matches!(error, ManifestError::TooMany { key: "ports", .. }),
        "{error}"
    );
    let error = check(&|m| m.work_dir = Some("work".into()));
    assert!(
        matches!(error, ManifestError::BadPath { key: "work_dir", .. }),
        "{error}"
    );
    for path in ["/dev/shm", "/run", "/proc/x"] {
        let error = check(&|m| m.work_dir = Some(path.into()));
        assert!(matches!(error, ManifestError::ReservedPath { .. }), "{error}");
    }
    let error = check(&|m| m.output = Some("/workshop".into()));
    assert!(matches!(error, ManifestError::OutputElsewhere { .. }), "{error}");
    let error = check(&|m| m.secrets = BTreeMap::from([("a/b".into(), Secret::Text("x".into()))]));
    assert!(matches!(error, ManifestError::BadSecretName { .. }), "{error}");
    let error = check(&|m| {
        m.secrets = BTreeMap::from([("a".into(), Secret::Bytes(SecretBytes { base64: "?".into() }))])
    });
    assert!(matches!(error, ManifestError::BadSecret { .. }), "{error}");
    let error = check(&|m| m.runtime = Some("--privileged".into()));
    assert!(matches!(error, ManifestError::BadRuntime { .. }), "{error}");
}

//! Vendors' services on this machine, and a chain that verifies collateral as the real one does.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use assay_evidence::{
    RevocationList, TrustRoots,
    intel::{verify_qe_identity, verify_tcb_info},
};
use serde_json::Value;

use super::{
    super::{
        fetch::tests::{Reply, Server},
        tests::{pem_sample, sample},
    },
    *,
};

/// Time at which the samples' collateral was current, in seconds since 1970.
const NOW_S: u64 = 1_750_809_600;

/// A chain that stores only the end of each piece of collateral.
#[derive(Clone, Default)]
struct FakeChain(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    kept: Vec<(CollateralId, u64)>,
    lists: Vec<RevocationList>,
    brought: Vec<Collateral>,
    refusal: Option<&'static str>,
    lost: bool,
}

impl FakeChain {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    fn keep(&self, id: CollateralId, ends_s: u64) {
        self.change(|state| {
            state.kept.retain(|(kept, _)| *kept != id);
            state.kept.push((id, ends_s));
        });
    }
}

fn roots() -> TrustRoots {
    vendor_roots().unwrap()
}

/// Verifies collateral as the pallet does.
fn verified(collateral: &Collateral, lists: &[RevocationList]) -> Result<(CollateralId, u64), EvidenceError> {
    match collateral {
        Collateral::TcbInfo(signed) => {
            let chain: Vec<&[u8]> = signed.chain.iter().map(Vec::as_slice).collect();
            let info = verify_tcb_info(&signed.json, &signed.signature, &chain, &roots(), lists, NOW_S)?;
            Ok((CollateralId::TcbInfo(info.id()), info.next_update_s))
        }
        Collateral::QeIdentity(signed) => {
            let chain: Vec<&[u8]> = signed.chain.iter().map(Vec::as_slice).collect();
            let identity =
                verify_qe_identity(&signed.json, &signed.signature, &chain, &roots(), lists, NOW_S)?;
            Ok((CollateralId::QeIdentity(identity.tee), identity.next_update_s))
        }
        Collateral::RevocationList { vendor, list, issuer } => {
            assert_eq!(*vendor, Vendor::Intel, "there is no other real list");
            let roots = roots().intel;
            let list = RevocationList::verify(list, issuer.as_deref(), &roots, lists, NOW_S)?;
            Ok((CollateralId::RevocationList(list.issuer), list.next_update_s))
        }
    }
}

impl CollateralChain for FakeChain {
    async fn collateral_ends_s(&self, id: &CollateralId) -> Result<Option<u64>, Error> {
        Ok(self.change(|state| {
            state
                .kept
                .iter()
                .find(|(kept, _)| kept == id)
                .map(|(_, ends_s)| *ends_s)
        }))
    }

    async fn bring(&self, collateral: Collateral) -> Result<(), Error> {
        self.change(|state| {
            if state.lost {
                return Err(Error::ConnectionLost {
                    reason: "unplugged".into(),
                });
            }
            state.brought.push(collateral.clone());
            if let Some(error) = state.refusal {
                return Err(Error::Dispatch {
                    pallet: "Attestation".into(),
                    error: error.into(),
                    docs: String::new(),
                });
            }
            let (id, ends_s) = verified(&collateral, &state.lists).map_err(|error| Error::Dispatch {
                pallet: "Attestation".into(),
                error: "Refused".into(),
                docs: error.to_string(),
            })?;
            if let Collateral::RevocationList { list, issuer, .. } = &collateral {
                let roots = roots().intel;
                let list =
                    RevocationList::verify(list, issuer.as_deref(), &roots, &state.lists, NOW_S).unwrap();
                state.lists.push(list);
            }
            state.kept.push((id, ends_s));
            Ok(())
        })
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Starts Intel's service, or a cache of it, with the collateral of a sample.
async fn intel(name: &'static str) -> Server {
    let collateral: Value = serde_json::from_slice(&sample(&format!("{name}_collateral.json"))).unwrap();
    let text = move |field: &str| collateral[field].as_str().unwrap().to_owned();
    Server::start(move |path| {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let is_tdx = path.starts_with("/tdx/");
        assert!(path.contains("/certification/v4/"), "{path}");
        match path.rsplit('/').next().unwrap() {
            // A cache returns hexadecimal.
            "rootcacrl" => Reply::ok(text("root_ca_crl")),
            "pckcrl" => {
                assert!(
                    query.starts_with("ca=pl") || query.starts_with("ca=pr"),
                    "{query}"
                );
                Reply::ok(hex::decode(text("pck_crl")).unwrap())
            }
            "tcb" => {
                assert!(query.starts_with("fmspc=") && query.len() == 18, "{query}");
                assert_eq!(is_tdx, name.starts_with("tdx"));
                Reply::ok(format!(
                    "{{\"tcbInfo\":{},\"signature\":\"{}\"}}",
                    text("tcb_info"),
                    text("tcb_info_signature")
                ))
                .header(
                    "TCB-Info-Issuer-Chain",
                    percent_encoded(&text("tcb_info_issuer_chain")),
                )
            }
            "identity" => Reply::ok(format!(
                "{{\"enclaveIdentity\":{},\"signature\":\"{}\"}}",
                text("qe_identity"),
                text("qe_identity_signature")
            ))
            .header(
                "SGX-Enclave-Identity-Issuer-Chain",
                percent_encoded(&text("qe_identity_issuer_chain")),
            ),
            _ => Reply::status(404),
        }
    })
    .await
}

fn collector(server: &Server) -> Collector {
    let urls = CollateralUrls {
        intel: format!("{}/", server.url),
        amd: server.url.clone(),
        nvidia: Some(server.url.clone()),
    };
    Collector::new(HttpFetch::new(), urls)
}

fn quote_with_chain(name: &str) -> (Vec<u8>, Vec<Vec<u8>>) {
    let quote = sample(name);
    let chain = certificates_of_pem(Quote::read(&quote).unwrap().certificate_chain().unwrap()).unwrap();
    (quote, chain)
}

#[tokio::test]
async fn everything_that_a_real_quote_is_judged_by_is_brought_once() {
    for name in ["sgx_quote", "tdx_quote"] {
        let server = intel(name).await;
        let (quote, certificates) = quote_with_chain(name);
        let chain = FakeChain::default();
        let collector = collector(&server);
        let brought = collector
            .bring_for_quote(&chain, &quote, &certificates, NOW_S)
            .await
            .unwrap();
        assert_eq!(brought, 4, "{name}");
        assert_eq!(server.requests().len(), 4);
        // Each piece has its own id, so the chain has all of them now.
        let again = collector
            .bring_for_quote(&chain, &quote, &certificates, NOW_S)
            .await
            .unwrap();
        assert_eq!((again, server.requests().len()), (0, 4), "{name}");
    }
}

#[tokio::test]
async fn collateral_that_ends_soon_is_renewed_and_that_which_has_ended_required() {
    let server = intel("tdx_quote").await;
    let (quote, certificates) = quote_with_chain("tdx_quote");
    let collector = collector(&server);
    let needed = collector.needed_for_quote(IntelTee::Tdx, &certificates).unwrap();
    let chain = FakeChain::default();
    for piece in &needed {
        chain.keep(piece.id, NOW_S + MARGIN_S + 1);
    }
    assert_eq!(
        collector
            .bring_for_quote(&chain, &quote, &certificates, NOW_S)
            .await
            .unwrap(),
        0
    );
    assert!(server.requests().is_empty());

    // The vendor has no newer piece yet, or does not answer: the chain's piece is still valid.
    chain.keep(needed[0].id, NOW_S + MARGIN_S);
    chain.change(|state| state.refusal = Some("CollateralNotNewer"));
    assert_eq!(
        collector
            .bring_for_quote(&chain, &quote, &certificates, NOW_S)
            .await
            .unwrap(),
        0
    );
    assert_eq!(chain.change(|state| state.brought.len()), 1);
    chain.change(|state| state.refusal = Some("Refused"));
    assert_eq!(
        collector
            .bring_for_quote(&chain, &quote, &certificates, NOW_S)
            .await
            .unwrap(),
        0
    );

    // A piece that has ended counts as missing.
    chain.keep(needed[0].id, NOW_S);
    let error = collector
        .bring_for_quote(&chain, &quote, &certificates, NOW_S)
        .await
        .unwrap_err();
    assert!(matches!(error, CollateralError::Chain(_)), "{error}");
    chain.change(|state| state.lost = true);
    let error = collector
        .bring_for_quote(&chain, &quote, &certificates, NOW_S)
        .await
        .unwrap_err();
    assert!(matches!(error, CollateralError::Chain(error) if error.is_connection_lost()));
}

#[tokio::test]
async fn answers_that_are_something_else_are_refused() {
    let (quote, certificates) = quote_with_chain("tdx_quote");
    let good = |body: &str| {
        Reply::ok(body).header(
            "TCB-Info-Issuer-Chain",
            percent_encoded("-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n"),
        )
    };
    let bodies: [(Reply, &str); 6] = [
        (Reply::ok("{}"), "is not what was requested"),
        (good("no JSON"), "is not what was requested"),
        (
            good(r#"{"tcbInfo":{},"signature":"00"}"#),
            "128 hexadecimal digits",
        ),
        (
            Reply::ok(format!(r#"{{"tcbInfo":{{}},"signature":"{}"}}"#, "00".repeat(64))),
            "lacks the header TCB-Info-Issuer-Chain",
        ),
        (
            good(&format!(
                r#"{{"tcbInfo":"{}","signature":"{}"}}"#,
                "x".repeat(MAX_COLLATERAL_BYTES),
                "00".repeat(64)
            )),
            "longer than the chain accepts",
        ),
        (good(&"x".repeat(2 * MAX_COLLATERAL_BYTES + 1)), "cannot be read"),
    ];
    for (reply, expected) in bodies {
        let reply = Mutex::new(Some(reply));
        let server = Server::start(move |_| reply.lock().unwrap().take().unwrap()).await;
        let collector = collector(&server);
        let needed = collector.needed_for_quote(IntelTee::Tdx, &certificates).unwrap();
        let chain = FakeChain::default();
        for piece in needed {
            if !matches!(piece.origin, Origin::TcbInfo { .. }) {
                chain.keep(piece.id, u64::MAX);
            }
        }
        let error = collector
            .bring_for_quote(&chain, &quote, &certificates, NOW_S)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(chain.change(|state| state.brought.is_empty()));
    }
}

#[test]
fn intel_is_asked_where_it_publishes() {
    let (_, certificates) = quote_with_chain("sgx_quote");
    let collector = Collector::new(HttpFetch::new(), CollateralUrls::default());
    let urls: Vec<_> = collector
        .needed_for_quote(IntelTee::Sgx, &certificates)
        .unwrap()
        .into_iter()
        .map(|needed| match needed.origin {
            Origin::List { url, .. } | Origin::TcbInfo { url } | Origin::QeIdentity { url } => url,
        })
        .collect();
    let (fmspc, _) = platform_of_certificate(&certificates[0]).unwrap();
    let base = "https://api.trustedservices.intel.com/sgx/certification/v4";
    assert_eq!(urls[0], INTEL_ROOT_LIST_URL);
    assert!(urls[1].starts_with(&format!("{base}/pckcrl?ca=p")), "{}", urls[1]);
    assert_eq!(urls[2], format!("{base}/tcb?fmspc={}", hex::encode_upper(fmspc)));
    assert_eq!(urls[3], format!("{base}/qe/identity"));
}

#[test]
fn amd_has_one_list_for_each_product() {
    let collector = Collector::new(HttpFetch::new(), CollateralUrls::default());
    for (leaf, file, vendor, product) in [
        (
            "vcek_milan.der",
            "cert_chain_milan.pem",
            Vendor::AmdMilan,
            "Milan",
        ),
        (
            "vcek_turin.der",
            "cert_chain_turin.pem",
            Vendor::AmdTurin,
            "Turin",
        ),
    ] {
        let authorities = pem_sample(file);
        let mut certificates = vec![sample(leaf)];
        certificates.extend(authorities);
        // With and without the root at the end of the chain.
        for length in [2, 3] {
            let needed = collector.needed_for_chip(&certificates[..length]).unwrap();
            let [
                Needed {
                    origin:
                        Origin::List {
                            vendor: found,
                            url,
                            issuer,
                        },
                    ..
                },
            ] = &needed[..]
            else {
                panic!("{needed:?}")
            };
            assert_eq!((found, issuer), (&vendor, &None), "{product}");
            assert_eq!(*url, format!("https://kdsintf.amd.com/vcek/v1/{product}/crl"));
        }
        assert!(collector.needed_for_chip(&certificates[..1]).is_err());
    }
}

#[test]
fn nvidia_says_in_its_certificates_where_its_lists_are() {
    let certificates = pem_sample("hopper_chain.pem");
    let lists = |urls: CollateralUrls| -> Vec<(String, Option<Vec<u8>>)> {
        Collector::new(HttpFetch::new(), urls)
            .needed_for_gpu(&certificates)
            .unwrap()
            .into_iter()
            .map(|needed| match needed.origin {
                Origin::List { url, issuer, .. } => (url, issuer),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(
        lists(CollateralUrls::default()),
        [
            ("http://crl.ndis.nvidia.com/crl/l1-root.crl".to_owned(), None),
            (
                "http://crl.ndis.nvidia.com/crl/l2-gh100.crl".to_owned(),
                Some(certificates[3].clone())
            ),
        ]
    );
    let elsewhere = CollateralUrls {
        nvidia: Some("https://lists.example.org/".into()),
        ..CollateralUrls::default()
    };
    assert_eq!(lists(elsewhere)[0].0, "https://lists.example.org/crl/l1-root.crl");
    assert!(
        Collector::new(HttpFetch::new(), CollateralUrls::default())
            .needed_for_gpu(&certificates[..3])
            .is_err()
    );
}

#[test]
fn addresses_are_found_or_not() {
    assert_eq!(
        list_url(b"\x86\x13http://a/b.crl\x30\x01"),
        Some("http://a/b.crl".into())
    );
    // Text without a break after the address ends with the list's name.
    assert_eq!(list_url(b"http://a/b.crl0more"), Some("http://a/b.crl".into()));
    assert_eq!(
        list_url(b"http://ocsp\x00http://a/b.crl"),
        Some("http://a/b.crl".into())
    );
    assert_eq!(list_url(b"http://a/b.der\x00"), None);
    assert_eq!(list_url(b"htt"), None);
    assert_eq!(path_of("http://host/crl/a.crl"), "/crl/a.crl");
    assert_eq!(path_of("http://host"), "");
}

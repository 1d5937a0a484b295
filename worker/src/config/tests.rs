//! Golden messages for every fault of a `worker.yaml`, and the published file unchanged.

#![allow(clippy::unwrap_used)]

mod secrets;

use std::time::Duration;

use assay_primitives::money::ASY;
use assay_provers::BackEnd;

use super::*;
use crate::{api::StreamLimits, health::Thresholds};

/// The published file, word for word, with addresses filled in.
const PUBLISHED: &str = r#"version: "3.2"
node_settings:
  node_name: "text"
  reward_address: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
shared_resources:
  cpu_cores: 16
  ram_gb: 64
  storage_gb: 1000
  gpus:
    - model: "RTX_4090"
      count: 2
      allow_overclock: false
network_config:
  max_upload_mbps: 1000
  max_download_mbps: 1000
  p2p_port: 4001
  enable_tee: true
staking:
  auto_stake_rewards: true
  min_stake_amount: 500
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/assay/worker.yaml"))
}

/// Returns the errors of the published file with one text replaced, without their first line.
fn errors(from: &str, to: &str) -> Vec<String> {
    assert_eq!(PUBLISHED.matches(from).count(), 1, "{from} must occur once");
    errors_of(&PUBLISHED.replace(from, to))
}

fn errors_of(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ConfigError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// Returns the errors of the published file without GPUs and with these lines in the `assay` section, the
/// first of which is line 18.
fn assay_errors(lines: &str) -> Vec<String> {
    errors_of(&with_assay(lines))
}

fn with_assay(lines: &str) -> String {
    let (head, rest) = PUBLISHED.split_once("  gpus:").unwrap();
    let (_, tail) = rest.split_once("network_config").unwrap();
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!("{head}network_config{tail}assay:\n{lines}")
}

#[test]
fn published_file_is_understood_as_it_stands() {
    let config = parse(PUBLISHED).unwrap();
    assert_eq!(config.node.node_name, "text");
    assert!(matches!(
        config.node.reward_address,
        RewardAddress::Ethereum([0x5a, 0xae, ..])
    ));
    assert_eq!(
        (config.resources.cpu_cores, config.resources.ram_mib),
        (16, 65_536)
    );
    assert_eq!(config.resources.disk_gib, 1_000);
    let gpus = Gpus {
        model: "RTX_4090".into(),
        count: 2,
        allow_overclock: false,
    };
    assert_eq!(config.resources.gpus, Some(gpus));
    assert_eq!((config.network.p2p_port, config.network.enable_tee), (4001, true));
    assert_eq!(
        config.staking,
        Staking {
            auto_stake_rewards: true,
            min_stake: 500 * ASY
        }
    );
    assert_eq!(config.slots(), 2);
    assert_eq!(config.class_candidates()[..2], ["RTX_4090", "NVIDIA_RTX_4090"]);
    assert_eq!(
        config.slot_share(),
        SlotShare {
            memory_mib: 32_768,
            cpu_millis: 8_000,
            processes: 1_024
        }
    );
}

#[test]
fn defaults_are_what_is_documented() {
    let config = parse(&with_assay("slots: 1")).unwrap();
    let expected = AssaySettings {
        network: JobNetworkSettings::default(),
        health: HealthSettings::default(),
        chain_url: "ws://127.0.0.1:9944".into(),
        listen_address: [127, 0, 0, 1].into(),
        metrics_listen: "127.0.0.1:4003".parse().unwrap(),
        endpoint: "http://127.0.0.1:4001".into(),
        ask_per_slot_hour: ASY,
        take_open_orders: true,
        min_profit: ASY / 1_000,
        private_registries: PrivateRegistries::default(),
        region: "unspecified".into(),
        latitude_microdegrees: 0,
        longitude_microdegrees: 0,
        hardware_class: None,
        slots: 1,
        engine: None,
        kubernetes: None,
        prover: ProverChoice::Auto,
        state_dir: "/etc/assay/assay-worker-state".into(),
        run_dir: None,
        provider_account: None,
        provider_key: None,
        worker_key_file: "/etc/assay/assay-worker-state/worker.key".into(),
        sealing_key_file: "/etc/assay/assay-worker-state/sealing.key".into(),
        storage: StorageSettings {
            disk_dir: "/etc/assay/assay-worker-state/disks".into(),
            image_cache_gib: None,
            kept_output_gib: None,
        },
        limits: Limits {
            minimum_memory_mib: 64,
            minimum_cpu_millis: 100,
            processes_per_slot: 1_024,
        },
        attestation: AttestationSettings {
            bring_collateral: true,
            urls: CollateralUrls {
                intel: "https://api.trustedservices.intel.com".into(),
                amd: "https://kdsintf.amd.com".into(),
                nvidia: None,
            },
            amd_certificate_file: None,
        },
        owner: OwnerSettings {
            port: 4002,
            endpoint: "https://127.0.0.1:4002".into(),
            certificate: None,
            limits: OwnerLimits {
                connections: 256,
                connections_per_address: 32,
                requests_per_second: 50,
                streams: StreamLimits::default(),
            },
        },
    };
    assert_eq!(config.assay, expected);
    assert_eq!(config.class_candidates(), ["CPU"]);
    assert_eq!(parse(PUBLISHED).unwrap().assay, expected);

    let (head, _) = PUBLISHED.split_once("staking:").unwrap();
    let without_options = head.replace("  p2p_port: 4001\n  enable_tee: true\n", "");
    let config = parse(&without_options).unwrap();
    assert_eq!(
        config.staking,
        Staking {
            auto_stake_rewards: false,
            min_stake: 0
        }
    );
    assert_eq!(
        (config.network.p2p_port, config.network.enable_tee),
        (4001, false)
    );
}

#[test]
fn metrics_have_a_port_of_their_own() {
    let listen = |lines: &str| parse(&with_assay(lines)).unwrap().assay.metrics_listen;
    assert_eq!(listen("owner_port: 5000").to_string(), "127.0.0.1:5001");
    assert_eq!(listen("owner_port: 4000").to_string(), "127.0.0.1:4002");
    assert_eq!(listen("owner_port: 65535").to_string(), "127.0.0.1:1");
    for wrong in [
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:4001",
        "0.0.0.0:4002",
        "localhost:9100",
    ] {
        assert_eq!(
            assay_errors(&format!("metrics_listen: \"{wrong}\"")),
            [format!(
                "line 18: `assay.metrics_listen` is `{wrong}`; allowed: an IP address and a port other than those of the \
                 API, such as 127.0.0.1:4003"
            )]
        );
    }
}

#[test]
fn private_registries_are_named_one_by_one() {
    assert_eq!(
        assay_errors("private_registries: [\"http://a.lan\", registry]\nallow_private_registries: true"),
        [
            "line 18: `assay.private_registries` is `http://a.lan`; allowed: a registry as in the names of images, \
             host or host:port, such as registry.example.lan:5000",
            "line 18: `assay.private_registries` is `registry`; allowed: a registry as in the names of images, \
             host or host:port, such as registry.example.lan:5000",
            "line 19: `assay.allow_private_registries` is replaced by `assay.private_registries`, which names each \
             registry that may be at a non-public address, such as [\"registry.example.lan:5000\", \
             \"127.0.0.1:5000\"]; remove the old key",
        ]
    );
    let many = "a.b, ".repeat(65);
    assert_eq!(
        assay_errors(&format!("private_registries: [{many}]")),
        ["line 18: `assay.private_registries` has more than 64 entries; remove those from here on"]
    );
}

#[test]
fn assay_section_is_understood() {
    let lines = r#"chain_url: wss://node.example.org
listen_address: 0.0.0.0
metrics_listen: "[::1]:9100"
endpoint: https://worker.example.org
ask: 2.50
take_open_orders: false
min_profit: "0.5"
private_registries: ["registry.example.lan:5000", "127.0.0.1:5000"]
region: us-east
latitude: -33.8688
longitude: "151.209"
hardware_class: CPU
slots: 4
engine: unix:///run/podman/podman.sock
prover: cuda
state_dir: /var/lib/assay
run_dir: run
provider_key_uri: //Bob
worker_key_file: hot.key
disk_dir: /mnt/disks
image_cache_gb: 50
kept_output_gb: 0
attestation:
  bring_collateral: false
  intel_url: http://pccs:8081
  nvidia_url: https://lists.example.org
  amd_certificate_file: chip.pem
limits:
  processes_per_slot: 64"#;
    let settings = parse(&with_assay(lines)).unwrap().assay;
    assert_eq!(settings.metrics_listen, "[::1]:9100".parse().unwrap());
    assert_eq!(settings.ask_per_slot_hour, 5 * ASY / 2);
    assert!(!settings.take_open_orders);
    assert_eq!(settings.min_profit, ASY / 2);
    assert_eq!(
        settings.private_registries.names(),
        ["registry.example.lan:5000", "127.0.0.1:5000"]
    );
    assert_eq!(settings.prover, ProverChoice::Only(BackEnd::Cuda));
    assert_eq!(settings.latitude_microdegrees, -33_868_800);
    assert_eq!(settings.longitude_microdegrees, 151_209_000);
    assert_eq!(settings.slots, 4);
    assert_eq!(settings.provider_key, Some(ProviderKey::Uri("//Bob".into())));
    assert_eq!(settings.run_dir.as_deref(), Some(Path::new("/etc/assay/run")));
    assert_eq!(settings.worker_key_file, Path::new("/etc/assay/hot.key"));
    assert_eq!(settings.sealing_key_file, Path::new("/var/lib/assay/sealing.key"));
    assert_eq!(settings.storage.disk_dir, Path::new("/mnt/disks"));
    assert_eq!(settings.storage.image_cache_gib, Some(50));
    assert_eq!(settings.storage.kept_output_bytes(1_000), 0);
    let expected = AttestationSettings {
        bring_collateral: false,
        urls: CollateralUrls {
            intel: "http://pccs:8081".into(),
            amd: CollateralUrls::default().amd,
            nvidia: Some("https://lists.example.org".into()),
        },
        amd_certificate_file: Some("/etc/assay/chip.pem".into()),
    };
    assert_eq!(settings.attestation, expected);
    assert_eq!(settings.limits.processes_per_slot, 64);
    assert_eq!(settings.limits.minimum_memory_mib, 64);
}

#[test]
fn example_file_is_valid() {
    let text = include_str!("../../worker.example.yaml");
    let config = parse(text).unwrap();
    assert_eq!(config.class_candidates(), ["CPU"]);
    assert_eq!(config.assay.limits, Limits::default());
    // Every commented-out key exists: with the comment mark removed, the file is still valid.
    let commented = [
        "metrics_listen",
        "endpoint",
        "latitude",
        "longitude",
        "hardware_class",
        "engine",
        "state_dir",
        "run_dir",
    ];
    let more = [
        "provider_key_file",
        "provider_account",
        "worker_key_file",
        "sealing_key_file",
    ];
    let in_section = [
        "  intel_url",
        "  amd_url",
        "  nvidia_url",
        "  amd_certificate_file",
        "  gpu_warn_c",
        "  gpu_stop_c",
        "  gpu_suspend_c",
        "  gpu_memory_warn_c",
        "  gpu_memory_stop_c",
        "  gpu_memory_suspend_c",
        "  cpu_warn_c",
        "  cpu_stop_c",
        "  cpu_suspend_c",
    ];
    let mut all = text.to_owned();
    for key in commented.iter().chain(&more).chain(&in_section) {
        let marked = format!("  # {key}: ");
        assert_eq!(all.matches(&marked).count(), 1, "{key}");
        all = all.replace(&marked, &format!("  {key}: "));
    }
    let settings = parse(&all).unwrap().assay;
    let health = settings.health;
    assert!(health.gpu.is_some() && health.gpu_memory.is_some() && health.cpu.is_some());
    let settings = settings.attestation;
    // The commented-out values are the defaults, where there is one.
    assert_eq!(settings.urls.intel, CollateralUrls::default().intel);
    assert_eq!(settings.urls.amd, CollateralUrls::default().amd);
    assert!(settings.urls.nvidia.is_some() && settings.amd_certificate_file.is_some());
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    assert_eq!(
        errors("  storage_gb: 1000\n", "  storage_gb: 1000\n  disk_gb: 5\n"),
        ["line 9: unknown key `disk_gb`; allowed here: cpu_cores, ram_gb, storage_gb, gpus"]
    );
    assert_eq!(
        errors("      count: 2\n", "      count: 2\n      vram: 24\n"),
        ["line 12: unknown key `vram`; allowed here: model, count, allow_overclock"]
    );
    assert_eq!(
        errors("staking:\n", "stakes:\n"),
        [
            "line 18: unknown key `stakes`; allowed here: version, node_settings, shared_resources, \
             network_config, staking, assay"
        ]
    );
}

#[test]
fn missing_keys_and_values_are_named() {
    assert_eq!(
        errors("  ram_gb: 64\n", ""),
        ["line 8: the section around this line lacks the key `ram_gb`"]
    );
    assert_eq!(
        errors("  ram_gb: 64\n", "  ram_gb:\n"),
        ["line 7: a value is missing; write it after the colon or remove the key"]
    );
    assert_eq!(
        errors_of("version: \"3.2\"\n"),
        ["line 1: the section around this line lacks the key `node_settings`"]
    );
}

#[test]
fn bad_values_are_named_with_what_is_allowed() {
    for (from, to, expected) in [
        (
            "version: \"3.2\"",
            "version: 3.1",
            "line 1: `version` is `3.1`; allowed: \"3.2\", the one format this worker reads",
        ),
        (
            "cpu_cores: 16",
            "cpu_cores: many",
            "line 6: `shared_resources.cpu_cores` is `many`; allowed: a whole number from 1 to 65535",
        ),
        (
            "ram_gb: 64",
            "ram_gb: 0.5",
            "line 7: `shared_resources.ram_gb` is `0.5`; allowed: a whole number from 1 to 4194303",
        ),
        (
            "count: 2",
            "count: 65",
            "line 11: `shared_resources.gpus.count` is `65`; allowed: a whole number from 1 to 64",
        ),
        (
            "p2p_port: 4001",
            "p2p_port: 65536",
            "line 16: `network_config.p2p_port` is `65536`; allowed: a whole number from 1 to 65535",
        ),
        (
            "enable_tee: true",
            "enable_tee: yes",
            "line 17: `network_config.enable_tee` is `yes`; allowed: true or false",
        ),
        (
            "min_stake_amount: 500",
            "min_stake_amount: -1",
            "line 20: `staking.min_stake_amount` is `-1`; allowed: a whole number from 0 to 1000000000",
        ),
        (
            "node_name: \"text\"",
            "node_name: \"\"",
            "line 3: `node_settings.node_name` is ``; allowed: text of 1 to 64 bytes",
        ),
    ] {
        assert_eq!(errors(from, to), [expected]);
    }
}

#[test]
fn reward_address_with_a_typing_error_is_refused() {
    let address = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    assert_eq!(
        errors(address, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee"),
        [
            "line 4: `node_settings.reward_address` is `0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee`; allowed: 0x and \
             40 hexadecimal digits; the upper and lower case of this one says that a digit is wrong"
        ]
    );
    assert_eq!(
        errors(address, "15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5"),
        [
            "line 4: `node_settings.reward_address` is `15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5`; allowed: \
             an SS58 address of this chain (prefix 42, begins with 5); this one is of another chain, or 0x and 40 \
             hexadecimal digits"
        ]
    );
}

#[test]
fn all_problems_are_reported_at_once_in_order() {
    let text = PUBLISHED
        .replace("cpu_cores: 16", "cpu_cores: 0")
        .replace("p2p_port: 4001", "p2p_port: 0");
    assert_eq!(
        errors_of(&text),
        [
            "line 6: `shared_resources.cpu_cores` is `0`; allowed: a whole number from 1 to 65535",
            "line 16: `network_config.p2p_port` is `0`; allowed: a whole number from 1 to 65535",
        ]
    );
    let shown = parse(&text).unwrap_err().to_string();
    assert!(
        shown.starts_with("/etc/assay/worker.yaml is not usable:\n  line 6: "),
        "{shown}"
    );
}

#[test]
fn malformed_yaml_is_named_with_its_line() {
    for (text, line) in [
        (
            "version: \"3.2\"\nnode_settings: [",
            "line 2: not the YAML that is expected here: ",
        ),
        (
            "version: \"3.2\"\n\tnode_settings: 1\n",
            "line 2: not the YAML that is expected here: ",
        ),
        ("just text", "line 1: not the YAML that is expected here: "),
        ("", "not the YAML that is expected here: "),
    ] {
        let errors = errors_of(text);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].contains(line), "{text:?}: {}", errors[0]);
    }
    assert_eq!(
        errors("  ram_gb: 64\n", "  ram_gb: 64\n  ram_gb: 32\n"),
        ["line 8: the key `ram_gb` is given twice; keep one of them"]
    );
    let twice = errors("  ram_gb: 64\n", "  ram_gb: [64]\n");
    assert!(
        twice[0].starts_with("line 7: not the YAML that is expected here: "),
        "{twice:?}"
    );
}

#[test]
fn gpus_are_of_one_model_and_at_most_64() {
    let two = "      count: 2\n      allow_overclock: false\n    - model: RTX_3090\n";
    assert_eq!(
        errors("      count: 2\n      allow_overclock: false\n", two),
        [
            "line 13: `shared_resources.gpus.model` is `RTX_3090`; allowed: `RTX_4090` as in the first entry; a machine \
             has one hardware class, run a worker for each"
        ]
    );
    let many = "      count: 64\n    - model: RTX_4090\n";
    assert_eq!(
        errors("      count: 2\n      allow_overclock: false\n", many),
        ["line 12: `shared_resources.gpus` has more GPUs than allowed: at most 64 together"]
    );
    let same = PUBLISHED.replace("      allow_overclock: false\n", "    - model: RTX_4090\n");
    assert_eq!(parse(&same).unwrap().slots(), 3);
}

#[test]
fn slots_are_large_enough_for_a_container() {
    let tight = format!(
        "{PUBLISHED}assay:\n  limits:\n    minimum_memory_mib: 40000\n    minimum_cpu_millis: 9000\n"
    );
    assert_eq!(
        errors_of(&tight),
        [
            "line 6: `shared_resources.cpu_cores` gives each of 2 slots 8000 thousandths of a core; allowed: at least \
             `assay.limits.minimum_cpu_millis`, 9000",
            "line 7: `shared_resources.ram_gb` gives each of 2 slots 32768 MiB; allowed: at least \
             `assay.limits.minimum_memory_mib`, 40000 MiB",
        ]
    );
}

#[test]
fn bad_assay_values_are_named_with_what_is_allowed() {
    for (line, expected) in [
        (
            "chain_url: http://x",
            "line 18: `assay.chain_url` is `http://x`; allowed: a URL that begins with ws:// or wss://, at most 128 \
             bytes",
        ),
        (
            "listen_address: localhost",
            "line 18: `assay.listen_address` is `localhost`; allowed: an IP address, such as 127.0.0.1 or 0.0.0.0",
        ),
        (
            "listen_address: 0.0.0.0",
            "line 18: `assay.listen_address` is 0.0.0.0, which is no address to connect to; add `assay.endpoint`, the public URL",
        ),
        (
            "ask: 0",
            "line 18: `assay.ask` is `0`; allowed: a price in ASY above 0 with at most 12 decimals, such as \"2.50\"",
        ),
        (
            "ask: 1e3",
            "line 18: `assay.ask` is `1e3`; allowed: a price in ASY above 0 with at most 12 decimals, such as \"2.50\"",
        ),
        (
            "region: US East",
            "line 18: `assay.region` is `US East`; allowed: 1 to 16 of a-z, 0-9 and -",
        ),
        (
            "latitude: 1",
            "line 18: `assay.latitude` and `assay.longitude` go together; give both or neither",
        ),
        (
            "slots: 0",
            "line 18: `assay.slots` is `0`; allowed: a whole number from 1 to 64",
        ),
        (
            "engine: docker.sock",
            "line 18: `assay.engine` is `docker.sock`; allowed: an absolute socket path, a URL that begins with \
             unix:///, http:// or tcp://, or kubernetes",
        ),
        (
            "prover: gpu",
            "line 18: `assay.prover` is `gpu`; allowed: auto, cpu, wgpu or cuda",
        ),
        (
            "attestation:\n  intel_url: pccs:8081",
            "line 19: `assay.attestation.intel_url` is `pccs:8081`; allowed: a URL that begins with http:// or https://, \
             at most 128 bytes",
        ),
        (
            "attestation:\n  bring_collateral: maybe",
            "line 19: `assay.attestation.bring_collateral` is `maybe`; allowed: true or false",
        ),
        (
            "provider_key_uri: //Bob\nprovider_key_file: key",
            "line 19: `assay.provider_key_file` and `assay.provider_key_uri` exclude each other; keep one",
        ),
    ] {
        assert_eq!(assay_errors(line), [expected], "{line}");
    }
    assert_eq!(
        assay_errors("latitude: 90.000001\nlongitude: 1.2345678"),
        [
            "line 18: `assay.latitude` is `90.000001`; allowed: degrees from -90 to 90 with at most 6 decimals",
            "line 19: `assay.longitude` is `1.2345678`; allowed: degrees from -180 to 180 with at most 6 decimals",
        ]
    );
    let with_gpus = format!("{PUBLISHED}assay:\n  slots: 2\n");
    assert_eq!(
        errors_of(&with_gpus),
        ["line 22: `assay.slots` is for machines without GPUs; remove it: each GPU is a slot"]
    );
}

#[test]
fn unreadable_file_is_named() {
    let error = Config::load(Path::new("/nowhere/worker.yaml"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot read /nowhere/worker.yaml: "), "{error}");
    assert!(error.ends_with("name the file with --config <PATH>"), "{error}");
}

#[test]
fn secret_uri_does_not_reach_logs() {
    let config = parse(&with_assay("provider_key_uri: bottom drive obey")).unwrap();
    assert!(!format!("{config:?}").contains("bottom"));
}

#[test]
fn settings_of_the_owner_part_are_read() {
    let text = with_assay(
        "owner_port: 4443\nowner_endpoint: \"https://jobs.example.org\"\ntls_certificate_file: fullchain.pem\n\
         tls_key_file: /keys/privkey.pem\nowner_limits:\n  connections: 1000\n  requests_per_second: 7",
    );
    let owner = parse(&text).unwrap().assay.owner;
    assert_eq!(
        (owner.port, &*owner.endpoint),
        (4_443, "https://jobs.example.org")
    );
    assert_eq!(
        owner.certificate,
        Some(CertificateFiles {
            certificate_file: "/etc/assay/fullchain.pem".into(),
            key_file: "/keys/privkey.pem".into(),
        })
    );
    let limits = owner.part_limits();
    assert_eq!((limits.connections, limits.connections_per_address), (1_000, 32));
    assert_eq!((limits.requests_per_second, limits.burst), (7, 28));
    assert_eq!(owner.limits.streams, StreamLimits::default());
}

#[test]
fn limits_of_streams_are_read() {
    let text = with_assay(
        "owner_limits:\n  log_readers: 1\n  log_readers_per_job: 2\n  shells: 3\n  shells_per_job: 4\n  downloads: 5\n  \
         downloads_per_job: 6\n  patience_s: 7\n  keep_alive_s: 8\n  shell_idle_s: 604800",
    );
    let expected = StreamLimits {
        readers: 1,
        readers_per_job: 2,
        shells: 3,
        shells_per_job: 4,
        downloads: 5,
        downloads_per_job: 6,
        patience: Duration::from_secs(7),
        keep_alive: Duration::from_secs(8),
        shell_idle: Duration::from_secs(604_800),
    };
    assert_eq!(parse(&text).unwrap().assay.owner.limits.streams, expected);
    assert_eq!(
        assay_errors("owner_limits:\n  shells_per_job: 0\n  patience_s: 1.5\n  shell_idle_s: 604801"),
        [
            "line 19: `assay.owner_limits.shells_per_job` is `0`; allowed: a whole number from 1 to 65536",
            "line 20: `assay.owner_limits.patience_s` is `1.5`; allowed: a whole number from 1 to 3600",
            "line 21: `assay.owner_limits.shell_idle_s` is `604801`; allowed: a whole number from 1 to 604800",
        ]
    );
}

#[test]
fn faults_of_the_owner_part_are_named() {
    for (lines, expected) in [
        (
            "owner_port: 4001",
            "line 18: `assay.owner_port` is `4001`; allowed: a port other than `network_config.p2p_port`, where the \
             public part listens",
        ),
        (
            "owner_endpoint: \"http://worker.example.org\"",
            "line 18: `assay.owner_endpoint` is `http://worker.example.org`; allowed: a URL that begins with https://, at \
             most 128 bytes",
        ),
        (
            "tls_certificate_file: a.pem",
            "line 18: `assay.tls_certificate_file` needs its key; add `assay.tls_key_file`",
        ),
        (
            "tls_key_file: a.pem",
            "line 18: `assay.tls_key_file` needs its certificate; add `assay.tls_certificate_file`",
        ),
        (
            "owner_limits:\n  connections: 0",
            "line 19: `assay.owner_limits.connections` is `0`; allowed: a whole number from 1 to 65536",
        ),
    ] {
        assert_eq!(assay_errors(lines), [expected]);
    }
    assert_eq!(
        errors("p2p_port: 4001", "p2p_port: 65535"),
        ["`network_config.p2p_port` is the last port; add `assay.owner_port`"]
    );
}

#[test]
fn networks_of_jobs_are_read() {
    let lines =
        "network:\n  port_range: \"30000-30999\"\n  job_subnets: 172.20.0.0/16\n  dns_servers: [8.8.8.8]";
    let network = parse(&with_assay(lines)).unwrap().assay.network;
    assert_eq!(network.port_range, Some(30_000..=30_999));
    assert_eq!(network.job_subnets.to_string(), "172.20.0.0/16");
    assert_eq!(network.dns_servers, [std::net::Ipv4Addr::new(8, 8, 8, 8)]);
    let defaults = parse(PUBLISHED).unwrap().assay.network;
    assert_eq!(defaults, JobNetworkSettings::default());
    let lines = "network:\n  port_range: \"80-90\"\n  job_subnets: 8.0.0.0/8\n  dns_servers: [192.168.1.1]";
    assert_eq!(
        assay_errors(lines),
        [
            "line 19: `assay.network.port_range` is `80-90`; allowed: two ports from 1024 to 65535, the lower first, such as \
             30000-30999",
            "line 20: `assay.network.job_subnets` is `8.0.0.0/8`; allowed: a private network with a prefix from 8 to 24, such \
             as 10.231.0.0/16",
            "line 21: `assay.network.dns_servers` is `192.168.1.1`; allowed: public IPv4 addresses, because jobs reach no others",
        ]
    );
}

#[test]
fn thresholds_of_health_are_read() {
    let lines = "health:\n  gpu_warn_c: 70\n  gpu_stop_c: 80\n  gpu_suspend_c: 85\n  cpu_warn_c: 80\n  cpu_stop_c: \"90\"\n  \
                 cpu_suspend_c: 95";
    let health = parse(&with_assay(lines)).unwrap().assay.health;
    let expected = HealthSettings {
        gpu: Some(Thresholds::new(70, 80, 85)),
        gpu_memory: None,
        cpu: Some(Thresholds::new(80, 90, 95)),
    };
    assert_eq!(health, expected);
}

#[test]
fn faults_of_health_are_named() {
    for (lines, expected) in [
        (
            "health:\n  gpu_stop_c: 80",
            "line 19: `assay.health.gpu_warn_c`, `assay.health.gpu_stop_c` and `assay.health.gpu_suspend_c` go together; give \
             all three or none",
        ),
        (
            "health:\n  cpu_warn_c: 30\n  cpu_stop_c: 80\n  cpu_suspend_c: 90",
            "line 19: `assay.health.cpu_warn_c` is `30`; allowed: a whole number from 40 to 125",
        ),
        (
            "health:\n  cpu_warn_c: 80\n  cpu_stop_c: 80\n  cpu_suspend_c: 90",
            "line 20: `assay.health.cpu_stop_c` is `80`; allowed: a temperature above that of `assay.health.cpu_warn_c`, so \
             that jobs stop before the machine is suspended",
        ),
        (
            "health:\n  gpu_memory_warn_c: 80\n  gpu_memory_stop_c: 95\n  gpu_memory_suspend_c: 90",
            "line 21: `assay.health.gpu_memory_suspend_c` is `90`; allowed: a temperature above that of \
             `assay.health.gpu_memory_stop_c`, so that jobs stop before the machine is suspended",
        ),
    ] {
        assert_eq!(assay_errors(lines), [expected]);
    }
}

//! Turns the file as written into a configuration with every value checked and every default filled in.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use assay_client::{
    units,
    yaml::{Place, Problem, Reader, Text, parse_microdegrees},
};
use assay_primitives::{
    machine::{
        MAX_CLASS_NAME_BYTES, MAX_ENDPOINT_BYTES, MAX_PROVIDER_NAME_BYTES, MAX_REGION_BYTES, MAX_SLOTS,
    },
    money::{ASY, EMISSION_CAP},
};

use super::{
    AssaySettings, AttestationSettings, Config, FORMAT_VERSION, Gpus, Limits, NetworkConfig, NodeSettings,
    ProviderKey, RewardAddress, SharedResources, Staking,
    file::{self, ConfigFile},
    owner, registries, storage,
};
use crate::{address, attestation::CollateralUrls, challenge::devices::ProverChoice, engine::KUBERNETES};

/// Default of `assay.min_profit`, in plancks: 0.001 ASY, the price of a slot at the default ask for 3.6 s,
/// which is about as long as a job occupies its slot without pay.
const DEFAULT_MIN_PROFIT: u128 = ASY / 1_000;

/// Checks the whole file; `folder` is the base of relative paths.
pub(super) fn resolve(file: &ConfigFile, folder: &Path) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader::default();
    if file.version.value != FORMAT_VERSION {
        reader.bad(
            "version",
            &file.version,
            format!("\"{FORMAT_VERSION}\", the one format this worker reads"),
        );
    }
    let network = network(&mut reader, &file.network_config);
    let resources = resources(&mut reader, &file.shared_resources);
    let defaults = file::Assay::default();
    let section = file.assay.as_ref().unwrap_or(&defaults);
    let config = Config {
        node: node(&mut reader, &file.node_settings),
        staking: file
            .staking
            .as_ref()
            .map(|staking| self::staking(&mut reader, staking))
            .unwrap_or_default(),
        assay: assay(
            &mut reader,
            section,
            folder,
            network.p2p_port,
            resources.gpus.is_some(),
        ),
        network,
        resources,
    };
    slot_is_large_enough(&mut reader, file, &config);
    let problems = reader.into_problems();
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(problems)
    }
}

fn node(reader: &mut Reader, section: &file::NodeSettings) -> NodeSettings {
    let address = match reward_address(&section.reward_address.value) {
        Ok(address) => address,
        Err(allowed) => {
            reader.bad("node_settings.reward_address", &section.reward_address, allowed);
            RewardAddress::Account([0; 32])
        }
    };
    NodeSettings {
        node_name: reader.text(
            "node_settings.node_name",
            &section.node_name,
            MAX_PROVIDER_NAME_BYTES,
        ),
        reward_address: address,
    }
}

fn reward_address(text: &str) -> Result<RewardAddress, String> {
    let address = if text.starts_with("0x") {
        address::parse_ethereum(text)
            .map(RewardAddress::Ethereum)
            .map_err(|error| error.to_string())?
    } else {
        address::parse_ss58(text)
            .map(RewardAddress::Account)
            .map_err(|error| format!("{error}, or 0x and 40 hexadecimal digits"))?
    };
    let is_zeros = match &address {
        RewardAddress::Account(bytes) => bytes.iter().all(|byte| *byte == 0),
        RewardAddress::Ethereum(bytes) => bytes.iter().all(|byte| *byte == 0),
    };
    if is_zeros {
        return Err("an address that somebody has the key of; nobody has that of zeros".to_owned());
    }
    Ok(address)
}

fn resources(reader: &mut Reader, section: &file::SharedResources) -> SharedResources {
    const MIB_PER_GIB: u32 = 1_024;
    let ram_gib = reader.number(
        "shared_resources.ram_gb",
        &section.ram_gb,
        1..=u32::MAX / MIB_PER_GIB,
    );
    SharedResources {
        cpu_cores: reader.number("shared_resources.cpu_cores", &section.cpu_cores, 1..=u16::MAX),
        ram_mib: ram_gib * MIB_PER_GIB,
        disk_gib: reader.number("shared_resources.storage_gb", &section.storage_gb, 1..=u32::MAX),
        gpus: gpus(reader, section.gpus.as_deref().unwrap_or_default()),
    }
}

fn gpus(reader: &mut Reader, entries: &[file::Gpu]) -> Option<Gpus> {
    let mut all: Option<Gpus> = None;
    for entry in entries {
        let model = reader.text("shared_resources.gpus.model", &entry.model, MAX_CLASS_NAME_BYTES);
        let count = reader.number_or(
            "shared_resources.gpus.count",
            entry.count.as_ref(),
            1..=MAX_SLOTS,
            1,
        );
        let allow_overclock = reader.flag(
            "shared_resources.gpus.allow_overclock",
            entry.allow_overclock.as_ref(),
        );
        let Some(gpus) = &mut all else {
            all = Some(Gpus {
                model,
                count,
                allow_overclock,
            });
            continue;
        };
        gpus.allow_overclock &= allow_overclock;
        if gpus.model != model {
            let first = gpus.model.clone();
            reader.bad(
                "shared_resources.gpus.model",
                &entry.model,
                format!(
                    "`{first}` as in the first entry; a machine has one hardware class, run a worker for each"
                ),
            );
        }
        match gpus.count.checked_add(count).filter(|sum| *sum <= MAX_SLOTS) {
            Some(sum) => gpus.count = sum,
            None => reader.problem(
                entry.model.place,
                format!("`shared_resources.gpus` has more GPUs than allowed: at most {MAX_SLOTS} together"),
            ),
        }
    }
    all
}

fn network(reader: &mut Reader, section: &file::NetworkConfig) -> NetworkConfig {
    NetworkConfig {
        max_upload_mbps: reader.number(
            "network_config.max_upload_mbps",
            &section.max_upload_mbps,
            1..=u32::MAX,
        ),
        max_download_mbps: reader.number(
            "network_config.max_download_mbps",
            &section.max_download_mbps,
            1..=u32::MAX,
        ),
        p2p_port: reader.number_or(
            "network_config.p2p_port",
            section.p2p_port.as_ref(),
            1..=u16::MAX,
            4001,
        ),
        enable_tee: reader.flag("network_config.enable_tee", section.enable_tee.as_ref()),
    }
}

fn staking(reader: &mut Reader, section: &file::Staking) -> Staking {
    /// Maximum supply of the emission, in whole tokens: no bond can exceed it.
    const ALL_TOKENS: u64 = (EMISSION_CAP / ASY) as u64;
    let tokens = reader.number_or(
        "staking.min_stake_amount",
        section.min_stake_amount.as_ref(),
        0..=ALL_TOKENS,
        0,
    );
    Staking {
        auto_stake_rewards: reader.flag("staking.auto_stake_rewards", section.auto_stake_rewards.as_ref()),
        min_stake: u128::from(tokens) * ASY,
    }
}

fn assay(
    reader: &mut Reader,
    section: &file::Assay,
    folder: &Path,
    port: u16,
    has_gpus: bool,
) -> AssaySettings {
    let path = |text: Option<&Text>| text.map(|text| folder.join(&text.value));
    let state_dir = path(section.state_dir.as_ref()).unwrap_or_else(|| folder.join("assay-worker-state"));
    let listen_address = section
        .listen_address
        .as_ref()
        .map_or(IpAddr::from([127, 0, 0, 1]), |text| {
            text.value.parse().unwrap_or_else(|_| {
                reader.bad(
                    "assay.listen_address",
                    text,
                    "an IP address, such as 127.0.0.1 or 0.0.0.0",
                );
                IpAddr::from([127, 0, 0, 1])
            })
        });
    if let (Some(text), true) = (&section.slots, has_gpus) {
        let message = "`assay.slots` is for machines without GPUs; remove it: each GPU is a slot".to_owned();
        reader.problem(text.place, message);
    }
    let (latitude_microdegrees, longitude_microdegrees) = location(reader, section);
    let endpoint = endpoint(reader, section, listen_address, port);
    let owner = owner::owner(reader, section, folder, listen_address, &endpoint, port);
    let private_registries = registries::resolve(reader, section);
    AssaySettings {
        chain_url: url(
            reader,
            "assay.chain_url",
            section.chain_url.as_ref(),
            &["ws://", "wss://"],
        )
        .unwrap_or_else(|| "ws://127.0.0.1:9944".into()),
        listen_address,
        metrics_listen: owner::metrics_listen(reader, section.metrics_listen.as_ref(), port, owner.port),
        owner,
        endpoint,
        ask_per_slot_hour: section.ask.as_ref().map_or(ASY, |text| ask(reader, text)),
        take_open_orders: section
            .take_open_orders
            .as_ref()
            .is_none_or(|text| reader.flag("assay.take_open_orders", Some(text))),
        min_profit: section
            .min_profit
            .as_ref()
            .map_or(DEFAULT_MIN_PROFIT, |text| min_profit(reader, text)),
        private_registries: private_registries.clone(),
        region: section
            .region
            .as_ref()
            .map_or_else(|| "unspecified".into(), |text| region(reader, text)),
        latitude_microdegrees,
        longitude_microdegrees,
        hardware_class: section
            .hardware_class
            .as_ref()
            .map(|text| reader.text("assay.hardware_class", text, MAX_CLASS_NAME_BYTES)),
        slots: reader.number_or("assay.slots", section.slots.as_ref(), 1..=MAX_SLOTS, 1),
        engine: section.engine.as_ref().map(|text| engine(reader, text)),
        kubernetes: super::kubernetes::resolve(reader, section, private_registries, folder),
        prover: section
            .prover
            .as_ref()
            .map_or(ProverChoice::Auto, |text| prover(reader, text)),
        provider_account: section.provider_account.as_ref().map(|text| {
            reader.with("assay.provider_account", text, |value| {
                address::parse_ss58(value).map_err(|error| error.to_string())
            })
        }),
        provider_key: provider_key(reader, section, folder),
        worker_key_file: path(section.worker_key_file.as_ref())
            .unwrap_or_else(|| state_dir.join("worker.key")),
        sealing_key_file: path(section.sealing_key_file.as_ref())
            .unwrap_or_else(|| state_dir.join("sealing.key")),
        run_dir: path(section.run_dir.as_ref()),
        storage: storage::resolve(reader, section, folder, &state_dir),
        state_dir,
        limits: section
            .limits
            .as_ref()
            .map(|limits| self::limits(reader, limits))
            .unwrap_or_default(),
        attestation: section
            .attestation
            .as_ref()
            .map(|attestation| self::attestation(reader, attestation, folder))
            .unwrap_or_default(),
        network: section
            .network
            .as_ref()
            .map(|network| super::network::resolve(reader, network))
            .unwrap_or_default(),
        health: section
            .health
            .as_ref()
            .map(|health| super::health::resolve(reader, health))
            .unwrap_or_default(),
    }
}

fn attestation(reader: &mut Reader, section: &file::Attestation, folder: &Path) -> AttestationSettings {
    const SCHEMES: [&str; 2] = ["http://", "https://"];
    let defaults = AttestationSettings::default();
    let mut service =
        |key: &str, text: Option<&Text>| url(reader, &format!("assay.attestation.{key}"), text, &SCHEMES);
    let urls = CollateralUrls {
        intel: service("intel_url", section.intel_url.as_ref()).unwrap_or(defaults.urls.intel),
        amd: service("amd_url", section.amd_url.as_ref()).unwrap_or(defaults.urls.amd),
        nvidia: service("nvidia_url", section.nvidia_url.as_ref()),
    };
    AttestationSettings {
        bring_collateral: section
            .bring_collateral
            .as_ref()
            .map_or(defaults.bring_collateral, |text| {
                reader.flag("assay.attestation.bring_collateral", Some(text))
            }),
        urls,
        amd_certificate_file: section
            .amd_certificate_file
            .as_ref()
            .map(|text| folder.join(&text.value)),
    }
}

/// Reads a URL of printable ASCII with one of the schemes; `None` if the key is missing.
pub(super) fn url(reader: &mut Reader, key: &str, text: Option<&Text>, schemes: &[&str]) -> Option<String> {
    text.map(|text| {
        reader.with(key, text, |value| {
            let scheme = schemes.iter().find(|scheme| value.starts_with(**scheme));
            let usable = scheme.is_some_and(|scheme| value.len() > scheme.len())
                && value.len() <= MAX_ENDPOINT_BYTES as usize
                && value.bytes().all(|byte| byte.is_ascii_graphic());
            if usable {
                return Ok(value.to_owned());
            }
            Err(format!(
                "a URL that begins with {}, at most {MAX_ENDPOINT_BYTES} bytes",
                schemes.join(" or ")
            ))
        })
    })
}

fn endpoint(reader: &mut Reader, section: &file::Assay, listen_address: IpAddr, port: u16) -> String {
    let given = url(
        reader,
        "assay.endpoint",
        section.endpoint.as_ref(),
        &["http://", "https://"],
    );
    if given.is_none() && listen_address.is_unspecified() {
        let location = section
            .listen_address
            .as_ref()
            .map_or(Place::UNKNOWN, |text| text.place);
        let message = format!(
            "`assay.listen_address` is {listen_address}, which is no address to connect to; add `assay.endpoint`, the public URL"
        );
        reader.problem(location, message);
    }
    given.unwrap_or_else(|| format!("http://{}", std::net::SocketAddr::new(listen_address, port)))
}

fn ask(reader: &mut Reader, text: &Text) -> u128 {
    reader.with("assay.ask", text, |value| {
        units::parse_asy(value)
            .ok()
            .filter(|plancks| *plancks > 0)
            .ok_or_else(|| "a price in ASY above 0 with at most 12 decimals, such as \"2.50\"".to_owned())
    })
}

fn min_profit(reader: &mut Reader, text: &Text) -> u128 {
    reader.with("assay.min_profit", text, |value| {
        units::parse_asy(value)
            .map_err(|_| "an amount in ASY with at most 12 decimals, such as \"0.001\" or \"0\"".to_owned())
    })
}

fn region(reader: &mut Reader, text: &Text) -> String {
    reader.with("assay.region", text, |value| {
        let usable = (1..=MAX_REGION_BYTES as usize).contains(&value.len())
            && value
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if usable {
            Ok(value.to_owned())
        } else {
            Err(format!("1 to {MAX_REGION_BYTES} of a-z, 0-9 and -"))
        }
    })
}

fn location(reader: &mut Reader, section: &file::Assay) -> (i32, i32) {
    match (&section.latitude, &section.longitude) {
        (Some(latitude), Some(longitude)) => (
            reader.with("assay.latitude", latitude, |value| parse_microdegrees(value, 90)),
            reader.with("assay.longitude", longitude, |value| {
                parse_microdegrees(value, 180)
            }),
        ),
        (None, None) => (0, 0),
        (Some(lone), None) | (None, Some(lone)) => {
            let message =
                "`assay.latitude` and `assay.longitude` go together; give both or neither".to_owned();
            reader.problem(lone.place, message);
            (0, 0)
        }
    }
}

fn engine(reader: &mut Reader, text: &Text) -> String {
    reader.with("assay.engine", text, |value| {
        let known = ["unix:///", "http://", "tcp://", "/"]
            .iter()
            .any(|start| value.starts_with(start) && value.len() > start.len());
        if known || value == KUBERNETES {
            Ok(value.to_owned())
        } else {
            Err(
                "an absolute socket path, a URL that begins with unix:///, http:// or tcp://, or kubernetes"
                    .into(),
            )
        }
    })
}

fn prover(reader: &mut Reader, text: &Text) -> ProverChoice {
    reader.with("assay.prover", text, |value| match value {
        "auto" => Ok(ProverChoice::Auto),
        _ => value
            .parse()
            .map(ProverChoice::Only)
            .map_err(|back_ends| format!("auto, {back_ends}")),
    })
}

fn provider_key(reader: &mut Reader, section: &file::Assay, folder: &Path) -> Option<ProviderKey> {
    match (&section.provider_key_file, &section.provider_key_uri) {
        (Some(file), Some(_)) => {
            let message =
                "`assay.provider_key_file` and `assay.provider_key_uri` exclude each other; keep one";
            reader.problem(file.place, message.into());
            None
        }
        (Some(file), None) if file.value.trim().is_empty() => {
            let message = "`assay.provider_key_file` is empty; name a key file, or remove the key";
            reader.problem(file.place, message.into());
            None
        }
        (None, Some(uri)) if uri.value.trim().is_empty() => {
            let message = "`assay.provider_key_uri` is empty, and everybody has the key of an empty URI; write a secret \
                           URI, or remove the key";
            reader.problem(uri.place, message.into());
            None
        }
        (Some(file), None) => Some(ProviderKey::File(folder.join(PathBuf::from(&file.value)))),
        (None, Some(uri)) => Some(ProviderKey::Uri(uri.value.clone())),
        (None, None) => None,
    }
}

fn limits(reader: &mut Reader, section: &file::Limits) -> Limits {
    let defaults = Limits::default();
    Limits {
        minimum_memory_mib: reader.number_or(
            "assay.limits.minimum_memory_mib",
            section.minimum_memory_mib.as_ref(),
            8..=u32::MAX,
            defaults.minimum_memory_mib,
        ),
        minimum_cpu_millis: reader.number_or(
            "assay.limits.minimum_cpu_millis",
            section.minimum_cpu_millis.as_ref(),
            10..=u32::MAX,
            defaults.minimum_cpu_millis,
        ),
        processes_per_slot: reader.number_or(
            "assay.limits.processes_per_slot",
            section.processes_per_slot.as_ref(),
            16..=4_194_304,
            defaults.processes_per_slot,
        ),
    }
}

/// Checks that a slot gets at least the configured minimum, below which containers do not run sensibly.
fn slot_is_large_enough(reader: &mut Reader, file: &ConfigFile, config: &Config) {
    let (share, limits, slots) = (config.slot_share(), config.assay.limits, config.slots());
    // Zero is the placeholder of a value whose problem is already reported.
    if (1..limits.minimum_memory_mib).contains(&share.memory_mib) {
        let message = format!(
            "`shared_resources.ram_gb` gives each of {slots} slots {} MiB; allowed: at least \
             `assay.limits.minimum_memory_mib`, {} MiB",
            share.memory_mib, limits.minimum_memory_mib
        );
        reader.problem(file.shared_resources.ram_gb.place, message);
    }
    if (1..limits.minimum_cpu_millis).contains(&share.cpu_millis) {
        let message = format!(
            "`shared_resources.cpu_cores` gives each of {slots} slots {} thousandths of a core; allowed: at least \
             `assay.limits.minimum_cpu_millis`, {}",
            share.cpu_millis, limits.minimum_cpu_millis
        );
        reader.problem(file.shared_resources.cpu_cores.place, message);
    }
}

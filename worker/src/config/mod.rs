//! `worker.yaml`: the published "DePIN Node Configuration" 3.2 plus the optional `assay` section.
//!
//! The file is read strictly. Unknown keys and bad values are errors that name the line and what is allowed,
//! and all of them are reported at once.

mod error;
mod file;
mod reader;
mod resolve;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use crate::{
    attestation::CollateralUrls,
    challenge::{devices::ProverChoice, slots::ProverShare},
};

pub use error::{ConfigError, Problem};

/// The one version of the format that is understood.
pub const FORMAT_VERSION: &str = "3.2";

/// Most slots that one machine may offer; the chain's own limit.
pub const MAX_SLOTS: u8 = 64;

/// A configuration whose every value was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `node_settings`; required.
    pub node: NodeSettings,
    /// `shared_resources`; required.
    pub resources: SharedResources,
    /// `network_config`; required.
    pub network: NetworkConfig,
    /// `staking`; optional, its keys have defaults.
    pub staking: Staking,
    /// `assay`; optional, its keys have defaults.
    pub assay: AssaySettings,
}

/// `node_settings`: who the provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// `node_name`: the provider's name on chain, 1 to 64 bytes. No default.
    pub node_name: String,
    /// `reward_address`: where rewards go. No default.
    pub reward_address: RewardAddress,
}

/// An account that rewards are paid to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewardAddress {
    /// An account of this chain, by its 32 bytes; written as an SS58 address.
    Account([u8; 32]),
    /// A 20-byte address; written as `0x` and 40 hexadecimal digits.
    Ethereum([u8; 20]),
}

/// `shared_resources`: what of the host is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedResources {
    /// `cpu_cores`: cores shared by all slots, 1 to 65,535. No default.
    pub cpu_cores: u16,
    /// `ram_gb`: memory shared by all slots; the file counts GiB, this counts MiB. No default.
    pub ram_mib: u32,
    /// `storage_gb`: disk shared by all slots, in GiB. No default.
    pub disk_gib: u32,
    /// `gpus`: the GPUs, all of one model. Default: none.
    pub gpus: Option<Gpus>,
}

/// The GPUs of a machine; they are of one model because a machine has one hardware class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpus {
    /// `model`: with or without the vendor's prefix, such as `RTX_4090` or `NVIDIA_RTX_4090`.
    pub model: String,
    /// `count`: how many, 1 to 64 together. Default: 1 for each entry.
    pub count: u8,
    /// `allow_overclock`: whether every entry allows it. Default: false. Reported in the status; changes no clock.
    pub allow_overclock: bool,
}

/// `network_config`: how the machine is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// `max_upload_mbps`: 1 to 4,294,967,295 Mbit/s. No default.
    pub max_upload_mbps: u32,
    /// `max_download_mbps`: 1 to 4,294,967,295 Mbit/s. No default.
    pub max_download_mbps: u32,
    /// `p2p_port`: TCP port of the worker's HTTP interface, 1 to 65,535. Default: 4001.
    pub p2p_port: u16,
    /// `enable_tee`: the wish to attest; earns nothing by itself. Default: false.
    pub enable_tee: bool,
}

/// `staking`: what is bonded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Staking {
    /// `auto_stake_rewards`: bond rewards instead of paying them to the reward address. Default: false.
    pub auto_stake_rewards: bool,
    /// `min_stake_amount`: whole tokens to bond at least, here in plancks. Default: 0, which bonds what the chain
    /// asks for.
    pub min_stake: u128,
}

/// `assay`: what the published format does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssaySettings {
    /// `chain_url`: WebSocket URL of a node. Default: `ws://127.0.0.1:9944`.
    pub chain_url: String,
    /// `listen_address`: address that the HTTP interface binds to. Default: `127.0.0.1`.
    pub listen_address: IpAddr,
    /// `endpoint`: public URL of the HTTP interface, at most 128 bytes. Default:
    /// `http://<listen_address>:<p2p_port>`; required when `listen_address` is the unspecified address.
    pub endpoint: String,
    /// `ask`: price per slot and hour, in ASY with at most 12 decimals; here in plancks. Default: 1.
    pub ask_per_slot_hour: u128,
    /// `take_open_orders`: take open orders that the machine meets, once their price has reached the ask. Default: true.
    pub take_open_orders: bool,
    /// `min_profit`: least that a job must bring in after fees, in ASY with at most 12 decimals; here in
    /// plancks. Jobs that bring less are not accepted, and declined where the consumer chose this machine.
    /// Default: 0.001.
    pub min_profit: u128,
    /// `allow_private_registries`: pull images from registries at addresses that are not of the public
    /// network, such as this host; for development. Default: false.
    pub allow_private_registries: bool,
    /// `region`: 1 to 16 of `a`–`z`, `0`–`9` and `-`. Default: `unspecified`.
    pub region: String,
    /// `latitude`: degrees north with at most 6 decimals, −90 to 90. Default: 0. Given together with `longitude`.
    pub latitude_microdegrees: i32,
    /// `longitude`: degrees east with at most 6 decimals, −180 to 180. Default: 0.
    pub longitude_microdegrees: i32,
    /// `hardware_class`: a name of the chain's catalogue. Default: the model of the GPUs, or `CPU` without any.
    pub hardware_class: Option<String>,
    /// `slots`: slots of a machine without GPUs, 1 to 64; one per GPU otherwise. Default: 1.
    pub slots: u8,
    /// `engine`: socket path, `unix://` or `http://` URL of a Docker Engine API. Default: `DOCKER_HOST`, then
    /// Docker's socket, then Podman's sockets.
    pub engine: Option<String>,
    /// `prover`: what answers the hardware challenge: `auto`, `cuda`, `wgpu` or `cpu`. Default: `auto`.
    pub prover: ProverChoice,
    /// `state_dir`: folder of keys, job notes and results. Default: `assay-worker-state` beside the file.
    pub state_dir: PathBuf,
    /// `provider_account`: SS58 address of a provider whose key is elsewhere. Default: the account of the provider
    /// key, if one is given.
    pub provider_account: Option<[u8; 32]>,
    /// `provider_key_file` or `provider_key_uri`: key by which the worker registers and bonds its machine. Default:
    /// none; then the worker prints what the provider must do, and waits.
    pub provider_key: Option<ProviderKey>,
    /// `worker_key_file`: the machine's hot key, created when absent. Default: `worker.key` in `state_dir`.
    pub worker_key_file: PathBuf,
    /// `sealing_key_file`: the machine's X25519 key, created when absent. Default: `sealing.key` in `state_dir`.
    pub sealing_key_file: PathBuf,
    /// `limits`: bounds of one slot's container. Optional, its keys have defaults.
    pub limits: Limits,
    /// `attestation`: where what evidence needs comes from. Optional, its keys have defaults.
    pub attestation: AttestationSettings,
}

/// `assay.attestation`: where certificates and collateral come from. Whether the machine attests is
/// `network_config.enable_tee`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationSettings {
    /// `bring_collateral`: bring to the chain what it lacks of the vendors' collateral. Default: true.
    pub bring_collateral: bool,
    /// `intel_url`, `amd_url`, `nvidia_url`: where the vendors publish. Defaults: Intel's and AMD's own services, and where
    /// NVIDIA's certificates say.
    pub urls: CollateralUrls,
    /// `amd_certificate_file`: the certificates of this machine's AMD chip and of its authority, in this order, as PEM.
    /// Default: none; the host is asked, then AMD.
    pub amd_certificate_file: Option<PathBuf>,
}

impl Default for AttestationSettings {
    fn default() -> Self {
        Self {
            bring_collateral: true,
            urls: CollateralUrls::default(),
            amd_certificate_file: None,
        }
    }
}

/// Where the provider's key is.
#[derive(Clone, PartialEq, Eq)]
pub enum ProviderKey {
    /// A key file.
    File(PathBuf),
    /// A secret URI such as `//Bob`; for development.
    Uri(String),
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            // A secret URI is a secret: it must not reach a log.
            Self::Uri(_) => formatter.write_str("Uri(…)"),
        }
    }
}

/// `assay.limits`: what a slot's container is never less, or more, than.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `minimum_memory_mib`: the least memory that a slot may come to, 8 or more. Default: 64.
    pub minimum_memory_mib: u32,
    /// `minimum_cpu_millis`: the least processor time that a slot may come to, in thousandths of a core, 10 or more.
    /// Default: 100.
    pub minimum_cpu_millis: u32,
    /// `processes_per_slot`: most processes and threads of a slot's container, 16 or more. Default: 1024.
    pub processes_per_slot: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            minimum_memory_mib: 64,
            minimum_cpu_millis: 100,
            processes_per_slot: 1024,
        }
    }
}

/// What one slot's container may use of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotShare {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processor time in thousandths of a core.
    pub cpu_millis: u32,
    /// Most processes and threads.
    pub processes: u32,
}

impl Config {
    /// Reads and checks a file. Relative paths in it count from its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file that lies at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut options = serde_saphyr::Options::default();
        // `yes` and `on` are other people's booleans; the places that want one say `true` or `false`.
        options.strict_booleans = true;
        let invalid = |problems| ConfigError::Invalid {
            path: path.to_owned(),
            problems,
        };
        let file: file::ConfigFile = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| invalid(vec![error::from_yaml(&error)]))?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        resolve::resolve(&file, folder).map_err(invalid)
    }

    /// Slots of the machine: one per GPU, or what the file says for a machine without.
    pub fn slots(&self) -> u8 {
        self.resources
            .gpus
            .as_ref()
            .map_or(self.assay.slots, |gpus| gpus.count)
    }

    /// Names under which the machine's hardware class may stand in the chain's catalogue, best guess first.
    pub fn class_candidates(&self) -> Vec<String> {
        if let Some(name) = &self.assay.hardware_class {
            return vec![name.clone()];
        }
        let Some(gpus) = &self.resources.gpus else {
            return vec!["CPU".into()];
        };
        let name: String = gpus
            .model
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect();
        let vendors = ["NVIDIA_", "AMD_", "INTEL_", "APPLE_"];
        std::iter::once(name.clone())
            .chain(vendors.iter().map(|vendor| format!("{vendor}{name}")))
            .collect()
    }

    /// The equal share of the host that one slot is.
    pub fn slot_share(&self) -> SlotShare {
        let slots = u32::from(self.slots().max(1));
        SlotShare {
            memory_mib: self.resources.ram_mib / slots,
            cpu_millis: u32::from(self.resources.cpu_cores) * 1_000 / slots,
            processes: self.assay.limits.processes_per_slot,
        }
    }

    /// GPUs that the machine offers.
    pub fn gpu_count(&self) -> u8 {
        self.resources.gpus.as_ref().map_or(0, |gpus| gpus.count)
    }

    /// What the hardware challenge may use of the host: the cores that are offered, as far as there are so many.
    pub fn prover_share(&self) -> ProverShare {
        let offered = NonZeroUsize::new(self.resources.cpu_cores.into()).unwrap_or(NonZeroUsize::MIN);
        let present = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        ProverShare {
            slots: self.slots().max(1),
            threads: offered.min(present),
        }
    }

    /// Where the HTTP interface listens.
    pub fn listen_on(&self) -> SocketAddr {
        SocketAddr::new(self.assay.listen_address, self.network.p2p_port)
    }
}

#[cfg(test)]
mod tests;

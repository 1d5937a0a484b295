//! `worker.yaml`: the published "DePIN Node Configuration" 3.2 plus the optional `assay` section.
//!
//! The file is read strictly. Unknown keys and bad values are errors that name the line and the allowed
//! values, and all of them are reported at once.

mod error;
mod file;
mod health;
mod kubernetes;
mod network;
pub(crate) mod owner;
mod registries;
mod resolve;
mod storage;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use crate::{
    attestation::CollateralUrls,
    challenge::{devices::ProverChoice, slots::ProverShare},
    engine::KubernetesSettings,
    health::HealthSettings,
    registry::PrivateRegistries,
};

pub use assay_client::yaml::Problem;
pub use error::ConfigError;
pub use network::JobNetworkSettings;
pub use owner::{CertificateFiles, OwnerLimits, OwnerSettings};
pub use storage::StorageSettings;

/// The only version of the format that this worker reads.
pub const FORMAT_VERSION: &str = "3.2";

/// A configuration with all values checked.
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

/// `node_settings`: identity of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// `node_name`: the provider's name on chain, 1 to 64 bytes. No default.
    pub node_name: String,
    /// `reward_address`: account that receives the rewards. No default.
    pub reward_address: RewardAddress,
}

/// Account that receives the rewards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewardAddress {
    /// An account of this chain, by its 32 bytes; written as an SS58 address.
    Account([u8; 32]),
    /// A 20-byte address; written as `0x` and 40 hexadecimal digits.
    Ethereum([u8; 20]),
}

/// `shared_resources`: resources of the host that are offered.
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

/// GPUs of a machine; all of one model, because a machine has one hardware class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpus {
    /// `model`: with or without the vendor's prefix, such as `RTX_4090` or `NVIDIA_RTX_4090`.
    pub model: String,
    /// `count`: number of GPUs, 1 to 64 in total. Default: 1 for each entry.
    pub count: u8,
    /// `allow_overclock`: true if every entry allows overclocking. Default: false; then a machine with a GPU
    /// beyond its vendor's clocks takes no new jobs. Reported in the status; changes no clock.
    pub allow_overclock: bool,
}

/// `network_config`: the machine's network connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// `max_upload_mbps`: 1 to 4,294,967,295 Mbit/s. No default.
    pub max_upload_mbps: u32,
    /// `max_download_mbps`: 1 to 4,294,967,295 Mbit/s. No default.
    pub max_download_mbps: u32,
    /// `p2p_port`: TCP port of the public part of the worker's HTTP API, 1 to 65,535. Default: 4001.
    pub p2p_port: u16,
    /// `enable_tee`: attest the machine; earns nothing by itself. Default: false.
    pub enable_tee: bool,
}

/// `staking`: the machine's bond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Staking {
    /// `auto_stake_rewards`: bond rewards instead of paying them to the reward address. Default: false.
    pub auto_stake_rewards: bool,
    /// `min_stake_amount`: minimum to bond, in the file in whole tokens, here in plancks. Default: 0, which
    /// bonds the chain's minimum.
    pub min_stake: u128,
}

/// `assay`: settings beyond the published format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssaySettings {
    /// `chain_url`: WebSocket URL of a node. Default: `ws://127.0.0.1:9944`.
    pub chain_url: String,
    /// `listen_address`: address that both parts of the HTTP API bind to. Default: `127.0.0.1`.
    pub listen_address: IpAddr,
    /// `metrics_listen`: address and port on which the metrics of devices and jobs are served, over plain
    /// HTTP and to everybody who reaches it. Default: `127.0.0.1` and the port after `owner_port`.
    pub metrics_listen: SocketAddr,
    /// `endpoint`: public URL of the public part of the HTTP API, at most 128 bytes. Default:
    /// `http://<listen_address>:<p2p_port>`; required when `listen_address` is the unspecified address.
    pub endpoint: String,
    /// `ask`: price per slot and hour, in ASY with at most 12 decimals; here in plancks. Default: 1.
    pub ask_per_slot_hour: u128,
    /// `take_open_orders`: take open orders that the machine meets once their price has reached the ask.
    /// Default: true.
    pub take_open_orders: bool,
    /// `min_profit`: minimum that a job must earn after fees, in ASY with at most 12 decimals; here in
    /// plancks. Jobs that earn less are not accepted, and declined if the consumer chose this machine.
    /// Default: 0.001.
    pub min_profit: u128,
    /// `private_registries`: registries that may be at addresses outside the public network, such as this
    /// host, as `host[:port]` like in the names of images; at most 64. Default: none.
    pub private_registries: PrivateRegistries,
    /// `region`: 1 to 16 of `a`–`z`, `0`–`9` and `-`. Default: `unspecified`.
    pub region: String,
    /// `latitude`: degrees north with at most 6 decimals, −90 to 90. Default: 0. Needs `longitude`.
    pub latitude_microdegrees: i32,
    /// `longitude`: degrees east with at most 6 decimals, −180 to 180. Default: 0.
    pub longitude_microdegrees: i32,
    /// `hardware_class`: name in the catalogue. Default: the model of the GPUs, or `CPU` without any.
    pub hardware_class: Option<String>,
    /// `slots`: slots of a machine without GPUs, 1 to 64; one per GPU otherwise. Default: 1.
    pub slots: u8,
    /// `engine`: socket path, `unix://` or `http://` URL of a Docker Engine API, or `kubernetes`. Default:
    /// `DOCKER_HOST`, then Docker's socket, then Podman's sockets.
    pub engine: Option<String>,
    /// `kubernetes`: the cluster, where the engine is `kubernetes`; `None` otherwise. Its keys have defaults.
    pub kubernetes: Option<KubernetesSettings>,
    /// `prover`: back end that answers the hardware challenge: `auto`, `cuda`, `wgpu` or `cpu`. Default:
    /// `auto`.
    pub prover: ProverChoice,
    /// `state_dir`: folder of keys, job notes and results. Default: `assay-worker-state` beside the file.
    pub state_dir: PathBuf,
    /// `run_dir`: folder for the files in memory of sealed jobs, on a tmpfs unless the worker is root.
    /// Default: `/run/assay-worker` as root, otherwise `assay-worker` in `$XDG_RUNTIME_DIR`.
    pub run_dir: Option<PathBuf>,
    /// `provider_account`: SS58 address of a provider whose key is elsewhere. Default: the account of the
    /// provider key, if one is given.
    pub provider_account: Option<[u8; 32]>,
    /// `provider_key_file` or `provider_key_uri`: key with which the worker registers and bonds its machine.
    /// Default: none; then the worker prints the provider's instructions, and waits.
    pub provider_key: Option<ProviderKey>,
    /// `worker_key_file`: the machine's hot key, created if missing. Default: `worker.key` in `state_dir`.
    pub worker_key_file: PathBuf,
    /// `sealing_key_file`: the machine's X25519 key, created if missing. Default: `sealing.key` in
    /// `state_dir`.
    pub sealing_key_file: PathBuf,
    /// `disk_dir`, `image_cache_gb` and `kept_output_gb`: the jobs' disks, the kept images and outputs.
    pub storage: StorageSettings,
    /// `limits`: bounds of one slot's container. Optional, its keys have defaults.
    pub limits: Limits,
    /// `attestation`: sources of certificates and collateral. Optional, its keys have defaults.
    pub attestation: AttestationSettings,
    /// `owner_…` and `tls_…`: the part of the HTTP API for owners of jobs.
    pub owner: OwnerSettings,
    /// `network`: networks and published ports of jobs. Optional, its keys have defaults.
    pub network: JobNetworkSettings,
    /// `health`: temperatures for a warning, for no new jobs, and for a suspension. Optional, its keys have
    /// defaults.
    pub health: HealthSettings,
}

/// `assay.attestation`: sources of certificates and collateral. `network_config.enable_tee` says whether the
/// machine attests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationSettings {
    /// `bring_collateral`: submit the vendors' collateral that the chain lacks. Default: true.
    pub bring_collateral: bool,
    /// `intel_url`, `amd_url`, `nvidia_url`: base URLs of the vendors' services. Defaults: Intel's and AMD's
    /// own services, and the URLs in NVIDIA's certificates.
    pub urls: CollateralUrls,
    /// `amd_certificate_file`: the certificates of this machine's AMD chip and of its authority, in this
    /// order, as PEM. Default: none; then the certificates come from the host, else from AMD.
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

/// Source of the provider's key.
#[derive(Clone, PartialEq, Eq)]
pub enum ProviderKey {
    /// Path of a key file.
    File(PathBuf),
    /// A secret URI such as `//Bob`; for development.
    Uri(String),
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            // A secret URI must not reach a log.
            Self::Uri(_) => formatter.write_str("Uri(…)"),
        }
    }
}

/// `assay.limits`: limits of a slot's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `minimum_memory_mib`: minimum memory of a slot in MiB, 8 or more. Default: 64.
    pub minimum_memory_mib: u32,
    /// `minimum_cpu_millis`: minimum processor time of a slot in thousandths of a core, 10 or more. Default:
    /// 100.
    pub minimum_cpu_millis: u32,
    /// `processes_per_slot`: maximum number of processes and threads of a slot's container, 16 or more.
    /// Default: 1024.
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

/// Limits of one slot's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotShare {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processor time in thousandths of a core.
    pub cpu_millis: u32,
    /// Maximum number of processes and threads.
    pub processes: u32,
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut options = serde_saphyr::Options::default();
        // YAML 1.1 spells booleans `yes` and `on`, too; here only `true` and `false` are valid.
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

    /// Returns the number of slots: one per GPU, or the configured number without GPUs.
    pub fn slots(&self) -> u8 {
        self.resources
            .gpus
            .as_ref()
            .map_or(self.assay.slots, |gpus| gpus.count)
    }

    /// Returns the names that the machine's hardware class may have in the chain's catalogue, best guess
    /// first.
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

    /// Returns one slot's equal share of the host.
    pub fn slot_share(&self) -> SlotShare {
        let slots = u32::from(self.slots().max(1));
        SlotShare {
            memory_mib: self.resources.ram_mib / slots,
            cpu_millis: u32::from(self.resources.cpu_cores) * 1_000 / slots,
            processes: self.assay.limits.processes_per_slot,
        }
    }

    /// Returns the number of GPUs that the machine offers.
    pub fn gpu_count(&self) -> u8 {
        self.resources.gpus.as_ref().map_or(0, |gpus| gpus.count)
    }

    /// Returns the share of the host for the hardware challenge: the offered cores, as far as the host has
    /// them.
    pub fn prover_share(&self) -> ProverShare {
        let offered = NonZeroUsize::new(self.resources.cpu_cores.into()).unwrap_or(NonZeroUsize::MIN);
        let present = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        ProverShare {
            slots: self.slots().max(1),
            threads: offered.min(present),
        }
    }

    /// Returns the address on which the public part of the HTTP API listens.
    pub fn listen_on(&self) -> SocketAddr {
        SocketAddr::new(self.assay.listen_address, self.network.p2p_port)
    }

    /// Returns the address on which the owner part of the HTTP API listens.
    pub fn owner_listen_on(&self) -> SocketAddr {
        SocketAddr::new(self.assay.listen_address, self.assay.owner.port)
    }
}

#[cfg(test)]
mod tests;

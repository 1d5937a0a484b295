//! The YAML of `worker.yaml` as written, before any value is checked.
//!
//! Every scalar is read as text together with its place, so that a bad value is reported with the key's full
//! name, its line, and the allowed values. Meanings and defaults of the keys are documented on
//! [`super::Config`] and its parts, which have the same names.

use assay_client::yaml::Text;
use serde::Deserialize;

/// The whole file: "DePIN Node Configuration" version 3.2 plus the optional `assay` section.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) version: Text,
    pub(super) node_settings: NodeSettings,
    pub(super) shared_resources: SharedResources,
    pub(super) network_config: NetworkConfig,
    pub(super) staking: Option<Staking>,
    pub(super) assay: Option<Assay>,
}

/// `node_settings`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeSettings {
    pub(super) node_name: Text,
    pub(super) reward_address: Text,
}

/// `shared_resources`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SharedResources {
    pub(super) cpu_cores: Text,
    pub(super) ram_gb: Text,
    pub(super) storage_gb: Text,
    pub(super) gpus: Option<Vec<Gpu>>,
}

/// One entry of `shared_resources.gpus`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gpu {
    pub(super) model: Text,
    pub(super) count: Option<Text>,
    pub(super) allow_overclock: Option<Text>,
}

/// `network_config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkConfig {
    pub(super) max_upload_mbps: Text,
    pub(super) max_download_mbps: Text,
    pub(super) p2p_port: Option<Text>,
    pub(super) enable_tee: Option<Text>,
}

/// `staking`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Staking {
    pub(super) auto_stake_rewards: Option<Text>,
    pub(super) min_stake_amount: Option<Text>,
}

/// `assay`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assay {
    pub(super) chain_url: Option<Text>,
    pub(super) listen_address: Option<Text>,
    pub(super) metrics_listen: Option<Text>,
    pub(super) endpoint: Option<Text>,
    pub(super) ask: Option<Text>,
    pub(super) take_open_orders: Option<Text>,
    pub(super) min_profit: Option<Text>,
    pub(super) private_registries: Option<Vec<Text>>,
    /// Replaced by `private_registries`; read for a message that says so.
    pub(super) allow_private_registries: Option<Text>,
    pub(super) region: Option<Text>,
    pub(super) latitude: Option<Text>,
    pub(super) longitude: Option<Text>,
    pub(super) hardware_class: Option<Text>,
    pub(super) slots: Option<Text>,
    pub(super) engine: Option<Text>,
    pub(super) prover: Option<Text>,
    pub(super) state_dir: Option<Text>,
    pub(super) run_dir: Option<Text>,
    pub(super) provider_account: Option<Text>,
    pub(super) provider_key_file: Option<Text>,
    pub(super) provider_key_uri: Option<Text>,
    pub(super) worker_key_file: Option<Text>,
    pub(super) sealing_key_file: Option<Text>,
    pub(super) disk_dir: Option<Text>,
    pub(super) image_cache_gb: Option<Text>,
    pub(super) kept_output_gb: Option<Text>,
    pub(super) limits: Option<Limits>,
    pub(super) attestation: Option<Attestation>,
    pub(super) owner_port: Option<Text>,
    pub(super) owner_endpoint: Option<Text>,
    pub(super) owner_limits: Option<OwnerLimits>,
    pub(super) tls_certificate_file: Option<Text>,
    pub(super) tls_key_file: Option<Text>,
    pub(super) network: Option<super::network::NetworkSection>,
    pub(super) health: Option<super::health::HealthSection>,
    pub(super) kubernetes: Option<super::kubernetes::KubernetesSection>,
}

/// `assay.owner_limits`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnerLimits {
    pub(super) connections: Option<Text>,
    pub(super) connections_per_address: Option<Text>,
    pub(super) requests_per_second: Option<Text>,
    pub(super) log_readers: Option<Text>,
    pub(super) log_readers_per_job: Option<Text>,
    pub(super) shells: Option<Text>,
    pub(super) shells_per_job: Option<Text>,
    pub(super) downloads: Option<Text>,
    pub(super) downloads_per_job: Option<Text>,
    pub(super) patience_s: Option<Text>,
    pub(super) keep_alive_s: Option<Text>,
    pub(super) shell_idle_s: Option<Text>,
}

/// `assay.attestation`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attestation {
    pub(super) bring_collateral: Option<Text>,
    pub(super) intel_url: Option<Text>,
    pub(super) amd_url: Option<Text>,
    pub(super) nvidia_url: Option<Text>,
    pub(super) amd_certificate_file: Option<Text>,
}

/// `assay.limits`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) minimum_memory_mib: Option<Text>,
    pub(super) minimum_cpu_millis: Option<Text>,
    pub(super) processes_per_slot: Option<Text>,
}

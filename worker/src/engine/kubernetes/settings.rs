//! Settings of the engine `kubernetes`.

use std::path::PathBuf;

use assay_client::manifest::ImageReference;

use crate::registry::{PrivateRegistries, RegistryNames};

/// `assay.kubernetes`: the cluster on which jobs run where `assay.engine` is `kubernetes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// `kubeconfig`: file that names the cluster and the worker's rights. Default: none; then the worker runs
    /// in a pod of the cluster, with its service account.
    pub kubeconfig: Option<PathBuf>,
    /// `node`: name of the node that the worker offers: the machine of the chain. Default: the environment
    /// variable `NODE_NAME`.
    pub node: Option<String>,
    /// `runtime_class`: RuntimeClass of jobs whose manifest names no runtime. Default: none, the cluster's
    /// own.
    pub runtime_class: Option<String>,
    /// `storage_class`: class of the volumes that jobs get as disks, whose size is a hard limit. Default:
    /// none; then a disk is a folder of the node, and a job that writes more is evicted.
    pub storage_class: Option<String>,
    /// `registries`: registries that nodes may pull from besides the private ones, because the provider
    /// trusts their operators not to direct a pull to an address of the cluster. Default:
    /// [`PUBLIC_REGISTRIES`].
    ///
    /// [`PUBLIC_REGISTRIES`]: crate::registry::PUBLIC_REGISTRIES
    pub registries: RegistryNames,
    /// `registry_logins`: hand credentials of manifests to the cluster as Secrets, for the time of a pull.
    /// They then pass etcd. Default: false, and jobs that need them are declined.
    pub registry_logins: bool,
    /// `fence_targets`: addresses with ports, such as `10.0.0.5:22`, that answer pods of the cluster and
    /// must not answer a job; at most eight. They are tried before each start, besides the cluster's own.
    /// Default: none.
    pub fence_targets: Vec<String>,
    /// Registries that may be at addresses outside the public network; `assay.private_registries`.
    pub private_registries: PrivateRegistries,
}

/// Maximum number of `fence_targets`.
pub const MAX_FENCE_TARGETS: usize = 8;

impl KubernetesSettings {
    /// Returns true if nodes may pull an image from its registry.
    pub fn may_pull(&self, image: &ImageReference) -> bool {
        self.registries.has_registry_of(image) || self.private_registries.has_registry_of(image)
    }

    /// Returns the name of the node, if one is known.
    pub fn node_name(&self) -> Option<String> {
        let of_pod = || std::env::var("NODE_NAME").ok();
        self.node.clone().or_else(of_pod).filter(|name| !name.is_empty())
    }
}

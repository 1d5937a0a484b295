//! Genesis state: its configuration's types and default, and the checks when it is written.

use alloc::{string::String, vec::Vec};
use core::marker::PhantomData;

use assay_evidence::nvidia::Reference;
use codec::DecodeAll;
use polkadot_sdk::sp_core::{Bytes, H256};
use serde::{Deserialize, Serialize};

use crate::{AllowedWorkloads, Collateral, Config, GenesisConfig, Pallet, Vendor, WorkloadName};

/// Root as genesis configurations spell it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisRoot {
    /// Vendor of the root.
    pub vendor: Vendor,
    /// Certificate (DER).
    pub certificate: Bytes,
}

/// Workload as genesis configurations spell it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisWorkload {
    /// Digest of the workload.
    pub digest: H256,
    /// Name of the workload; at most 64 bytes.
    pub name: String,
}

/// Returns the default roots of a genesis: those that the vendors publish.
pub fn vendors_genesis_roots() -> Vec<GenesisRoot> {
    use assay_evidence::vendor_roots::{
        AMD_ARK_GENOA, AMD_ARK_MILAN, AMD_ARK_TURIN, INTEL_SGX_ROOT, NVIDIA_DEVICE_IDENTITY,
    };
    [
        (Vendor::Intel, INTEL_SGX_ROOT),
        (Vendor::AmdMilan, AMD_ARK_MILAN),
        (Vendor::AmdGenoa, AMD_ARK_GENOA),
        (Vendor::AmdTurin, AMD_ARK_TURIN),
        (Vendor::Nvidia, NVIDIA_DEVICE_IDENTITY),
    ]
    .into_iter()
    .map(|(vendor, certificate)| GenesisRoot {
        vendor,
        certificate: Bytes(certificate.to_vec()),
    })
    .collect()
}

impl<T: Config> Default for GenesisConfig<T> {
    fn default() -> Self {
        Self {
            roots: vendors_genesis_roots(),
            workloads: Vec::new(),
            references: Vec::new(),
            collateral: Vec::new(),
            collateral_time_s: 0,
            _config: PhantomData,
        }
    }
}

impl<T: Config> GenesisConfig<T> {
    /// Checks the configuration and writes the state of genesis.
    ///
    /// # Panics
    /// Panics if an entry is invalid, there twice, or one too many.
    pub(crate) fn write(&self) {
        for root in &self.roots {
            Pallet::<T>::do_add_root(root.vendor, &root.certificate.0)
                .expect("genesis: a root is no root certificate, is there twice, or they are too many");
        }
        for workload in &self.workloads {
            let name: WorkloadName = workload
                .name
                .clone()
                .into_bytes()
                .try_into()
                .expect("genesis: the name of a workload is too long");
            AllowedWorkloads::<T>::insert(workload.digest, name);
        }
        for encoded in &self.references {
            let reference = Reference::decode_all(&mut encoded.0.as_slice())
                .expect("genesis: a reference is not encoded as one");
            Pallet::<T>::do_set_reference(reference).expect("genesis: a reference has no measurement");
        }
        for encoded in &self.collateral {
            let collateral = Collateral::decode_all(&mut encoded.0.as_slice())
                .expect("genesis: a piece of collateral is not encoded as one");
            Pallet::<T>::do_submit_collateral(None, &collateral, self.collateral_time_s)
                .expect("genesis: a piece of collateral is refused");
        }
    }
}

//! What the chain knows of machines' evidence, and what it judges evidence by.

use assay_primitives::machine::MachineId;
use subxt::dynamic::Value;

use crate::{
    calls::intel_tee,
    client::ChainClient,
    error::Error,
    queries::value,
    types::{CollateralId, EvidenceRecord, KeptCollateral, KeptKey, KeyId, RawMachineEvidence},
};

impl ChainClient {
    /// The evidence of a machine that has not ended; also such as its present keys do not fit.
    pub async fn evidence_of(&self, machine: MachineId) -> Result<Vec<EvidenceRecord>, Error> {
        let found: Option<RawMachineEvidence> =
            value(&self.at_best().await?, "Attestation", "Attested", (machine,)).await?;
        Ok(found
            .into_iter()
            .flat_map(|evidence| evidence.records)
            .map(EvidenceRecord::from)
            .collect())
    }

    /// Whether the chain keeps a key, so that evidence needs no chain of certificates beside it.
    pub async fn keeps_key(&self, id: &KeyId) -> Result<bool, Error> {
        let found: Option<KeptKey> =
            value(&self.at_best().await?, "Attestation", "VerifiedKeys", (*id,)).await?;
        Ok(found.is_some())
    }

    /// When a piece of collateral has to be replaced, in seconds since 1970; `None` where the chain has none.
    pub async fn collateral_ends_s(&self, id: &CollateralId) -> Result<Option<u64>, Error> {
        let at = self.at_best().await?;
        let found: Option<KeptCollateral> = match id {
            CollateralId::TcbInfo { tee, fmspc, pce_id } => {
                let key = tcb_info_key(*tee, fmspc, pce_id);
                value(&at, "Attestation", "TcbInfos", (key,)).await?
            }
            CollateralId::QeIdentity(tee) => {
                value(&at, "Attestation", "QeIdentities", (intel_tee(*tee),)).await?
            }
            CollateralId::RevocationList(issuer) => {
                value(&at, "Attestation", "RevocationLists", (*issuer,)).await?
            }
        };
        Ok(found.map(|record| record.content.next_update_s))
    }
}

/// A TCB info's place in storage.
pub(crate) fn tcb_info_key(tee: crate::types::IntelTee, fmspc: &[u8; 6], pce_id: &[u8; 2]) -> Value<()> {
    Value::named_composite([
        ("tee", intel_tee(tee)),
        ("fmspc", Value::from_bytes(fmspc)),
        ("pce_id", Value::from_bytes(pce_id)),
    ])
}

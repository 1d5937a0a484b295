//! Queries of machines' evidence, and of the collateral by which the chain judges evidence.

use assay_primitives::machine::MachineId;
use subxt::dynamic::Value;

use crate::{
    calls::intel_tee,
    client::ChainClient,
    error::Error,
    queries::value,
    types::{CollateralId, EvidenceRecord, KeptCollateral, KeptKey, KeyId, RawMachineEvidence, TcbInfoId},
};

impl ChainClient {
    /// Returns a machine's evidence that has not ended, including evidence bound to other keys than its
    /// present ones.
    pub async fn evidence_of(&self, machine: MachineId) -> Result<Vec<EvidenceRecord>, Error> {
        let found: Option<RawMachineEvidence> =
            value(&self.at_best().await?, "Attestation", "Attested", (machine,)).await?;
        Ok(found
            .into_iter()
            .flat_map(|evidence| evidence.records)
            .map(EvidenceRecord::from)
            .collect())
    }

    /// Returns true if the chain keeps a key, so that evidence needs no chain of certificates beside it.
    pub async fn keeps_key(&self, id: &KeyId) -> Result<bool, Error> {
        let found: Option<KeptKey> =
            value(&self.at_best().await?, "Attestation", "VerifiedKeys", (*id,)).await?;
        Ok(found.is_some())
    }

    /// Returns the time by which a piece of collateral must be replaced, in seconds since 1970; `None` if the
    /// chain has no such piece.
    pub async fn collateral_ends_s(&self, id: &CollateralId) -> Result<Option<u64>, Error> {
        let at = self.at_best().await?;
        let found: Option<KeptCollateral> = match id {
            CollateralId::TcbInfo(id) => value(&at, "Attestation", "TcbInfos", (tcb_info_key(id),)).await?,
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

/// Returns the storage key of a TCB info.
pub(crate) fn tcb_info_key(id: &TcbInfoId) -> Value<()> {
    Value::named_composite([
        ("tee", intel_tee(id.tee)),
        ("fmspc", Value::from_bytes(id.fmspc)),
        ("pce_id", Value::from_bytes(id.pce_id)),
    ])
}

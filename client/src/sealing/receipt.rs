//! Receipts of sealed manifests.

use assay_primitives::delivery::ReceiptStatement;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use subxt_signer::sr25519::{self, Keypair};

use crate::types::AccountId;

/// Receipt of a sealed manifest, signed by the machine's worker key.
///
/// It decides a dispute about the delivery: a machine that gave it cannot say that nothing was delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Number of the job.
    pub job: u64,
    /// Number of the machine.
    pub machine: u64,
    /// Hash of nonce and manifest, as on chain.
    #[serde(with = "digits")]
    pub manifest_hash: [u8; 32],
    /// Active time at which the manifest reached the machine, in milliseconds.
    pub active_time_ms: u64,
    /// sr25519 signature of the worker key over [`ReceiptStatement::message`].
    #[serde(with = "digits")]
    pub signature: [u8; 64],
}

impl Receipt {
    /// Signs a statement with the worker key.
    pub fn sign(worker: &Keypair, genesis_hash: &[u8; 32], statement: &ReceiptStatement) -> Self {
        Self {
            job: statement.job,
            machine: statement.machine,
            manifest_hash: statement.manifest_hash,
            active_time_ms: statement.active_time_ms,
            signature: worker.sign(&statement.message(genesis_hash)).0,
        }
    }

    /// Returns the statement that is signed.
    pub fn statement(&self) -> ReceiptStatement {
        ReceiptStatement {
            job: self.job,
            machine: self.machine,
            manifest_hash: self.manifest_hash,
            active_time_ms: self.active_time_ms,
        }
    }

    /// Returns true if a worker key signed the receipt on the chain with this genesis.
    pub fn is_signed_by(&self, worker: &AccountId, genesis_hash: &[u8; 32]) -> bool {
        sr25519::verify(
            &sr25519::Signature(self.signature),
            self.statement().message(genesis_hash),
            &sr25519::PublicKey(worker.0),
        )
    }
}

/// Bytes as hexadecimal digits behind `0x`.
mod digits {
    use super::{Deserialize, Deserializer, Error, Serializer};

    pub(super) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("0x{}", hex::encode(bytes)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; N];
        let digits = text
            .strip_prefix("0x")
            .ok_or_else(|| D::Error::custom("it does not begin with 0x"))?;
        hex::decode_to_slice(digits, &mut bytes).map_err(D::Error::custom)?;
        Ok(bytes)
    }
}

//! Queries about one account: its money by reason, its open jobs, and the manifests that it noted.
//!
//! The chain's pallets hold money of accounts and give it back with the record that it is held for. A public
//! manifest is the exception: the account that noted it gets the deposit back by a call of its own, because
//! the preimage store that keeps it serves others, too. An open job pays for the bytes of its manifest by its
//! own deposit, and asks the store to keep them until it is closed, so the note's deposit can be taken back
//! as soon as the job is ordered: [`ChainClient::order_of_public`] does that in the order's own transaction.

use assay_primitives::money::Balance;
use scale_decode::DecodeAsType;
use serde::{Serialize, Serializer};
use subxt::{
    dynamic::Value,
    ext::scale_value::{Composite, ValueDef},
};

use crate::{
    calls::{self, Call},
    client::{AtBlock, ChainClient},
    error::{Error, from_subxt},
    json,
    queries::{balance_of, value},
    types::{AccountId, JobId, ManifestRef, as_decimal, as_hex},
};

/// Money of an account that a pallet holds for one reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Hold {
    /// The pallet, as the runtime names it.
    pub pallet: String,
    /// The pallet's name of the reason.
    #[serde(serialize_with = "as_snake_case")]
    pub reason: String,
    /// Plancks.
    #[serde(serialize_with = "as_decimal")]
    pub amount: Balance,
}

/// A name of the runtime, as programs get all names.
fn as_snake_case<S: Serializer>(name: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&json::snake_case(name))
}

impl Hold {
    /// Returns the purpose in words, with what gives the money back.
    pub fn purpose(&self) -> &'static str {
        match (self.pallet.as_str(), self.reason.as_str()) {
            ("JobEscrow", "Job") => "escrow, deposits and bounties of open jobs",
            ("ProviderStaking", "MachineBond") => "bonds of machines",
            ("ProviderRegistry", "ProviderDeposit") => "deposit of the provider's record",
            ("ProviderRegistry", "MachineDeposit") => "deposits of machines' records",
            ("Attestation", "Evidence") => "deposits of machines' evidence",
            ("Attestation", "Key") => "deposits of verified keys",
            ("Attestation", "Collateral") => "deposits of collateral",
            ("Preimage", "Preimage") => "deposits of noted manifests; `assay job reclaim` returns them",
            ("Session", _) => "deposit of session keys",
            (RESERVED, _) => "reserved by pallets that name no reason, such as proxies and multisigs",
            _ => "another deposit",
        }
    }
}

/// Pallet of the part that is reserved and not held: the balances themselves.
const RESERVED: &str = "Balances";

/// A hold as the chain has it; its reason is an enum of the pallets' enums.
#[derive(DecodeAsType)]
pub(crate) struct HoldRecord {
    id: Value<()>,
    amount: Balance,
}

impl HoldRecord {
    pub(crate) fn into_hold(self) -> Hold {
        let (pallet, inner) = name_of(self.id);
        Hold {
            pallet,
            reason: inner.map_or_else(String::new, |inner| name_of(inner).0),
            amount: self.amount,
        }
    }
}

/// Returns the name of a variant and its first value.
fn name_of(value: Value<()>) -> (String, Option<Value<()>>) {
    match value.value {
        ValueDef::Variant(variant) => {
            let inner = match variant.values {
                Composite::Named(values) => values.into_iter().next().map(|(_, value)| value),
                Composite::Unnamed(values) => values.into_iter().next(),
            };
            (variant.name, inner)
        }
        _ => (String::new(), None),
    }
}

/// A manifest in the preimage store, as the chain has it.
#[derive(DecodeAsType)]
pub(crate) enum NoteRecord {
    /// No open job uses it.
    Unrequested {
        /// Account that noted it, and its deposit.
        ticket: (AccountId, Balance),
        /// Length of the bytes.
        len: u32,
    },
    /// Open jobs use it.
    Requested {
        /// Account that noted it, and its deposit, unless it took that back.
        maybe_ticket: Option<(AccountId, Balance)>,
        /// Number of open jobs.
        count: u32,
        /// Length of the bytes, if somebody noted them.
        maybe_len: Option<u32>,
    },
}

impl NoteRecord {
    /// Returns true if the store has the bytes.
    fn has_bytes(&self) -> bool {
        match self {
            Self::Unrequested { .. } => true,
            Self::Requested { maybe_len, .. } => maybe_len.is_some(),
        }
    }

    /// Returns the account that has a deposit in it, and the deposit.
    pub(crate) fn ticket(&self) -> Option<(AccountId, Balance)> {
        match self {
            Self::Unrequested { ticket, .. } => Some(*ticket),
            Self::Requested { maybe_ticket, .. } => *maybe_ticket,
        }
    }

    /// Returns the number of open jobs that use it.
    fn jobs(&self) -> u32 {
        match self {
            Self::Unrequested { .. } => 0,
            Self::Requested { count, .. } => *count,
        }
    }

    /// Returns the length of the bytes; zero if the store has none.
    fn length_bytes(&self) -> u32 {
        match self {
            Self::Unrequested { len, .. } => *len,
            Self::Requested { maybe_len, .. } => maybe_len.unwrap_or(0),
        }
    }
}

/// A manifest for which an account has a deposit in the preimage store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NotedManifest {
    /// Blake2-256 hash of the bytes.
    #[serde(serialize_with = "as_hex")]
    pub hash: [u8; 32],
    /// Length of the bytes.
    pub length_bytes: u32,
    /// Plancks held.
    #[serde(serialize_with = "as_decimal")]
    pub deposit: Balance,
    /// Number of open jobs that use it; the store keeps it for them without this deposit.
    pub open_jobs: u32,
}

/// Part of a list that may be longer than anybody wants to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bounded<T> {
    /// The entries that were read.
    pub entries: Vec<T>,
    /// True if there are none beyond those that were looked at.
    pub is_complete: bool,
}

impl ChainClient {
    /// Returns the money of an account that is held, by reason. The sum is the `held` of
    /// [`Self::balance`]: a part for which the chain names no reason is the last entry.
    pub async fn holds(&self, account: &[u8; 32]) -> Result<Vec<Hold>, Error> {
        let at = self.at_best().await?;
        let records: Vec<HoldRecord> = value(&at, "Balances", "Holds", (*account,))
            .await?
            .unwrap_or_default();
        let mut holds: Vec<_> = records.into_iter().map(HoldRecord::into_hold).collect();
        let named = holds
            .iter()
            .fold(0u128, |sum, hold| sum.saturating_add(hold.amount));
        let rest = balance_of(&at, account).await?.held.saturating_sub(named);
        if rest > 0 {
            holds.push(Hold {
                pallet: RESERVED.to_owned(),
                reason: "Reserved".to_owned(),
                amount: rest,
            });
        }
        Ok(holds)
    }

    /// Returns the open jobs of a consumer, in order of their numbers. Reads at most `limit` of them,
    /// whichever the chain has first.
    pub async fn jobs_of_consumer(
        &self,
        consumer: &AccountId,
        limit: usize,
    ) -> Result<Bounded<JobId>, Error> {
        let at = self.at_best().await?;
        let address = subxt::dynamic::storage::<(AccountId, JobId), ()>("JobEscrow", "ConsumerJobs");
        let mut entries = at
            .storage()
            .iter(address, (*consumer,))
            .await
            .map_err(from_subxt)?;
        let mut jobs = Vec::new();
        let mut is_complete = true;
        while let Some(entry) = entries.next().await {
            if jobs.len() >= limit {
                is_complete = false;
                break;
            }
            let (_, job) = entry
                .map_err(from_subxt)?
                .key()
                .map_err(from_subxt)?
                .decode()
                .map_err(from_subxt)?;
            jobs.push(job);
        }
        jobs.sort_unstable();
        Ok(Bounded {
            entries: jobs,
            is_complete,
        })
    }

    /// Returns the manifests for which an account has deposits in the preimage store. Looks at `limit`
    /// entries of the store, which holds those of all accounts.
    pub async fn noted_manifests(
        &self,
        account: &AccountId,
        limit: usize,
    ) -> Result<Bounded<NotedManifest>, Error> {
        let at = self.at_best().await?;
        let address = subxt::dynamic::storage::<([u8; 32],), NoteRecord>("Preimage", "RequestStatusFor");
        let mut entries = at.storage().iter(address, ()).await.map_err(from_subxt)?;
        let mut noted = Vec::new();
        let mut looked = 0usize;
        while let Some(entry) = entries.next().await {
            if looked >= limit {
                return Ok(Bounded {
                    entries: noted,
                    is_complete: false,
                });
            }
            looked = looked.saturating_add(1);
            let entry = entry.map_err(from_subxt)?;
            let record: NoteRecord = entry.value().decode().map_err(from_subxt)?;
            if let Some((_, deposit)) = record.ticket().filter(|(owner, _)| owner == account) {
                let (hash,) = entry.key().map_err(from_subxt)?.decode().map_err(from_subxt)?;
                noted.push(NotedManifest {
                    hash,
                    length_bytes: record.length_bytes(),
                    deposit,
                    open_jobs: record.jobs(),
                });
            }
        }
        Ok(Bounded {
            entries: noted,
            is_complete: true,
        })
    }

    /// Returns an order of a job with a public manifest together with the calls that its bytes need, as one
    /// call: notes the bytes if the chain has not got them, and takes the deposit of the note back at once,
    /// because the job's own deposit pays for them from then on.
    ///
    /// `order` is [`calls::deploy`] or [`calls::request`] for these bytes.
    pub async fn order_of_public(
        &self,
        order: Call,
        bytes: &[u8],
        consumer: &AccountId,
    ) -> Result<Call, Error> {
        let manifest = ManifestRef::of(bytes);
        let note = note_of(&self.at_best().await?, &manifest.hash.0).await?;
        let is_noted_by_consumer = note
            .as_ref()
            .and_then(NoteRecord::ticket)
            .is_some_and(|(owner, _)| owner == *consumer);
        let mut batch = Vec::new();
        if note.as_ref().is_none_or(|note| !note.has_bytes()) {
            batch.push(calls::note_preimage(bytes));
        }
        batch.push(order);
        // A note of bytes that a job asks for already costs no deposit.
        if note.is_none() || is_noted_by_consumer {
            batch.push(calls::unnote_preimage(manifest.hash.0));
        }
        Ok(match batch.pop() {
            Some(order) if batch.is_empty() => order,
            last => calls::batch_all(batch.into_iter().chain(last).collect()),
        })
    }
}

/// Reads a manifest's entry in the preimage store.
async fn note_of(at: &AtBlock, hash: &[u8; 32]) -> Result<Option<NoteRecord>, Error> {
    value(at, "Preimage", "RequestStatusFor", (*hash,)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_holds_are_named_by_pallet_and_reason() {
        let id = Value::unnamed_variant("JobEscrow", [Value::unnamed_variant("Job", [])]);
        let hold = HoldRecord { id, amount: 7 }.into_hold();
        assert_eq!((hold.pallet.as_str(), hold.reason.as_str()), ("JobEscrow", "Job"));
        assert!(hold.purpose().contains("open jobs"));
        let object = json::to_value(&hold).expect("it is JSON");
        assert_eq!(object["pallet"], "job_escrow");
        assert_eq!(object["reason"], "job");
        assert_eq!(object["amount"], "7");
        let unknown = HoldRecord {
            id: Value::u128(3),
            amount: 7,
        };
        assert_eq!(unknown.into_hold().purpose(), "another deposit");
    }

    #[test]
    fn notes_tell_their_owner_and_users() {
        let owner = AccountId::from([1; 32]);
        let idle = NoteRecord::Unrequested {
            ticket: (owner, 5),
            len: 9,
        };
        assert_eq!((idle.ticket(), idle.jobs()), (Some((owner, 5)), 0));
        assert!(idle.has_bytes() && idle.length_bytes() == 9);
        let wanted = NoteRecord::Requested {
            maybe_ticket: None,
            count: 2,
            maybe_len: None,
        };
        assert_eq!((wanted.ticket(), wanted.jobs()), (None, 2));
        assert!(!wanted.has_bytes() && wanted.length_bytes() == 0);
    }
}

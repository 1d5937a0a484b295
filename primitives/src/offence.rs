//! Offences of machines and their slashes.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::sp_runtime::DispatchError;
use scale_info::TypeInfo;

use crate::{clock::EpochIndex, machine::MachineId, money::Balance};

/// A way in which a machine breaks its word, such that the chain can tell that it was this machine. What each
/// costs is a parameter of governance.
///
/// Nothing that happens in a job is an offence: whether an image could be had, a workload crashed or a result
/// is wrong may be its consumer's doing.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub enum Offence {
    /// A hardware challenge was not answered in time.
    #[codec(index = 0)]
    ChallengeUnanswered,
    /// A hardware challenge was answered wrongly: the hardware is not what it is said to be.
    #[codec(index = 1)]
    ChallengeWrong,
    /// Evidence of a TEE was forged, or relayed from another machine.
    #[codec(index = 2)]
    ForgedEvidence,
}

impl Offence {
    /// Every offence, in the order of their codec indices.
    pub const ALL: [Self; 3] = [
        Self::ChallengeUnanswered,
        Self::ChallengeWrong,
        Self::ForgedEvidence,
    ];
}

/// Reason for a slash.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub enum SlashReason {
    /// It committed an offence.
    #[codec(index = 0)]
    Offence(Offence),
    /// Governance decided so.
    #[codec(index = 1)]
    Governance,
}

/// Recipient of a part of a slash; the rest is burned.
///
/// Nobody earns by reporting an offence: a provider would report itself from another account and keep the
/// share.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
#[cfg_attr(
    feature = "client",
    derive(scale_decode::DecodeAsType, serde::Serialize),
    serde(bound = "AccountId: serde::Serialize")
)]
pub struct Beneficiaries<AccountId> {
    /// The consumer that was harmed, and the plancks that it lost by the offence: it is made whole first.
    #[cfg_attr(feature = "client", serde(serialize_with = "as_share"))]
    pub consumer: Option<(AccountId, Balance)>,
}

impl<AccountId> Beneficiaries<AccountId> {
    /// Returns no beneficiary: nobody was harmed, and all is burned.
    pub fn nobody() -> Self {
        Self { consumer: None }
    }

    /// Returns a consumer that lost this amount by the offence, in plancks.
    pub fn consumer(account: AccountId, loss: Balance) -> Self {
        Self {
            consumer: Some((account, loss)),
        }
    }
}

/// Writes an account and its plancks as an object with a name for each.
#[cfg(feature = "client")]
fn as_share<AccountId: serde::Serialize, S: serde::Serializer>(
    share: &Option<(AccountId, Balance)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(serde::Serialize)]
    struct Share<'a, AccountId> {
        account: &'a AccountId,
        #[serde(serialize_with = "crate::json::amount::serialize")]
        amount: Balance,
    }

    let share = share.as_ref().map(|(account, amount)| Share {
        account,
        amount: *amount,
    });
    serde::Serialize::serialize(&share, serializer)
}

/// Names a slash: the epoch in which it falls due, and its place among those that do.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, serde::Serialize))]
pub struct SlashId {
    /// First epoch in which it is applied.
    pub due_epoch: EpochIndex,
    /// Its place in that epoch, from zero.
    pub index: u32,
}

/// Punishes machines. Implemented by `pallet-provider-staking`, used by pallets that see a machine break its
/// word.
pub trait ReportOffence<AccountId> {
    /// Queues the slash that the offence costs this machine, given how often it did the same before, and
    /// locks the money until then. Offences that take a machine out of the market do so at once.
    ///
    /// Fails for a machine that does not exist, and changes nothing then.
    fn report_offence(
        machine: MachineId,
        offence: Offence,
        beneficiaries: Beneficiaries<AccountId>,
    ) -> Result<SlashId, DispatchError>;
}

/// Nobody is punished; for tests.
impl<AccountId> ReportOffence<AccountId> for () {
    fn report_offence(
        _: MachineId,
        _: Offence,
        _: Beneficiaries<AccountId>,
    ) -> Result<SlashId, DispatchError> {
        Ok(SlashId {
            due_epoch: 0,
            index: 0,
        })
    }
}

/// Takes machines out of the market. Implemented by `pallet-provider-registry`, called by
/// `pallet-provider-staking`.
pub trait MachineDiscipline {
    /// Suspends the machine for an offence, unless it left the market already. Its provider may bring it back
    /// when no slash is pending, nothing is owed and its bond suffices.
    fn suspend_for_offence(machine: MachineId);

    /// Takes the machine out of the market for good: it retires now, or with the end of its last job.
    fn condemn(machine: MachineId);
}

impl MachineDiscipline for () {
    fn suspend_for_offence(_: MachineId) {}

    fn condemn(_: MachineId) {}
}

#[cfg(all(test, feature = "client"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    #[test]
    fn a_share_is_an_object() {
        let harmed = Beneficiaries::consumer(7_u64, Balance::MAX);
        let amount = Balance::MAX.to_string();
        assert_eq!(
            to_value(&harmed).unwrap(),
            json!({ "consumer": { "account": 7, "amount": amount } })
        );
        assert_eq!(
            to_value(Beneficiaries::<u64>::nobody()).unwrap(),
            json!({ "consumer": null })
        );
    }
}

//! Machines, the hardware they claim, and their registry's interfaces to other pallets.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::sp_runtime::{BoundedVec, DispatchError, DispatchResult, traits::ConstU32};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

#[cfg(feature = "client")]
use crate::json;
use crate::{clock::Millis, money::Balance};

/// Identifies a machine; given in order of registration and never used again.
pub type MachineId = u64;

/// Identifies an entry of the hardware class catalogue.
pub type HardwareClassId = u16;

/// Most slots that one machine may offer: the hardware challenge numbers slots in one byte.
pub const MAX_SLOTS: u8 = 64;

/// Longest name of a hardware class, in bytes.
pub const MAX_CLASS_NAME_BYTES: u32 = 32;

/// Longest name of a provider, in bytes.
pub const MAX_PROVIDER_NAME_BYTES: u32 = 64;

/// Longest region code, in bytes.
pub const MAX_REGION_BYTES: u32 = 16;

/// Longest endpoint URL, in bytes.
pub const MAX_ENDPOINT_BYTES: u32 = 128;

/// Name of a hardware class: `A` to `Z`, digits and `_`, such as `NVIDIA_H100`.
pub type ClassName = BoundedVec<u8, ConstU32<MAX_CLASS_NAME_BYTES>>;

/// Region code: `a` to `z`, digits and `-`, such as `us-east`.
pub type Region = BoundedVec<u8, ConstU32<MAX_REGION_BYTES>>;

/// URL of a worker's HTTP API: printable ASCII that starts with `http://` or `https://`.
pub type Endpoint = BoundedVec<u8, ConstU32<MAX_ENDPOINT_BYTES>>;

/// Prefix of the message by which a worker key agrees to serve a provider.
pub const WORKER_KEY_CONTEXT: &[u8] = b"assay/worker-key/v1";

/// Place of a machine, in micro-degrees (a millionth of a degree; about 11 cm on the equator).
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Location {
    /// North of the equator is positive; −90,000,000 to 90,000,000.
    pub latitude_microdegrees: i32,
    /// East of Greenwich is positive; −180,000,000 to 180,000,000.
    pub longitude_microdegrees: i32,
}

impl Location {
    /// Returns true if both angles are in their range.
    pub fn is_on_earth(&self) -> bool {
        (-90_000_000..=90_000_000).contains(&self.latitude_microdegrees)
            && (-180_000_000..=180_000_000).contains(&self.longitude_microdegrees)
    }
}

/// Status of a machine in the market.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType))]
#[serde(rename_all = "camelCase")]
pub enum MachineStatus {
    /// Registered, but not (or not yet) bonded and proven. Earns nothing and takes no jobs.
    Unproven,
    /// Bonded and proven: takes jobs and earns.
    Active,
    /// Takes no new jobs and earns nothing until the reason is gone.
    Suspended(SuspensionReason),
    /// Finishes the jobs it has and takes no new ones.
    Draining,
    /// Left the market for good; only its bond may still be there.
    Retired,
}

/// Reason for a suspension.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType))]
#[serde(rename_all = "camelCase")]
pub enum SuspensionReason {
    /// Its provider or its worker asked for it, such as for maintenance.
    OwnRequest,
    /// Less is bonded than its class and slots ask for, without what pending slashes will take.
    BondTooLow,
    /// It owes a part of a slash.
    InDebt,
    /// It committed an offence that takes a machine out of the market. Its provider may bring it back when
    /// the slash was applied or cancelled and its bond suffices.
    Offence,
    /// It committed an offence that ends its life in the market. It retires when its last job ends.
    Condemned,
    /// It neither started nor declined a job in time, although both are free. Its provider or its worker key
    /// brings it back.
    #[codec(index = 5)]
    MissedStart,
    /// Its worker or its provider said that it is too hot. The worker brings it back when it has cooled.
    #[codec(index = 6)]
    Overheated,
    /// Its worker or its provider said that a part of it is broken. The worker brings it back when it is
    /// mended.
    #[codec(index = 7)]
    Faulty,
}

/// Cause for which a provider or a worker takes a machine out of the market.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum SuspensionCause {
    /// Anything that only who asked for it ends, such as maintenance.
    #[codec(index = 0)]
    Maintenance,
    /// A device of the machine is too hot.
    #[codec(index = 1)]
    Heat,
    /// A device of the machine is broken or does not answer.
    #[codec(index = 2)]
    Fault,
}

impl From<SuspensionCause> for SuspensionReason {
    fn from(cause: SuspensionCause) -> Self {
        match cause {
            SuspensionCause::Maintenance => Self::OwnRequest,
            SuspensionCause::Heat => Self::Overheated,
            SuspensionCause::Fault => Self::Faulty,
        }
    }
}

impl SuspensionReason {
    /// Returns true if the machine's provider or its worker asked for the suspension.
    pub fn is_own(self) -> bool {
        matches!(self, Self::OwnRequest | Self::Overheated | Self::Faulty)
    }
}

impl MachineStatus {
    /// Returns true if the machine takes new jobs. Jobs that it has go on in every status.
    pub fn takes_jobs(self) -> bool {
        self == Self::Active
    }
}

/// Terms of a machine's class: a copy that changes only when the machine is refreshed.
///
/// Machines keep their own copy so that a change of the catalogue costs the same for one machine of a class
/// as for a million, and so that a machine's weight and stake never change in between two of its own updates.
/// `refresh_machine`, open to anybody, brings a copy up to date.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub struct ClassTerms {
    /// Compute score of one slot.
    pub compute_score: u32,
    /// Plancks to be bonded for each slot.
    #[cfg_attr(feature = "client", serde(serialize_with = "json::amount::serialize"))]
    pub stake_per_slot: Balance,
}

impl ClassTerms {
    /// Returns the least that a slot may have bonded, in plancks: `bond_per_point` for each point of its
    /// compute score. Saturates.
    pub fn least_stake(&self, bond_per_point: Balance) -> Balance {
        bond_per_point.saturating_mul(self.compute_score.into())
    }

    /// Returns the plancks to be bonded for all of a machine's slots: for each the stake that its class asks
    /// for, but at least [`Self::least_stake`]. Saturates.
    pub fn class_stake(&self, slots: u8, bond_per_point: Balance) -> Balance {
        self.stake_per_slot
            .max(self.least_stake(bond_per_point))
            .saturating_mul(slots.into())
    }
}

/// Announced raise of an ask.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub struct AskRaise {
    /// Plancks per slot-hour of active time.
    #[cfg_attr(feature = "client", serde(serialize_with = "json::amount::serialize"))]
    pub ask: Balance,
    /// Active time from which on it holds.
    pub from_ms: Millis,
}

/// The terms on which a machine gives slots, as they stood when they were taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseTerms<AccountId> {
    /// Account that is paid.
    pub provider: AccountId,
    /// The machine's ask: plancks per slot and hour of active time.
    pub price_per_slot_hour: Balance,
}

/// Reads the registry. Implemented by `pallet-provider-registry`.
pub trait MachineInspect<AccountId> {
    /// The account that owns the machine; `None` where there is no such machine.
    fn provider_of(machine: MachineId) -> Option<AccountId>;

    /// The machine that this worker key acts for.
    fn machine_of_worker(worker_key: &AccountId) -> Option<MachineId>;

    /// The machine's status; `None` where there is no such machine.
    fn status(machine: MachineId) -> Option<MachineStatus>;

    /// Returns true for a machine that validators watch.
    ///
    /// Watched are machines in the market, even if they take no jobs now; machines with a leased slot,
    /// whatever their status, since they are paid for their uptime; and machines that were either in an epoch
    /// that is still open to reports, which they must not erase by leaving. An unproven machine that was
    /// neither costs no bond: a provider that could have thousands of them watched could fill the reports.
    fn is_watched(machine: MachineId) -> bool {
        match Self::status(machine) {
            Some(MachineStatus::Active | MachineStatus::Suspended(_) | MachineStatus::Draining) => true,
            Some(MachineStatus::Unproven | MachineStatus::Retired) | None => false,
        }
    }

    /// Returns true while a machine may still be found at fault for what it was leased for: a slot of it is
    /// leased, or an epoch in which one was, or in which it left the market, is still open to reports.
    fn is_accountable(_machine: MachineId) -> bool {
        false
    }

    /// Returns what is asked to be bonded for all of the machine's slots, in plancks, in proportion to what
    /// they may weigh in the emission. The stakes ask for a base bond at least.
    fn class_stake(machine: MachineId) -> Option<Balance>;

    /// A machine that exists, is owned by `provider` and is not active, for benchmarks of other pallets.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_machine(provider: &AccountId, worker_key: &AccountId, slots: u8) -> MachineId;

    /// Puts a machine of [`Self::benchmark_machine`] into the market, proven and with all of its slots free,
    /// whatever its bond; for benchmarks of other pallets. A registry without a market has nothing to do.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_enter_market(_machine: MachineId) {}

    /// Retires a machine of [`Self::benchmark_machine`] although something is still bonded for it; for
    /// benchmarks of other pallets. A registry whose machines never retire has nothing to do.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_retire(_machine: MachineId) {}

    /// Opens as many audits as can live at once, so that the next change of what a machine has free is noted
    /// for the newest of them; for benchmarks of other pallets. A registry that is not audited has nothing to
    /// do.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_audit() {}
}

/// End of a lease of slots, as far as the chain can tell. Nobody is slashed for any of them: the market
/// counts them.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType, Serialize))]
pub enum LeaseEnd {
    /// The machine kept its word: a result, or a service until its consumer or its time ended it.
    #[codec(index = 0)]
    Fulfilled,
    /// The job was taken back or declined before it started, which says nothing of the machine.
    #[codec(index = 1)]
    Cancelled,
    /// The machine neither started nor declined in its time, although both are free.
    #[codec(index = 2)]
    NotStarted,
    /// The machine abandoned the running job.
    #[codec(index = 3)]
    Abandoned,
    /// The workload ended by itself, gave no result in its time or was outvoted: nobody can tell whose fault
    /// it was.
    #[codec(index = 4)]
    Unresolved,
}

/// Number of leases of a machine that ended in each way, since it was registered. Each count stays at its
/// maximum.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "client", derive(scale_decode::DecodeAsType))]
#[serde(rename_all = "camelCase")]
pub struct ServiceRecord {
    /// See [`LeaseEnd::Fulfilled`].
    pub fulfilled: u32,
    /// See [`LeaseEnd::Cancelled`].
    pub cancelled: u32,
    /// See [`LeaseEnd::NotStarted`].
    pub not_started: u32,
    /// See [`LeaseEnd::Abandoned`].
    pub abandoned: u32,
    /// See [`LeaseEnd::Unresolved`].
    pub unresolved: u32,
}

impl ServiceRecord {
    /// Counts one more lease.
    pub fn count(&mut self, end: LeaseEnd) {
        let count = match end {
            LeaseEnd::Fulfilled => &mut self.fulfilled,
            LeaseEnd::Cancelled => &mut self.cancelled,
            LeaseEnd::NotStarted => &mut self.not_started,
            LeaseEnd::Abandoned => &mut self.abandoned,
            LeaseEnd::Unresolved => &mut self.unresolved,
        };
        *count = count.saturating_add(1);
    }
}

/// Takes and gives back slots. Implemented by `pallet-provider-registry`, used by `pallet-job-escrow`.
pub trait MachineLease<AccountId>: MachineInspect<AccountId> {
    /// Takes `slots` free slots of an active machine, or changes nothing.
    fn lease(machine: MachineId, slots: u8) -> Result<LeaseTerms<AccountId>, DispatchError>;

    /// Gives back slots that [`Self::lease`] took, and counts in public how the lease ended.
    fn release(machine: MachineId, slots: u8, end: LeaseEnd) -> DispatchResult;

    /// Plancks per slot and hour at which the machine lets a job that it runs be extended: its ask now.
    /// `None` where it takes nothing more: it drains, is suspended or has retired. A machine whose slots were
    /// leased for longer than its proof lives is unproven by no fault of its own, and may be extended.
    fn extension_ask(machine: MachineId) -> Option<Balance>;

    /// Makes a machine of [`MachineInspect::benchmark_machine`] active with all of its slots free, whatever
    /// its bond and proofs, so that [`Self::lease`] succeeds; for benchmarks of other pallets.
    ///
    /// The machine's ask must be above zero afterwards, so that what a benchmark leases costs something.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_activate(machine: MachineId);
}

/// Hears that the registry forgot a machine. Implemented by `pallet-provider-staking` and
/// `pallet-availability`, called by `pallet-provider-registry`.
pub trait OnMachineRemoved {
    /// The machine's record is gone; nothing is held for it any more.
    fn on_machine_removed(machine: MachineId);
}

impl OnMachineRemoved for () {
    fn on_machine_removed(_: MachineId) {}
}

/// Notifies both, the first one first.
impl<First: OnMachineRemoved, Second: OnMachineRemoved> OnMachineRemoved for (First, Second) {
    fn on_machine_removed(machine: MachineId) {
        First::on_machine_removed(machine);
        Second::on_machine_removed(machine);
    }
}

/// Hears how reliably a machine was seen. Implemented by `pallet-provider-registry`, called by
/// `pallet-availability`.
pub trait OnUptimeChange {
    /// The machine's average uptime is `uptime_ppm` parts per million from now on.
    fn on_uptime_change(machine: MachineId, uptime_ppm: u32);
}

impl OnUptimeChange for () {
    fn on_uptime_change(_: MachineId, _: u32) {}
}

/// Part of a machine that is open to a hardware challenge.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Exposure {
    /// Slots that no job has leased: those that can answer.
    pub free_slots: u8,
    /// True if the machine takes jobs and earns, and so must answer.
    pub is_active: bool,
}

/// Source of machines' proven slots. Implemented by `pallet-hardware-challenge`, used by
/// `pallet-provider-registry`.
pub trait HardwareProofs {
    /// Returns true if the machine holds a proof that is recent enough.
    fn is_proven(machine: MachineId) -> bool;

    /// Returns the number of its `slots` for which the machine holds a proof that is recent enough.
    fn proven_slots(machine: MachineId, slots: u8) -> u8 {
        if Self::is_proven(machine) { slots } else { 0 }
    }

    /// Hears which part of a machine was open to a challenge until now, in the moment before that changes.
    ///
    /// An audit opens without looking at machines; by these calls the pallet knows later what each of them
    /// had free then.
    fn before_exposure_change(_machine: MachineId, _before: Exposure) {}

    /// Has a machine hold a proof of all of its slots, for longer than any benchmark lasts.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_prove(_machine: MachineId) {}

    /// Opens as many audits as can live at once, of which none has noted anything of any machine.
    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_audit() {}
}

/// Every machine counts as proven, as on a chain without the hardware challenge.
impl HardwareProofs for () {
    fn is_proven(_: MachineId) -> bool {
        true
    }
}

/// Claim of a machine about its hardware, as far as a challenge needs to know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HardwareClaim<AccountId> {
    /// The hot sr25519 key that answers for the machine, as an account.
    pub worker_key: AccountId,
    /// The class that the hardware is said to be of.
    pub class: HardwareClassId,
    /// Status in the market.
    pub status: MachineStatus,
    /// Part of it that is open to a challenge now.
    pub exposure: Exposure,
    /// When it was registered, in active time.
    pub registered_at_ms: Millis,
}

/// Reads the claims of machines about their hardware. Implemented by `pallet-provider-registry`, used by
/// `pallet-hardware-challenge`.
pub trait HardwareClaims<AccountId> {
    /// Returns the machine's claim; `None` where there is no such machine.
    fn hardware_claim(machine: MachineId) -> Option<HardwareClaim<AccountId>>;

    /// The identifier that the next machine will get: every machine has a smaller one.
    fn next_machine_id() -> MachineId;
}

/// Hears that a machine's proof came, was lost or grew too old. Implemented by `pallet-provider-registry`,
/// called by `pallet-hardware-challenge`.
pub trait OnProofChange {
    /// [`HardwareProofs`] may answer differently for the machine from now on.
    fn on_proof_change(machine: MachineId);
}

impl OnProofChange for () {
    fn on_proof_change(_: MachineId) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_record_counts_each_end_for_itself() {
        let mut service = ServiceRecord {
            unresolved: u32::MAX,
            ..ServiceRecord::default()
        };
        for (times, end) in [
            (1, LeaseEnd::Fulfilled),
            (2, LeaseEnd::Cancelled),
            (3, LeaseEnd::NotStarted),
            (4, LeaseEnd::Abandoned),
            (5, LeaseEnd::Unresolved),
        ] {
            for _ in 0..times {
                service.count(end);
            }
        }
        assert_eq!(
            service,
            ServiceRecord {
                fulfilled: 1,
                cancelled: 2,
                not_started: 3,
                abandoned: 4,
                unresolved: u32::MAX,
            }
        );
    }

    #[test]
    fn suspension_reasons_keep_their_codec_indices() {
        let reasons = [
            SuspensionReason::OwnRequest,
            SuspensionReason::BondTooLow,
            SuspensionReason::InDebt,
            SuspensionReason::Offence,
            SuspensionReason::Condemned,
            SuspensionReason::MissedStart,
            SuspensionReason::Overheated,
            SuspensionReason::Faulty,
        ];
        for (index, reason) in (0_u8..).zip(reasons) {
            assert_eq!(reason.encode(), [index]);
        }
    }
}

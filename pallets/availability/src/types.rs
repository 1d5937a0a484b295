//! Records of epochs, reports and averages, and the cursor of the settlement.

use core::marker::PhantomData;

use assay_primitives::{
    availability::{AvailabilityId, MAX_VALIDATORS_PER_MACHINE},
    clock::EpochIndex,
    machine::MachineId,
    money::Balance,
};
use codec::{Decode, Encode, MaxEncodedLen};
use polkadot_sdk::{
    frame_support::{
        BoundedVec, CloneNoBound, DebugNoBound, DefaultNoBound, EqNoBound, PartialEqNoBound,
        traits::{ConstU32, Get},
    },
    frame_system,
};
use scale_info::TypeInfo;

use crate::Config;

/// Uptime of a whole epoch, in parts per million.
pub(crate) const FULL_UPTIME_PPM: u32 = 1_000_000;

/// Parts of an average in one part per million: averages are stored in parts of 10^12.
pub(crate) const PARTS_PER_PPM: u64 = 1_000_000;

/// Average of a machine that was always up.
pub(crate) const FULL_AVERAGE: u64 = FULL_UPTIME_PPM as u64 * PARTS_PER_PPM;

/// Minimum number of reports about one machine for a clear majority.
pub const MIN_CLEAR_REPORTS: u32 = 3;

/// Minimum number of machines that are down at once in an outage of the network. Fewer count as an outage of
/// a provider.
pub const MIN_OUTAGE_MACHINES: u32 = 10;

/// Number of a set of validators, in the order in which they took over.
pub type SetId = u32;

/// Validators of a set: the account that is paid for reports, and the key that signs them.
pub type ValidatorSetOf<T> =
    BoundedVec<(<T as frame_system::Config>::AccountId, AvailabilityId), <T as Config>::MaxValidators>;

/// Indices of the validators that watch a machine among the validators of its epoch, all different.
pub type Assignment = BoundedVec<u32, ConstU32<MAX_VALIDATORS_PER_MACHINE>>;

/// Record of an epoch in a runtime.
pub type EpochRecordOf<T> = EpochRecord<<T as Config>::MaxValidators>;

/// Number of bytes that hold this number of bits.
pub struct BytesFor<Bits>(PhantomData<Bits>);

impl<Bits: Get<u32>> Get<u32> for BytesFor<Bits> {
    fn get() -> u32 {
        Bits::get().div_ceil(u8::BITS)
    }
}

/// Set of some of an epoch's validators, by their indices.
#[derive(
    CloneNoBound,
    PartialEqNoBound,
    EqNoBound,
    DebugNoBound,
    DefaultNoBound,
    Encode,
    Decode,
    MaxEncodedLen,
    TypeInfo,
)]
#[codec(mel_bound())]
#[scale_info(skip_type_params(MaxValidators))]
pub struct ValidatorBits<MaxValidators: Get<u32>>(BoundedVec<u8, BytesFor<MaxValidators>>);

impl<MaxValidators: Get<u32>> ValidatorBits<MaxValidators> {
    /// Returns true if the validator is in the set.
    pub fn contains(&self, index: u32) -> bool {
        let (byte, mask) = Self::place(index);
        self.0.get(byte).is_some_and(|bits| bits & mask != 0)
    }

    /// Returns the number of members.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|bits| bits.count_ones()).sum()
    }

    /// Returns an index that is above all members, by at most eight.
    pub(crate) fn end(&self) -> u32 {
        (self.0.len() as u32).saturating_mul(u8::BITS)
    }

    /// Adds the validator. Returns false if it was already in the set, or the index is out of range.
    pub(crate) fn insert(&mut self, index: u32) -> bool {
        let (byte, mask) = Self::place(index);
        while self.0.len() <= byte {
            if self.0.try_push(0).is_err() {
                return false;
            }
        }
        match self.0.get_mut(byte) {
            Some(bits) if *bits & mask == 0 => {
                *bits |= mask;
                true
            }
            _ => false,
        }
    }

    fn place(index: u32) -> (usize, u8) {
        ((index / u8::BITS) as usize, 1 << (index % u8::BITS))
    }
}

/// Record of an epoch in which machines are watched.
#[derive(
    CloneNoBound, PartialEqNoBound, EqNoBound, DebugNoBound, Encode, Decode, MaxEncodedLen, TypeInfo,
)]
#[codec(mel_bound())]
#[scale_info(skip_type_params(MaxValidators))]
pub struct EpochRecord<MaxValidators: Get<u32>> {
    /// Seed from which the assignments are drawn.
    pub seed: [u8; 32],
    /// Set of the epoch's validators.
    pub set: SetId,
    /// Number of validators in the set.
    pub validators: u32,
    /// Number of validators that watch each machine, if there are so many.
    pub validators_per_machine: u32,
    /// Plancks that each report earns.
    pub reward_per_report: Balance,
    /// Validators that reported.
    pub reported: ValidatorBits<MaxValidators>,
    /// Validators whose report contradicted a clear majority; complete once the epoch is settled.
    pub against_majority: ValidatorBits<MaxValidators>,
    /// Reports that may be continued: their last part was full.
    pub unfinished: BoundedVec<UnfinishedReport, MaxValidators>,
    /// Number of machines that were down.
    pub down_machines: u32,
    /// Sum of the weights of the machines that were down.
    pub down_weight: u128,
    /// True for an outage: so many machines were down at once that the chain cannot tell whose fault it was.
    pub is_outage: bool,
}

/// First fields of an [`EpochRecord`], as far as a verdict depends on them.
///
/// An encoded record decodes to them too: payments ask for them once for each epoch, and the lists behind
/// them may be thousands of bytes long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Decode)]
pub(crate) struct EpochHead {
    _seed: [u8; 32],
    _set: SetId,
    validators: u32,
    validators_per_machine: u32,
}

impl EpochHead {
    /// Returns the same as [`EpochRecord::needed_to_be_down`].
    pub(crate) fn needed_to_be_down(&self) -> u32 {
        needed_to_be_down(self.validators, self.validators_per_machine)
    }
}

/// Returns the number of validators that make a machine count as down.
fn needed_to_be_down(validators: u32, validators_per_machine: u32) -> u32 {
    if validators <= 1 {
        return 1;
    }
    let assigned = validators_per_machine
        .min(validators)
        .min(MAX_VALIDATORS_PER_MACHINE);
    (assigned / 2).saturating_add(1).max(2)
}

/// Part of a report that another part may follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct UnfinishedReport {
    /// Index of the validator among the epoch's validators.
    pub validator_index: u32,
    /// Number of parts that it sent.
    pub parts: u8,
    /// Last failure that it listed. It has not reported on machines after that one yet.
    pub last: MachineId,
}

impl<MaxValidators: Get<u32>> EpochRecord<MaxValidators> {
    /// Returns the number of validators that must report a machine as failed for it to count as down: more
    /// than half of those assigned to it, and at least two, except on a chain with only one validator.
    ///
    /// It is a part of the assigned validators, not of the reporting ones: the silence of others helps no
    /// accuser.
    pub fn needed_to_be_down(&self) -> u32 {
        needed_to_be_down(self.validators, self.validators_per_machine)
    }

    /// Returns the part that the validator may continue.
    pub(crate) fn unfinished_of(&self, validator_index: u32) -> Option<UnfinishedReport> {
        self.unfinished
            .iter()
            .find(|part| part.validator_index == validator_index)
            .copied()
    }

    /// Returns true if the validator has reported on the machine.
    pub(crate) fn reported_on(&self, validator_index: u32, machine: MachineId) -> bool {
        self.reported.contains(validator_index)
            && self
                .unfinished_of(validator_index)
                .is_none_or(|part| machine <= part.last)
    }
}

/// Set of the validators that did not see a machine: one bit for each place of its assignment, the lowest for
/// the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct AssignmentBits(pub u32);

impl AssignmentBits {
    /// Adds a place of the assignment.
    pub(crate) fn insert(&mut self, place: u32) {
        self.0 |= 1_u32.checked_shl(place).unwrap_or(0);
    }

    /// Returns true if the place is in the set.
    pub fn contains(self, place: u32) -> bool {
        self.0 & 1_u32.checked_shl(place).unwrap_or(0) != 0
    }

    /// Returns the number of members.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Returns the intersection of both sets.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the set without the members of the other one.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Average uptime of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct UptimeRecord {
    /// Exponentially weighted average, in parts of 10^12.
    pub average: u64,
    /// First epoch that it does not count yet.
    pub next_epoch: EpochIndex,
}

impl UptimeRecord {
    /// Returns the average in parts per million, rounded to the nearest.
    pub fn average_ppm(&self) -> u32 {
        let rounded = self.average.saturating_add(PARTS_PER_PPM / 2) / PARTS_PER_PPM;
        u32::try_from(rounded)
            .unwrap_or(FULL_UPTIME_PPM)
            .min(FULL_UPTIME_PPM)
    }

    /// Counts an epoch: it weighs one part in `memory_epochs`, and the average before it the rest. Rounds
    /// down, by less than one part of 10^12.
    pub(crate) fn count(&mut self, uptime_ppm: u32, memory_epochs: u32) {
        let memory = u128::from(memory_epochs.max(1));
        let sample = u128::from(uptime_ppm.min(FULL_UPTIME_PPM)).saturating_mul(PARTS_PER_PPM.into());
        // 40 bits times 32: no overflow.
        let sum = u128::from(self.average)
            .saturating_mul(memory.saturating_sub(1))
            .saturating_add(sample);
        let average = sum.checked_div(memory).unwrap_or(sample);
        self.average = u64::try_from(average).unwrap_or(FULL_AVERAGE).min(FULL_AVERAGE);
    }
}

/// Cursor of the settlement of closed epochs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct SettlementCursor {
    /// First epoch that is not settled.
    pub epoch: EpochIndex,
    /// Machine of that epoch that was judged last, in the order of storage.
    pub judged: Option<MachineId>,
}

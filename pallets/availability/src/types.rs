//! What the pallet keeps of epochs, of machines and of its own work.

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

/// A whole uptime, in parts per million.
pub(crate) const FULL_UPTIME_PPM: u32 = 1_000_000;

/// Parts of an average that are one part per million of it: averages are kept in parts of a million millions.
pub(crate) const PARTS_PER_PPM: u64 = 1_000_000;

/// A whole average uptime.
pub(crate) const FULL_AVERAGE: u64 = FULL_UPTIME_PPM as u64 * PARTS_PER_PPM;

/// Fewest reports of one machine among which a majority can be clear.
pub const MIN_CLEAR_REPORTS: u32 = 3;

/// Fewest machines that are down at once in an outage of the network: fewer are taken for an outage of a
/// provider.
pub const MIN_OUTAGE_MACHINES: u32 = 10;

/// Numbers the sets of validators in the order in which they took over.
pub type SetId = u32;

/// The validators of a set: who is paid for its reports, and the key that it signs them with.
pub type ValidatorSetOf<T> =
    BoundedVec<(<T as frame_system::Config>::AccountId, AvailabilityId), <T as Config>::MaxValidators>;

/// The places of the validators that watch a machine among the validators of its epoch, each different.
pub type Assignment = BoundedVec<u32, ConstU32<MAX_VALIDATORS_PER_MACHINE>>;

/// The record of an epoch in a runtime.
pub type EpochRecordOf<T> = EpochRecord<<T as Config>::MaxValidators>;

/// Bytes that so many bits take.
pub struct BytesFor<Bits>(PhantomData<Bits>);

impl<Bits: Get<u32>> Get<u32> for BytesFor<Bits> {
    fn get() -> u32 {
        Bits::get().div_ceil(u8::BITS)
    }
}

/// Some of an epoch's validators, by their places.
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
    /// Whether the validator is one of them.
    pub fn contains(&self, index: u32) -> bool {
        let (byte, mask) = Self::place(index);
        self.0.get(byte).is_some_and(|bits| bits & mask != 0)
    }

    /// How many they are.
    pub fn count(&self) -> u32 {
        self.0.iter().map(|bits| bits.count_ones()).sum()
    }

    /// The first place that none of them has, nor any behind it; no more than a byte's bits too high.
    pub(crate) fn end(&self) -> u32 {
        (self.0.len() as u32).saturating_mul(u8::BITS)
    }

    /// Adds the validator. Whether it was not one of them before, and there is a place for it.
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

/// What the chain knows of an epoch in which machines were watched.
#[derive(
    CloneNoBound, PartialEqNoBound, EqNoBound, DebugNoBound, Encode, Decode, MaxEncodedLen, TypeInfo,
)]
#[codec(mel_bound())]
#[scale_info(skip_type_params(MaxValidators))]
pub struct EpochRecord<MaxValidators: Get<u32>> {
    /// What the assignments are drawn from.
    pub seed: [u8; 32],
    /// The epoch's validators.
    pub set: SetId,
    /// How many they are.
    pub validators: u32,
    /// How many of them watch each machine, if there are so many.
    pub validators_per_machine: u32,
    /// Plancks that each report earns.
    pub reward_per_report: Balance,
    /// Who reported.
    pub reported: ValidatorBits<MaxValidators>,
    /// Whose report was against a clear majority; complete when the epoch was settled.
    pub against_majority: ValidatorBits<MaxValidators>,
    /// Reports that may be continued: their last part was full.
    pub unfinished: BoundedVec<UnfinishedReport, MaxValidators>,
    /// Machines that were down.
    pub down_machines: u32,
    /// Sum of what the machines that were down weighed.
    pub down_weight: u128,
    /// True for an outage: so many were down at once that the chain cannot tell whose fault it was.
    pub is_outage: bool,
}

/// Part of a report that another part may follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct UnfinishedReport {
    /// The validator's place among the epoch's validators.
    pub validator_index: u32,
    /// Parts that it sent.
    pub parts: u8,
    /// Last failure that it listed: nothing is known of what it saw behind that.
    pub last: MachineId,
}

impl<MaxValidators: Get<u32>> EpochRecord<MaxValidators> {
    /// Number of validators that watch each machine.
    pub(crate) fn assigned_count(&self) -> u32 {
        self.validators_per_machine
            .min(self.validators)
            .min(MAX_VALIDATORS_PER_MACHINE)
    }

    /// Number of validators that must not have seen a machine for it to count as down: more than half of
    /// those that watch it, and two at least, but for a chain that has one validator only.
    ///
    /// Of those that watch it, not of those that report: the silence of others helps no accuser.
    pub fn needed_to_be_down(&self) -> u32 {
        if self.validators <= 1 {
            1
        } else {
            (self.assigned_count() / 2).saturating_add(1).max(2)
        }
    }

    /// The part that the validator may continue.
    pub(crate) fn unfinished_of(&self, validator_index: u32) -> Option<UnfinishedReport> {
        self.unfinished
            .iter()
            .find(|part| part.validator_index == validator_index)
            .copied()
    }

    /// Returns true when the validator has said what it saw of the machine.
    pub(crate) fn reported_on(&self, validator_index: u32, machine: MachineId) -> bool {
        self.reported.contains(validator_index)
            && self
                .unfinished_of(validator_index)
                .is_none_or(|part| machine <= part.last)
    }
}

/// Which of a machine's validators did not see it: a bit for each place of its assignment, the lowest for the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct AssignmentBits(pub u32);

impl AssignmentBits {
    /// Adds a place of the assignment.
    pub(crate) fn insert(&mut self, place: u32) {
        self.0 |= 1_u32.checked_shl(place).unwrap_or(0);
    }

    /// Whether the place is one of them.
    pub fn contains(self, place: u32) -> bool {
        self.0 & 1_u32.checked_shl(place).unwrap_or(0) != 0
    }

    /// How many they are.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Those that are in both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in the other.
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The average uptime of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct UptimeRecord {
    /// The exponentially weighted average, in parts of a million millions.
    pub average: u64,
    /// The first epoch that it does not know of.
    pub next_epoch: EpochIndex,
}

impl UptimeRecord {
    /// The average in parts per million, rounded to the nearest.
    pub fn average_ppm(&self) -> u32 {
        let rounded = self.average.saturating_add(PARTS_PER_PPM / 2) / PARTS_PER_PPM;
        u32::try_from(rounded)
            .unwrap_or(FULL_UPTIME_PPM)
            .min(FULL_UPTIME_PPM)
    }

    /// Counts an epoch: it weighs one part in `memory_epochs`, and all before it the others. Rounded down, by less
    /// than one part of a million millions.
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

/// How far closed epochs were settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct SettlementCursor {
    /// The first epoch that is not settled.
    pub epoch: EpochIndex,
    /// The machine of that epoch that was judged last, in the order of storage.
    pub judged: Option<MachineId>,
}

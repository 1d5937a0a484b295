//! Assignment of validators to machines: a pseudo-random function of the epoch's seed and the machine.

use assay_primitives::{availability::MAX_VALIDATORS_PER_MACHINE, machine::MachineId};
use codec::Encode;
use polkadot_sdk::{
    frame_support::{defensive, traits::Get},
    sp_io::hashing::blake2_256,
};

use crate::{
    EpochRecord,
    types::{Assignment, AssignmentBits},
};

/// Domain separator for the hashes of an assignment.
const ASSIGNMENT_CONTEXT: &[u8; 19] = b"assay/assignment/v1";

/// Number of 64-bit words in a hash.
const WORDS_PER_HASH: usize = 4;

/// Draws `per_machine` different indices below `validators`, or all of them if they are fewer, with equal
/// probability for each set (Floyd's algorithm).
///
/// An index is a 64-bit number modulo at most 2^32, so its probability is off by less than one part in 2^32.
pub(crate) fn draw(seed: &[u8; 32], machine: MachineId, validators: u32, per_machine: u32) -> Assignment {
    let wanted = per_machine.min(validators).min(MAX_VALIDATORS_PER_MACHINE);
    let mut assigned = Assignment::new();
    let mut words = Words::new(seed, machine);
    for last in validators.saturating_sub(wanted)..validators {
        let drawn = words
            .next()
            .checked_rem(u64::from(last).saturating_add(1))
            .and_then(|place| u32::try_from(place).ok())
            .unwrap_or(last);
        let place = if assigned.contains(&drawn) { last } else { drawn };
        if assigned.try_push(place).is_err() {
            defensive!("more validators are drawn than wanted");
        }
    }
    assigned
}

/// Pseudo-random numbers of a machine.
struct Words<'a> {
    seed: &'a [u8; 32],
    machine: MachineId,
    hashes: u32,
    hash: [u8; 32],
    used: usize,
}

impl<'a> Words<'a> {
    fn new(seed: &'a [u8; 32], machine: MachineId) -> Self {
        Self {
            seed,
            machine,
            hashes: 0,
            hash: [0; 32],
            used: WORDS_PER_HASH,
        }
    }

    fn next(&mut self) -> u64 {
        if self.used >= WORDS_PER_HASH {
            self.hash = (ASSIGNMENT_CONTEXT, self.seed, self.machine, self.hashes).using_encoded(blake2_256);
            self.hashes = self.hashes.saturating_add(1);
            self.used = 0;
        }
        let mut word = [0; 8];
        if let Some(bytes) = self.hash.chunks_exact(8).nth(self.used) {
            word.copy_from_slice(bytes);
        }
        self.used = self.used.saturating_add(1);
        u64::from_le_bytes(word)
    }
}

impl<MaxValidators: Get<u32>> EpochRecord<MaxValidators> {
    /// Returns the validators that watch the machine in this epoch.
    pub fn assigned(&self, machine: MachineId) -> Assignment {
        draw(&self.seed, machine, self.validators, self.validators_per_machine)
    }

    /// Returns the places of a machine's assignment whose validators reported on it.
    pub(crate) fn reporting(&self, machine: MachineId, assigned: &Assignment) -> AssignmentBits {
        let mut reporting = AssignmentBits::default();
        for (place, index) in (0..).zip(assigned) {
            if self.reported_on(*index, machine) {
                reporting.insert(place);
            }
        }
        reporting
    }
}

/// Returns the place of a validator in an assignment.
pub(crate) fn place_of(assigned: &Assignment, validator_index: u32) -> Option<u32> {
    (0..)
        .zip(assigned)
        .find(|(_, index)| **index == validator_index)
        .map(|(place, _)| place)
}

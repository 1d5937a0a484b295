//! What the stakes keep of each machine.

use assay_primitives::{clock::EpochIndex, money::Balance};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::{frame_support::BoundedVec, frame_system, sp_runtime::traits::ConstU32};
use scale_info::TypeInfo;

/// Most parts of one bond that are on their way out at the same time.
///
/// Parts that fall due in the same epoch are one. Bounds the record and the work of a withdrawal or a slash.
pub const MAX_UNLOCK_CHUNKS: u32 = 8;

/// The bond of a machine in a runtime.
pub type BondRecordOf<T> = BondRecord<<T as frame_system::Config>::AccountId>;

/// The parts of a bond that are on their way out.
pub type UnlockChunks = BoundedVec<UnlockChunk, ConstU32<MAX_UNLOCK_CHUNKS>>;

/// A part of a bond on its way out; still held, and still to lose.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct UnlockChunk {
    /// Plancks.
    pub amount: Balance,
    /// The epoch from which on it may be withdrawn.
    pub due_epoch: EpochIndex,
}

/// What a provider stands to lose for one machine.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct BondRecord<AccountId> {
    /// On whose account the plancks are held: the machine's provider.
    pub provider: AccountId,
    /// Plancks bonded, without those on their way out.
    pub bonded: Balance,
    /// Plancks on their way out, in no order.
    pub unlocking: UnlockChunks,
    /// Whether the machine's rewards are bonded.
    pub auto_stake: bool,
}

impl<AccountId> BondRecord<AccountId> {
    /// The record of a machine for which nothing is bonded yet.
    pub(crate) fn empty(provider: AccountId) -> Self {
        Self {
            provider,
            bonded: 0,
            unlocking: UnlockChunks::new(),
            auto_stake: false,
        }
    }

    /// Plancks held for the machine: bonded, and on their way out.
    pub fn total_held(&self) -> Balance {
        self.unlocking
            .iter()
            .fold(self.bonded, |total, chunk| total.saturating_add(chunk.amount))
    }

    /// Puts plancks on their way out, with those of the same epoch where there are some. Says whether there was
    /// room; changes nothing where there was none.
    pub(crate) fn try_push_chunk(&mut self, amount: Balance, due_epoch: EpochIndex) -> bool {
        match self
            .unlocking
            .iter_mut()
            .find(|chunk| chunk.due_epoch == due_epoch)
        {
            Some(chunk) => {
                chunk.amount = chunk.amount.saturating_add(amount);
                true
            }
            None => self.unlocking.try_push(UnlockChunk { amount, due_epoch }).is_ok(),
        }
    }

    /// Takes out what is due in `epoch` and returns how much it was.
    pub(crate) fn take_due(&mut self, epoch: EpochIndex) -> Balance {
        let before = self.total_held();
        self.unlocking.retain(|chunk| chunk.due_epoch > epoch);
        before.saturating_sub(self.total_held())
    }
}

//! Records of bonds, slashes and debts, and the penalties of offences.

use assay_primitives::{
    clock::EpochIndex,
    machine::MachineId,
    money::Balance,
    offence::{Beneficiaries, Offence},
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::{
    frame_support::BoundedVec,
    frame_system,
    sp_runtime::{Permill, traits::ConstU32},
};
use scale_info::TypeInfo;

pub use assay_primitives::{
    offence::SlashReason,
    stake::{StrikeRecord, UnlockChunk},
};

/// Maximum number of unlocking parts of one bond.
///
/// Parts that fall due in the same epoch are one. Bounds the record and the work of a withdrawal or a slash.
pub const MAX_UNLOCK_CHUNKS: u32 = 8;

/// Default penalties of the offences.
pub const DEFAULT_OFFENCE_TABLE: OffenceTable = OffenceTable {
    challenge_unanswered: OffencePenalty {
        first: Permill::from_percent(1),
        factor: 2,
        at_most: Permill::from_percent(20),
    },
    challenge_wrong: OffencePenalty {
        first: Permill::from_percent(50),
        factor: 2,
        at_most: Permill::from_percent(100),
    },
    forged_evidence: OffencePenalty {
        first: Permill::from_percent(100),
        factor: 1,
        at_most: Permill::from_percent(100),
    },
};

/// Bond of a machine in a runtime.
pub type BondRecordOf<T> = BondRecord<<T as frame_system::Config>::AccountId>;

/// Slash in a runtime.
pub type SlashRecordOf<T> = SlashRecord<<T as frame_system::Config>::AccountId>;

/// Debt in a runtime.
pub type DebtRecordOf<T> = DebtRecord<<T as frame_system::Config>::AccountId>;

/// Unlocking parts of a bond.
pub type UnlockChunks = BoundedVec<UnlockChunk, ConstU32<MAX_UNLOCK_CHUNKS>>;

/// Strikes of a machine for each offence, in the order of [`Offence::ALL`].
pub type Strikes = [StrikeRecord; Offence::ALL.len()];

/// Bond of one machine, with its debt, pending slashes and strikes.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct BondRecord<AccountId> {
    /// Account on which the plancks are held: the machine's provider.
    pub provider: AccountId,
    /// Plancks bonded, without unlocking ones.
    pub bonded: Balance,
    /// Unlocking plancks, in no order.
    pub unlocking: UnlockChunks,
    /// True if the machine's rewards are bonded.
    pub auto_stake: bool,
    /// Sum of the machine's debts in plancks: amounts of slashes that the bond did not cover. While it is
    /// above zero nothing is held.
    pub debt: Balance,
    /// Plancks owed for the machine's slashes in the agenda; up to this amount stays held.
    pub pending: Balance,
    /// Number of the machine's slashes in the agenda.
    pub pending_slashes: u32,
    /// Number of strikes for each offence.
    pub strikes: Strikes,
}

impl<AccountId> BondRecord<AccountId> {
    /// Returns the record of a machine without a bond.
    pub(crate) fn empty(provider: AccountId) -> Self {
        Self {
            provider,
            bonded: 0,
            unlocking: UnlockChunks::new(),
            auto_stake: false,
            debt: 0,
            pending: 0,
            pending_slashes: 0,
            strikes: Strikes::default(),
        }
    }

    /// Returns the plancks held for the machine: bonded and unlocking ones.
    pub fn total_held(&self) -> Balance {
        self.unlocking
            .iter()
            .fold(self.bonded, |total, chunk| total.saturating_add(chunk.amount))
    }

    /// Returns the plancks that remain bonded after the slashes in the agenda, which take from the bond
    /// first.
    pub fn unencumbered(&self) -> Balance {
        self.bonded.saturating_sub(self.pending)
    }

    /// Returns the plancks that may leave while slashes are in the agenda.
    pub fn releasable(&self) -> Balance {
        self.total_held().saturating_sub(self.pending)
    }

    /// Returns true if the record has no held plancks, no debt and no pending slash. Strikes do not count.
    pub fn is_settled(&self) -> bool {
        self.total_held() == 0 && self.debt == 0 && self.pending_slashes == 0
    }

    /// Returns true if the machine has a strike, which may make its next offence dearer.
    pub fn has_strikes(&self) -> bool {
        self.strikes.iter().any(|strikes| strikes.count > 0)
    }

    /// Adds unlocking plancks, to the part of the same epoch if there is one. Returns false and changes
    /// nothing if there is no room for another part.
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

    /// Returns the plancks that are due in `epoch`.
    pub(crate) fn due(&self, epoch: EpochIndex) -> Balance {
        self.unlocking
            .iter()
            .filter(|chunk| chunk.due_epoch <= epoch)
            .fold(0, |due: Balance, chunk| due.saturating_add(chunk.amount))
    }

    /// Removes the plancks that are due in `epoch`, up to `at_most`. Returns the amount removed.
    pub(crate) fn take_due(&mut self, epoch: EpochIndex, at_most: Balance) -> Balance {
        let due = self.unlocking.iter_mut().filter(|chunk| chunk.due_epoch <= epoch);
        let taken = take_in_order(due, at_most);
        self.unlocking.retain(|chunk| chunk.amount > 0);
        taken
    }

    /// Removes up to `amount` of the held plancks and returns the amount removed: bonded plancks first, then
    /// unlocking ones, the latest due first.
    pub(crate) fn take(&mut self, amount: Balance) -> Balance {
        let from_bonded = amount.min(self.bonded);
        self.bonded = self.bonded.saturating_sub(from_bonded);

        self.unlocking.sort_by_key(|chunk| chunk.due_epoch);
        let latest_first = self.unlocking.iter_mut().rev();
        let from_unlocking = take_in_order(latest_first, amount.saturating_sub(from_bonded));
        self.unlocking.retain(|chunk| chunk.amount > 0);
        from_bonded.saturating_add(from_unlocking)
    }

    /// Adds a strike for an offence. Returns the number of earlier ones for the same offence.
    pub(crate) fn add_strike(
        &mut self,
        offence: Offence,
        epoch: EpochIndex,
        memory_epochs: EpochIndex,
    ) -> u8 {
        self.strikes_of(offence).add(epoch, memory_epochs)
    }

    /// Removes one strike for an offence.
    pub(crate) fn take_strike_back(&mut self, offence: Offence) {
        self.strikes_of(offence).take_back();
    }

    fn strikes_of(&mut self, offence: Offence) -> &mut StrikeRecord {
        // A test checks that the array has a place for each offence, in this order.
        &mut self.strikes[offence as usize]
    }
}

/// Removes up to `at_most` plancks from the parts, one after the other. Returns the amount removed.
fn take_in_order<'a>(chunks: impl Iterator<Item = &'a mut UnlockChunk>, at_most: Balance) -> Balance {
    let mut left = at_most;
    for chunk in chunks {
        let part = left.min(chunk.amount);
        chunk.amount = chunk.amount.saturating_sub(part);
        left = left.saturating_sub(part);
    }
    at_most.saturating_sub(left)
}

/// Penalty of one offence, as fractions of the bond.
///
/// The first offence costs `first`, each further one `factor` times as much as the one before, but never more
/// than `at_most`.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct OffencePenalty {
    /// Penalty of a machine without a strike.
    pub first: Permill,
    /// Growth with each repetition; with a factor of one the penalty never grows.
    pub factor: u8,
    /// Maximum penalty.
    pub at_most: Permill,
}

impl OffencePenalty {
    /// Returns the penalty of a machine with `before` earlier strikes for the same offence.
    pub fn fraction(&self, before: u8) -> Permill {
        let growth = u32::from(self.factor).saturating_pow(before.into());
        Permill::from_parts(self.first.deconstruct().saturating_mul(growth)).min(self.at_most)
    }
}

/// Penalties of all offences.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct OffenceTable {
    /// Penalty of [`Offence::ChallengeUnanswered`].
    pub challenge_unanswered: OffencePenalty,
    /// Penalty of [`Offence::ChallengeWrong`].
    pub challenge_wrong: OffencePenalty,
    /// Penalty of [`Offence::ForgedEvidence`].
    pub forged_evidence: OffencePenalty,
}

impl OffenceTable {
    /// Returns the penalty of an offence.
    pub fn penalty(&self, offence: Offence) -> OffencePenalty {
        match offence {
            Offence::ChallengeUnanswered => self.challenge_unanswered,
            Offence::ChallengeWrong => self.challenge_wrong,
            Offence::ForgedEvidence => self.forged_evidence,
        }
    }
}

/// Returns true if an offence suspends the machine as soon as it is reported.
pub(crate) fn suspends(offence: Offence) -> bool {
    matches!(offence, Offence::ChallengeWrong | Offence::ForgedEvidence)
}

/// Returns true if applying the slash for an offence retires the machine for good, given `before` earlier
/// strikes for the same offence.
pub(crate) fn ends_machine(offence: Offence, before: u8) -> bool {
    match offence {
        Offence::ForgedEvidence => true,
        Offence::ChallengeWrong => before > 0,
        Offence::ChallengeUnanswered => false,
    }
}

/// Slash that waits in the agenda. It never changes.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SlashRecord<AccountId> {
    /// The machine.
    pub machine: MachineId,
    /// Reason for the slash.
    pub reason: SlashReason,
    /// Plancks owed for it.
    pub owed: Balance,
    /// Accounts that get a share.
    pub beneficiaries: Beneficiaries<AccountId>,
    /// True if applying it takes the machine out of the market for good.
    pub ends_machine: bool,
}

impl<AccountId> SlashRecord<AccountId> {
    /// Divides the owed amount into the consumer's loss and the part to burn.
    pub(crate) fn into_dues(self) -> DebtRecord<AccountId> {
        let consumer = self
            .beneficiaries
            .consumer
            .map(|(account, loss)| (account, loss.min(self.owed)));
        let burn = self.owed.saturating_sub(amount_of(&consumer));
        DebtRecord { consumer, burn }
    }
}

/// Outstanding part of a slash, in the order of payment.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct DebtRecord<AccountId> {
    /// The harmed consumer and its plancks.
    pub consumer: Option<(AccountId, Balance)>,
    /// Plancks to burn.
    pub burn: Balance,
}

impl<AccountId: Clone> DebtRecord<AccountId> {
    /// Splits off the first `amount` plancks, or all if there are fewer.
    pub(crate) fn take(&mut self, amount: Balance) -> Self {
        let consumer = take_share(&mut self.consumer, amount);
        let left = amount.saturating_sub(amount_of(&consumer));
        let burn = left.min(self.burn);
        self.burn = self.burn.saturating_sub(burn);
        Self { consumer, burn }
    }
}

impl<AccountId> DebtRecord<AccountId> {
    /// Returns the whole amount in plancks.
    pub fn total(&self) -> Balance {
        amount_of(&self.consumer).saturating_add(self.burn)
    }
}

fn amount_of<AccountId>(share: &Option<(AccountId, Balance)>) -> Balance {
    share.as_ref().map_or(0, |(_, amount)| *amount)
}

/// Splits up to `at_most` plancks off a share. The share becomes `None` if nothing is left of it.
fn take_share<AccountId: Clone>(
    share: &mut Option<(AccountId, Balance)>,
    at_most: Balance,
) -> Option<(AccountId, Balance)> {
    let (account, amount) = share.take()?;
    let part = amount.min(at_most);
    if part < amount {
        *share = Some((account.clone(), amount.saturating_sub(part)));
    }
    Some((account, part))
}

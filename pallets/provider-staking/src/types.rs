//! What the stakes keep of each machine and of each slash, and what an offence costs.

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

/// Most parts of one bond that are on their way out at the same time.
///
/// Parts that fall due in the same epoch are one. Bounds the record and the work of a withdrawal or a slash.
pub const MAX_UNLOCK_CHUNKS: u32 = 8;

/// What the offences cost on a chain whose governance did not change it.
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

/// The bond of a machine in a runtime.
pub type BondRecordOf<T> = BondRecord<<T as frame_system::Config>::AccountId>;

/// A slash in a runtime.
pub type SlashRecordOf<T> = SlashRecord<<T as frame_system::Config>::AccountId>;

/// A debt in a runtime.
pub type DebtRecordOf<T> = DebtRecord<<T as frame_system::Config>::AccountId>;

/// The parts of a bond that are on their way out.
pub type UnlockChunks = BoundedVec<UnlockChunk, ConstU32<MAX_UNLOCK_CHUNKS>>;

/// A machine's strikes for each offence, in the order of [`Offence::ALL`].
pub type Strikes = [StrikeRecord; Offence::ALL.len()];

/// What a provider stands to lose for one machine, and what it lost already without having had it.
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
    /// Plancks owed by slashes that took more than there was: the sum of the machine's debts. While it is above
    /// zero nothing is held.
    pub debt: Balance,
    /// Plancks owed by the machine's slashes in the agenda; as many as there are of them stay held.
    pub pending: Balance,
    /// How many of the machine's slashes are in the agenda.
    pub pending_slashes: u32,
    /// How often the machine committed each offence.
    pub strikes: Strikes,
}

impl<AccountId> BondRecord<AccountId> {
    /// The record of a machine for which nothing is bonded yet.
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

    /// Plancks held for the machine: bonded, and on their way out.
    pub fn total_held(&self) -> Balance {
        self.unlocking
            .iter()
            .fold(self.bonded, |total, chunk| total.saturating_add(chunk.amount))
    }

    /// Plancks that will be bonded when the slashes in the agenda were applied, which take from the bond
    /// first.
    pub fn unencumbered(&self) -> Balance {
        self.bonded.saturating_sub(self.pending)
    }

    /// Plancks that may leave although slashes are in the agenda.
    pub fn releasable(&self) -> Balance {
        self.total_held().saturating_sub(self.pending)
    }

    /// Whether nothing is held, owed or about to be slashed. Strikes do not count.
    pub fn is_settled(&self) -> bool {
        self.total_held() == 0 && self.debt == 0 && self.pending_slashes == 0
    }

    /// Whether the machine committed an offence that may make the next one dearer.
    pub fn has_strikes(&self) -> bool {
        self.strikes.iter().any(|strikes| strikes.count > 0)
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

    /// Plancks that are due in `epoch`.
    pub(crate) fn due(&self, epoch: EpochIndex) -> Balance {
        self.unlocking
            .iter()
            .filter(|chunk| chunk.due_epoch <= epoch)
            .fold(0, |due: Balance, chunk| due.saturating_add(chunk.amount))
    }

    /// Takes out what is due in `epoch`, but no more than `at_most`, and returns how much it was.
    pub(crate) fn take_due(&mut self, epoch: EpochIndex, at_most: Balance) -> Balance {
        let due = self.unlocking.iter_mut().filter(|chunk| chunk.due_epoch <= epoch);
        let taken = take_in_order(due, at_most);
        self.unlocking.retain(|chunk| chunk.amount > 0);
        taken
    }

    /// Takes out as much of `amount` as is held, and returns how much it was: first what is bonded, then what is
    /// on its way out, latest due first.
    pub(crate) fn take(&mut self, amount: Balance) -> Balance {
        let from_bonded = amount.min(self.bonded);
        self.bonded = self.bonded.saturating_sub(from_bonded);

        self.unlocking.sort_by_key(|chunk| chunk.due_epoch);
        let latest_first = self.unlocking.iter_mut().rev();
        let from_unlocking = take_in_order(latest_first, amount.saturating_sub(from_bonded));
        self.unlocking.retain(|chunk| chunk.amount > 0);
        from_bonded.saturating_add(from_unlocking)
    }

    /// Notes an offence and returns how often the machine did the same before.
    pub(crate) fn add_strike(
        &mut self,
        offence: Offence,
        epoch: EpochIndex,
        memory_epochs: EpochIndex,
    ) -> u8 {
        self.strikes_of(offence).add(epoch, memory_epochs)
    }

    /// Forgets one time that the machine committed an offence.
    pub(crate) fn take_strike_back(&mut self, offence: Offence) {
        self.strikes_of(offence).take_back();
    }

    fn strikes_of(&mut self, offence: Offence) -> &mut StrikeRecord {
        // A test holds that the array has a place for each offence, in this order.
        &mut self.strikes[offence as usize]
    }
}

/// Takes up to `at_most` plancks out of chunks, one after the other, and returns how much it was.
fn take_in_order<'a>(chunks: impl Iterator<Item = &'a mut UnlockChunk>, at_most: Balance) -> Balance {
    let mut left = at_most;
    for chunk in chunks {
        let part = left.min(chunk.amount);
        chunk.amount = chunk.amount.saturating_sub(part);
        left = left.saturating_sub(part);
    }
    at_most.saturating_sub(left)
}

/// What one offence costs, as fractions of the bond.
///
/// The first time costs `first`, each further one `factor` times as much as the one before, but never more than
/// `at_most`.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct OffencePenalty {
    /// What it costs a machine that has no strike.
    pub first: Permill,
    /// How many times as much each repetition costs; with one, the penalty never grows.
    pub factor: u8,
    /// Most that it costs.
    pub at_most: Permill,
}

impl OffencePenalty {
    /// What it costs a machine that did the same `before` times before.
    pub fn fraction(&self, before: u8) -> Permill {
        let growth = u32::from(self.factor).saturating_pow(before.into());
        Permill::from_parts(self.first.deconstruct().saturating_mul(growth)).min(self.at_most)
    }
}

/// What the offences cost.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct OffenceTable {
    /// Of [`Offence::ChallengeUnanswered`].
    pub challenge_unanswered: OffencePenalty,
    /// Of [`Offence::ChallengeWrong`].
    pub challenge_wrong: OffencePenalty,
    /// Of [`Offence::ForgedEvidence`].
    pub forged_evidence: OffencePenalty,
}

impl OffenceTable {
    /// What this offence costs.
    pub fn penalty(&self, offence: Offence) -> OffencePenalty {
        match offence {
            Offence::ChallengeUnanswered => self.challenge_unanswered,
            Offence::ChallengeWrong => self.challenge_wrong,
            Offence::ForgedEvidence => self.forged_evidence,
        }
    }
}

/// Whether an offence takes a machine out of the market as soon as it is reported.
pub(crate) fn suspends(offence: Offence) -> bool {
    matches!(offence, Offence::ChallengeWrong | Offence::ForgedEvidence)
}

/// Whether the slash for an offence takes a machine out of the market for good, if it did the same `before` times
/// before.
pub(crate) fn ends_machine(offence: Offence, before: u8) -> bool {
    match offence {
        Offence::ForgedEvidence => true,
        Offence::ChallengeWrong => before > 0,
        Offence::ChallengeUnanswered => false,
    }
}

/// A slash that waits in the agenda. Nothing of it changes any more.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct SlashRecord<AccountId> {
    /// The machine.
    pub machine: MachineId,
    /// Why.
    pub reason: SlashReason,
    /// Plancks that it costs.
    pub owed: Balance,
    /// Who gets a share.
    pub beneficiaries: Beneficiaries<AccountId>,
    /// Whether applying it takes the machine out of the market for good.
    pub ends_machine: bool,
}

impl<AccountId> SlashRecord<AccountId> {
    /// Divides what is owed into the consumer's loss and the rest.
    pub(crate) fn into_dues(self) -> DebtRecord<AccountId> {
        let consumer = self
            .beneficiaries
            .consumer
            .map(|(account, loss)| (account, loss.min(self.owed)));
        let burn = self.owed.saturating_sub(amount_of(&consumer));
        DebtRecord { consumer, burn }
    }
}

/// What is outstanding of a slash, in the order in which it is paid.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct DebtRecord<AccountId> {
    /// The harmed consumer and its plancks.
    pub consumer: Option<(AccountId, Balance)>,
    /// Plancks to burn.
    pub burn: Balance,
}

impl<AccountId: Clone> DebtRecord<AccountId> {
    /// Splits off the first `amount` plancks, or all where there are fewer.
    pub(crate) fn take(&mut self, amount: Balance) -> Self {
        let consumer = take_share(&mut self.consumer, amount);
        let left = amount.saturating_sub(amount_of(&consumer));
        let burn = left.min(self.burn);
        self.burn = self.burn.saturating_sub(burn);
        Self { consumer, burn }
    }
}

impl<AccountId> DebtRecord<AccountId> {
    /// All of it, in plancks.
    pub fn total(&self) -> Balance {
        amount_of(&self.consumer).saturating_add(self.burn)
    }
}

fn amount_of<AccountId>(share: &Option<(AccountId, Balance)>) -> Balance {
    share.as_ref().map_or(0, |(_, amount)| *amount)
}

/// Splits up to `at_most` plancks off a share, of which nothing is left where it was not more.
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

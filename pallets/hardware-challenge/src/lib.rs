//! Challenges by which machines prove that their hardware is what they claim, or lose a part of their bond.
//!
//! [`assay_proof`] defines a challenge to the byte. This pallet decides when machines are challenged, which
//! answers they owe, and the consequences.
//!
//! ```text
//! opened ───commit───▶ commits closed ───▶ openings drawn ───prove───▶ ───report_missed───▶ concluded
//!      a root for each                by a later        prove window        report window     and forgotten
//!      slot, in time                  block
//! ```
//!
//! Rounds open by themselves, each at O(1): a record with randomness and times. The answer that a machine
//! owes or may give follows from the round and the machine, and is computed on demand:
//!
//! | machine | newcomer round | audit |
//! |---|---|---|
//! | active when the round opened | – | must answer for every slot that was free then |
//! | was proven once, or answered wrongly or not at all, and is not active | – | may answer |
//! | never tried | may answer | may answer |
//!
//! A machine that may answer needs a sufficient bond, and one that committed must prove. Leased slots are not
//! challenged: free slots have the numbers from zero on, leased ones follow. A machine's free slots are those
//! that it had when the audit opened: the registry reports them before they change ([`Exposures`]), so a
//! provider cannot lease its machine to itself to escape an audit that has opened.
//!
//! # Answers name what they answer
//!
//! Two forks of the chain give their rounds the same numbers but different randomness, and a node may lie.
//! Therefore a worker signs everything that the correctness of its answer depends on: the round and its
//! randomness, the parameters, the worker key of the seeds, and for a proof the randomness of the openings
//! and the committed roots ([`AnswerSubject`](assay_primitives::challenge::AnswerSubject)). A chain with
//! other values refuses the answer before it is in a block, and nothing changes. So a worker that verified
//! its proofs before it signed them has signed nothing that is wrong on any fork. The chain punishes only a
//! proof that is wrong by the values that its own signature covers.
//!
//! # The cost of silence
//!
//! A report ends the proof of a silent machine at once: it has shown nothing that rewards could be paid for.
//! The conclusion of the round decides for all silent machines together whether they committed an offence,
//! when no more can be reported ([`RoundOutcome`]). Silence is no offence if finality was seen stalled since
//! the round opened ([`Config::Finality`]), or if at least a third of the machines that owed an answer were
//! silent: the chain cannot tell whose fault that was. While finality is stalled no round opens and no report
//! is taken. Answers are still taken: a machine that proves its slots is proven, and one that gives a wrong
//! proof is punished, since its own signature shows the fault.
//!
//! Nobody is paid for a report. A slash for silence is burned, so an attacker that makes a machine miss its
//! deadline gains nothing, and neither does a provider that reports itself.
//!
//! # The value of a proof
//!
//! A proof of *n* slots is valid for [`Schedule::max_proof_age_ms`] from the opening of its round, *whatever
//! is leased*: a machine that leases its slots to itself loses it in the end, as a silent one does. Without a
//! proof it earns nothing and takes no jobs until it has answered a later audit; newcomer rounds are closed
//! to it, so that all machines renew their proofs at the same time. A machine whose leased slots were not
//! proven for so long keeps the proof of its free ones, and earns for those. A wrong answer and a missing one
//! end the proof at once.
//!
//! One attack remains: a device may stand for several machines that lease themselves in turns, with another
//! one free at each audit. Their number is at most [`Schedule::max_proof_age_ms`] divided by the time between
//! audits, and each of them has to be bonded.
//!
//! # Randomness
//!
//! [`Config::Randomness`] gives the VRF output of the parent block's author. The author knows it as soon as
//! it knows that the slot is its own, which may be hours before. Therefore the outputs of all blocks are
//! mixed into one ([`Entropy`]): only an author that made every block since somebody else's last one knows
//! the mix in advance. Nobody but the author of the parent block, and those that it tells, knows a round's
//! seeds, or that an audit opens, before the parent block is out; it knows one slot earlier. It can bias the
//! draw by one bit, by giving its block up. Openings are drawn from a mix that contains the outputs of all
//! blocks of [`Schedule::opening_delay_ms`] after the last commit: only an author that makes all of these
//! blocks could choose its commit by the openings.
//!
//! Design goals, each held by a test:
//!
//! 1. No block visits all machines: opening a round and drawing its openings are O(1); the work of an answer
//!    is proportional to its slots.
//! 2. Seeds differ for each chain, round, machine, worker key and slot, so no answer fits another one.
//! 3. No seed is known before its round, no opening before commits are closed.
//! 4. All times are active times: no deadline runs while the chain stands still.
//! 5. An answer is taken once, in its time, with the signature of the machine's worker key; no other answer
//!    gets into a block, and answers cost no fee.
//! 6. A machine that owes an answer and is silent, or committed and did not prove, loses its proof when
//!    somebody reports it, and a part of its bond when the round is concluded, once for each round.
//! 7. A proof expires by itself, in the block that begins an epoch.
//! 8. Bounded: at most [`MAX_LIVE_ROUNDS`] rounds, concluded and forgotten answer by answer, and a block does
//!    no more than [`Config::MaxServiceWeight`].
//! 9. An answer to another fork's challenge is refused and changes nothing.
//! 10. Nobody is slashed for silence while finality stalls, or together with a third of the network; nobody
//!     earns by a report.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod answers;
#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod calls;
mod due;
mod hooks;
#[cfg(test)]
mod mock;
mod proofs;
mod rounds;
#[cfg(test)]
mod tests;
mod try_state;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::{
    Answer, ClassVersion, ClassVersions, Commitment, DOUBLE_ROUNDS_PER_UNIT, DrawnOpenings, GenesisChallenge,
    LiveAudits, MASS_SILENCE_PART, MAX_CLASS_VERSIONS, MAX_LIVE_AUDITS, MAX_LIVE_ROUNDS, MAX_PROOF_BYTES,
    MIN_PASSES, ProofRecord, ProofStep, Roots, RoundOutcome, RoundRecord, Schedule, Tally,
};
pub use weights::WeightInfo;

/// Code for a transaction pool: the machine neither must nor may answer in the round.
pub const NOT_DUE: u8 = 1;

/// Code for a transaction pool: the machine already answered, or was already reported.
pub const ALREADY_ANSWERED: u8 = 2;

/// Code for a transaction pool: the roots or proofs are not those of the slots whose turn it is.
pub const WRONG_SLOTS: u8 = 3;

/// Code for a transaction pool: the machine committed nothing in the round.
pub const NOT_COMMITTED: u8 = 4;

/// Code for a transaction pool: the reported machine owes no answer, or still has time.
pub const NOT_MISSED: u8 = 5;

/// Code for a transaction pool: the reported proof is still valid.
pub const NOT_EXPIRED: u8 = 6;

/// Code for a transaction pool: the answer names other randomness than this fork drew.
pub const OTHER_RANDOMNESS: u8 = 7;

/// Code for a transaction pool: finality was seen stalled since the round opened, so its misses cannot be
/// reported.
pub const FINALITY_STALLED: u8 = 8;

// The macro names the type of each closure that authorizes a call.
#[allow(clippy::type_complexity)]
#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use alloc::vec::Vec;

    use assay_primitives::{
        challenge::{RoundId, RoundKind, RoundRef},
        clock::{ActiveClock, EpochIndex, Millis},
        finality::FinalityLag,
        machine::{Exposure, HardwareClaims, HardwareClassId, MAX_SLOTS, MachineId, OnProofChange},
        offence::{ReportOffence, SlashId},
        stake::BondInspect,
    };
    use assay_proof::{ChallengeParams, Hash, SlotProof, VerifyError};
    use polkadot_sdk::{
        frame_support::{
            pallet_prelude::*,
            traits::{EnsureOrigin, Randomness, StorageVersion},
            weights::WeightMeter,
        },
        frame_system::{ensure_authorized, pallet_prelude::*},
        sp_core::sr25519,
    };

    use crate::{
        Answer, ClassVersions, GenesisChallenge, LiveAudits, ProofRecord, Roots, RoundOutcome, RoundRecord,
        Schedule, Tally, WeightInfo,
    };

    /// Version of the storage layout below.
    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    /// Needs [`polkadot_sdk::frame_system::AuthorizeCall`] among the runtime's transaction extensions.
    /// Accounts are the 32 bytes of a public key: a worker key must be able to sign for itself.
    #[pallet::config]
    pub trait Config:
        polkadot_sdk::frame_system::Config<RuntimeEvent: From<Event<Self>>, AccountId: Into<[u8; 32]>>
    {
        /// Claims of machines about their hardware. Implemented by the registry.
        type Machines: HardwareClaims<Self::AccountId>;

        /// Bonds of machines: one without a sufficient bond has too little to lose.
        type Bonds: BondInspect;

        /// Receiver of offences. Implemented by the stakes, which slash.
        type Offences: ReportOffence<Self::AccountId>;

        /// Listener for new, changed and ended proofs.
        type OnProofChange: OnProofChange;

        /// Clock of active time.
        type Clock: ActiveClock;

        /// View of finality: while it is stalled, silence is held against no machine.
        type Finality: FinalityLag;

        /// VRF output of the parent block's author; `None` if the block has none. See the crate's
        /// documentation.
        type Randomness: Randomness<Option<Self::Hash>, BlockNumberFor<Self>>;

        /// Origin that decides when machines are challenged, and by which parameters.
        type AdminOrigin: EnsureOrigin<Self::RuntimeOrigin>;

        /// Maximum number of double rounds for the verification of one slot of any class; they take nearly
        /// all of its time. A multiple of [`DOUBLE_ROUNDS_PER_UNIT`](crate::DOUBLE_ROUNDS_PER_UNIT).
        #[pallet::constant]
        type MaxDoubleRounds: Get<u64>;

        /// Maximum number of slots that one transaction proves, at least one. The largest must fit a block.
        #[pallet::constant]
        type MaxSlotsPerProof: Get<u32>;

        /// Maximum weight that a block spends on rounds, expiries and forgetting, however much it has left.
        /// Must be enough for one unit of each.
        #[pallet::constant]
        type MaxServiceWeight: Get<Weight>;

        /// Weights of this pallet's calls and hooks.
        type WeightInfo: WeightInfo;
    }

    /// Schedule of rounds: when they open, and how long their parts last.
    #[pallet::storage]
    pub type CurrentSchedule<T> = StorageValue<_, Schedule, ValueQuery>;

    /// Parameters of each class, for live rounds and those to come.
    #[pallet::storage]
    pub type Classes<T> = StorageMap<_, Twox64Concat, HardwareClassId, ClassVersions, ValueQuery>;

    /// Mixed VRF outputs of all blocks.
    #[pallet::storage]
    pub type Entropy<T> = StorageValue<_, Hash, ValueQuery>;

    /// Active time at the last block in which the hook ran: not later than at the parent.
    #[pallet::storage]
    pub type LastServedMs<T> = StorageValue<_, Millis, ValueQuery>;

    /// Active time at the last block in which finality was seen stalled; none on a chain where it never was.
    #[pallet::storage]
    pub type LastStalledMs<T> = StorageValue<_, Millis, OptionQuery>;

    /// Active time up to which audits have been drawn.
    #[pallet::storage]
    pub type AuditsDrawnUntilMs<T> = StorageValue<_, Millis, ValueQuery>;

    /// Active time at which the last audit opened.
    #[pallet::storage]
    pub type LastAuditMs<T> = StorageValue<_, Millis, ValueQuery>;

    /// Active time at which the last newcomer round opened; none before the first.
    #[pallet::storage]
    pub type LastNewcomersMs<T> = StorageValue<_, Millis, OptionQuery>;

    /// Live rounds, from the oldest one to the newest.
    #[pallet::storage]
    pub type Rounds<T> = StorageMap<_, Twox64Concat, RoundId, RoundRecord>;

    /// Number of the round that opens next.
    #[pallet::storage]
    pub type NextRound<T> = StorageValue<_, RoundId, ValueQuery>;

    /// First round whose openings are not drawn.
    #[pallet::storage]
    pub type NextDraw<T> = StorageValue<_, RoundId, ValueQuery>;

    /// Oldest live round.
    #[pallet::storage]
    pub type OldestRound<T> = StorageValue<_, RoundId, ValueQuery>;

    /// Audits among the live rounds, the oldest first.
    #[pallet::storage]
    pub type Audits<T> = StorageValue<_, LiveAudits, ValueQuery>;

    /// Answers of machines in each round, and misses that were reported.
    #[pallet::storage]
    pub type Answers<T> = StorageDoubleMap<_, Twox64Concat, RoundId, Twox64Concat, MachineId, Answer>;

    /// Exposure of a machine when an audit opened, if it changed before the next audit.
    #[pallet::storage]
    pub type Exposures<T> = StorageDoubleMap<_, Twox64Concat, RoundId, Twox64Concat, MachineId, Exposure>;

    /// Proofs of machines that ever had one, or lost the right to a newcomer round.
    #[pallet::storage]
    pub type Proofs<T> = StorageMap<_, Twox64Concat, MachineId, ProofRecord>;

    /// Machines whose next proof expires before an epoch begins, by that epoch.
    #[pallet::storage]
    pub type Expiries<T> = StorageDoubleMap<_, Twox64Concat, EpochIndex, Twox64Concat, MachineId, ()>;

    /// Oldest epoch of which expiries may be left.
    #[pallet::storage]
    pub type NextExpiryEpoch<T> = StorageValue<_, EpochIndex, ValueQuery>;

    /// Genesis state.
    #[pallet::genesis_config]
    #[derive(polkadot_sdk::frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Schedule of rounds.
        pub schedule: Schedule,
        /// Parameters of classes; classes must not repeat.
        pub classes: Vec<GenesisChallenge>,
        /// Ties the configuration to its runtime.
        #[serde(skip)]
        pub _config: core::marker::PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            assert!(
                self.schedule.is_valid(),
                "genesis: a length in the schedule of hardware challenges is zero, audits are rarer than the most \
                 that may be between them, or a machine that answers every audit would not stay proven"
            );
            CurrentSchedule::<T>::put(self.schedule);
            for GenesisChallenge { class, params } in &self.classes {
                assert!(
                    !Classes::<T>::contains_key(class),
                    "genesis: hardware class {class} has two challenges"
                );
                if Pallet::<T>::put_class(*class, Some(*params)).is_err() {
                    panic!("genesis: the challenge of hardware class {class} is out of bounds");
                }
            }
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// A round opened.
        RoundOpened {
            /// The round.
            round: RoundId,
            /// Kind of the round: which machines it is for.
            kind: RoundKind,
            /// Randomness from which the seeds are derived.
            randomness: Hash,
            /// Last active time at which any class may commit.
            commits_until_ms: Millis,
        },
        /// The openings of a round were drawn.
        OpeningsDrawn {
            /// The round.
            round: RoundId,
            /// Randomness from which the opened lanes are derived.
            randomness: Hash,
            /// Last active time at which slots can be proven.
            prove_until_ms: Millis,
        },
        /// A machine committed the roots of its slots.
        Committed {
            /// The round.
            round: RoundId,
            /// The machine.
            machine: MachineId,
            /// Number of slots.
            slots: u8,
        },
        /// A machine proved some of its slots, and others are left.
        SlotsProven {
            /// The round.
            round: RoundId,
            /// The machine.
            machine: MachineId,
            /// Number of slots that are proven so far.
            proven: u8,
        },
        /// A machine proved all slots that it committed for.
        MachineProven {
            /// The round.
            round: RoundId,
            /// The machine.
            machine: MachineId,
            /// Number of slots.
            slots: u8,
        },
        /// A machine gave a wrong proof of a slot: its hardware is not what it claims.
        AnswerWrong {
            /// The round.
            round: RoundId,
            /// The machine.
            machine: MachineId,
            /// The slot.
            slot: u8,
            /// Fault of the proof.
            error: VerifyError,
            /// Slash for it.
            slash: SlashId,
        },
        /// A machine owed an answer and gave none in time; its proof ends. The conclusion of the round
        /// decides about a slash.
        AnswerMissed {
            /// The round.
            round: RoundId,
            /// The machine.
            machine: MachineId,
        },
        /// A proof of a machine expired.
        ProofExpired {
            /// The machine.
            machine: MachineId,
            /// Number of slots that are still proven.
            proven_slots: u8,
        },
        /// The parameters of a class changed.
        ClassSet {
            /// The class.
            class: HardwareClassId,
            /// The parameters; `None`: machines of the class are not challenged.
            params: Option<ChallengeParams>,
            /// First round that uses them.
            from_round: RoundId,
        },
        /// The schedule of rounds changed.
        ScheduleSet {
            /// The schedule.
            schedule: Schedule,
        },
        /// A round is over, and the consequence of its misses is decided.
        RoundConcluded {
            /// The round.
            round: RoundId,
            /// Number of machines that owed an answer and gave it, or did not.
            tally: Tally,
            /// Consequence of the misses.
            outcome: RoundOutcome,
        },
        /// A machine is slashed for its silence in a round.
        MissPunished {
            /// The round.
            round: RoundId,
            /// The machine.
            machine: MachineId,
            /// The slash that it costs; all of it is burned.
            slash: SlashId,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The round has not opened yet.
        RoundNotOpen,
        /// The round is over and forgotten.
        RoundForgotten,
        /// There is no such machine.
        NoSuchMachine,
        /// The machine neither must nor may answer in the round.
        NotDue,
        /// The machine's bond is too low: it has too little to lose.
        BondInsufficient,
        /// The deadline has passed.
        TooLate,
        /// The openings are not drawn yet.
        OpeningsNotDrawn,
        /// The machine already answered, or was already reported.
        AlreadyAnswered,
        /// The number of roots is not that of the due slots, or the proofs are not those of the slots whose
        /// turn it is.
        WrongSlots,
        /// The machine committed nothing in the round.
        NotCommitted,
        /// The machine owes no answer in the round, or still has time.
        NotMissed,
        /// The machine has no expired proof.
        NotExpired,
        /// A parameter of the class is out of its range.
        BadParams,
        /// The deadline of the class is longer than the time that rounds give for commits.
        DeadlineTooLong,
        /// The verification of a slot would take too long.
        VerificationTooLong,
        /// The proof of a slot would be too large.
        ProofTooLarge,
        /// The lanes read so little that storing the memory would not pay.
        TooFewPasses,
        /// The parameters changed too often for the rounds that are open; wait until the oldest is forgotten.
        TooManyVersions,
        /// A length in the schedule is zero, the mean interval of audits is above the maximum, or a machine
        /// that answers every audit would not stay proven.
        BadSchedule,
        /// The answer names other randomness than this fork drew for the round or its openings: it was made
        /// for another fork.
        OtherRandomness,
        /// Finality was seen stalled since the round opened: no machine can be reported for silence in it.
        FinalityStalled,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_poll(_: BlockNumberFor<T>, meter: &mut WeightMeter) {
            Self::serve(meter);
        }

        fn integrity_test() {
            assert!(
                (1..=u32::from(MAX_SLOTS)).contains(&T::MaxSlotsPerProof::get()),
                "a transaction proves 1 to 64 slots"
            );
            assert!(
                T::MaxDoubleRounds::get() >= crate::DOUBLE_ROUNDS_PER_UNIT
                    && T::MaxDoubleRounds::get().is_multiple_of(crate::DOUBLE_ROUNDS_PER_UNIT),
                "verifications are weighed in whole units"
            );
            assert!(
                Self::one_unit_weight().all_lte(T::MaxServiceWeight::get()),
                "the hook may not even do one unit"
            );
            let largest_proof = T::MaxSlotsPerProof::get();
            assert!(
                Self::prove_weight(largest_proof, T::MaxDoubleRounds::get())
                    .saturating_add(T::WeightInfo::authorize_prove(largest_proof))
                    .all_lte(T::BlockWeights::get().max_block),
                "the largest proof does not fit a block"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Commits one root for each slot that a machine has to answer for.
        ///
        /// A general transaction without a fee, authorized by the signature of the machine's worker key over
        /// [`commit_message`](assay_primitives::challenge::commit_message). A machine that committed must
        /// prove. An answer to another fork's challenge is refused and costs nothing.
        ///
        /// # Origin
        /// Authorized.
        ///
        /// # Parameters
        /// - `round`: the round and its randomness.
        /// - `machine`: the machine.
        /// - `roots`: one for each slot, in the order of the slots' numbers from zero.
        /// - `signature`: by the machine's worker key.
        ///
        /// # Errors
        /// The code that a transaction pool gets is in brackets.
        /// - [`Error::RoundNotOpen`] (`Future`), [`Error::RoundForgotten`] (`Stale`).
        /// - [`Error::OtherRandomness`] (`Custom(`[`OTHER_RANDOMNESS`](crate::OTHER_RANDOMNESS)`)`).
        /// - [`Error::NoSuchMachine`] (`BadSigner`).
        /// - [`Error::NotDue`], [`Error::BondInsufficient`]: the machine neither must nor may answer
        ///   (`Custom(`[`NOT_DUE`](crate::NOT_DUE)`)`).
        /// - [`Error::TooLate`]: the deadline of its class has passed (`Stale`).
        /// - [`Error::AlreadyAnswered`] (`Custom(`[`ALREADY_ANSWERED`](crate::ALREADY_ANSWERED)`)`).
        /// - [`Error::WrongSlots`]: there are more or fewer roots than slots
        ///   (`Custom(`[`WRONG_SLOTS`](crate::WRONG_SLOTS)`)`).
        /// - A forged signature, or one over other parameters or another key of the seeds, is refused before
        ///   the call (`BadProof`).
        ///
        /// # Events
        /// - [`Event::Committed`]
        #[pallet::call_index(0)]
        #[pallet::weight((T::WeightInfo::commit(roots.len() as u32), DispatchClass::Operational))]
        #[pallet::weight_of_authorize(T::WeightInfo::authorize_commit(roots.len() as u32))]
        #[pallet::authorize(|_source, round, machine, roots, signature| {
            Self::authorize_commit(*round, *machine, roots, signature)
        })]
        pub fn commit(
            origin: OriginFor<T>,
            round: RoundRef,
            machine: MachineId,
            roots: Roots,
            // Checked when the call was authorized.
            _signature: sr25519::Signature,
        ) -> DispatchResult {
            ensure_authorized(origin)?;
            Self::do_commit(round, machine, roots)
        }

        /// Proves some of the slots for which a machine committed.
        ///
        /// A general transaction without a fee, authorized by the signature of the machine's worker key over
        /// [`prove_message`](assay_primitives::challenge::prove_message). Slots are proven in the order of
        /// their numbers, all at once or in parts. A proof that is wrong in any way counts as an answer, and
        /// costs a large part of the bond. An answer to another fork's challenge is refused and costs
        /// nothing.
        ///
        /// # Origin
        /// Authorized.
        ///
        /// # Parameters
        /// - `round`: the round and its randomness.
        /// - `opening_randomness`: the randomness of the openings that the proofs answer.
        /// - `machine`: the machine.
        /// - `first_slot`: the first slot that is not proven.
        /// - `proofs`: proofs of this slot and those after it; at least one and at most
        ///   [`Config::MaxSlotsPerProof`].
        /// - `signature`: by the machine's worker key.
        ///
        /// # Errors
        /// The code that a transaction pool gets is in brackets.
        /// - [`Error::RoundNotOpen`], [`Error::OpeningsNotDrawn`] (`Future`), [`Error::RoundForgotten`],
        ///   [`Error::TooLate`] (`Stale`).
        /// - [`Error::OtherRandomness`] (`Custom(`[`OTHER_RANDOMNESS`](crate::OTHER_RANDOMNESS)`)`).
        /// - [`Error::NoSuchMachine`] (`BadSigner`).
        /// - [`Error::NotCommitted`] (`Custom(`[`NOT_COMMITTED`](crate::NOT_COMMITTED)`)`).
        /// - [`Error::AlreadyAnswered`] (`Custom(`[`ALREADY_ANSWERED`](crate::ALREADY_ANSWERED)`)`).
        /// - [`Error::WrongSlots`]: it is not the turn of these slots
        ///   (`Custom(`[`WRONG_SLOTS`](crate::WRONG_SLOTS)`)`).
        /// - A forged signature, or one over other roots, parameters or another key of the seeds, is refused
        ///   before the call (`BadProof`).
        ///
        /// # Events
        /// - [`Event::SlotsProven`], [`Event::MachineProven`] with the last slot, or [`Event::AnswerWrong`].
        #[pallet::call_index(1)]
        #[pallet::weight((
            Pallet::<T>::prove_weight(proofs.len() as u32, T::MaxDoubleRounds::get()),
            DispatchClass::Operational,
        ))]
        #[pallet::weight_of_authorize(T::WeightInfo::authorize_prove(proofs.len() as u32))]
        #[pallet::authorize(|_source, round, opening_randomness, machine, first_slot, proofs, signature| {
            Self::authorize_prove(*round, opening_randomness, *machine, *first_slot, proofs, signature)
        })]
        pub fn prove(
            origin: OriginFor<T>,
            round: RoundRef,
            opening_randomness: Hash,
            machine: MachineId,
            first_slot: u8,
            proofs: BoundedVec<SlotProof, T::MaxSlotsPerProof>,
            // Checked when the call was authorized.
            _signature: sr25519::Signature,
        ) -> DispatchResultWithPostInfo {
            ensure_authorized(origin)?;
            let double_rounds = Self::do_prove(round, &opening_randomness, machine, first_slot, &proofs)?;
            Ok(Some(Self::prove_weight(proofs.len() as u32, double_rounds)).into())
        }

        /// Reports that a machine owed an answer in a round and gave none in time. Its proof ends. It is
        /// slashed when the round is concluded, unless at least a third of the machines were silent or
        /// finality was stalled: then it may not be the machine's fault.
        ///
        /// As a general transaction it costs no fee and needs no signature, because the chain can check it.
        /// The reporter earns nothing.
        ///
        /// # Origin
        /// Authorized, or signed by anybody.
        ///
        /// # Parameters
        /// - `round`: the round.
        /// - `machine`: the machine.
        ///
        /// # Errors
        /// The code that a transaction pool gets is in brackets.
        /// - [`Error::RoundNotOpen`], [`Error::OpeningsNotDrawn`] (`Future`), [`Error::RoundForgotten`]
        ///   (`Stale`).
        /// - [`Error::FinalityStalled`] (`Custom(`[`FINALITY_STALLED`](crate::FINALITY_STALLED)`)`).
        /// - [`Error::NoSuchMachine`] (`BadSigner`).
        /// - [`Error::NotMissed`]: it owes no answer, or still has time
        ///   (`Custom(`[`NOT_MISSED`](crate::NOT_MISSED)`)`).
        /// - [`Error::AlreadyAnswered`]: it answered, or was reported
        ///   (`Custom(`[`ALREADY_ANSWERED`](crate::ALREADY_ANSWERED)`)`).
        ///
        /// # Events
        /// - [`Event::AnswerMissed`]; later [`Event::MissPunished`], where misses of the round are offences.
        #[pallet::call_index(2)]
        #[pallet::weight((T::WeightInfo::report_missed(), DispatchClass::Operational))]
        #[pallet::weight_of_authorize(T::WeightInfo::authorize_report_missed())]
        #[pallet::authorize(|_source, round, machine| Self::authorize_report_missed(*round, *machine))]
        pub fn report_missed(origin: OriginFor<T>, round: RoundId, machine: MachineId) -> DispatchResult {
            Self::ensure_anybody(origin)?;
            Self::do_report_missed(round, machine)
        }

        /// Removes expired proofs of a machine before the hook does.
        ///
        /// As a general transaction it costs no fee and needs no signature, because the chain can check it.
        ///
        /// # Origin
        /// Authorized, or signed by anybody.
        ///
        /// # Parameters
        /// - `machine`: the machine.
        ///
        /// # Errors
        /// - [`Error::NotExpired`]: its proofs are still valid, or it has none
        ///   (`Custom(`[`NOT_EXPIRED`](crate::NOT_EXPIRED)`)`).
        ///
        /// # Events
        /// - [`Event::ProofExpired`]
        #[pallet::call_index(3)]
        #[pallet::weight((T::WeightInfo::report_expired(), DispatchClass::Operational))]
        #[pallet::weight_of_authorize(T::WeightInfo::authorize_report_expired())]
        #[pallet::authorize(|_source, machine| Self::authorize_report_expired(*machine))]
        pub fn report_expired(origin: OriginFor<T>, machine: MachineId) -> DispatchResult {
            Self::ensure_anybody(origin)?;
            Self::do_report_expired(machine)
        }

        /// Sets the parameters by which the machines of a class are challenged, in rounds that open from now
        /// on.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Parameters
        /// - `class`: the class, which need not be in the catalogue yet.
        /// - `params`: the parameters; `None`: its machines are not challenged, and so cannot be proven.
        ///
        /// # Errors
        /// - [`Error::BadParams`], [`Error::DeadlineTooLong`], [`Error::VerificationTooLong`],
        ///   [`Error::ProofTooLarge`], [`Error::TooFewPasses`]: the parameters are out of bounds.
        /// - [`Error::TooManyVersions`]: the parameters changed too often for the rounds that are open.
        ///
        /// # Events
        /// - [`Event::ClassSet`]
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::set_class())]
        pub fn set_class(
            origin: OriginFor<T>,
            class: HardwareClassId,
            params: Option<ChallengeParams>,
        ) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_set_class(class, params)
        }

        /// Sets when rounds open from now on, and how long their parts last. Open rounds keep their times,
        /// and proofs their expiry. A class whose deadline is longer than the new time for commits gets that
        /// time.
        ///
        /// # Origin
        /// [`Config::AdminOrigin`].
        ///
        /// # Parameters
        /// - `schedule`: the schedule.
        ///
        /// # Errors
        /// - [`Error::BadSchedule`]
        ///
        /// # Events
        /// - [`Event::ScheduleSet`]
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::set_schedule())]
        pub fn set_schedule(origin: OriginFor<T>, schedule: Schedule) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            ensure!(schedule.is_valid(), Error::<T>::BadSchedule);
            CurrentSchedule::<T>::put(schedule);
            Self::deposit_event(Event::ScheduleSet { schedule });
            Ok(())
        }
    }

    #[pallet::view_functions]
    impl<T: Config> Pallet<T> {
        /// Returns the number of slots of which a machine holds a valid proof now.
        pub fn proven_slots_now(machine: MachineId) -> u8 {
            Self::slots_with_proof(machine)
        }
    }
}

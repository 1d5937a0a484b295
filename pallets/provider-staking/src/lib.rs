//! What a provider stands to lose: a bond for each machine, and what takes it away.
//!
//! The bond is a hold on the provider's account. What is asked for the machine's slots must be bonded before
//! the machine may work, which is in proportion to its weight in the emission, and [`Config::BaseBond`] at
//! least; whether that is so is told to [`Config::OnBondChange`] after every change. What is unbonded leaves
//! after [`Config::UnbondingEpochs`] and can be lost until it is withdrawn.
//!
//! A slash costs a fraction of the bond, fixed when it is queued. It waits in the agenda for
//! [`Config::SlashDeferEpochs`], in which governance may cancel it and what it costs stays held. Then it
//! takes what there is: first the harmed consumer's loss, and the rest is burned. Nobody earns by reporting.
//! What was not there is a debt, and a machine in debt takes no bond until somebody has paid it. A bond
//! suffices only without what the slashes in the agenda will take of it, so that no offence is free because
//! of one before it.
//!
//! ```text
//! report_offence ─┐            ┌─cancel_slash──▶ unlocked, strike taken back
//! slash ──────────┴─▶ agenda ──┤
//!                              └─on_poll, apply_slash──▶ taken ──less than owed──▶ debt ──pay_debt──▶ paid
//! ```
//!
//! Design goals, each held by a test:
//!
//! 1. What is held on a provider's account is the sum of its records, planck by planck, after every call.
//! 2. A machine in the market keeps its minimum: only one that is suspended, unproven or retired may go below
//!    it, and only an unproven or retired one may be unbonded whole. While a slot is leased, and until the
//!    epochs in which one was are closed, an unproven or suspended machine keeps its minimum too.
//! 3. Whatever was bonded and not slashed comes back: retire, unbond, wait, withdraw, and nothing is left over.
//! 4. A slash always takes the smaller of what is owed and what is held, and the rest is owed: nothing is forgiven,
//!    and nobody is left out because an account cannot receive.
//! 5. No offence is free: what is pending counts as lost for whether a bond suffices, and what is owed beyond
//!    the bond becomes a debt, however much was pending before.
//! 6. No way out: unbonding, withdrawing, retiring, freezing or spending between the offence and its slash
//!    saves nothing, and bonding anew wipes no strike.
//! 7. No slash is dropped or applied twice: a full agenda moves it to a later epoch, and a full block to a
//!    later block.
//! 8. Bounded: one record for each machine, with at most [`MAX_UNLOCK_CHUNKS`] parts on their way out; a
//!    slash is queued at O(1), and a block does no more than [`Config::MaxServiceWeight`].

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod agenda;
#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod bonds;
mod calls;
mod debts;
mod hooks;
#[cfg(test)]
mod mock;
mod payouts;
mod slashing;
#[cfg(test)]
mod tests;
mod try_state;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::{
    BondRecord, BondRecordOf, DEFAULT_OFFENCE_TABLE, DebtRecord, DebtRecordOf, MAX_UNLOCK_CHUNKS,
    OffencePenalty, OffenceTable, SlashReason, SlashRecord, SlashRecordOf, StrikeRecord, Strikes,
    UnlockChunk, UnlockChunks,
};
pub use weights::WeightInfo;

#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use assay_primitives::{
        clock::{ActiveClock, EpochIndex},
        machine::{MachineId, MachineInspect},
        money::Balance,
        offence::{Beneficiaries, MachineDiscipline, SlashId},
        stake::OnBondChange,
    };
    use polkadot_sdk::{
        frame_support::{
            pallet_prelude::*,
            traits::{EnsureOrigin, StorageVersion, fungible},
            weights::WeightMeter,
        },
        frame_system::pallet_prelude::*,
        sp_runtime::Permill,
    };

    use crate::{BondRecordOf, DebtRecordOf, OffenceTable, SlashReason, SlashRecordOf, WeightInfo};

    /// Version of the storage layout below.
    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// The money that is bonded.
        type Currency: fungible::hold::Mutate<Self::AccountId, Reason = Self::RuntimeHoldReason>
            + fungible::Mutate<Self::AccountId, Balance = Balance>;

        /// The runtime's reasons of holds.
        type RuntimeHoldReason: From<HoldReason>;

        /// The registry of machines.
        type Machines: MachineInspect<Self::AccountId>;

        /// Hears of every change of a bond or a debt.
        type OnBondChange: OnBondChange;

        /// Takes machines out of the market.
        type Discipline: MachineDiscipline;

        /// Tells the epoch.
        type Clock: ActiveClock;

        /// Least plancks to be bonded for any machine, however little its slots weigh. A raise takes no
        /// machine out of the market by itself: the registry's `refresh_machine` does, machine by machine.
        #[pallet::constant]
        type BaseBond: Get<Balance>;

        /// Epochs between unbonding and withdrawal, in which the plancks can still be lost. Must be longer than
        /// any offence stays undiscovered. A change counts for later unbondings only.
        #[pallet::constant]
        type UnbondingEpochs: Get<EpochIndex>;

        /// Slashes any machine, and cancels slashes.
        type AdminOrigin: EnsureOrigin<Self::RuntimeOrigin>;

        /// What the offences cost. A change counts for offences that are reported from then on.
        #[pallet::constant]
        type OffenceTable: Get<OffenceTable>;

        /// Epochs between a slash and its application, in which it can be cancelled; with zero it is applied in
        /// the next block. Longer: consumers wait longer for their money. A change counts for later slashes;
        /// while the wait is shorter than before, a full epoch moves slashes behind the old wait.
        #[pallet::constant]
        type SlashDeferEpochs: Get<EpochIndex>;

        /// Epochs for which a strike counts after the machine's last strike for the same offence. No shorter than
        /// [`Config::SlashDeferEpochs`], or cancelling a slash may take back a strike of another one.
        #[pallet::constant]
        type StrikeMemoryEpochs: Get<EpochIndex>;

        /// Most slashes that fall due in one epoch; those that are more do so in a later one. Must not be zero. A
        /// change counts for later slashes.
        #[pallet::constant]
        type MaxSlashesPerEpoch: Get<u32>;

        /// Most weight that a block spends on slashes that are due, however much it has left. Must be enough for
        /// one of them. The larger, the less is left for transactions in the first blocks of a bad epoch.
        #[pallet::constant]
        type MaxServiceWeight: Get<Weight>;

        /// Weights of this pallet's calls.
        type WeightInfo: WeightInfo;
    }

    /// Why this pallet holds plancks.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// For the provider's machines to behave.
        #[codec(index = 0)]
        MachineBond,
    }

    /// The bond of each machine for which something is held, owed or about to be slashed, or that has
    /// strikes.
    #[pallet::storage]
    pub type Bonds<T: Config> = StorageMap<_, Twox64Concat, MachineId, BondRecordOf<T>>;

    /// The slashes that were neither applied nor cancelled, by the epoch in which they fall due and their place in
    /// it.
    #[pallet::storage]
    pub type Agenda<T: Config> =
        StorageDoubleMap<_, Twox64Concat, EpochIndex, Twox64Concat, u32, SlashRecordOf<T>>;

    /// How many places of an epoch were given out, also to slashes that are gone; of no epoch before the cursor's.
    #[pallet::storage]
    pub type AgendaCounts<T> = StorageMap<_, Twox64Concat, EpochIndex, u32, ValueQuery>;

    /// The latest epoch that a slash was ever queued for.
    #[pallet::storage]
    pub type LastAgendaEpoch<T> = StorageValue<_, EpochIndex, ValueQuery>;

    /// Where the cursor starts.
    #[pallet::type_value]
    pub fn FirstPlace() -> SlashId {
        SlashId {
            due_epoch: 0,
            index: 0,
        }
    }

    /// The cursor: the place in the agenda that the hook looks at next.
    #[pallet::storage]
    pub type NextSlash<T> = StorageValue<_, SlashId, ValueQuery, FirstPlace>;

    /// What each slash of a machine left outstanding.
    #[pallet::storage]
    pub type Debts<T: Config> =
        StorageDoubleMap<_, Twox64Concat, MachineId, Twox64Concat, SlashId, DebtRecordOf<T>>;

    #[pallet::event]
    #[pallet::generate_deposit(pub(super) fn deposit_event)]
    pub enum Event<T: Config> {
        /// Plancks were bonded for a machine.
        Bonded {
            /// The machine.
            machine: MachineId,
            /// Plancks added.
            amount: Balance,
            /// Plancks bonded now, without those on their way out.
            total: Balance,
        },
        /// Plancks of a bond are on their way out.
        Unbonded {
            /// The machine.
            machine: MachineId,
            /// Plancks.
            amount: Balance,
            /// The epoch from which on they may be withdrawn.
            due_epoch: EpochIndex,
        },
        /// Plancks of a bond came back to the provider.
        Withdrawn {
            /// The machine.
            machine: MachineId,
            /// Plancks.
            amount: Balance,
        },
        /// A provider said whether a machine's rewards are bonded.
        AutoStakeSet {
            /// The machine.
            machine: MachineId,
            /// Whether they are.
            auto_stake: bool,
        },
        /// A slash was put in the agenda, and what it costs is locked.
        SlashQueued {
            /// The slash: the epoch in which it falls due and its place in it.
            id: SlashId,
            /// The machine.
            machine: MachineId,
            /// Why.
            reason: SlashReason,
            /// Plancks that it costs.
            owed: Balance,
        },
        /// A slash was taken back before it was applied.
        SlashCancelled {
            /// The slash.
            id: SlashId,
            /// The machine.
            machine: MachineId,
        },
        /// A slash was applied.
        Slashed {
            /// The slash.
            id: SlashId,
            /// The machine.
            machine: MachineId,
            /// Plancks taken of its bond: the sum of the next two.
            taken: Balance,
            /// Plancks that the harmed consumer received.
            to_consumer: Balance,
            /// Plancks that left the total issuance.
            burned: Balance,
            /// Plancks that the slash costs beyond what was there; owed from now on.
            debt: Balance,
        },
        /// What a slash left outstanding was paid.
        DebtPaid {
            /// The slash.
            id: SlashId,
            /// The machine.
            machine: MachineId,
            /// Who paid.
            payer: T::AccountId,
            /// Plancks that the harmed consumer received.
            to_consumer: Balance,
            /// Plancks that left the total issuance.
            burned: Balance,
        },
        /// A consumer's share of a slash was burned because the consumer cannot receive it.
        ShareBurned {
            /// The slash.
            id: SlashId,
            /// Whose share it was.
            recipient: T::AccountId,
            /// Plancks, which the slash's or the debt's own event counts as burned.
            amount: Balance,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// There is no such machine.
        NoSuchMachine,
        /// The machine belongs to another provider.
        NotProvider,
        /// The machine is retired.
        MachineRetired,
        /// Something is bonded for the machine already; add to it.
        AlreadyBonded,
        /// Nothing is bonded for the machine.
        NotBonded,
        /// The amount must be above zero.
        AmountIsZero,
        /// The bond would be below the machine's minimum.
        BelowMinimum,
        /// Only an unproven or retired machine may be unbonded whole.
        MachineInMarket,
        /// Less than that is bonded.
        BondTooSmall,
        /// Too many parts of the bond are on their way out; withdraw those that are due.
        TooManyChunks,
        /// No part of the bond is due.
        NothingDue,
        /// What is due is locked by slashes in the agenda.
        SlashPending,
        /// The machine owes a part of a slash; pay it first.
        InDebt,
        /// The agenda has no such slash: it was applied or cancelled, or never was.
        NoSuchSlash,
        /// The slash falls due in a later epoch.
        SlashNotDue,
        /// The machine owes nothing of this slash.
        NoSuchDebt,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_poll(_: BlockNumberFor<T>, meter: &mut WeightMeter) {
            Self::apply_due_slashes(meter);
        }

        fn integrity_test() {
            assert!(
                T::MaxSlashesPerEpoch::get() > 0,
                "an agenda without places drops every slash"
            );
            assert!(
                Self::one_unit_weight().all_lte(T::MaxServiceWeight::get()),
                "the hook may not even apply one slash"
            );
            assert!(
                T::MaxServiceWeight::get().all_lte(T::BlockWeights::get().max_block),
                "the hook may spend more than a block"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Bonds plancks for a machine for which nothing is bonded.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `amount`: plancks, at least the machine's minimum.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`],
        ///   [`Error::InDebt`], [`Error::AlreadyBonded`], [`Error::BelowMinimum`]; the currency's where the
        ///   plancks are not there.
        /// - Events: [`Event::Bonded`].
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::bond())]
        pub fn bond(origin: OriginFor<T>, machine: MachineId, amount: Balance) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_bond(who, machine, amount)
        }

        /// Adds to a machine's bond.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `amount`: plancks, above zero.
        /// - Errors: [`Error::NotBonded`], [`Error::NotProvider`], [`Error::InDebt`], [`Error::MachineRetired`],
        ///   [`Error::AmountIsZero`]; the currency's where the plancks are not there.
        /// - Events: [`Event::Bonded`].
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::bond_extra())]
        pub fn bond_extra(origin: OriginFor<T>, machine: MachineId, amount: Balance) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_bond_extra(who, machine, amount)
        }

        /// Puts a part of a bond on its way out; it may be withdrawn after [`Config::UnbondingEpochs`].
        ///
        /// A machine in the market must keep its minimum, and so must any that is leased, or was in an epoch
        /// that is still open to reports. Otherwise one that is suspended may go below it but not to nothing,
        /// and one that is unproven may be unbonded whole. One that is retired may be unbonded whole at once.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `amount`: plancks, above zero.
        /// - Errors: [`Error::NotBonded`], [`Error::NotProvider`], [`Error::InDebt`], [`Error::AmountIsZero`],
        ///   [`Error::BondTooSmall`], [`Error::BelowMinimum`], [`Error::MachineInMarket`],
        ///   [`Error::TooManyChunks`].
        /// - Events: [`Event::Unbonded`].
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::unbond())]
        pub fn unbond(origin: OriginFor<T>, machine: MachineId, amount: Balance) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_unbond(who, machine, amount)
        }

        /// Gives back to the provider what is due of a machine's bond.
        ///
        /// What slashes in the agenda cost stays held, as far as it is there, and stays due. The record goes with
        /// the last of the bond, unless the machine has strikes: then it goes with the machine.
        ///
        /// - Origin: signed by anybody.
        /// - Parameters: `machine`.
        /// - Errors: [`Error::NotBonded`], [`Error::NothingDue`], [`Error::SlashPending`].
        /// - Events: [`Event::Withdrawn`].
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::withdraw())]
        pub fn withdraw(origin: OriginFor<T>, machine: MachineId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_withdraw(machine)
        }

        /// Says whether a machine's rewards are bonded instead of paid out. The word goes with the record.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `auto_stake`: whether they are.
        /// - Errors: [`Error::NotBonded`], [`Error::NotProvider`], [`Error::InDebt`].
        /// - Events: [`Event::AutoStakeSet`].
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::set_auto_stake())]
        pub fn set_auto_stake(origin: OriginFor<T>, machine: MachineId, auto_stake: bool) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_set_auto_stake(who, machine, auto_stake)
        }

        /// Puts a slash in the agenda, of a machine in the market or a retired one that is still bonded.
        ///
        /// - Origin: [`Config::AdminOrigin`].
        /// - Parameters: `machine`; `fraction`: of what is held for the machine or of its minimum, whichever is
        ///   more; above zero; `beneficiaries`: who gets a share.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::AmountIsZero`].
        /// - Events: [`Event::SlashQueued`].
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::slash())]
        pub fn slash(
            origin: OriginFor<T>,
            machine: MachineId,
            fraction: Permill,
            beneficiaries: Beneficiaries<T::AccountId>,
        ) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_slash(machine, fraction, beneficiaries)
        }

        /// Takes a slash out of the agenda, due or not, and the strike for its offence back.
        ///
        /// What it locked is free again. A machine that was suspended stays so until its provider resumes it.
        ///
        /// - Origin: [`Config::AdminOrigin`].
        /// - Parameters: `id`: the slash.
        /// - Errors: [`Error::NoSuchSlash`].
        /// - Events: [`Event::SlashCancelled`].
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::cancel_slash())]
        pub fn cancel_slash(origin: OriginFor<T>, id: SlashId) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::cancel(id)
        }

        /// Applies a slash that is due, before the blocks' own work comes to it.
        ///
        /// - Origin: signed by anybody.
        /// - Parameters: `id`: the slash.
        /// - Errors: [`Error::NoSuchSlash`], [`Error::SlashNotDue`].
        /// - Events: [`Event::Slashed`]; [`Event::ShareBurned`] where a recipient cannot receive its share.
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::apply_slash())]
        pub fn apply_slash(origin: OriginFor<T>, id: SlashId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_apply_slash(id)
        }

        /// Pays the whole of what a slash left outstanding: the consumer first, and the rest is burned. With
        /// the last debt of a machine it may be bonded again.
        ///
        /// - Origin: signed by anybody, who pays out of the free balance and stays alive.
        /// - Parameters: `machine`; `id`: the slash.
        /// - Errors: [`Error::NoSuchDebt`]; the currency's where the plancks are not there.
        /// - Events: [`Event::DebtPaid`]; [`Event::ShareBurned`] where a recipient cannot receive its share.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::pay_debt())]
        pub fn pay_debt(origin: OriginFor<T>, machine: MachineId, id: SlashId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_pay_debt(who, machine, id)
        }
    }

    #[pallet::view_functions]
    impl<T: Config> Pallet<T> {
        /// Plancks that must be bonded for a machine to work; `None` where there is no such machine.
        pub fn minimum_bond(machine: MachineId) -> Option<Balance> {
            let class_stake = T::Machines::class_stake(machine)?;
            Some(T::BaseBond::get().max(class_stake))
        }
    }
}

//! Bonds of machines, and the slashes and debts that reduce them.
//!
//! A bond is a hold on the provider's account. A machine may work only while its minimum is bonded: an amount
//! in proportion to its slots' weight in the emission, and at least [`Config::BaseBond`]. The pallet reports
//! to [`Config::OnBondChange`] after every change how the bond stands. Unbonded plancks leave after
//! [`Config::UnbondingEpochs`] and can be slashed until they are withdrawn.
//!
//! A slash costs a fraction of the bond, fixed when it is queued. It waits in the agenda for
//! [`Config::SlashDeferEpochs`]; meanwhile governance may cancel it, and its amount stays held. When it is
//! applied it takes the held amount: first the harmed consumer's loss, and the rest is burned. Nobody earns
//! by reporting. The missing part becomes a debt, and a machine in debt takes no bond until somebody has paid
//! it. The amounts of slashes in the agenda do not count for whether a bond suffices, so that no offence is
//! free because of an earlier one.
//!
//! ```text
//! report_offence ─┐            ┌─cancel_slash──▶ unlocked, strike taken back
//! slash ──────────┴─▶ agenda ──┤
//!                              └─on_poll, apply_slash──▶ taken ──less than owed──▶ debt ──pay_debt──▶ paid
//! ```
//!
//! Design goals, each held by a test:
//!
//! 1. The plancks held on a provider's account are the sum of its records, exactly, after every call.
//! 2. A machine in the market keeps its minimum: only one that is suspended, unproven or retired may go below
//!    it, and only an unproven or retired one may be unbonded whole. While a slot is leased, and until the
//!    epochs in which one was are closed, an unproven or suspended machine keeps its minimum too.
//! 3. All plancks that were bonded and not slashed come back: retire, unbond, wait, withdraw, and nothing is
//!    left over.
//! 4. A slash takes the smaller of the owed and the held amount, and the rest becomes a debt: nothing is
//!    forgiven, and an account that cannot receive its share does not stop a slash.
//! 5. No offence is free: pending slashes count as lost for whether a bond suffices, and an amount beyond the
//!    bond becomes a debt, however much was pending before.
//! 6. No way out: unbonding, withdrawing, retiring, freezing or spending between the offence and its slash
//!    saves nothing, and bonding anew wipes no strike.
//! 7. No slash is dropped or applied twice: a full agenda moves it to a later epoch, and a full block to a
//!    later block.
//! 8. Bounded: one record for each machine, with at most [`MAX_UNLOCK_CHUNKS`] unlocking parts; queueing a
//!    slash is O(1), and a block does no more than [`Config::MaxServiceWeight`].

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
        /// Currency of bonds.
        type Currency: fungible::hold::Mutate<Self::AccountId, Reason = Self::RuntimeHoldReason>
            + fungible::Mutate<Self::AccountId, Balance = Balance>;

        /// Hold reasons of the runtime.
        type RuntimeHoldReason: From<HoldReason>;

        /// Registry of machines.
        type Machines: MachineInspect<Self::AccountId>;

        /// Listener for every change of a bond or a debt.
        type OnBondChange: OnBondChange;

        /// Registry's part that takes machines out of the market.
        type Discipline: MachineDiscipline;

        /// Clock of epochs.
        type Clock: ActiveClock;

        /// Minimum bond of any machine, in plancks, however little its slots weigh. A raise takes no machine
        /// out of the market by itself: the registry's `refresh_machine` does, machine by machine.
        #[pallet::constant]
        type BaseBond: Get<Balance>;

        /// Epochs between unbonding and withdrawal, in which the plancks can still be slashed. Must be longer
        /// than any offence stays undiscovered. A change applies to later unbondings only.
        #[pallet::constant]
        type UnbondingEpochs: Get<EpochIndex>;

        /// Origin that may slash any machine, and cancel slashes.
        type AdminOrigin: EnsureOrigin<Self::RuntimeOrigin>;

        /// Penalties of the offences. A change applies to offences that are reported from then on.
        #[pallet::constant]
        type OffenceTable: Get<OffenceTable>;

        /// Epochs between the queueing of a slash and its application, in which it can be cancelled; with
        /// zero it is applied in the next block. The longer, the longer consumers wait for their money. A
        /// change applies to later slashes; after a cut, a full epoch moves slashes behind the end of the old
        /// wait.
        #[pallet::constant]
        type SlashDeferEpochs: Get<EpochIndex>;

        /// Epochs for which a strike counts after the machine's last strike for the same offence. Not below
        /// [`Config::SlashDeferEpochs`]: otherwise cancelling a slash may take back the strike of another
        /// one.
        #[pallet::constant]
        type StrikeMemoryEpochs: Get<EpochIndex>;

        /// Maximum number of slashes that fall due in one epoch; further ones fall due in a later epoch. Must
        /// not be zero. A change applies to later slashes.
        #[pallet::constant]
        type MaxSlashesPerEpoch: Get<u32>;

        /// Maximum weight that a block spends on due slashes, however much it has left. Must be enough for
        /// one of them. The larger, the less is left for transactions in the first blocks of an epoch with
        /// many slashes.
        #[pallet::constant]
        type MaxServiceWeight: Get<Weight>;

        /// Weights of this pallet's calls.
        type WeightInfo: WeightInfo;
    }

    /// Reasons for which this pallet holds plancks.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// Bonds of the provider's machines.
        #[codec(index = 0)]
        MachineBond,
    }

    /// Bond of each machine with held plancks, debts, pending slashes or strikes.
    #[pallet::storage]
    pub type Bonds<T: Config> = StorageMap<_, Twox64Concat, MachineId, BondRecordOf<T>>;

    /// Slashes that are neither applied nor cancelled, by the epoch in which they fall due and their place in
    /// it.
    #[pallet::storage]
    pub type Agenda<T: Config> =
        StorageDoubleMap<_, Twox64Concat, EpochIndex, Twox64Concat, u32, SlashRecordOf<T>>;

    /// Number of places of an epoch that were given out, to slashes that are gone as well. Epochs before the
    /// cursor's have no entry.
    #[pallet::storage]
    pub type AgendaCounts<T> = StorageMap<_, Twox64Concat, EpochIndex, u32, ValueQuery>;

    /// Latest epoch that a slash was ever queued for.
    #[pallet::storage]
    pub type LastAgendaEpoch<T> = StorageValue<_, EpochIndex, ValueQuery>;

    /// Initial place of the cursor.
    #[pallet::type_value]
    pub fn FirstPlace() -> SlashId {
        SlashId {
            due_epoch: 0,
            index: 0,
        }
    }

    /// Cursor: the place in the agenda that the hook visits next.
    #[pallet::storage]
    pub type NextSlash<T> = StorageValue<_, SlashId, ValueQuery, FirstPlace>;

    /// Debts of machines: the outstanding part of each slash.
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
            /// Plancks bonded now, without unlocking ones.
            total: Balance,
        },
        /// Plancks of a bond are unlocking.
        Unbonded {
            /// The machine.
            machine: MachineId,
            /// Plancks.
            amount: Balance,
            /// First epoch in which they may be withdrawn.
            due_epoch: EpochIndex,
        },
        /// Plancks of a bond came back to the provider.
        Withdrawn {
            /// The machine.
            machine: MachineId,
            /// Plancks.
            amount: Balance,
        },
        /// A provider set the automatic bonding of a machine's rewards.
        AutoStakeSet {
            /// The machine.
            machine: MachineId,
            /// True if the machine's rewards are bonded.
            auto_stake: bool,
        },
        /// A slash was queued in the agenda, and its amount is locked.
        SlashQueued {
            /// The slash: the epoch in which it falls due and its place in it.
            id: SlashId,
            /// The machine.
            machine: MachineId,
            /// Reason for the slash.
            reason: SlashReason,
            /// Plancks owed for it.
            owed: Balance,
        },
        /// A slash was cancelled before it was applied.
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
            /// Plancks taken from its bond: the sum of the next two.
            taken: Balance,
            /// Plancks that the harmed consumer received.
            to_consumer: Balance,
            /// Plancks that left the total issuance.
            burned: Balance,
            /// Plancks that the bond did not cover; a debt from now on.
            debt: Balance,
        },
        /// The debt of a slash was paid.
        DebtPaid {
            /// The slash.
            id: SlashId,
            /// The machine.
            machine: MachineId,
            /// Account that paid.
            payer: T::AccountId,
            /// Plancks that the harmed consumer received.
            to_consumer: Balance,
            /// Plancks that left the total issuance.
            burned: Balance,
        },
        /// A consumer's share of a slash was burned because its account cannot receive it.
        ShareBurned {
            /// The slash.
            id: SlashId,
            /// Account that the share was for.
            recipient: T::AccountId,
            /// Plancks; the event of the slash or of the debt counts them as burned.
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
        /// The machine has a bond already; add to it with `bond_extra`.
        AlreadyBonded,
        /// The machine has no bond.
        NotBonded,
        /// The amount must be above zero.
        AmountIsZero,
        /// The bond would be below the machine's minimum.
        BelowMinimum,
        /// Only an unproven or retired machine may be unbonded whole.
        MachineInMarket,
        /// The amount is more than is bonded.
        BondTooSmall,
        /// Too many parts of the bond are unlocking; withdraw those that are due.
        TooManyChunks,
        /// No part of the bond is due.
        NothingDue,
        /// All plancks that are due are locked by slashes in the agenda.
        SlashPending,
        /// The machine is in debt for a slash; pay it first.
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
        /// Bonds plancks for a machine without a bond.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `amount`: plancks, at least the machine's minimum.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`],
        ///   [`Error::InDebt`], [`Error::AlreadyBonded`], [`Error::BelowMinimum`]; the currency's if the
        ///   provider lacks the plancks.
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
        /// - Errors: [`Error::NotBonded`], [`Error::NotProvider`], [`Error::InDebt`],
        ///   [`Error::MachineRetired`], [`Error::AmountIsZero`]; the currency's if the provider lacks the
        ///   plancks.
        /// - Events: [`Event::Bonded`].
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::bond_extra())]
        pub fn bond_extra(origin: OriginFor<T>, machine: MachineId, amount: Balance) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_bond_extra(who, machine, amount)
        }

        /// Unbonds a part of a bond; it may be withdrawn after [`Config::UnbondingEpochs`].
        ///
        /// A machine in the market must keep its minimum, and so must any machine that is leased, or was in
        /// an epoch that is still open to reports. Otherwise a suspended machine may go below the minimum but
        /// not to zero, and an unproven one may be unbonded whole. A retired machine may be unbonded whole at
        /// once.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `amount`: plancks, above zero.
        /// - Errors: [`Error::NotBonded`], [`Error::NotProvider`], [`Error::InDebt`],
        ///   [`Error::AmountIsZero`], [`Error::BondTooSmall`], [`Error::BelowMinimum`],
        ///   [`Error::MachineInMarket`], [`Error::TooManyChunks`].
        /// - Events: [`Event::Unbonded`].
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::unbond())]
        pub fn unbond(origin: OriginFor<T>, machine: MachineId, amount: Balance) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_unbond(who, machine, amount)
        }

        /// Releases the due part of a machine's bond to its provider.
        ///
        /// The amount of slashes in the agenda stays held, up to the whole bond, and stays due. The record is
        /// removed with the last planck of the bond, unless the machine has strikes: then with the machine.
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

        /// Sets whether a machine's rewards are bonded instead of paid out. The setting is lost with the
        /// record.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `auto_stake`: true if its rewards are to be bonded.
        /// - Errors: [`Error::NotBonded`], [`Error::NotProvider`], [`Error::InDebt`].
        /// - Events: [`Event::AutoStakeSet`].
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::set_auto_stake())]
        pub fn set_auto_stake(origin: OriginFor<T>, machine: MachineId, auto_stake: bool) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_set_auto_stake(who, machine, auto_stake)
        }

        /// Queues a slash of a machine in the agenda: of one in the market, or a retired one that is still
        /// bonded.
        ///
        /// - Origin: [`Config::AdminOrigin`].
        /// - Parameters: `machine`; `fraction`: of the plancks held for the machine or of its minimum,
        ///   whichever is more; above zero; `beneficiaries`: accounts that get a share.
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

        /// Cancels a slash in the agenda, due or not, and takes back the strike for its offence.
        ///
        /// The plancks that it locked are free again. A suspended machine stays so until its provider resumes
        /// it.
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

        /// Applies a due slash before the hook does.
        ///
        /// - Origin: signed by anybody.
        /// - Parameters: `id`: the slash.
        /// - Errors: [`Error::NoSuchSlash`], [`Error::SlashNotDue`].
        /// - Events: [`Event::Slashed`]; [`Event::ShareBurned`] if a recipient cannot receive its share.
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::apply_slash())]
        pub fn apply_slash(origin: OriginFor<T>, id: SlashId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_apply_slash(id)
        }

        /// Pays the whole debt of a slash: the consumer's part first, and the rest is burned. A machine
        /// without further debts may be bonded again.
        ///
        /// - Origin: signed by anybody. The account pays from its free balance and must stay alive.
        /// - Parameters: `machine`; `id`: the slash.
        /// - Errors: [`Error::NoSuchDebt`]; the currency's if the payer lacks the plancks.
        /// - Events: [`Event::DebtPaid`]; [`Event::ShareBurned`] if a recipient cannot receive its share.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::pay_debt())]
        pub fn pay_debt(origin: OriginFor<T>, machine: MachineId, id: SlashId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_pay_debt(who, machine, id)
        }
    }

    #[pallet::view_functions]
    impl<T: Config> Pallet<T> {
        /// Returns the plancks that must be bonded for a machine to work; `None` if there is no such machine.
        pub fn minimum_bond(machine: MachineId) -> Option<Balance> {
            let class_stake = T::Machines::class_stake(machine)?;
            Some(T::BaseBond::get().max(class_stake))
        }
    }
}

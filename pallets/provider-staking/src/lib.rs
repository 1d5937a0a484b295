//! What a provider stands to lose: a bond for each machine.
//!
//! The bond is a hold on the provider's account. At least [`Config::BaseBond`] and what the machine's class asks
//! for its slots must be bonded before the machine may work; whether that is so is told to
//! [`Config::OnBondChange`] after every change. What is unbonded leaves after [`Config::UnbondingEpochs`] and can
//! be lost until it is withdrawn.
//!
//! Design goals, each held by a test:
//!
//! 1. What is held on a provider's account is the sum of its records, planck by planck, after every call.
//! 2. A machine in the market keeps its minimum: only one that is suspended, unproven or retired may go below
//!    it, and only an unproven or retired one may be unbonded whole.
//! 3. Whatever was bonded comes back: retire, unbond, wait, withdraw, and nothing is left over.
//! 4. Bounded: one record for each machine, with at most [`MAX_UNLOCK_CHUNKS`] parts on their way out.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod bonds;
mod calls;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
mod try_state;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::{BondRecord, BondRecordOf, MAX_UNLOCK_CHUNKS, UnlockChunk, UnlockChunks};
pub use weights::WeightInfo;

#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use assay_primitives::{
        clock::{ActiveClock, EpochIndex},
        machine::{MachineId, MachineInspect, OnBondChange},
        money::Balance,
    };
    use polkadot_sdk::{
        frame_support::{
            pallet_prelude::*,
            traits::{StorageVersion, fungible},
        },
        frame_system::pallet_prelude::*,
    };

    use crate::{BondRecordOf, WeightInfo};

    /// Version of the storage layout below.
    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: polkadot_sdk::frame_system::Config<RuntimeEvent: From<Event<Self>>> {
        /// The money that is bonded.
        type Currency: fungible::hold::Mutate<Self::AccountId, Reason = Self::RuntimeHoldReason>
            + fungible::Inspect<Self::AccountId, Balance = Balance>;

        /// The runtime's reasons of holds.
        type RuntimeHoldReason: From<HoldReason>;

        /// The registry of machines.
        type Machines: MachineInspect<Self::AccountId>;

        /// Hears of every change of a bond.
        type OnBondChange: OnBondChange;

        /// Tells the epoch.
        type Clock: ActiveClock;

        /// Plancks to be bonded for any machine, whatever its class. A raise takes no machine out of the market
        /// by itself: the registry's `refresh_machine` does, machine by machine.
        #[pallet::constant]
        type BaseBond: Get<Balance>;

        /// Epochs between unbonding and withdrawal, in which the plancks can still be lost. Must be longer than
        /// any offence stays undiscovered. A change counts for later unbondings only.
        #[pallet::constant]
        type UnbondingEpochs: Get<EpochIndex>;

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

    /// The bond of each machine for which something is held.
    #[pallet::storage]
    pub type Bonds<T: Config> = StorageMap<_, Twox64Concat, MachineId, BondRecordOf<T>>;

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
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Bonds plancks for a machine for the first time.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `amount`: plancks, at least the machine's minimum.
        /// - Errors: [`Error::NoSuchMachine`], [`Error::NotProvider`], [`Error::MachineRetired`],
        ///   [`Error::AlreadyBonded`], [`Error::BelowMinimum`]; the currency's where the plancks are not there.
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
        /// - Errors: [`Error::NotBonded`], [`Error::NotProvider`], [`Error::MachineRetired`],
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
        /// A machine in the market must keep its minimum. One that is suspended may go below it but not to
        /// nothing; one that is unproven or retired may be unbonded whole.
        ///
        /// - Origin: signed by the machine's provider.
        /// - Parameters: `machine`; `amount`: plancks, above zero.
        /// - Errors: [`Error::NotBonded`], [`Error::NotProvider`], [`Error::AmountIsZero`],
        ///   [`Error::BondTooSmall`], [`Error::BelowMinimum`], [`Error::MachineInMarket`],
        ///   [`Error::TooManyChunks`].
        /// - Events: [`Event::Unbonded`].
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::unbond())]
        pub fn unbond(origin: OriginFor<T>, machine: MachineId, amount: Balance) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_unbond(who, machine, amount)
        }

        /// Gives back to the provider what is due of a machine's bond. The record goes with the last of it.
        ///
        /// - Origin: signed by anybody.
        /// - Parameters: `machine`.
        /// - Errors: [`Error::NotBonded`], [`Error::NothingDue`].
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
        /// - Errors: [`Error::NotBonded`], [`Error::NotProvider`].
        /// - Events: [`Event::AutoStakeSet`].
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::set_auto_stake())]
        pub fn set_auto_stake(origin: OriginFor<T>, machine: MachineId, auto_stake: bool) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_set_auto_stake(who, machine, auto_stake)
        }
    }

    #[pallet::view_functions]
    impl<T: Config> Pallet<T> {
        /// Plancks that must be bonded for a machine to work; `None` where there is no such machine.
        pub fn minimum_bond(machine: MachineId) -> Option<Balance> {
            let class_stake = T::Machines::class_stake(machine)?;
            Some(T::BaseBond::get().saturating_add(class_stake))
        }
    }
}

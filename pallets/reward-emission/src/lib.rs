//! A capped, decaying emission shared among proven machines, and the flywheel's accounts.
//!
//! At the end of each epoch a fixed part of what is left of the emission becomes the epoch's *pool*, but no
//! more than [`Config::CapPerWeight`] for each unit of all machines' weight: the first machines of a chain
//! earn what their hardware is worth, not all that there is. What the cap withholds is left to later epochs.
//! A machine may take `pool × weight / total weight × uptime`, when anybody asks for its payout and the
//! epoch's uptime is final. What uptime forfeits is never minted.
//!
//! ```text
//! pool = min(remaining / EmissionDivisor, total weight × CapPerWeight), rounded down once; remaining −= pool
//! ```
//!
//! Below the size of the network at which both are the same, a machine earns `weight × CapPerWeight` whatever
//! joins it; above, all share one pool.
//!
//! Design goals, each held by a test:
//!
//! 1. No epoch ever mints more than its pool, nor a machine more than the cap for its weight, and all pools
//!    together with what remains are what genesis set aside, to the planck.
//! 2. No loop over machines, ever: the sum of weights is kept as they change, an epoch's end is O(1), and
//!    a payout costs what the epochs that it pays cost.
//! 3. Nobody gains by coming late or leaving early: more weight counts from the next epoch on, less weight
//!    at once and for the whole of the current epoch.
//! 4. Rewards outlive the machine: what was earned stays payable, to the same owner, until it falls out of
//!    history.
//!
//! | weight goes | in the current epoch | from the next epoch on |
//! |---|---|---|
//! | up | the old one | the new one |
//! | down | the new one | the new one |
//!
//! A machine's weight is kept as at most [`MAX_WEIGHT_SEGMENTS`] steps since its last payout. One more step
//! makes one of the two oldest, with the smaller of their weights: machines whose weight changes often
//! should be paid out before that.

#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "runtime-benchmarks")]
mod benchmarking;
mod calls;
mod ledger;
#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;
mod try_state;
mod types;
pub mod weights;

pub use pallet::*;
pub use types::{
    DEFAULT_EMISSION_CAP, EmissionOutlook, EpochRecord, MAX_WEIGHT_SEGMENTS, MachineWeightRecord,
    RewardDestination, RewardDue, WeightSegment, ethereum_account,
};
pub use weights::WeightInfo;

#[polkadot_sdk::frame_support::pallet]
pub mod pallet {
    use assay_primitives::{
        clock::{ActiveClock, EpochIndex},
        emission::EpochUptime,
        machine::{MachineId, MachineInspect},
        money::Balance,
        stake::BondRewards,
    };
    use polkadot_sdk::{
        frame_support::{
            pallet_prelude::*,
            traits::{
                StorageVersion,
                fungible::{Inspect, Mutate},
            },
        },
        frame_system::pallet_prelude::*,
    };

    use crate::{
        DEFAULT_EMISSION_CAP, EmissionOutlook, EpochRecord, MachineWeightRecord, RewardDestination,
        RewardDue, WeightInfo,
    };

    /// Version of the storage layout below.
    const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

    #[pallet::pallet]
    #[pallet::storage_version(STORAGE_VERSION)]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config:
        polkadot_sdk::frame_system::Config<RuntimeEvent: From<Event<Self>>, AccountId: From<[u8; 32]>>
    {
        /// The token that rewards are minted in.
        type Currency: Inspect<Self::AccountId, Balance = Balance> + Mutate<Self::AccountId>;

        /// Tells who owns a machine and whether it is still in the market.
        type Machines: MachineInspect<Self::AccountId>;

        /// Takes the rewards that are to be bonded.
        type BondRewards: BondRewards;

        /// Tells how much of an epoch a machine was up, and which epochs that is final of. Only those are paid.
        type Uptime: EpochUptime;

        /// Tells the current epoch.
        type Clock: ActiveClock;

        /// The part of the remaining emission that one epoch releases: one in so many.
        ///
        /// Sets the speed of the decay together with the length of epochs; must not be zero. A change counts
        /// from the next epoch's end on and never raises the cap.
        #[pallet::constant]
        type EmissionDivisor: Get<u128>;

        /// Plancks that an epoch releases at most for each unit of weight; not zero.
        ///
        /// Bounds what a machine earns by its own weight. Too high, a small network shares all there is; what
        /// a machine can earn between two audits must stay below what the first missed one costs it. Too low,
        /// the emission takes longer than its decay says. A change counts from the end of the current epoch
        /// on.
        #[pallet::constant]
        type CapPerWeight: Get<Balance>;

        /// Ended epochs whose accounts are kept. Rewards that nobody asked for in this time are never minted.
        ///
        /// At least [`Config::MaxEpochsPerPayout`]. Lowered on a running chain, the accounts of the epochs
        /// between the old and the new bound stay in storage until a migration removes them.
        #[pallet::constant]
        type HistoryEpochs: Get<EpochIndex>;

        /// Most epochs that one payout pays; bounds the weight of the call. At least one.
        #[pallet::constant]
        type MaxEpochsPerPayout: Get<u32>;

        /// Weights of this pallet's work.
        type WeightInfo: WeightInfo;
    }

    /// Accounts of the current epoch and of those in history. The current one only collects fees.
    #[pallet::storage]
    pub type EpochRecords<T> = StorageMap<_, Twox64Concat, EpochIndex, EpochRecord, ValueQuery>;

    /// Plancks that no epoch has released yet.
    #[pallet::storage]
    pub type RemainingEmission<T> = StorageValue<_, Balance, ValueQuery>;

    /// Sum of what all machines weigh in the current epoch.
    #[pallet::storage]
    pub type TotalWeight<T> = StorageValue<_, u128, ValueQuery>;

    /// What the next epoch adds to the total weight.
    #[pallet::storage]
    pub type PendingWeight<T> = StorageValue<_, u128, ValueQuery>;

    /// Weights of the machines that have any, or that have unpaid epochs in which they had.
    #[pallet::storage]
    pub type MachineWeights<T: Config> =
        StorageMap<_, Twox64Concat, MachineId, MachineWeightRecord<T::AccountId>>;

    /// Where the rewards of a machine go, if not to its provider.
    #[pallet::storage]
    pub type RewardDestinations<T: Config> =
        StorageMap<_, Twox64Concat, MachineId, RewardDestination<T::AccountId>, ValueQuery>;

    /// What genesis decides: how much will ever be emitted.
    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        /// Plancks that all epochs together may mint.
        pub remaining_emission: Balance,
        /// Ties the configuration to its runtime.
        #[serde(skip)]
        pub _config: PhantomData<T>,
    }

    impl<T: Config> Default for GenesisConfig<T> {
        fn default() -> Self {
            Self {
                remaining_emission: DEFAULT_EMISSION_CAP,
                _config: PhantomData,
            }
        }
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            RemainingEmission::<T>::put(self.remaining_emission);
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An epoch ended and its pool is there to be shared.
        EpochClosed {
            /// The epoch that ended.
            epoch: EpochIndex,
            /// Plancks to share.
            pool: Balance,
            /// Sum of the weights that share it.
            total_weight: u128,
            /// Plancks that the cap kept for later epochs.
            withheld: Balance,
        },
        /// A machine's rewards were minted.
        RewardPaid {
            /// The machine that earned them.
            machine: MachineId,
            /// First epoch that they are for.
            first_epoch: EpochIndex,
            /// Last epoch that they are for.
            last_epoch: EpochIndex,
            /// Plancks minted; zero where the machine had no weight or was never up.
            amount: Balance,
            /// The account that has them.
            destination: T::AccountId,
            /// Whether they were put into the machine's bond. Where they should have been and the bond took
            /// nothing, they are in the provider's free balance.
            bonded: bool,
        },
        /// A provider decided where a machine's rewards go.
        RewardDestinationSet {
            /// The machine.
            machine: MachineId,
            /// Where its rewards go from now on, unpaid ones included.
            destination: RewardDestination<T::AccountId>,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// No epoch has a final uptime that the machine was not paid for.
        NothingToPay,
        /// A payout pays at least one epoch and at most `MaxEpochsPerPayout`.
        BadEpochCount,
        /// The reward's destination cannot hold it: mostly an account that does not exist yet and would be
        /// left below the existential deposit. Nothing was paid; pay more epochs at once or change the
        /// destination.
        DestinationCannotReceive,
        /// There is no such machine, or it left the market with nothing unpaid.
        NoSuchMachine,
        /// The machine belongs to somebody else.
        NotProvider,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn integrity_test() {
            assert!(T::EmissionDivisor::get() > 0, "nothing can be divided by zero");
            assert!(T::CapPerWeight::get() > 0, "nothing would ever be emitted");
            assert!(
                T::MaxEpochsPerPayout::get() > 0,
                "a payout must be able to pay an epoch"
            );
            assert!(
                T::HistoryEpochs::get() >= T::MaxEpochsPerPayout::get(),
                "a payout cannot pay more epochs than history holds"
            );
        }

        #[cfg(feature = "try-runtime")]
        fn try_state(_: BlockNumberFor<T>) -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
            Self::do_try_state()
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Mints what a machine earned in its oldest unpaid epochs, to its reward destination.
        ///
        /// The machine's average uptime is brought up to date by as many epochs as are paid. Epochs that fell out of
        /// history are skipped. Where the machine's rewards are bonded
        /// automatically they go into its bond, whatever its destination.
        ///
        /// # Origin
        /// Signed, by anybody.
        ///
        /// # Parameters
        /// - `machine`: the machine to pay.
        /// - `max_epochs`: how many epochs to pay at most, from 1 to [`Config::MaxEpochsPerPayout`].
        ///
        /// # Errors
        /// - [`Error::BadEpochCount`]: `max_epochs` is out of its range.
        /// - [`Error::NothingToPay`]: no epoch whose uptime is final is unpaid.
        /// - [`Error::DestinationCannotReceive`]: the reward cannot be minted to its destination; the
        ///   epochs stay unpaid.
        ///
        /// # Events
        /// - [`Event::RewardPaid`]
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::payout(*max_epochs))]
        pub fn payout(
            origin: OriginFor<T>,
            machine: MachineId,
            max_epochs: u32,
        ) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            let paid_epochs = Self::do_payout(machine, max_epochs)?;
            Ok(Some(T::WeightInfo::payout(paid_epochs)).into())
        }

        /// Decides where a machine's rewards go, those of unpaid epochs included.
        ///
        /// # Origin
        /// Signed, by the machine's provider.
        ///
        /// # Parameters
        /// - `machine`: the machine.
        /// - `destination`: where its rewards go from now on.
        ///
        /// # Errors
        /// - [`Error::NoSuchMachine`]: there is no such machine, or it is retired and was paid everything.
        /// - [`Error::NotProvider`]: the machine belongs to somebody else.
        ///
        /// # Events
        /// - [`Event::RewardDestinationSet`]
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::set_reward_destination())]
        pub fn set_reward_destination(
            origin: OriginFor<T>,
            machine: MachineId,
            destination: RewardDestination<T::AccountId>,
        ) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_set_reward_destination(who, machine, destination)
        }
    }

    #[pallet::view_functions]
    impl<T: Config> Pallet<T> {
        /// What a payout of at most `max_epochs` would mint now; `None` when no epoch whose uptime is final is unpaid.
        pub fn due(machine: MachineId, max_epochs: u32) -> Option<RewardDue> {
            Self::reward_due(machine, max_epochs)
        }

        /// State of the emission, as if the current epoch ended now.
        pub fn outlook() -> EmissionOutlook {
            Self::emission_outlook()
        }
    }
}

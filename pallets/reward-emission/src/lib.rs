//! Capped, decaying emission shared among proven machines, and the flywheel's accounts of fees and burns.
//!
//! At the end of each epoch a fixed part of the remaining emission becomes the epoch's *pool*, but no more
//! than [`Config::CapPerWeight`] for each unit of all machines' weight: so the first machines of a chain earn
//! the worth of their hardware, not the whole pool. The amount that the cap withholds stays for later epochs.
//! A payout, which anybody may call once the epoch's uptime is final, mints `pool × weight / total weight ×
//! uptime` for a machine. The part that a machine forfeits by being down is never minted.
//!
//! ```text
//! pool = min(remaining / EmissionDivisor, total weight × CapPerWeight), rounded down once; remaining −= pool
//! ```
//!
//! In a network smaller than the size at which both bounds are equal, a machine earns `weight ×
//! CapPerWeight`, independent of the others; in a larger one all share one pool.
//!
//! Design goals, each held by a test:
//!
//! 1. No epoch ever mints more than its pool, nor a machine more than the cap for its weight, and all pools
//!    together with what remains are what genesis set aside, to the planck.
//! 2. No loop over machines: the sum of weights is updated as they change, an epoch's end is O(1), and the
//!    work of a payout is proportional to the epochs that it pays.
//! 3. Nobody gains by coming late or leaving early: a higher weight applies from the next epoch on, a lower
//!    one at once and to the whole current epoch.
//! 4. Rewards outlive the machine: they stay payable, to the same owner, until they fall out of history.
//!
//! | weight goes | in the current epoch | from the next epoch on |
//! |---|---|---|
//! | up | the old one | the new one |
//! | down | the new one | the new one |
//!
//! The chain stores a machine's weight as at most [`MAX_WEIGHT_SEGMENTS`] steps since its last payout. One
//! more step merges the two oldest, with the smaller of their weights: a machine whose weight changes often
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
        /// Currency of rewards.
        type Currency: Inspect<Self::AccountId, Balance = Balance> + Mutate<Self::AccountId>;

        /// Registry of machines: owners and statuses.
        type Machines: MachineInspect<Self::AccountId>;

        /// Bonds that take rewards which are to be bonded.
        type BondRewards: BondRewards;

        /// Uptimes of machines. Payouts pay only epochs whose uptime is final.
        type Uptime: EpochUptime;

        /// Clock of epochs.
        type Clock: ActiveClock;

        /// Divisor of the remaining emission: one epoch releases one part in this number.
        ///
        /// Sets the speed of the decay together with the length of epochs; must not be zero. A change applies
        /// from the next epoch's end on and never raises the cap.
        #[pallet::constant]
        type EmissionDivisor: Get<u128>;

        /// Maximum plancks that an epoch releases for each unit of weight; not zero.
        ///
        /// Bounds the earnings of a machine by its own weight. Too high: a small network shares the whole
        /// pool. The earnings of a machine between two audits must stay below the slash for its first missed
        /// one. Too low: the emission takes longer than its decay says. A change applies from the end of the
        /// current epoch on.
        #[pallet::constant]
        type CapPerWeight: Get<Balance>;

        /// Number of ended epochs whose accounts are kept. Rewards without a payout in this time are never
        /// minted.
        ///
        /// At least [`Config::MaxEpochsPerPayout`]. Lowered on a running chain, the accounts of the epochs
        /// between the old and the new bound stay in storage until a migration removes them.
        #[pallet::constant]
        type HistoryEpochs: Get<EpochIndex>;

        /// Maximum number of epochs that one payout pays; bounds the weight of the call. At least one.
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

    /// Sum of all machines' weights in the current epoch.
    #[pallet::storage]
    pub type TotalWeight<T> = StorageValue<_, u128, ValueQuery>;

    /// Weight that the next epoch adds to the total.
    #[pallet::storage]
    pub type PendingWeight<T> = StorageValue<_, u128, ValueQuery>;

    /// Weights of machines that have one, or have unpaid epochs in which they had one.
    #[pallet::storage]
    pub type MachineWeights<T: Config> =
        StorageMap<_, Twox64Concat, MachineId, MachineWeightRecord<T::AccountId>>;

    /// Reward destinations of machines, other than their providers.
    #[pallet::storage]
    pub type RewardDestinations<T: Config> =
        StorageMap<_, Twox64Concat, MachineId, RewardDestination<T::AccountId>, ValueQuery>;

    /// Genesis state: the plancks that will ever be emitted.
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
        /// An epoch ended and its pool can be paid out.
        EpochClosed {
            /// The epoch that ended.
            epoch: EpochIndex,
            /// Plancks to share.
            pool: Balance,
            /// Sum of the weights that share it.
            total_weight: u128,
            /// Plancks that the cap withheld for later epochs.
            withheld: Balance,
        },
        /// A machine's rewards were minted.
        RewardPaid {
            /// The machine that earned them.
            machine: MachineId,
            /// First epoch that was paid.
            first_epoch: EpochIndex,
            /// Last epoch that was paid.
            last_epoch: EpochIndex,
            /// Plancks minted; zero if the machine had no weight or was never up.
            amount: Balance,
            /// The account that received them.
            destination: T::AccountId,
            /// True if they were added to the machine's bond. If the bond refused them, they are in the
            /// provider's free balance.
            bonded: bool,
        },
        /// A provider set a machine's reward destination.
        RewardDestinationSet {
            /// The machine.
            machine: MachineId,
            /// Destination from now on, also of unpaid rewards.
            destination: RewardDestination<T::AccountId>,
        },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The machine has no unpaid epoch whose uptime is final.
        NothingToPay,
        /// A payout pays at least one epoch and at most `MaxEpochsPerPayout`.
        BadEpochCount,
        /// The reward's destination cannot receive it: mostly an account that does not exist yet and would
        /// stay below the existential deposit. Nothing was paid; pay more epochs at once or change the
        /// destination.
        DestinationCannotReceive,
        /// There is no such machine, or it left the market and has no unpaid rewards.
        NoSuchMachine,
        /// The machine belongs to another provider.
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
        /// Mints a machine's rewards of its oldest unpaid epochs, to its reward destination.
        ///
        /// Also counts as many epochs in the machine's average uptime as it pays. Epochs that fell out of
        /// history are skipped. If the machine's rewards are bonded automatically they go into its bond,
        /// whatever its destination.
        ///
        /// # Origin
        /// Signed, by anybody.
        ///
        /// # Parameters
        /// - `machine`: the machine to pay.
        /// - `max_epochs`: maximum number of epochs to pay, from 1 to [`Config::MaxEpochsPerPayout`].
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

        /// Sets a machine's reward destination, also for unpaid epochs.
        ///
        /// # Origin
        /// Signed, by the machine's provider.
        ///
        /// # Parameters
        /// - `machine`: the machine.
        /// - `destination`: the destination of its rewards from now on.
        ///
        /// # Errors
        /// - [`Error::NoSuchMachine`]: there is no such machine, or it is retired and has no unpaid rewards.
        /// - [`Error::NotProvider`]: the machine belongs to another provider.
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
        /// Returns the result of a payout of at most `max_epochs` now; `None` if no epoch whose uptime is
        /// final is unpaid.
        pub fn due(machine: MachineId, max_epochs: u32) -> Option<RewardDue> {
            Self::reward_due(machine, max_epochs)
        }

        /// Returns the state of the emission, as if the current epoch ended now.
        pub fn outlook() -> EmissionOutlook {
            Self::emission_outlook()
        }
    }
}

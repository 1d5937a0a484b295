//! Nominated proof of stake: who validates, and what they stand to lose.

use polkadot_sdk::{
    frame_election_provider_support::{
        SequentialPhragmen, VoteWeight,
        bounds::{ElectionBounds, ElectionBoundsBuilder},
        onchain,
    },
    frame_support::{
        parameter_types,
        traits::{ConstBool, ConstU32, Nothing},
    },
    frame_system::EnsureRoot,
    pallet_bags_list, pallet_staking,
    sp_runtime::Perbill,
    sp_staking::{EraIndex, currency_to_vote::U128CurrencyToVote},
};

use super::consensus::{MAX_AUTHORITIES, SESSIONS_PER_ERA};
use crate::{
    AccountId, Balance, Balances, Runtime, RuntimeEvent, RuntimeHoldReason, Session, Staking, Timestamp,
    VoterList,
};

/// Nominations of one nominator.
const MAX_NOMINATIONS: u32 = 16;

/// Voters that one on-chain election looks at, the largest first.
const MAX_ELECTING_VOTERS: u32 = 1_000;

/// Candidates that one on-chain election looks at.
const MAX_ELECTABLE_TARGETS: u32 = MAX_AUTHORITIES;

/// Boundaries of the voter list's bags, in vote weight.
const BAG_COUNT: usize = 200;

/// Boundaries that grow by 12 % from bag to bag over the whole range of vote weights that matters: sums from a
/// thousandth of an ASY up to all there can be.
const fn bag_thresholds() -> [VoteWeight; BAG_COUNT] {
    let mut thresholds = [0; BAG_COUNT];
    let mut boundary: u128 = 1_000_000_000;
    let mut index = 0;
    while index < BAG_COUNT {
        thresholds[index] = if boundary > VoteWeight::MAX as u128 {
            VoteWeight::MAX
        } else {
            boundary as VoteWeight
        };
        boundary = boundary * 112 / 100;
        index += 1;
    }
    thresholds[BAG_COUNT - 1] = VoteWeight::MAX;
    thresholds
}

static BAG_THRESHOLDS: [VoteWeight; BAG_COUNT] = bag_thresholds();

parameter_types! {
    /// Eras that stake stays locked after unbonding: seven days of one-hour eras.
    pub const BondingDuration: EraIndex = 24 * 7;
    /// Eras before a slash falls due, in which governance may cancel a wrong one.
    pub const SlashDeferDuration: EraIndex = 24 * 6;
    /// Nominators of a validator that one page of exposure holds.
    pub const MaxExposurePageSize: u32 = 64;
    /// Boundaries of the voter list's bags.
    pub const BagThresholds: &'static [VoteWeight] = &BAG_THRESHOLDS;
    /// What an election may look at.
    pub ElectionsBounds: ElectionBounds = ElectionBoundsBuilder::default()
        .voters_count(MAX_ELECTING_VOTERS.into())
        .targets_count(MAX_ELECTABLE_TARGETS.into())
        .build();
}

impl pallet_bags_list::Config<pallet_bags_list::Instance1> for Runtime {
    type BagThresholds = BagThresholds;
    type MaxAutoRebagPerBlock = ConstU32<4>;
    type RuntimeEvent = RuntimeEvent;
    type Score = VoteWeight;
    type ScoreProvider = Staking;
    type WeightInfo = pallet_bags_list::weights::SubstrateWeight<Runtime>;
}

/// The election, made on chain in the last block of a session.
pub struct OnChainElection;

impl onchain::Config for OnChainElection {
    type Bounds = ElectionsBounds;
    type DataProvider = Staking;
    type MaxBackersPerWinner = ConstU32<MAX_ELECTING_VOTERS>;
    type MaxWinnersPerPage = ConstU32<MAX_AUTHORITIES>;
    type Solver = SequentialPhragmen<AccountId, Perbill>;
    type Sort = ConstBool<true>;
    type System = Runtime;
    type WeightInfo = polkadot_sdk::frame_election_provider_support::weights::SubstrateWeight<Runtime>;
}

/// Sizes for the SDK's own measurements of staking.
pub struct StakingBenchmarks;

impl pallet_staking::BenchmarkingConfig for StakingBenchmarks {
    type MaxNominators = ConstU32<MAX_ELECTING_VOTERS>;
    type MaxValidators = ConstU32<MAX_AUTHORITIES>;
}

impl pallet_staking::Config for Runtime {
    type AdminOrigin = EnsureRoot<AccountId>;
    type BenchmarkingConfig = StakingBenchmarks;
    type BondingDuration = BondingDuration;
    type Currency = Balances;
    type CurrencyBalance = Balance;
    type CurrencyToVote = U128CurrencyToVote;
    type ElectionProvider = onchain::OnChainExecution<OnChainElection>;
    // Validators live on fees: no money is made for them.
    type EraPayout = ();
    type EventListeners = ();
    // Nobody is barred from staking.
    type Filter = Nothing;
    type GenesisElectionProvider = onchain::OnChainExecution<OnChainElection>;
    type HistoryDepth = ConstU32<84>;
    type MaxControllersInDeprecationBatch = ConstU32<100>;
    type MaxExposurePageSize = MaxExposurePageSize;
    type MaxUnlockingChunks = ConstU32<32>;
    type MaxValidatorSet = ConstU32<MAX_AUTHORITIES>;
    type NextNewSession = Session;
    type NominationsQuota = pallet_staking::FixedNominationsQuota<MAX_NOMINATIONS>;
    type OldCurrency = Balances;
    type Reward = ();
    type RewardRemainder = ();
    type RuntimeEvent = RuntimeEvent;
    type RuntimeHoldReason = RuntimeHoldReason;
    type SessionInterface = Self;
    type SessionsPerEra = ConstU32<SESSIONS_PER_ERA>;
    type Slash = ();
    type SlashDeferDuration = SlashDeferDuration;
    type TargetList = pallet_staking::UseValidatorsMap<Self>;
    type UnixTime = Timestamp;
    type VoterList = VoterList;
    type WeightInfo = pallet_staking::weights::SubstrateWeight<Runtime>;
}

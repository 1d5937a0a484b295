//! Nominated proof of stake: the choice of validators, and their stake at risk.

use polkadot_sdk::{
    frame_election_provider_support::VoteWeight,
    frame_support::{
        parameter_types,
        traits::{ConstU32, Nothing},
    },
    frame_system::EnsureRoot,
    pallet_bags_list, pallet_staking,
    sp_staking::{EraIndex, SessionIndex, currency_to_vote::U128CurrencyToVote},
};

use super::{
    consensus::{MAX_AUTHORITIES, MAX_SET_ID_SESSIONS},
    election::{Election, MAX_ELECTING_VOTERS},
};
use crate::{
    AccountId, Balance, Balances, Runtime, RuntimeEvent, RuntimeHoldReason, Session, Staking, Timestamp,
    VoterList,
};

/// Number of sessions of an era: validators are elected once an hour.
pub const SESSIONS_PER_ERA: SessionIndex = 6;

/// Number of eras that stake stays locked after unbonding: seven days of one-hour eras.
///
/// Stake behind a validator in an era may be withdrawn in the last session before the era that many later.
pub const BONDING_ERAS: EraIndex = 24 * 7;

/// Number of eras after an offence's own in which it may be reported: six days. Later reports are refused.
pub const REPORT_ERAS: EraIndex = 24 * 6;

/// Number of eras that a slash waits after the offence's own, independent of the time of the report.
///
/// It is as long as the stake is certainly locked: even after the latest report governance has a day to
/// cancel a wrong slash.
pub const SLASH_DEFER_ERAS: EraIndex = BONDING_ERAS - 2;

/// Minimum number of eras in which governance can cancel a slash: a day.
pub const MIN_REVIEW_ERAS: EraIndex = 23;

/// Number of eras before the planned one with known exposures: those that can be reported while the next era
/// is planned.
pub const HISTORY_ERAS: EraIndex = REPORT_ERAS + 1;

/// Maximum number of accounts slashed with a validator, including its own: one page of an exposure.
pub const MAX_EXPOSED_BACKERS: u32 = 64;

// Constraints on the windows. An offence of era E is reported in an era A, and its slash falls due when era E
// + SLASH_DEFER_ERAS + 1 begins.
const _: () = assert!(REPORT_ERAS > 0, "equivocations could never be reported");
const _: () = assert!(
    REPORT_ERAS <= SLASH_DEFER_ERAS,
    "the slash of a late report would fall due in an era that has begun, and never be applied"
);
const _: () = assert!(
    SLASH_DEFER_ERAS + 1 >= REPORT_ERAS + MIN_REVIEW_ERAS,
    "governance would have no time to cancel the slash of a late report"
);
const _: () = assert!(
    SLASH_DEFER_ERAS + 1 < BONDING_ERAS,
    "stake could leave in the last session before the era in which its slash falls due"
);
const _: () = assert!(
    HISTORY_ERAS > REPORT_ERAS,
    "an offence that may be reported would find no exposure, and cost nothing"
);
const _: () = assert!(
    HISTORY_ERAS <= SLASH_DEFER_ERAS,
    "governance could slash for an era whose slashes are past, and nothing would happen"
);
const _: () = assert!(
    // The sets of the offence's era and its successors, the one before them, and the pending one.
    (REPORT_ERAS + 1) * SESSIONS_PER_ERA + 2 <= MAX_SET_ID_SESSIONS as u32,
    "a vote of a GRANDPA set that may be reported could not be placed in its session"
);

/// Maximum number of nominations of a nominator.
const MAX_NOMINATIONS: u32 = 16;

/// Number of boundaries of the voter list's bags.
const BAG_COUNT: usize = 200;

/// Returns boundaries in vote weight that grow by 12 % from bag to bag over the relevant range: sums from a
/// thousandth of an ASY up to the largest possible.
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
    /// Boundaries of the voter list's bags.
    pub const BagThresholds: &'static [VoteWeight] = &BAG_THRESHOLDS;
}

impl pallet_bags_list::Config<pallet_bags_list::Instance1> for Runtime {
    type BagThresholds = BagThresholds;
    type MaxAutoRebagPerBlock = ConstU32<4>;
    type RuntimeEvent = RuntimeEvent;
    type Score = VoteWeight;
    type ScoreProvider = Staking;
    type WeightInfo = pallet_bags_list::weights::SubstrateWeight<Runtime>;
}

/// Sizes for the SDK's own benchmarks of staking.
pub struct StakingBenchmarks;

impl pallet_staking::BenchmarkingConfig for StakingBenchmarks {
    type MaxNominators = ConstU32<MAX_ELECTING_VOTERS>;
    type MaxValidators = ConstU32<MAX_AUTHORITIES>;
}

impl pallet_staking::Config for Runtime {
    type AdminOrigin = EnsureRoot<AccountId>;
    type BenchmarkingConfig = StakingBenchmarks;
    type BondingDuration = ConstU32<BONDING_ERAS>;
    type Currency = Balances;
    type CurrencyBalance = Balance;
    type CurrencyToVote = U128CurrencyToVote;
    type ElectionProvider = Election;
    // Validators live on fees: nothing is minted for them.
    type EraPayout = ();
    type EventListeners = ();
    // No account is excluded from staking.
    type Filter = Nothing;
    type GenesisElectionProvider = Election;
    type HistoryDepth = ConstU32<HISTORY_ERAS>;
    type MaxControllersInDeprecationBatch = ConstU32<100>;
    type MaxExposurePageSize = ConstU32<MAX_EXPOSED_BACKERS>;
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
    type SlashDeferDuration = ConstU32<SLASH_DEFER_ERAS>;
    // Unsorted and unused: the election takes its candidates from the voters.
    type TargetList = pallet_staking::UseValidatorsMap<Self>;
    type UnixTime = Timestamp;
    type VoterList = VoterList;
    type WeightInfo = pallet_staking::weights::SubstrateWeight<Runtime>;
}

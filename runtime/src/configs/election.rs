//! The election of validators: bounded by what it reads, and independent of the number of candidates.
//!
//! The SDK's own election reads the list of all candidates and fails if that exceeds its bound. An attacker
//! who fills the list then stops all eras, keeps all stake locked and prevents all slashes. Here the
//! candidates are those for whom the voters of the snapshot vote, those with the largest stake first, and the
//! election ignores any beyond the bound.
//!
//! Costs of filling the lists (`tests/staking.rs` computes them from these constants):
//!
//! - Taking every place of a candidate, so that nobody else can apply: [`MAX_CANDIDATES`] ×
//!   [`MIN_VALIDATOR_BOND`] = 10,000,000 ASY locked. No gain: the elected validators are the same.
//! - Pushing the vote of a validator with `s` of its own out of the snapshot: more than
//!   [`MAX_ELECTING_VOTERS`] × `s` / 1.12 locked, at least 8,900,000 ASY. The gain is its seat, if nobody
//!   else votes for it.
//! - Taking a seat without making blocks: keys that sign for it, and more stake than the weakest elected
//!   validator. No gain.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::cmp::Reverse;

use assay_primitives::money::{ASY, Balance};
use polkadot_sdk::{
    frame_election_provider_support::{
        BoundedSupport, BoundedSupports, BoundedSupportsOf, BoundedVec, DataProviderBounds,
        ElectionDataProvider, ElectionProvider, ExtendedBalance, InstantElectionProvider, PageIndex,
        SequentialPhragmen, VoterOf,
        bounds::{CountBound, ElectionBounds},
        onchain,
    },
    frame_support::{
        dispatch::DispatchClass,
        parameter_types,
        traits::{ConstBool, ConstU32},
    },
    frame_system, pallet_session, pallet_staking,
    sp_runtime::Perbill,
};

use super::{consensus::MAX_AUTHORITIES, staking::MAX_EXPOSED_BACKERS};
use crate::{AccountId, BlockNumber, Runtime, Staking, System};

/// Least bond of a candidate for validation, in plancks, at genesis.
///
/// [`MAX_CANDIDATES`] such bonds are 1 % of all ASY that the emission will ever mint.
pub const MIN_VALIDATOR_BOND: Balance = 10_000 * ASY;

/// Least bond of a nominator, in plancks, at genesis: many times the deposit for a nominator's storage.
pub const MIN_NOMINATOR_BOND: Balance = 100 * ASY;

/// Maximum number of candidates for validation, at genesis and ever.
///
/// The election does not need this bound, but callers that list all candidates do.
pub const MAX_CANDIDATES: u32 = 1_000;

/// Range in which governance may set the least bond of a candidate, in plancks.
///
/// Above it nobody could join: the development presets' validators have 100,000 ASY each. Below it the list
/// of candidates is cheap to fill.
pub const VALIDATOR_BOND_RANGE: (Balance, Balance) = (1_000 * ASY, 100_000 * ASY);

/// Range in which governance may set the least bond of a nominator, in plancks. It never exceeds a
/// validator's.
pub const NOMINATOR_BOND_RANGE: (Balance, Balance) = (ASY, VALIDATOR_BOND_RANGE.0);

/// Range in which governance may set the maximum number of candidates.
pub const CANDIDATES_RANGE: (u32, u32) = (MAX_AUTHORITIES, MAX_CANDIDATES);

/// Number of voters that an election reads, the largest first, to 12 %: the voter list is sorted into bags.
pub const MAX_ELECTING_VOTERS: u32 = 1_000;

/// Number of candidates among which an election chooses: those with the largest stake.
pub const MAX_ELECTABLE_TARGETS: u32 = MAX_CANDIDATES;

const _: () = assert!(
    MAX_AUTHORITIES <= MAX_ELECTABLE_TARGETS && MAX_AUTHORITIES <= MAX_ELECTING_VOTERS,
    "the validators of a full set could not all be elected again"
);
const _: () = assert!(
    VALIDATOR_BOND_RANGE.0 <= MIN_VALIDATOR_BOND && MIN_VALIDATOR_BOND <= VALIDATOR_BOND_RANGE.1,
    "genesis sets what governance may not"
);
const _: () = assert!(
    NOMINATOR_BOND_RANGE.0 <= MIN_NOMINATOR_BOND && MIN_NOMINATOR_BOND <= NOMINATOR_BOND_RANGE.1,
    "genesis sets what governance may not"
);

parameter_types! {
    /// Bounds of the solver's input; [`Election`] never exceeds them.
    pub SolverBounds: ElectionBounds = ElectionBounds {
        voters: at_most(MAX_ELECTING_VOTERS),
        targets: at_most(MAX_ELECTABLE_TARGETS),
    };
}

/// Returns the bound of a list with this number of entries.
fn at_most(count: u32) -> DataProviderBounds {
    DataProviderBounds {
        count: Some(CountBound(count)),
        size: None,
    }
}

/// Solver: the SDK's sequential Phragmén method, on chain.
pub struct Solver;

impl onchain::Config for Solver {
    type Bounds = SolverBounds;
    type DataProvider = Staking;
    // Nothing is cut off here, since all voters of a snapshot fit; `exposed` cuts.
    type MaxBackersPerWinner = ConstU32<MAX_ELECTING_VOTERS>;
    type MaxWinnersPerPage = ConstU32<MAX_AUTHORITIES>;
    type Solver = SequentialPhragmen<AccountId, Perbill>;
    type Sort = ConstBool<true>;
    type System = Runtime;
    type WeightInfo = polkadot_sdk::frame_election_provider_support::weights::SubstrateWeight<Runtime>;
}

/// Voter of the snapshot: an account, the weight of its vote, and its targets.
pub type SnapshotVoter = VoterOf<Staking>;

/// Stakes behind a winner, each with its account.
pub type Backers = Vec<(AccountId, ExtendedBalance)>;

/// Election on chain, in the block that plans an era's first session.
///
/// Without any candidate it elects nobody and no era begins: validators and stake stay as they are.
pub struct Election;

impl ElectionProvider for Election {
    type AccountId = AccountId;
    type BlockNumber = BlockNumber;
    type DataProvider = Staking;
    type Error = onchain::Error;
    type MaxBackersPerWinner = ConstU32<MAX_EXPOSED_BACKERS>;
    type MaxBackersPerWinnerFinal = ConstU32<MAX_EXPOSED_BACKERS>;
    type MaxWinnersPerPage = ConstU32<MAX_AUTHORITIES>;
    type Pages = ConstU32<1>;

    fn elect(page: PageIndex) -> Result<BoundedSupportsOf<Self>, Self::Error> {
        keep_limits();
        let voters = Staking::electing_voters(at_most(MAX_ELECTING_VOTERS), page)
            .map_err(onchain::Error::DataProvider)?;
        let candidates = candidates(&voters, MAX_ELECTABLE_TARGETS as usize);
        let seats = Staking::desired_targets()
            .map_err(onchain::Error::DataProvider)?
            .clamp(1, MAX_AUTHORITIES);

        let solved =
            onchain::OnChainExecution::<Solver>::instant_elect(voters.clone(), candidates.clone(), seats);
        Ok(match solved {
            Ok(supports) => exposed(
                supports
                    .0
                    .into_iter()
                    .map(|(winner, support)| (winner, support.voters.into_inner())),
            ),
            // An era must begin even so: without one no stake is ever free and no slash ever applied.
            Err(_) => exposed(without_solver(&voters, &candidates, seats as usize).into_iter()),
        })
    }

    fn start() -> Result<(), Self::Error> {
        Ok(())
    }

    fn duration() -> Self::BlockNumber {
        0
    }

    fn status() -> Result<Option<polkadot_sdk::frame_support::weights::Weight>, ()> {
        Ok(Some(Default::default()))
    }
}

/// Returns the candidates of the voters: validators with session keys, sorted by the stake of all their
/// voters, the largest first, at most `limit`.
///
/// A candidate without session keys would take a seat without making blocks; if all seats were taken this
/// way, the chain would halt.
pub fn candidates(voters: &[SnapshotVoter], limit: usize) -> Vec<AccountId> {
    let mut approvals = BTreeMap::<&AccountId, ExtendedBalance>::new();
    for (_, weight, targets) in voters {
        // A nominator may name a validator twice.
        for target in targets.iter().collect::<BTreeSet<_>>() {
            let approval = approvals.entry(target).or_default();
            *approval = approval.saturating_add(ExtendedBalance::from(*weight));
        }
    }
    let mut ranked: Vec<_> = approvals.into_iter().collect();
    ranked.sort_by_key(|(_, approval)| Reverse(*approval));

    let mut reads = 0;
    let found = ranked
        .into_iter()
        .map(|(target, _)| target)
        .filter(|target| {
            reads += 2;
            pallet_staking::Validators::<Runtime>::contains_key(target)
                && pallet_session::NextKeys::<Runtime>::contains_key(target)
        })
        .take(limit)
        .cloned()
        .collect();
    System::register_extra_weight_unchecked(
        <Runtime as frame_system::Config>::DbWeight::get().reads(reads),
        DispatchClass::Mandatory,
    );
    found
}

/// Elects without a solver: the first candidates get the seats, and each voter's whole stake backs the first
/// winner among its targets.
///
/// The result is worse than the solver's but not unsafe: every winner has stake at risk.
pub fn without_solver(
    voters: &[SnapshotVoter],
    candidates: &[AccountId],
    seats: usize,
) -> Vec<(AccountId, Backers)> {
    let winners = &candidates[..seats.min(candidates.len())];
    let ranks: BTreeMap<_, _> = winners.iter().zip(0_usize..).collect();
    let mut backers = alloc::vec![Backers::new(); winners.len()];
    for (voter, weight, targets) in voters {
        if let Some(rank) = targets.iter().filter_map(|target| ranks.get(target)).min() {
            backers[*rank].push((voter.clone(), ExtendedBalance::from(*weight)));
        }
    }
    winners
        .iter()
        .cloned()
        .zip(backers)
        .filter(|(_, backers)| !backers.is_empty())
        .collect()
}

/// Returns the stakes at risk for each winner: always its own, and the largest of the others', together at
/// most [`MAX_EXPOSED_BACKERS`]. This bounds the work of a slash.
pub fn exposed(winners: impl Iterator<Item = (AccountId, Backers)>) -> BoundedSupportsOf<Election> {
    let bounded = winners
        .map(|(winner, mut backers)| {
            backers.sort_by_key(|(backer, stake)| (*backer != winner, Reverse(*stake)));
            backers.truncate(MAX_EXPOSED_BACKERS as usize);
            let total = backers.iter().fold(0, |total: ExtendedBalance, (_, stake)| {
                total.saturating_add(*stake)
            });
            let voters = BoundedVec::truncate_from(backers);
            (winner, BoundedSupport { total, voters })
        })
        .collect();
    BoundedSupports(BoundedVec::truncate_from(bounded))
}

/// Moves the limits set by governance back into their ranges.
///
/// The SDK's call that sets them accepts any value, and root's calls pass every filter. So each election
/// checks first: a mistake keeps candidates out, or lets dust in, for one era at most.
fn keep_limits() {
    use pallet_staking::{MaxNominatorsCount, MaxValidatorsCount, MinNominatorBond, MinValidatorBond};

    let (least, most) = VALIDATOR_BOND_RANGE;
    MinValidatorBond::<Runtime>::mutate(|bond| *bond = (*bond).clamp(least, most));
    let (least, most) = NOMINATOR_BOND_RANGE;
    MinNominatorBond::<Runtime>::mutate(|bond| *bond = (*bond).clamp(least, most));
    let (least, most) = CANDIDATES_RANGE;
    MaxValidatorsCount::<Runtime>::mutate(|count| *count = Some(count.unwrap_or(most).clamp(least, most)));
    // Without a bound there is always room; a bound must leave enough of it.
    MaxNominatorsCount::<Runtime>::mutate(|count| *count = count.map(|count| count.max(MAX_ELECTING_VOTERS)));
    System::register_extra_weight_unchecked(
        <Runtime as frame_system::Config>::DbWeight::get().reads_writes(4, 4),
        DispatchClass::Mandatory,
    );
}

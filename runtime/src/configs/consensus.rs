//! Block production and finality: BABE, GRANDPA, sessions and the penalties for equivocation.

use alloc::vec::Vec;

use polkadot_sdk::{
    frame_support::{
        traits::{ConstU32, ConstU64, ConstU128, KeyOwnerProofSystem},
        weights::{Weight, constants::WEIGHT_REF_TIME_PER_MICROS},
    },
    frame_system, pallet_authorship, pallet_babe, pallet_grandpa, pallet_offences,
    pallet_staking::{self, UnappliedSlash},
    sp_consensus_babe::{AllowedSlots, BabeEpochConfiguration},
    sp_core::crypto::KeyTypeId,
    sp_runtime::{
        Perbill,
        traits::{ConvertInto, OpaqueKeys},
    },
    sp_session::MembershipProof,
    sp_staking::{
        EraIndex, SessionIndex,
        offence::{OffenceDetails, OnOffenceHandler},
    },
};

use super::{
    staking::{MAX_EXPOSED_BACKERS, REPORT_ERAS, SESSIONS_PER_ERA, SLASH_DEFER_ERAS},
    system::storage_deposit,
};
use crate::{
    AccountId, Babe, Balance, Balances, Historical, Offences, Runtime, RuntimeCall, RuntimeEvent, Session,
    SessionKeys, Staking, UncheckedExtrinsic,
};

/// Length of a slot, in milliseconds: one block is expected in each.
pub const SLOT_DURATION_MS: u64 = 3_000;

/// Length of a session, in slots: ten minutes.
pub const SESSION_SLOTS: u32 = 200;

/// Maximum number of validators in a session.
pub const MAX_AUTHORITIES: u32 = 200;

/// Each slot has a leader by VRF with probability 1/4, and a fallback leader whose VRF output still adds to
/// the randomness.
pub const BABE_GENESIS_EPOCH_CONFIG: BabeEpochConfiguration = BabeEpochConfiguration {
    c: (1, 4),
    allowed_slots: AllowedSlots::PrimaryAndSecondaryVRFSlots,
};

/// Usual finality lag of GRANDPA on a healthy network, in blocks.
pub const USUAL_FINALITY_LAG_BLOCKS: u32 = 3;

/// Finality lag from which on finality counts as stalled, in blocks: half a minute. Authors slow down from 50
/// on.
pub const MAX_FINALITY_LAG_BLOCKS: u32 = 10;

/// Blocks without finality after which a stall is detected: most of the window's authors then state more than
/// the largest lag.
pub const STALL_SEEN_AFTER_BLOCKS: u32 =
    MAX_FINALITY_LAG_BLOCKS + pallet_finality_view::WINDOW_BLOCKS.div_ceil(2);

/// Blocks that a report of an equivocation may wait in a transaction pool: as long as it may be reported.
pub const REPORT_LONGEVITY_BLOCKS: u64 = REPORT_ERAS as u64 * SESSIONS_PER_ERA as u64 * SESSION_SLOTS as u64;

/// Number of GRANDPA sets whose session is remembered: a session has at most one new set, so these cover
/// seven days. The assertions in `staking.rs` state the required time.
pub const MAX_SET_ID_SESSIONS: u64 = 24 * 7 * SESSIONS_PER_ERA as u64;

/// Proofs of the ownership of session keys, for as long as an offence can still be slashed.
///
/// The SDK keeps the sessions of all eras of the bonding duration. For the oldest of these the exposures are
/// already gone, or the slash would fall due in an era that has begun: the chain would accept and reward such
/// a report without a cost for the offender.
pub struct ReportableSessions;

impl ReportableSessions {
    /// Returns true if an offence of that session may be reported now.
    pub fn contains(session: SessionIndex) -> bool {
        let active = pallet_staking::ActiveEra::<Runtime>::get().map_or(0, |active| active.index);
        era_of(session).is_some_and(|era| active <= era.saturating_add(REPORT_ERAS))
    }
}

/// Returns the era of a session if stake of that era is still bonded.
fn era_of(session: SessionIndex) -> Option<EraIndex> {
    pallet_staking::BondedEras::<Runtime>::get()
        .into_iter()
        .rev()
        .find(|(_, first_session)| *first_session <= session)
        .map(|(era, _)| era)
}

impl<Key: AsRef<[u8]>> KeyOwnerProofSystem<(KeyTypeId, Key)> for ReportableSessions {
    type IdentificationTuple = pallet_session::historical::IdentificationTuple<Runtime>;
    type Proof = MembershipProof;

    fn prove(key: (KeyTypeId, Key)) -> Option<MembershipProof> {
        Historical::prove(key)
    }

    fn check_proof(key: (KeyTypeId, Key), proof: MembershipProof) -> Option<Self::IdentificationTuple> {
        if !Self::contains(proof.session) {
            return None;
        }
        Historical::check_proof(key, proof)
    }
}

/// Staking as pallet `offences` sees it, with all slashes of a validator for one era merged.
///
/// Each report that raises the penalty adds a slash for all previous offenders: 2,278 slashes if a third of
/// 200 validators vote twice in a round. Each of them would walk all accounts at stake, all in the block in
/// which they fall due. Merged by validator, there are no more than exposures. The reporters share the
/// reward.
pub struct MergedSlashes;

/// Identification of a validator in offences.
type Offender = pallet_session::historical::IdentificationTuple<Runtime>;

impl OnOffenceHandler<AccountId, Offender, Weight> for MergedSlashes {
    fn on_offence(
        offenders: &[OffenceDetails<AccountId, Offender>],
        fractions: &[Perbill],
        session: SessionIndex,
    ) -> Weight {
        type Pending = pallet_staking::UnappliedSlashes<Runtime>;

        let weight = <Staking as OnOffenceHandler<AccountId, Offender, Weight>>::on_offence(
            offenders, fractions, session,
        );
        let Some(era) = era_of(session) else {
            return weight;
        };
        let due = era.saturating_add(SLASH_DEFER_ERAS).saturating_add(1);
        if Pending::contains_key(due) {
            Pending::mutate(due, |slashes| *slashes = merged(core::mem::take(slashes)));
        }
        weight.saturating_add(<Runtime as frame_system::Config>::DbWeight::get().reads_writes(2, 1))
    }
}

/// Adds up the slashes of each validator.
fn merged(slashes: Vec<UnappliedSlash<AccountId, Balance>>) -> Vec<UnappliedSlash<AccountId, Balance>> {
    let mut sums = Vec::<UnappliedSlash<AccountId, Balance>>::new();
    for slash in slashes {
        let Some(sum) = sums.iter_mut().find(|sum| sum.validator == slash.validator) else {
            sums.push(slash);
            continue;
        };
        sum.own = sum.own.saturating_add(slash.own);
        sum.payout = sum.payout.saturating_add(slash.payout);
        for reporter in slash.reporters {
            if !sum.reporters.contains(&reporter) {
                sum.reporters.push(reporter);
            }
        }
        for (place, (who, amount)) in slash.others.into_iter().enumerate() {
            // All slashes for an era walk the same exposure in the same order.
            match sum.others.get_mut(place) {
                Some((same, total)) if *same == who => *total = total.saturating_add(amount),
                _ => sum.others.push((who, amount)),
            }
        }
    }
    sums
}

/// Weight of an equivocation report.
///
/// The SDK counts one offender with its backers. But each report that raises the penalty for that number of
/// offenders, `(3k/n)²`, slashes all offenders of the slot or round again: that holds for the first third of
/// `n` validators. Each of them may have [`MAX_EXPOSED_BACKERS`] accounts at stake. With 200 validators the
/// weight is 0.9 s; a test checks that it fits into a block.
pub struct EquivocationWeight;

impl EquivocationWeight {
    /// Returns the weight of finding all concurrent offenders and slashing them again.
    fn of_concurrent_offenders(validators: u32, backers: u32) -> Weight {
        let db = <Runtime as frame_system::Config>::DbWeight::get();
        let validators = u64::from(validators);
        let slashed_again = validators.div_ceil(3);
        let accounts = slashed_again.saturating_mul(u64::from(backers));
        // Each report, the two parts of its exposure, and the offender's slashes of the era so far.
        db.reads(validators.saturating_mul(4))
            // The offender's entry among the pending slashes, and the sums.
            .saturating_add(db.reads_writes(slashed_again.saturating_add(2), slashed_again.saturating_add(1)))
            // The era's slash, the spans and the span's slash of each account.
            .saturating_add(db.reads_writes(3, 3).saturating_mul(accounts))
            .saturating_add(Weight::from_parts(25 * WEIGHT_REF_TIME_PER_MICROS, 0).saturating_mul(accounts))
    }
}

impl pallet_babe::WeightInfo for EquivocationWeight {
    fn plan_config_change() -> Weight {
        <() as pallet_babe::WeightInfo>::plan_config_change()
    }

    fn report_equivocation(validators: u32, backers: u32) -> Weight {
        <() as pallet_babe::WeightInfo>::report_equivocation(validators, 0)
            .saturating_add(Self::of_concurrent_offenders(validators, backers))
    }
}

impl pallet_grandpa::WeightInfo for EquivocationWeight {
    fn report_equivocation(validators: u32, backers: u32) -> Weight {
        <() as pallet_grandpa::WeightInfo>::report_equivocation(validators, 0)
            .saturating_add(Self::of_concurrent_offenders(validators, backers))
    }

    fn note_stalled() -> Weight {
        <() as pallet_grandpa::WeightInfo>::note_stalled()
    }
}

impl pallet_babe::Config for Runtime {
    type DisabledValidators = Session;
    type EpochChangeTrigger = pallet_babe::ExternalTrigger;
    type EpochDuration = ConstU64<{ SESSION_SLOTS as u64 }>;
    type EquivocationReportSystem = pallet_babe::EquivocationReportSystem<
        Self,
        Offences,
        ReportableSessions,
        ConstU64<REPORT_LONGEVITY_BLOCKS>,
    >;
    type ExpectedBlockTime = ConstU64<SLOT_DURATION_MS>;
    type KeyOwnerProof = MembershipProof;
    type MaxAuthorities = ConstU32<MAX_AUTHORITIES>;
    type MaxNominators = ConstU32<MAX_EXPOSED_BACKERS>;
    type WeightInfo = EquivocationWeight;
}

impl pallet_grandpa::Config for Runtime {
    type EquivocationReportSystem = pallet_grandpa::EquivocationReportSystem<
        Self,
        Offences,
        ReportableSessions,
        ConstU64<REPORT_LONGEVITY_BLOCKS>,
    >;
    type KeyOwnerProof = MembershipProof;
    type MaxAuthorities = ConstU32<MAX_AUTHORITIES>;
    type MaxNominators = ConstU32<MAX_EXPOSED_BACKERS>;
    type MaxSetIdSessionEntries = ConstU64<MAX_SET_ID_SESSIONS>;
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = EquivocationWeight;
}

impl pallet_authorship::Config for Runtime {
    type EventHandler = Staking;
    type FindAuthor = pallet_session::FindAccountFromAuthorIndex<Self, Babe>;
}

impl pallet_session::Config for Runtime {
    type Currency = Balances;
    type DisablingStrategy = pallet_session::disabling::UpToLimitWithReEnablingDisablingStrategy;
    // The keys and the owner of each; `tests/deposits.rs` computes the sizes.
    type KeyDeposit = ConstU128<{ storage_deposit(4, 370) }>;
    type Keys = SessionKeys;
    type NextSessionRotation = Babe;
    type RuntimeEvent = RuntimeEvent;
    type SessionHandler = <SessionKeys as OpaqueKeys>::KeyTypeIdProviders;
    type SessionManager = pallet_session::historical::NoteHistoricalRoot<Self, Staking>;
    type ShouldEndSession = Babe;
    type ValidatorId = AccountId;
    type ValidatorIdOf = ConvertInto;
    type WeightInfo = pallet_session::weights::SubstrateWeight<Runtime>;
}

impl pallet_finality_view::Config for Runtime {
    type MaxLagBlocks = ConstU32<MAX_FINALITY_LAG_BLOCKS>;
    type WeightInfo = pallet_finality_view::weights::SubstrateWeight<Runtime>;
}

impl pallet_session::historical::Config for Runtime {
    type FullIdentification = ();
    type FullIdentificationOf = pallet_staking::UnitIdentificationOf<Self>;
    type RuntimeEvent = RuntimeEvent;
}

impl pallet_offences::Config for Runtime {
    type IdentificationTuple = pallet_session::historical::IdentificationTuple<Self>;
    type OnOffenceHandler = MergedSlashes;
    type RuntimeEvent = RuntimeEvent;
}

// Nodes send equivocation reports themselves, unsigned, with a proof that the pool checks.
impl<Call> frame_system::offchain::CreateTransactionBase<Call> for Runtime
where
    RuntimeCall: From<Call>,
{
    type Extrinsic = UncheckedExtrinsic;
    type RuntimeCall = RuntimeCall;
}

impl<Call> frame_system::offchain::CreateBare<Call> for Runtime
where
    RuntimeCall: From<Call>,
{
    fn create_bare(call: RuntimeCall) -> UncheckedExtrinsic {
        polkadot_sdk::sp_runtime::generic::UncheckedExtrinsic::new_bare(call)
    }
}

const _: () = assert!(
    MAX_FINALITY_LAG_BLOCKS >= 3 * USUAL_FINALITY_LAG_BLOCKS,
    "ordinary delays would count as stalls of finality"
);

//! Making and finalizing blocks: BABE, GRANDPA, sessions and what equivocation costs.

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

/// Most validators that can be in a session.
pub const MAX_AUTHORITIES: u32 = 200;

/// Each slot has a leader by VRF with probability 1/4, and a fallback leader whose VRF output still adds to
/// the randomness.
pub const BABE_GENESIS_EPOCH_CONFIG: BabeEpochConfiguration = BabeEpochConfiguration {
    c: (1, 4),
    allowed_slots: AllowedSlots::PrimaryAndSecondaryVRFSlots,
};

/// Blocks by which GRANDPA is behind on a healthy network.
pub const USUAL_FINALITY_LAG_BLOCKS: u32 = 3;

/// Blocks by which finality may be behind before it counts as stalled: half a minute. Authors slow down from
/// 50 on.
pub const MAX_FINALITY_LAG_BLOCKS: u32 = 10;

/// Blocks without finality after which a stall is seen: when most of the window's authors state more than the
/// largest lag.
pub const STALL_SEEN_AFTER_BLOCKS: u32 =
    MAX_FINALITY_LAG_BLOCKS + pallet_finality_view::WINDOW_BLOCKS.div_ceil(2);

/// Blocks that a report of an equivocation may wait in a transaction pool: while it may be reported.
pub const REPORT_LONGEVITY_BLOCKS: u64 = REPORT_ERAS as u64 * SESSIONS_PER_ERA as u64 * SESSION_SLOTS as u64;

/// GRANDPA sets whose session is remembered: there is at most one new set in a session, so these are seven
/// days of them. `staking.rs` says what that must cover.
pub const MAX_SET_ID_SESSIONS: u64 = 24 * 7 * SESSIONS_PER_ERA as u64;

/// The proofs of who held a session key, as long as the offence can still be slashed.
///
/// The SDK keeps the sessions of all eras of the bonding duration. Of the oldest of these the exposures are
/// not known any more, or the slash would fall due in an era that has begun: such a report would be taken,
/// paid, and cost the offender nothing.
pub struct ReportableSessions;

impl ReportableSessions {
    /// Returns true when an offence of that session may be reported now.
    pub fn contains(session: SessionIndex) -> bool {
        let active = pallet_staking::ActiveEra::<Runtime>::get().map_or(0, |active| active.index);
        era_of(session).is_some_and(|era| active <= era.saturating_add(REPORT_ERAS))
    }
}

/// Returns the era of a session, if stake of that era is still bonded.
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

/// Staking, as pallet `offences` tells it who did what: all slashes of a validator for an era are one.
///
/// Each report that raises what an offence costs adds a slash for all that offended before, 2,278 of them
/// when a third of 200 validators vote twice in a round. Each would walk all accounts at stake again, all in
/// the block in which they fall due. As one for each validator they are no more than there are exposures. Who
/// reported shares in what reporting pays.
pub struct MergedSlashes;

/// A validator as offences name it.
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

/// The weight of reporting an equivocation.
///
/// The SDK's counts one offender with its backers. But all offenders of one slot or round are slashed again
/// with each report that raises what an offence of that many costs, `(3k/n)²`: that is the first third of `n`
/// validators. Each of them may have [`MAX_EXPOSED_BACKERS`] accounts at stake. With 200 validators that is
/// 0.9 s; a test holds that it fits into a block.
pub struct EquivocationWeight;

impl EquivocationWeight {
    /// Returns the weight of finding, and slashing again, all that did the same.
    fn of_concurrent_offenders(validators: u32, backers: u32) -> Weight {
        let db = <Runtime as frame_system::Config>::DbWeight::get();
        let validators = u64::from(validators);
        let slashed_again = validators.div_ceil(3);
        let accounts = slashed_again.saturating_mul(u64::from(backers));
        // Each report, its exposure's two parts, and what the era has cost the offender so far.
        db.reads(validators.saturating_mul(4))
            // The offender's entry among the slashes to come, and the sums.
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
    // The keys, and the owner of each; `tests/deposits.rs` adds them up.
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

// Equivocation reports are sent by the nodes themselves, unsigned, with a proof that the pool checks.
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

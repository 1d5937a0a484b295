//! Making and finalizing blocks: BABE, GRANDPA, sessions and what equivocation costs.

use polkadot_sdk::{
    frame_support::{
        parameter_types,
        traits::{ConstU32, ConstU64, ConstU128},
    },
    frame_system, pallet_authorship, pallet_babe, pallet_grandpa, pallet_offences, pallet_staking,
    sp_consensus_babe::{AllowedSlots, BabeEpochConfiguration},
    sp_runtime::traits::{ConvertInto, OpaqueKeys},
    sp_session,
    sp_staking::{EraIndex, SessionIndex},
};

use super::{staking::BondingDuration, system::storage_deposit};
use crate::{
    AccountId, Babe, Balances, Historical, Offences, Runtime, RuntimeCall, RuntimeEvent, Session,
    SessionKeys, Staking, UncheckedExtrinsic,
};

/// Length of a slot, in milliseconds: one block is expected in each.
pub const SLOT_DURATION_MS: u64 = 3_000;

/// Length of a session, in slots: ten minutes.
pub const SESSION_SLOTS: u32 = 200;

/// Sessions of an era: validators are elected once an hour.
pub const SESSIONS_PER_ERA: SessionIndex = 6;

/// Most validators that can be in a session.
pub const MAX_AUTHORITIES: u32 = 200;

/// Each slot has a leader by VRF with probability 1/4, and a fallback leader whose VRF output still adds to the
/// randomness.
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

parameter_types! {
    /// Blocks in which an equivocation may still be reported: as long as its author's stake stays bonded.
    pub const ReportLongevity: u64 =
        BondingDuration::get() as u64 * SESSIONS_PER_ERA as u64 * SESSION_SLOTS as u64;
    /// GRANDPA sets whose session is remembered, for the same reason.
    pub const MaxSetIdSessionEntries: u64 = BondingDuration::get() as u64 * SESSIONS_PER_ERA as u64;
}

impl pallet_babe::Config for Runtime {
    type DisabledValidators = Session;
    type EpochChangeTrigger = pallet_babe::ExternalTrigger;
    type EpochDuration = ConstU64<{ SESSION_SLOTS as u64 }>;
    type EquivocationReportSystem =
        pallet_babe::EquivocationReportSystem<Self, Offences, Historical, ReportLongevity>;
    type ExpectedBlockTime = ConstU64<SLOT_DURATION_MS>;
    type KeyOwnerProof = sp_session::MembershipProof;
    type MaxAuthorities = ConstU32<MAX_AUTHORITIES>;
    type MaxNominators = super::staking::MaxExposurePageSize;
    type WeightInfo = ();
}

impl pallet_grandpa::Config for Runtime {
    type EquivocationReportSystem =
        pallet_grandpa::EquivocationReportSystem<Self, Offences, Historical, ReportLongevity>;
    type KeyOwnerProof = sp_session::MembershipProof;
    type MaxAuthorities = ConstU32<MAX_AUTHORITIES>;
    type MaxNominators = super::staking::MaxExposurePageSize;
    type MaxSetIdSessionEntries = MaxSetIdSessionEntries;
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = ();
}

impl pallet_authorship::Config for Runtime {
    type EventHandler = Staking;
    type FindAuthor = pallet_session::FindAccountFromAuthorIndex<Self, Babe>;
}

impl pallet_session::Config for Runtime {
    type Currency = Balances;
    type DisablingStrategy = pallet_session::disabling::UpToLimitWithReEnablingDisablingStrategy;
    type KeyDeposit = ConstU128<{ storage_deposit(1, 96) }>;
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
    type OnOffenceHandler = Staking;
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

const _: () = assert!(
    BondingDuration::get() as EraIndex > 0,
    "equivocations could never be reported"
);

//! The market for proven compute: Assay's own pallets.

use assay_primitives::{
    availability::MAX_REPORT_PARTS,
    clock::{MILLIS_PER_HOUR, Millis, WallClock},
    emission::{MAX_EPOCHS_PER_PAYOUT, WEIGHT_PARTS},
    job::MAX_MANIFEST_BYTES,
    money::{ASY, Balance},
};
use polkadot_sdk::{
    frame_support::{
        PalletId, parameter_types,
        traits::{ConstU32, ConstU64, ConstU128, Get},
        weights::Weight,
    },
    frame_system::EnsureRoot,
    pallet_babe,
    sp_runtime::{Perbill, traits::AccountIdConversion},
};

use super::{
    consensus::{MAX_AUTHORITIES, SLOT_DURATION_MS},
    system::{BlockWeights, TreasuryAccount, storage_deposit},
};
use crate::{
    AccountId, Attestation, Authorship, Availability, Balances, ChainClock, HardwareChallenge, Preimage,
    ProviderRegistry, ProviderStaking, RewardEmission, Runtime, RuntimeHoldReason, Signature, Timestamp,
    parameters::bounded,
};

/// Maximum advance of active time in a block: four slots, so that a few missed slots count and a standstill
/// does not.
pub const MAX_ADVANCE_MS: Millis = 4 * SLOT_DURATION_MS;

/// Total amount that the emission will ever mint.
pub const EMISSION_CAP: Balance = assay_primitives::money::EMISSION_CAP;

/// Divisor of the remaining emission that gives an epoch's pool: with one-hour epochs half of it is minted in
/// four years (`4 × 8,766 h / ln 2`).
pub const EMISSION_DIVISOR: Balance = 50_586;

/// Maximum number of plancks that an epoch mints for each point of compute score: half a thousandth of an
/// ASY.
///
/// With one-hour epochs an H100 (989 points) earns at most 0.49 ASY an hour, and the whole first pool (19,768
/// ASY) is shared from 39.5 million points on: forty thousand H100s. If a machine's hardware leaves after an
/// audit, the next audit comes within six hours. Until then it earns at most `6 × 5/4` caps for each point,
/// attestation's premium included: 0.00375 ASY. Its first missed audit costs a hundredth of its bond, 0.005
/// ASY at a bond of half an ASY for a point. A larger cap needs a larger bond for each point, a larger
/// penalty or more audits. `tests/emission.rs` computes all of this.
pub const EMISSION_CAP_PER_POINT: Balance = ASY / 2_000;

/// Maximum number of plancks that an epoch mints for a unit of weight. Exact: a point is [`WEIGHT_PARTS`]
/// units.
const EMISSION_CAP_PER_WEIGHT: Balance = EMISSION_CAP_PER_POINT / WEIGHT_PARTS as Balance;

const _: () = assert!(EMISSION_CAP_PER_WEIGHT * WEIGHT_PARTS as Balance == EMISSION_CAP_PER_POINT);

/// Number of ended epochs that can still be paid out: eight weeks of one-hour epochs.
pub const EMISSION_HISTORY_EPOCHS: u32 = 8 * 7 * 24;

/// Maximum number of slashes that fall due in one epoch; more fall due in the next. An hour of blocks can
/// apply many times as many.
const MAX_SLASHES_PER_EPOCH: u32 = 4_096;

/// Delay of a raised ask, in active time: 20 blocks of full slots. By then a block includes any order that a
/// consumer sent before it saw the raise.
const ASK_RAISE_DELAY_MS: Millis = 20 * SLOT_DURATION_MS;

/// Longest job: a year of active time.
const MAX_JOB_DURATION_MS: Millis = 365 * 24 * MILLIS_PER_HOUR;

/// Shortest job: a minute of active time. A shorter one would occupy a machine's slots for longer than it
/// pays, since a start and a result take blocks.
const MIN_JOB_DURATION_MS: Millis = 60_000;

/// Maximum time that an order may be open for machines: a week of active time.
const MAX_OPEN_MS: Millis = 7 * 24 * MILLIS_PER_HOUR;

/// Maximum time for which a provider may have to wait for the verdict on a result: a day of active time.
const MAX_VERIFICATION_MS: Millis = 24 * MILLIS_PER_HOUR;

/// Number of validators that watch a machine. Each of 200 validators then watches 250 of 10,000 machines.
pub const VALIDATORS_PER_MACHINE: u32 = 5;

/// Maximum number of failures in one part of a validator's report: 4 KiB of them, twice a validator's share
/// of a network of 10,000 machines. [`MAX_REPORT_PARTS`] parts list as many as a node watches.
const MAX_FAILURES_PER_REPORT: u32 = 512;

/// Maximum number of failures in a validator's report of an epoch; a node watches no more machines than that.
pub const MAX_FAILURES_PER_EPOCH: u32 = MAX_FAILURES_PER_REPORT * MAX_REPORT_PARTS as u32;

/// Maximum age of the anchor of evidence in blocks: half an hour of full slots, enough to collect evidence
/// from a host with many GPUs.
pub const MAX_ANCHOR_AGE_BLOCKS: u32 = 600;

/// Maximum lifetime of evidence in seconds: a day. A worker that renews twice a day has half of one for
/// repairs.
pub const EVIDENCE_LIFETIME_S: u64 = 24 * 60 * 60;

impl pallet_chain_clock::Config for Runtime {
    type MaxAdvanceMs = ConstU64<MAX_ADVANCE_MS>;
    type OnEpochEnd = (RewardEmission, Availability);
    type WeightInfo = pallet_chain_clock::weights::SubstrateWeight<Runtime>;
}

impl pallet_provider_registry::Config for Runtime {
    type AdminOrigin = EnsureRoot<AccountId>;
    type AskRaiseDelayMs = ConstU64<ASK_RAISE_DELAY_MS>;
    type Attestations = Attestation;
    type BondPerPoint = bounded::BondPerPoint;
    type Bonds = ProviderStaking;
    type Clock = ChainClock;
    type Currency = Balances;
    type HardwareProofs = HardwareChallenge;
    // Its record, its worker key and that key's account, its place among its provider's machines, two places
    // among the offers, its bond record, its reward destination, its proof and the proof's expiry;
    // `tests/deposits.rs` computes the sizes.
    type MachineDeposit = ConstU128<{ storage_deposit(10, 1_950) }>;
    type OnMachineRemoved = (ProviderStaking, (Availability, HardwareChallenge));
    type ProviderDeposit = ConstU128<{ storage_deposit(1, 150) }>;
    type RewardWeights = RewardEmission;
    type RuntimeHoldReason = RuntimeHoldReason;
    type WeightInfo = pallet_provider_registry::weights::SubstrateWeight<Runtime>;
}

parameter_types! {
    /// Weight that due slashes may take of a block.
    pub MaxSlashServiceWeight: Weight = Perbill::from_percent(10) * BlockWeights::get().max_block;
}

impl pallet_provider_staking::Config for Runtime {
    type AdminOrigin = EnsureRoot<AccountId>;
    type BaseBond = bounded::BaseBond;
    type Clock = ChainClock;
    type Currency = Balances;
    type Discipline = ProviderRegistry;
    type Machines = ProviderRegistry;
    type MaxServiceWeight = MaxSlashServiceWeight;
    type MaxSlashesPerEpoch = ConstU32<MAX_SLASHES_PER_EPOCH>;
    type OffenceTable = bounded::Offences;
    type OnBondChange = ProviderRegistry;
    type RuntimeHoldReason = RuntimeHoldReason;
    type SlashDeferEpochs = bounded::SlashDeferEpochs;
    type StrikeMemoryEpochs = bounded::StrikeMemoryEpochs;
    type UnbondingEpochs = bounded::UnbondingEpochs;
    type WeightInfo = pallet_provider_staking::weights::SubstrateWeight<Runtime>;
}

/// Author of the current block, who shares in the protocol fee.
pub struct BlockAuthor;

impl Get<Option<AccountId>> for BlockAuthor {
    fn get() -> Option<AccountId> {
        Authorship::author()
    }
}

/// Worker keys of sr25519, and an author written to where `pallet-authorship` keeps the block's.
#[cfg(feature = "runtime-benchmarks")]
pub struct EscrowBenchmarkHelper;

#[cfg(feature = "runtime-benchmarks")]
impl pallet_job_escrow::BenchmarkHelper<AccountId, Signature> for EscrowBenchmarkHelper {
    fn worker() -> AccountId {
        <() as pallet_job_escrow::BenchmarkHelper<AccountId, Signature>>::worker()
    }

    fn sign(worker: &AccountId, message: &[u8]) -> Signature {
        <() as pallet_job_escrow::BenchmarkHelper<AccountId, Signature>>::sign(worker, message)
    }

    fn set_author(author: &AccountId) {
        use polkadot_sdk::frame_support::storage::{storage_prefix, unhashed};

        unhashed::put(&storage_prefix(b"Authorship", b"Author"), author);
        assert_eq!(BlockAuthor::get().as_ref(), Some(author));
    }
}

impl pallet_job_escrow::Config for Runtime {
    // The record of an assignment, and its place in its machine's list; `tests/deposits.rs` computes the
    // sizes.
    type AssignmentDeposit = ConstU128<{ storage_deposit(2, 270) }>;
    type AttestedSigners = Attestation;
    #[cfg(feature = "runtime-benchmarks")]
    type BenchmarkHelper = EscrowBenchmarkHelper;
    type BlockAuthor = BlockAuthor;
    type Clock = ChainClock;
    type Currency = Balances;
    type Flywheel = RewardEmission;
    // The record of a job, and its place in its consumer's list.
    type JobDeposit = ConstU128<{ storage_deposit(2, 440) }>;
    type Machines = ProviderRegistry;
    type Matching = ProviderRegistry;
    type MaxDurationMs = ConstU64<MAX_JOB_DURATION_MS>;
    type MaxEpochsPerSettle = ConstU32<32>;
    type MaxManifestBytes = ConstU32<MAX_MANIFEST_BYTES>;
    type MaxOpenMs = ConstU64<MAX_OPEN_MS>;
    type MaxVerificationMs = ConstU64<MAX_VERIFICATION_MS>;
    type ManifestByteDeposit = ConstU128<{ storage_deposit(0, 1) }>;
    type MinDurationMs = ConstU64<MIN_JOB_DURATION_MS>;
    type Preimages = Preimage;
    // The requirements of an open order, and the machines that gave it back.
    type RequestDeposit = ConstU128<{ storage_deposit(2, 300) }>;
    type RuntimeHoldReason = RuntimeHoldReason;
    type StatementSignature = Signature;
    type Terms = bounded::JobTerms;
    type TreasuryAccount = TreasuryAccount;
    type Uptime = Availability;
    type WeightInfo = pallet_job_escrow::weights::SubstrateWeight<Runtime>;
}

impl pallet_reward_emission::Config for Runtime {
    type BondRewards = ProviderStaking;
    type CapPerWeight = ConstU128<EMISSION_CAP_PER_WEIGHT>;
    type Clock = ChainClock;
    type Currency = Balances;
    type EmissionDivisor = ConstU128<EMISSION_DIVISOR>;
    type HistoryEpochs = ConstU32<EMISSION_HISTORY_EPOCHS>;
    type Machines = ProviderRegistry;
    type MaxEpochsPerPayout = ConstU32<MAX_EPOCHS_PER_PAYOUT>;
    type Uptime = Availability;
    type WeightInfo = pallet_reward_emission::weights::SubstrateWeight<Runtime>;
}

parameter_types! {
    /// Identity of the pot that pays validators' reports.
    pub const AvailabilityPotId: PalletId = PalletId(*b"asy/aval");
    /// Account of the pot. It has no key: only the runtime can pay from it, and anyone may fill it.
    pub AvailabilityPot: AccountId = AvailabilityPotId::get().into_account_truncating();
    /// Weight that settling and removing epochs may take of a block.
    pub MaxEpochServiceWeight: Weight = Perbill::from_percent(5) * BlockWeights::get().max_block;
}

impl pallet_availability::Config for Runtime {
    type Clock = ChainClock;
    type Currency = Balances;
    // Payable epochs must stay known.
    type HistoryEpochs = ConstU32<EMISSION_HISTORY_EPOCHS>;
    type InitialUptimePpm = ConstU32<{ pallet_provider_registry::INITIAL_UPTIME_PPM }>;
    type Machines = ProviderRegistry;
    type MaxEpochsPerUpdate = ConstU32<32>;
    type MaxFailuresPerReport = ConstU32<MAX_FAILURES_PER_REPORT>;
    type MaxServiceWeight = MaxEpochServiceWeight;
    type MaxValidators = ConstU32<MAX_AUTHORITIES>;
    type OnUptimeChange = ProviderRegistry;
    // Fixed before the session began, so that no block author can choose which validator watches which
    // machine.
    type Randomness = pallet_babe::RandomnessFromTwoEpochsAgo<Runtime>;
    type RewardPerReport = bounded::RewardPerReport;
    type RewardPot = AvailabilityPot;
    type UptimeMemoryEpochs = bounded::UptimeMemoryEpochs;
    type ValidatorsPerMachine = ConstU32<VALIDATORS_PER_MACHINE>;
    type Weights = RewardEmission;
    type WeightInfo = pallet_availability::weights::SubstrateWeight<Runtime>;
}

parameter_types! {
    /// Weight that expiring evidence may take of a block.
    pub MaxExpiryServiceWeight: Weight = Perbill::from_percent(5) * BlockWeights::get().max_block;
}

/// Timestamp of the chain, including standstills: certificates expire during those too.
pub struct TimeOfDay;

impl WallClock for TimeOfDay {
    fn now_s() -> u64 {
        Timestamp::get() / 1_000
    }

    #[cfg(feature = "runtime-benchmarks")]
    fn benchmark_set_now_s(now_s: u64) {
        polkadot_sdk::pallet_timestamp::Now::<Runtime>::put(now_s.saturating_mul(1_000));
    }
}

impl pallet_attestation::Config for Runtime {
    type AdminOrigin = EnsureRoot<AccountId>;
    type ByteDeposit = ConstU128<{ storage_deposit(0, 1) }>;
    type Currency = Balances;
    type EvidenceLifetimeS = ConstU64<EVIDENCE_LIFETIME_S>;
    type ItemDeposit = ConstU128<{ storage_deposit(1, 0) }>;
    type Machines = ProviderRegistry;
    type MaxAnchorAge = ConstU32<MAX_ANCHOR_AGE_BLOCKS>;
    type MaxServiceWeight = MaxExpiryServiceWeight;
    type Offences = ProviderStaking;
    type OnAttestationChange = ProviderRegistry;
    type RuntimeHoldReason = RuntimeHoldReason;
    type WallClock = TimeOfDay;
    type WeightInfo = pallet_attestation::weights::SubstrateWeight<Runtime>;
}

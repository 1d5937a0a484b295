//! Blocks, balances and fees.

use assay_primitives::money::{Balance, MICRO_ASY, MILLI_ASY, SS58_PREFIX};
use polkadot_sdk::{
    frame_support::{
        PalletId, derive_impl,
        dispatch::DispatchClass,
        parameter_types,
        traits::{
            ConstU8, ConstU16, ConstU32, ConstU64, ConstU128, OnUnbalanced, VariantCountOf,
            fungible::{Balanced, Credit},
        },
        weights::{
            ConstantMultiplier, IdentityFee, Weight,
            constants::{ParityDbWeight, WEIGHT_REF_TIME_PER_MILLIS},
        },
    },
    frame_system, pallet_balances, pallet_skip_feeless_payment, pallet_timestamp, pallet_transaction_payment,
    sp_runtime::{
        FixedPointNumber, Perbill, Perquintill,
        traits::{AccountIdConversion, AccountIdLookup, Bounded},
    },
    sp_version::RuntimeVersion,
};

use super::consensus::SLOT_DURATION_MS;
use crate::{
    AccountId, Authorship, Babe, Balances, Block, ChainClock, Hash, Nonce, PalletInfo, Runtime, RuntimeCall,
    RuntimeEvent, RuntimeFreezeReason, RuntimeHoldReason, RuntimeOrigin, RuntimeTask, System, VERSION,
};

/// Share of a block that ordinary transactions may fill; the rest is reserved for operational ones.
const NORMAL_DISPATCH_RATIO: Perbill = Perbill::from_percent(75);

/// Computing time of a block: half of its slot, so that it can be made, sent and checked in time.
const MAXIMUM_BLOCK_WEIGHT: Weight =
    Weight::from_parts(WEIGHT_REF_TIME_PER_MILLIS * SLOT_DURATION_MS / 2, u64::MAX);

/// Maximum length of a block in bytes.
const MAXIMUM_BLOCK_LENGTH_BYTES: u32 = 5 * 1024 * 1024;

/// Least balance of an existing account.
pub const EXISTENTIAL_DEPOSIT: Balance = MILLI_ASY;

/// Returns the deposit for `items` storage entries of `bytes` bytes in all, the price of keeping them.
pub const fn storage_deposit(items: u32, bytes: u32) -> Balance {
    items as Balance * 100 * MILLI_ASY + bytes as Balance * MILLI_ASY
}

parameter_types! {
    /// Number of remembered block hashes, also the longest lifetime of a mortal transaction (2 hours).
    pub const BlockHashCount: u32 = 2_400;
    /// Version of the runtime.
    pub const Version: RuntimeVersion = VERSION;
    /// Limits of a block's computing time.
    pub BlockWeights: frame_system::limits::BlockWeights =
        frame_system::limits::BlockWeights::with_sensible_defaults(MAXIMUM_BLOCK_WEIGHT, NORMAL_DISPATCH_RATIO);
    /// Limits of a block's size.
    pub BlockLength: frame_system::limits::BlockLength = frame_system::limits::BlockLength::builder()
        .max_length(MAXIMUM_BLOCK_LENGTH_BYTES)
        .modify_max_length_for_class(DispatchClass::Normal, |length| {
            *length = NORMAL_DISPATCH_RATIO * MAXIMUM_BLOCK_LENGTH_BYTES
        })
        .build();
}

#[derive_impl(frame_system::config_preludes::SolochainDefaultConfig)]
impl frame_system::Config for Runtime {
    type AccountData = pallet_balances::AccountData<Balance>;
    type AccountId = AccountId;
    type Block = Block;
    type BlockHashCount = BlockHashCount;
    type BlockLength = BlockLength;
    type BlockWeights = BlockWeights;
    type DbWeight = ParityDbWeight;
    type Hash = Hash;
    type Lookup = AccountIdLookup<AccountId, ()>;
    type MaxConsumers = ConstU32<64>;
    type Nonce = Nonce;
    type SS58Prefix = ConstU16<SS58_PREFIX>;
    type SystemWeightInfo = frame_system::weights::SubstrateWeight<Runtime>;
    type Version = Version;
}

impl pallet_timestamp::Config for Runtime {
    type MinimumPeriod = ConstU64<{ SLOT_DURATION_MS / 2 }>;
    type Moment = u64;
    type OnTimestampSet = (Babe, ChainClock);
    type WeightInfo = pallet_timestamp::weights::SubstrateWeight<Runtime>;
}

impl pallet_balances::Config for Runtime {
    type AccountStore = System;
    type Balance = Balance;
    type DoneSlashHandler = ();
    type DustRemoval = ();
    type ExistentialDeposit = ConstU128<EXISTENTIAL_DEPOSIT>;
    type FreezeIdentifier = RuntimeFreezeReason;
    type MaxFreezes = VariantCountOf<RuntimeFreezeReason>;
    type MaxLocks = ConstU32<50>;
    type MaxReserves = ConstU32<50>;
    type ReserveIdentifier = [u8; 8];
    type RuntimeEvent = RuntimeEvent;
    type RuntimeFreezeReason = RuntimeFreezeReason;
    type RuntimeHoldReason = RuntimeHoldReason;
    type WeightInfo = pallet_balances::weights::SubstrateWeight<Runtime>;
}

impl pallet_skip_feeless_payment::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
}

parameter_types! {
    /// Identity of the treasury, to whose account its share of protocol fees is paid.
    pub const TreasuryPalletId: PalletId = PalletId(*b"asy/trsy");
    /// Account of the treasury. It has no key: only the runtime can pay from it.
    pub TreasuryAccount: AccountId = TreasuryPalletId::get().into_account_truncating();

    /// Target fullness of the ordinary part of blocks, in the long run.
    pub const TargetBlockFullness: Perquintill = Perquintill::from_percent(25);
    /// Speed at which the fee multiplier follows congestion.
    pub AdjustmentVariable: pallet_transaction_payment::Multiplier =
        pallet_transaction_payment::Multiplier::saturating_from_rational(75, 1_000_000);
    /// Minimum fee multiplier, a tenth: transactions cost a fee in idle blocks too, which limits spam.
    pub MinimumMultiplier: pallet_transaction_payment::Multiplier =
        pallet_transaction_payment::Multiplier::saturating_from_rational(1, 10);
    /// No maximum: fees must be able to end any congestion.
    pub MaximumMultiplier: pallet_transaction_payment::Multiplier = Bounded::max_value();
    /// Fee for each byte of a transaction, in plancks.
    pub const TransactionByteFee: Balance = MICRO_ASY;
}

/// Gives transaction fees and tips to the block's author; burns them without a known author (never in a real
/// block).
pub struct ToAuthor;

impl OnUnbalanced<Credit<AccountId, Balances>> for ToAuthor {
    fn on_nonzero_unbalanced(amount: Credit<AccountId, Balances>) {
        if let Some(author) = Authorship::author() {
            // If the author has no account and the amount is too small to create one, it is burned.
            let _ = Balances::resolve(&author, amount);
        }
    }
}

impl pallet_transaction_payment::Config for Runtime {
    type FeeMultiplierUpdate = pallet_transaction_payment::TargetedFeeAdjustment<
        Self,
        TargetBlockFullness,
        AdjustmentVariable,
        MinimumMultiplier,
        MaximumMultiplier,
    >;
    type LengthToFee = ConstantMultiplier<Balance, TransactionByteFee>;
    type OnChargeTransaction = pallet_transaction_payment::FungibleAdapter<Balances, ToAuthor>;
    type OperationalFeeMultiplier = ConstU8<5>;
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = pallet_transaction_payment::weights::SubstrateWeight<Runtime>;
    // One picosecond of computing costs one planck.
    type WeightToFee = IdentityFee<Balance>;
}

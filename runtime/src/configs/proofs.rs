//! Proofs of hardware.

use polkadot_sdk::{
    frame_support::{
        parameter_types,
        traits::{ConstU32, ConstU64},
        weights::Weight,
    },
    frame_system::EnsureRoot,
    pallet_babe,
    sp_runtime::Perbill,
};

use super::system::BlockWeights;
use crate::{AccountId, ChainClock, FinalityView, ProviderRegistry, ProviderStaking, Runtime};

/// Maximum number of double rounds for the verification of a slot: less than 15 ms by the measured weights,
/// as a test checks.
pub const MAX_DOUBLE_ROUNDS: u64 = 784 * pallet_hardware_challenge::DOUBLE_ROUNDS_PER_UNIT;

/// Maximum number of slots that one transaction proves: a host of eight GPUs, in less than a tenth of a
/// block.
const MAX_SLOTS_PER_PROOF: u32 = 8;

parameter_types! {
    /// Weight that rounds, expiring proofs and the removal of rounds may take of a block.
    pub MaxChallengeServiceWeight: Weight = Perbill::from_percent(5) * BlockWeights::get().max_block;
}

impl pallet_hardware_challenge::Config for Runtime {
    type AdminOrigin = EnsureRoot<AccountId>;
    type Bonds = ProviderStaking;
    type Clock = ChainClock;
    type Finality = FinalityView;
    type Machines = ProviderRegistry;
    type MaxDoubleRounds = ConstU64<MAX_DOUBLE_ROUNDS>;
    type MaxServiceWeight = MaxChallengeServiceWeight;
    type MaxSlotsPerProof = ConstU32<MAX_SLOTS_PER_PROOF>;
    type Offences = ProviderStaking;
    type OnProofChange = ProviderRegistry;
    // Every block has one: slots without a VRF output are not allowed.
    type Randomness = pallet_babe::ParentBlockRandomness<Runtime>;
    type WeightInfo = pallet_hardware_challenge::weights::SubstrateWeight<Runtime>;
}

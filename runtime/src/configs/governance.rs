//! Batches, proxies, multisigs, preimages, the scheduler, parameters and sudo.

use polkadot_sdk::{
    frame_support::{
        parameter_types,
        traits::{
            AsEnsureOriginWithArg, ConstU32, ConstU128, EqualPrivilegeOnly, LinearStoragePrice,
            fungible::HoldConsideration,
        },
        weights::Weight,
    },
    frame_system::EnsureRoot,
    pallet_multisig, pallet_parameters, pallet_preimage, pallet_proxy, pallet_scheduler, pallet_sudo,
    pallet_utility,
    sp_runtime::{Perbill, traits::BlakeTwo256},
};

use super::{
    proxies::ProxyType,
    system::{BlockWeights, storage_deposit},
};
use crate::{
    AccountId, Balance, Balances, OriginCaller, Preimage, Runtime, RuntimeCall, RuntimeEvent,
    RuntimeHoldReason, RuntimeOrigin, System, parameters::RuntimeParameters,
};

impl pallet_utility::Config for Runtime {
    type PalletsOrigin = OriginCaller;
    type RuntimeCall = RuntimeCall;
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = pallet_utility::weights::SubstrateWeight<Runtime>;
}

impl pallet_proxy::Config for Runtime {
    // `tests/deposits.rs` computes the sizes of a proxy, an announcement, a multisig and a preimage.
    type AnnouncementDepositBase = ConstU128<{ storage_deposit(1, 60) }>;
    type AnnouncementDepositFactor = ConstU128<{ storage_deposit(0, 68) }>;
    type BlockNumberProvider = System;
    type CallHasher = BlakeTwo256;
    type Currency = Balances;
    type MaxPending = ConstU32<32>;
    type MaxProxies = ConstU32<32>;
    type ProxyDepositBase = ConstU128<{ storage_deposit(1, 60) }>;
    type ProxyDepositFactor = ConstU128<{ storage_deposit(0, 37) }>;
    type ProxyType = ProxyType;
    type RuntimeCall = RuntimeCall;
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = pallet_proxy::weights::SubstrateWeight<Runtime>;
}

impl pallet_multisig::Config for Runtime {
    type BlockNumberProvider = System;
    type Currency = Balances;
    type DepositBase = ConstU128<{ storage_deposit(1, 150) }>;
    type DepositFactor = ConstU128<{ storage_deposit(0, 32) }>;
    type MaxSignatories = ConstU32<100>;
    type RuntimeCall = RuntimeCall;
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = pallet_multisig::weights::SubstrateWeight<Runtime>;
}

parameter_types! {
    /// Deposit of a preimage, without its bytes.
    pub const PreimageBaseDeposit: Balance = storage_deposit(2, 140);
    /// Deposit for each byte of a preimage.
    pub const PreimageByteDeposit: Balance = storage_deposit(0, 1);
    /// Hold reason of a preimage's deposit.
    pub const PreimageHoldReason: RuntimeHoldReason =
        RuntimeHoldReason::Preimage(pallet_preimage::HoldReason::Preimage);
    /// Weight that scheduled calls may take of a block.
    pub MaximumSchedulerWeight: Weight = Perbill::from_percent(50) * BlockWeights::get().max_block;
}

impl pallet_preimage::Config for Runtime {
    type Consideration = HoldConsideration<
        AccountId,
        Balances,
        PreimageHoldReason,
        LinearStoragePrice<PreimageBaseDeposit, PreimageByteDeposit, Balance>,
    >;
    type Currency = Balances;
    type ManagerOrigin = EnsureRoot<AccountId>;
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = pallet_preimage::weights::SubstrateWeight<Runtime>;
}

impl pallet_scheduler::Config for Runtime {
    type BlockNumberProvider = System;
    type MaxScheduledPerBlock = ConstU32<50>;
    type MaximumWeight = MaximumSchedulerWeight;
    type OriginPrivilegeCmp = EqualPrivilegeOnly;
    type PalletsOrigin = OriginCaller;
    type Preimages = Preimage;
    type RuntimeCall = RuntimeCall;
    type RuntimeEvent = RuntimeEvent;
    type RuntimeOrigin = RuntimeOrigin;
    type ScheduleOrigin = EnsureRoot<AccountId>;
    type WeightInfo = pallet_scheduler::weights::SubstrateWeight<Runtime>;
}

impl pallet_parameters::Config for Runtime {
    type AdminOrigin = AsEnsureOriginWithArg<EnsureRoot<AccountId>>;
    type RuntimeEvent = RuntimeEvent;
    type RuntimeParameters = RuntimeParameters;
    // The SDK provides this pallet's measured weights only for `()`.
    type WeightInfo = ();
}

impl pallet_sudo::Config for Runtime {
    type RuntimeCall = RuntimeCall;
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = pallet_sudo::weights::SubstrateWeight<Runtime>;
}

//! Assay's state transition.
//!
//! `configs/` wires each pallet, grouped by domain; `apis.rs` is what the node and clients may ask; `availability.rs`
//! brings together what a validator needs to know of the machines that it watches; `transactions.rs` makes those that no
//! account signs;
//! `parameters.rs` holds the values that governance can change; `genesis_config_presets.rs` the chains to start from.

#![cfg_attr(not(feature = "std"), no_std)]
// What the SDK's macros generate here cannot be documented by us; what we write is.
#![allow(missing_docs)]
// The macros of the runtime nest deeper than the default allows.
#![recursion_limit = "512"]

extern crate alloc;

#[cfg(feature = "std")]
include!(concat!(env!("OUT_DIR"), "/wasm_binary.rs"));

pub mod apis;
pub mod availability;
pub mod configs;
pub mod genesis_config_presets;
pub mod hardware_classes;
pub mod parameters;
pub mod session_keys;
pub mod transactions;

#[cfg(feature = "runtime-benchmarks")]
mod benchmarks;

use alloc::{borrow::Cow, vec::Vec};

pub use assay_primitives::money::Balance;
use polkadot_sdk::{
    frame_executive, frame_metadata_hash_extension, frame_support, frame_system, pallet_authorship,
    pallet_babe, pallet_bags_list, pallet_balances, pallet_grandpa, pallet_multisig, pallet_offences,
    pallet_parameters, pallet_preimage, pallet_proxy, pallet_scheduler, pallet_skip_feeless_payment,
    pallet_staking, pallet_sudo, pallet_timestamp, pallet_transaction_payment, pallet_utility,
    sp_runtime::{
        MultiAddress, MultiSignature, generic,
        traits::{BlakeTwo256, IdentifyAccount, Verify},
    },
    sp_version::RuntimeVersion,
};

#[cfg(feature = "std")]
pub use apis::RuntimeApi;
pub use session_keys::SessionKeys;

/// How accounts sign.
pub type Signature = MultiSignature;

/// An account, the same 32 bytes whichever scheme it signs with.
pub type AccountId = <<Signature as Verify>::Signer as IdentifyAccount>::AccountId;

/// How a transaction names an account.
pub type Address = MultiAddress<AccountId, ()>;

/// Count of an account's transactions.
pub type Nonce = u32;

/// A block's height.
pub type BlockNumber = u32;

/// The hash of blocks and of the state trie (BLAKE2b-256).
pub type Hash = polkadot_sdk::sp_core::H256;

/// A block's header.
pub type Header = generic::Header<BlockNumber, BlakeTwo256>;

/// A block.
pub type Block = generic::Block<Header, UncheckedExtrinsic>;

/// A block whose transactions the node carries without looking into them.
pub type OpaqueBlock = generic::Block<Header, polkadot_sdk::sp_runtime::OpaqueExtrinsic>;

/// A transaction as it travels.
pub type UncheckedExtrinsic = generic::UncheckedExtrinsic<Address, RuntimeCall, Signature, TxExtension>;

/// What every transaction is checked for and charged by, in this order.
pub type TxExtension = (
    frame_system::AuthorizeCall<Runtime>,
    frame_system::CheckNonZeroSender<Runtime>,
    frame_system::CheckSpecVersion<Runtime>,
    frame_system::CheckTxVersion<Runtime>,
    frame_system::CheckGenesis<Runtime>,
    frame_system::CheckEra<Runtime>,
    frame_system::CheckNonce<Runtime>,
    frame_system::CheckWeight<Runtime>,
    // What a worker key says of its machine's part in a job costs no fee, while it takes that part a step on.
    pallet_skip_feeless_payment::SkipCheckIfFeeless<
        Runtime,
        pallet_transaction_payment::ChargeTransactionPayment<Runtime>,
    >,
    frame_metadata_hash_extension::CheckMetadataHash<Runtime>,
    frame_system::WeightReclaim<Runtime>,
);

/// Runs blocks.
pub type Executive = frame_executive::Executive<
    Runtime,
    Block,
    frame_system::ChainContext<Runtime>,
    Runtime,
    AllPalletsWithSystem,
>;

/// Version of this runtime.
#[polkadot_sdk::sp_version::runtime_version]
pub const VERSION: RuntimeVersion = RuntimeVersion {
    spec_name: Cow::Borrowed("assay"),
    impl_name: Cow::Borrowed("assay-node"),
    authoring_version: 1,
    spec_version: 1,
    impl_version: 0,
    apis: apis::RUNTIME_API_VERSIONS,
    transaction_version: 1,
    system_version: 1,
};

/// The pallets and their indices. Indices are part of every transaction's encoding: they never change and are
/// never used again. Assay's own begin at 50.
#[frame_support::runtime]
mod runtime {
    /// The runtime.
    #[runtime::runtime]
    #[runtime::derive(
        RuntimeCall,
        RuntimeEvent,
        RuntimeError,
        RuntimeOrigin,
        RuntimeFreezeReason,
        RuntimeHoldReason,
        RuntimeSlashReason,
        RuntimeLockId,
        RuntimeTask,
        RuntimeViewFunction
    )]
    pub struct Runtime;

    #[runtime::pallet_index(0)]
    pub type System = frame_system::Pallet<Runtime>;
    #[runtime::pallet_index(1)]
    pub type Timestamp = pallet_timestamp::Pallet<Runtime>;

    // Babe before Authorship and Session: the others ask it for the author and the session's end.
    #[runtime::pallet_index(2)]
    pub type Babe = pallet_babe::Pallet<Runtime>;
    #[runtime::pallet_index(3)]
    pub type Authorship = pallet_authorship::Pallet<Runtime>;

    #[runtime::pallet_index(4)]
    pub type Balances = pallet_balances::Pallet<Runtime>;
    #[runtime::pallet_index(5)]
    pub type TransactionPayment = pallet_transaction_payment::Pallet<Runtime>;
    #[runtime::pallet_index(6)]
    pub type SkipFeelessPayment = pallet_skip_feeless_payment::Pallet<Runtime>;

    // Staking before Session: genesis asks it for the first validators.
    #[runtime::pallet_index(10)]
    pub type Staking = pallet_staking::Pallet<Runtime>;
    #[runtime::pallet_index(11)]
    pub type VoterList = pallet_bags_list::Pallet<Runtime, Instance1>;
    #[runtime::pallet_index(12)]
    pub type Session = pallet_session::Pallet<Runtime>;
    #[runtime::pallet_index(13)]
    pub type Historical = pallet_session::historical::Pallet<Runtime>;
    #[runtime::pallet_index(14)]
    pub type Offences = pallet_offences::Pallet<Runtime>;
    #[runtime::pallet_index(15)]
    pub type Grandpa = pallet_grandpa::Pallet<Runtime>;

    #[runtime::pallet_index(20)]
    pub type Utility = pallet_utility::Pallet<Runtime>;
    #[runtime::pallet_index(21)]
    pub type Proxy = pallet_proxy::Pallet<Runtime>;
    #[runtime::pallet_index(22)]
    pub type Multisig = pallet_multisig::Pallet<Runtime>;
    #[runtime::pallet_index(23)]
    pub type Preimage = pallet_preimage::Pallet<Runtime>;
    #[runtime::pallet_index(24)]
    pub type Scheduler = pallet_scheduler::Pallet<Runtime>;
    #[runtime::pallet_index(25)]
    pub type Parameters = pallet_parameters::Pallet<Runtime>;
    #[runtime::pallet_index(26)]
    pub type Sudo = pallet_sudo::Pallet<Runtime>;

    #[runtime::pallet_index(50)]
    pub type ChainClock = pallet_chain_clock::Pallet<Runtime>;
    #[runtime::pallet_index(51)]
    pub type ProviderRegistry = pallet_provider_registry::Pallet<Runtime>;
    #[runtime::pallet_index(52)]
    pub type ProviderStaking = pallet_provider_staking::Pallet<Runtime>;
    #[runtime::pallet_index(53)]
    pub type JobEscrow = pallet_job_escrow::Pallet<Runtime>;
    #[runtime::pallet_index(54)]
    pub type RewardEmission = pallet_reward_emission::Pallet<Runtime>;
    #[runtime::pallet_index(55)]
    pub type HardwareChallenge = pallet_hardware_challenge::Pallet<Runtime>;
    #[runtime::pallet_index(56)]
    pub type Attestation = pallet_attestation::Pallet<Runtime>;
    #[runtime::pallet_index(57)]
    pub type Availability = pallet_availability::Pallet<Runtime>;
    // Its inherent comes behind the timestamp's and before every hook that asks it.
    #[runtime::pallet_index(58)]
    pub type FinalityView = pallet_finality_view::Pallet<Runtime>;
}

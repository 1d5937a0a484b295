//! Runtime APIs for the node and for clients.

use alloc::vec::Vec;

use assay_primitives::{
    availability::{AVAILABILITY_KEY_TYPE, AssignmentPage, AvailabilityId, AvailabilitySignature, ReportDue},
    challenge::{ChallengeDue, MissedPage, RoundId, RoundRef},
    clock::EpochIndex,
    job::{JobId, OpenOrderPage},
    machine::MachineId,
    market::{Cursor, FindError, MachineView, Mismatch, OfferPage, Requirements},
};
use assay_proof::SlotProof;
use polkadot_sdk::{
    frame_support::{
        genesis_builder_helper::{build_state, get_preset},
        traits::KeyOwnerProofSystem,
        weights::Weight,
    },
    frame_system_rpc_runtime_api, pallet_grandpa, pallet_transaction_payment,
    pallet_transaction_payment_rpc_runtime_api, sp_api, sp_block_builder, sp_consensus_babe,
    sp_consensus_grandpa,
    sp_core::{OpaqueMetadata, sr25519},
    sp_genesis_builder, sp_inherents, sp_offchain,
    sp_runtime::{
        ApplyExtrinsicResult, ExtrinsicInclusionMode,
        traits::{Block as BlockT, NumberFor},
        transaction_validity::{TransactionSource, TransactionValidity},
    },
    sp_session, sp_transaction_pool,
    sp_version::RuntimeVersion,
};

use crate::{
    AccountId, Availability, Babe, Balance, Block, Executive, Grandpa, HardwareChallenge, Historical,
    InherentDataExt, JobEscrow, Nonce, ProviderRegistry, Runtime, RuntimeCall, RuntimeGenesisConfig, Session,
    SessionKeys, System, TransactionPayment, VERSION, availability,
    configs::consensus::BABE_GENESIS_EPOCH_CONFIG, genesis_config_presets, session_keys,
    transactions::general_transaction,
};

sp_api::impl_runtime_apis! {
    impl sp_api::Core<Block> for Runtime {
        fn version() -> RuntimeVersion {
            VERSION
        }

        fn execute_block(block: <Block as BlockT>::LazyBlock) {
            Executive::execute_block(block);
        }

        fn initialize_block(header: &<Block as BlockT>::Header) -> ExtrinsicInclusionMode {
            Executive::initialize_block(header)
        }
    }

    impl sp_api::Metadata<Block> for Runtime {
        fn metadata() -> OpaqueMetadata {
            OpaqueMetadata::new(Runtime::metadata().into())
        }

        fn metadata_at_version(version: u32) -> Option<OpaqueMetadata> {
            Runtime::metadata_at_version(version)
        }

        fn metadata_versions() -> Vec<u32> {
            Runtime::metadata_versions()
        }
    }

    impl polkadot_sdk::frame_support::view_functions::runtime_api::RuntimeViewFunction<Block> for Runtime {
        fn execute_view_function(
            id: polkadot_sdk::frame_support::view_functions::ViewFunctionId,
            input: Vec<u8>,
        ) -> Result<Vec<u8>, polkadot_sdk::frame_support::view_functions::ViewFunctionDispatchError> {
            Runtime::execute_view_function(id, input)
        }
    }

    impl sp_block_builder::BlockBuilder<Block> for Runtime {
        fn apply_extrinsic(extrinsic: <Block as BlockT>::Extrinsic) -> ApplyExtrinsicResult {
            Executive::apply_extrinsic(extrinsic)
        }

        fn finalize_block() -> <Block as BlockT>::Header {
            Executive::finalize_block()
        }

        fn inherent_extrinsics(data: sp_inherents::InherentData) -> Vec<<Block as BlockT>::Extrinsic> {
            data.create_extrinsics()
        }

        fn check_inherents(
            block: <Block as BlockT>::LazyBlock,
            data: sp_inherents::InherentData,
        ) -> sp_inherents::CheckInherentsResult {
            data.check_extrinsics(&block)
        }
    }

    impl sp_transaction_pool::runtime_api::TaggedTransactionQueue<Block> for Runtime {
        fn validate_transaction(
            source: TransactionSource,
            transaction: <Block as BlockT>::Extrinsic,
            block_hash: <Block as BlockT>::Hash,
        ) -> TransactionValidity {
            Executive::validate_transaction(source, transaction, block_hash)
        }
    }

    impl sp_offchain::OffchainWorkerApi<Block> for Runtime {
        fn offchain_worker(header: &<Block as BlockT>::Header) {
            Executive::offchain_worker(header)
        }
    }

    impl sp_consensus_babe::BabeApi<Block> for Runtime {
        fn configuration() -> sp_consensus_babe::BabeConfiguration {
            let epoch_config = Babe::epoch_config().unwrap_or(BABE_GENESIS_EPOCH_CONFIG);
            sp_consensus_babe::BabeConfiguration {
                slot_duration: Babe::slot_duration(),
                epoch_length: crate::configs::consensus::SESSION_SLOTS.into(),
                c: epoch_config.c,
                authorities: Babe::authorities().to_vec(),
                randomness: Babe::randomness(),
                allowed_slots: epoch_config.allowed_slots,
            }
        }

        fn current_epoch_start() -> sp_consensus_babe::Slot {
            Babe::current_epoch_start()
        }

        fn current_epoch() -> sp_consensus_babe::Epoch {
            Babe::current_epoch()
        }

        fn next_epoch() -> sp_consensus_babe::Epoch {
            Babe::next_epoch()
        }

        fn generate_key_ownership_proof(
            _slot: sp_consensus_babe::Slot,
            authority_id: sp_consensus_babe::AuthorityId,
        ) -> Option<sp_consensus_babe::OpaqueKeyOwnershipProof> {
            use codec::Encode;
            Historical::prove((sp_consensus_babe::KEY_TYPE, authority_id))
                .map(|proof| sp_consensus_babe::OpaqueKeyOwnershipProof::new(proof.encode()))
        }

        fn submit_report_equivocation_unsigned_extrinsic(
            equivocation_proof: sp_consensus_babe::EquivocationProof<<Block as BlockT>::Header>,
            key_owner_proof: sp_consensus_babe::OpaqueKeyOwnershipProof,
        ) -> Option<()> {
            Babe::submit_unsigned_equivocation_report(equivocation_proof, key_owner_proof.decode()?)
        }
    }

    impl sp_consensus_grandpa::GrandpaApi<Block> for Runtime {
        fn grandpa_authorities() -> sp_consensus_grandpa::AuthorityList {
            Grandpa::grandpa_authorities()
        }

        fn current_set_id() -> sp_consensus_grandpa::SetId {
            pallet_grandpa::CurrentSetId::<Runtime>::get()
        }

        fn generate_key_ownership_proof(
            _set_id: sp_consensus_grandpa::SetId,
            authority_id: sp_consensus_grandpa::AuthorityId,
        ) -> Option<sp_consensus_grandpa::OpaqueKeyOwnershipProof> {
            use codec::Encode;
            Historical::prove((sp_consensus_grandpa::KEY_TYPE, authority_id))
                .map(|proof| sp_consensus_grandpa::OpaqueKeyOwnershipProof::new(proof.encode()))
        }

        fn submit_report_equivocation_unsigned_extrinsic(
            equivocation_proof: sp_consensus_grandpa::EquivocationProof<<Block as BlockT>::Hash, NumberFor<Block>>,
            key_owner_proof: sp_consensus_grandpa::OpaqueKeyOwnershipProof,
        ) -> Option<()> {
            Grandpa::submit_unsigned_equivocation_report(equivocation_proof, key_owner_proof.decode()?)
        }
    }

    impl sp_session::SessionKeys<Block> for Runtime {
        fn generate_session_keys(owner: Vec<u8>, seed: Option<Vec<u8>>) -> sp_session::OpaqueGeneratedSessionKeys {
            session_keys::generate(owner, seed)
        }

        fn decode_session_keys(encoded: Vec<u8>) -> Option<Vec<(Vec<u8>, polkadot_sdk::sp_core::crypto::KeyTypeId)>> {
            SessionKeys::decode_into_raw_public_keys(&encoded)
        }
    }

    impl frame_system_rpc_runtime_api::AccountNonceApi<Block, AccountId, Nonce> for Runtime {
        fn account_nonce(account: AccountId) -> Nonce {
            System::account_nonce(account)
        }
    }

    impl assay_primitives::api::ComputeMarketApi<Block, AccountId> for Runtime {
        fn find_machines(
            requirements: Requirements,
            limit: u32,
            cursor: Option<Cursor>,
        ) -> Result<OfferPage<AccountId>, FindError> {
            ProviderRegistry::find_machines(&requirements, limit, cursor)
        }

        fn machine(machine: MachineId) -> Option<MachineView<AccountId>> {
            ProviderRegistry::machine_view(machine)
        }

        fn explain(
            requirements: Requirements,
            machine: MachineId,
        ) -> Result<Option<Vec<Mismatch>>, FindError> {
            ProviderRegistry::explain(&requirements, machine)
        }
    }

    impl assay_primitives::api::JobMarketApi<Block> for Runtime {
        fn open_orders(machine: MachineId, after: Option<JobId>, limit: u32) -> OpenOrderPage {
            JobEscrow::open_orders(machine, after, limit)
        }
    }

    impl assay_primitives::api::AvailabilityApi<Block, AccountId> for Runtime {
        fn assignments(key: AvailabilityId, from: MachineId, limit: u32) -> Option<AssignmentPage<AccountId>> {
            availability::assignments(&key, from, limit)
        }

        fn validator_of(key: AvailabilityId) -> Option<AccountId> {
            Session::key_owner(AVAILABILITY_KEY_TYPE, key.as_ref())
        }

        fn report_due(key: AvailabilityId) -> Option<ReportDue> {
            Availability::report_due(&key)
        }

        fn report_transaction(
            epoch: EpochIndex,
            validator_index: u32,
            after: Option<MachineId>,
            failures: Vec<MachineId>,
            signature: AvailabilitySignature,
        ) -> Option<<Block as BlockT>::Extrinsic> {
            availability::report_transaction(epoch, validator_index, after, failures, signature)
        }
    }

    impl assay_primitives::api::HardwareChallengeApi<Block> for Runtime {
        fn challenge_due(machine: MachineId) -> Vec<ChallengeDue> {
            HardwareChallenge::challenge_due(machine)
        }

        fn reportable_rounds() -> Vec<RoundId> {
            HardwareChallenge::reportable_rounds()
        }

        fn missed(round: RoundId, from: MachineId, limit: u32) -> Option<MissedPage> {
            HardwareChallenge::missed(round, from, limit)
        }

        fn commit_transaction(
            round: RoundRef,
            machine: MachineId,
            roots: Vec<[u8; 32]>,
            signature: sr25519::Signature,
        ) -> Option<<Block as BlockT>::Extrinsic> {
            let roots = roots.try_into().ok()?;
            let call = pallet_hardware_challenge::Call::<Runtime>::commit { round, machine, roots, signature };
            Some(general_transaction(call.into()))
        }

        fn prove_transaction(
            round: RoundRef,
            opening_randomness: [u8; 32],
            machine: MachineId,
            first_slot: u8,
            proofs: Vec<SlotProof>,
            signature: sr25519::Signature,
        ) -> Option<<Block as BlockT>::Extrinsic> {
            let proofs = proofs.try_into().ok()?;
            let call = pallet_hardware_challenge::Call::<Runtime>::prove {
                round,
                opening_randomness,
                machine,
                first_slot,
                proofs,
                signature,
            };
            Some(general_transaction(call.into()))
        }

        fn report_missed_transaction(
            round: RoundId,
            machine: MachineId,
        ) -> Option<<Block as BlockT>::Extrinsic> {
            let call = pallet_hardware_challenge::Call::<Runtime>::report_missed { round, machine };
            Some(general_transaction(call.into()))
        }
    }

    impl pallet_transaction_payment_rpc_runtime_api::TransactionPaymentApi<Block, Balance> for Runtime {
        fn query_info(
            transaction: <Block as BlockT>::Extrinsic,
            length_bytes: u32,
        ) -> pallet_transaction_payment_rpc_runtime_api::RuntimeDispatchInfo<Balance> {
            TransactionPayment::query_info(transaction, length_bytes)
        }

        fn query_fee_details(
            transaction: <Block as BlockT>::Extrinsic,
            length_bytes: u32,
        ) -> pallet_transaction_payment::FeeDetails<Balance> {
            TransactionPayment::query_fee_details(transaction, length_bytes)
        }

        fn query_weight_to_fee(weight: Weight) -> Balance {
            TransactionPayment::weight_to_fee(weight)
        }

        fn query_length_to_fee(length_bytes: u32) -> Balance {
            TransactionPayment::length_to_fee(length_bytes)
        }
    }

    impl pallet_transaction_payment_rpc_runtime_api::TransactionPaymentCallApi<Block, Balance, RuntimeCall> for Runtime {
        fn query_call_info(
            call: RuntimeCall,
            length_bytes: u32,
        ) -> pallet_transaction_payment::RuntimeDispatchInfo<Balance> {
            TransactionPayment::query_call_info(call, length_bytes)
        }

        fn query_call_fee_details(call: RuntimeCall, length_bytes: u32) -> pallet_transaction_payment::FeeDetails<Balance> {
            TransactionPayment::query_call_fee_details(call, length_bytes)
        }

        fn query_weight_to_fee(weight: Weight) -> Balance {
            TransactionPayment::weight_to_fee(weight)
        }

        fn query_length_to_fee(length_bytes: u32) -> Balance {
            TransactionPayment::length_to_fee(length_bytes)
        }
    }

    impl sp_genesis_builder::GenesisBuilder<Block> for Runtime {
        fn build_state(config: Vec<u8>) -> sp_genesis_builder::Result {
            build_state::<RuntimeGenesisConfig>(config)
        }

        fn get_preset(id: &Option<sp_genesis_builder::PresetId>) -> Option<Vec<u8>> {
            get_preset::<RuntimeGenesisConfig>(id, genesis_config_presets::get_preset)
        }

        fn preset_names() -> Vec<sp_genesis_builder::PresetId> {
            genesis_config_presets::preset_names()
        }
    }

    #[cfg(feature = "runtime-benchmarks")]
    impl polkadot_sdk::frame_benchmarking::Benchmark<Block> for Runtime {
        fn benchmark_metadata(
            extra: bool,
        ) -> (
            Vec<polkadot_sdk::frame_benchmarking::BenchmarkList>,
            Vec<polkadot_sdk::frame_support::traits::StorageInfo>,
        ) {
            crate::benchmarks::metadata(extra)
        }

        #[allow(non_local_definitions)]
        fn dispatch_benchmark(
            config: polkadot_sdk::frame_benchmarking::BenchmarkConfig,
        ) -> Result<Vec<polkadot_sdk::frame_benchmarking::BenchmarkBatch>, alloc::string::String> {
            crate::benchmarks::dispatch(config)
        }
    }

    #[cfg(feature = "try-runtime")]
    impl polkadot_sdk::frame_try_runtime::TryRuntime<Block> for Runtime {
        fn on_runtime_upgrade(checks: polkadot_sdk::frame_try_runtime::UpgradeCheckSelect) -> (Weight, Weight) {
            let weight = Executive::try_runtime_upgrade(checks).expect("a failed check has to stop the dry run; qed");
            (weight, crate::configs::system::BlockWeights::get().max_block)
        }

        fn execute_block(
            block: <Block as BlockT>::LazyBlock,
            state_root_check: bool,
            signature_check: bool,
            select: polkadot_sdk::frame_try_runtime::TryStateSelect,
        ) -> Weight {
            Executive::try_execute_block(block, state_root_check, signature_check, select)
                .expect("a failed check has to stop the dry run; qed")
        }
    }
}

//! Inherents of a block on the real runtime: those that a node makes of its data, and the checks of
//! importers.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::finality::INHERENT_IDENTIFIER;
use assay_runtime::{Block, Header, Runtime, RuntimeCall, System, UncheckedExtrinsic};
use common::*;
use pallet_finality_view::InherentError;
use polkadot_sdk::{
    pallet_timestamp,
    sp_block_builder::runtime_decl_for_block_builder::BlockBuilderV6,
    sp_core::H256,
    sp_inherents::{CheckInherentsResult, InherentData},
};

/// Returns the data of a node whose clock is the block's time, and which regards that block as final.
fn node_data(finalized: u32) -> InherentData {
    let now: u64 = pallet_timestamp::Now::<Runtime>::get();
    let mut data = InherentData::new();
    data.put_data(*b"timstap0", &now).unwrap();
    data.put_data(INHERENT_IDENTIFIER, &finalized).unwrap();
    data
}

/// Returns an importer's verdict on a block of these extrinsics.
fn checked(extrinsics: Vec<UncheckedExtrinsic>, finalized: u32) -> CheckInherentsResult {
    let header = Header {
        parent_hash: H256::zero(),
        number: System::block_number() + 1,
        state_root: H256::zero(),
        extrinsics_root: H256::zero(),
        digest: Default::default(),
    };
    let block = Block { header, extrinsics };
    <Runtime as BlockBuilderV6<Block>>::check_inherents(block.into(), node_data(finalized))
}

#[test]
fn block_states_what_its_author_holds_for_finalized_behind_its_time() {
    with_chain("development", |chain| {
        chain.pass(30_000);
        let made = <Runtime as BlockBuilderV6<Block>>::inherent_extrinsics(node_data(4));
        let calls: Vec<RuntimeCall> = made.iter().map(|extrinsic| extrinsic.function.clone()).collect();
        assert!(
            matches!(
                calls[..],
                [
                    RuntimeCall::Timestamp(pallet_timestamp::Call::set { .. }),
                    RuntimeCall::FinalityView(pallet_finality_view::Call::state_finalized { finalized: 4 }),
                ]
            ),
            "{calls:?}"
        );
        // Importers accept it, even if they know fewer or more blocks to be final.
        for finalized in [0, 4, 9] {
            assert!(checked(made.clone(), finalized).ok(), "{finalized}");
        }
    });
}

#[test]
fn importers_refuse_a_block_whose_author_states_nothing() {
    with_chain("development", |chain| {
        chain.pass(30_000);
        let mut made = <Runtime as BlockBuilderV6<Block>>::inherent_extrinsics(node_data(4));
        made.pop();
        let verdict = checked(made, 4);
        assert!(verdict.fatal_error());
        let error = verdict.get_error::<InherentError>(&INHERENT_IDENTIFIER);
        assert_eq!(error.unwrap(), Some(InherentError::Missing));
    });
}

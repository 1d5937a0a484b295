//! A runtime with nothing but the view of finality.

use assay_primitives::finality::INHERENT_IDENTIFIER;
use polkadot_sdk::{
    frame_support::{self, derive_impl, inherent::InherentData, traits::ConstU32},
    frame_system, sp_io,
    sp_runtime::{BuildStorage, DispatchResult},
};

use crate as pallet_finality_view;

/// Largest lag of the mock's chain that is no stall.
pub(crate) const MAX_LAG_BLOCKS: u32 = 10;

#[frame_support::runtime]
mod runtime {
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
    pub struct Test;

    #[runtime::pallet_index(0)]
    pub type System = frame_system;

    #[runtime::pallet_index(1)]
    pub type FinalityView = pallet_finality_view;
}

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = frame_system::mocking::MockBlock<Test>;
}

impl pallet_finality_view::Config for Test {
    type MaxLagBlocks = ConstU32<MAX_LAG_BLOCKS>;
    type WeightInfo = ();
}

/// Builds a chain before its first statement.
pub(crate) struct ExtBuilder;

impl ExtBuilder {
    pub(crate) fn build() -> sp_io::TestExternalities {
        let storage = RuntimeGenesisConfig::default()
            .build_storage()
            .expect("the genesis of the mock is valid");
        let mut externalities = sp_io::TestExternalities::from(storage);
        // So high that any lag of these tests is possible.
        externalities.execute_with(|| System::set_block_number(1_000));
        externalities
    }

    /// Runs the test and checks the pallet's invariants after it.
    pub(crate) fn build_and_execute(test: impl FnOnce()) {
        Self::build().execute_with(|| {
            test();
            FinalityView::do_try_state().expect("the invariants hold");
        });
    }
}

/// The inherent of the block that is being made.
pub(crate) fn state(finalized: u64) -> DispatchResult {
    FinalityView::state_finalized(RuntimeOrigin::none(), finalized)
}

/// The next block, whose author's node is so many blocks behind.
pub(crate) fn block_with_lag(lag_blocks: u64) {
    let block = System::block_number() + 1;
    System::set_block_number(block);
    state(block - 1 - lag_blocks).expect("one statement in a block, below it");
}

/// Inherent data of a node that holds this block for finalized.
pub(crate) fn data_of(finalized: u32) -> InherentData {
    let mut data = InherentData::new();
    data.put_data(INHERENT_IDENTIFIER, &finalized)
        .expect("nothing else has the identifier");
    data
}

/// The pallet's events so far; forgets them.
pub(crate) fn take_events() -> Vec<crate::Event<Test>> {
    let events = System::read_events_for_pallet::<crate::Event<Test>>();
    System::reset_events();
    events
}

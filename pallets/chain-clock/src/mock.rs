//! A runtime with only the clock, and a listener that records ended epochs.

use assay_primitives::clock::{EpochIndex, Millis, OnEpochEnd};
use polkadot_sdk::{
    frame_support::{self, derive_impl, parameter_types, traits::OnTimestampSet, weights::Weight},
    frame_system, sp_io,
    sp_runtime::BuildStorage,
};

use crate as pallet_chain_clock;

/// Longest advance of the mock's clock: four slots of three seconds.
pub(crate) const MAX_ADVANCE_MS: Millis = 12_000;

/// Epochs of the mock last one minute.
pub(crate) const EPOCH_DURATION_MS: Millis = 60_000;

/// Weight that the listener returns.
pub(crate) const LISTENER_WEIGHT: Weight = Weight::from_parts(1_234, 567);

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
    pub type ChainClock = pallet_chain_clock;
}

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = frame_system::mocking::MockBlock<Test>;
}

parameter_types! {
    pub const MaxAdvanceMs: Millis = MAX_ADVANCE_MS;
    /// The epochs whose end was announced, in order.
    pub static EndedEpochs: Vec<EpochIndex> = Vec::new();
}

/// Writes down each ended epoch.
pub struct Listener;

impl OnEpochEnd for Listener {
    fn on_epoch_end(ended: EpochIndex) {
        EndedEpochs::mutate(|epochs| epochs.push(ended));
    }

    fn weight() -> Weight {
        LISTENER_WEIGHT
    }
}

impl pallet_chain_clock::Config for Test {
    type MaxAdvanceMs = MaxAdvanceMs;
    type OnEpochEnd = Listener;
    type WeightInfo = ();
}

/// Builds a chain before its first block.
pub(crate) struct ExtBuilder {
    epoch_duration_ms: Millis,
}

impl Default for ExtBuilder {
    fn default() -> Self {
        Self {
            epoch_duration_ms: EPOCH_DURATION_MS,
        }
    }
}

impl ExtBuilder {
    pub(crate) fn epoch_duration_ms(mut self, epoch_duration_ms: Millis) -> Self {
        self.epoch_duration_ms = epoch_duration_ms;
        self
    }

    pub(crate) fn build(self) -> sp_io::TestExternalities {
        EndedEpochs::set(Vec::new());
        let genesis = RuntimeGenesisConfig {
            chain_clock: pallet_chain_clock::GenesisConfig {
                epoch_duration_ms: self.epoch_duration_ms,
                ..Default::default()
            },
            ..Default::default()
        };
        let storage = genesis.build_storage().expect("the genesis of the mock is valid");
        let mut externalities = sp_io::TestExternalities::from(storage);
        // Events of the genesis block are not kept.
        externalities.execute_with(|| System::set_block_number(1));
        externalities
    }

    /// Runs the test and checks the pallet's invariants after it.
    pub(crate) fn build_and_execute(self, test: impl FnOnce()) {
        self.build().execute_with(|| {
            test();
            ChainClock::do_try_state().expect("the invariants hold");
        });
    }
}

/// A block with this timestamp.
pub(crate) fn block_at(timestamp_ms: Millis) {
    ChainClock::on_timestamp_set(timestamp_ms);
}

/// The pallet's events so far; forgets them.
pub(crate) fn take_events() -> Vec<crate::Event<Test>> {
    let events = System::events()
        .into_iter()
        .filter_map(|record| match record.event {
            RuntimeEvent::ChainClock(event) => Some(event),
            _ => None,
        })
        .collect();
    System::reset_events();
    events
}

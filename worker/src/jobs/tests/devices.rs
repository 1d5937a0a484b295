//! Slots of jobs in the ledger, over restarts and lost files.

use std::path::Path;

use super::*;
use crate::{
    devices::{DeviceLedger, HostPaths, LEDGER_FILE, Machine},
    files::Disk,
};

/// Opens the ledger of a machine without GPUs.
pub(super) fn ledger(folder: &Path) -> DeviceLedger {
    let machine = Machine {
        slots: 6,
        gpus: None,
        paths: HostPaths::below(folder),
    };
    DeviceLedger::open(folder, Disk::default(), machine)
}

impl World {
    /// Returns the jobs that have slots, by the file.
    fn holders(&self) -> Vec<u64> {
        let holders = ledger(self.folder.path()).holders();
        holders.into_iter().map(|key| key.job).collect()
    }

    /// Returns the slots in the labels of the created containers.
    fn labelled(&self) -> Vec<Vec<u8>> {
        self.engine.change(|engine| {
            let created = engine.created.iter();
            created.map(|spec| spec.holding.slots.clone()).collect()
        })
    }
}

#[tokio::test(start_paused = true)]
async fn job_has_its_slots_until_it_is_gone() {
    let mut world = World::new();
    world.deploy(7, TASK);
    world.block().await;
    assert_eq!(world.holders(), [7]);
    world.restart();
    world.deploy(8, JobKind::Service);
    world.block().await;
    assert_eq!(world.holders(), [7, 8]);
    assert_eq!(world.labelled(), [vec![0, 1], vec![2, 3]]);
    world.chain.change(|state| state.jobs.remove(&7));
    for _ in 0..3 {
        world.block().await;
    }
    assert_eq!(world.holders(), [8]);
    world.deploy(9, JobKind::Service);
    world.block().await;
    assert_eq!(world.labelled()[2], [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn lease_of_a_job_that_nobody_knows_is_released() {
    let mut world = World::new();
    let key = LeaseKey {
        job: 99,
        fingerprint: "of another chain".into(),
    };
    ledger(world.folder.path()).take(&key, 2).unwrap();
    assert_eq!(world.holders(), [99]);
    world.restart();
    for _ in 0..3 {
        world.block().await;
    }
    assert_eq!(world.holders(), [] as [u64; 0]);
}

#[tokio::test(start_paused = true)]
async fn lost_ledger_is_found_again_in_the_labels() {
    let mut world = World::new();
    world.deploy(7, JobKind::Service);
    world.deploy(8, JobKind::Service);
    world.block().await;
    let before = world.labelled();
    std::fs::write(world.folder.path().join(LEDGER_FILE), "{\"version\":").unwrap();
    world.restart();
    world.block().await;
    assert_eq!(world.holders(), [7, 8]);
    world.deploy(9, JobKind::Service);
    world.block().await;
    assert_eq!(world.labelled()[..2], before);
    assert_eq!(world.labelled()[2], [4, 5]);
}

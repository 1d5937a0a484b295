//! Stories of jobs with real disks, if the test's host can hold any.

use super::*;
use crate::{
    api::{MissingOutput, OutputFolders},
    artifacts::Output,
    lease::{
        Storage,
        disk::{DiskSettings, Disks},
    },
};

/// Room for kept outputs.
const KEPT_BYTES: u64 = 2 * 1024 * 1024;

/// Gives a world's machine disks; returns false if the host can hold none.
fn give_disks(world: &mut World) -> bool {
    let settings = DiskSettings {
        folder: world.folder.path().join("disks"),
        mib_per_slot: 16,
        slots: 4,
        kept_output_bytes: KEPT_BYTES,
    };
    match Disks::open(settings) {
        Ok(disks) => {
            use_storage(world, Storage::Disks(disks));
            true
        }
        Err(reason) => {
            println!("no disks here: nothing is tested: {reason}");
            false
        }
    }
}

fn use_storage(world: &mut World, storage: Storage) {
    let executor = Arc::get_mut(&mut world.supervisor.executor).unwrap();
    executor.leases = Leases::default().with_storage(storage);
}

/// Starts a new supervisor with the same disks, as after a crash.
fn restart(world: &mut World) {
    let leases = world.supervisor.executor.leases.clone();
    world.restart();
    Arc::get_mut(&mut world.supervisor.executor).unwrap().leases = leases;
}

/// Returns the host's path of the job's folder, from the last container's mounts.
fn work_folder(world: &World) -> std::path::PathBuf {
    world.engine.change(|engine| {
        let mounts = &engine.created.last().unwrap().mounts;
        let mount = mounts.iter().find(|mount| mount.target == "/work").unwrap();
        assert!(!mount.is_read_only);
        mount.source.clone()
    })
}

fn kept_disks(world: &World) -> usize {
    world.supervisor.executor.leases.held().len()
}

fn with_output() -> String {
    manifest("ab").replace(r#""network":false}"#, r#""output":"/work/out"}"#)
}

#[tokio::test(start_paused = true)]
async fn output_folder_is_part_of_a_result_and_its_disk_goes_with_the_job() {
    let mut world = World::new();
    if !give_disks(&mut world) {
        return;
    }
    world.deploy_manifest(7, TASK, &with_output());
    world.block().await;
    let folder = work_folder(&world);
    std::fs::create_dir(folder.join("out")).unwrap();
    std::fs::write(folder.join("out/answer"), "42").unwrap();
    restart(&mut world);
    world
        .engine
        .change(|engine| engine.containers[0].run = RunFact::Watched);
    world.engine.end_container(0);
    world.block().await;
    let document = world.store().result_document(7).unwrap().unwrap();
    let shown: ResultFile = serde_json::from_slice(&document).unwrap();
    let listing = crate::artifacts::OutputFolder::new(&folder, "out")
        .listing(None, &std::sync::atomic::AtomicBool::new(false))
        .unwrap();
    assert_eq!(listing.entries().len(), 1);
    let expected = ResultDocument {
        exit_code: 0,
        image_digest: IMAGE_DIGEST,
        manifest_hash: ManifestRef::of(with_output().as_bytes()).hash.0,
        stdout: done(),
        output: Some(listing.root_hash()),
    };
    assert_eq!(shown.document(), Some(expected));
    let result_hash = expected.hash();
    assert_eq!(
        world.chain.calls()[1..],
        [WorkerCall::SubmitResult { job: 7, result_hash }]
    );
    assert_eq!(kept_disks(&world), 1, "its consumer may fetch the output");
    for _ in 0..4 {
        world.block().await;
    }
    assert_eq!(kept_disks(&world), 0);
    assert!(world.store().stored_notes(7).unwrap().unwrap().closed);

    // The output stays readable without its disk, as long as the notes are there.
    let kept = output_of(&world, 7).unwrap();
    assert!(matches!(kept, Output::Kept(_)), "{kept:?}");
    let listed = kept
        .listing(None, &std::sync::atomic::AtomicBool::new(false))
        .unwrap();
    assert_eq!(listed.root_hash(), listing.root_hash());
    let other_chain = outputs(&world).output(7, "another fingerprint");
    assert!(matches!(other_chain, Err(MissingOutput::None)));
    restart(&mut world);
    assert!(output_of(&world, 7).is_ok());
    std::fs::remove_dir_all(world.store().folder_of(7)).unwrap();
    crate::jobs::forget_old_outputs(world.supervisor.executor.leases.storage(), &world.store());
    assert_eq!(world.supervisor.executor.leases.storage().kept_keys(), []);
}

fn outputs(world: &World) -> JobOutputs {
    JobOutputs::new(world.supervisor.executor.leases.storage().clone(), world.store())
}

fn output_of(world: &World, job: u64) -> Result<Output, MissingOutput> {
    let notes = world.store().stored_notes(job).unwrap().unwrap();
    outputs(world).output(job, &notes.fingerprint)
}

#[tokio::test(start_paused = true)]
async fn output_beyond_the_bound_is_told_with_the_result_and_goes_with_its_disk() {
    let mut world = World::new();
    if !give_disks(&mut world) {
        return;
    }
    world.deploy_manifest(7, TASK, &with_output());
    world.block().await;
    let folder = work_folder(&world);
    std::fs::create_dir(folder.join("out")).unwrap();
    std::fs::write(folder.join("out/large"), vec![1; 3 << 20]).unwrap();
    world.engine.end_container(0);
    world.block().await;
    let notes = world.store().stored_notes(7).unwrap().unwrap();
    let reason = notes.output_not_kept.unwrap();
    assert!(reason.contains("fetch it before you accept"), "{reason}");
    assert!(matches!(output_of(&world, 7), Ok(Output::Folder(_))));
    for _ in 0..4 {
        world.block().await;
    }
    assert_eq!(kept_disks(&world), 0);
    let Err(MissingOutput::NotKept(told)) = output_of(&world, 7) else {
        panic!("it has gone with its disk");
    };
    assert!(told.contains("keeps 2 MiB"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn service_keeps_its_output_too() {
    let mut world = World::new();
    if !give_disks(&mut world) {
        return;
    }
    world.deploy_manifest(7, JobKind::Service, &with_output());
    world.block().await;
    let folder = work_folder(&world);
    std::fs::create_dir(folder.join("out")).unwrap();
    std::fs::write(folder.join("out/answer"), "42").unwrap();
    assert!(matches!(output_of(&world, 7), Ok(Output::Folder(_))));
    world.chain.change(|state| state.jobs.clear());
    world.block().await;
    assert_eq!(kept_disks(&world), 0);
    assert!(matches!(output_of(&world, 7), Ok(Output::Kept(_))));
}

#[tokio::test(start_paused = true)]
async fn repeated_task_begins_with_an_empty_disk_and_a_service_keeps_its_own() {
    for (kind, is_kept) in [(TASK, false), (JobKind::Service, true)] {
        let mut world = World::new();
        if !give_disks(&mut world) {
            return;
        }
        world.deploy(7, kind);
        world.block().await;
        let file = work_folder(&world).join("file");
        std::fs::write(&file, "of the first run").unwrap();
        world.engine.lose_containers();
        for _ in 0..3 {
            tokio::time::advance(STEP_BACKOFF.maximum).await;
            world.block().await;
        }
        assert_eq!(world.engine.change(|engine| engine.created.len()), 2);
        assert_eq!(work_folder(&world).join("file"), file);
        assert_eq!(file.exists(), is_kept, "{kind:?}");
        world.chain.change(|state| state.jobs.clear());
        world.block().await;
        assert_eq!(kept_disks(&world), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn disk_whose_job_is_unknown_is_removed_and_no_other() {
    let mut world = World::new();
    if !give_disks(&mut world) {
        return;
    }
    world.deploy(7, TASK);
    world.block().await;
    let storage = Storage::Disks({
        let Storage::Disks(disks) = world.supervisor.executor.leases.storage().clone() else {
            unreachable!("it was given");
        };
        // As if the worker was killed and lost its notes.
        let key = crate::lease::LeaseKey {
            job: 8,
            fingerprint: "cd".into(),
        };
        disks.take(&key, 1).await.unwrap();
        disks
    });
    restart(&mut world);
    use_storage(&mut world, storage);
    assert_eq!(kept_disks(&world), 2);
    world.block().await;
    assert_eq!(kept_disks(&world), 1);
    assert!(work_folder(&world).exists());
    world.chain.change(|state| state.jobs.clear());
    world.block().await;
    assert_eq!(kept_disks(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn job_that_needs_a_disk_is_declined_without_one() {
    let mut world = World::new();
    use_storage(&mut world, Storage::None("no loop devices".into()));
    world.deploy_manifest(7, TASK, &with_output());
    world.block().await;
    let declined = WorkerCall::Decline {
        job: 7,
        machine: 0,
        not_delivered: false,
    };
    assert_eq!(world.chain.calls(), [declined]);
    assert_eq!(world.engine.change(|engine| engine.created.len()), 0);
}

//! Survey of the host at the start: devices that answer challenges, sources of evidence, and disks of jobs.

use std::io;

use crate::{
    attestation::{DevicePaths, Survey},
    challenge::devices::Devices,
    config::Config,
    devices::{Device, DeviceLedger, Machine},
    lease::{
        EngineOutputs, Storage,
        disk::{DiskSettings, Disks},
    },
    sealing_store::SealingStore,
    state::StateFolder,
};

/// Finds the devices that answer the hardware challenge, and logs them; those that jobs have (`held`) are not
/// opened. A machine without any goes on, for its jobs.
pub(crate) async fn find_devices(config: &Config, held: Vec<Device>) -> io::Result<Devices> {
    let (choice, gpus) = (config.assay.prover, config.gpu_count());
    let find = move || Devices::find(choice, gpus > 0, &held);
    let devices = tokio::task::spawn_blocking(find)
        .await
        .map_err(io::Error::other)?;
    for problem in &devices.problems {
        tracing::warn!(problem, "cannot answer hardware challenges");
    }
    for device in &devices.usable {
        tracing::info!(device = device.name, "answers hardware challenges");
    }
    if devices.usable.is_empty() {
        tracing::error!(
            "no device can answer hardware challenges; an active machine that does not answer loses a \
             part of its bond"
        );
    } else if devices.are_fewer_than(gpus) {
        tracing::error!(
            devices = devices.usable.len(),
            offered = gpus,
            "fewer GPUs answer than the machine offers; each answers for several slots, and will hardly be in time"
        );
    }
    Ok(devices)
}

/// Finds the sources of evidence if the machine is to attest, and chooses the storage of its sealing key.
pub(crate) async fn look_for_evidence(config: &Config) -> io::Result<(Survey, SealingStore)> {
    let plain = config.assay.sealing_key_file.clone();
    if !config.network.enable_tee {
        return Ok((Survey::default(), SealingStore::File(plain)));
    }
    // Drivers may block for any time.
    let looked = tokio::task::spawn_blocking(move || {
        let paths = DevicePaths::of_linux();
        let survey = Survey::of(&paths);
        let store = SealingStore::choose(plain, survey.processor(), &paths);
        (survey, store)
    });
    let (survey, store) = looked.await.map_err(io::Error::other)?;
    if survey.sources.is_empty() {
        let missing: Vec<_> = survey.missing.iter().map(ToString::to_string).collect();
        tracing::warn!(
            lacks = missing.join("; "),
            "`network_config.enable_tee` is set, but no device gives evidence; the machine works without attesting"
        );
    } else {
        let names: Vec<_> = survey.sources.iter().map(|source| source.name()).collect();
        tracing::info!(
            sources = names.join(", "),
            sealing_key = store.description(),
            "the machine attests"
        );
    }
    Ok((survey, store))
}

/// Opens the ledger of devices in a state folder.
pub(crate) async fn open_ledger(config: &Config, state: &StateFolder) -> io::Result<DeviceLedger> {
    let (machine, disk) = (Machine::of(config), state.disk().clone());
    let folder = config.assay.state_dir.clone();
    // Drivers may block for any time.
    tokio::task::spawn_blocking(move || DeviceLedger::open(&folder, disk, machine))
        .await
        .map_err(io::Error::other)
}

/// Sets the jobs' disks up. A host that can hold none to a limit offers 0 GiB from then on.
pub(crate) async fn set_up_disks(config: &mut Config) -> io::Result<Storage> {
    if config.assay.kubernetes.is_some() {
        return Ok(Storage::Engine {
            gib: config.resources.disk_gib,
            slots: config.slots(),
            outputs: EngineOutputs::below(&config.assay.state_dir),
            kept_bytes: config.assay.storage.kept_output_bytes(config.resources.disk_gib),
        });
    }
    let settings = DiskSettings::of(config);
    let opened = tokio::task::spawn_blocking(move || Disks::open(settings?)).await;
    match opened.map_err(io::Error::other)? {
        Ok(disks) => {
            tracing::info!(
                method = %disks.method(), folder = %disks.folder().display(), offered_gib = config.resources.disk_gib,
                "jobs get disks"
            );
            Ok(Storage::Disks(disks))
        }
        Err(reason) => {
            tracing::warn!(reason, "jobs get no disks, and the machine offers 0 GiB");
            config.resources.disk_gib = 0;
            Ok(Storage::None(reason))
        }
    }
}

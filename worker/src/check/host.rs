//! Checks of the host: container engine, networks, GPUs, disks, provers, TEEs.

use assay_evidence::Binding;

use super::finding::Finding;
use crate::{
    attestation::{DevicePaths, Survey, kind_name},
    challenge::devices::{Devices, TestedDevice},
    config::Config,
    devices::{GpuSurvey, Machine, noted_holders},
    engine::{ContainerEngine, Engine, KubernetesEngine},
    files::Disk,
    health::{self, HealthSurvey},
    launch::Launcher,
    lease::{
        JobNetworkParts, JobNetworks, LeaseError,
        disk::{DiskSettings, Disks},
    },
    sealing_store::SealingStore,
};

/// Remedy for promises that the host cannot keep.
const PROMISE_LESS: &str = "promise no more than there is";

/// Checks the container engine, and the cores and memory that it has.
pub(super) async fn engine(config: &Config) -> Vec<Finding> {
    let engine = Engine::of(config);
    let info = match engine.ping().await {
        Ok(info) => info,
        Err(error) => return vec![Finding::bad("engine", error.to_string())],
    };
    let mut findings = vec![Finding::good(
        "engine",
        format!("{} at {}", info.version, info.endpoint),
    )];
    findings.extend(pulls(config, &engine, &info.endpoint));
    let cores = u32::from(config.resources.cpu_cores);
    if (1..cores).contains(&info.cpu_cores) {
        let text = format!(
            "it has {} cores, and `shared_resources.cpu_cores` promises {cores}",
            info.cpu_cores
        );
        findings.push(Finding::bad("engine", text).with_remedy(PROMISE_LESS));
    }
    // A host reserves some of its memory: a value rounded up to whole GiB is fine.
    let promised = u64::from(config.resources.ram_mib);
    if info.memory_mib > 0 && promised > info.memory_mib + 1_024 {
        let text = format!(
            "it has {} MiB of memory, and `shared_resources.ram_gb` promises {promised} MiB",
            info.memory_mib
        );
        findings.push(Finding::bad("engine", text).with_remedy(PROMISE_LESS));
    }
    findings.push(match engine.confinement().await {
        Ok(profile) => Finding::good("system calls", format!("containers run under {profile}")),
        Err(error) => Finding::bad(
            "system calls",
            format!("{error}; until then the worker takes no jobs"),
        ),
    });
    findings
}

/// Reports the registries from which an engine pulls that does it by itself.
fn pulls(config: &Config, engine: &Engine, endpoint: &str) -> Option<Finding> {
    match engine {
        Engine::Docker(docker) if docker.is_here() => None,
        Engine::Docker(_) => {
            let text = format!(
                "{endpoint} may be on another host, so it pulls by itself, and only from the registries of \
                 `assay.private_registries`; jobs with other images are declined"
            );
            Some(Finding::note("engine", text).with_remedy("use the engine's socket"))
        }
        Engine::Kubernetes(_) => {
            let settings = config.assay.kubernetes.as_ref()?;
            let private = settings.private_registries.names();
            let registries = settings.registries.names().iter().chain(private);
            let text = format!(
                "nodes of a cluster pull by themselves, and only from {}; jobs with other images are declined",
                registries.cloned().collect::<Vec<_>>().join(", ")
            );
            let remedy = "add a registry whose operator you trust to `assay.kubernetes.registries`";
            Some(Finding::note("engine", text).with_remedy(remedy))
        }
    }
}

/// Checks that this host can fence off the networks of jobs. Without, the machine works, and takes no jobs
/// that want a network.
pub(super) async fn job_networks(config: &Config) -> Finding {
    let engine = match Engine::of(config) {
        Engine::Docker(engine) => engine,
        Engine::Kubernetes(cluster) => return cluster_networks(config, &cluster).await,
    };
    let parts = JobNetworkParts::of(config, engine, "0".repeat(64), Disk::default());
    let checked = match JobNetworks::open(parts) {
        Ok(networks) => networks.check().await,
        Err(error) => Err(LeaseError::Failed(error.to_string())),
    };
    match (checked, &config.assay.network.port_range) {
        (Ok(()), Some(range)) => Finding::good(
            "network",
            format!(
                "jobs get networks in {} and ports in {}-{}",
                config.assay.network.job_subnets,
                range.start(),
                range.end()
            ),
        ),
        (Ok(()), None) => Finding::note(
            "network",
            format!(
                "jobs get networks in {}, and no TCP or UDP ports; set `assay.network.port_range` to give some",
                config.assay.network.job_subnets
            ),
        ),
        (Err(error), _) => Finding::note(
            "network",
            format!("{error}; jobs that want a network are declined"),
        ),
    }
}

/// Checks that the cluster gives jobs the configured ports. What it enforces of rules and bandwidth cannot be
/// told from outside of a pod.
async fn cluster_networks(config: &Config, cluster: &KubernetesEngine) -> Finding {
    let enforced = "the cluster enforces the rules; each job's container tries them before its program starts, and where \
                    it reaches the cluster all jobs are declined. Limits of bandwidth are annotations of pods: they \
                    count where the network plugin reads them (for CNI's `bandwidth`, look for it in /etc/cni/net.d)";
    let Some(range) = &config.assay.network.port_range else {
        let text = format!("{enforced}. Jobs get no TCP or UDP ports");
        return Finding::note("network", text).with_remedy("set `assay.network.port_range` to give some");
    };
    match cluster.check_node_ports(range).await {
        Ok(()) => {
            let text = format!(
                "{enforced}. Jobs get ports of the node in {}-{}",
                range.start(),
                range.end()
            );
            Finding::note("network", text)
        }
        Err(error) => Finding::bad("network", error.to_string()),
    }
}

/// Checks the means by which jobs get GPUs: driver, toolkit, specifications, and the offered number.
pub(super) async fn gpus(config: &Config) -> Vec<Finding> {
    let machine = Machine::of(config);
    let state_folder = config.assay.state_dir.clone();
    // Drivers may block for any time.
    let look = move || {
        let mut survey = GpuSurvey::of(&machine);
        survey.compare_with_workers(&machine, &state_folder);
        survey
    };
    match tokio::task::spawn_blocking(look).await {
        Ok(survey) => gpu_findings(survey),
        Err(error) => vec![Finding::bad(
            "gpu",
            format!("looking at the GPUs failed: {error}"),
        )],
    }
}

fn gpu_findings(survey: GpuSurvey) -> Vec<Finding> {
    let GpuSurvey { good, notes, bad, .. } = survey;
    good.into_iter()
        .map(|fact| Finding::good("gpu", fact))
        .chain(notes.into_iter().map(|fact| Finding::note("gpu", fact)))
        .chain(bad.into_iter().map(|fact| Finding::bad("gpu", fact)))
        .collect()
}

/// Reads temperatures, clocks and errors of the offered GPUs and of the processors once.
pub(super) async fn health(config: &Config) -> Vec<Finding> {
    let HealthSurvey { good, notes } = health::look(Machine::of(config), config.assay.health).await;
    good.into_iter()
        .map(|fact| Finding::good("health", fact))
        .chain(notes.into_iter().map(|fact| Finding::note("health", fact)))
        .collect()
}

/// Checks that jobs can get disks with the offered room.
pub(super) async fn disks(config: &Config) -> Vec<Finding> {
    if let Some(cluster) = &config.assay.kubernetes {
        return vec![match &cluster.storage_class {
            Some(class) => Finding::good("disks", format!("volumes of the storage class {class}")),
            None => {
                let text = "folders of the node; a job that writes more than its part is evicted, and does not see a full disk";
                let remedy =
                    "name a class of volumes with a hard limit with `assay.kubernetes.storage_class`";
                Finding::note("disks", text).with_remedy(remedy)
            }
        }];
    }
    let (settings, slots) = (DiskSettings::of(config), config.slots());
    let looked = tokio::task::spawn_blocking(move || {
        let disks = Disks::open(settings?)?;
        let lacking_mib = disks.lacking_mib(slots).map_err(|error| error.to_string())?;
        let kept_room = disks.kept_room().map_err(|error| error.to_string())?;
        Ok::<_, String>((disks, lacking_mib, kept_room))
    });
    let (disks, lacking_mib, kept_room) = match looked.await.map_err(|error| error.to_string()) {
        Ok(Ok(found)) => found,
        Ok(Err(reason)) | Err(reason) => {
            let mut findings = vec![Finding::note(
                "disks",
                format!("{reason}; a worker without disks offers 0 GiB"),
            )];
            findings.extend(promised_beyond_disk(config));
            return findings;
        }
    };
    let mut findings = vec![Finding::good(
        "disks",
        format!("{} in {}", disks.method(), disks.folder().display()),
    )];
    if lacking_mib > 0 {
        let text = format!(
            "{} has {lacking_mib} MiB less than `shared_resources.storage_gb` promises",
            disks.folder().display()
        );
        findings.push(Finding::bad("disks", text).with_remedy(PROMISE_LESS));
    }
    let kept_bound = disks.kept_bound();
    if kept_room < kept_bound {
        let text = format!(
            "{} has room for {} of {} MiB beside the slots' disks; outputs of ended jobs that do not fit go with their disks",
            disks.folder().display(),
            kept_room >> 20,
            kept_bound >> 20
        );
        findings.push(
            Finding::note("kept outputs", text).with_remedy("make room, or lower `assay.kept_output_gb`"),
        );
    }
    findings
}

/// Reports a promise that the whole file system of the jobs' disks could not keep. Needs no disks, which only
/// root can make.
fn promised_beyond_disk(config: &Config) -> Option<Finding> {
    let folder = std::path::absolute(&config.assay.storage.disk_dir).ok()?;
    let existing = folder.ancestors().find(|path| path.exists())?;
    let room = rustix::fs::statvfs(existing).ok()?;
    let size_gib = room.f_blocks.saturating_mul(room.f_frsize) >> 30;
    let promised = u64::from(config.resources.disk_gib);
    (promised > size_gib).then(|| {
        Finding::bad(
            "disks",
            format!(
                "`shared_resources.storage_gb` promises {promised} GiB, and the file system with {} has {size_gib} GiB in all",
                folder.display()
            ),
        )
        .with_remedy(PROMISE_LESS)
    })
}

/// Checks the devices that answer the hardware challenge.
pub(super) async fn provers(config: &Config) -> Vec<Finding> {
    let (choice, gpus) = (config.assay.prover, config.gpu_count());
    // A worker that runs has given them to jobs.
    let held = noted_holders(&config.assay.state_dir);
    match tokio::task::spawn_blocking(move || Devices::find(choice, gpus > 0, &held)).await {
        Ok(devices) => prover_findings(&devices, gpus),
        Err(error) => vec![Finding::bad(
            "prover",
            format!("searching for devices failed: {error}"),
        )],
    }
}

/// Checks the devices that answer the hardware challenge of a machine with `gpus` GPUs.
fn prover_findings(devices: &Devices, gpus: u8) -> Vec<Finding> {
    let problem = |text: &String| {
        if devices.usable.is_empty() {
            Finding::bad("prover", text.as_str())
        } else {
            Finding::note("prover", text.as_str())
        }
    };
    let usable = |device: &TestedDevice| Finding::good("prover", device.name.as_str());
    let mut findings: Vec<_> = devices.problems.iter().map(problem).collect();
    findings.extend(devices.usable.iter().map(usable));
    if devices.are_fewer_than(gpus) {
        let text = format!(
            "`shared_resources.gpus` offers {gpus} and {} can answer challenges",
            devices.usable.len()
        );
        findings.push(Finding::bad("prover", text).with_remedy("offer no more than there are"));
    } else if gpus > 0 && devices.are_cpu() {
        findings.push(Finding::note(
            "prover",
            "the CPU answers for the GPUs, which is fast enough on development chains only; see \
             `assay-worker challenge bench`",
        ));
    }
    findings
}

/// Checks the machine's sources of evidence, and the storage of the sealing key that follows from them.
pub(super) async fn evidence(config: &Config) -> (SealingStore, Vec<Finding>) {
    let plain = config.assay.sealing_key_file.clone();
    let wished = config.network.enable_tee;
    // Drivers may block for any time.
    let looked = tokio::task::spawn_blocking(move || {
        let paths = DevicePaths::of_linux();
        let survey = Survey::of(&paths);
        let findings = evidence_findings(&survey, wished);
        let processor = survey.processor().filter(|_| wished);
        (SealingStore::choose(plain, processor, &paths), findings)
    });
    let (store, mut findings) = match looked.await {
        Ok(found) => found,
        Err(error) => (
            SealingStore::File(config.assay.sealing_key_file.clone()),
            vec![Finding::bad(
                "attestation",
                format!("a driver's task failed: {error}"),
            )],
        ),
    };
    if wished {
        findings.push(Finding::good(
            "sealing key",
            format!("kept {}", store.description()),
        ));
    }
    (store, findings)
}

/// Requests evidence from every source once, with an empty binding. A machine that does not attest is told
/// about sources that it has, and about none that it lacks.
fn evidence_findings(survey: &Survey, wished: bool) -> Vec<Finding> {
    const SUBJECT: &str = "attestation";
    if !wished {
        if survey.sources.is_empty() {
            return Vec::new();
        }
        let names: Vec<_> = survey.sources.iter().map(|source| source.name()).collect();
        return vec![
            Finding::note(
                SUBJECT,
                format!("the machine could attest with {}", names.join(", ")),
            )
            .with_remedy("`network_config.enable_tee: true` makes it do so"),
        ];
    }
    let nobody = Binding {
        genesis_hash: [0; 32],
        machine_id: 0,
        worker_key: [0; 32],
        sealing_key: [0; 32],
        anchor_hash: [0; 32],
    };
    let mut findings = Vec::new();
    for source in &survey.sources {
        let (name, kind) = (source.name(), kind_name(source.kind()));
        findings.push(match source.collect(&nobody) {
            Ok(_) => Finding::good(SUBJECT, format!("{name} gives evidence of {kind}")),
            Err(error) => Finding::bad(SUBJECT, format!("{name} ({kind}): {error}")),
        });
    }
    for missing in &survey.missing {
        findings.push(Finding::note(SUBJECT, missing.to_string()));
    }
    if survey.sources.is_empty() {
        findings.push(Finding::note(
            SUBJECT,
            "`network_config.enable_tee` is set, but no device gives evidence: the machine works without attesting",
        ));
    }
    findings
}

/// Checks that sealed jobs can be started without their secrets on a disk.
pub(super) fn launcher(config: &Config) -> Finding {
    match Launcher::new(config.assay.run_dir.as_deref(), &config.assay.state_dir).probe() {
        Ok(()) => Finding::good("sealed jobs", "a folder in memory can be made"),
        Err(error) => Finding::note(
            "sealed jobs",
            format!("{error}; until then the worker takes none, and declines those that are assigned to it"),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;
    use crate::{challenge::devices::ProverChoice, check::finding::texts};

    #[test]
    fn gpus_that_are_offered_and_missing_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let survey = GpuSurvey::of(&Machine {
            slots: 2,
            gpus: Some(crate::config::Gpus {
                model: "RTX_4090".into(),
                count: 2,
                allow_overclock: false,
            }),
            paths: crate::devices::HostPaths::below(folder.path()),
        });
        let found = texts(&gpu_findings(survey));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("BAD gpu: `shared_resources.gpus` offers 2, and the drivers report 0"),
            "{found:?}"
        );
    }

    #[test]
    fn what_answers_challenges_is_told() {
        let cpu = Devices::find(ProverChoice::Auto, false, &[]);
        let found = texts(&prover_findings(&cpu, 0));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("ok prover: CPU, "), "{found:?}");
        // A machine with GPUs whose CPU answers gets a note.
        let found = texts(&prover_findings(&cpu, 2));
        assert!(found[1].starts_with("note prover: the CPU answers"), "{found:?}");
    }

    #[test]
    fn a_prover_that_is_wished_for_and_absent_is_bad() {
        let none = Devices {
            usable: Vec::new(),
            problems: vec!["CUDA: no driver".into()],
        };
        let found = texts(&prover_findings(&none, 2));
        assert_eq!(found[0], "BAD prover: CUDA: no driver");
        assert!(found[1].contains("offers 2 and 0 can answer"), "{found:?}");
    }

    #[test]
    fn machine_without_a_tee_is_told_what_it_lacks_if_it_is_to_attest() {
        let survey = Survey::of(&DevicePaths::below(Path::new("/nowhere")));
        assert!(
            evidence_findings(&survey, false).is_empty(),
            "nothing is said of what nobody asked for"
        );
        let notes = texts(&evidence_findings(&survey, true));
        for expected in ["SGX (Gramine)", "configfs-tsm", "SEV-SNP", "TDX", "NVIDIA GPU"] {
            let said = notes
                .iter()
                .any(|note| note.contains(&format!("note attestation: {expected}")));
            assert!(said, "{expected}: {notes:?}");
        }
        assert_eq!(notes.len(), 6);
        assert!(notes[5].contains("the machine works without attesting"));
    }

    #[test]
    fn disk_that_no_file_system_here_has_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        let text = include_str!("../../worker.example.yaml");
        let mut config = Config::parse(text, Path::new("worker.yaml")).unwrap();
        config.assay.storage.disk_dir = folder.path().join("deep/disks");
        config.resources.disk_gib = u32::MAX;
        let found = promised_beyond_disk(&config).unwrap();
        assert!(
            found.is_bad() && found.to_string().contains("promises 4294967295 GiB"),
            "{found}"
        );
        config.resources.disk_gib = 0;
        assert_eq!(promised_beyond_disk(&config), None);
        assert!(!folder.path().join("deep").exists(), "a look makes no folders");
    }
}

//! `assay-worker check`: finds problems before the worker runs. Changes nothing on chain.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use assay_client::{
    ChainClient,
    types::{MachineStatus, Remedy, SuspensionReason},
    units::format_asy,
};
use assay_evidence::Binding;
use assay_primitives::money::Balance;

use crate::{
    api,
    attestation::{DevicePaths, Survey, kind_name},
    chain::bounded,
    challenge::devices::{Devices, TestedDevice},
    config::Config,
    devices::{GpuSurvey, Machine, noted_holders},
    engine::{ContainerEngine, Engine, KubernetesEngine},
    files::Disk,
    health::{self, HealthSurvey},
    keys::Keys,
    launch::Launcher,
    lease::{
        JobNetworkParts, JobNetworks, LeaseError,
        disk::{DiskSettings, Disks},
    },
    registration::{self, LOW_WORKER_BALANCE, WORKER_ENDOWMENT},
    sealing_store::{Custody, SealingStore},
    state::{self, NotedMachine},
};

/// Result of one check.
enum Finding {
    /// In order.
    Good(String),
    /// Works, but deserves attention.
    Note(String),
    /// Would keep the worker from running; the text has the remedy.
    Bad(String),
}

/// Runs all checks and prints their results; fails if any of them would keep the worker from running.
pub async fn run(config: &Config, output: &mut impl Write) -> ExitCode {
    let mut findings = vec![Finding::Good(format!(
        "configuration: {} offers {} slot(s) at {} per slot-hour",
        config.node.node_name,
        config.slots(),
        format_asy(config.assay.ask_per_slot_hour)
    ))];
    findings.extend(check_engine(config).await);
    findings.push(check_job_networks(config).await);
    findings.extend(check_gpus(config).await);
    findings.extend(check_health(config).await);
    findings.extend(check_disks(config).await);
    findings.extend(check_provers(config).await);
    findings.extend(check_api(config).await);
    let (store, evidence) = check_evidence(config).await;
    findings.extend(evidence);
    findings.extend(check_state_folder(&config.assay.state_dir));
    let known = state::noted_worker_keys(&config.assay.state_dir);
    match Keys::load_or_create(&config.assay, &store, &known) {
        Ok(keys) => {
            findings.push(Finding::Good(format!(
                "keys: worker key {}",
                keys.worker_account()
            )));
            findings.push(check_launcher(config));
            findings.extend(check_chain(config, &keys).await);
        }
        Err(error) => findings.push(Finding::Bad(format!("keys: {error}"))),
    }
    let bad = findings
        .iter()
        .filter(|finding| matches!(finding, Finding::Bad(_)))
        .count();
    match print(&findings, bad, output) {
        Ok(()) if bad == 0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn print(findings: &[Finding], bad: usize, output: &mut impl Write) -> io::Result<()> {
    for finding in findings {
        match finding {
            Finding::Good(text) => writeln!(output, "ok    {text}")?,
            Finding::Note(text) => writeln!(output, "note  {text}")?,
            Finding::Bad(text) => writeln!(output, "BAD   {text}")?,
        }
    }
    if bad == 0 {
        writeln!(output, "Ready: all checks passed")
    } else {
        writeln!(output, "Not ready: {bad} problem(s) to fix")
    }
}

/// Checks that the worker's files can be read and written.
fn check_state_folder(folder: &Path) -> Vec<Finding> {
    if !folder.exists() {
        return vec![Finding::Good(format!(
            "state: {} will be created",
            folder.display()
        ))];
    }
    let disk = Disk::default().probe(folder);
    let mut findings = vec![match disk.problem {
        Some(problem) => Finding::Bad(format!(
            "state: {problem}; until then the worker takes no new jobs"
        )),
        None => Finding::Good(format!("state: {} can be written", folder.display())),
    }];
    findings.extend(state::broken_files(folder).iter().map(|path| {
        Finding::Note(format!(
            "state: {} was corrupted, so the worker goes on without it; restore it from a backup or delete it",
            path.display()
        ))
    }));
    findings
}

async fn check_engine(config: &Config) -> Vec<Finding> {
    let engine = Engine::of(config);
    let info = match engine.ping().await {
        Ok(info) => info,
        Err(error) => return vec![Finding::Bad(format!("engine: {error}"))],
    };
    let mut findings = vec![Finding::Good(format!(
        "engine: {} at {}",
        info.version, info.endpoint
    ))];
    findings.extend(pull_finding(config, &engine, &info.endpoint));
    let cores = u32::from(config.resources.cpu_cores);
    if (1..cores).contains(&info.cpu_cores) {
        findings.push(Finding::Bad(format!(
            "engine: it has {} cores, and `shared_resources.cpu_cores` promises {cores}; promise no more than there is",
            info.cpu_cores
        )));
    }
    // A host reserves some of its memory: a value rounded up to whole GiB is fine.
    let promised = u64::from(config.resources.ram_mib);
    if info.memory_mib > 0 && promised > info.memory_mib + 1_024 {
        findings.push(Finding::Bad(format!(
            "engine: it has {} MiB of memory, and `shared_resources.ram_gb` promises {promised} MiB; promise no more \
             than there is",
            info.memory_mib
        )));
    }
    findings.push(match engine.confinement().await {
        Ok(profile) => Finding::Good(format!("system calls: containers run under {profile}")),
        Err(error) => Finding::Bad(format!(
            "system calls: {error}; until then the worker takes no jobs"
        )),
    });
    findings
}

/// Tells from which registries an engine pulls that does it by itself.
fn pull_finding(config: &Config, engine: &Engine, endpoint: &str) -> Option<Finding> {
    let text = match engine {
        Engine::Docker(docker) if docker.is_here() => return None,
        Engine::Docker(_) => format!(
            "engine: {endpoint} may be on another host, so it pulls by itself, and only from the registries of \
             `assay.private_registries`; jobs with other images are declined: use the engine's socket"
        ),
        Engine::Kubernetes(_) => {
            let settings = config.assay.kubernetes.as_ref()?;
            let private = settings.private_registries.names();
            let registries = settings.registries.names().iter().chain(private);
            format!(
                "engine: nodes of a cluster pull by themselves, and only from {}; jobs with other images are declined. Add a \
                 registry whose operator you trust to `assay.kubernetes.registries`",
                registries.cloned().collect::<Vec<_>>().join(", ")
            )
        }
    };
    Some(Finding::Note(text))
}

/// Checks that this host can fence off the networks of jobs. Without, the machine works, and takes no jobs
/// that want a network.
async fn check_job_networks(config: &Config) -> Finding {
    let engine = match Engine::of(config) {
        Engine::Docker(engine) => engine,
        Engine::Kubernetes(cluster) => return check_cluster_networks(config, &cluster).await,
    };
    let parts = JobNetworkParts::of(config, engine, "0".repeat(64), Disk::default());
    let checked = match JobNetworks::open(parts) {
        Ok(networks) => networks.check().await,
        Err(error) => Err(LeaseError::Failed(error.to_string())),
    };
    match (checked, &config.assay.network.port_range) {
        (Ok(()), Some(range)) => Finding::Good(format!(
            "network: jobs get networks in {} and ports in {}-{}",
            config.assay.network.job_subnets,
            range.start(),
            range.end()
        )),
        (Ok(()), None) => Finding::Note(format!(
            "network: jobs get networks in {}, and no TCP or UDP ports; set `assay.network.port_range` to give some",
            config.assay.network.job_subnets
        )),
        (Err(error), _) => Finding::Note(format!("network: {error}; jobs that want a network are declined")),
    }
}

/// Checks that the cluster gives jobs the configured ports. What it enforces of rules and bandwidth cannot be
/// told from outside of a pod.
async fn check_cluster_networks(config: &Config, cluster: &KubernetesEngine) -> Finding {
    let enforced = "the cluster enforces the rules; each job's container tries them before its program starts, and where \
                    it reaches the cluster all jobs are declined. Limits of bandwidth are annotations of pods: they \
                    count where the network plugin reads them (for CNI's `bandwidth`, look for it in /etc/cni/net.d)";
    let Some(range) = &config.assay.network.port_range else {
        return Finding::Note(format!(
            "network: {enforced}. Jobs get no TCP or UDP ports; set `assay.network.port_range` to give some"
        ));
    };
    match cluster.check_node_ports(range).await {
        Ok(()) => Finding::Note(format!(
            "network: {enforced}. Jobs get ports of the node in {}-{}",
            range.start(),
            range.end()
        )),
        Err(error) => Finding::Bad(format!("network: {error}")),
    }
}

/// Checks the means by which jobs get GPUs: driver, toolkit, specifications, and the offered number.
async fn check_gpus(config: &Config) -> Vec<Finding> {
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
        Err(error) => vec![Finding::Bad(format!("gpu: looking at the GPUs failed: {error}"))],
    }
}

fn gpu_findings(survey: GpuSurvey) -> Vec<Finding> {
    let tell = |finding: fn(String) -> Finding| move |fact: String| finding(format!("gpu: {fact}"));
    let GpuSurvey { good, notes, bad, .. } = survey;
    good.into_iter()
        .map(tell(Finding::Good))
        .chain(notes.into_iter().map(tell(Finding::Note)))
        .chain(bad.into_iter().map(tell(Finding::Bad)))
        .collect()
}

/// Reads temperatures, clocks and errors of the offered GPUs and of the processors once.
async fn check_health(config: &Config) -> Vec<Finding> {
    let tell = |finding: fn(String) -> Finding| move |fact: String| finding(format!("health: {fact}"));
    let HealthSurvey { good, notes } = health::look(Machine::of(config), config.assay.health).await;
    good.into_iter()
        .map(tell(Finding::Good))
        .chain(notes.into_iter().map(tell(Finding::Note)))
        .collect()
}

/// Checks that jobs can get disks with the offered room.
async fn check_disks(config: &Config) -> Vec<Finding> {
    if let Some(cluster) = &config.assay.kubernetes {
        return vec![match &cluster.storage_class {
            Some(class) => Finding::Good(format!("disks: volumes of the storage class {class}")),
            None => Finding::Note(
                "disks: folders of the node; a job that writes more than its part is evicted, and does not see a full disk. \
                 A class of volumes with a hard limit is named with `assay.kubernetes.storage_class`"
                    .into(),
            ),
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
            return vec![Finding::Note(format!(
                "disks: {reason}; a worker without disks offers 0 GiB"
            ))];
        }
    };
    let mut findings = vec![Finding::Good(format!(
        "disks: {} in {}",
        disks.method(),
        disks.folder().display()
    ))];
    if lacking_mib > 0 {
        findings.push(Finding::Bad(format!(
            "disks: {} has {lacking_mib} MiB less than `shared_resources.storage_gb` promises; promise no more than \
             there is",
            disks.folder().display()
        )));
    }
    let kept_bound = disks.kept_bound();
    if kept_room < kept_bound {
        findings.push(Finding::Note(format!(
            "kept outputs: {} has room for {} of {} MiB beside the slots' disks; outputs of ended jobs that do not fit go \
             with their disks: make room, or lower `assay.kept_output_gb`",
            disks.folder().display(),
            kept_room >> 20,
            kept_bound >> 20
        )));
    }
    findings
}

async fn check_provers(config: &Config) -> Vec<Finding> {
    let (choice, gpus) = (config.assay.prover, config.gpu_count());
    // A worker that runs has given them to jobs.
    let held = noted_holders(&config.assay.state_dir);
    match tokio::task::spawn_blocking(move || Devices::find(choice, gpus > 0, &held)).await {
        Ok(devices) => prover_findings(&devices, gpus),
        Err(error) => vec![Finding::Bad(format!(
            "prover: searching for devices failed: {error}"
        ))],
    }
}

/// Checks the devices that answer the hardware challenge of a machine with `gpus` GPUs.
fn prover_findings(devices: &Devices, gpus: u8) -> Vec<Finding> {
    let problem = |text: &String| {
        let text = format!("prover: {text}");
        if devices.usable.is_empty() {
            Finding::Bad(text)
        } else {
            Finding::Note(text)
        }
    };
    let usable = |device: &TestedDevice| Finding::Good(format!("prover: {}", device.name));
    let mut findings: Vec<_> = devices.problems.iter().map(problem).collect();
    findings.extend(devices.usable.iter().map(usable));
    if devices.are_fewer_than(gpus) {
        findings.push(Finding::Bad(format!(
            "prover: `shared_resources.gpus` offers {gpus} and {} can answer challenges; offer no more than there are",
            devices.usable.len()
        )));
    } else if gpus > 0 && devices.are_cpu() {
        findings.push(Finding::Note(
            "prover: the CPU answers for the GPUs, which is fast enough on development chains only; see \
             `assay-worker challenge bench`"
                .into(),
        ));
    }
    findings
}

/// Checks the machine's sources of evidence, and the storage of the sealing key that follows from them.
async fn check_evidence(config: &Config) -> (SealingStore, Vec<Finding>) {
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
            vec![Finding::Bad(format!(
                "attestation: a driver's task failed: {error}"
            ))],
        ),
    };
    if wished {
        findings.push(Finding::Good(format!(
            "sealing key: kept {}",
            store.description()
        )));
    }
    (store, findings)
}

/// Requests evidence from every source once, with an empty binding.
fn evidence_findings(survey: &Survey, wished: bool) -> Vec<Finding> {
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
            Ok(_) => Finding::Good(format!("attestation: {name} gives evidence of {kind}")),
            Err(error) if wished => Finding::Bad(format!("attestation: {name} ({kind}): {error}")),
            Err(error) => Finding::Note(format!("attestation: {name} ({kind}): {error}")),
        });
    }
    for missing in &survey.missing {
        findings.push(Finding::Note(format!("attestation: {missing}")));
    }
    match (wished, survey.sources.is_empty()) {
        (true, true) => findings.push(Finding::Note(
            "attestation: `network_config.enable_tee` is set, but no device gives evidence: the machine works without \
             attesting"
                .into(),
        )),
        (false, false) => findings.push(Finding::Note(
            "attestation: the machine could attest; `network_config.enable_tee: true` makes it do so".into(),
        )),
        _ => {}
    }
    findings
}

/// Checks that sealed jobs can be started without their secrets on a disk.
fn check_launcher(config: &Config) -> Finding {
    match Launcher::new(config.assay.run_dir.as_deref(), &config.assay.state_dir).probe() {
        Ok(()) => Finding::Good("sealed jobs: a folder in memory can be made".into()),
        Err(error) => Finding::Note(format!(
            "sealed jobs: {error}; until then the worker takes none, and declines those that are assigned to it"
        )),
    }
}

/// Checks the ports of the HTTP API, and the provider's certificate.
async fn check_api(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in [config.listen_on(), config.owner_listen_on()] {
        findings.push(match api::listen(address).await {
            Ok(_) => Finding::Good(format!("port: {address} is free")),
            Err(error) => Finding::Note(format!("port: {error} (a worker that runs already has it)")),
        });
    }
    let metrics = config.assay.metrics_listen;
    let loopback = if metrics.ip().is_loopback() {
        ""
    } else {
        "; everybody who reaches it sees what jobs do with their GPUs"
    };
    findings.push(match tokio::net::TcpListener::bind(metrics).await {
        Ok(_) if loopback.is_empty() => Finding::Good(format!("metrics: {metrics} is free")),
        Ok(_) => Finding::Note(format!("metrics: {metrics} is free{loopback}")),
        Err(error) => Finding::Note(format!(
            "metrics: cannot listen on {metrics}: {error}; name another address with `assay.metrics_listen` (a worker \
             that runs already has it)"
        )),
    });
    let owner = &config.assay.owner;
    findings.push(match owner.certificate.as_ref().map(api::tls::check_files) {
        None => Finding::Good(format!(
            "owners of jobs: {} with a certificate of the worker's own",
            owner.endpoint
        )),
        Some(Ok(())) => Finding::Good(format!(
            "owners of jobs: {} with the given certificate",
            owner.endpoint
        )),
        Some(Err(error)) => Finding::Bad(format!("owners of jobs: {error}")),
    });
    findings
}

async fn check_chain(config: &Config, keys: &Keys) -> Vec<Finding> {
    let client = match ChainClient::connect(&config.assay.chain_url).await {
        Ok(client) => client,
        Err(error) => return vec![Finding::Bad(format!("chain: {error}"))],
    };
    let genesis = hex::encode(client.genesis_hash());
    let mut findings = vec![Finding::Good(format!(
        "chain: {} with genesis 0x{genesis}",
        client.url()
    ))];
    match check_machine(&client, config, keys).await {
        Ok(more) => findings.extend(more),
        Err(error) => findings.push(Finding::Bad(format!("machine: {error}"))),
    }
    findings
}

async fn check_machine(
    client: &ChainClient,
    config: &Config,
    keys: &Keys,
) -> Result<Vec<Finding>, registration::RegistrationError> {
    let (class, record) = registration::hardware_class(client, config).await?;
    let mut findings = vec![Finding::Good(format!("hardware class: {}", record.name))];
    let worker = keys.worker_account();
    let registered = bounded(client.machine_of_worker(&worker.0)).await?;
    if let Some(machine) = registered {
        if let Some(record) = bounded(client.machine(machine)).await? {
            findings.push(status_finding(machine, record.status));
            // A key in memory is new at every start, including this one.
            let is_lasting = keys.sealing_custody != Custody::Memory;
            if let Some(problem) = registration::sealing_key_problem(client, keys, machine, &record)
                && is_lasting
            {
                findings.push(Finding::Bad(format!("keys: {problem}")));
            }
        }
        findings.push(balance_finding(bounded(client.balance(&worker.0)).await?.free));
        return Ok(findings);
    }
    let lost = match state::noted_machine(&config.assay.state_dir) {
        NotedMachine::Known(machine) => Some(registration::lost_machine(client, keys, machine).await?),
        NotedMachine::Lost { kept_as } => Some(NotedMachine::remedy(&kept_as)),
        NotedMachine::None => None,
    };
    if let Some(lost) = lost {
        findings.push(Finding::Bad(format!("machine: {lost}")));
        return Ok(findings);
    }
    let bond = registration::wanted_bond(client, config, class, config.slots()).await?;
    match keys.provider_account() {
        Some(provider) => {
            let free = bounded(client.balance(&provider.0)).await?.free;
            let needed = bond.saturating_add(WORKER_ENDOWMENT);
            let text = format!(
                "provider: {provider} has {}, and registering takes {} besides deposits and fees",
                format_asy(free),
                format_asy(needed)
            );
            findings.push(if free > needed {
                Finding::Good(text)
            } else {
                Finding::Bad(format!("{text}; send it some ASY"))
            });
        }
        None => findings.push(Finding::Note(
            "provider: no key is configured; the worker will print the data for the provider to sign, and wait"
                .into(),
        )),
    }
    Ok(findings)
}

/// Returns the machine's status; bad if it is out of the market against the provider's will and needs a
/// remedy.
fn status_finding(machine: u64, status: MachineStatus) -> Finding {
    let text = format!("machine: number {machine}, {status}");
    let Some(remedy) = status.remedy(machine) else {
        return Finding::Good(text);
    };
    let text = format!("{text}: {remedy}");
    match status {
        MachineStatus::Suspended(
            SuspensionReason::BondTooLow
            | SuspensionReason::InDebt
            | SuspensionReason::Offence
            | SuspensionReason::Condemned,
        )
        | MachineStatus::Retired => Finding::Bad(text),
        MachineStatus::Unproven
        | MachineStatus::Active
        | MachineStatus::Suspended(
            SuspensionReason::OwnRequest
            | SuspensionReason::MissedStart
            | SuspensionReason::Overheated
            | SuspensionReason::Faulty,
        )
        | MachineStatus::Draining => Finding::Note(text),
    }
}

/// Reports the worker key's balance. A low one is a note: starting, finishing and giving up jobs, coming back
/// after a missed start and answering the hardware challenge are free.
fn balance_finding(free: Balance) -> Finding {
    let text = format!("fees: the worker key has {}", format_asy(free));
    if free >= LOW_WORKER_BALANCE {
        return Finding::Good(text);
    }
    Finding::Note(format!(
        "{text}; running assigned jobs is free, but the key pays the fees for taking open orders, settling jobs, paying \
         out rewards and submitting evidence. Send it {} for these",
        format_asy(WORKER_ENDOWMENT)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{challenge::devices::ProverChoice, files::tests::SmallDisk};

    fn texts(findings: &[Finding]) -> Vec<String> {
        findings
            .iter()
            .map(|finding| match finding {
                Finding::Good(text) => format!("ok {text}"),
                Finding::Note(text) => format!("note {text}"),
                Finding::Bad(text) => format!("BAD {text}"),
            })
            .collect()
    }

    #[test]
    fn full_disk_and_broken_files_are_told() {
        let Some(small) = SmallDisk::mount() else { return };
        assert_eq!(texts(&check_state_folder(small.path())).len(), 1);
        std::fs::write(small.path().join("machine.broken-0"), "{").expect("there is room");
        let found = texts(&check_state_folder(small.path()));
        assert!(
            found[1].starts_with("note state: ") && found[1].contains("machine.broken-0"),
            "{found:?}"
        );
        small.fill();
        let found = texts(&check_state_folder(small.path()));
        assert!(found[0].starts_with("BAD state: cannot write "), "{found:?}");
        assert!(found[0].contains("takes no new jobs"), "{found:?}");
    }

    #[test]
    fn poor_worker_key_is_a_note_about_what_costs_fees() {
        let found = texts(&[balance_finding(LOW_WORKER_BALANCE), balance_finding(0)]);
        assert_eq!(found[0], "ok fees: the worker key has 1 ASY");
        assert!(
            found[1].starts_with("note fees: the worker key has 0 ASY; "),
            "{found:?}"
        );
        for expected in ["open orders", "settling", "rewards", "evidence", "Send it 10 ASY"] {
            assert!(found[1].contains(expected), "{expected}: {found:?}");
        }
    }

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
    fn machine_without_a_tee_is_told_what_it_lacks() {
        let folder = std::path::Path::new("/nowhere");
        let survey = Survey::of(&DevicePaths::below(folder));
        let texts = |wished| -> Vec<String> {
            evidence_findings(&survey, wished)
                .into_iter()
                .map(|finding| match finding {
                    Finding::Note(text) => text,
                    Finding::Good(text) | Finding::Bad(text) => panic!("{text}"),
                })
                .collect()
        };
        let notes = texts(false);
        for expected in ["SGX (Gramine)", "configfs-tsm", "SEV-SNP", "TDX", "NVIDIA GPU"] {
            let said = notes
                .iter()
                .any(|note| note.contains(&format!("attestation: {expected}")));
            assert!(said, "{expected}: {notes:?}");
        }
        assert_eq!(notes.len(), 5);
        assert!(texts(true)[5].contains("the machine works without attesting"));
    }
}

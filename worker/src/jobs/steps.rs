//! Carries out one decision for one job.
//!
//! Every step may be interrupted at any point and repeated: before the next decision the supervisor reads
//! from the chain, the engine and the notes how far the step came.

use std::{io, sync::Arc};

use assay_client::{
    Error as ChainError,
    manifest::{JobManifest, Profile},
    types::{AccountId, Job, JobKind, Verification},
};
use assay_primitives::{
    job::{ResultDocument, ResultStatement, StdoutResult, result_message},
    money::Balance,
};
use sp_crypto_hashing::blake2_256;

use super::{
    decision::{AbandonCause, Decision, LossCause},
    notes::{JobNotes, JobStore},
    output,
    result::ResultFile,
    sealed::JobSettings,
};
use crate::{
    chain::{WorkerCall, WorkerChain},
    config::SlotShare,
    delivery::Delivery,
    engine::{ContainerEngine, ContainerIdentity, ContainerSpec, EngineError},
    launch::Launcher,
    lease::{
        Lease, LeaseError, LeaseKey, LeaseRequest, Leases, PortStatus,
        disk::kept::{KeptOutcome, too_large},
        relative_output,
    },
    preflight::{Preflight, PreflightError, Purpose},
    profit,
};

/// Dependencies of every step.
pub(super) struct StepExecutor<C, E> {
    /// The chain.
    pub(super) chain: C,
    /// The container engine.
    pub(super) engine: Arc<E>,
    /// Store of notes and results.
    pub(super) store: JobStore,
    /// Number of this machine.
    pub(super) machine: u64,
    /// Hash of the genesis block.
    pub(super) genesis_hash: [u8; 32],
    /// Public part of the worker key, hexadecimal.
    pub(super) worker: String,
    /// Limits of one slot.
    pub(super) slot_share: SlotShare,
    /// Leases of the machine.
    pub(super) leases: Leases,
    /// Delivered manifests of sealed jobs.
    pub(super) delivery: Delivery,
    /// Folders in memory of sealed jobs.
    pub(super) launcher: Launcher,
    /// Checks of images before they are pulled.
    pub(super) preflight: Preflight,
    /// Minimum that a job must earn after fees, in plancks.
    pub(super) min_profit: Balance,
}

/// A job with all facts of the moment at which the decision was made.
#[derive(Clone, Debug)]
pub(super) struct StepContext {
    /// Number of the job.
    pub(super) id: u64,
    /// The job on chain.
    pub(super) job: Job,
    /// The worker's notes on the job.
    pub(super) notes: JobNotes,
    /// The engine's identifier of the container, if there is one.
    pub(super) container: Option<String>,
    /// Price that the chain pays this machine for a slot and an hour, in plancks.
    pub(super) price_per_slot_hour: Balance,
    /// Maximum time that the job runs here, in milliseconds of active time.
    pub(super) max_duration_ms: u64,
    /// Time until the job must be declined, in milliseconds of active time; `None` once it runs.
    pub(super) start_within_ms: Option<u64>,
    /// True if the start window is so far gone that the job's consumer pays for a decline.
    pub(super) is_late_decline: bool,
}

/// The remains on this machine of a job that is gone from the chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leftover {
    /// Number of the job.
    pub(super) job: u64,
    /// Fingerprint of the job.
    pub(super) fingerprint: String,
    /// The engine's identifier of the container, if there is one.
    pub(super) container: Option<String>,
}

/// Reason why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The chain refused the call, or is unreachable.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The engine failed, or is unreachable.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Reading or writing the state folder failed.
    #[error(transparent)]
    Store(#[from] io::Error),
    /// The step panicked: a bug of the worker.
    #[error("the worker panicked, which is a bug: {0}; please report it")]
    Panicked(String),
    /// The machine's evidence ended before the result was submitted.
    #[error(
        "the machine has no fresh evidence of its processor's TEE for its present keys, so the chain would refuse the \
         attested result; submit new evidence before the task's time is over, and the result follows"
    )]
    EvidenceEnded,
    /// The job cannot be run as ordered; another attempt would fail the same way.
    #[error("{0}")]
    Refused(String),
    /// The image cannot be checked at present.
    #[error("{0}")]
    Preflight(String),
    /// The lease cannot be given at present.
    #[error("{0}")]
    Lease(String),
    /// The job's sealed manifest is not here, or cannot be used any more.
    #[error("{0}")]
    Delivery(String),
    /// The step was cancelled, because the job would not have run by its start deadline.
    #[error("the step was cancelled, because the start deadline is near")]
    NotInTime,
}

impl From<LeaseError> for StepError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Refused(reason) => Self::Refused(reason),
            LeaseError::Failed(reason) => Self::Lease(reason),
            LeaseError::Engine(error) => Self::Engine(error),
        }
    }
}

impl From<PreflightError> for StepError {
    fn from(error: PreflightError) -> Self {
        match error {
            PreflightError::Refused(reason) => Self::Refused(reason),
            PreflightError::Unknown(reason) => Self::Preflight(reason),
            PreflightError::Engine(error) => Self::Engine(error),
        }
    }
}

/// Returns the fingerprint that distinguishes a job from every other one, even from a job with its number on
/// a chain that was started anew.
pub(super) fn fingerprint(genesis_hash: &[u8; 32], id: u64, job: &Job) -> String {
    let AccountId { 0: consumer } = &job.consumer;
    let identity = [
        &genesis_hash[..],
        &id.to_le_bytes(),
        consumer,
        job.manifest.hash().as_bytes(),
        &job.created_at_ms.to_le_bytes(),
    ]
    .concat();
    hex::encode(&blake2_256(&identity)[..16])
}

/// Returns true if a quorum verifies the job's result.
pub(super) fn is_replica(job: &Job) -> bool {
    matches!(
        job.kind,
        JobKind::Task {
            verification: Verification::Quorum { .. }
        }
    )
}

/// Draws an unpredictable salt.
fn random_salt() -> io::Result<[u8; 32]> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(salt)
}

impl<C: WorkerChain, E: ContainerEngine> StepExecutor<C, E> {
    /// Carries out a decision.
    pub(super) async fn carry_out(&self, what: &Decision, on: &StepContext) -> Result<(), StepError> {
        let (job, machine) = (on.id, self.machine);
        match what {
            Decision::Wait => Ok(()),
            Decision::Prepare => self.prepare(on).await,
            Decision::StartContainer => self.start_container(on).await,
            Decision::RestartContainer => self.restart_container(on).await,
            Decision::ReplaceContainer(cause) => self.replace_container(on, *cause).await,
            Decision::FollowContainer => self.follow_container(on).await,
            Decision::UnpauseContainer => self.unpause_container(on).await,
            Decision::Collect { exit_code, stdout } => self.collect(on, *exit_code, *stdout).await,
            Decision::RemoveContainer => self.remove_container_and_keep_output(on).await,
            Decision::ReportStart => self.send(WorkerCall::Start { job }).await,
            Decision::SubmitResult(result_hash) => {
                self.send(WorkerCall::SubmitResult {
                    job,
                    result_hash: *result_hash,
                })
                .await
            }
            Decision::SubmitAttestedResult(result_hash) => {
                // A call that would be refused must not cost a fee. If the node does not answer, the chain
                // decides.
                if let Ok(false) = self.chain.is_attested(machine).await {
                    return Err(StepError::EvidenceEnded);
                }
                self.send(WorkerCall::SubmitAttestedResult {
                    job,
                    result_hash: *result_hash,
                    signature: self.vouch(on, *result_hash),
                })
                .await
            }
            Decision::CommitResult { result_hash, salt } => {
                let message = result_message(&self.genesis_hash, job, machine, result_hash, salt);
                let commitment = blake2_256(&message);
                self.send(WorkerCall::CommitResult { job, commitment }).await
            }
            Decision::RevealResult { result_hash, salt } => {
                self.send(WorkerCall::RevealResult {
                    job,
                    result_hash: *result_hash,
                    salt: *salt,
                })
                .await
            }
            Decision::Resolve => self.send(WorkerCall::Resolve { job }).await,
            Decision::Settle => self.send(WorkerCall::Settle { job, machine }).await,
            Decision::Expire => self.send(WorkerCall::Expire { job, machine }).await,
            Decision::Decline(cause) => {
                // A delivery that came since the decision, and has a receipt, counts.
                let not_delivered = *cause == AbandonCause::NotDelivered
                    && self.delivery.close(&self.lease_key(job, &on.notes.fingerprint));
                self.send(WorkerCall::Decline {
                    job,
                    machine,
                    not_delivered,
                })
                .await
            }
            Decision::Abandon(_) => self.send(WorkerCall::Abandon { job, machine }).await,
            Decision::ReportWorkloadEnded => self.send(WorkerCall::ReportWorkloadEnded { job }).await,
        }
    }

    /// Signs the statement of what ran and of its result.
    ///
    /// The order in the statement is the one that ran, even if the node now returns another: by their
    /// fingerprint the notes with the result belong to this manifest alone, and the manifest names the image,
    /// whose digest was compared with the order's.
    fn vouch(&self, on: &StepContext, result_hash: [u8; 32]) -> [u8; 64] {
        let statement = ResultStatement {
            job: on.id,
            machine: self.machine,
            image_digest: on.job.image_digest,
            manifest_hash: on.job.manifest.hash().0,
            result_hash,
        };
        self.chain.sign(&statement.message(&self.genesis_hash))
    }

    async fn send(&self, call: WorkerCall) -> Result<(), StepError> {
        self.chain.send(call).await?;
        Ok(())
    }

    /// Makes sure that the job's lease is in force, before its container starts or is followed.
    async fn ensure_lease(&self, on: &StepContext) -> Result<(), StepError> {
        if self
            .leases
            .ensure(&self.lease_key(on.id, &on.notes.fingerprint))
            .await?
        {
            return Ok(());
        }
        let manifest = self.settings_of(on).await?;
        self.take_lease(on, &manifest).await.map(drop)
    }

    pub(super) async fn take_lease(
        &self,
        on: &StepContext,
        manifest: &JobManifest,
    ) -> Result<Lease, StepError> {
        let image = self.engine.image_root(&manifest.image.pull_reference()).await?;
        let request = LeaseRequest {
            key: self.lease_key(on.id, &on.notes.fingerprint),
            slots: on.job.slots,
            share: self.share_of(on.job.slots),
            manifest,
            image: &image,
        };
        Ok(self.leases.take(&request).await?)
    }

    async fn prepare(&self, on: &StepContext) -> Result<(), StepError> {
        let refused = |reason: String| Err(StepError::Refused(reason));
        let manifest = self.settings_of(on).await?;
        let ordered = on.job.image_digest;
        if let Some(start_within_ms) = on.start_within_ms {
            let fees = profit::fees_after_assignment(&self.chain, on.id, self.machine).await?;
            let revenue = profit::revenue(on.price_per_slot_hour, on.job.slots, on.max_duration_ms);
            if let Some(reason) = profit::refusal(revenue, fees, self.min_profit) {
                return refused(reason);
            }
            self.preflight
                .with_login(manifest.registry.as_ref())
                .check(
                    &*self.engine,
                    &manifest.image,
                    Some(start_within_ms),
                    Purpose::Pull,
                )
                .await?;
        }
        let image = manifest.image.pull_reference();
        // Held until the container is there: an image that is about to be used is not removed.
        let (_pin, verified) = self
            .preflight
            .images()
            .pull(&*self.engine, &image, ordered, manifest.registry.as_ref())
            .await?;
        if verified != ordered {
            return refused(format!("the engine has another image under {image}"));
        }
        // Written before the container exists, so that the notes of an earlier chain's job are gone by then.
        let notes = JobNotes {
            stdout_is_left_out: !manifest.capture_stdout,
            interactive: manifest.profile == Profile::Interactive,
            output: relative_output(&manifest),
            output_not_kept: None,
            made_up: false,
            consumer: Some(on.job.consumer),
            delegates: manifest.delegates.clone(),
            ports: Vec::new(),
            ..on.notes.clone()
        };
        self.store.write_notes(on.id, &notes)?;
        let share = self.share_of(on.job.slots);
        let key = self.lease_key(on.id, &on.notes.fingerprint);
        if matches!(on.job.kind, JobKind::Task { .. }) {
            // A task runs from the beginning: files of an earlier run would be part of the result.
            self.leases.wipe_disk(&key).await?;
        }
        let lease = self.take_lease(on, &manifest).await?;
        if !lease.ports.is_empty() {
            let ports = lease.ports.clone();
            self.store.write_notes(on.id, &JobNotes { ports, ..notes })?;
        }
        let spec = match &manifest {
            JobSettings::Public(manifest) => {
                self.container_of(on, image, JobManifest::clone(manifest), share, lease)
            }
            JobSettings::Sealed(manifest) => {
                let mut spec = self.container_of(on, image, manifest.without_secrets(), share, lease);
                self.hide(on, manifest, &mut spec).await?;
                spec
            }
        };
        self.engine.create(&spec).await?;
        Ok(())
    }

    pub(super) fn lease_key(&self, job: u64, fingerprint: &str) -> LeaseKey {
        LeaseKey {
            job,
            fingerprint: fingerprint.to_owned(),
        }
    }

    /// Returns a job's published ports.
    pub(super) fn lease_ports(&self, job: u64, fingerprint: &str) -> Vec<PortStatus> {
        self.leases.ports(&self.lease_key(job, fingerprint))
    }

    pub(super) fn share_of(&self, slots: u8) -> SlotShare {
        let slots = u32::from(slots);
        SlotShare {
            memory_mib: self.slot_share.memory_mib.saturating_mul(slots),
            cpu_millis: self.slot_share.cpu_millis.saturating_mul(slots),
            processes: self.slot_share.processes.saturating_mul(slots),
        }
    }

    fn container_of(
        &self,
        on: &StepContext,
        image: String,
        manifest: JobManifest,
        share: SlotShare,
        lease: Lease,
    ) -> ContainerSpec {
        let own = manifest
            .env
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"));
        ContainerSpec {
            identity: ContainerIdentity {
                job: on.id,
                machine: self.machine,
                worker: self.worker.clone(),
                fingerprint: on.notes.fingerprint.clone(),
            },
            image,
            entrypoint: manifest.entrypoint,
            command: manifest.command,
            // Of two values for a name the engine takes the last.
            environment: own.chain(lease.environment).collect(),
            share,
            shm_mib: lease.shm_mib,
            profile: manifest.profile,
            capabilities: lease.capabilities,
            writable_root: lease.writable_root,
            runtime: manifest.runtime,
            network: lease.network,
            ports: lease.ports,
            devices: lease.devices,
            holding: lease.holding,
            disk: lease.disk,
            mounts: lease.mounts,
        }
    }

    async fn start_container(&self, on: &StepContext) -> Result<(), StepError> {
        let Some(container) = &on.container else {
            return Ok(());
        };
        self.ensure_launch(on).await?;
        let notes = JobNotes {
            container_started: true,
            replacing: false,
            replica: is_replica(&on.job),
            ..on.notes.clone()
        };
        self.ensure_lease(on).await?;
        self.store.write_notes(on.id, &notes)?;
        let output = self.store.output_target(on.id, false);
        Ok(self.engine.start(container, output).await?)
    }

    async fn restart_container(&self, on: &StepContext) -> Result<(), StepError> {
        let Some(container) = &on.container else {
            return Ok(());
        };
        self.ensure_launch(on).await?;
        let notes = JobNotes {
            restarts: on.notes.restarts.saturating_add(1),
            unpaused: false,
            ..on.notes.clone()
        };
        self.ensure_lease(on).await?;
        self.store.write_notes(on.id, &notes)?;
        let output = self.store.output_target(on.id, true);
        Ok(self.engine.start(container, output).await?)
    }

    async fn follow_container(&self, on: &StepContext) -> Result<(), StepError> {
        let Some(container) = &on.container else {
            return Ok(());
        };
        match self.ensure_lease(on).await {
            // It runs, and the rules of its network outlive the worker: that is no reason to give the job up.
            Err(StepError::Refused(reason)) => {
                tracing::warn!(
                    job = on.id,
                    reason,
                    "the running job's lease cannot be taken again"
                );
            }
            other => other?,
        }
        let output = self.store.output_target(on.id, true);
        Ok(self.engine.follow(container, output).await?)
    }

    async fn unpause_container(&self, on: &StepContext) -> Result<(), StepError> {
        let Some(container) = &on.container else {
            return Ok(());
        };
        let notes = JobNotes {
            unpaused: true,
            ..on.notes.clone()
        };
        self.store.write_notes(on.id, &notes)?;
        Ok(self.engine.unpause(container).await?)
    }

    /// Replaces the container by another one of the same image. The notes first drop that the old one ran, so
    /// that any failure on the way to the new one counts as part of the same loss.
    async fn replace_container(&self, on: &StepContext, cause: LossCause) -> Result<(), StepError> {
        let notes = JobNotes {
            container_started: false,
            replacing: true,
            restarts: on.notes.restarts.saturating_add(1),
            was_killed: cause == LossCause::Killed,
            unpaused: false,
            ..on.notes.clone()
        };
        self.store.write_notes(on.id, &notes)?;
        self.remove_container(on).await?;
        let on = StepContext { notes, ..on.clone() };
        self.prepare(&on).await
    }

    async fn collect(&self, on: &StepContext, exit_code: i32, stdout: StdoutResult) -> Result<(), StepError> {
        let output = match &on.notes.output {
            None => None,
            Some(output) => {
                let key = self.lease_key(on.id, &on.notes.fingerprint);
                let disk = self.leases.work_folder(&key).await?;
                Some(output::part_of_result(disk, output.clone()).await?)
            }
        };
        // Noted with the result, so that its consumer can fetch the output before accepting.
        let bound = self.leases.storage().kept_bound();
        let output_not_kept = output
            .and_then(|output| output.archive_len)
            .filter(|bytes| *bytes > bound)
            .map(|bytes| too_large(bytes, bound));
        let document = ResultDocument {
            exit_code,
            image_digest: on.job.image_digest,
            manifest_hash: on.job.manifest.hash().0,
            stdout,
            output: output.map(|output| output.root_hash),
        };
        let file = serde_json::to_vec(&ResultFile::from(&document)).map_err(io::Error::other)?;
        self.store.write_result(on.id, &file)?;
        let notes = JobNotes {
            result_hash: Some(document.hash()),
            salt: is_replica(&on.job).then(random_salt).transpose()?,
            output_not_kept,
            ..on.notes.clone()
        };
        Ok(self.store.write_notes(on.id, &notes)?)
    }

    async fn remove_container(&self, on: &StepContext) -> Result<(), StepError> {
        let Some(container) = &on.container else {
            return Ok(());
        };
        Ok(self.engine.remove(container).await?)
    }

    /// Removes a container that is not needed any more. The output of a finished task is kept here, so that
    /// its slots need not wait for that after the job's end; a replica must reveal its result in time
    /// instead.
    async fn remove_container_and_keep_output(&self, on: &StepContext) -> Result<(), StepError> {
        self.remove_container(on).await?;
        if on.notes.result_hash.is_some() && !is_replica(&on.job) {
            self.keep_output(on.id, on.notes.clone()).await?;
        }
        Ok(())
    }

    /// Keeps the output folder of a job whose container is gone, if its manifest names one. An output that
    /// cannot be kept goes with the disk, and the notes say so. Returns the notes as they are then.
    async fn keep_output(&self, job: u64, notes: JobNotes) -> Result<JobNotes, StepError> {
        let has_run = notes.container_started || notes.result_hash.is_some();
        let Some(below) = notes.output.clone().filter(|_| has_run) else {
            return Ok(notes);
        };
        let key = self.lease_key(job, &notes.fingerprint);
        let output_not_kept = match self.leases.storage().keep_output(&key, &below).await {
            KeptOutcome::Kept => None,
            KeptOutcome::NoDisk => notes.output_not_kept.clone(),
            KeptOutcome::NotKept(reason) => {
                tracing::warn!(job, reason, "the job's output goes with its disk");
                Some(reason)
            }
        };
        if output_not_kept == notes.output_not_kept {
            return Ok(notes);
        }
        let notes = JobNotes {
            output_not_kept,
            ..notes
        };
        self.store.write_notes(job, &notes)?;
        Ok(notes)
    }

    /// Removes the container of a job that is gone from the chain, and closes its notes. Log and output are
    /// kept.
    pub(super) async fn clear_away(&self, what: &Leftover) -> Result<(), StepError> {
        let notes = self
            .store
            .stored_notes(what.job)?
            .filter(|notes| notes.fingerprint == what.fingerprint);
        if let Some(container) = &what.container {
            self.engine.remove(container).await?;
        }
        let key = self.lease_key(what.job, &what.fingerprint);
        self.launcher.remove(&key)?;
        // First the resources that the next job needs while an output is copied.
        self.leases.release_slots(&key).await?;
        let notes = match notes {
            Some(notes) => Some(self.keep_output(what.job, notes).await?),
            None => None,
        };
        self.leases.release_disk(&key).await?;
        self.delivery.forget(&key)?;
        if let Some(notes) = notes {
            self.store.write_notes(
                what.job,
                &JobNotes {
                    closed: true,
                    ..notes
                },
            )?;
        }
        self.store.prune()?;
        output::forget_old_outputs(self.leases.storage(), &self.store);
        Ok(())
    }
}

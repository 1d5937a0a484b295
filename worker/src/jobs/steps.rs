//! Carries out one decision for one job.
//!
//! Every step may be cut off at any point and done again: what happened is read off the chain, the engine and
//! the notes before the next decision.

use std::{io, sync::Arc};

use assay_client::{
    Error as ChainError,
    manifest::JobManifest,
    types::{AccountId, Job, JobKind, Manifest, Verification},
};
use assay_primitives::{
    job::{ResultDocument, ResultStatement, StdoutResult, result_message},
    money::Balance,
};
use sp_crypto_hashing::blake2_256;

use super::{
    decision::{Decision, LossCause},
    notes::{JobNotes, JobStore},
    result::ResultFile,
};
use crate::{
    chain::{WorkerCall, WorkerChain},
    config::SlotShare,
    engine::{ContainerEngine, ContainerIdentity, ContainerSpec, EngineError},
    preflight::{Preflight, PreflightError},
    profit,
};

/// What every step needs.
pub(super) struct Workshop<C, E> {
    /// The chain.
    pub(super) chain: C,
    /// The container engine.
    pub(super) engine: Arc<E>,
    /// Notes and results.
    pub(super) store: JobStore,
    /// This machine.
    pub(super) machine: u64,
    /// Hash of the chain's first block.
    pub(super) genesis_hash: [u8; 32],
    /// The worker key's public part, hexadecimal.
    pub(super) worker: String,
    /// What one slot may use.
    pub(super) slot_share: SlotShare,
    /// Looks at images before they are pulled.
    pub(super) preflight: Preflight,
    /// Least that a job must bring in after fees, in plancks.
    pub(super) min_profit: Balance,
}

/// A job with everything that was known when the decision was made.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    /// The job's number.
    pub(super) id: u64,
    /// The chain's records.
    pub(super) job: Job,
    /// The worker's notes.
    pub(super) notes: JobNotes,
    /// The engine's name of the container, where there is one.
    pub(super) container: Option<String>,
    /// What the chain pays this machine for a slot and an hour, in plancks.
    pub(super) price_per_slot_hour: Balance,
    /// Longest time that the job runs here, in milliseconds of active time.
    pub(super) max_duration_ms: u64,
    /// Time until the job must be declined, in milliseconds; `None` once it runs.
    pub(super) start_within_ms: Option<u64>,
    /// Whether the job has waited for its start for so long that its consumer pays for a decline.
    pub(super) is_late_decline: bool,
}

/// What is left here of a job that is gone from the chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Leftover {
    /// The job's number.
    pub(super) job: u64,
    /// The job's fingerprint.
    pub(super) fingerprint: String,
    /// The engine's name of the container, where there is one.
    pub(super) container: Option<String>,
}

/// Why a step did not get done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The chain refused, or is gone.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The engine failed, or is gone.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The state folder refused.
    #[error(transparent)]
    Store(#[from] io::Error),
    /// A bug of the worker's own.
    #[error("the worker made a mistake: {0}; please report it")]
    Panicked(String),
    /// The machine's evidence ended before its result.
    #[error(
        "the machine has no fresh evidence of its processor's TEE for its present keys, so the chain would not take the \
         result that it vouches for; submit new evidence before the task's time is over, and the result follows"
    )]
    EvidenceEnded,
    /// The job cannot be run as it was ordered; trying again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// What has to be known of the image cannot be found out now.
    #[error("{0}")]
    Preflight(String),
    /// The step was broken off, because the job would not have run by its start deadline.
    #[error("the step was broken off, because the start deadline is near")]
    NotInTime,
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

/// What tells a job from every other job, also from one with its number on a chain that was started anew.
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

/// Whether a quorum verifies the job's result.
pub(super) fn is_replica(job: &Job) -> bool {
    matches!(
        job.kind,
        JobKind::Task {
            verification: Verification::Quorum { .. }
        }
    )
}

/// A salt that nobody can guess.
fn random_salt() -> io::Result<[u8; 32]> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(salt)
}

impl<C: WorkerChain, E: ContainerEngine> Workshop<C, E> {
    /// Carries out a decision.
    pub(super) async fn carry_out(&self, what: &Decision, on: &Assignment) -> Result<(), StepError> {
        let (job, machine) = (on.id, self.machine);
        match what {
            Decision::Wait => Ok(()),
            Decision::Prepare => self.prepare(on).await,
            Decision::StartContainer => self.start_container(on).await,
            Decision::RestartContainer => self.restart_container(on).await,
            Decision::ReplaceContainer(cause) => self.replace_container(on, *cause).await,
            Decision::FollowContainer => self.follow_container(on).await,
            Decision::UnpauseContainer => self.unpause_container(on).await,
            Decision::Collect { exit_code, stdout } => self.collect(on, *exit_code, *stdout),
            Decision::RemoveContainer => self.remove_container(on).await,
            Decision::ReportStart => self.send(WorkerCall::Start { job }).await,
            Decision::SubmitResult(result_hash) => {
                self.send(WorkerCall::SubmitResult {
                    job,
                    result_hash: *result_hash,
                })
                .await
            }
            Decision::SubmitAttestedResult(result_hash) => {
                // What is known to be refused costs no fee. Where the node cannot tell, the chain does.
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
            // Nothing can be brought to this worker yet, so it does not say that its consumer failed to.
            Decision::Decline(_) => {
                self.send(WorkerCall::Decline {
                    job,
                    machine,
                    not_delivered: false,
                })
                .await
            }
            Decision::Abandon(_) => self.send(WorkerCall::Abandon { job, machine }).await,
            Decision::ReportWorkloadEnded => self.send(WorkerCall::ReportWorkloadEnded { job }).await,
        }
    }

    /// Signs what was run and what came of it.
    ///
    /// The order is the one that was run whatever the node says of it now: the result is in notes that are of
    /// this manifest alone, by their fingerprint, and the manifest names the image, which was compared with
    /// the order's.
    fn vouch(&self, on: &Assignment, result_hash: [u8; 32]) -> [u8; 64] {
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

    async fn prepare(&self, on: &Assignment) -> Result<(), StepError> {
        let refused = |reason: String| Err(StepError::Refused(reason));
        let Manifest::Public(manifest) = on.job.manifest else {
            return refused("its manifest is sealed, and this worker takes public ones only".into());
        };
        let Some(bytes) = self.chain.manifest_bytes(&manifest).await? else {
            return refused("its manifest is not on chain".into());
        };
        if blake2_256(&bytes) != manifest.hash.0 {
            return refused(
                "the manifest that the node returned has another hash than the order names".into(),
            );
        }
        let manifest = match JobManifest::from_bytes(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => return refused(error.to_string()),
        };
        let ordered = on.job.image_digest;
        if manifest.image.digest() != ordered {
            return refused(format!(
                "the manifest's image has the digest {}, and the order names sha256:{}",
                manifest.image.digest_text(),
                hex::encode(ordered)
            ));
        }
        if let Some(start_within_ms) = on.start_within_ms {
            let fees = profit::fees_after_assignment(&self.chain, on.id, self.machine).await?;
            let revenue = profit::revenue(on.price_per_slot_hour, on.job.slots, on.max_duration_ms);
            if let Some(reason) = profit::refusal(revenue, fees, self.min_profit) {
                return refused(reason);
            }
            self.preflight
                .check(&*self.engine, &manifest.image, Some(start_within_ms))
                .await?;
        }
        let image = manifest.image.pull_reference();
        let verified = self.engine.pull(&image, ordered).await?;
        if verified != ordered {
            return refused(format!("the engine has another image under {image}"));
        }
        // Written before there is a container, so that notes of an earlier chain's job are gone by then.
        let notes = JobNotes {
            stdout_is_left_out: !manifest.capture_stdout,
            made_up: false,
            ..on.notes.clone()
        };
        self.store.write_notes(on.id, &notes)?;
        self.engine
            .create(&self.container_of(on, image, manifest))
            .await?;
        Ok(())
    }

    fn container_of(&self, on: &Assignment, image: String, manifest: JobManifest) -> ContainerSpec {
        let slots = u32::from(on.job.slots);
        ContainerSpec {
            identity: ContainerIdentity {
                job: on.id,
                machine: self.machine,
                worker: self.worker.clone(),
                fingerprint: on.notes.fingerprint.clone(),
            },
            image,
            command: manifest.command,
            environment: manifest
                .env
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            network: manifest.network,
            share: SlotShare {
                memory_mib: self.slot_share.memory_mib.saturating_mul(slots),
                cpu_millis: self.slot_share.cpu_millis.saturating_mul(slots),
                processes: self.slot_share.processes.saturating_mul(slots),
            },
        }
    }

    async fn start_container(&self, on: &Assignment) -> Result<(), StepError> {
        let Some(container) = &on.container else {
            return Ok(());
        };
        let notes = JobNotes {
            container_started: true,
            replacing: false,
            replica: is_replica(&on.job),
            ..on.notes.clone()
        };
        self.store.write_notes(on.id, &notes)?;
        let output = self.store.output_target(on.id, false);
        Ok(self.engine.start(container, output).await?)
    }

    async fn restart_container(&self, on: &Assignment) -> Result<(), StepError> {
        let Some(container) = &on.container else {
            return Ok(());
        };
        let notes = JobNotes {
            restarts: on.notes.restarts.saturating_add(1),
            unpaused: false,
            ..on.notes.clone()
        };
        self.store.write_notes(on.id, &notes)?;
        let output = self.store.output_target(on.id, true);
        Ok(self.engine.start(container, output).await?)
    }

    async fn follow_container(&self, on: &Assignment) -> Result<(), StepError> {
        let Some(container) = &on.container else {
            return Ok(());
        };
        let output = self.store.output_target(on.id, true);
        Ok(self.engine.follow(container, output).await?)
    }

    async fn unpause_container(&self, on: &Assignment) -> Result<(), StepError> {
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

    /// Makes another container of the same image. That the old one ran is forgotten first, so that whatever
    /// goes wrong on the way to the new one counts as one loss.
    async fn replace_container(&self, on: &Assignment, cause: LossCause) -> Result<(), StepError> {
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
        let on = Assignment { notes, ..on.clone() };
        self.prepare(&on).await
    }

    fn collect(&self, on: &Assignment, exit_code: i32, stdout: StdoutResult) -> Result<(), StepError> {
        let document = ResultDocument {
            exit_code,
            image_digest: on.job.image_digest,
            manifest_hash: on.job.manifest.hash().0,
            stdout,
        };
        let file = serde_json::to_vec(&ResultFile::from(&document)).map_err(io::Error::other)?;
        self.store.write_result(on.id, &file)?;
        let notes = JobNotes {
            result_hash: Some(document.hash()),
            salt: is_replica(&on.job).then(random_salt).transpose()?,
            ..on.notes.clone()
        };
        Ok(self.store.write_notes(on.id, &notes)?)
    }

    async fn remove_container(&self, on: &Assignment) -> Result<(), StepError> {
        let Some(container) = &on.container else {
            return Ok(());
        };
        Ok(self.engine.remove(container).await?)
    }

    /// Removes the container of a job that is gone from the chain, and closes its notes. What it wrote is
    /// kept.
    pub(super) async fn clear_away(&self, what: &Leftover) -> Result<(), StepError> {
        let notes = self
            .store
            .stored_notes(what.job)?
            .filter(|notes| notes.fingerprint == what.fingerprint);
        if let Some(container) = &what.container {
            self.engine.remove(container).await?;
        }
        if let Some(notes) = notes {
            self.store.write_notes(
                what.job,
                &JobNotes {
                    closed: true,
                    ..notes
                },
            )?;
        }
        Ok(self.store.prune()?)
    }
}

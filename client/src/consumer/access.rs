//! Way of a job's owner to its worker, by which tokens can be got again.

use super::{Consumer, ConsumerError, LogStream};
use crate::{
    types::{AssignmentState, JobId},
    worker_api::{ExecOutput, JobPort, LogQuery, OwnerSession, WorkerApi, WorkerApiError, WorkerIdentity},
};

/// Way to a job's worker. Clones share nothing but the connection to the chain.
#[derive(Clone)]
pub struct JobAccess {
    consumer: Consumer,
    api: WorkerApi,
    job: JobId,
    machine: u64,
}

/// Published port of a job, and where it is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortAddress {
    /// The port.
    pub port: JobPort,
    /// URL of an HTTP port; host and port of another one.
    pub address: String,
}

impl PortAddress {
    /// Finds where a port of the session's job is reached.
    pub fn of(port: JobPort, session: &OwnerSession) -> Self {
        let address = match port.host_port {
            Some(number) if session.host().contains(':') => format!("[{}]:{number}", session.host()),
            Some(number) => format!("{}:{number}", session.host()),
            None => session.port_url(&port.name),
        };
        Self { port, address }
    }
}

impl Consumer {
    /// Finds the worker of a job by the chain, and checks its TLS key. `machine` may be left out while the
    /// job is open and on one machine only.
    ///
    /// # Errors
    /// The machine is not known or not named, or its worker does not answer or prove its key.
    pub async fn access(&self, job: JobId, machine: Option<u64>) -> Result<JobAccess, ConsumerError> {
        let machine = self.machine_of(job, machine).await?;
        let record = self
            .client
            .machine(machine)
            .await?
            .ok_or(ConsumerError::NoSuchMachine { machine })?;
        let identity = WorkerIdentity {
            worker_key: record.worker_key.0,
            machine,
            genesis_hash: self.client.genesis_hash(),
        };
        let endpoint = String::from_utf8_lossy(record.endpoint.as_bytes());
        Ok(JobAccess {
            api: WorkerApi::connect(&endpoint, identity).await?,
            consumer: self.clone(),
            job,
            machine,
        })
    }

    /// Returns the named machine, or the only one that has the job.
    ///
    /// # Errors
    /// No machine is named, and none or several have the job.
    pub async fn machine_of(&self, job: JobId, named: Option<u64>) -> Result<u64, ConsumerError> {
        if let Some(machine) = named {
            return Ok(machine);
        }
        match &self.client.assignments(job).await?[..] {
            [(machine, _)] => Ok(*machine),
            [] => Err(ConsumerError::NoMachine { job }),
            several => {
                let machines: Vec<_> = several.iter().map(|(machine, _)| machine.to_string()).collect();
                Err(ConsumerError::SeveralMachines {
                    machines: machines.join(", "),
                })
            }
        }
    }
}

impl JobAccess {
    /// Gets a token.
    ///
    /// # Errors
    /// The worker refuses it, as to an account that neither ordered the job nor is a delegate.
    pub async fn log_in(&self) -> Result<OwnerSession, ConsumerError> {
        Ok(self.api.log_in(self.job, &self.consumer.keypair).await?)
    }

    /// Ends a token. One that cannot be ended ends by itself within an hour.
    pub async fn log_out(&self, session: OwnerSession) {
        let _ = session.log_out().await;
    }

    /// Returns the number of the job.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// Returns the number of the machine.
    pub fn machine(&self) -> u64 {
        self.machine
    }

    /// Returns the URL of the job at its worker. Requests to it need a token.
    pub fn job_url(&self) -> String {
        format!("{}/v1/jobs/{}", self.api.url(), self.job)
    }

    /// Returns the hash of the machine's result, if the chain has it at present.
    pub(super) async fn result_on_chain(&self) -> Result<Option<[u8; 32]>, ConsumerError> {
        let client = &self.consumer.client;
        let assignment = client.assignment(self.job, self.machine).await?;
        Ok(assignment.and_then(|assignment| match assignment.state {
            AssignmentState::Verifying { result_hash, .. }
            | AssignmentState::Revealed { result_hash, .. } => Some(result_hash.0),
            _ => None,
        }))
    }

    /// Begins to follow the log of the job's container until its end.
    ///
    /// # Errors
    /// As for [`Self::log_in`].
    pub async fn follow_logs(&self, query: LogQuery) -> Result<LogStream, ConsumerError> {
        LogStream::begin(self.clone(), query).await
    }

    /// Runs a command in the job's container, whose profile must be `interactive`, and returns what it wrote.
    ///
    /// # Errors
    /// The worker refuses, or the command writes more than
    /// [`MAX_EXEC_OUTPUT_BYTES`](crate::worker_api::MAX_EXEC_OUTPUT_BYTES).
    pub async fn exec(&self, command: &[String], input: &[u8]) -> Result<ExecOutput, ConsumerError> {
        let session = self.log_in().await?;
        let output = session.exec(command, input).await;
        self.log_out(session).await;
        Ok(output?)
    }

    /// Returns the job's published ports; none if it does not run.
    ///
    /// # Errors
    /// The worker refuses, or does not answer.
    pub async fn ports(&self) -> Result<Vec<PortAddress>, ConsumerError> {
        let session = self.log_in().await?;
        let ports: Result<Vec<JobPort>, WorkerApiError> = session.ports().await;
        let addresses = ports.map(|ports| {
            ports
                .into_iter()
                .map(|port| PortAddress::of(port, &session))
                .collect()
        });
        self.log_out(session).await;
        Ok(addresses?)
    }
}

//! Results that the machine itself vouches for.
//!
//! Fresh evidence of a processor's TEE proves that the software there is on the allow-list, and that it alone
//! has the secret part of the machine's worker key. So its word needs no second opinion:
//! the result stands at once, and nobody can reject it. The evidence has to be fresh when the machine gets
//! the task and when it gives the result; in between it may end and be renewed. A machine that does not renew
//! it in the task's time has no result, as if nothing had come.
//!
//! *The statement has a signature of its own*, though the worker key also signs the transaction that carries
//! it. A TEE guards against its own host, and all that it knows of the chain comes from a node that the host
//! may run:
//!
//! - That node can show it an order of another image under this job's number. So what is signed says which
//!   image was run, and by which manifest; the chain compares them with its order.
//! - That node's metadata says what the bytes of a transaction mean. The layout of the statement is fixed,
//!   and is a part of what was measured.
//! - An account may let others act for it (as proxies do). None of them can sign with its key.

use alloc::vec::Vec;

use assay_primitives::{
    attestation::{AttestedKeys, AttestedSigners},
    clock::ActiveClock,
    job::ResultStatement,
    machine::MachineId,
};
use polkadot_sdk::{
    frame_support::ensure,
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_core::H256,
    sp_runtime::{
        DispatchError, DispatchResult,
        traits::{Verify, Zero},
    },
};

use crate::{Config, Error, Event, JobId, JobKind, JobRecordOf, Outcome, Pallet, book::OpenAssignment};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_submit_attested_result(
        worker: &T::AccountId,
        job_id: JobId,
        result_hash: H256,
        signature: &T::StatementSignature,
    ) -> DispatchResult {
        let (open, keys) = Self::check_attested_result(worker, job_id, result_hash, signature)?;
        Self::deposit_event(Event::ResultAttested {
            job: job_id,
            machine: open.machine,
            result_hash,
            worker_key: keys.worker_key,
            evidence_until_s: keys.until_s,
        });
        open.end_run(T::Clock::now_ms(), Outcome::Completed)?.save()
    }

    /// Returns the assignment of a worker's machine, and the keys of its evidence, if it may give the result
    /// of its attested task now by this statement.
    pub(crate) fn check_attested_result(
        worker: &T::AccountId,
        job_id: JobId,
        result_hash: H256,
        signature: &T::StatementSignature,
    ) -> Result<(OpenAssignment<T>, AttestedKeys<T::AccountId>), DispatchError> {
        let open = OpenAssignment::<T>::load_of_worker(worker, job_id)?;
        ensure!(open.job.kind != JobKind::Service, Error::<T>::NotTask);
        ensure!(open.job.kind.is_attested(), Error::<T>::OtherVerification);
        open.running()?;
        let keys = T::AttestedSigners::attested_keys(open.machine)
            .filter(|keys| keys.worker_key == *worker)
            .ok_or(Error::<T>::EvidenceEnded)?;
        let message = Self::statement_of_result(job_id, open.machine, &open.job, result_hash);
        ensure!(
            signature.verify(message.as_slice(), worker),
            Error::<T>::BadStatement
        );
        Ok((open, keys))
    }

    /// Returns true unless the job needs an attested machine and this one is not.
    pub(crate) fn may_run(job: &JobRecordOf<T>, machine: MachineId) -> bool {
        !job.kind.is_attested() || T::AttestedSigners::attested_keys(machine).is_some()
    }

    /// Returns the bytes that a machine's worker key signs for its result to be this one.
    pub(crate) fn statement_of_result(
        job_id: JobId,
        machine: MachineId,
        job: &JobRecordOf<T>,
        result_hash: H256,
    ) -> Vec<u8> {
        let genesis_hash = frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::zero());
        let statement = ResultStatement {
            job: job_id,
            machine,
            image_digest: job.image_digest.0,
            manifest_hash: job.manifest.hash().0,
            result_hash: result_hash.0,
        };
        statement.message(genesis_hash.as_ref())
    }
}

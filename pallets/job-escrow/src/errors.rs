//! Errors of the pallet: why a call was refused, and what to do about it.

use polkadot_sdk::frame_support::pallet_macros::pallet_section;

/// The section that the pallet imports.
#[pallet_section]
mod errors {
    /// Why a call was refused.
    #[pallet::error]
    pub enum Error<T> {
        /// There is no open job of this identifier.
        NoSuchJob,
        /// The machine has no part in the job.
        NoSuchAssignment,
        /// Only the job's consumer may do this.
        NotConsumer,
        /// Only the worker key of a machine may do this.
        NotWorker,
        /// Only the machine's provider or its worker key may do this.
        NotProvider,
        /// The job or the machine's part in it is not in a state in which this can be done.
        WrongState,
        /// A running task cannot be closed by its consumer: it ends with its result or with its time.
        TaskRunning,
        /// A service gives no result.
        NotTask,
        /// A task ends with its result.
        NotService,
        /// The task's results are verified in another way.
        OtherVerification,
        /// The deadline has not passed yet.
        TooEarly,
        /// The deadline has passed.
        TooLate,
        /// The highest price agreed to is below the machine's ask. An extension has the price of the order:
        /// where the ask rose above it, order anew.
        PriceTooLow,
        /// The machine takes nothing more: it drains, is suspended or has retired. Order anew from another
        /// one.
        NotExtendable,
        /// The machine gave a place of this order back, and gets none of it any more.
        GaveItBack,
        /// The floor of the price is above its maximum.
        FloorAboveMaximum,
        /// The order would be open for no time, for too long, or for less time than its price rises.
        BadOpenTime,
        /// The duration is shorter or longer than allowed.
        BadDuration,
        /// At least one slot must be ordered.
        NoSlots,
        /// No machine is ordered, or more than a job may have, or another number than the quorum has
        /// replicas.
        BadNodes,
        /// The quorum's threshold is not more than half of its replicas, or more than all of them.
        BadQuorum,
        /// The consumer's window, or the run of a task that a quorum verifies, is longer than allowed.
        VerificationTooLong,
        /// The task is for attested machines, and this one has no fresh evidence of its processor's TEE for
        /// its present keys: choose one that the market shows with a TEE, or have the machine submit evidence
        /// first.
        NotAttested,
        /// The chain cannot verify proofs of computations yet.
        ProofNotSupported,
        /// The requirements are such that no machine could meet them.
        BadRequirements,
        /// The machine does not meet the order's requirements; the market's `explain` says which.
        NotEligible,
        /// The machine has a part in the job already.
        AlreadyAssigned,
        /// A machine of the same provider has a part in the quorum already.
        ProviderNotDistinct,
        /// The order has no open place.
        NoOpenPlace,
        /// The manifest is longer than allowed.
        ManifestTooLarge,
        /// The preimage store has no manifest of this hash and length.
        ManifestMissing,
        /// The manifest is public: there is nothing to deliver.
        ManifestIsPublic,
        /// The result and the salt are not what the machine committed to.
        CommitmentMismatch,
        /// Nothing can be paid that was not paid before.
        NothingDue,
        /// The machine's evidence ended before its result, or is bound to other keys: submit new evidence for
        /// its present keys, and then the result again, while the task's time lasts.
        EvidenceEnded,
        /// The worker key did not sign this statement: it has to be of this chain, job, machine and result,
        /// and of the image and the manifest that were ordered.
        BadStatement,
    }
}

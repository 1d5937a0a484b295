//! Calls of the pallet: each checks its origin and hands over to the `do_*` function that has the rules.

use assay_primitives::machine::MachineInspect;
use polkadot_sdk::{
    frame_support::pallet_macros::pallet_section,
    frame_system::{ensure_signed, pallet_prelude::OriginFor},
};

use crate::{Config, Pallet};

impl<T: Config> Pallet<T> {
    /// Returns true if a worker key signed and `check` accepts the call now. Such a call succeeds, moves the
    /// machine's assignment a step on, and cannot be repeated. It costs no fee, which a machine may not have.
    pub(crate) fn is_from_worker(origin: &OriginFor<T>, check: impl Fn(&T::AccountId) -> bool) -> bool {
        ensure_signed(origin.clone())
            .is_ok_and(|who| T::Machines::machine_of_worker(&who).is_some() && check(&who))
    }
}

/// The section that the pallet imports.
#[pallet_section]
mod calls {
    use assay_primitives::market::MAX_NODES;

    use crate::{
        AuctionTerms, ChosenMachines, DeclineReason, JobOrder,
        types::{MAX_REPLICAS, PlaceCheck, Settled},
    };

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Orders a job for machines of the consumer's choice, each at its ask, and holds the most it can
        /// cost.
        ///
        /// Note a public manifest in the preimage store first, best in the same batch. A sealed one has to
        /// reach each worker in the start window.
        ///
        /// # Origin
        /// Signed by the consumer, who pays.
        ///
        /// # Errors
        /// - What is wrong with the order: [`Error::NoSlots`], [`Error::BadNodes`], [`Error::BadDuration`],
        ///   [`Error::BadQuorum`], [`Error::VerificationTooLong`], [`Error::ProofNotSupported`],
        ///   [`Error::BadRequirements`], [`Error::ManifestTooLarge`], [`Error::ManifestMissing`].
        /// - What is wrong with a machine: [`Error::NotEligible`], [`Error::NotAttested`],
        ///   [`Error::PriceTooLow`], [`Error::AlreadyAssigned`], [`Error::ProviderNotDistinct`], and what the
        ///   registry says.
        /// - What the currency says where the consumer has too little.
        ///
        /// # Events
        /// [`Event::MachineAssigned`] for each machine, [`Event::JobOrdered`].
        #[pallet::call_index(0)]
        #[pallet::weight(if order.needs_evidence() {
            T::WeightInfo::deploy_attested(machines.len() as u32)
        } else {
            T::WeightInfo::deploy(machines.len() as u32)
        })]
        pub fn deploy(origin: OriginFor<T>, order: JobOrder, machines: ChosenMachines) -> DispatchResult {
            let consumer = ensure_signed(origin)?;
            Self::do_deploy(consumer, order, machines)
        }

        /// Starts a job, and with it the meter. The escrow above the machine's price goes back.
        ///
        /// # Origin
        /// Signed by the worker key of a machine that has the job.
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::TooLate`]: the time to start is over.
        ///
        /// # Events
        /// [`Event::JobStarted`]; [`Event::EscrowReturned`] where something was.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::start())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, job: &JobId| -> bool {
            Pallet::<T>::is_from_worker(origin, |worker| Pallet::<T>::check_start(worker, *job).is_ok())
        })]
        pub fn start(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_start(&worker, job)
        }

        /// Gives a task's result, which stops the meter and frees the machine; the consumer's window opens.
        ///
        /// # Origin
        /// Signed by the worker key of a machine that runs the task.
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::NotTask`], [`Error::OtherVerification`]: a quorum wants a commitment first, and an
        ///   attested task a signature.
        /// - [`Error::TooLate`]: the task's time is over.
        ///
        /// # Events
        /// [`Event::ResultSubmitted`].
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::submit_result())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, job: &JobId, _: &H256| -> bool {
            Pallet::<T>::is_from_worker(origin, |worker| Pallet::<T>::check_result(worker, *job).is_ok())
        })]
        pub fn submit_result(origin: OriginFor<T>, job: JobId, result_hash: H256) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_submit_result(&worker, job, result_hash)
        }

        /// Accepts a task's result, so that [`Pallet::settle`] pays it.
        ///
        /// # Origin
        /// Signed by the consumer.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotConsumer`], [`Error::NoSuchAssignment`].
        /// - [`Error::WrongState`]: there is no result, or it was accepted before.
        ///
        /// # Events
        /// [`Event::AssignmentEnded`], [`Event::EscrowReturned`].
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::accept())]
        pub fn accept(origin: OriginFor<T>, job: JobId, machine: MachineId) -> DispatchResult {
            let consumer = ensure_signed(origin)?;
            Self::do_accept(&consumer, job, machine)
        }

        /// Ends a job early: cancels open places and machines that have not started, and ends a service's
        /// run.
        ///
        /// A machine that has not started is paid for the time for which it was reserved. What runs of a task
        /// is left alone.
        ///
        /// # Origin
        /// Signed by the consumer.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotConsumer`].
        /// - [`Error::TaskRunning`]: all that is left is a task that runs, which ends with its result or with
        ///   its time.
        /// - [`Error::WrongState`]: the job ended before.
        ///
        /// # Events
        /// [`Event::PlacesCancelled`], [`Event::AssignmentEnded`] and [`Event::AssignmentClosed`] for what
        /// there was; [`Event::EscrowReturned`]; [`Event::JobClosed`] where nothing is left to be paid.
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::close(MAX_NODES.into()))]
        pub fn close(origin: OriginFor<T>, job: JobId) -> DispatchResultWithPostInfo {
            let consumer = ensure_signed(origin)?;
            let nodes = Self::do_close(&consumer, job)?;
            Ok(Some(T::WeightInfo::close(nodes)).into())
        }

        /// Judges closed epochs of a machine's part in a job and pays what may be paid; accepts for a
        /// consumer that let its window pass.
        ///
        /// # Origin
        /// Signed by anybody. Pays a bounty where it judges as many epochs as one call may, pays the last of
        /// it, or accepts.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::NothingDue`]: no epoch was closed since the last time.
        /// - [`Error::TooEarly`]: the consumer may still look at the result.
        ///
        /// # Events
        /// [`Event::PaymentSettled`] where something was paid; [`Event::AssignmentClosed`] and
        /// [`Event::JobClosed`] with the last of it; [`Event::BountyPaid`].
        #[pallet::call_index(5)]
        #[pallet::weight(Settled::max_weight::<T>())]
        pub fn settle(origin: OriginFor<T>, job: JobId, machine: MachineId) -> DispatchResultWithPostInfo {
            let caller = ensure_signed(origin)?;
            let settled = Self::do_settle(&caller, job, machine)?;
            Ok(Some(settled.weight::<T::WeightInfo>()).into())
        }

        /// Ends a machine's part in a job whose time to start or to run is over.
        ///
        /// A machine that did not start is out of the market until it speaks; where machines may still accept
        /// the order, its place is open again. A service that ran is paid by [`Pallet::settle`]; a task
        /// without a result is not paid.
        ///
        /// # Origin
        /// Signed by anybody. Pays a bounty, unless the place is open again.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::TooEarly`].
        /// - [`Error::WrongState`]: it ended, or a result waits to be judged.
        ///
        /// # Events
        /// [`Event::AssignmentEnded`], [`Event::AssignmentClosed`] or [`Event::PlaceReopened`];
        /// [`Event::EscrowReturned`], [`Event::BountyPaid`], [`Event::JobClosed`].
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::expire().max(T::WeightInfo::expire_reopening()))]
        pub fn expire(origin: OriginFor<T>, job: JobId, machine: MachineId) -> DispatchResult {
            let caller = ensure_signed(origin)?;
            Self::do_expire(&caller, job, machine)
        }

        /// Gives up a running job: a service is paid up to now but for the hold-back, which its consumer
        /// gets, a task not at all.
        ///
        /// # Origin
        /// Signed by the machine's provider, or by its worker key, which pays no fee.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::NotProvider`].
        /// - [`Error::WrongState`]: it does not run. [`Error::TooLate`]: its time is over; expire it.
        ///
        /// # Events
        /// [`Event::AssignmentEnded`] or [`Event::AssignmentClosed`]; [`Event::EscrowReturned`].
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::abandon())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, job: &JobId, machine: &MachineId| -> bool {
            Pallet::<T>::is_from_worker(origin, |worker| {
                Pallet::<T>::check_abandon(worker, *job, *machine).is_ok()
            })
        })]
        pub fn abandon(origin: OriginFor<T>, job: JobId, machine: MachineId) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_abandon(&who, job, machine)
        }

        /// Orders a job for whichever eligible machines take the offered price, and holds the most it can
        /// cost.
        ///
        /// # Origin
        /// Signed by the consumer, who pays.
        ///
        /// # Errors
        /// - What is wrong with the order, as for [`Pallet::deploy`].
        /// - What is wrong with the auction: [`Error::FloorAboveMaximum`], [`Error::BadOpenTime`].
        /// - What the currency says where the consumer has too little.
        ///
        /// # Events
        /// [`Event::JobOrdered`].
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::request())]
        pub fn request(
            origin: OriginFor<T>,
            order: JobOrder,
            nodes: u8,
            auction: AuctionTerms,
        ) -> DispatchResult {
            let consumer = ensure_signed(origin)?;
            Self::do_request(consumer, order, nodes, auction)
        }

        /// Takes a place of an open order for a machine, at the price that is offered now.
        ///
        /// # Origin
        /// Signed by the machine's provider or its worker key.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotProvider`], [`Error::NoOpenPlace`].
        /// - [`Error::TooLate`]: the order is not open any more. [`Error::GaveItBack`].
        /// - [`Error::AlreadyAssigned`], [`Error::ProviderNotDistinct`], [`Error::NotEligible`],
        ///   [`Error::NotAttested`], and what the registry says.
        ///
        /// # Events
        /// [`Event::MachineAssigned`].
        #[pallet::call_index(9)]
        #[pallet::weight(PlaceCheck::max_weight::<T::WeightInfo>())]
        pub fn accept_request(
            origin: OriginFor<T>,
            job: JobId,
            machine: MachineId,
        ) -> DispatchResultWithPostInfo {
            let who = ensure_signed(origin)?;
            let check = Self::do_accept_request(&who, job, machine)?;
            Ok(Some(check.weight::<T::WeightInfo>()).into())
        }

        /// Declines a job before it started, which costs the machine nothing: not even a fee, where its
        /// worker key signs.
        ///
        /// Where machines may still accept the order, its place is open again at the price at which the
        /// machine took it; the machine gets no place of the order any more. Where they may not, the place is
        /// closed, and after a fifth of the start window the time for which the machine was reserved goes to
        /// the treasury. A place whose manifest was not delivered is closed in any case, and a bounty of the
        /// consumer's goes to the treasury too.
        ///
        /// # Origin
        /// Signed by the machine's provider or its worker key.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::NotProvider`],
        ///   [`Error::WrongState`].
        /// - [`Error::TooLate`]: the time to start is over. [`Error::ManifestIsPublic`].
        ///
        /// # Events
        /// [`Event::PlaceReopened`], or [`Event::AssignmentClosed`] and [`Event::EscrowReturned`], and
        /// [`Event::EarningsForfeited`] for reserved time.
        #[pallet::call_index(10)]
        #[pallet::weight(match reason {
            DeclineReason::CannotRun => T::WeightInfo::decline().max(T::WeightInfo::decline_reopening()),
            DeclineReason::NotDelivered => T::WeightInfo::decline_undelivered(),
        })]
        #[pallet::feeless_if(
            |origin: &OriginFor<T>, job: &JobId, machine: &MachineId, reason: &DeclineReason| -> bool {
                Pallet::<T>::is_from_worker(origin, |worker| {
                    Pallet::<T>::check_decline(worker, *job, *machine, *reason).is_ok()
                })
            }
        )]
        pub fn decline(
            origin: OriginFor<T>,
            job: JobId,
            machine: MachineId,
            reason: DeclineReason,
        ) -> DispatchResultWithPostInfo {
            let who = ensure_signed(origin)?;
            Self::do_decline(&who, job, machine, reason)?;
            Ok(Pays::No.into())
        }

        /// Cancels the open places of an order that machines cannot accept any more.
        ///
        /// # Origin
        /// Signed by anybody. Pays a bounty.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NoOpenPlace`], [`Error::TooEarly`].
        ///
        /// # Events
        /// [`Event::PlacesCancelled`], [`Event::EscrowReturned`], [`Event::BountyPaid`]; [`Event::JobClosed`]
        /// where no machine has it.
        #[pallet::call_index(11)]
        #[pallet::weight(T::WeightInfo::expire_request())]
        pub fn expire_request(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            let caller = ensure_signed(origin)?;
            Self::do_expire_request(&caller, job)
        }

        /// Extends the time that machines may run a job and holds its price; those whose time is over are
        /// left alone.
        ///
        /// The price of each machine stays: it has to be at least the machine's ask of the moment.
        ///
        /// # Origin
        /// Signed by the consumer.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotConsumer`].
        /// - [`Error::BadDuration`]: by nothing, or beyond the longest time.
        /// - [`Error::TooLate`]: every machine's time is over.
        /// - [`Error::PriceTooLow`], [`Error::NotExtendable`]: a machine's ask rose, or it takes nothing
        ///   more.
        /// - What the currency says where the consumer has too little.
        ///
        /// # Events
        /// [`Event::JobExtended`].
        #[pallet::call_index(12)]
        #[pallet::weight(T::WeightInfo::top_up(MAX_NODES.into()))]
        pub fn top_up(origin: OriginFor<T>, job: JobId, additional_ms: Millis) -> DispatchResultWithPostInfo {
            let consumer = ensure_signed(origin)?;
            let nodes = Self::do_top_up(&consumer, job, additional_ms)?;
            Ok(Some(T::WeightInfo::top_up(nodes)).into())
        }

        /// Rejects a task's result: its earnings go to the treasury, and the rest back to the consumer.
        /// Or disputes that a service's workload ended by itself: its hold-back goes to the treasury.
        ///
        /// # Origin
        /// Signed by the consumer.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`], [`Error::NotConsumer`], [`Error::NoSuchAssignment`].
        /// - [`Error::WrongState`]: there is no result, or it was accepted.
        /// - [`Error::TooLate`]: the window is over, or the last epoch of the service judged; silence
        ///   accepted.
        ///
        /// # Events
        /// [`Event::EarningsForfeited`], [`Event::EscrowReturned`], [`Event::AssignmentClosed`];
        /// [`Event::EndDisputed`] for a service.
        #[pallet::call_index(13)]
        #[pallet::weight(T::WeightInfo::reject())]
        pub fn reject(origin: OriginFor<T>, job: JobId, machine: MachineId) -> DispatchResult {
            let consumer = ensure_signed(origin)?;
            Self::do_reject(&consumer, job, machine)
        }

        /// Commits a replica to its result and stops its meter.
        ///
        /// # Origin
        /// Signed by the worker key of a machine that runs the task.
        ///
        /// # Parameters
        /// - `commitment`: Blake2-256 of [`assay_primitives::job::result_message`].
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::NotTask`], [`Error::OtherVerification`]: no quorum verifies.
        /// - [`Error::TooLate`]: the task's time is over.
        ///
        /// # Events
        /// [`Event::ResultCommitted`]; [`Event::RevealOpened`] where it was the last.
        #[pallet::call_index(14)]
        #[pallet::weight(T::WeightInfo::commit_result())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, job: &JobId, _: &H256| -> bool {
            Pallet::<T>::is_from_worker(origin, |worker| Pallet::<T>::check_commit(worker, *job).is_ok())
        })]
        pub fn commit_result(origin: OriginFor<T>, job: JobId, commitment: H256) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_commit_result(&worker, job, commitment)
        }

        /// Reveals what a replica committed to.
        ///
        /// # Origin
        /// Signed by the worker key of the machine.
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::TooEarly`]: others may still commit. [`Error::TooLate`]: the time to reveal is over.
        /// - [`Error::CommitmentMismatch`].
        ///
        /// # Events
        /// [`Event::ResultRevealed`].
        #[pallet::call_index(15)]
        #[pallet::weight(T::WeightInfo::reveal_result())]
        #[pallet::feeless_if(
            |origin: &OriginFor<T>, job: &JobId, result_hash: &H256, salt: &[u8; 32]| -> bool {
                Pallet::<T>::is_from_worker(origin, |worker| {
                    Pallet::<T>::check_reveal(worker, *job, *result_hash, *salt).is_ok()
                })
            }
        )]
        pub fn reveal_result(
            origin: OriginFor<T>,
            job: JobId,
            result_hash: H256,
            salt: [u8; 32],
        ) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_reveal_result(&worker, job, result_hash, salt)
        }

        /// Counts the replicas once all have revealed, or the time to do so is over.
        ///
        /// # Origin
        /// Signed by anybody. Pays a bounty.
        ///
        /// # Errors
        /// - [`Error::NoSuchJob`].
        /// - [`Error::WrongState`]: no quorum is to be decided. [`Error::TooEarly`]: results may still come.
        ///
        /// # Events
        /// [`Event::QuorumResolved`]; [`Event::AssignmentEnded`] for who is paid, [`Event::AssignmentClosed`]
        /// for who is not; [`Event::EscrowReturned`], [`Event::EarningsForfeited`], [`Event::BountyPaid`].
        #[pallet::call_index(16)]
        #[pallet::weight(T::WeightInfo::resolve(MAX_REPLICAS.into()))]
        pub fn resolve(origin: OriginFor<T>, job: JobId) -> DispatchResultWithPostInfo {
            let caller = ensure_signed(origin)?;
            let replicas = Self::do_resolve(&caller, job)?;
            Ok(Some(T::WeightInfo::resolve(replicas)).into())
        }

        /// Gives the result of an attested task, which stands: the machine is free, and [`Pallet::settle`]
        /// pays it.
        ///
        /// # Origin
        /// Signed by the worker key of a machine that runs the task, to which fresh evidence of the machine's
        /// TEE is bound.
        ///
        /// # Parameters
        /// - `signature`: by the same key, of [`assay_primitives::job::ResultStatement::message`] with what
        ///   was run.
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`], [`Error::WrongState`].
        /// - [`Error::NotTask`], [`Error::OtherVerification`]: somebody else verifies.
        /// - [`Error::TooLate`]: the task's time is over.
        /// - [`Error::EvidenceEnded`]: renew it, and give the result again.
        /// - [`Error::BadStatement`].
        ///
        /// # Events
        /// [`Event::ResultAttested`], [`Event::AssignmentEnded`]; [`Event::EscrowReturned`] where something
        /// was.
        #[pallet::call_index(17)]
        #[pallet::weight(T::WeightInfo::submit_attested_result())]
        #[pallet::feeless_if(
            |origin: &OriginFor<T>, job: &JobId, result_hash: &H256, signature: &T::StatementSignature| -> bool {
                Pallet::<T>::is_from_worker(origin, |worker| {
                    Pallet::<T>::check_attested_result(worker, *job, *result_hash, signature).is_ok()
                })
            }
        )]
        pub fn submit_attested_result(
            origin: OriginFor<T>,
            job: JobId,
            result_hash: H256,
            signature: T::StatementSignature,
        ) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_submit_attested_result(&worker, job, result_hash, &signature)
        }

        /// Ends a service whose workload ended by itself: it is paid for its time. Its consumer may dispute
        /// it by [`Pallet::reject`] until the last epoch that it ran in is judged.
        ///
        /// # Origin
        /// Signed by the worker key of a machine that runs the service. Costs no fee.
        ///
        /// # Errors
        /// - [`Error::NotWorker`], [`Error::NoSuchJob`], [`Error::NoSuchAssignment`].
        /// - [`Error::NotService`]: a task ends with its result.
        /// - [`Error::WrongState`]: it does not run. [`Error::TooLate`]: its time is over; expire it.
        ///
        /// # Events
        /// [`Event::AssignmentEnded`]; [`Event::EscrowReturned`] where something was.
        #[pallet::call_index(18)]
        #[pallet::weight(T::WeightInfo::report_workload_ended())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, job: &JobId| -> bool {
            Pallet::<T>::is_from_worker(origin, |worker| Pallet::<T>::check_workload_ended(worker, *job).is_ok())
        })]
        pub fn report_workload_ended(origin: OriginFor<T>, job: JobId) -> DispatchResult {
            let worker = ensure_signed(origin)?;
            Self::do_report_workload_ended(&worker, job)
        }
    }
}

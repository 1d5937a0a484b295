//! Runtime APIs of the market, of a validator's duty to watch it and of the hardware challenge.

// The macro gives each function two parameters more than it declares.
#![allow(clippy::too_many_arguments)]
// The macro writes items that cannot be documented here, and repeats the bounds of a parameter that an
// argument has.
#![allow(missing_docs, clippy::multiple_bound_locations)]

use alloc::vec::Vec;

use assay_proof::SlotProof;
use codec::Codec;
use polkadot_sdk::{sp_api, sp_core::sr25519};

use crate::{
    availability::{AssignmentPage, AvailabilityId, AvailabilitySignature, ReportDue},
    challenge::{ChallengeDue, MissedPage, RoundId, RoundRef},
    clock::EpochIndex,
    job::{JobId, OpenOrderPage},
    machine::MachineId,
    market::{Cursor, FindError, MachineView, Mismatch, OfferPage, Requirements},
};

sp_api::decl_runtime_apis! {
    /// Searches the market. Answers from the state of one block and changes nothing.
    pub trait ComputeMarketApi<AccountId: Codec> {
        /// Machines that meet the requirements, best first: by uptime, then by price, then by identifier.
        ///
        /// `limit`: most offers wanted, 1 to 100. `cursor`: [`OfferPage::next`] of the page before. The work
        /// for a page is bounded in networks of any size; see [`OfferPage::next`].
        fn find_machines(
            requirements: Requirements,
            limit: u32,
            cursor: Option<Cursor>,
        ) -> Result<OfferPage<AccountId>, FindError>;

        /// One machine; `None` where there is no such machine.
        fn machine(machine: MachineId) -> Option<MachineView<AccountId>>;

        /// Requirements that a machine does not meet: none when it would be offered. `None` where there is no
        /// such machine.
        fn explain(
            requirements: Requirements,
            machine: MachineId,
        ) -> Result<Option<Vec<Mismatch>>, FindError>;
    }

    /// Shows machines the work that waits for them. Answers from the state of one block and changes nothing.
    pub trait JobMarketApi {
        /// Open orders that a machine meets and whose price has reached its ask.
        ///
        /// `after`: [`OpenOrderPage::next`] of the page before. `limit`: most orders wanted, 1 to
        /// [`MAX_PAGE_ORDERS`](crate::job::MAX_PAGE_ORDERS); a number out of that range counts as its nearest
        /// end.
        fn open_orders(machine: MachineId, after: Option<JobId>, limit: u32) -> OpenOrderPage;
    }

    /// Duties of validators to watch and to report. Answers from the state of one block and changes nothing.
    pub trait AvailabilityApi<AccountId: Codec> {
        /// Machines that the holder of a key of type `aval` has to watch in the current epoch, page by page;
        /// `None` where it is no validator of this epoch.
        ///
        /// `from`: [`AssignmentPage::next`] of the page before, and zero for the first. `limit`: number of
        /// machines to look at, 1 to [`MAX_ASSIGNMENT_PAGE`](crate::availability::MAX_ASSIGNMENT_PAGE); a
        /// number out of that range counts as its nearest end.
        fn assignments(key: AvailabilityId, from: MachineId, limit: u32) -> Option<AssignmentPage<AccountId>>;

        /// The validator that holds the key in this session; `None` where nobody does.
        fn validator_of(key: AvailabilityId) -> Option<AccountId>;

        /// The report, or the next part of it, that the holder of the key owes now; `None` where it sent all
        /// of it, or was no validator then.
        fn report_due(key: AvailabilityId) -> Option<ReportDue>;

        /// The transaction that carries a report, to be given to a transaction pool; `None` where it lists
        /// too many failures. The pool decides whether the report is valid.
        fn report_transaction(
            epoch: EpochIndex,
            validator_index: u32,
            after: Option<MachineId>,
            failures: Vec<MachineId>,
            signature: AvailabilitySignature,
        ) -> Option<Block::Extrinsic>;
    }

    /// Due answers of workers, and the machines that owed an answer and gave none. Answers from the state of
    /// one block and changes nothing.
    ///
    /// Transactions are general ones, that no account signs or pays for, to be given to a transaction pool,
    /// which decides whether they are valid. `None` where they hold more than a transaction may.
    pub trait HardwareChallengeApi {
        /// Answers that the machine owes or may give now, the oldest round first.
        fn challenge_due(machine: MachineId) -> Vec<ChallengeDue>;

        /// Rounds whose missing answers can be reported now, the oldest first.
        fn reportable_rounds() -> Vec<RoundId>;

        /// Machines that owed an answer in a round and gave none, page by page; `None` where nothing of the
        /// round can be reported now.
        ///
        /// `from`: [`MissedPage::next`] of the page before, and zero for the first. `limit`: number of
        /// machines to look at, 1 to [`MAX_MISSED_PAGE`](crate::challenge::MAX_MISSED_PAGE); a number out of
        /// that range counts as its nearest end.
        fn missed(round: RoundId, from: MachineId, limit: u32) -> Option<MissedPage>;

        /// The transaction by which a machine commits its roots.
        fn commit_transaction(
            round: RoundRef,
            machine: MachineId,
            roots: Vec<[u8; 32]>,
            signature: sr25519::Signature,
        ) -> Option<Block::Extrinsic>;

        /// The transaction by which a machine proves some of its slots.
        fn prove_transaction(
            round: RoundRef,
            opening_randomness: [u8; 32],
            machine: MachineId,
            first_slot: u8,
            proofs: Vec<SlotProof>,
            signature: sr25519::Signature,
        ) -> Option<Block::Extrinsic>;

        /// The transaction that reports a missing answer.
        fn report_missed_transaction(round: RoundId, machine: MachineId) -> Option<Block::Extrinsic>;
    }
}

//! What the node may ask the runtime about the market, and about a validator's duty to watch it.

// The macro gives each function two parameters more than it declares.
#![allow(clippy::too_many_arguments)]
// The macro writes items that cannot be documented here, and repeats the bounds of a parameter that an argument has.
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
        /// `limit`: most offers wanted, 1 to 100. `cursor`: where the page before ended. The work for a page is
        /// bounded whatever the size of the network; see [`OfferPage::next`].
        fn find_machines(
            requirements: Requirements,
            limit: u32,
            cursor: Option<Cursor>,
        ) -> Result<OfferPage<AccountId>, FindError>;

        /// One machine; `None` where there is no such machine.
        fn machine(machine: MachineId) -> Option<MachineView<AccountId>>;

        /// What a machine does not meet of the requirements: nothing when it would be offered. `None` where there
        /// is no such machine.
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
        /// [`MAX_PAGE_ORDERS`](crate::job::MAX_PAGE_ORDERS); what is out of that range is taken as its nearest end.
        fn open_orders(machine: MachineId, after: Option<JobId>, limit: u32) -> OpenOrderPage;
    }

    /// What a validator has to watch and to report. Answers from the state of one block and changes nothing.
    pub trait AvailabilityApi<AccountId: Codec> {
        /// What the holder of a key of type `aval` has to watch in the current epoch, page by page; `None` where it is
        /// no validator of this epoch.
        ///
        /// `from`: where the page before said that the next one starts, and zero for the first. `limit`: how many
        /// machines to look at, 1 to [`MAX_ASSIGNMENT_PAGE`](crate::availability::MAX_ASSIGNMENT_PAGE); what is out of
        /// that range is taken as its nearest end.
        fn assignments(key: AvailabilityId, from: MachineId, limit: u32) -> Option<AssignmentPage<AccountId>>;

        /// The validator that holds the key in this session; `None` where nobody does.
        fn validator_of(key: AvailabilityId) -> Option<AccountId>;

        /// The report, or the next part of it, that the holder of the key owes now; `None` where it sent all
        /// of it, or was no validator then.
        fn report_due(key: AvailabilityId) -> Option<ReportDue>;

        /// The transaction that carries a report, to be given to a transaction pool; `None` where it lists too many
        /// failures. Whether the report is any good is for the pool to say.
        fn report_transaction(
            epoch: EpochIndex,
            validator_index: u32,
            after: Option<MachineId>,
            failures: Vec<MachineId>,
            signature: AvailabilitySignature,
        ) -> Option<Block::Extrinsic>;
    }

    /// What a worker has to answer, and who failed to. Answers from the state of one block and changes nothing.
    ///
    /// Transactions are general ones, that no account signs or pays for, to be given to a transaction pool; whether
    /// they are any good is for the pool to say. `None` where they hold more than a transaction may.
    pub trait HardwareChallengeApi {
        /// What the machine owes or may answer now, the oldest round first.
        fn challenge_due(machine: MachineId) -> Vec<ChallengeDue>;

        /// Rounds whose missing answers can be reported now, the oldest first.
        fn reportable_rounds() -> Vec<RoundId>;

        /// Machines that owed an answer in a round and gave none, page by page; `None` where nothing of the round can
        /// be reported now.
        ///
        /// `from`: where the page before said that the next one starts, and zero for the first. `limit`: how many
        /// machines to look at, 1 to [`MAX_MISSED_PAGE`](crate::challenge::MAX_MISSED_PAGE); what is out of that
        /// range is taken as its nearest end.
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

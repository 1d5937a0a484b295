//! What the node may ask the runtime about the market.

// The macro writes items that cannot be documented here.
#![allow(missing_docs)]

use alloc::vec::Vec;

use codec::Codec;
use polkadot_sdk::sp_api;

use crate::{
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
}

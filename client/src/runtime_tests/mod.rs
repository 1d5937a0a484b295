//! This client against the metadata of the runtime of the same source tree: a field that a pallet renamed is
//! found here, not by its first user.

#![allow(clippy::unwrap_used)]

mod calls;
mod events;
mod records;

use assay_runtime::Runtime;
use polkadot_sdk::sp_io::TestExternalities;
use subxt::{
    Metadata,
    ext::codec::{Decode, Encode},
};

/// Enough zeros for any record: they decode as zero numbers, empty lists and the first variant of each enum.
const ZEROS: [u8; 1_024] = [0; 1_024];

fn metadata() -> Metadata {
    // Some constants are parameters that governance can change, so they are read from state; an empty one
    // does.
    let opaque = TestExternalities::default()
        .execute_with(|| Runtime::metadata_at_version(15))
        .unwrap();
    let bytes = opaque.encode();
    // The runtime hands it out as opaque bytes: a list of bytes around the metadata itself.
    let inner = Vec::<u8>::decode(&mut &bytes[..]).unwrap();
    Metadata::decode(&mut &inner[..]).unwrap()
}

//! Storage that calls use, held against what their weights declare.
//!
//! `weights.rs` lists for each benchmark the items that it read and wrote, and how many keys of each at most.
//! A benchmark that does not take a call's dearest path lists too few. So [`Metered`] runs a call, counts the
//! keys of each item that it read and wrote, and fails where they are more than the call's benchmarks list
//! together.
//!
//! The account of a call's signer does not count: its nonce is checked and its fee paid before.
//!
//! Only items of pallets that are the same here as in the runtime can be compared: those of the escrow, the
//! balances and the preimages. What the registry, the clock and the uptime source cost is measured with the
//! real ones alone.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use assay_primitives::{clock::Millis, job::JobId, machine::MachineId};
use polkadot_sdk::{
    frame_support::{dispatch::DispatchResultWithPostInfo, storage::storage_prefix},
    frame_system::{self, ensure_signed},
    sp_core::H256,
    sp_externalities::{
        Error, Extension, ExtensionStore, Externalities, MultiRemovalResults, set_and_run_with_externalities,
        with_externalities,
    },
    sp_runtime::DispatchResult,
    sp_storage::{ChildInfo, StateVersion, TrackedStorageKey},
};

use crate::{
    AuctionTerms, ChosenMachines, DeclineReason, JobOrder,
    mock::{AccountId, RuntimeOrigin, Test},
};

/// Keys of one item: read, written.
type Keys = (u32, u32);

/// Items that are compared, as `weights.rs` names them, with the pallet and the item that their prefix is
/// made of.
const ITEMS: [(&str, &str); 12] = [
    ("JobEscrow", "Jobs"),
    ("JobEscrow", "Requests"),
    ("JobEscrow", "Refusals"),
    ("JobEscrow", "Assignments"),
    ("JobEscrow", "NextJobId"),
    ("JobEscrow", "MachineJobs"),
    ("JobEscrow", "ConsumerJobs"),
    ("System", "Account"),
    ("Balances", "Holds"),
    ("Preimage", "StatusFor"),
    ("Preimage", "RequestStatusFor"),
    ("Preimage", "PreimageFor"),
];

/// Keys of each item that each benchmark read and wrote.
static DECLARED: LazyLock<BTreeMap<String, BTreeMap<String, Keys>>> =
    LazyLock::new(|| declared(include_str!("../weights.rs")));

/// Reads the comments of a weights file: those before a function are its own.
fn declared(weights: &str) -> BTreeMap<String, BTreeMap<String, Keys>> {
    let mut functions = BTreeMap::new();
    let mut items = BTreeMap::new();
    for line in weights.lines().map(str::trim) {
        if let Some(item) = line.strip_prefix("/// Storage: `") {
            let (name, keys) = item.split_once("` (r:").expect("a storage item has its reads");
            let (reads, writes) = keys.split_once(" w:").expect("and its writes");
            let number = |text: &str| text.trim_end_matches(')').parse().expect("they are numbers");
            items.insert(name.to_owned(), (number(reads), number(writes)));
        } else if let Some(function) = line.strip_prefix("fn ") {
            let (name, _) = function.split_once('(').expect("a function has parameters");
            let items = std::mem::take(&mut items);
            // The trait's declarations have no comments.
            if !items.is_empty() {
                functions.insert(name.to_owned(), items);
            }
        }
    }
    functions
}

/// Externalities that note which keys are read and written.
struct Counting<'a> {
    inner: &'a mut dyn Externalities,
    read: BTreeSet<Vec<u8>>,
    written: BTreeSet<Vec<u8>>,
}

impl Counting<'_> {
    /// Keys of an item that were read and written.
    fn keys_of(&self, pallet: &str, item: &str) -> Keys {
        let prefix = storage_prefix(pallet.as_bytes(), item.as_bytes());
        let count = |keys: &BTreeSet<Vec<u8>>| keys.iter().filter(|key| key.starts_with(&prefix)).count();
        (count(&self.read) as u32, count(&self.written) as u32)
    }

    /// Takes a key out of the count.
    fn forget(&mut self, key: &[u8]) {
        self.read.remove(key);
        self.written.remove(key);
    }
}

impl ExtensionStore for Counting<'_> {
    fn extension_by_type_id(&mut self, type_id: TypeId) -> Option<&mut dyn Any> {
        self.inner.extension_by_type_id(type_id)
    }

    fn register_extension_with_type_id(
        &mut self,
        type_id: TypeId,
        extension: Box<dyn Extension>,
    ) -> Result<(), Error> {
        self.inner.register_extension_with_type_id(type_id, extension)
    }

    fn deregister_extension_by_type_id(&mut self, type_id: TypeId) -> Result<(), Error> {
        self.inner.deregister_extension_by_type_id(type_id)
    }
}

impl Externalities for Counting<'_> {
    fn set_offchain_storage(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.inner.set_offchain_storage(key, value);
    }

    fn storage(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.read.insert(key.to_vec());
        self.inner.storage(key)
    }

    fn storage_hash(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.read.insert(key.to_vec());
        self.inner.storage_hash(key)
    }

    fn child_storage_hash(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        self.inner.child_storage_hash(child, key)
    }

    fn child_storage(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        self.inner.child_storage(child, key)
    }

    fn next_storage_key(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.inner.next_storage_key(key)
    }

    fn next_child_storage_key(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        self.inner.next_child_storage_key(child, key)
    }

    fn kill_child_storage(
        &mut self,
        child: &ChildInfo,
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        self.inner.kill_child_storage(child, limit, cursor)
    }

    fn clear_prefix(
        &mut self,
        prefix: &[u8],
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        self.inner.clear_prefix(prefix, limit, cursor)
    }

    fn clear_child_prefix(
        &mut self,
        child: &ChildInfo,
        prefix: &[u8],
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        self.inner.clear_child_prefix(child, prefix, limit, cursor)
    }

    fn place_storage(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.written.insert(key.clone());
        self.inner.place_storage(key, value);
    }

    fn place_child_storage(&mut self, child: &ChildInfo, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.inner.place_child_storage(child, key, value);
    }

    fn storage_root(&mut self, version: StateVersion) -> Vec<u8> {
        self.inner.storage_root(version)
    }

    fn child_storage_root(&mut self, child: &ChildInfo, version: StateVersion) -> Vec<u8> {
        self.inner.child_storage_root(child, version)
    }

    fn storage_append(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.written.insert(key.clone());
        self.inner.storage_append(key, value);
    }

    fn storage_start_transaction(&mut self) {
        self.inner.storage_start_transaction();
    }

    fn storage_rollback_transaction(&mut self) -> Result<(), ()> {
        self.inner.storage_rollback_transaction()
    }

    fn storage_commit_transaction(&mut self) -> Result<(), ()> {
        self.inner.storage_commit_transaction()
    }

    fn wipe(&mut self) {
        self.inner.wipe();
    }

    fn commit(&mut self) {
        self.inner.commit();
    }

    fn read_write_count(&self) -> (u32, u32, u32, u32) {
        self.inner.read_write_count()
    }

    fn reset_read_write_count(&mut self) {
        self.inner.reset_read_write_count();
    }

    fn get_whitelist(&self) -> Vec<TrackedStorageKey> {
        self.inner.get_whitelist()
    }

    fn set_whitelist(&mut self, new: Vec<TrackedStorageKey>) {
        self.inner.set_whitelist(new);
    }

    fn get_read_and_written_keys(&self) -> Vec<(Vec<u8>, u32, u32, bool)> {
        self.inner.get_read_and_written_keys()
    }
}

/// Runs a call of this signer and fails where it used more keys of an item than the benchmarks of these names
/// list together.
fn within<Done, Cause>(
    benchmarks: &[&str],
    signer: Option<AccountId>,
    call: impl FnOnce() -> Result<Done, Cause>,
) -> Result<Done, Cause> {
    let used = |counting: &Counting| ITEMS.map(|(pallet, item)| counting.keys_of(pallet, item));
    let (result, used) = with_externalities(|inner| {
        let mut counting = Counting {
            inner,
            read: BTreeSet::new(),
            written: BTreeSet::new(),
        };
        let result = set_and_run_with_externalities(&mut counting, call);
        if let Some(signer) = signer {
            counting.forget(&frame_system::Account::<Test>::hashed_key_for(signer));
        }
        (result, used(&counting))
    })
    .expect("tests run in externalities");
    // A call that fails ends early, and its weight covers what it would have done.
    if result.is_ok() {
        for ((pallet, item), (reads, writes)) in ITEMS.iter().zip(used) {
            let (most_reads, most_writes) = listed(benchmarks, &format!("{pallet}::{item}"));
            assert!(
                reads <= most_reads && writes <= most_writes,
                "{benchmarks:?} list r:{most_reads} w:{most_writes} of {pallet}::{item}, and a call used \
                 r:{reads} w:{writes}"
            );
        }
    }
    result
}

/// Most keys of an item that one of the benchmarks read, and wrote.
fn listed(benchmarks: &[&str], item: &str) -> Keys {
    benchmarks
        .iter()
        .map(|name| {
            DECLARED
                .get(*name)
                .unwrap_or_else(|| panic!("weights.rs has no {name}"))
        })
        .filter_map(|items| items.get(item))
        .fold((0, 0), |most, keys| (most.0.max(keys.0), most.1.max(keys.1)))
}

/// The pallet's calls, each held against its benchmarks. What is no call is the pallet's own.
pub(super) struct Metered;

macro_rules! metered {
    ($($call:ident($($argument:ident: $type:ty),*) -> $result:ty, $benchmarks:expr;)*) => {
        impl Metered {
            $(pub(super) fn $call(origin: RuntimeOrigin, $($argument: $type),*) -> $result {
                let signer = ensure_signed(origin.clone()).ok();
                within(&$benchmarks, signer, || crate::Pallet::<Test>::$call(origin, $($argument),*))
            })*
        }
    };
}

metered! {
    deploy(order: JobOrder, machines: ChosenMachines) -> DispatchResult, ["deploy", "deploy_attested"];
    start(job: JobId) -> DispatchResult, ["start"];
    submit_result(job: JobId, result: H256) -> DispatchResult, ["submit_result"];
    accept(job: JobId, machine: MachineId) -> DispatchResult, ["accept"];
    close(job: JobId) -> DispatchResultWithPostInfo, ["close"];
    settle(job: JobId, machine: MachineId) -> DispatchResultWithPostInfo, ["settle", "settle_last"];
    expire(job: JobId, machine: MachineId) -> DispatchResult, ["expire", "expire_reopening"];
    abandon(job: JobId, machine: MachineId) -> DispatchResult, ["abandon"];
    request(order: JobOrder, nodes: u8, auction: AuctionTerms) -> DispatchResult, ["request"];
    accept_request(job: JobId, machine: MachineId) -> DispatchResultWithPostInfo,
        ["accept_request", "accept_attested_request"];
    decline(job: JobId, machine: MachineId, reason: DeclineReason) -> DispatchResultWithPostInfo,
        match reason {
            DeclineReason::CannotRun => vec!["decline", "decline_reopening"],
            DeclineReason::NotDelivered => vec!["decline_undelivered"],
        };
    expire_request(job: JobId) -> DispatchResult, ["expire_request"];
    top_up(job: JobId, additional_ms: Millis) -> DispatchResultWithPostInfo, ["top_up"];
    reject(job: JobId, machine: MachineId) -> DispatchResult, ["reject"];
    commit_result(job: JobId, commitment: H256) -> DispatchResult, ["commit_result"];
    reveal_result(job: JobId, result: H256, salt: [u8; 32]) -> DispatchResult, ["reveal_result"];
    resolve(job: JobId) -> DispatchResultWithPostInfo, ["resolve"];
    submit_attested_result(
        job: JobId,
        result: H256,
        signature: <Test as crate::Config>::StatementSignature
    ) -> DispatchResult, ["submit_attested_result"];
    report_workload_ended(job: JobId) -> DispatchResult, ["report_workload_ended"];
}

#[test]
fn comments_of_weights_are_read() {
    let weights = [
        "pub trait WeightInfo {",
        "    fn pay(n: u32) -> Weight;",
        "    fn look() -> Weight;",
        "}",
        "impl<T: frame_system::Config> WeightInfo for SubstrateWeight<T> {",
        "    /// Storage: `System::Account` (r:64 w:3)",
        "    /// Proof: `System::Account` (`max_values`: None, `max_size`: Some(128), mode: `MaxEncodedLen`)",
        "    /// Storage: `JobEscrow::Jobs` (r:0 w:1)",
        "    fn pay(n: u32, ) -> Weight {",
        "    /// Storage: `JobEscrow::Jobs` (r:1 w:0)",
        "    fn look() -> Weight {",
    ];
    let read = declared(&weights.join("\n"));
    assert_eq!(read["pay"]["System::Account"], (64, 3));
    assert_eq!(read["pay"]["JobEscrow::Jobs"], (0, 1));
    assert_eq!(read["look"].len(), 1);
    assert_eq!(read["look"]["JobEscrow::Jobs"], (1, 0));
}

#[test]
#[should_panic(expected = "[\"start\"] list r:0 w:0 of JobEscrow::NextJobId, and a call used r:1 w:1")]
fn a_write_that_no_benchmark_lists_is_seen() {
    crate::mock::ExtBuilder::default().build_and_execute(|| {
        let _ = within(&["start"], None, || {
            crate::NextJobId::<Test>::mutate(|next| *next += 1);
            Ok::<(), ()>(())
        });
    });
}

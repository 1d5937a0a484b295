//! Constructors of the calls that Assay's programs make.
//!
//! A [`Call`] names a pallet, a call and its arguments by name. The client encodes it at its submission, by
//! the chain's own metadata, and fails if the chain has no argument of that name and shape.

mod attestation;

use assay_primitives::{
    clock::Millis,
    machine::{HardwareClassId, MachineId, SuspensionCause},
    market::Requirements,
    money::Balance,
};
use subxt::{
    dynamic::Value,
    ext::scale_value::{Composite, ValueDef, Variant},
    tx::DynamicPayload,
};

pub use assay_primitives::{emission::MAX_EPOCHS_PER_PAYOUT, machine::MAX_PROVIDER_NAME_BYTES};
pub(crate) use attestation::intel_tee;
pub use attestation::{submit_collateral, submit_evidence, withdraw_evidence};

use crate::types::{
    AccountId, AuctionTerms, JobId, JobKind, Location, Manifest, RewardDestination, SlashId, Verification,
};

/// A call that can be submitted or put into a batch.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    pallet: &'static str,
    name: &'static str,
    arguments: Vec<(&'static str, Value<()>)>,
}

impl Call {
    fn new<const N: usize>(
        pallet: &'static str,
        name: &'static str,
        arguments: [(&'static str, Value<()>); N],
    ) -> Self {
        Self {
            pallet,
            name,
            arguments: arguments.into(),
        }
    }

    /// Returns the pallet's name in the runtime.
    pub fn pallet(&self) -> &str {
        self.pallet
    }

    /// Returns the call's name in the pallet.
    pub fn name(&self) -> &str {
        self.name
    }

    fn fields(self) -> Composite<()> {
        Composite::Named(
            self.arguments
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// Returns the call as an argument of another call.
    fn into_value(self) -> Value<()> {
        let pallet = self.pallet;
        let call = Value {
            context: (),
            value: ValueDef::Variant(Variant {
                name: self.name.to_owned(),
                values: self.fields(),
            }),
        };
        Value::unnamed_variant(pallet, [call])
    }

    pub(crate) fn into_payload(self) -> DynamicPayload<Composite<()>> {
        let (pallet, name) = (self.pallet, self.name);
        subxt::dynamic::tx(pallet, name, self.fields())
    }
}

fn number(value: impl Into<u128>) -> Value<()> {
    Value::u128(value.into())
}

fn record<const N: usize>(fields: [(&'static str, Value<()>); N]) -> Value<()> {
    Value::named_composite(fields)
}

fn unit_variant(name: &str) -> Value<()> {
    Value::unnamed_variant(name, [])
}

fn address(account: &AccountId) -> Value<()> {
    Value::unnamed_variant("Id", [Value::from_bytes(account.0)])
}

fn slash_id(id: SlashId) -> Value<()> {
    record([("due_epoch", number(id.due_epoch)), ("index", number(id.index))])
}

/// Registration of a machine by its provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineRegistration {
    /// Worker key, which acts for this one machine.
    pub worker_key: AccountId,
    /// X25519 key that consumers encrypt to.
    pub sealing_key: [u8; 32],
    /// Entry of the hardware class catalogue.
    pub class: HardwareClassId,
    /// Slots the machine offers.
    pub slots: u8,
    /// CPU cores.
    pub cpu_cores: u16,
    /// Main memory in MiB.
    pub ram_mib: u32,
    /// Disk space in GiB.
    pub disk_gib: u32,
    /// Upload bandwidth in Mbit/s.
    pub upload_mbps: u32,
    /// Download bandwidth in Mbit/s.
    pub download_mbps: u32,
    /// Location of the machine.
    pub location: Location,
    /// Region code: `a` to `z`, digits and `-`, such as `us-east`.
    pub region: String,
    /// URL of the worker's HTTP API.
    pub endpoint: String,
    /// Plancks per slot-hour.
    pub ask: Balance,
}

impl MachineRegistration {
    fn into_value(self) -> Value<()> {
        record([
            ("worker_key", Value::from_bytes(self.worker_key.0)),
            ("sealing_key", Value::from_bytes(self.sealing_key)),
            ("class", number(self.class)),
            ("slots", number(self.slots)),
            ("cpu_cores", number(self.cpu_cores)),
            ("ram_mib", number(self.ram_mib)),
            ("disk_gib", number(self.disk_gib)),
            ("upload_mbps", number(self.upload_mbps)),
            ("download_mbps", number(self.download_mbps)),
            ("location", location(&self.location)),
            ("region", Value::from_bytes(self.region)),
            ("endpoint", Value::from_bytes(self.endpoint)),
            ("ask", number(self.ask)),
        ])
    }
}

/// Order of a consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobOrder {
    /// Service or task.
    pub kind: JobKind,
    /// Manifest of the job; a public one must be noted as a preimage before or in the same batch.
    pub manifest: Manifest,
    /// sha256 digest of the image's manifest.
    pub image_digest: [u8; 32],
    /// Requirements for every machine; slots, price and nodes are those of the order.
    pub requirements: Requirements,
    /// Slots to lease on each machine.
    pub slots: u8,
    /// Longest run, in milliseconds of active time.
    pub max_duration_ms: Millis,
    /// Most to be paid, in plancks per slot-hour.
    pub max_price_per_slot_hour: Balance,
}

impl JobOrder {
    fn into_value(self) -> Value<()> {
        record([
            ("kind", kind(self.kind)),
            ("manifest", manifest(self.manifest)),
            ("image_digest", Value::from_bytes(self.image_digest)),
            ("requirements", requirements(self.requirements)),
            ("slots", number(self.slots)),
            ("max_duration_ms", number(self.max_duration_ms)),
            ("max_price_per_slot_hour", number(self.max_price_per_slot_hour)),
        ])
    }
}

fn kind(kind: JobKind) -> Value<()> {
    let verification = match kind {
        JobKind::Service => return unit_variant("Service"),
        JobKind::Task { verification } => match verification {
            Verification::Consumer { window_ms } => {
                Value::named_variant("Consumer", [("window_ms", number(window_ms))])
            }
            Verification::Quorum { replicas, threshold } => Value::named_variant(
                "Quorum",
                [("replicas", number(replicas)), ("threshold", number(threshold))],
            ),
            Verification::Attested => unit_variant("Attested"),
            Verification::Proof { verifying_key } => {
                Value::named_variant("Proof", [("verifying_key", Value::from_bytes(verifying_key))])
            }
        },
    };
    Value::named_variant("Task", [("verification", verification)])
}

fn manifest(manifest: Manifest) -> Value<()> {
    match manifest {
        Manifest::Public(manifest) => Value::unnamed_variant(
            "Public",
            [record([
                ("hash", Value::from_bytes(manifest.hash)),
                ("length_bytes", number(manifest.length_bytes)),
            ])],
        ),
        Manifest::Sealed { hash } => Value::named_variant("Sealed", [("hash", Value::from_bytes(hash))]),
    }
}

fn location(location: &Location) -> Value<()> {
    record([
        (
            "latitude_microdegrees",
            Value::i128(location.latitude_microdegrees.into()),
        ),
        (
            "longitude_microdegrees",
            Value::i128(location.longitude_microdegrees.into()),
        ),
    ])
}

fn optional(value: Option<Value<()>>) -> Value<()> {
    match value {
        Some(value) => Value::unnamed_variant("Some", [value]),
        None => unit_variant("None"),
    }
}

fn requirements(wanted: Requirements) -> Value<()> {
    let near = wanted.near.map(|near| {
        record([
            ("center", location(&near.center)),
            ("within_km", number(near.within_km)),
        ])
    });
    record([
        ("gpu_type", optional(wanted.gpu_type.map(Value::from_bytes))),
        ("min_vram_mib", number(wanted.min_vram_mib)),
        ("min_cuda_cores", number(wanted.min_cuda_cores)),
        ("min_compute_score", number(wanted.min_compute_score)),
        ("min_cpu_cores", number(wanted.min_cpu_cores)),
        ("min_ram_mib", number(wanted.min_ram_mib)),
        ("min_disk_gib", number(wanted.min_disk_gib)),
        ("min_upload_mbps", number(wanted.min_upload_mbps)),
        ("min_download_mbps", number(wanted.min_download_mbps)),
        ("region", optional(wanted.region.map(Value::from_bytes))),
        ("near", optional(near)),
        (
            "max_price_per_slot_hour",
            optional(wanted.max_price_per_slot_hour.map(number)),
        ),
        ("tee", optional(wanted.tee.map(attestation::tee_kind))),
        ("min_uptime_ppm", number(wanted.min_uptime_ppm)),
        ("min_free_slots", number(wanted.min_free_slots)),
        ("min_nodes", number(wanted.min_nodes)),
    ])
}

/// Makes the signer a provider. Its name has at most [`MAX_PROVIDER_NAME_BYTES`].
pub fn register_provider(name: &str) -> Call {
    Call::new(
        "ProviderRegistry",
        "register_provider",
        [("name", Value::from_bytes(name))],
    )
}

/// Ends the signer's time as a provider and returns the deposit. Fails while it has machines.
pub fn deregister_provider() -> Call {
    Call::new("ProviderRegistry", "deregister_provider", [])
}

/// Registers a machine of the signer. `worker_signature` is [`crate::keys::sign_worker_key`]'s.
pub fn register_machine(registration: MachineRegistration, worker_signature: [u8; 64]) -> Call {
    Call::new(
        "ProviderRegistry",
        "register_machine",
        [
            ("registration", registration.into_value()),
            ("worker_signature", Value::from_bytes(worker_signature)),
        ],
    )
}

/// Changes a machine's ask, in plancks per slot-hour; running jobs keep their price.
pub fn update_ask(machine: MachineId, ask: Balance) -> Call {
    Call::new(
        "ProviderRegistry",
        "update_ask",
        [("machine", number(machine)), ("ask", number(ask))],
    )
}

/// Changes the URL of a machine's worker.
pub fn update_endpoint(machine: MachineId, endpoint: &str) -> Call {
    Call::new(
        "ProviderRegistry",
        "update_endpoint",
        [
            ("machine", number(machine)),
            ("endpoint", Value::from_bytes(endpoint)),
        ],
    )
}

/// Gives a machine other keys; jobs go on. `worker_signature` is [`crate::keys::sign_worker_key`]'s, made
/// with the new worker key, which may be the present one.
pub fn rotate_keys(
    machine: MachineId,
    worker_key: &AccountId,
    sealing_key: [u8; 32],
    worker_signature: [u8; 64],
) -> Call {
    Call::new(
        "ProviderRegistry",
        "rotate_keys",
        [
            ("machine", number(machine)),
            ("worker_key", Value::from_bytes(worker_key.0)),
            ("sealing_key", Value::from_bytes(sealing_key)),
            ("worker_signature", Value::from_bytes(worker_signature)),
        ],
    )
}

/// Suspends a machine; signed by its provider or its worker.
pub fn suspend_self(machine: MachineId, cause: SuspensionCause) -> Call {
    let cause = match cause {
        SuspensionCause::Maintenance => "Maintenance",
        SuspensionCause::Heat => "Heat",
        SuspensionCause::Fault => "Fault",
    };
    Call::new(
        "ProviderRegistry",
        "suspend_self",
        [("machine", number(machine)), ("cause", unit_variant(cause))],
    )
}

/// Drains an active machine, which finishes its jobs and takes no new ones; signed by its provider or its
/// worker.
pub fn drain(machine: MachineId) -> Call {
    Call::new("ProviderRegistry", "drain", [("machine", number(machine))])
}

/// Ends [`suspend_self`] and [`drain`], and a suspension for an offence once its slash was applied or
/// cancelled; signed by the machine's provider or its worker.
pub fn resume(machine: MachineId) -> Call {
    Call::new("ProviderRegistry", "resume", [("machine", number(machine))])
}

/// Retires a machine.
pub fn retire(machine: MachineId) -> Call {
    Call::new("ProviderRegistry", "retire", [("machine", number(machine))])
}

/// Brings a machine up to its class's present terms in the catalogue; any account may sign.
pub fn refresh_machine(machine: MachineId) -> Call {
    Call::new(
        "ProviderRegistry",
        "refresh_machine",
        [("machine", number(machine))],
    )
}

/// Bonds plancks for a machine for the first time.
pub fn bond(machine: MachineId, amount: Balance) -> Call {
    Call::new(
        "ProviderStaking",
        "bond",
        [("machine", number(machine)), ("amount", number(amount))],
    )
}

/// Adds plancks to a machine's bond.
pub fn bond_extra(machine: MachineId, amount: Balance) -> Call {
    Call::new(
        "ProviderStaking",
        "bond_extra",
        [("machine", number(machine)), ("amount", number(amount))],
    )
}

/// Begins to unbond plancks of a machine's bond.
pub fn unbond(machine: MachineId, amount: Balance) -> Call {
    Call::new(
        "ProviderStaking",
        "unbond",
        [("machine", number(machine)), ("amount", number(amount))],
    )
}

/// Releases unbonded plancks whose waiting time is over.
pub fn withdraw(machine: MachineId) -> Call {
    Call::new("ProviderStaking", "withdraw", [("machine", number(machine))])
}

/// Sets whether a machine's rewards are bonded.
pub fn set_auto_stake(machine: MachineId, auto_stake: bool) -> Call {
    Call::new(
        "ProviderStaking",
        "set_auto_stake",
        [
            ("machine", number(machine)),
            ("auto_stake", Value::bool(auto_stake)),
        ],
    )
}

/// Applies a slash that is due; any account may sign.
pub fn apply_slash(id: SlashId) -> Call {
    Call::new("ProviderStaking", "apply_slash", [("id", slash_id(id))])
}

/// Pays the whole outstanding part of a slash; signed by any account, which pays it.
pub fn pay_debt(machine: MachineId, id: SlashId) -> Call {
    Call::new(
        "ProviderStaking",
        "pay_debt",
        [("machine", number(machine)), ("id", slash_id(id))],
    )
}

/// Orders a job of machines, each at its ask, and puts its highest cost into escrow.
pub fn deploy(order: JobOrder, machines: Vec<MachineId>) -> Call {
    let machines = Value::unnamed_composite(machines.into_iter().map(number));
    Call::new(
        "JobEscrow",
        "deploy",
        [("order", order.into_value()), ("machines", machines)],
    )
}

/// Orders a job by auction, for machines that accept the offered price, and puts its highest cost into
/// escrow.
pub fn request(order: JobOrder, nodes: u8, auction: AuctionTerms) -> Call {
    let auction = record([
        (
            "floor_price_per_slot_hour",
            number(auction.floor_price_per_slot_hour),
        ),
        ("rise_ms", number(auction.rise_ms)),
        ("open_ms", number(auction.open_ms)),
    ]);
    Call::new(
        "JobEscrow",
        "request",
        [
            ("order", order.into_value()),
            ("nodes", number(nodes)),
            ("auction", auction),
        ],
    )
}

/// Accepts an open place of an order for a machine; signed by its worker key or its provider.
pub fn accept_request(job: JobId, machine: MachineId) -> Call {
    Call::new(
        "JobEscrow",
        "accept_request",
        [("job", number(job)), ("machine", number(machine))],
    )
}

/// Reports that the container runs; signed by the worker key.
pub fn start(job: JobId) -> Call {
    Call::new("JobEscrow", "start", [("job", number(job))])
}

/// Declines a job before its start; signed by the worker key or the provider. `not_delivered` gives the
/// missing sealed manifest as the reason.
pub fn decline(job: JobId, machine: MachineId, not_delivered: bool) -> Call {
    let reason = unit_variant(if not_delivered {
        "NotDelivered"
    } else {
        "CannotRun"
    });
    Call::new(
        "JobEscrow",
        "decline",
        [
            ("job", number(job)),
            ("machine", number(machine)),
            ("reason", reason),
        ],
    )
}

/// Submits the hash of a task's result; signed by the worker key.
pub fn submit_result(job: JobId, result_hash: [u8; 32]) -> Call {
    Call::new(
        "JobEscrow",
        "submit_result",
        [
            ("job", number(job)),
            ("result_hash", Value::from_bytes(result_hash)),
        ],
    )
}

/// Submits the hash of an attested task's result, which stands at once; signed by the worker key. `signature`
/// is the same key's, of [`assay_primitives::job::ResultStatement::message`].
pub fn submit_attested_result(job: JobId, result_hash: [u8; 32], signature: [u8; 64]) -> Call {
    let signature = Value::unnamed_variant("Sr25519", [Value::from_bytes(signature)]);
    Call::new(
        "JobEscrow",
        "submit_attested_result",
        [
            ("job", number(job)),
            ("result_hash", Value::from_bytes(result_hash)),
            ("signature", signature),
        ],
    )
}

/// Commits a replica to its result; signed by the worker key.
pub fn commit_result(job: JobId, commitment: [u8; 32]) -> Call {
    Call::new(
        "JobEscrow",
        "commit_result",
        [
            ("job", number(job)),
            ("commitment", Value::from_bytes(commitment)),
        ],
    )
}

/// Reveals the result that a replica committed to; signed by the worker key.
pub fn reveal_result(job: JobId, result_hash: [u8; 32], salt: [u8; 32]) -> Call {
    Call::new(
        "JobEscrow",
        "reveal_result",
        [
            ("job", number(job)),
            ("result_hash", Value::from_bytes(result_hash)),
            ("salt", Value::from_bytes(salt)),
        ],
    )
}

/// Counts the results of a task's replicas; any account may sign.
pub fn resolve(job: JobId) -> Call {
    Call::new("JobEscrow", "resolve", [("job", number(job))])
}

/// Accepts a task's result, so that it can be paid; signed by the consumer.
pub fn accept(job: JobId, machine: MachineId) -> Call {
    Call::new(
        "JobEscrow",
        "accept",
        [("job", number(job)), ("machine", number(machine))],
    )
}

/// Rejects a task's result: the machine's earnings go to the treasury; signed by the consumer.
pub fn reject(job: JobId, machine: MachineId) -> Call {
    Call::new(
        "JobEscrow",
        "reject",
        [("job", number(job)), ("machine", number(machine))],
    )
}

/// Cancels a job that has not started or ends a running service; signed by the consumer.
pub fn close(job: JobId) -> Call {
    Call::new("JobEscrow", "close", [("job", number(job))])
}

/// Extends the longest run of a job; signed by the consumer.
pub fn top_up(job: JobId, additional_ms: Millis) -> Call {
    Call::new(
        "JobEscrow",
        "top_up",
        [("job", number(job)), ("additional_ms", number(additional_ms))],
    )
}

/// Settles an assignment; any account may sign.
pub fn settle(job: JobId, machine: MachineId) -> Call {
    Call::new(
        "JobEscrow",
        "settle",
        [("job", number(job)), ("machine", number(machine))],
    )
}

/// Ends an assignment whose time is over; any account may sign.
pub fn expire(job: JobId, machine: MachineId) -> Call {
    Call::new(
        "JobEscrow",
        "expire",
        [("job", number(job)), ("machine", number(machine))],
    )
}

/// Cancels the open places of an order that machines cannot accept any more; any account may sign.
pub fn expire_request(job: JobId) -> Call {
    Call::new("JobEscrow", "expire_request", [("job", number(job))])
}

/// Abandons a running job; signed by the worker key or the provider.
pub fn abandon(job: JobId, machine: MachineId) -> Call {
    Call::new(
        "JobEscrow",
        "abandon",
        [("job", number(job)), ("machine", number(machine))],
    )
}

/// Reports that the workload of a running service ended by itself. The service is paid until now, and its end
/// is no offence. Signed by the worker key.
pub fn report_workload_ended(job: JobId) -> Call {
    Call::new("JobEscrow", "report_workload_ended", [("job", number(job))])
}

/// Mints a machine's rewards for its oldest `max_epochs` unpaid epochs, at most [`MAX_EPOCHS_PER_PAYOUT`];
/// any account may sign.
pub fn payout(machine: MachineId, max_epochs: u32) -> Call {
    Call::new(
        "RewardEmission",
        "payout",
        [("machine", number(machine)), ("max_epochs", number(max_epochs))],
    )
}

/// Sets the destination of a machine's rewards; signed by its provider.
pub fn set_reward_destination(machine: MachineId, destination: RewardDestination) -> Call {
    let destination = match destination {
        RewardDestination::Provider => unit_variant("Provider"),
        RewardDestination::Account(account) => {
            Value::unnamed_variant("Account", [Value::from_bytes(account.0)])
        }
        RewardDestination::Ethereum(bytes) => Value::unnamed_variant("Ethereum", [Value::from_bytes(bytes)]),
        RewardDestination::Bond => unit_variant("Bond"),
    };
    Call::new(
        "RewardEmission",
        "set_reward_destination",
        [("machine", number(machine)), ("destination", destination)],
    )
}

/// Notes bytes, such as a job's manifest, as a preimage on chain.
pub fn note_preimage(bytes: &[u8]) -> Call {
    Call::new("Preimage", "note_preimage", [("bytes", Value::from_bytes(bytes))])
}

/// Returns the signer's deposit for bytes that it noted. The chain removes them unless an open job requests
/// them.
pub fn unnote_preimage(hash: [u8; 32]) -> Call {
    Call::new("Preimage", "unnote_preimage", [("hash", Value::from_bytes(hash))])
}

/// Transfers plancks to an account; fails if that would close the signer's own account.
pub fn transfer_keep_alive(to: &AccountId, amount: Balance) -> Call {
    Call::new(
        "Balances",
        "transfer_keep_alive",
        [("dest", address(to)), ("value", number(amount))],
    )
}

/// Batches calls in one transaction; if one fails, none has an effect.
pub fn batch_all(calls: Vec<Call>) -> Call {
    let calls = Value::unnamed_composite(calls.into_iter().map(Call::into_value));
    Call::new("Utility", "batch_all", [("calls", calls)])
}

//! Constructors of the calls that Assay's programs make.
//!
//! A [`Call`] names a pallet, a call and its arguments by name. It is encoded when it is submitted, by the
//! chain's own metadata; an argument that the chain does not know by that name and shape is an error then.

use assay_primitives::{
    clock::Millis,
    machine::{HardwareClassId, MachineId},
    money::Balance,
};
use subxt::{
    dynamic::Value,
    ext::scale_value::{Composite, ValueDef, Variant},
    tx::DynamicPayload,
};

use crate::types::{AccountId, JobId, JobKind, Location, ManifestRef, RewardDestination, SlashId};

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

    /// The pallet's name in the runtime.
    pub fn pallet(&self) -> &str {
        self.pallet
    }

    /// The call's name in the pallet.
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

    /// The call as an argument of another call.
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

/// What a provider says of a machine when it registers it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineRegistration {
    /// The hot key that acts for the machine; serves one machine only.
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
    /// Where it stands.
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
            (
                "location",
                record([
                    (
                        "latitude_microdegrees",
                        Value::i128(self.location.latitude_microdegrees.into()),
                    ),
                    (
                        "longitude_microdegrees",
                        Value::i128(self.location.longitude_microdegrees.into()),
                    ),
                ]),
            ),
            ("region", Value::from_bytes(self.region)),
            ("endpoint", Value::from_bytes(self.endpoint)),
            ("ask", number(self.ask)),
        ])
    }
}

/// What a consumer orders of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobOrder {
    /// The machine to run it.
    pub machine: MachineId,
    /// Slots to lease.
    pub slots: u8,
    /// Service or task.
    pub kind: JobKind,
    /// What to run; must be noted as a preimage before or in the same batch.
    pub manifest: ManifestRef,
    /// sha256 digest of the image's manifest.
    pub image_digest: [u8; 32],
    /// Longest run, in milliseconds of active time.
    pub max_duration_ms: Millis,
    /// Most that the machine may ask, in plancks per slot-hour.
    pub max_price_per_slot_hour: Balance,
}

impl JobOrder {
    fn into_value(self) -> Value<()> {
        record([
            ("machine", number(self.machine)),
            ("slots", number(self.slots)),
            (
                "kind",
                unit_variant(match self.kind {
                    JobKind::Service => "Service",
                    JobKind::Task => "Task",
                }),
            ),
            (
                "manifest",
                record([
                    ("hash", Value::from_bytes(self.manifest.hash)),
                    ("length_bytes", number(self.manifest.length_bytes)),
                ]),
            ),
            ("image_digest", Value::from_bytes(self.image_digest)),
            ("max_duration_ms", number(self.max_duration_ms)),
            ("max_price_per_slot_hour", number(self.max_price_per_slot_hour)),
        ])
    }
}

/// Makes the signer a provider.
pub fn register_provider(name: &str) -> Call {
    Call::new(
        "ProviderRegistry",
        "register_provider",
        [("name", Value::from_bytes(name))],
    )
}

/// Gives up being a provider; the deposit comes back. Needs to have no machines.
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

/// Changes what a machine asks, in plancks per slot-hour; running jobs keep their price.
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

/// Gives a machine other keys; jobs go on. `worker_signature` is [`crate::keys::sign_worker_key`]'s, made with the
/// new worker key, which may be the present one.
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

/// Takes a machine out of the market for a while; signed by its provider or its worker.
pub fn suspend_self(machine: MachineId) -> Call {
    Call::new("ProviderRegistry", "suspend_self", [("machine", number(machine))])
}

/// Takes no more jobs for an active machine, which finishes those it has; signed by its provider or its worker.
pub fn drain(machine: MachineId) -> Call {
    Call::new("ProviderRegistry", "drain", [("machine", number(machine))])
}

/// Ends [`suspend_self`] and [`drain`], and a suspension for an offence once its slash was applied or cancelled;
/// signed by the machine's provider or its worker.
pub fn resume(machine: MachineId) -> Call {
    Call::new("ProviderRegistry", "resume", [("machine", number(machine))])
}

/// Takes a machine out of the market for good.
pub fn retire(machine: MachineId) -> Call {
    Call::new("ProviderRegistry", "retire", [("machine", number(machine))])
}

/// Makes a machine take over what the catalogue says of its class now; signed by anybody.
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

/// Sends plancks of a machine's bond on their way out.
pub fn unbond(machine: MachineId, amount: Balance) -> Call {
    Call::new(
        "ProviderStaking",
        "unbond",
        [("machine", number(machine)), ("amount", number(amount))],
    )
}

/// Releases the plancks of a machine's bond that are due.
pub fn withdraw(machine: MachineId) -> Call {
    Call::new("ProviderStaking", "withdraw", [("machine", number(machine))])
}

/// Says whether a machine's rewards are bonded.
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

/// Applies a slash that is due; signed by anybody.
pub fn apply_slash(id: SlashId) -> Call {
    Call::new("ProviderStaking", "apply_slash", [("id", slash_id(id))])
}

/// Pays the whole of what a slash left outstanding; signed by anybody, who pays it.
pub fn pay_debt(machine: MachineId, id: SlashId) -> Call {
    Call::new(
        "ProviderStaking",
        "pay_debt",
        [("machine", number(machine)), ("id", slash_id(id))],
    )
}

/// Orders a job of a machine and puts its highest cost into escrow.
pub fn deploy(order: JobOrder) -> Call {
    Call::new("JobEscrow", "deploy", [("order", order.into_value())])
}

/// Says that the container runs; signed by the worker key.
pub fn start(job: JobId) -> Call {
    Call::new("JobEscrow", "start", [("job", number(job))])
}

/// Hands in the hash of a task's result; signed by the worker key.
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

/// Accepts a task's result, which pays for it; signed by the consumer.
pub fn accept(job: JobId) -> Call {
    Call::new("JobEscrow", "accept", [("job", number(job))])
}

/// Cancels a job that has not started or ends a running service; signed by the consumer.
pub fn close(job: JobId) -> Call {
    Call::new("JobEscrow", "close", [("job", number(job))])
}

/// Pays what is due of a job; signed by anybody.
pub fn settle(job: JobId) -> Call {
    Call::new("JobEscrow", "settle", [("job", number(job))])
}

/// Ends a job whose time is over; signed by anybody.
pub fn expire(job: JobId) -> Call {
    Call::new("JobEscrow", "expire", [("job", number(job))])
}

/// Gives a job up; signed by the worker key or the provider.
pub fn abandon(job: JobId) -> Call {
    Call::new("JobEscrow", "abandon", [("job", number(job))])
}

/// Mints what a machine earned in its oldest `max_epochs` unpaid epochs; signed by anybody.
pub fn payout(machine: MachineId, max_epochs: u32) -> Call {
    Call::new(
        "RewardEmission",
        "payout",
        [("machine", number(machine)), ("max_epochs", number(max_epochs))],
    )
}

/// Says where a machine's rewards go; signed by its provider.
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

/// Puts bytes, such as a job's manifest, on chain under their hash.
pub fn note_preimage(bytes: &[u8]) -> Call {
    Call::new("Preimage", "note_preimage", [("bytes", Value::from_bytes(bytes))])
}

/// Sends plancks to an account, unless that would close the signer's own.
pub fn transfer_keep_alive(to: &AccountId, amount: Balance) -> Call {
    Call::new(
        "Balances",
        "transfer_keep_alive",
        [("dest", address(to)), ("value", number(amount))],
    )
}

/// All of the calls in one transaction, or none of them.
pub fn batch_all(calls: Vec<Call>) -> Call {
    let calls = Value::unnamed_composite(calls.into_iter().map(Call::into_value));
    Call::new("Utility", "batch_all", [("calls", calls)])
}

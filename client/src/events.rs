//! What happened in a block, typed, and in plain words.

use std::fmt;

use assay_primitives::{
    clock::{EpochIndex, Millis},
    machine::{HardwareClassId, MachineId},
    money::Balance,
};
use scale_decode::{DecodeAsType, error::ErrorKind};
use serde::Serialize;
use subxt::{SubstrateConfig, events::Event};

use crate::{
    error::Error,
    types::{
        AccountId, Diversion, JobId, JobKind, JobOutcome, MachineStatus, RewardDestination, as_decimal,
        as_hex,
    },
    units::format_asy,
};

/// The pallets whose events are [`AssayEvent`]s.
pub const PALLETS: [&str; 5] = [
    "ChainClock",
    "ProviderRegistry",
    "ProviderStaking",
    "JobEscrow",
    "RewardEmission",
];

/// An event of one of Assay's pallets.
///
/// Names are unique across the pallets, so one flat list serves all of them. Displays as a sentence in plain
/// words; in JSON it is one object whose `event` is its name.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum AssayEvent {
    /// An epoch began.
    EpochStarted {
        /// The epoch that began.
        epoch: EpochIndex,
        /// Active time of the block.
        active_time_ms: Millis,
    },
    /// An account became a provider.
    ProviderRegistered {
        /// The account.
        provider: AccountId,
    },
    /// A provider gave up being one.
    ProviderDeregistered {
        /// The account.
        provider: AccountId,
    },
    /// A machine joined.
    MachineRegistered {
        /// The machine.
        machine: MachineId,
        /// Its owner.
        provider: AccountId,
        /// Its hardware class.
        class: HardwareClassId,
        /// The slots it offers.
        slots: u8,
    },
    /// A machine asks another price.
    AskUpdated {
        /// The machine.
        machine: MachineId,
        /// Plancks per slot-hour.
        #[serde(serialize_with = "as_decimal")]
        ask: Balance,
    },
    /// A machine's worker is reached at another URL.
    EndpointUpdated {
        /// The machine.
        machine: MachineId,
    },
    /// A machine's status changed.
    MachineStatusChanged {
        /// The machine.
        machine: MachineId,
        /// What it was.
        from: MachineStatus,
        /// What it is.
        to: MachineStatus,
    },
    /// The record of a retired machine is gone.
    MachineRemoved {
        /// The machine.
        machine: MachineId,
        /// Its owner.
        provider: AccountId,
    },
    /// A machine took over what the catalogue says of its class now.
    MachineTermsUpdated {
        /// The machine.
        machine: MachineId,
        /// Compute score of one slot.
        compute_score: u32,
        /// Plancks to be bonded for each slot.
        #[serde(serialize_with = "as_decimal")]
        stake_per_slot: Balance,
    },
    /// Slots of a machine were taken.
    SlotsLeased {
        /// The machine.
        machine: MachineId,
        /// Slots taken.
        slots: u8,
        /// Slots still free.
        free_slots: u8,
    },
    /// Slots of a machine were given back.
    SlotsReleased {
        /// The machine.
        machine: MachineId,
        /// Slots given back.
        slots: u8,
        /// Slots free now.
        free_slots: u8,
    },
    /// The catalogue of hardware classes changed.
    HardwareClassSet {
        /// The class.
        class: HardwareClassId,
    },
    /// Plancks were bonded for a machine.
    Bonded {
        /// The machine.
        machine: MachineId,
        /// Plancks added.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
        /// Plancks bonded now.
        #[serde(serialize_with = "as_decimal")]
        total: Balance,
    },
    /// Plancks of a bond are on their way out.
    Unbonded {
        /// The machine.
        machine: MachineId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
        /// The epoch from which on they may be withdrawn.
        due_epoch: EpochIndex,
    },
    /// Plancks of a bond came back to the provider.
    Withdrawn {
        /// The machine.
        machine: MachineId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
    },
    /// A provider said whether rewards are bonded.
    AutoStakeSet {
        /// The machine.
        machine: MachineId,
        /// Whether they are.
        auto_stake: bool,
    },
    /// A job was ordered, its cost is in escrow, its slots are leased.
    JobDeployed {
        /// The job.
        job: JobId,
        /// Who pays.
        consumer: AccountId,
        /// Where it runs.
        machine: MachineId,
        /// Slots leased.
        slots: u8,
        /// Service or task.
        kind: JobKind,
        /// Plancks per slot-hour.
        #[serde(serialize_with = "as_decimal")]
        price_per_slot_hour: Balance,
        /// Plancks held.
        #[serde(serialize_with = "as_decimal")]
        escrowed: Balance,
        /// When the worker is late.
        start_deadline_ms: Millis,
    },
    /// The container runs.
    JobStarted {
        /// The job.
        job: JobId,
        /// Where it runs.
        machine: MachineId,
        /// When it started.
        started_at_ms: Millis,
    },
    /// A task's result came in.
    ResultSubmitted {
        /// The job.
        job: JobId,
        /// Where it ran.
        machine: MachineId,
        /// Hash of the result.
        #[serde(serialize_with = "as_hex")]
        result_hash: [u8; 32],
        /// When silence accepts.
        window_ends_ms: Millis,
    },
    /// A part of a job, or all of it, was paid.
    PaymentSettled {
        /// The job.
        job: JobId,
        /// Plancks to the provider.
        #[serde(serialize_with = "as_decimal")]
        provider_amount: Balance,
        /// Protocol fee.
        #[serde(serialize_with = "as_decimal")]
        fee: Balance,
        /// Part of the fee that was burned.
        #[serde(serialize_with = "as_decimal")]
        burned: Balance,
    },
    /// An account could not receive its part of a job's money.
    PaymentDiverted {
        /// The job.
        job: JobId,
        /// Whose part it was.
        recipient: AccountId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
        /// Where they went instead.
        destination: Diversion,
    },
    /// A job ended.
    JobClosed {
        /// The job.
        job: JobId,
        /// Where it ran.
        machine: MachineId,
        /// How it ended.
        outcome: JobOutcome,
        /// Plancks paid in all, fee included.
        #[serde(serialize_with = "as_decimal")]
        paid: Balance,
        /// Plancks that came back to the consumer.
        #[serde(serialize_with = "as_decimal")]
        refunded: Balance,
    },
    /// An epoch's accounts were closed.
    EpochClosed {
        /// The epoch.
        epoch: EpochIndex,
        /// Plancks that can be earned.
        #[serde(serialize_with = "as_decimal")]
        pool: Balance,
        /// Sum of the machines' weights.
        #[serde(serialize_with = "as_decimal")]
        total_weight: u128,
    },
    /// A machine's rewards were minted.
    RewardPaid {
        /// The machine.
        machine: MachineId,
        /// First epoch paid for.
        first_epoch: EpochIndex,
        /// Last epoch paid for.
        last_epoch: EpochIndex,
        /// Plancks minted.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
        /// The account that has them.
        destination: AccountId,
        /// Whether they were put into the machine's bond.
        bonded: bool,
    },
    /// A provider decided where a machine's rewards go.
    RewardDestinationSet {
        /// The machine.
        machine: MachineId,
        /// Where they go from now on.
        destination: RewardDestination,
    },
}

impl AssayEvent {
    /// Reads an event of a block; `None` where it is another pallet's, or one that this client does not know
    /// (yet).
    pub(crate) fn read(
        event: &Event<'_, SubstrateConfig>,
        metadata: &subxt::Metadata,
    ) -> Result<Option<Self>, Error> {
        if !PALLETS.contains(&event.pallet_name()) {
            return Ok(None);
        }
        let incompatible = |reason: String| Error::Incompatible {
            reason: format!("event {}::{}: {reason}", event.pallet_name(), event.event_name()),
        };
        let type_id = metadata
            .pallet_by_name(event.pallet_name())
            .and_then(|pallet| pallet.event_ty_id())
            .ok_or_else(|| incompatible("its type is missing".to_owned()))?;
        let mut bytes = vec![event.event_index()];
        bytes.extend_from_slice(event.field_bytes());
        match Self::decode_as_type(&mut &bytes[..], type_id, metadata.types()) {
            Ok(event) => Ok(Some(event)),
            Err(error) if matches!(error.kind(), ErrorKind::CannotFindVariant { .. }) => Ok(None),
            Err(error) => Err(incompatible(error.to_string())),
        }
    }

    /// The machine that the event is about, where there is one.
    pub fn machine(&self) -> Option<MachineId> {
        match self {
            Self::MachineRegistered { machine, .. }
            | Self::AskUpdated { machine, .. }
            | Self::EndpointUpdated { machine }
            | Self::MachineStatusChanged { machine, .. }
            | Self::MachineRemoved { machine, .. }
            | Self::MachineTermsUpdated { machine, .. }
            | Self::SlotsLeased { machine, .. }
            | Self::SlotsReleased { machine, .. }
            | Self::Bonded { machine, .. }
            | Self::Unbonded { machine, .. }
            | Self::Withdrawn { machine, .. }
            | Self::AutoStakeSet { machine, .. }
            | Self::JobDeployed { machine, .. }
            | Self::JobStarted { machine, .. }
            | Self::ResultSubmitted { machine, .. }
            | Self::JobClosed { machine, .. }
            | Self::RewardPaid { machine, .. }
            | Self::RewardDestinationSet { machine, .. } => Some(*machine),
            Self::EpochStarted { .. }
            | Self::ProviderRegistered { .. }
            | Self::ProviderDeregistered { .. }
            | Self::HardwareClassSet { .. }
            | Self::PaymentSettled { .. }
            | Self::PaymentDiverted { .. }
            | Self::EpochClosed { .. } => None,
        }
    }

    /// The job that the event is about, where there is one.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::JobDeployed { job, .. }
            | Self::JobStarted { job, .. }
            | Self::ResultSubmitted { job, .. }
            | Self::PaymentSettled { job, .. }
            | Self::PaymentDiverted { job, .. }
            | Self::JobClosed { job, .. } => Some(*job),
            _ => None,
        }
    }
}

impl fmt::Display for AssayEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EpochStarted { epoch, .. } => write!(f, "epoch {epoch} began"),
            Self::ProviderRegistered { provider } => write!(f, "{provider} became a provider"),
            Self::ProviderDeregistered { provider } => write!(f, "{provider} is no provider any more"),
            Self::MachineRegistered {
                machine,
                provider,
                class,
                slots,
            } => write!(
                f,
                "machine {machine} of {provider} registered with {} of class {class}",
                count(*slots, "slot")
            ),
            Self::AskUpdated { machine, ask } => {
                write!(f, "machine {machine} asks {} per slot-hour", format_asy(*ask))
            }
            Self::EndpointUpdated { machine } => write!(f, "machine {machine} has a new endpoint"),
            Self::MachineStatusChanged { machine, from, to } => {
                write!(f, "machine {machine} was {from} and is {to}")
            }
            Self::MachineRemoved { machine, .. } => write!(f, "the record of machine {machine} is gone"),
            Self::MachineTermsUpdated {
                machine,
                compute_score,
                stake_per_slot,
            } => write!(
                f,
                "a slot of machine {machine} scores {compute_score} and needs {} bonded",
                format_asy(*stake_per_slot)
            ),
            Self::SlotsLeased {
                machine,
                slots,
                free_slots,
            } => {
                write!(
                    f,
                    "{} of machine {machine} leased, {free_slots} free",
                    count(*slots, "slot")
                )
            }
            Self::SlotsReleased {
                machine,
                slots,
                free_slots,
            } => {
                write!(
                    f,
                    "{} of machine {machine} given back, {free_slots} free",
                    count(*slots, "slot")
                )
            }
            Self::HardwareClassSet { class } => write!(f, "hardware class {class} was set"),
            Self::Bonded {
                machine,
                amount,
                total,
            } => write!(
                f,
                "{} bonded for machine {machine}, {} in all",
                format_asy(*amount),
                format_asy(*total)
            ),
            Self::Unbonded {
                machine,
                amount,
                due_epoch,
            } => write!(
                f,
                "{} of machine {machine}'s bond may be withdrawn from epoch {due_epoch} on",
                format_asy(*amount)
            ),
            Self::Withdrawn { machine, amount } => {
                write!(f, "{} of machine {machine}'s bond withdrawn", format_asy(*amount))
            }
            Self::AutoStakeSet {
                machine,
                auto_stake: true,
            } => {
                write!(f, "rewards of machine {machine} are bonded from now on")
            }
            Self::AutoStakeSet {
                machine,
                auto_stake: false,
            } => {
                write!(f, "rewards of machine {machine} are not bonded any more")
            }
            Self::JobDeployed {
                job,
                machine,
                slots,
                kind,
                escrowed,
                ..
            } => write!(
                f,
                "job {job}, a {kind}, assigned to {} of machine {machine}; {} in escrow",
                count(*slots, "slot"),
                format_asy(*escrowed)
            ),
            Self::JobStarted { job, machine, .. } => write!(f, "job {job} runs on machine {machine}"),
            Self::ResultSubmitted {
                job,
                machine,
                result_hash,
                ..
            } => {
                write!(
                    f,
                    "result of job {job} from machine {machine}: 0x{}",
                    hex::encode(result_hash)
                )
            }
            Self::PaymentSettled {
                job,
                provider_amount,
                fee,
                burned,
            } => write!(
                f,
                "{} paid for job {job} to its provider, {} protocol fee, of which {} burned",
                format_asy(*provider_amount),
                format_asy(*fee),
                format_asy(*burned)
            ),
            Self::PaymentDiverted {
                job,
                recipient,
                amount,
                destination,
            } => write!(
                f,
                "{recipient} could not receive {} of job {job}, which {destination}",
                format_asy(*amount)
            ),
            Self::JobClosed {
                job,
                outcome,
                paid,
                refunded,
                ..
            } => write!(
                f,
                "job {job} closed: {outcome}; {} paid, {} refunded",
                format_asy(*paid),
                format_asy(*refunded)
            ),
            Self::EpochClosed {
                epoch,
                pool,
                total_weight,
            } => {
                write!(
                    f,
                    "epoch {epoch} closed: {} for weight {total_weight}",
                    format_asy(*pool)
                )
            }
            Self::RewardPaid {
                machine,
                first_epoch,
                last_epoch,
                amount,
                destination,
                bonded,
            } => write!(
                f,
                "{} minted to {destination} for machine {machine}, epochs {first_epoch} to {last_epoch}{}",
                format_asy(*amount),
                if *bonded { ", and bonded" } else { "" }
            ),
            Self::RewardDestinationSet { machine, destination } => {
                write!(f, "rewards of machine {machine} go {destination} from now on")
            }
        }
    }
}

/// A number with its noun, in the right grammatical number.
fn count(number: u8, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn events_read_as_sentences() {
        let event = AssayEvent::PaymentSettled {
            job: 3,
            provider_amount: 950_000_000_000,
            fee: 50_000_000_000,
            burned: 25_000_000_000,
        };
        assert_eq!(
            event.to_string(),
            "0.95 ASY paid for job 3 to its provider, 0.05 ASY protocol fee, of which 0.025 ASY burned"
        );
        assert_eq!((event.job(), event.machine()), (Some(3), None));
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"event":"PaymentSettled","job":3,"provider_amount":"950000000000","fee":"50000000000","burned":"25000000000"}"#
        );

        let event = AssayEvent::MachineStatusChanged {
            machine: 7,
            from: MachineStatus::Unproven,
            to: MachineStatus::Active,
        };
        assert_eq!(event.to_string(), "machine 7 was unproven and is active");
        assert_eq!((event.job(), event.machine()), (None, Some(7)));
    }
}

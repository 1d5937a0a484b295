//! What happened in a block, typed, and in plain words.

mod text;

use assay_primitives::{
    challenge::RoundId,
    clock::{EpochIndex, Millis},
    machine::{HardwareClassId, MachineId},
    money::Balance,
};
use scale_decode::{DecodeAsType, error::ErrorKind};
use serde::Serialize;
use subxt::{SubstrateConfig, events::Event};

use crate::{
    challenge::ChallengedMachines,
    error::Error,
    types::{
        AccountId, Diversion, JobId, JobKind, MachineStatus, Outcome, RewardDestination, SlashId,
        SlashReason, as_decimal, as_hex, as_optional_hex,
    },
};

/// The pallets whose events are [`AssayEvent`]s.
pub const PALLETS: [&str; 6] = [
    "ChainClock",
    "ProviderRegistry",
    "ProviderStaking",
    "JobEscrow",
    "RewardEmission",
    "HardwareChallenge",
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
    /// A machine has other keys.
    KeysRotated {
        /// The machine.
        machine: MachineId,
        /// The hot key that acts for it from now on.
        worker_key: AccountId,
        /// X25519 key that consumers encrypt to from now on.
        #[serde(serialize_with = "as_hex")]
        sealing_key: [u8; 32],
    },
    /// A machine's average uptime changed.
    UptimeUpdated {
        /// The machine.
        machine: MachineId,
        /// Its average uptime, in parts per million.
        uptime_ppm: u32,
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
    /// A slash was put in the agenda.
    SlashQueued {
        /// The slash.
        id: SlashId,
        /// The machine.
        machine: MachineId,
        /// Why.
        reason: SlashReason,
        /// Plancks that it costs.
        #[serde(serialize_with = "as_decimal")]
        owed: Balance,
    },
    /// A slash was taken back before it was applied.
    SlashCancelled {
        /// The slash.
        id: SlashId,
        /// The machine.
        machine: MachineId,
    },
    /// A slash was applied.
    Slashed {
        /// The slash.
        id: SlashId,
        /// The machine.
        machine: MachineId,
        /// Plancks taken of its bond.
        #[serde(serialize_with = "as_decimal")]
        taken: Balance,
        /// Plancks that the harmed consumer received.
        #[serde(serialize_with = "as_decimal")]
        to_consumer: Balance,
        /// Plancks that the reporter received.
        #[serde(serialize_with = "as_decimal")]
        to_reporter: Balance,
        /// Plancks that were burned.
        #[serde(serialize_with = "as_decimal")]
        burned: Balance,
        /// Plancks that are owed from now on.
        #[serde(serialize_with = "as_decimal")]
        debt: Balance,
    },
    /// What a slash left outstanding was paid.
    DebtPaid {
        /// The slash.
        id: SlashId,
        /// The machine.
        machine: MachineId,
        /// Who paid.
        payer: AccountId,
        /// Plancks that the harmed consumer received.
        #[serde(serialize_with = "as_decimal")]
        to_consumer: Balance,
        /// Plancks that the reporter received.
        #[serde(serialize_with = "as_decimal")]
        to_reporter: Balance,
        /// Plancks that were burned.
        #[serde(serialize_with = "as_decimal")]
        burned: Balance,
    },
    /// A share of a slash was burned because its recipient cannot receive it.
    ShareBurned {
        /// The slash.
        id: SlashId,
        /// Whose share it was.
        recipient: AccountId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
    },
    /// A job was ordered, and the most that it can cost is in escrow.
    JobOrdered {
        /// The job.
        job: JobId,
        /// Who pays.
        consumer: AccountId,
        /// Service or task.
        kind: JobKind,
        /// Machines wanted.
        nodes: u8,
        /// Slots of each.
        slots: u8,
        /// Plancks held for its price.
        #[serde(serialize_with = "as_decimal")]
        escrowed: Balance,
        /// Plancks held for its bytes and for bounties.
        #[serde(serialize_with = "as_decimal")]
        deposit: Balance,
        /// Until when machines may accept it; `None` where its consumer chose them.
        closes_at_ms: Option<Millis>,
    },
    /// A machine got a job.
    MachineAssigned {
        /// The job.
        job: JobId,
        /// Where it runs.
        machine: MachineId,
        /// Who is paid.
        provider: AccountId,
        /// Plancks per slot-hour.
        #[serde(serialize_with = "as_decimal")]
        price_per_slot_hour: Balance,
        /// When the worker is late.
        start_deadline_ms: Millis,
    },
    /// A machine that was assigned will not run the job; another one is sought.
    PlaceReopened {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// Why.
        outcome: Outcome,
    },
    /// No machine is sought any more for some of a job's places.
    PlacesCancelled {
        /// The job.
        job: JobId,
        /// How many.
        places: u8,
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
    /// The time that a job may run was extended.
    JobExtended {
        /// The job.
        job: JobId,
        /// By how much.
        additional_ms: Millis,
        /// Plancks held besides for its price.
        #[serde(serialize_with = "as_decimal")]
        escrowed: Balance,
        /// Plancks held besides for bounties.
        #[serde(serialize_with = "as_decimal")]
        deposit: Balance,
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
    /// An attested machine vouched for a task's result, which stands.
    ResultAttested {
        /// The job.
        job: JobId,
        /// Where it ran.
        machine: MachineId,
        /// Hash of the result.
        #[serde(serialize_with = "as_hex")]
        result_hash: [u8; 32],
        /// The key that signed.
        worker_key: AccountId,
        /// Until when the evidence counts that the key is bound to, in seconds since 1970.
        evidence_until_s: u64,
    },
    /// A replica committed to its result.
    ResultCommitted {
        /// The job.
        job: JobId,
        /// Where it ran.
        machine: MachineId,
        /// What it committed to.
        #[serde(serialize_with = "as_hex")]
        commitment: [u8; 32],
    },
    /// The replicas that committed may reveal.
    RevealOpened {
        /// The job.
        job: JobId,
        /// Until when.
        reveal_ends_ms: Millis,
    },
    /// A replica revealed its result.
    ResultRevealed {
        /// The job.
        job: JobId,
        /// Where it ran.
        machine: MachineId,
        /// Hash of the result.
        #[serde(serialize_with = "as_hex")]
        result_hash: [u8; 32],
    },
    /// The replicas of a task were counted.
    QuorumResolved {
        /// The job.
        job: JobId,
        /// Hash of the result that won.
        #[serde(serialize_with = "as_optional_hex")]
        result_hash: Option<[u8; 32]>,
        /// How many replicas gave it.
        votes: u8,
    },
    /// A machine is free again; what it earned is paid as its epochs are closed.
    AssignmentEnded {
        /// The job.
        job: JobId,
        /// Where it ran.
        machine: MachineId,
        /// How it ended.
        outcome: Outcome,
        /// When what is paid ends.
        ended_at_ms: Millis,
    },
    /// A part of a job, or all of it, was paid.
    PaymentSettled {
        /// The job.
        job: JobId,
        /// The machine that earned it.
        machine: MachineId,
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
    /// What a result earned that nobody can judge went to the treasury.
    EarningsForfeited {
        /// The job.
        job: JobId,
        /// Where it ran.
        machine: MachineId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
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
    /// A part of a job's escrow came back to its consumer.
    EscrowReturned {
        /// The job.
        job: JobId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
    },
    /// A bounty was paid.
    BountyPaid {
        /// The job.
        job: JobId,
        /// Who has it.
        recipient: AccountId,
        /// Plancks.
        #[serde(serialize_with = "as_decimal")]
        amount: Balance,
    },
    /// Nothing is held or owed any more for a machine's part in a job.
    AssignmentClosed {
        /// The job.
        job: JobId,
        /// The machine.
        machine: MachineId,
        /// How it ended.
        outcome: Outcome,
        /// Plancks paid for it in all, fee included.
        #[serde(serialize_with = "as_decimal")]
        paid: Balance,
    },
    /// Nothing of a job is left.
    JobClosed {
        /// The job.
        job: JobId,
        /// Plancks paid in all, fee included.
        #[serde(serialize_with = "as_decimal")]
        paid: Balance,
        /// Plancks of the deposit that came back to the consumer.
        #[serde(serialize_with = "as_decimal")]
        deposit_returned: Balance,
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
    /// A round of the hardware challenge opened.
    RoundOpened {
        /// The round.
        round: RoundId,
        /// Whom it is for.
        kind: ChallengedMachines,
        /// Until when some class may commit, in active time.
        commits_until_ms: Millis,
    },
    /// The openings of a round were drawn.
    OpeningsDrawn {
        /// The round.
        round: RoundId,
        /// Until when slots can be proven, in active time.
        prove_until_ms: Millis,
    },
    /// A machine committed to a challenge.
    Committed {
        /// The round.
        round: RoundId,
        /// The machine.
        machine: MachineId,
        /// For how many slots.
        slots: u8,
    },
    /// A machine proved some of its slots, and others are left.
    SlotsProven {
        /// The round.
        round: RoundId,
        /// The machine.
        machine: MachineId,
        /// Slots that are proven so far.
        proven: u8,
    },
    /// A machine proved all slots that it committed for.
    MachineProven {
        /// The round.
        round: RoundId,
        /// The machine.
        machine: MachineId,
        /// How many slots.
        slots: u8,
    },
    /// A machine proved a slot wrongly: the hardware is not what it is said to be.
    AnswerWrong {
        /// The round.
        round: RoundId,
        /// The machine.
        machine: MachineId,
        /// The slot.
        slot: u8,
        /// What it costs.
        slash: SlashId,
    },
    /// A machine owed an answer to a challenge and gave none in time.
    AnswerMissed {
        /// The round.
        round: RoundId,
        /// The machine.
        machine: MachineId,
        /// Who gets the reporter's share.
        reporter: AccountId,
        /// What it costs.
        slash: SlashId,
    },
    /// A proof of a machine's hardware counts no more.
    ProofExpired {
        /// The machine.
        machine: MachineId,
        /// Slots that are still proven.
        proven_slots: u8,
    },
    /// A class is challenged with other parameters.
    ClassSet {
        /// The class.
        class: HardwareClassId,
        /// The first round that they count for.
        from_round: RoundId,
    },
    /// Rounds open, and their parts last, otherwise than before.
    ScheduleSet {},
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
            | Self::KeysRotated { machine, .. }
            | Self::UptimeUpdated { machine, .. }
            | Self::MachineStatusChanged { machine, .. }
            | Self::MachineRemoved { machine, .. }
            | Self::MachineTermsUpdated { machine, .. }
            | Self::SlotsLeased { machine, .. }
            | Self::SlotsReleased { machine, .. }
            | Self::Bonded { machine, .. }
            | Self::Unbonded { machine, .. }
            | Self::Withdrawn { machine, .. }
            | Self::AutoStakeSet { machine, .. }
            | Self::SlashQueued { machine, .. }
            | Self::SlashCancelled { machine, .. }
            | Self::Slashed { machine, .. }
            | Self::DebtPaid { machine, .. }
            | Self::MachineAssigned { machine, .. }
            | Self::PlaceReopened { machine, .. }
            | Self::JobStarted { machine, .. }
            | Self::ResultSubmitted { machine, .. }
            | Self::ResultAttested { machine, .. }
            | Self::ResultCommitted { machine, .. }
            | Self::ResultRevealed { machine, .. }
            | Self::AssignmentEnded { machine, .. }
            | Self::PaymentSettled { machine, .. }
            | Self::EarningsForfeited { machine, .. }
            | Self::AssignmentClosed { machine, .. }
            | Self::RewardPaid { machine, .. }
            | Self::RewardDestinationSet { machine, .. }
            | Self::Committed { machine, .. }
            | Self::SlotsProven { machine, .. }
            | Self::MachineProven { machine, .. }
            | Self::AnswerWrong { machine, .. }
            | Self::AnswerMissed { machine, .. }
            | Self::ProofExpired { machine, .. } => Some(*machine),
            Self::EpochStarted { .. }
            | Self::ProviderRegistered { .. }
            | Self::ProviderDeregistered { .. }
            | Self::HardwareClassSet { .. }
            | Self::ShareBurned { .. }
            | Self::JobOrdered { .. }
            | Self::PlacesCancelled { .. }
            | Self::JobExtended { .. }
            | Self::RevealOpened { .. }
            | Self::QuorumResolved { .. }
            | Self::PaymentDiverted { .. }
            | Self::EscrowReturned { .. }
            | Self::BountyPaid { .. }
            | Self::JobClosed { .. }
            | Self::EpochClosed { .. }
            | Self::RoundOpened { .. }
            | Self::OpeningsDrawn { .. }
            | Self::ClassSet { .. }
            | Self::ScheduleSet {} => None,
        }
    }

    /// The job that the event is about, where there is one.
    pub fn job(&self) -> Option<JobId> {
        match self {
            Self::JobOrdered { job, .. }
            | Self::MachineAssigned { job, .. }
            | Self::PlaceReopened { job, .. }
            | Self::PlacesCancelled { job, .. }
            | Self::JobStarted { job, .. }
            | Self::JobExtended { job, .. }
            | Self::ResultSubmitted { job, .. }
            | Self::ResultAttested { job, .. }
            | Self::ResultCommitted { job, .. }
            | Self::RevealOpened { job, .. }
            | Self::ResultRevealed { job, .. }
            | Self::QuorumResolved { job, .. }
            | Self::AssignmentEnded { job, .. }
            | Self::PaymentSettled { job, .. }
            | Self::EarningsForfeited { job, .. }
            | Self::PaymentDiverted { job, .. }
            | Self::EscrowReturned { job, .. }
            | Self::BountyPaid { job, .. }
            | Self::AssignmentClosed { job, .. }
            | Self::JobClosed { job, .. } => Some(*job),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_attested_result_reads_as_a_sentence() {
        let event = AssayEvent::ResultAttested {
            job: 3,
            machine: 7,
            result_hash: [0xab; 32],
            worker_key: AccountId::from([1; 32]),
            evidence_until_s: 5,
        };
        assert_eq!(
            event.to_string(),
            format!(
                "machine 7 vouches for its result of job 3, which stands: 0x{}",
                "ab".repeat(32)
            )
        );
        assert_eq!((event.job(), event.machine()), (Some(3), Some(7)));
    }

    #[test]
    fn events_read_as_sentences() {
        let event = AssayEvent::PaymentSettled {
            job: 3,
            machine: 7,
            provider_amount: 950_000_000_000,
            fee: 50_000_000_000,
            burned: 25_000_000_000,
        };
        assert_eq!(
            event.to_string(),
            "0.95 ASY paid for job 3 to the provider of machine 7, 0.05 ASY protocol fee, of which 0.025 ASY burned"
        );
        assert_eq!((event.job(), event.machine()), (Some(3), Some(7)));
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"event":"PaymentSettled","job":3,"machine":7,"provider_amount":"950000000000","fee":"50000000000","burned":"25000000000"}"#
        );

        let event = AssayEvent::MachineStatusChanged {
            machine: 7,
            from: MachineStatus::Unproven,
            to: MachineStatus::Active,
        };
        assert_eq!(event.to_string(), "machine 7 was unproven and is active");
        assert_eq!((event.job(), event.machine()), (None, Some(7)));

        let event = AssayEvent::AnswerMissed {
            round: 9,
            machine: 7,
            reporter: AccountId::from([0; 32]),
            slash: SlashId {
                due_epoch: 30,
                index: 1,
            },
        };
        assert!(
            event
                .to_string()
                .starts_with("machine 7 gave no answer in round 9 of the hardware challenge: slash 30/1"),
            "{event}"
        );
        assert_eq!(event.machine(), Some(7));

        let event = AssayEvent::Slashed {
            id: SlashId {
                due_epoch: 30,
                index: 1,
            },
            machine: 7,
            taken: 12_000_000_000_000,
            to_consumer: 4_000_000_000_000,
            to_reporter: 0,
            burned: 8_000_000_000_000,
            debt: 500_000_000_000,
        };
        assert_eq!(
            event.to_string(),
            "machine 7 lost 12 ASY to slash 30/1: 4 ASY to the consumer, 8 ASY burned; it owes 0.5 ASY more"
        );
        assert_eq!(
            serde_json::to_value(&event).unwrap()["id"],
            serde_json::json!({ "due_epoch": 30, "index": 1 })
        );
    }
}

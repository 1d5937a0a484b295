//! Events as sentences in plain words.

use std::fmt;

use assay_primitives::money::Balance;

use super::AssayEvent;
use crate::units::{format_asy, format_ppm};

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
            Self::KeysRotated {
                machine, worker_key, ..
            } => write!(
                f,
                "machine {machine} has new keys; the worker key {worker_key} acts for it from now on"
            ),
            Self::UptimeUpdated { machine, uptime_ppm } => {
                write!(
                    f,
                    "machine {machine} was up {} of the time",
                    format_ppm(*uptime_ppm)
                )
            }
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
            Self::SlashQueued {
                id,
                machine,
                reason,
                owed,
            } => write!(
                f,
                "slash {id} of machine {machine} for {reason}: {} from epoch {} on, unless it is cancelled",
                format_asy(*owed),
                id.due_epoch
            ),
            Self::SlashCancelled { id, machine } => {
                write!(f, "slash {id} of machine {machine} was cancelled")
            }
            Self::Slashed {
                id,
                machine,
                taken,
                to_consumer,
                to_reporter,
                burned,
                debt,
            } => {
                write!(
                    f,
                    "machine {machine} lost {} to slash {id}{}",
                    format_asy(*taken),
                    Parts(*to_consumer, *to_reporter, *burned)
                )?;
                if *debt > 0 {
                    write!(f, "; it owes {} more", format_asy(*debt))?;
                }
                Ok(())
            }
            Self::DebtPaid {
                id,
                machine,
                payer,
                to_consumer,
                to_reporter,
                burned,
            } => write!(
                f,
                "{payer} paid what machine {machine} owed of slash {id}{}",
                Parts(*to_consumer, *to_reporter, *burned)
            ),
            Self::ShareBurned {
                id,
                recipient,
                amount,
            } => write!(
                f,
                "{recipient} could not receive {} of slash {id}, which was burned",
                format_asy(*amount)
            ),
            Self::JobOrdered {
                job,
                kind,
                nodes,
                slots,
                escrowed,
                deposit,
                ..
            } => write!(
                f,
                "job {job}, a {kind}, ordered: {} of {} each; {} in escrow, {} deposited",
                count(*nodes, "machine"),
                count(*slots, "slot"),
                format_asy(*escrowed),
                format_asy(*deposit)
            ),
            Self::MachineAssigned {
                job,
                machine,
                price_per_slot_hour,
                ..
            } => write!(
                f,
                "job {job} assigned to machine {machine} at {} per slot-hour",
                format_asy(*price_per_slot_hour)
            ),
            Self::PlaceReopened {
                job,
                machine,
                outcome,
            } => write!(
                f,
                "job {job} will not run on machine {machine} ({outcome}); another machine is sought"
            ),
            Self::PlacesCancelled { job, places } => {
                write!(
                    f,
                    "no machine is sought any more for {} of job {job}",
                    count(*places, "place")
                )
            }
            Self::JobStarted { job, machine, .. } => write!(f, "job {job} runs on machine {machine}"),
            Self::JobExtended { job, escrowed, .. } => {
                write!(
                    f,
                    "job {job} may run longer; {} more in escrow",
                    format_asy(*escrowed)
                )
            }
            Self::ResultSubmitted {
                job,
                machine,
                result_hash,
                ..
            }
            | Self::ResultRevealed {
                job,
                machine,
                result_hash,
            } => {
                write!(
                    f,
                    "result of job {job} from machine {machine}: 0x{}",
                    hex::encode(result_hash)
                )
            }
            Self::ResultAttested {
                job,
                machine,
                result_hash,
                ..
            } => write!(
                f,
                "machine {machine} vouches for its result of job {job}, which stands: 0x{}",
                hex::encode(result_hash)
            ),
            Self::ResultCommitted { job, machine, .. } => {
                write!(f, "machine {machine} committed to its result of job {job}")
            }
            Self::RevealOpened { job, .. } => write!(f, "the results of job {job} may be revealed"),
            Self::QuorumResolved {
                job,
                result_hash: Some(result_hash),
                votes,
            } => write!(
                f,
                "{} of job {job} agree on 0x{}",
                count(*votes, "machine"),
                hex::encode(result_hash)
            ),
            Self::QuorumResolved {
                job,
                result_hash: None,
                ..
            } => write!(f, "no result of job {job} has a quorum"),
            Self::AssignmentEnded {
                job,
                machine,
                outcome,
                ..
            } => write!(f, "job {job} ended on machine {machine}: {outcome}"),
            Self::PaymentSettled {
                job,
                machine,
                provider_amount,
                fee,
                burned,
            } => write!(
                f,
                "{} paid for job {job} to the provider of machine {machine}, {} protocol fee, of which {} burned",
                format_asy(*provider_amount),
                format_asy(*fee),
                format_asy(*burned)
            ),
            Self::EarningsForfeited { job, machine, amount } => write!(
                f,
                "{} that machine {machine} earned with job {job} went to the treasury",
                format_asy(*amount)
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
            Self::EscrowReturned { job, amount } => {
                write!(
                    f,
                    "{} of job {job}'s escrow came back to its consumer",
                    format_asy(*amount)
                )
            }
            Self::BountyPaid {
                job,
                recipient,
                amount,
            } => write!(
                f,
                "{recipient} earned a bounty of {} with job {job}",
                format_asy(*amount)
            ),
            Self::AssignmentClosed {
                job,
                machine,
                outcome,
                paid,
            } => write!(
                f,
                "machine {machine} is done with job {job}: {outcome}; {} paid",
                format_asy(*paid)
            ),
            Self::JobClosed {
                job,
                paid,
                deposit_returned,
            } => write!(
                f,
                "job {job} closed; {} paid, {} of its deposit returned",
                format_asy(*paid),
                format_asy(*deposit_returned)
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
            Self::RoundOpened { round, kind, .. } => {
                write!(f, "round {round} of the hardware challenge opened, for {kind}")
            }
            Self::OpeningsDrawn { round, .. } => {
                write!(
                    f,
                    "the openings of round {round} of the hardware challenge were drawn"
                )
            }
            Self::Committed {
                round,
                machine,
                slots,
            } => write!(
                f,
                "machine {machine} committed in round {round} for {}",
                count(*slots, "slot")
            ),
            Self::SlotsProven {
                round,
                machine,
                proven,
            } => write!(
                f,
                "machine {machine} proved {} in round {round} so far",
                count(*proven, "slot")
            ),
            Self::MachineProven {
                round,
                machine,
                slots,
            } => write!(
                f,
                "machine {machine} proved all of its hardware, {}, in round {round}",
                count(*slots, "slot")
            ),
            Self::AnswerWrong {
                round,
                machine,
                slot,
                slash,
            } => write!(
                f,
                "machine {machine} proved slot {slot} wrongly in round {round} of the hardware challenge: slash {slash}"
            ),
            Self::AnswerMissed {
                round,
                machine,
                reporter,
                slash,
            } => write!(
                f,
                "machine {machine} gave no answer in round {round} of the hardware challenge: slash {slash}, reported by \
                 {reporter}"
            ),
            Self::ProofExpired {
                machine,
                proven_slots,
            } => write!(
                f,
                "a proof of machine {machine} expired, and {} still proven",
                match proven_slots {
                    1 => "1 slot is".to_owned(),
                    _ => format!("{proven_slots} slots are"),
                }
            ),
            Self::ClassSet { class, from_round } => write!(
                f,
                "hardware class {class} is challenged with other parameters from round {from_round} on"
            ),
            Self::ScheduleSet {} => write!(f, "the schedule of the hardware challenge was set"),
        }
    }
}

/// Where the plancks of a slash went: to the consumer, to the reporter, and out of existence.
struct Parts(Balance, Balance, Balance);

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(to_consumer, to_reporter, burned) = *self;
        let parts = [
            (to_consumer, " to the consumer"),
            (to_reporter, " to the reporter"),
            (burned, " burned"),
        ];
        let mut separator = ": ";
        for (amount, destination) in parts.into_iter().filter(|(amount, _)| *amount > 0) {
            write!(f, "{separator}{}{destination}", format_asy(amount))?;
            separator = ", ";
        }
        Ok(())
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

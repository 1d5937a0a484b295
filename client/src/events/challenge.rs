//! Events of `hardware-challenge`: rounds, and the answers of machines in them.

use std::fmt;

use assay_primitives::{
    challenge::{RoundId, RoundKind},
    clock::Millis,
    machine::{HardwareClassId, MachineId},
};
use scale_decode::DecodeAsType;
use serde::Serialize;

pub use assay_primitives::challenge::{RoundOutcome, Tally};

use super::text::count;
use crate::types::{JobId, SlashId};

/// Event of the hardware challenge.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum ChallengeEvent {
    /// A round of the hardware challenge opened.
    RoundOpened {
        /// The round.
        round: RoundId,
        /// Kind of the round: its machines.
        kind: RoundKind,
        /// Latest end of a class's commit window, in active time.
        commits_until_ms: Millis,
    },
    /// The openings of a round were drawn.
    OpeningsDrawn {
        /// The round.
        round: RoundId,
        /// End of the proof window, in active time.
        prove_until_ms: Millis,
    },
    /// A machine committed to a challenge.
    Committed {
        /// The round.
        round: RoundId,
        /// The machine.
        machine: MachineId,
        /// Number of slots.
        slots: u8,
    },
    /// A machine proved some of its slots, and others are left.
    SlotsProven {
        /// The round.
        round: RoundId,
        /// The machine.
        machine: MachineId,
        /// Number of slots proven so far.
        proven: u8,
    },
    /// A machine proved all slots that it committed for.
    MachineProven {
        /// The round.
        round: RoundId,
        /// The machine.
        machine: MachineId,
        /// Number of slots.
        slots: u8,
    },
    /// A machine's proof of a slot is wrong: its hardware differs from the declared one.
    AnswerWrong {
        /// The round.
        round: RoundId,
        /// The machine.
        machine: MachineId,
        /// The slot.
        slot: u8,
        /// Slash for it.
        slash: SlashId,
    },
    /// A machine missed an answer that it owed; its proof ends.
    AnswerMissed {
        /// The round.
        round: RoundId,
        /// The machine.
        machine: MachineId,
    },
    /// A proof of a machine's hardware ended.
    ProofExpired {
        /// The machine.
        machine: MachineId,
        /// Number of slots still proven.
        proven_slots: u8,
    },
    /// The parameters of a class changed.
    ClassSet {
        /// The class.
        class: HardwareClassId,
        /// First round with them.
        from_round: RoundId,
    },
    /// The schedule of rounds changed.
    ScheduleSet {},
    /// A round is over, and the chain decided the consequence of its misses.
    RoundConcluded {
        /// The round.
        round: RoundId,
        /// Counts of the machines that owed an answer.
        tally: Tally,
        /// Consequence of the misses.
        outcome: RoundOutcome,
    },
    /// A machine is slashed for its silence in a round.
    MissPunished {
        /// The round.
        round: RoundId,
        /// The machine.
        machine: MachineId,
        /// The slash that it costs.
        slash: SlashId,
    },
}

impl ChallengeEvent {
    /// Returns the machine that the event is about, if any.
    pub fn machine(&self) -> Option<MachineId> {
        match self {
            Self::Committed { machine, .. }
            | Self::SlotsProven { machine, .. }
            | Self::MachineProven { machine, .. }
            | Self::AnswerWrong { machine, .. }
            | Self::AnswerMissed { machine, .. }
            | Self::ProofExpired { machine, .. }
            | Self::MissPunished { machine, .. } => Some(*machine),
            Self::RoundOpened { .. }
            | Self::RoundConcluded { .. }
            | Self::OpeningsDrawn { .. }
            | Self::ClassSet { .. }
            | Self::ScheduleSet {} => None,
        }
    }

    /// Returns `None`: no event of this pallet is about a job.
    pub fn job(&self) -> Option<JobId> {
        None
    }
}

impl fmt::Display for ChallengeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
            Self::AnswerMissed { round, machine } => {
                write!(
                    f,
                    "machine {machine} gave no answer in round {round} of the hardware challenge"
                )
            }
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
            Self::RoundConcluded {
                round,
                tally,
                outcome,
            } => write!(
                f,
                "round {round} of the hardware challenge is over: of {} that owed an answer {} gave none, and {outcome}",
                count(tally.answered.saturating_add(tally.missed), "machine"),
                tally.missed
            ),
            Self::MissPunished {
                round,
                machine,
                slash,
            } => write!(
                f,
                "machine {machine} pays for its silence in round {round} of the hardware challenge: slash {slash}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_punished_miss_says_what_it_costs() {
        let event = ChallengeEvent::MissPunished {
            round: 9,
            machine: 7,
            slash: SlashId {
                due_epoch: 30,
                index: 1,
            },
        };
        assert_eq!(
            event.to_string(),
            "machine 7 pays for its silence in round 9 of the hardware challenge: slash 30/1"
        );
        assert_eq!(event.machine(), Some(7));
    }

    #[test]
    fn a_round_that_is_over_says_what_became_of_it() {
        let event = ChallengeEvent::RoundConcluded {
            round: 9,
            tally: Tally {
                answered: 2,
                missed: 1,
            },
            outcome: RoundOutcome::MassSilence,
        };
        assert_eq!(
            event.to_string(),
            "round 9 of the hardware challenge is over: of 3 machines that owed an answer 1 gave none, and nobody is \
             punished, since so many were silent at once"
        );
        assert_eq!(event.machine(), None);
    }
}

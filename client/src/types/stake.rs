//! What providers stand to lose, and how they lose it.

use std::fmt;

use assay_primitives::{clock::EpochIndex, machine::MachineId, money::Balance};
use scale_decode::DecodeAsType;
use serde::{Serialize, Serializer};

use super::{AccountId, as_decimal};

/// What a provider stands to lose for one machine.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Bond {
    /// Whose plancks are held.
    pub provider: AccountId,
    /// Plancks bonded.
    #[serde(serialize_with = "as_decimal")]
    pub bonded: Balance,
    /// Plancks on their way out.
    pub unlocking: Vec<UnlockChunk>,
    /// Whether the machine's rewards are bonded.
    pub auto_stake: bool,
    /// Plancks owed by slashes that took more than there was. While it is above zero nothing can be bonded.
    #[serde(serialize_with = "as_decimal")]
    pub debt: Balance,
    /// Plancks that the machine's pending slashes cost; they stay held.
    #[serde(serialize_with = "as_decimal")]
    pub pending: Balance,
    /// How many slashes of the machine are pending.
    pub pending_slashes: u32,
    /// How often the machine committed each offence, in the order of [`Offence::ALL`].
    #[serde(serialize_with = "by_offence")]
    pub strikes: Vec<Strikes>,
}

impl Bond {
    /// Plancks that will be bonded when the pending slashes were applied: these must be the minimum.
    pub fn unencumbered(&self) -> Balance {
        self.bonded.saturating_sub(self.pending)
    }

    /// The offences that count against the machine.
    pub fn strikes_by_offence(&self) -> impl Iterator<Item = (Offence, Strikes)> + '_ {
        Offence::ALL
            .into_iter()
            .zip(self.strikes.iter().copied())
            .filter(|(_, strikes)| strikes.count > 0)
    }
}

/// Strikes as an object with an entry for each offence.
fn by_offence<S: Serializer>(strikes: &[Strikes], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Offence::ALL.into_iter().zip(strikes))
}

/// A part of a bond on its way out.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct UnlockChunk {
    /// Plancks.
    #[serde(serialize_with = "as_decimal")]
    pub amount: Balance,
    /// The epoch from which on it may be withdrawn.
    pub due_epoch: EpochIndex,
}

/// How often a machine committed one offence, as far as it is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, DecodeAsType, Serialize)]
pub struct Strikes {
    /// How often.
    pub count: u8,
    /// The epoch of the last time.
    pub last_epoch: EpochIndex,
}

/// A way in which a machine breaks its word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum Offence {
    /// A hardware challenge was not answered in time.
    ChallengeUnanswered,
    /// A hardware challenge was answered wrongly.
    ChallengeWrong,
    /// Evidence of a TEE was forged, or relayed from another machine.
    ForgedEvidence,
}

impl Offence {
    /// Every offence, in the chain's order.
    pub const ALL: [Self; 3] = [
        Self::ChallengeUnanswered,
        Self::ChallengeWrong,
        Self::ForgedEvidence,
    ];
}

impl fmt::Display for Offence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::ChallengeUnanswered => "a hardware challenge not answered",
            Self::ChallengeWrong => "a hardware challenge answered wrongly",
            Self::ForgedEvidence => "forged evidence of a TEE",
        })
    }
}

/// Why a machine is slashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub enum SlashReason {
    /// It committed an offence.
    Offence(Offence),
    /// Governance decided so.
    Governance,
}

impl fmt::Display for SlashReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offence(offence) => fmt::Display::fmt(offence, formatter),
            Self::Governance => formatter.pad("a decision of governance"),
        }
    }
}

/// Names a slash; displays as `EPOCH/INDEX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, DecodeAsType, Serialize)]
pub struct SlashId {
    /// First epoch in which it is applied.
    pub due_epoch: EpochIndex,
    /// Its place in that epoch, from zero.
    pub index: u32,
}

impl fmt::Display for SlashId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}/{}", self.due_epoch, self.index))
    }
}

/// What somebody gets of a slash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Share {
    /// Who.
    pub account: AccountId,
    /// Plancks.
    #[serde(serialize_with = "as_decimal")]
    pub amount: Balance,
}

/// Recipient of a part of a slash; the rest is burned.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Beneficiaries {
    /// The consumer who was harmed, and what it lost.
    pub consumer: Option<Share>,
}

/// A slash that was neither applied nor cancelled.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Slash {
    /// The machine.
    pub machine: MachineId,
    /// Why.
    pub reason: SlashReason,
    /// Plancks that it costs.
    #[serde(serialize_with = "as_decimal")]
    pub owed: Balance,
    /// Who gets a share.
    pub beneficiaries: Beneficiaries,
    /// Whether applying it takes the machine out of the market for good.
    pub ends_machine: bool,
}

/// What is outstanding of a slash, in the order in which it is paid.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Debt {
    /// The harmed consumer's part.
    pub consumer: Option<Share>,
    /// Plancks that are burned.
    #[serde(serialize_with = "as_decimal")]
    pub burn: Balance,
}

impl Debt {
    /// All of it, in plancks.
    pub fn total(&self) -> Balance {
        let to_consumer = self.consumer.map_or(0, |share| share.amount);
        self.burn.saturating_add(to_consumer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn offences_are_in_the_chain_s_order() {
        let ours = Offence::ALL.map(|offence| format!("{offence:?}"));
        let chain = assay_primitives::offence::Offence::ALL.map(|offence| format!("{offence:?}"));
        assert_eq!(ours, chain);
    }

    #[test]
    fn strikes_name_their_offences() {
        let bond = Bond {
            provider: AccountId::from([1; 32]),
            bonded: 0,
            unlocking: Vec::new(),
            auto_stake: false,
            debt: 3,
            pending: 0,
            pending_slashes: 0,
            strikes: Offence::ALL
                .map(|offence| Strikes {
                    count: u8::from(offence == Offence::ChallengeUnanswered),
                    last_epoch: 9,
                })
                .to_vec(),
        };
        let strikes: Vec<_> = bond.strikes_by_offence().collect();
        assert_eq!(
            strikes,
            [(
                Offence::ChallengeUnanswered,
                Strikes {
                    count: 1,
                    last_epoch: 9
                }
            )]
        );
        let json = serde_json::to_value(&bond).unwrap();
        assert_eq!(json["strikes"]["ChallengeUnanswered"]["count"], 1);
        assert_eq!(json["strikes"]["ChallengeWrong"]["count"], 0);
        assert_eq!(json["debt"], "3");
    }

    #[test]
    fn a_debt_is_the_sum_of_its_parts() {
        let debt = Debt {
            consumer: Some(Share {
                account: AccountId::from([1; 32]),
                amount: 4,
            }),
            burn: 1,
        };
        assert_eq!(debt.total(), 5);
        let id = SlashId {
            due_epoch: 12,
            index: 0,
        };
        assert_eq!(id.to_string(), "12/0");
    }
}

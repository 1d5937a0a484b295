//! Records of bonds, slashes and debts.

use assay_primitives::{machine::MachineId, money::Balance, offence};
use scale_decode::DecodeAsType;
use serde::{Serialize, Serializer};

pub use assay_primitives::{
    offence::{Offence, SlashId, SlashReason},
    stake::{StrikeRecord as Strikes, UnlockChunk},
};

use super::{AccountId, as_decimal};

/// Bond of a machine.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Bond {
    /// Account whose plancks are held.
    pub provider: AccountId,
    /// Plancks bonded.
    #[serde(serialize_with = "as_decimal")]
    pub bonded: Balance,
    /// Unbonding plancks.
    pub unlocking: Vec<UnlockChunk>,
    /// True if the machine's rewards are bonded.
    pub auto_stake: bool,
    /// Sum of the machine's debts, in plancks. Nothing can be bonded while it is above zero.
    #[serde(serialize_with = "as_decimal")]
    pub debt: Balance,
    /// Plancks of the machine's pending slashes; they stay held.
    #[serde(serialize_with = "as_decimal")]
    pub pending: Balance,
    /// Number of the machine's pending slashes.
    pub pending_slashes: u32,
    /// Strikes of the machine for each offence, in the order of [`Offence::ALL`].
    #[serde(serialize_with = "by_offence")]
    pub strikes: Vec<Strikes>,
}

impl Bond {
    /// Returns the plancks that stay bonded after the pending slashes. They must reach the minimum.
    pub fn unencumbered(&self) -> Balance {
        self.bonded.saturating_sub(self.pending)
    }

    /// Returns the offences that count against the machine.
    pub fn strikes_by_offence(&self) -> impl Iterator<Item = (Offence, Strikes)> + '_ {
        Offence::ALL
            .into_iter()
            .zip(self.strikes.iter().copied())
            .filter(|(_, strikes)| strikes.count > 0)
    }
}

/// Writes strikes as an object with an entry for each offence.
fn by_offence<S: Serializer>(strikes: &[Strikes], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Offence::ALL.into_iter().zip(strikes))
}

/// Share of a slash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Share {
    /// Account that gets it.
    pub account: AccountId,
    /// Plancks.
    #[serde(serialize_with = "as_decimal")]
    pub amount: Balance,
}

/// Recipient of a part of a slash; the rest is burned.
pub type Beneficiaries = offence::Beneficiaries<AccountId>;

/// Pending slash.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Slash {
    /// The machine.
    pub machine: MachineId,
    /// Reason for the slash.
    pub reason: SlashReason,
    /// Amount, in plancks.
    #[serde(serialize_with = "as_decimal")]
    pub owed: Balance,
    /// Accounts that get a share.
    pub beneficiaries: Beneficiaries,
    /// True if its application retires the machine.
    pub ends_machine: bool,
}

/// Debt: the uncovered part of a slash, in the order in which it is paid.
#[derive(Clone, PartialEq, Eq, Debug, DecodeAsType, Serialize)]
pub struct Debt {
    /// The harmed consumer's part.
    pub consumer: Option<Share>,
    /// Plancks that are burned.
    #[serde(serialize_with = "as_decimal")]
    pub burn: Balance,
}

impl Debt {
    /// Returns all of it, in plancks.
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
        let json = crate::json::to_value(&bond).unwrap();
        assert_eq!(json["strikes"]["challenge_unanswered"]["count"], 1);
        assert_eq!(json["strikes"]["challenge_wrong"]["count"], 0);
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

//! Parts that sentences about events have in common.

use std::fmt;

use assay_primitives::money::Balance;

use crate::units::format_asy;

/// Plancks of a slash that went to the consumer, and those that were burned.
pub(super) struct Parts(pub(super) Balance, pub(super) Balance);

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(to_consumer, burned) = *self;
        let parts = [(to_consumer, " to the consumer"), (burned, " burned")];
        let mut separator = ": ";
        for (amount, destination) in parts.into_iter().filter(|(amount, _)| *amount > 0) {
            write!(f, "{separator}{}{destination}", format_asy(amount))?;
            separator = ", ";
        }
        Ok(())
    }
}

/// A number with its noun, in the right grammatical number.
pub(super) fn count(number: impl Into<u32>, noun: &str) -> String {
    match number.into() {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_agree_with_their_nouns() {
        assert_eq!(count(0_u8, "slot"), "0 slots");
        assert_eq!(count(1_u8, "slot"), "1 slot");
        assert_eq!(count(300_u32, "machine"), "300 machines");
    }

    #[test]
    fn parts_of_nothing_are_left_out() {
        let asy = 1_000_000_000_000;
        assert_eq!(Parts(0, 0).to_string(), "");
        assert_eq!(Parts(0, asy).to_string(), ": 1 ASY burned");
        assert_eq!(
            Parts(2 * asy, asy).to_string(),
            ": 2 ASY to the consumer, 1 ASY burned"
        );
    }
}

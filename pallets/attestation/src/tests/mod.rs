//! Tests of the pallet, by topic.

#![allow(clippy::unwrap_used)]

mod attacks;
mod collateral;
mod expiry;
mod genesis;
mod governance;
mod keys;
mod properties;
mod real;
mod standing;
mod submissions;

use assay_evidence::EvidenceError;

use crate::{Error, Refusal, mock::Test};

/// Returns the error of a submission that the evidence crate refuses.
fn refused(error: EvidenceError) -> Error<Test> {
    Error::Refused(Refusal(error))
}

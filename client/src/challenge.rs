//! A worker's side of the hardware challenge: due answers and their submission.
//!
//! No account signs or pays for an answer's transaction: it contains the worker key's signature, and the
//! runtime builds it.

pub use assay_primitives::challenge::{AnswerSubject, ChallengeDue, ChallengePhase, RoundKind, RoundRef};
use assay_primitives::{
    challenge::{commit_message, prove_message},
    machine::MachineId,
};
use assay_proof::{ChallengeParams, Hash, SlotProof};
use codec::{DecodeAll, Encode};
use scale_decode::DecodeAsType;
use subxt_signer::sr25519::Keypair;

use crate::{client::ChainClient, error::Error, queries};

/// Parameters of a class from a round on; none where its machines cannot be challenged.
#[derive(DecodeAsType)]
pub(crate) struct ClassVersion {
    params: Option<ClassParams>,
}

/// [`ChallengeParams`] as the chain keeps them.
#[derive(DecodeAsType)]
pub(crate) struct ClassParams {
    items: u32,
    fill_double_rounds: u16,
    lanes_log2: u8,
    steps: u16,
    openings: u8,
    deadline_ms: u64,
}

impl From<ClassParams> for ChallengeParams {
    fn from(params: ClassParams) -> Self {
        let ClassParams {
            items,
            fill_double_rounds,
            lanes_log2,
            steps,
            openings,
            deadline_ms,
        } = params;
        Self {
            items,
            fill_double_rounds,
            lanes_log2,
            steps,
            openings,
            deadline_ms,
        }
    }
}

impl ChainClient {
    /// Returns the answers that a machine owes or may give now, the oldest round first.
    pub async fn challenge_due(&self, machine: MachineId) -> Result<Vec<ChallengeDue>, Error> {
        let answer = self
            .call_runtime("HardwareChallengeApi_challenge_due", &machine.encode())
            .await?;
        decoded(&answer)
    }

    /// Returns the names of the hardware classes whose machines are challenged, with their parameters from
    /// the next round on, in the order of the catalogue.
    pub async fn challenged_classes(&self) -> Result<Vec<(String, ChallengeParams)>, Error> {
        let at = self.at_best().await?;
        let mut challenged = Vec::new();
        for (id, class) in self.hardware_classes().await? {
            let versions: Option<Vec<ClassVersion>> =
                queries::value(&at, "HardwareChallenge", "Classes", (id,)).await?;
            let newest = versions.unwrap_or_default().pop();
            if let Some(params) = newest.and_then(|version| version.params) {
                challenged.push((class.name.to_string(), params.into()));
            }
        }
        Ok(challenged)
    }

    /// Submits a machine's roots to the node: one for each due slot, in the order of the slots' numbers.
    ///
    /// The signature also covers the round's question, so a fork with another question refuses the roots.
    /// Returns once the node has them; [`Self::challenge_due`] shows when the chain does.
    pub async fn commit_to_challenge(
        &self,
        subject: &AnswerSubject,
        roots: &[Hash],
        worker: &Keypair,
    ) -> Result<(), Error> {
        let message = commit_message(&self.genesis_hash(), subject, roots);
        let arguments = (subject.round, subject.machine, roots, worker.sign(&message).0).encode();
        self.submit_answer("HardwareChallengeApi_commit_transaction", &arguments)
            .await
    }

    /// Submits proofs of a machine's slots to the node, from `first_slot` on. Returns once the node has them.
    ///
    /// The signature also covers the openings and the committed `roots`. Verify the proofs against both
    /// first: a wrong proof costs a large part of the bond, even if its input was at fault.
    pub async fn prove_challenge(
        &self,
        subject: &AnswerSubject,
        opening_randomness: &Hash,
        roots: &[Hash],
        first_slot: u8,
        proofs: &[SlotProof],
        worker: &Keypair,
    ) -> Result<(), Error> {
        let message = prove_message(
            &self.genesis_hash(),
            subject,
            opening_randomness,
            roots,
            first_slot,
            proofs,
        );
        let signature = worker.sign(&message).0;
        let (round, machine) = (subject.round, subject.machine);
        let arguments = (round, opening_randomness, machine, first_slot, proofs, signature).encode();
        self.submit_answer("HardwareChallengeApi_prove_transaction", &arguments)
            .await
    }

    async fn submit_answer(&self, function: &'static str, arguments: &[u8]) -> Result<(), Error> {
        let answer = self.call_runtime(function, arguments).await?;
        // An optional transaction: a presence byte, then the transaction as the pool takes it.
        match answer.split_first() {
            Some((1, transaction)) => self.submit_bytes(transaction).await,
            Some((0, [])) => Err(Error::Rejected {
                reason: "the answer is longer than a transaction may be".to_owned(),
            }),
            _ => Err(unreadable("it is no optional transaction")),
        }
    }
}

fn decoded<T: DecodeAll>(mut bytes: &[u8]) -> Result<T, Error> {
    T::decode_all(&mut bytes).map_err(unreadable)
}

fn unreadable(reason: impl std::fmt::Display) -> Error {
    Error::Incompatible {
        reason: format!("what the runtime answered cannot be read: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn answers_that_cannot_be_read_say_so() {
        let error = decoded::<Vec<ChallengeDue>>(&[4, 0]).unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
        // Nothing may follow.
        assert!(decoded::<Vec<ChallengeDue>>(&[0, 0]).is_err());
        assert_eq!(decoded::<Vec<ChallengeDue>>(&[0]).unwrap(), []);
    }
}

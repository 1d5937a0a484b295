//! Result of a task, checked by its hash.

use assay_primitives::job::ResultDocument;

use super::{ConsumerError, JobAccess};
use crate::worker_api::OwnerSession;

/// Result of a task that has the hash which its worker names, and the chain's while the chain has one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckedResult {
    /// The fields that the hash is of.
    pub document: ResultDocument,
    /// The fields as JSON, as the worker shows them.
    pub json: Vec<u8>,
    /// True if the chain has the hash at present; it forgets the hash when the assignment ends.
    pub is_on_chain: bool,
}

impl JobAccess {
    /// Returns the finished task's result, once its hash is checked.
    ///
    /// # Errors
    /// [`ConsumerError::OtherResult`] for a result whose hash is another one. The worker refuses while there
    /// is no result.
    pub async fn result(&self) -> Result<CheckedResult, ConsumerError> {
        let session = self.log_in().await?;
        let result = self.checked_result(&session).await;
        self.log_out(session).await;
        result
    }

    pub(super) async fn checked_result(
        &self,
        session: &OwnerSession,
    ) -> Result<CheckedResult, ConsumerError> {
        let result = session.result().await?;
        let document = result.checked().ok_or_else(|| ConsumerError::OtherResult {
            reason: "the worker's result does not have the hash that the worker names".to_owned(),
        })?;
        let on_chain = self.result_on_chain().await?;
        if on_chain.is_some_and(|hash| hash != document.hash()) {
            return Err(ConsumerError::OtherResult {
                reason: format!(
                    "the worker shows a result with the hash 0x{}, and gave the chain another",
                    hex::encode(document.hash())
                ),
            });
        }
        Ok(CheckedResult {
            document,
            json: result.document,
            is_on_chain: on_chain.is_some(),
        })
    }
}

//! Inherent of `pallet-finality-view`: tells the chain which block this node regards as final.

use assay_primitives::finality::{INHERENT_IDENTIFIER, InherentType};
use assay_runtime::OpaqueBlock as Block;
use jsonrpsee::core::async_trait;
use polkadot_sdk::{
    sp_blockchain::HeaderBackend,
    sp_inherents::{self, InherentData, InherentIdentifier},
};

/// Height that the node regards as final when it makes or checks a block.
pub(crate) struct InherentDataProvider {
    finalized: InherentType,
}

impl InherentDataProvider {
    /// Reads the height from the node's database.
    pub(crate) fn from_client(client: &impl HeaderBackend<Block>) -> Self {
        Self {
            finalized: client.info().finalized_number,
        }
    }
}

#[async_trait]
impl sp_inherents::InherentDataProvider for InherentDataProvider {
    async fn provide_inherent_data(&self, data: &mut InherentData) -> Result<(), sp_inherents::Error> {
        data.put_data(INHERENT_IDENTIFIER, &self.finalized)
    }

    async fn try_handle_error(
        &self,
        identifier: &InherentIdentifier,
        _: &[u8],
    ) -> Option<Result<(), sp_inherents::Error>> {
        // The runtime has only one error: the statement is missing.
        (*identifier == INHERENT_IDENTIFIER).then(|| {
            Err(sp_inherents::Error::Application(
                "the block does not state which block its author regards as final".into(),
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use polkadot_sdk::sp_inherents::InherentDataProvider as _;

    use super::*;

    #[test]
    fn block_states_what_the_node_holds_for_finalized() {
        let provider = InherentDataProvider { finalized: 41 };
        let data = futures::executor::block_on(provider.create_inherent_data());
        let stated = data.map(|data| data.get_data::<InherentType>(&INHERENT_IDENTIFIER));
        assert!(matches!(stated, Ok(Ok(Some(41)))));
    }

    #[test]
    fn missing_statement_is_an_error_and_other_inherents_are_not_its_business() {
        let provider = InherentDataProvider { finalized: 41 };
        let handled = |identifier| futures::executor::block_on(provider.try_handle_error(&identifier, &[0]));
        let error = handled(INHERENT_IDENTIFIER);
        assert!(matches!(error, Some(Err(sp_inherents::Error::Application(_)))));
        assert!(handled(*b"timstap0").is_none());
    }
}

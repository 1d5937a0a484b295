//! Transactions that no account signs or pays for.

use polkadot_sdk::{
    frame_metadata_hash_extension::CheckMetadataHash, frame_system,
    pallet_skip_feeless_payment::SkipCheckIfFeeless, pallet_transaction_payment::ChargeTransactionPayment,
    sp_runtime::generic::Era,
};

use crate::{RuntimeCall, TxExtension, UncheckedExtrinsic};

/// Returns a transaction of a call that authorizes itself.
pub fn general_transaction(call: RuntimeCall) -> UncheckedExtrinsic {
    let extension: TxExtension = (
        frame_system::AuthorizeCall::new(),
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(Era::Immortal),
        frame_system::CheckNonce::from(0),
        frame_system::CheckWeight::new(),
        SkipCheckIfFeeless::from(ChargeTransactionPayment::from(0)),
        CheckMetadataHash::new(false),
        frame_system::WeightReclaim::new(),
    );
    UncheckedExtrinsic::new_transaction(call, extension)
}

//! Errors between a program and the chain.

use crate::types::AccountId;

/// A request to the chain that did not succeed.
///
/// Errors of files and texts that never reach the chain have their own types: [`crate::keys::KeyError`],
/// [`crate::manifest::ManifestError`], [`crate::units::AmountError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No node answered at the URL.
    #[error(
        "no node answers at {url} ({reason}); start one with `assay-node --dev` or name another with its \
         WebSocket URL (ws://host:port or wss://host)"
    )]
    Unreachable {
        /// The URL that was tried, without credentials.
        url: String,
        /// Reason that the connection gave.
        reason: String,
    },

    /// The URL cannot be one of a node.
    #[error("{url:?} is not the URL of a node: write ws://host:port or wss://host")]
    BadUrl {
        /// The URL as it was given, without credentials.
        url: String,
    },

    /// A node answered, but its chain is not Assay.
    #[error(
        "the chain {chain:?} at {url} is not an Assay chain: its runtime has no pallet {missing_pallet}; \
         connect to a node that was started with an Assay chain spec"
    )]
    NotAssay {
        /// The URL of the node.
        url: String,
        /// Name of the chain, as the node reports it.
        chain: String,
        /// First missing pallet.
        missing_pallet: String,
    },

    /// The chain is an Assay chain, but another one than was expected.
    #[error(
        "the chain at {url} has genesis 0x{found}, but 0x{expected} was expected: this is another network; \
         connect to the right one, or change the expected genesis hash if the network was started anew"
    )]
    WrongGenesis {
        /// The URL of the node.
        url: String,
        /// Genesis hash of the chain, in hex.
        found: String,
        /// Genesis hash that was expected, in hex.
        expected: String,
    },

    /// The connection broke off.
    #[error("the connection to the node broke off ({reason}); connect again when the node is back")]
    ConnectionLost {
        /// Reason that the connection gave.
        reason: String,
    },

    /// The chain does not know something that this client needs.
    #[error(
        "the chain's metadata does not fit this program ({reason}); use the release of Assay's programs that \
         belongs to the chain's runtime"
    )]
    Incompatible {
        /// Part that is missing or has another shape.
        reason: String,
    },

    /// The node does not have the block (any more).
    #[error(
        "the node has no state of block {block} ({reason}); ask an archive node, or begin at a later block"
    )]
    BlockUnavailable {
        /// Number or hash of the block.
        block: String,
        /// Reason that the node gave.
        reason: String,
    },

    /// The signer cannot pay for the transaction.
    #[error(
        "the account {account} cannot pay for this ({reason}); send it some ASY, or sign with an account \
         that has enough"
    )]
    InsufficientFunds {
        /// The signer.
        account: AccountId,
        /// Reason that the chain gave.
        reason: String,
    },

    /// The node refused the transaction before it came into a block.
    #[error("the node refused the transaction: {reason}")]
    Rejected {
        /// Reason that the node gave, and the remedy where one is known.
        reason: String,
    },

    /// The transaction is in a block, but the call failed there.
    #[error("the chain refused the call: {pallet}::{error}{}", plain(.docs))]
    Dispatch {
        /// The pallet that refused, or the runtime itself.
        pallet: String,
        /// The error's name.
        error: String,
        /// The error's documentation, as the chain's metadata has it.
        docs: String,
    },

    /// The node accepted a transaction, but no block, or no finalized block, had it in time.
    #[error(
        "the transaction 0x{transaction} was not {awaited} {waited}; it may still come to that, so look \
         at the chain before sending it again"
    )]
    Undecided {
        /// Hash of the transaction, in hex.
        transaction: String,
        /// The condition that was waited for: `in a block` or `final`.
        awaited: &'static str,
        /// Time that was waited, such as `after 60 seconds`.
        waited: String,
    },

    /// The node refused a search of the market as it was asked.
    #[error("the search cannot be made: {reason}")]
    SearchRefused {
        /// Reason that the node gave: the requirement that is wrong, and a right one.
        reason: String,
    },

    /// The node does not know a method, or answers it in another way.
    #[error(
        "the node does not answer {method} as this program understands it ({reason}); use a node and programs of \
         the same release"
    )]
    IncompatibleNode {
        /// The JSON-RPC method.
        method: String,
        /// Reason that the node gave, or the part of its answer that was not understood.
        reason: String,
    },

    /// Any other failure of the node or of the connection.
    #[error("the node could not answer: {0}")]
    Node(Box<subxt::Error>),
}

/// Returns the documentation of an error as the end of a sentence.
fn plain(docs: &str) -> String {
    if docs.is_empty() {
        String::new()
    } else {
        format!(" ({})", docs.trim_end_matches('.'))
    }
}

impl Error {
    /// Returns true if the chain refused a call with this error of this pallet.
    pub fn is_dispatch(&self, pallet: &str, error: &str) -> bool {
        matches!(self, Self::Dispatch { pallet: p, error: e, .. } if p == pallet && e == error)
    }

    /// Returns true if the connection is gone, so that the program should connect again and go on.
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::ConnectionLost { .. } => true,
            Self::Node(error) => error.is_disconnected_will_reconnect() || looks_disconnected(&chain(error)),
            _ => false,
        }
    }
}

/// Converts a failure of the node into the kind that its remedy depends on.
pub(crate) fn from_subxt(error: impl Into<subxt::Error>) -> Error {
    let error = error.into();
    let text = chain(&error);
    if looks_disconnected(&text) {
        return Error::ConnectionLost { reason: text };
    }
    if let subxt::Error::StorageError(
        subxt::error::StorageError::PalletNameNotFound(_)
        | subxt::error::StorageError::StorageEntryNotFound { .. }
        | subxt::error::StorageError::StorageKeyEncodeError(_),
    )
    | subxt::Error::StorageValueError(_)
    | subxt::Error::StorageKeyError(_)
    | subxt::Error::ConstantError(_)
    | subxt::Error::EventsError(_) = &error
    {
        return Error::Incompatible { reason: text };
    }
    Error::Node(Box::new(error))
}

/// Returns the texts of an error and of all its causes, without repetitions, as one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    // Each layer of the transport repeats this and says nothing by it.
    text.replace("RPC error: ", "").replace("client error: ", "")
}

/// Returns true for the error text of a broken connection.
///
/// The transport wraps its errors in text, so nothing else distinguishes them.
fn looks_disconnected(text: &str) -> bool {
    const SIGNS: [&str; 7] = [
        "background task closed",
        "connection closed",
        "Connection refused",
        "Connection reset",
        "Broken pipe",
        "restart required",
        "subscription dropped",
    ];
    SIGNS.iter().any(|sign| text.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispatch_error_reads_as_a_sentence() {
        let error = Error::Dispatch {
            pallet: "JobEscrow".into(),
            error: "PriceTooLow".into(),
            docs: "The machine asks more than the order's maximum.".into(),
        };
        assert_eq!(
            error.to_string(),
            "the chain refused the call: JobEscrow::PriceTooLow (The machine asks more than the order's maximum)"
        );
        assert!(error.is_dispatch("JobEscrow", "PriceTooLow"));
        assert!(!error.is_dispatch("JobEscrow", "NoSuchJob"));
        assert!(!error.is_connection_lost());
    }

    #[test]
    fn a_closed_connection_is_recognised() {
        assert!(looks_disconnected(
            "RPC error: The background task closed connection closed; restart required"
        ));
        assert!(!looks_disconnected("RPC error: Invalid Transaction"));
    }
}

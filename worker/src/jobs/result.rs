//! The document that says how a task ended, and the hash by which the chain knows it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::Output;

/// How a task ended.
///
/// Its canonical form is JSON without spaces and with the keys in alphabetical order, which is the order of the fields
/// here; the chain is given the Blake2-256 hash of exactly those bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultDocument {
    /// The container's exit code.
    pub exit_code: i64,
    /// The image that ran: `sha256:<hex>`.
    pub image_digest: String,
    /// The job.
    pub job: u64,
    /// Whether an output stream was longer than what is kept of it.
    pub output_truncated: bool,
    /// Bytes kept of standard error.
    pub stderr_bytes: u64,
    /// SHA-256 of those bytes, hexadecimal.
    pub stderr_sha256: String,
    /// Bytes kept of standard output.
    pub stdout_bytes: u64,
    /// SHA-256 of those bytes, hexadecimal.
    pub stdout_sha256: String,
    /// Version of this format.
    pub version: u32,
}

/// Version of the format of [`ResultDocument`].
pub const RESULT_VERSION: u32 = 1;

/// What is kept of a finished task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultFiles {
    /// The canonical bytes of the [`ResultDocument`].
    pub document: Vec<u8>,
    /// What the container wrote.
    pub output: Output,
}

impl ResultFiles {
    /// Describes how a task's container ended.
    pub fn new(
        job: u64,
        image_digest: [u8; 32],
        exit_code: i64,
        output: Output,
    ) -> Result<Self, serde_json::Error> {
        let document = ResultDocument {
            exit_code,
            image_digest: format!("sha256:{}", hex::encode(image_digest)),
            job,
            output_truncated: output.truncated,
            stderr_bytes: output.stderr.len() as u64,
            stderr_sha256: hex::encode(Sha256::digest(&output.stderr)),
            stdout_bytes: output.stdout.len() as u64,
            stdout_sha256: hex::encode(Sha256::digest(&output.stdout)),
            version: RESULT_VERSION,
        };
        Ok(Self {
            document: serde_json::to_vec(&document)?,
            output,
        })
    }

    /// What the chain is given: the Blake2-256 hash of the document.
    pub fn hash(&self) -> [u8; 32] {
        sp_crypto_hashing::blake2_256(&self.document)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn document_is_canonical() {
        let output = Output {
            stdout: b"hello\n".to_vec(),
            stderr: Vec::new(),
            truncated: false,
        };
        let files = ResultFiles::new(7, [0xab; 32], 0, output).unwrap();
        let expected = concat!(
            r#"{"exit_code":0,"image_digest":"sha256:"#,
            "abababababababababababababababababababababababababababababababab",
            r#"","job":7,"output_truncated":false,"stderr_bytes":0,"stderr_sha256":""#,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            r#"","stdout_bytes":6,"stdout_sha256":""#,
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            r#"","version":1}"#,
        );
        assert_eq!(String::from_utf8(files.document.clone()).unwrap(), expected);
        let keys_in_order: serde_json::Value = serde_json::from_slice(&files.document).unwrap();
        assert_eq!(serde_json::to_vec(&keys_in_order).unwrap(), files.document);
        assert_eq!(files.hash(), sp_crypto_hashing::blake2_256(expected.as_bytes()));
    }
}

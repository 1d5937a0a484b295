//! The file that documents a task's result; the chain has the hash of that result.

use assay_primitives::job::{ResultDocument, StdoutResult};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Version of the format of [`ResultFile`], and of the bytes that are hashed.
pub const RESULT_VERSION: u32 = 2;

/// A result as JSON: the fields of a [`ResultDocument`], from which its hash can be computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultFile {
    /// The container's exit code.
    pub exit_code: i32,
    /// Digest of the image that ran: `sha256:<hex>`.
    pub image_digest: String,
    /// Blake2-256 hash of the manifest, hexadecimal.
    pub manifest_hash: String,
    /// Standard output; `null` where the manifest leaves it out.
    pub stdout: Option<StdoutFile>,
    /// Root hash of the output folder, hexadecimal; left out where the manifest names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// [`RESULT_VERSION`].
    pub version: u32,
}

/// Standard output in a [`ResultFile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StdoutFile {
    /// BLAKE3 hash of standard output, hexadecimal.
    pub blake3: String,
    /// True if the output exceeds the hashed length, so that the hash covers only its beginning.
    pub is_longer: bool,
}

impl From<&ResultDocument> for ResultFile {
    fn from(document: &ResultDocument) -> Self {
        let stdout = |hash: &[u8; 32], is_longer| {
            Some(StdoutFile {
                blake3: hex::encode(hash),
                is_longer,
            })
        };
        Self {
            exit_code: document.exit_code,
            image_digest: format!("sha256:{}", hex::encode(document.image_digest)),
            manifest_hash: hex::encode(document.manifest_hash),
            stdout: match &document.stdout {
                StdoutResult::NotCaptured => None,
                StdoutResult::Whole(hash) => stdout(hash, false),
                StdoutResult::LongerThanLimit(hash) => stdout(hash, true),
            },
            output: document.output.map(hex::encode),
            version: RESULT_VERSION,
        }
    }
}

impl ResultFile {
    /// Returns the document in the file; `None` if the file is incomplete or of another version.
    pub fn document(&self) -> Option<ResultDocument> {
        let hash = |text: &str| {
            let mut hash = [0; 32];
            hex::decode_to_slice(text, &mut hash).ok().map(|()| hash)
        };
        let stdout = match &self.stdout {
            None => StdoutResult::NotCaptured,
            Some(stdout) if stdout.is_longer => StdoutResult::LongerThanLimit(hash(&stdout.blake3)?),
            Some(stdout) => StdoutResult::Whole(hash(&stdout.blake3)?),
        };
        (self.version == RESULT_VERSION).then_some(ResultDocument {
            exit_code: self.exit_code,
            image_digest: hash(self.image_digest.strip_prefix("sha256:")?)?,
            manifest_hash: hash(&self.manifest_hash)?,
            stdout,
            output: match &self.output {
                None => None,
                Some(root) => Some(hash(root)?),
            },
        })
    }
}

/// Returns the hash of the result in the bytes of a [`ResultFile`], if they hold a valid one.
pub fn hash_of_file(bytes: &[u8]) -> Option<[u8; 32]> {
    let file: ResultFile = serde_json::from_slice(bytes).ok()?;
    Some(file.document()?.hash())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn file_shows_the_whole_document() {
        for (stdout, output) in [
            (StdoutResult::NotCaptured, Some([0x12; 32])),
            (StdoutResult::Whole([0xcd; 32]), None),
            (StdoutResult::LongerThanLimit([0xcd; 32]), None),
        ] {
            let document = ResultDocument {
                exit_code: 3,
                image_digest: [0xab; 32],
                manifest_hash: [0xef; 32],
                stdout,
                output,
            };
            let bytes = serde_json::to_vec(&ResultFile::from(&document)).unwrap();
            let file: ResultFile = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(file.document(), Some(document));
            assert_eq!(hash_of_file(&bytes), Some(document.hash()));
        }
    }

    #[test]
    fn file_is_pinned() {
        let document = ResultDocument {
            exit_code: 0,
            image_digest: [0xab; 32],
            manifest_hash: [0xef; 32],
            stdout: StdoutResult::Whole([0xcd; 32]),
            output: None,
        };
        let expected = format!(
            r#"{{"exit_code":0,"image_digest":"sha256:{}","manifest_hash":"{}","stdout":{{"blake3":"{}","is_longer":false}},"version":2}}"#,
            "ab".repeat(32),
            "ef".repeat(32),
            "cd".repeat(32)
        );
        assert_eq!(
            serde_json::to_string(&ResultFile::from(&document)).unwrap(),
            expected
        );
        let with_output = ResultDocument {
            output: Some([0x12; 32]),
            ..document
        };
        let expected = expected.replace(
            r#","version":2"#,
            &format!(r#","output":"{}","version":2"#, "12".repeat(32)),
        );
        assert_eq!(
            serde_json::to_string(&ResultFile::from(&with_output)).unwrap(),
            expected
        );
    }

    #[test]
    fn file_of_another_version_has_no_hash() {
        assert_eq!(hash_of_file(b"{}"), None);
        let text =
            r#"{"exit_code":0,"image_digest":"sha256:00","manifest_hash":"00","stdout":null,"version":1}"#;
        assert_eq!(hash_of_file(text.as_bytes()), None);
    }
}

//! The format of a record.
//!
//! | bytes | content, integers little-endian |
//! |---|---|
//! | 4 | first bytes of the BLAKE3 hash of everything that follows |
//! | 4 | length of the output in this record |
//! | 1 | 1 for standard output, 2 for standard error |
//! | 8 | number of the record |
//! | 8 | time in milliseconds since the Unix epoch |
//! | 8 | number of bytes of both streams before this record, including those that were dropped |
//! | … | the output |

use super::MAX_RECORD_BYTES;
use crate::engine::OutputStream;

/// Length of a record without its output.
pub(super) const HEADER_BYTES: usize = 33;

/// Length of the checksum.
const CHECKSUM_BYTES: usize = 4;

/// Record of a log file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: u64,
    pub(super) time_ms: u64,
    /// Number of bytes of output before this record.
    pub(super) offset: u64,
    pub(super) stream: OutputStream,
    pub(super) bytes: Vec<u8>,
}

impl Record {
    /// Returns the number of bytes of output up to the end of this record.
    pub(super) fn end_offset(&self) -> u64 {
        self.offset.saturating_add(self.bytes.len() as u64)
    }

    pub(super) fn encoded_len(&self) -> u64 {
        (HEADER_BYTES + self.bytes.len()) as u64
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.bytes.len());
        bytes.extend_from_slice(&[0; CHECKSUM_BYTES]);
        // A record is at most `MAX_RECORD_BYTES` long.
        bytes.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        bytes.push(match self.stream {
            OutputStream::Stdout => 1,
            OutputStream::Stderr => 2,
        });
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&self.time_ms.to_le_bytes());
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(&self.bytes);
        let checksum = checksum(&bytes[CHECKSUM_BYTES..]);
        bytes[..CHECKSUM_BYTES].copy_from_slice(&checksum);
        bytes
    }

    /// Reads the record at the beginning of `bytes`; `None` if none is there, or none that is whole.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let length = usize::try_from(u32::from_le_bytes(field(header, 4))).ok()?;
        if length > MAX_RECORD_BYTES {
            return None;
        }
        let output = rest.get(..length)?;
        if checksum(&bytes[CHECKSUM_BYTES..HEADER_BYTES + length])[..] != header[..CHECKSUM_BYTES] {
            return None;
        }
        Some(Self {
            stream: match header[8] {
                1 => OutputStream::Stdout,
                2 => OutputStream::Stderr,
                _ => return None,
            },
            id: u64::from_le_bytes(field(header, 9)),
            time_ms: u64::from_le_bytes(field(header, 17)),
            offset: u64::from_le_bytes(field(header, 25)),
            bytes: output.to_vec(),
        })
    }
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], start: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&header[start..start + N]);
    field
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash: [u8; 32] = blake3::hash(bytes).into();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn record() -> Record {
        Record {
            id: 7,
            time_ms: 1_750_000_000_123,
            offset: 258,
            stream: OutputStream::Stderr,
            bytes: b"a\xff".to_vec(),
        }
    }

    #[test]
    fn format_is_pinned() {
        let encoded = record().encode();
        assert_eq!(encoded.len() as u64, record().encoded_len());
        assert_eq!(
            hex::encode(&encoded[CHECKSUM_BYTES..]),
            "020000000207000000000000007bdc207497010000020100000000000061ff"
        );
        assert_eq!(Record::decode(&encoded), Some(record()));
    }

    #[test]
    fn record_that_is_not_whole_is_none() {
        let encoded = record().encode();
        for length in 0..encoded.len() {
            assert_eq!(Record::decode(&encoded[..length]), None, "{length} bytes");
        }
        for position in 0..encoded.len() {
            let mut torn = encoded.clone();
            torn[position] ^= 1;
            assert_eq!(Record::decode(&torn), None, "byte {position}");
        }
        assert_eq!(Record::decode(&[0; 64]), None);
        let mut followed = encoded;
        followed.extend_from_slice(b"rest");
        assert_eq!(Record::decode(&followed), Some(record()));
    }
}

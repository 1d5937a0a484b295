//! Report of a job's output, and the mark behind its last byte.
//!
//! Both carry a hash keyed with a number that only the worker and `assay-init` know. The job runs as the same
//! user and may write to the report's file; without the key it cannot make a report that counts.

use crate::blake3::{Blake3, hex, unhex};

/// Length of a key, in bytes.
pub const KEY_BYTES: usize = 32;

/// Maximum length of a report, in bytes; engines keep 4,096.
pub const MAX_REPORT_BYTES: usize = 1_024;

/// First bytes of a report.
const REPORT: &str = "assay-init/report/1";

/// First bytes of a mark. The first one is rare in text, so a reader rarely has to hold output back.
const MARK: &str = "\0assay-init/end/1 ";

/// Length of a mark, in bytes.
pub const MARK_BYTES: usize = MARK.len() + 64 + 1;

/// Output of a job's processes, as they wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Number of bytes of standard output.
    pub stdout_bytes: u64,
    /// BLAKE3 of the first bytes of standard output, up to the bound in the orders.
    pub stdout_hash: [u8; 32],
    /// Number of bytes of standard error.
    pub stderr_bytes: u64,
}

fn keyed(key: &[u8; KEY_BYTES], text: &str) -> String {
    let mut hasher = Blake3::keyed(key);
    hasher.update(text.as_bytes());
    hex(&hasher.finish())
}

impl Report {
    /// Writes the report.
    pub fn text(&self, key: &[u8; KEY_BYTES]) -> String {
        let body = format!(
            "{REPORT} stdout={} {} stderr={}",
            self.stdout_bytes,
            hex(&self.stdout_hash),
            self.stderr_bytes
        );
        let tag = keyed(key, &body);
        format!("{body} tag={tag}")
    }

    /// Reads a report; `None` if it is none, or of another key.
    pub fn read(text: &str, key: &[u8; KEY_BYTES]) -> Option<Self> {
        if text.len() > MAX_REPORT_BYTES {
            return None;
        }
        let (body, tag) = text.trim_end().rsplit_once(" tag=")?;
        if keyed(key, body) != tag {
            return None;
        }
        let rest = body.strip_prefix(REPORT)?.strip_prefix(" stdout=")?;
        let (stdout_bytes, rest) = rest.split_once(' ')?;
        let (stdout_hash, stderr_bytes) = rest.split_once(" stderr=")?;
        Some(Self {
            stdout_bytes: stdout_bytes.parse().ok()?,
            stdout_hash: unhex(stdout_hash)?,
            stderr_bytes: stderr_bytes.parse().ok()?,
        })
    }
}

/// Returns the mark behind the last byte of each output stream: the job's processes have ended.
pub fn end_mark(key: &[u8; KEY_BYTES]) -> Vec<u8> {
    format!("{MARK}{}\n", keyed(key, MARK)).into_bytes()
}

/// Separates a stream from the mark behind its last byte.
#[derive(Clone, Debug)]
pub struct MarkReader {
    mark: Vec<u8>,
    /// Bytes that may be the beginning of the mark.
    held: Vec<u8>,
    has_ended: bool,
}

impl MarkReader {
    /// Creates a reader of a stream whose mark is made with the key.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self {
            mark: end_mark(key),
            held: Vec::new(),
            has_ended: false,
        }
    }

    /// Returns true once the mark has come: everything behind it is repetition.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes bytes of the stream, and returns those that are output.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.has_ended {
            return Vec::new();
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        if let Some(at) = find(&all, &self.mark) {
            self.has_ended = true;
            all.truncate(at);
            return all;
        }
        let held = (1..self.mark.len().min(all.len() + 1))
            .rev()
            .find(|length| self.mark.get(..*length).is_some_and(|begin| all.ends_with(begin)))
            .unwrap_or(0);
        self.held = all.split_off(all.len() - held);
        all
    }

    /// Returns what was held back, at the end of a stream without its mark.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Returns the position of a text that begins with a rare byte.
fn find(all: &[u8], text: &[u8]) -> Option<usize> {
    let first = text.first()?;
    let mut from = 0;
    loop {
        let rest = all.get(from..)?;
        let at = from + rest.iter().position(|byte| byte == first)?;
        if all.get(at..)?.starts_with(text) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const KEY: [u8; KEY_BYTES] = [7; KEY_BYTES];

    fn report() -> Report {
        Report {
            stdout_bytes: 30_000_000,
            stdout_hash: [0xab; 32],
            stderr_bytes: 5,
        }
    }

    #[test]
    fn report_survives_and_no_change_of_it_does() {
        let text = report().text(&KEY);
        assert!(text.len() <= MAX_REPORT_BYTES);
        assert_eq!(Report::read(&text, &KEY), Some(report()));
        assert_eq!(Report::read(&text, &[8; KEY_BYTES]), None);
        for length in 0..text.len() {
            assert_eq!(Report::read(&text[..length], &KEY), None, "{length}");
        }
        for (index, byte) in text.bytes().enumerate() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if byte == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(Report::read(&changed, &KEY), None, "{changed}");
        }
    }

    #[test]
    fn report_of_the_job_does_not_count() {
        let forged = report().text(&[0; KEY_BYTES]);
        assert_eq!(Report::read(&forged, &KEY), None);
        assert_eq!(
            Report::read(&format!("{forged}{}", report().text(&KEY)), &KEY),
            None
        );
        assert_eq!(Report::read("", &KEY), None);
    }

    #[test]
    fn output_ends_at_the_mark_however_it_is_cut() {
        let mark = end_mark(&KEY);
        assert_eq!(mark.len(), MARK_BYTES);
        let output = [&b"\0assay-init/end/1 not the mark\n\0\0"[..], &mark[..40], b"\0"].concat();
        let stream = [&output[..], &mark, &mark].concat();
        for size in 1..stream.len() {
            let mut reader = MarkReader::new(&KEY);
            let mut read = Vec::new();
            for piece in stream.chunks(size) {
                read.extend(reader.take(piece));
            }
            assert!(reader.has_ended(), "{size}");
            assert_eq!(read, output, "{size}");
            assert!(reader.rest().is_empty());
        }
    }

    #[test]
    fn forged_or_cut_mark_is_output() {
        let forged = end_mark(&[8; KEY_BYTES]);
        let cut = &end_mark(&KEY)[..MARK_BYTES - 1];
        for stream in [&forged[..], cut] {
            let mut reader = MarkReader::new(&KEY);
            let mut read = reader.take(stream);
            assert!(!reader.has_ended());
            read.extend(reader.rest());
            assert_eq!(read, stream);
        }
    }

    #[test]
    fn text_is_not_held_back() {
        let mut reader = MarkReader::new(&KEY);
        assert_eq!(reader.take(b"line\n"), b"line\n");
    }
}

//! Start over standard input, for engines that give containers no folder of the host.
//!
//! ```text
//! worker                                   init, the container's first process
//!   │  Hello { number, targets }             │
//!   │ ──────────── standard input ─────────▶ │ tries to reach the targets
//!   │ ◀─── greeting on standard output ───── │
//!   │ ◀─── greeting on standard error ────── │
//!   │  Orders { key, … }, Secret …, Launch   │
//!   │ ─────────────────────────────────────▶ │ starts the job's program, whose input is empty
//!   │ ◀── what the job writes, and a mark ── │ its processes have ended
//!   │  Release                               │
//!   │ ─────────────────────────────────────▶ │ ends as the program did
//! ```
//!
//! The greeting on both streams proves that they are attached: whatever the job writes comes after it, and
//! none of it is missed. Without orders the program is not started but replaces this one. The targets are
//! addresses that no job may reach. A greeting that names one of them says that the network's rules are not
//! in force, and the launch is not sent.

use std::io::{self, Read};

use crate::{KEY_BYTES, MAX_LAUNCH_BYTES};

/// Argument by which this program expects its launch over standard input.
pub const ATTACHED: &str = "--attached";

/// Argument by which this program ends at once, with success: the container only proves that its image is
/// there.
pub const NOTHING: &str = "--nothing";

/// Maximum length of a frame's content, in bytes: a launch, or a secret with its name.
pub const MAX_FRAME_BYTES: usize = MAX_LAUNCH_BYTES;

/// Maximum number of addresses that a greeting tries.
const MAX_TARGETS: usize = 16;

/// First bytes of a greeting.
const GREETING: &str = "assay-init/greeting/1";

/// Content of standard input: a kind (one byte), a length (four bytes, little endian) and a content.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// Request for a greeting.
    Hello {
        /// Number that the greeting repeats.
        number: u32,
        /// Addresses with ports, such as `10.0.0.1:443`, that the container should not reach.
        targets: Vec<String>,
    },
    /// File to write to the folder of secrets.
    Secret {
        /// Name of the file.
        name: String,
        /// Content of the file.
        content: Vec<u8>,
    },
    /// Encoded [`crate::Launch`]; empty if it lies in the file [`crate::LAUNCH`].
    Launch(Vec<u8>),
    /// Orders to stay the parent of the job's processes; before the launch.
    Orders(Orders),
    /// Release of the program: the worker has everything. Sent to another than the container's first program,
    /// it releases that one.
    Release,
    /// Request for the content of a folder, see [`crate::send_folder`]; after the job's end.
    Collect {
        /// Key of the answer's hash, new for each request.
        key: [u8; KEY_BYTES],
        /// Folder of the job's disk.
        disk: String,
        /// Folder below that; empty for all of it.
        below: String,
    },
}

/// Orders of the worker for a job's run.
#[derive(Clone, PartialEq, Eq)]
pub struct Orders {
    /// Key of the report and of the mark behind the output.
    pub key: [u8; KEY_BYTES],
    /// Number of bytes of standard output that go into the hash.
    pub hashed_bytes: u64,
    /// Time in seconds for which the program waits for its release after the job's end.
    pub patience_s: u32,
    /// Existing file that the report is written to.
    pub report: String,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Secrets must not reach a log.
        formatter.write_str("Frame(…)")
    }
}

const HELLO: u8 = 1;
const SECRET: u8 = 2;
const LAUNCH: u8 = 3;
const ORDERS: u8 = 4;
const RELEASE: u8 = 5;
const COLLECT: u8 = 6;

impl Frame {
    /// Writes the frame.
    ///
    /// # Errors
    /// The content is longer than [`MAX_FRAME_BYTES`].
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let (kind, content) = match self {
            Self::Hello { number, targets } => {
                let mut content = number.to_le_bytes().to_vec();
                content.extend_from_slice(targets.join(" ").as_bytes());
                (HELLO, content)
            }
            Self::Secret { name, content } => {
                let mut bytes =
                    Vec::with_capacity(name.len().saturating_add(content.len()).saturating_add(1));
                bytes.extend_from_slice(name.as_bytes());
                bytes.push(0);
                bytes.extend_from_slice(content);
                (SECRET, bytes)
            }
            Self::Launch(launch) => (LAUNCH, launch.clone()),
            Self::Orders(orders) => {
                let mut bytes = orders.key.to_vec();
                bytes.extend_from_slice(&orders.hashed_bytes.to_le_bytes());
                bytes.extend_from_slice(&orders.patience_s.to_le_bytes());
                bytes.extend_from_slice(orders.report.as_bytes());
                (ORDERS, bytes)
            }
            Self::Release => (RELEASE, Vec::new()),
            Self::Collect { key, disk, below } => {
                let mut bytes = key.to_vec();
                bytes.extend_from_slice(disk.as_bytes());
                bytes.push(0);
                bytes.extend_from_slice(below.as_bytes());
                (COLLECT, bytes)
            }
        };
        let length = u32::try_from(content.len())
            .ok()
            .filter(|_| content.len() <= MAX_FRAME_BYTES)
            .ok_or_else(|| io::Error::other("a frame is longer than 1 MiB"))?;
        let mut bytes = Vec::with_capacity(content.len().saturating_add(5));
        bytes.push(kind);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&content);
        Ok(bytes)
    }

    /// Reads the next frame.
    ///
    /// # Errors
    /// The input ends, or is not a frame.
    pub fn read(input: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 5];
        input.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "the input is not a launch");
        let length = usize::try_from(u32::from_le_bytes(length))
            .ok()
            .filter(|length| *length <= MAX_FRAME_BYTES)
            .ok_or_else(bad)?;
        let mut content = vec![0; length];
        input.read_exact(&mut content)?;
        match kind {
            HELLO => {
                let (number, targets) = content.split_first_chunk::<4>().ok_or_else(bad)?;
                let targets = std::str::from_utf8(targets).map_err(|_| bad())?;
                Ok(Self::Hello {
                    number: u32::from_le_bytes(*number),
                    targets: targets
                        .split_whitespace()
                        .take(MAX_TARGETS)
                        .map(str::to_owned)
                        .collect(),
                })
            }
            SECRET => {
                let end = content.iter().position(|byte| *byte == 0).ok_or_else(bad)?;
                let (name, rest) = content.split_at(end);
                let name = std::str::from_utf8(name).map_err(|_| bad())?.to_owned();
                // The name is one of a file in the folder of secrets, and nothing else.
                if name.is_empty() || name.starts_with('.') || name.contains('/') {
                    return Err(bad());
                }
                let content = rest.get(1..).unwrap_or_default().to_vec();
                Ok(Self::Secret { name, content })
            }
            LAUNCH => Ok(Self::Launch(content)),
            ORDERS => Orders::read(&content).map(Self::Orders).ok_or_else(bad),
            RELEASE if content.is_empty() => Ok(Self::Release),
            COLLECT => {
                let (key, rest) = content.split_first_chunk::<KEY_BYTES>().ok_or_else(bad)?;
                let paths = std::str::from_utf8(rest).map_err(|_| bad())?;
                let (disk, below) = paths.split_once('\0').ok_or_else(bad)?;
                Ok(Self::Collect {
                    key: *key,
                    disk: disk.to_owned(),
                    below: below.to_owned(),
                })
            }
            _ => Err(bad()),
        }
    }
}

impl Orders {
    fn read(content: &[u8]) -> Option<Self> {
        let (key, rest) = content.split_first_chunk::<KEY_BYTES>()?;
        let (hashed_bytes, rest) = rest.split_first_chunk::<8>()?;
        let (patience_s, report) = rest.split_first_chunk::<4>()?;
        Some(Self {
            key: *key,
            hashed_bytes: u64::from_le_bytes(*hashed_bytes),
            patience_s: u32::from_le_bytes(*patience_s),
            report: std::str::from_utf8(report).ok()?.to_owned(),
        })
    }
}

/// Answer to a [`Frame::Hello`], one line on each of both streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Number of the hello.
    pub number: u32,
    /// Devices that the cluster's plugin gave, by their UUIDs, or the value of `NVIDIA_VISIBLE_DEVICES`.
    pub devices: String,
    /// Targets that were reached.
    pub reached: Vec<String>,
}

impl Greeting {
    /// Writes the greeting as a line.
    pub fn line(&self) -> String {
        let devices: String = self.devices.chars().filter(|c| c.is_ascii_graphic()).collect();
        let reached = self.reached.join(",");
        format!("{GREETING} {} devices={devices} reached={reached}\n", self.number)
    }

    /// Reads a line without its end; `None` if it is no greeting.
    pub fn read(line: &str) -> Option<Self> {
        let rest = line.strip_prefix(GREETING)?.strip_prefix(' ')?;
        let (number, rest) = rest.split_once(" devices=")?;
        let (devices, reached) = rest.split_once(" reached=")?;
        Some(Self {
            number: number.parse().ok()?,
            devices: devices.to_owned(),
            reached: reached
                .split(',')
                .filter(|target| !target.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// Returns the greeting with a number at the beginning of a stream, and the number of bytes up to its end.
/// Greetings of earlier numbers before it are passed over. `None` as long as it has not come.
pub fn greeting_end(bytes: &[u8], number: u32) -> Option<(Greeting, usize)> {
    let mut begin = 0;
    loop {
        let rest = bytes.get(begin..)?;
        let length = rest.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(rest.get(..length)?).ok()?;
        let greeting = Greeting::read(line)?;
        begin = begin.saturating_add(length).saturating_add(1);
        if greeting.number == number {
            return Some((greeting, begin));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::Hello {
                number: 7,
                targets: vec!["10.0.0.1:443".into(), "169.254.169.254:80".into()],
            },
            Frame::Hello {
                number: u32::MAX,
                targets: Vec::new(),
            },
            Frame::Secret {
                name: "key".into(),
                content: vec![0, 1, 255, 0],
            },
            Frame::Launch(Vec::new()),
            Frame::Launch(vec![9; 70_000]),
            Frame::Orders(Orders {
                key: [3; KEY_BYTES],
                hashed_bytes: u64::MAX,
                patience_s: 30,
                report: "/dev/termination-log".into(),
            }),
            Frame::Release,
            Frame::Collect {
                key: [4; KEY_BYTES],
                disk: "/work".into(),
                below: String::new(),
            },
        ]
    }

    #[test]
    fn frames_survive_one_after_the_other() {
        let bytes: Vec<u8> = frames()
            .iter()
            .flat_map(|frame| frame.encode().unwrap())
            .collect();
        let mut input = &bytes[..];
        for frame in frames() {
            assert!(Frame::read(&mut input).unwrap() == frame);
        }
        assert_eq!(
            Frame::read(&mut input).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn cut_or_foreign_input_is_no_frame() {
        let whole = frames().remove(2).encode().unwrap();
        for length in 0..whole.len() {
            assert!(Frame::read(&mut &whole[..length]).is_err(), "{length}");
        }
        for (kind, content) in [
            (0, &b""[..]),
            (HELLO, b"123"),
            (SECRET, b"no end"),
            (SECRET, b"../up\0x"),
            (SECRET, b".\0x"),
            (SECRET, b"\0x"),
            (ORDERS, &[1; 43]),
            (RELEASE, b"x"),
            (COLLECT, &[1; 40]),
            (9, b"x"),
        ] {
            let mut bytes = vec![kind];
            bytes.extend_from_slice(&u32::try_from(content.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(content);
            assert!(Frame::read(&mut &bytes[..]).is_err(), "{kind}");
        }
        // A length that promises more than is allowed must not make room for it.
        let many = [&[LAUNCH][..], &u32::MAX.to_le_bytes()].concat();
        assert_eq!(
            Frame::read(&mut &many[..]).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        assert!(Frame::Launch(vec![0; MAX_FRAME_BYTES + 1]).encode().is_err());
    }

    #[test]
    fn output_begins_behind_the_last_greeting() {
        let greeting = |number, reached: &[&str]| Greeting {
            number,
            devices: "GPU-a,GPU-b".into(),
            reached: reached.iter().map(|target| (*target).to_owned()).collect(),
        };
        let text = format!(
            "{}{}output of the job\n",
            greeting(1, &["10.0.0.1:443"]).line(),
            greeting(2, &[]).line()
        );
        let (found, end) = greeting_end(text.as_bytes(), 2).unwrap();
        assert_eq!(found, greeting(2, &[]));
        assert_eq!(&text[end..], "output of the job\n");
        let (found, _) = greeting_end(text.as_bytes(), 1).unwrap();
        assert_eq!(found.reached, ["10.0.0.1:443"]);
        assert_eq!(greeting_end(text.as_bytes(), 3), None);
        for length in 0..end {
            assert_eq!(greeting_end(&text.as_bytes()[..length], 2), None, "{length}");
        }
    }

    #[test]
    fn devices_cannot_end_the_greeting() {
        let greeting = Greeting {
            number: 1,
            devices: "a\nb c".into(),
            reached: Vec::new(),
        };
        assert_eq!(greeting.line().lines().count(), 1);
        assert_eq!(Greeting::read(greeting.line().trim_end()).unwrap().devices, "abc");
    }
}

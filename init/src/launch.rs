//! The command and the environment of a job as bytes.
//!
//! `magic ‖ number of words (4) ‖ words ‖ number of variables (4) ‖ names and values in turn`; a text is its
//! length (4, little-endian) and its bytes. One build of the worker writes the bytes and contains the program
//! that reads them, so they need no compatibility between versions.

use std::fmt;

/// Magic bytes of a launch.
const MAGIC: &[u8] = b"assay-launch/1\n";

/// Maximum length of a launch, in bytes: a manifest's 256 KiB, and the command of any image.
pub const MAX_LAUNCH_BYTES: usize = 1_024 * 1_024;

/// Command and environment of a job.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments; never empty.
    pub command: Vec<String>,
    /// Variables that replace those of the image and the engine, the last of two values for a name.
    pub environment: Vec<(String, String)>,
}

impl fmt::Debug for Launch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Secrets must not reach a log.
        formatter.write_str("Launch(…)")
    }
}

/// Reason why a launch cannot be written or read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaunchError {
    /// It is longer than [`MAX_LAUNCH_BYTES`].
    TooLong,
    /// There is no program to run.
    NoProgram,
    /// A text has a NUL byte, or a variable's name is empty or has `=`.
    BadText,
    /// The bytes are not a launch.
    Unreadable,
}

impl fmt::Display for LaunchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "command and environment are longer than 1 MiB",
            Self::NoProgram => "neither the manifest nor the image names a program to run",
            Self::BadText => "a word has a NUL byte, or a variable has no valid name",
            Self::Unreadable => "the launch file is not whole",
        })
    }
}

impl std::error::Error for LaunchError {}

impl Launch {
    /// Writes the launch.
    pub fn encode(&self) -> Result<Vec<u8>, LaunchError> {
        self.check()?;
        let texts = self
            .command
            .iter()
            .chain(self.environment.iter().flat_map(|(name, value)| [name, value]));
        let length = texts.fold(MAGIC.len() + 8, |sum, text| sum.saturating_add(text.len() + 4));
        if length > MAX_LAUNCH_BYTES {
            return Err(LaunchError::TooLong);
        }
        // Allocated at its full size: growing would leave copies in freed memory.
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(MAGIC);
        put_number(&mut bytes, self.command.len())?;
        for word in &self.command {
            put_text(&mut bytes, word)?;
        }
        put_number(&mut bytes, self.environment.len())?;
        for (name, value) in &self.environment {
            put_text(&mut bytes, name)?;
            put_text(&mut bytes, value)?;
        }
        Ok(bytes)
    }

    /// Reads a launch.
    pub fn decode(bytes: &[u8]) -> Result<Self, LaunchError> {
        if bytes.len() > MAX_LAUNCH_BYTES {
            return Err(LaunchError::TooLong);
        }
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(LaunchError::Unreadable)?;
        let mut launch = Self::default();
        for _ in 0..take_number(&mut rest)? {
            launch.command.push(take_text(&mut rest)?);
        }
        for _ in 0..take_number(&mut rest)? {
            let name = take_text(&mut rest)?;
            launch.environment.push((name, take_text(&mut rest)?));
        }
        if !rest.is_empty() {
            return Err(LaunchError::Unreadable);
        }
        launch.check()?;
        Ok(launch)
    }

    fn check(&self) -> Result<(), LaunchError> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(LaunchError::NoProgram);
        }
        let has_bad_word = self.command.iter().any(|word| word.contains('\0'));
        let has_bad_variable = self
            .environment
            .iter()
            .any(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0'));
        if has_bad_word || has_bad_variable {
            return Err(LaunchError::BadText);
        }
        Ok(())
    }
}

fn put_number(bytes: &mut Vec<u8>, number: usize) -> Result<(), LaunchError> {
    let number = u32::try_from(number).map_err(|_| LaunchError::TooLong)?;
    bytes.extend_from_slice(&number.to_le_bytes());
    Ok(())
}

fn put_text(bytes: &mut Vec<u8>, text: &str) -> Result<(), LaunchError> {
    put_number(bytes, text.len())?;
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

fn take_number(rest: &mut &[u8]) -> Result<usize, LaunchError> {
    let (number, after) = rest.split_first_chunk::<4>().ok_or(LaunchError::Unreadable)?;
    *rest = after;
    usize::try_from(u32::from_le_bytes(*number)).map_err(|_| LaunchError::Unreadable)
}

fn take_text(rest: &mut &[u8]) -> Result<String, LaunchError> {
    let length = take_number(rest)?;
    let (text, after) = rest.split_at_checked(length).ok_or(LaunchError::Unreadable)?;
    *rest = after;
    String::from_utf8(text.to_vec()).map_err(|_| LaunchError::Unreadable)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn launch(command: &[&str], environment: &[(&str, &str)]) -> Launch {
        Launch {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn launch_survives() {
        for launch in [
            launch(&["a"], &[]),
            launch(
                &["/bin/sh", "-c", "", "é\n"],
                &[("A", "b=c"), ("A", ""), ("ü", "\u{1f600}")],
            ),
        ] {
            let bytes = launch.encode().unwrap();
            assert!(Launch::decode(&bytes).unwrap() == launch);
            assert_eq!(bytes.capacity(), bytes.len());
        }
    }

    #[test]
    fn encode_fails_when_nothing_can_run_by_it() {
        for (launch, error) in [
            (launch(&[], &[]), LaunchError::NoProgram),
            (launch(&["", "a"], &[]), LaunchError::NoProgram),
            (launch(&["a\0"], &[]), LaunchError::BadText),
            (launch(&["a"], &[("", "b")]), LaunchError::BadText),
            (launch(&["a"], &[("a=", "b")]), LaunchError::BadText),
            (launch(&["a"], &[("a", "\0")]), LaunchError::BadText),
            (
                launch(&["a", &"b".repeat(MAX_LAUNCH_BYTES)], &[]),
                LaunchError::TooLong,
            ),
        ] {
            assert_eq!(launch.encode().unwrap_err(), error);
        }
    }

    #[test]
    fn decode_fails_when_a_byte_is_missing_or_too_many() {
        let bytes = launch(&["/bin/sh", "-c"], &[("A", "b")]).encode().unwrap();
        for length in 0..bytes.len() {
            assert!(Launch::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(Launch::decode(&[&bytes[..], b"\0"].concat()).is_err());
        // A declared count is not trusted: it must not allocate memory beyond the bytes that are there.
        let many = [MAGIC, &u32::MAX.to_le_bytes()].concat();
        assert_eq!(Launch::decode(&many).unwrap_err(), LaunchError::Unreadable);
        assert_eq!(
            Launch::decode(&vec![0; MAX_LAUNCH_BYTES + 1]).unwrap_err(),
            LaunchError::TooLong
        );
        let no_text = [MAGIC, &1u32.to_le_bytes(), &1u32.to_le_bytes(), b"\xff", &[0; 4]].concat();
        assert_eq!(Launch::decode(&no_text).unwrap_err(), LaunchError::Unreadable);
    }

    #[test]
    fn launch_is_not_printed() {
        assert_eq!(format!("{:?}", launch(&["marker"], &[])), "Launch(…)");
    }
}

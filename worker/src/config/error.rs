//! Problems of a `worker.yaml`: the line, and the values that are allowed instead.

use std::{fmt, path::PathBuf};

use assay_client::redaction;
use serde_saphyr::Location;

/// One problem and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line counted from one; `None` if the problem has no place of its own.
    pub line: Option<u64>,
    /// Text of the message.
    pub message: String,
}

impl Problem {
    /// Creates a problem at a place of the file.
    pub(super) fn at(location: Location, message: String) -> Self {
        let line = (location != Location::UNKNOWN).then(|| location.line());
        Self { line, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "line {line}: {}", self.message),
            None => formatter.write_str(&self.message),
        }
    }
}

/// Reason why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; name the file with --config <PATH>", redaction::shown(&path.to_string_lossy()))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The file has invalid values; every problem is listed.
    #[error("{} is not usable:{}", path.display(), list(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Each problem in the order of the file, at least one.
        problems: Vec<Problem>,
    },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Translates an error of the YAML reader into a message that a provider can act on.
pub(super) fn from_yaml(error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error;

    let error = error.without_snippet();
    let location = error.location().unwrap_or(Location::UNKNOWN);
    let message = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            let field = redaction::shown(&field);
            format!("unknown key `{field}`; allowed here: {}", expected.join(", "))
        }
        Error::SerdeMissingField { field, .. } => {
            format!("the section around this line lacks the key `{field}`")
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` is given twice; keep one of them")
        }
        Error::NullIntoString { .. } => {
            "a value is missing; write it after the colon or remove the key".into()
        }
        other => {
            let text = other.render_with_formatter(&serde_saphyr::UserMessageFormatter);
            format!("not the YAML that is expected here: {}", text.trim())
        }
    };
    Problem::at(location, message)
}

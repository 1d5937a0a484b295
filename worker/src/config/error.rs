//! What is wrong with a `worker.yaml`, by line, with what is allowed instead.

use std::{fmt, path::PathBuf};

use serde_saphyr::Location;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line counted from one; `None` where the problem has no place of its own.
    pub line: Option<u64>,
    /// The sentence to show.
    pub message: String,
}

impl Problem {
    /// A problem at a place of the file.
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

/// Why no configuration could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; name the file with --config <PATH>", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is read but says something that is not allowed; every such place is listed.
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

/// Puts an error of the YAML reader into words that a provider can act on.
pub(super) fn from_yaml(error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error;

    let error = error.without_snippet();
    let location = error.location().unwrap_or(Location::UNKNOWN);
    let message = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
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

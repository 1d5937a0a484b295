//! Errors of a `worker.yaml`.

use std::path::PathBuf;

use assay_client::{
    redaction,
    yaml::{Problem, line_of, list},
};
use serde_saphyr::Location;

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

/// Translates an error of the YAML reader into a message that a provider can act on.
pub(super) fn from_yaml(error: &serde_saphyr::Error) -> Problem {
    use serde_saphyr::Error;

    let error = error.without_snippet();
    let location = error.location().unwrap_or(Location::UNKNOWN);
    let message = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            let field = redaction::shown(field);
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
    Problem {
        place: line_of(location),
        message,
    }
}

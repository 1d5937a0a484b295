//! YAML that people write: values with their places, and every mistake at once with its line and the values
//! that are allowed instead.
//!
//! `worker.yaml` and `compute-manifest.yaml` are read with it.

mod nearest;
mod reader;
mod tree;

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

pub use nearest::nearest;
pub use reader::{Reader, parse_microdegrees};
pub use tree::{Entry, MAX_BYTES, MAX_DEPTH, MAX_NODES, Node, Scalar, ScalarKind, Section, Value, read_tree};

/// Place in a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Place {
    /// Line, counted from one; zero if it is unknown.
    pub line: u64,
    /// Column in characters, counted from one; zero if it is unknown.
    pub column: u64,
}

impl Place {
    /// Place of something that is nowhere in the file.
    pub const UNKNOWN: Self = Self { line: 0, column: 0 };
}

/// One problem of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Place; [`Place::UNKNOWN`] if the problem has none of its own.
    pub place: Place,
    /// Fault, and the values that are allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place { line: 0, .. } => formatter.write_str(&self.message),
            Place { line, column: 0 } => write!(formatter, "line {line}: {}", self.message),
            Place { line, column } => write!(formatter, "line {line}, column {column}: {}", self.message),
        }
    }
}

/// Writes problems below the name of their file, one a line.
pub fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Scalar as it is written, with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    /// The scalar.
    pub value: String,
    /// Its place.
    pub place: Place,
}

/// Reads a scalar of a derived structure, with its line.
impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value,
            place: line_of(spanned.referenced),
        })
    }
}

/// Line of a location of the deserializer: keys are named with their sections there, which makes the column
/// superfluous.
pub fn line_of(location: serde_saphyr::Location) -> Place {
    Place {
        line: location.line(),
        column: 0,
    }
}

//! `compute-manifest.yaml`: an order in one file.
//!
//! ```yaml
//! version: 1
//! image: registry.example/team/finetune:v2.4
//! command: [python, train.py]
//! env:
//!   DATASET_URL: https://data.example/set.tar
//! secrets:
//!   token: {env: HF_TOKEN}
//! requirements:
//!   gpu_type: NVIDIA_H100
//!   region: us-east
//! nodes: 4
//! max_price_per_slot_hour: 2.50
//! time_limit: 6h
//! ```
//!
//! The file is read strictly. Unknown keys, values of another type and settings that contradict each other
//! are errors that name line and column, and all of them are reported at once. `docs/COMPUTE_MANIFEST.md`
//! lists the keys, and `docs/compute-manifest.schema.json` describes them for editors.

mod container;
mod machines;
#[cfg(test)]
mod tests;
mod values;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{OrderError, OrderSpec};
use crate::{
    manifest::{ImageName, ManifestError},
    yaml::{self, Place, Problem, Reader, Section, read_tree},
};

/// The only version of the format.
pub const FILE_VERSION: u32 = 1;

/// Name that a file has where none is given.
pub const DEFAULT_FILE_NAME: &str = "compute-manifest.yaml";

/// Keys of the file.
pub(crate) const KEYS: [&str; 28] = [
    "version",
    "image",
    "entrypoint",
    "command",
    "env",
    "secrets",
    "registry_login",
    "network",
    "ports",
    "work_dir",
    "output",
    "writable_root",
    "shm_mib",
    "profile",
    "runtime",
    "delegates",
    "capture_stdout",
    "kind",
    "verification",
    "nodes",
    "slots",
    "requirements",
    "max_price_per_slot_hour",
    "max_price_per_machine_hour",
    "time_limit",
    "sealed",
    "spread",
    "retry",
];

/// Reason why a file makes no order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrderFileError {
    /// The file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The file has invalid values; every problem is listed.
    #[error("{} is not usable:{}", path.display(), yaml::list(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Each problem in the order of the file, at least one.
        problems: Vec<Problem>,
    },
}

/// Sources of the values that a file only names.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Folder that paths in the file are relative to.
    pub folder: &'a Path,
    /// Returns the value of an environment variable; `None` where it is not set, or no text.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Reads a file. Secrets come from files beside it, and from the environment of this process.
///
/// # Errors
/// [`OrderFileError`], with all problems of the file.
pub fn load(path: &Path) -> Result<OrderSpec, OrderFileError> {
    let unreadable = |source| OrderFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let bytes = read_bounded(path, yaml::MAX_BYTES).map_err(unreadable)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")))?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let sources = Sources {
        folder,
        variable: &|name| std::env::var(name).ok(),
    };
    parse(&text, path, sources)
}

/// Reads the text of a file. `path` names it in errors.
///
/// # Errors
/// [`OrderFileError::Invalid`] with all problems of the text.
pub fn parse(text: &str, path: &Path, sources: Sources<'_>) -> Result<OrderSpec, OrderFileError> {
    read(text, sources).map_err(|problems| OrderFileError::Invalid {
        path: path.to_owned(),
        problems,
    })
}

fn read(text: &str, sources: Sources<'_>) -> Result<OrderSpec, Vec<Problem>> {
    let root = read_tree(text).map_err(|problem| vec![problem])?;
    let mut reader = Reader::default();
    let spec = Section::read(&mut reader, "", &root, &KEYS)
        .and_then(|section| order(&mut reader, &section, sources).map(|spec| (section, spec)));
    if let Some((section, spec)) = &spec
        && reader.is_clean()
        && let Err(error) = spec.check()
    {
        let place = section.place_of(key_of(&error)).unwrap_or(Place::UNKNOWN);
        reader.problem(place, error.to_string());
    }
    let problems = reader.into_problems();
    match spec {
        Some((_, spec)) if problems.is_empty() => Ok(spec),
        _ => Err(problems),
    }
}

/// Reads the whole order; `None` without an image, of which there is a problem then.
fn order(reader: &mut Reader, section: &Section<'_>, sources: Sources<'_>) -> Option<OrderSpec> {
    match values::integer(reader, section, "version", 0..=u32::MAX) {
        Some(FILE_VERSION) => {}
        Some(version) => {
            let place = section.place_of("version").unwrap_or(Place::UNKNOWN);
            let message = format!(
                "`version` is `{version}`; allowed: {FILE_VERSION}, the one version that is read here"
            );
            reader.problem(place, message);
        }
        None => missing(reader, section, "version", "version: 1"),
    }
    let image = values::parsed::<ImageName, _>(
        reader,
        section,
        "image",
        "[registry/]name[:tag][@sha256:digest]",
        str::parse,
    );
    if image.is_none() {
        missing(reader, section, "image", "image: registry.example/team/name:tag");
    }
    // The rest is read without an image, too, so that all problems are reported at once.
    let mut spec = OrderSpec::new(image.clone().or_else(|| "image".parse().ok())?);
    spec.sealed = values::boolean(reader, section, "sealed").unwrap_or(spec.sealed);
    spec.container = container::read(reader, section, sources, spec.sealed);
    machines::read(reader, section, &mut spec);
    image.map(|_| spec)
}

/// Records that a key is missing. A key that is there has a problem of its own.
fn missing(reader: &mut Reader, section: &Section<'_>, key: &str, example: &str) {
    if section.place_of(key).is_none() {
        reader.problem(
            section.place(),
            format!("the key `{key}` is missing; add it, such as `{example}`"),
        );
    }
}

/// Records that a section has no value for a key that it needs.
fn missing_in(reader: &mut Reader, section: &Section<'_>, key: &str) {
    if section.place_of(key).is_none() {
        reader.problem(
            section.place(),
            format!("the key `{}` is missing; add it", section.key(key)),
        );
    }
}

/// Key of the file that an error of the whole order is about.
fn key_of(error: &OrderError) -> &'static str {
    match error {
        OrderError::BadNodes { .. } => "nodes",
        OrderError::BadSlots { .. } => "slots",
        OrderError::BadDuration { .. } => "time_limit",
        OrderError::BadVerification { .. }
        | OrderError::BadReplicas { .. }
        | OrderError::BadThreshold { .. }
        | OrderError::ProofNotSupported => "verification",
        OrderError::BadAttempts { .. } => "retry",
        OrderError::NotOnEarth => "requirements",
        OrderError::OtherImage { .. } => "image",
        OrderError::Manifest(error) => match error {
            ManifestError::Image(_) => "image",
            ManifestError::BadVariable { .. } | ManifestError::NulByte { .. } => "env",
            ManifestError::BadSecretName { .. } | ManifestError::BadSecret { .. } => "secrets",
            ManifestError::BadPort { .. } | ManifestError::RepeatedPort { .. } => "ports",
            ManifestError::ReservedPath { .. } => "work_dir",
            ManifestError::OutputElsewhere { .. } => "output",
            ManifestError::BadRuntime { .. } => "runtime",
            ManifestError::Exposed { key: "registry" } => "registry_login",
            ManifestError::BadPath { key, .. } | ManifestError::Exposed { key } => key,
            ManifestError::TooMany {
                key: "network.allow", ..
            } => "network",
            ManifestError::TooMany { key, .. } => key,
            ManifestError::TooLarge { .. }
            | ManifestError::NotValid { .. }
            | ManifestError::OtherVersion { .. } => "version",
        },
    }
}

/// Reads a file that must not be longer than a bound.
fn read_bounded(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > max_bytes {
        return Err(io::Error::other(format!("it has more than {max_bytes} bytes")));
    }
    Ok(bytes)
}

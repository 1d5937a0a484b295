//! A consumer's order in typed form: what to run, on what, and for how much.
//!
//! Every front end makes an [`OrderSpec`] of what its user said, so that an order means the same from each of
//! them. The spec knows no chain: its image may be named by a tag, and no machine is chosen.
//!
//! ```
//! use assay_client::{market::Requirements, order::OrderSpec};
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = OrderSpec {
//!     nodes: 4,
//!     requirements: Requirements {
//!         min_vram_mib: 80 * 1_024,
//!         ..Requirements::default()
//!     },
//!     ..OrderSpec::new("registry.example/team/finetune:v2.4".parse()?)
//! };
//! spec.check()?;
//! assert_eq!(spec.search().min_nodes, 4);
//! # Ok(())
//! # }
//! # example().unwrap();
//! ```

mod container;
mod describe;
mod error;
pub mod file;

use assay_primitives::{
    clock::{MILLIS_PER_HOUR, Millis},
    job::{JobKind, MAX_REPLICAS, Manifest, Verification},
    machine::MAX_SLOTS,
    market::{MAX_NODES, Requirements},
    money::Balance,
};
use zeroize::Zeroizing;

pub use container::ContainerSettings;
pub use error::OrderError;

use crate::{
    calls::JobOrder,
    manifest::{ImageName, ImageReference, JobManifest},
};

/// Minimum time limit of a job, in milliseconds; the chain refuses less.
pub const MIN_DURATION_MS: Millis = 60_000;

/// Maximum time limit of a job, in milliseconds: a year; the chain refuses more.
pub const MAX_DURATION_MS: Millis = 365 * 24 * MILLIS_PER_HOUR;

/// Maximum time that a result may wait for its verdict, in milliseconds: a day; the chain refuses more.
pub const MAX_VERIFICATION_MS: Millis = 24 * MILLIS_PER_HOUR;

/// Maximum number of attempts: each one holds money and takes a start window.
pub const MAX_ATTEMPTS: u8 = 16;

/// Time limit of an order that names none, in milliseconds.
pub const DEFAULT_DURATION_MS: Millis = 10 * 60_000;

/// Time that a consumer has to look at a result, where the order names none, in milliseconds.
pub const DEFAULT_WINDOW_MS: Millis = MILLIS_PER_HOUR;

/// Spread of an order's machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spread {
    /// Each machine is of another provider. A quorum asks for that in any case.
    pub providers: bool,
    /// Each machine is in another region.
    pub regions: bool,
}

/// Attempts at an order on other machines, when one did not start or failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Attempts in all, 1 to [`MAX_ATTEMPTS`]; one: no other machine is tried.
    pub attempts: u8,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 1 }
    }
}

/// Everything that a consumer wants of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderSpec {
    /// Image of the container; a tag is resolved when the order is placed.
    pub image: ImageName,
    /// Settings of the container and its wishes on the lease.
    pub container: ContainerSettings,
    /// Service or task, and the judge of a task's result. A quorum has as many replicas as the order has
    /// `nodes`.
    pub kind: JobKind,
    /// Machines, 1 to [`MAX_NODES`].
    pub nodes: u8,
    /// Slots of each machine, 1 to [`MAX_SLOTS`].
    pub slots: u8,
    /// Requirements for each machine. Slots, nodes and price are those of this order, whatever the fields of
    /// the requirements say.
    pub requirements: Requirements,
    /// Longest run of each machine, in milliseconds of active time: [`MIN_DURATION_MS`] to
    /// [`MAX_DURATION_MS`]. Its price is held in escrow.
    pub max_duration_ms: Millis,
    /// Most to be paid, in plancks per slot-hour; `None`: the asks of the machines that are chosen.
    pub max_price_per_slot_hour: Option<Balance>,
    /// Seals the manifest to each machine. Otherwise it is public on chain, and has no secrets.
    pub sealed: bool,
    /// Spread of the machines.
    pub spread: Spread,
    /// Attempts on other machines.
    pub retry: Retry,
}

impl OrderSpec {
    /// Creates an order of a sealed task as the image is: one slot of any machine, for
    /// [`DEFAULT_DURATION_MS`] at most, whose consumer looks at its result for [`DEFAULT_WINDOW_MS`].
    pub fn new(image: ImageName) -> Self {
        Self {
            image,
            container: ContainerSettings::default(),
            kind: JobKind::task(DEFAULT_WINDOW_MS),
            nodes: 1,
            slots: 1,
            requirements: Requirements::default(),
            max_duration_ms: DEFAULT_DURATION_MS,
            max_price_per_slot_hour: None,
            sealed: true,
            spread: Spread::default(),
            retry: Retry::default(),
        }
    }

    /// Returns true if no two machines may be of one provider.
    pub fn needs_distinct_providers(&self) -> bool {
        self.spread.providers || self.kind.quorum_threshold().is_some()
    }

    /// Returns the requirements for the market's search, with slots and price of this order. Where providers
    /// are not to be distinct, the machines are sought at one provider.
    pub fn search(&self) -> Requirements {
        Requirements {
            max_price_per_slot_hour: self.max_price_per_slot_hour,
            min_free_slots: self.slots,
            min_nodes: if self.needs_distinct_providers() {
                1
            } else {
                self.nodes
            },
            ..self.requirements.clone()
        }
    }

    /// Checks everything that needs no chain: bounds, the kind, and the manifest for any image of the name.
    ///
    /// # Errors
    /// The first rule that the order breaks.
    pub fn check(&self) -> Result<(), OrderError> {
        if !(1..=MAX_NODES).contains(&self.nodes) {
            return Err(OrderError::BadNodes { nodes: self.nodes });
        }
        if !(1..=MAX_SLOTS).contains(&self.slots) {
            return Err(OrderError::BadSlots { slots: self.slots });
        }
        if !(MIN_DURATION_MS..=MAX_DURATION_MS).contains(&self.max_duration_ms) {
            return Err(OrderError::BadDuration {
                duration_ms: self.max_duration_ms,
            });
        }
        if !(1..=MAX_ATTEMPTS).contains(&self.retry.attempts) {
            return Err(OrderError::BadAttempts {
                attempts: self.retry.attempts,
            });
        }
        self.check_kind()?;
        // The number of nodes, the other part of the form, was checked.
        self.search().check_form().map_err(|_| OrderError::NotOnEarth)?;
        let image = self.image.reference();
        // All digests are of one length.
        self.manifest(image.unwrap_or_else(|| self.image.with_digest([0; 32])))?;
        Ok(())
    }

    fn check_kind(&self) -> Result<(), OrderError> {
        let JobKind::Task { verification } = self.kind else {
            return Ok(());
        };
        let wait_ms = match verification {
            Verification::Consumer { window_ms } => window_ms,
            Verification::Quorum { replicas, threshold } => {
                if replicas != self.nodes || !(2..=MAX_REPLICAS).contains(&replicas) {
                    return Err(OrderError::BadReplicas {
                        replicas,
                        nodes: self.nodes,
                    });
                }
                if threshold <= replicas / 2 || threshold > replicas {
                    return Err(OrderError::BadThreshold { threshold, replicas });
                }
                self.max_duration_ms
            }
            Verification::Attested => 0,
            Verification::Proof { .. } => return Err(OrderError::ProofNotSupported),
        };
        if wait_ms > MAX_VERIFICATION_MS {
            return Err(OrderError::BadVerification { wait_ms });
        }
        Ok(())
    }

    /// Makes the manifest of the order for the image that its name was resolved to.
    ///
    /// # Errors
    /// [`OrderError::OtherImage`] for a reference that the name cannot mean, and [`OrderError::Manifest`] for
    /// a manifest that no worker takes: also one with secrets that is not sealed.
    pub fn manifest(&self, image: ImageReference) -> Result<JobManifest, OrderError> {
        if !self.image.may_mean(&image) {
            return Err(OrderError::OtherImage {
                wanted: self.image.to_string(),
                found: image.to_string(),
            });
        }
        let manifest = self.container.to_manifest(image);
        // Writing checks the manifest; the bytes may hold secrets.
        let written = if self.sealed {
            manifest.to_sealed_bytes()
        } else {
            manifest.to_bytes()
        };
        drop(Zeroizing::new(written?));
        Ok(manifest)
    }

    /// Returns the order as the chain takes it. `manifest` names the bytes of [`Self::manifest`] for `image`.
    /// `highest_ask`, in plancks per slot-hour, is the price where the order has none.
    pub fn job_order(&self, manifest: Manifest, image: &ImageReference, highest_ask: Balance) -> JobOrder {
        JobOrder {
            kind: self.kind,
            manifest,
            image_digest: image.digest(),
            requirements: Requirements {
                max_price_per_slot_hour: None,
                min_free_slots: self.slots,
                min_nodes: 0,
                ..self.requirements.clone()
            },
            slots: self.slots,
            max_duration_ms: self.max_duration_ms,
            max_price_per_slot_hour: self.max_price_per_slot_hour.unwrap_or(highest_ask),
        }
    }
}

#[cfg(test)]
mod tests;

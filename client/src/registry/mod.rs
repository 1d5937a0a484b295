//! Image registries: the digest behind a tag, and what the clients of a registry share.
//!
//! An order names its image by digest, since a tag may name another image tomorrow. [`resolve`] asks the
//! registry which digest a tag has now: of the image's manifest, or of its index where the image is for
//! several platforms. Workers read the same document by that digest, and choose their platform in it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use assay_client::{manifest::ImageName, registry};
//!
//! let name: ImageName = "docker.io/library/busybox:1.36".parse()?;
//! println!("{}", registry::resolve(&name, None).await?);
//! # Ok(())
//! # }
//! ```

mod address;
mod document;
mod resolve;
#[cfg(test)]
mod tests;

pub use address::{redirected, repository_url, token_url};
pub use document::{Document, MANIFEST_KINDS, MAX_DOCUMENT_BYTES, OtherKeys, Part, Platform, has_any};
pub use resolve::{ResolveError, resolve};

//! The image of a job: named by its digest, or by a tag that has to be resolved first.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Maximum length of an image's name, registry included, in bytes.
const MAX_IMAGE_NAME_BYTES: usize = 255;

/// Maximum length of a tag, in bytes.
const MAX_TAG_BYTES: usize = 128;

/// Tag of a name that has neither a tag nor a digest, as in engines.
const DEFAULT_TAG: &str = "latest";

/// Error of an image reference.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// There is no digest.
    #[error(
        "the image {reference:?} has no digest, so it could change at any time; resolve it with `skopeo \
         inspect --format '{{{{.Digest}}}}' docker://{reference}` (or `docker buildx imagetools inspect \
         {reference}`) and write it as {name}@sha256:<64 hex digits>"
    )]
    NoDigest {
        /// The reference as it was given.
        reference: String,
        /// Its part before tag and digest.
        name: String,
    },
    /// The digest is of another kind or length.
    #[error(
        "the digest of the image {reference:?} is not a sha256 digest: after the @ write sha256: and 64 \
         digits of 0-9 and a-f"
    )]
    BadDigest {
        /// The reference as it was given.
        reference: String,
    },
    /// The name is not valid.
    #[error(
        "the name of the image {reference:?} is not valid: write [registry[:port]/]name in lower-case letters, \
         digits and single separators"
    )]
    BadName {
        /// The reference as it was given.
        reference: String,
    },
    /// The tag is not valid.
    #[error(
        "the tag of the image {reference:?} is not valid: at most {MAX_TAG_BYTES} letters, digits, `_`, `.` \
         and `-`, beginning with a letter, a digit or `_`"
    )]
    BadTag {
        /// The reference as it was given.
        reference: String,
    },
}

/// Reference to one container image by its sha256 digest: `[registry/]repository[:tag]@sha256:<hex>`.
///
/// A worker ignores the tag: the digest decides.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    registry: Option<String>,
    repository: String,
    tag: Option<String>,
    digest: [u8; 32],
}

impl ImageReference {
    /// Returns the registry with its port, if the reference names one.
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// Returns the repository inside its registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag, if the reference has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the sha256 of the image's manifest.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Returns the digest as registries write it: `sha256:<64 hex digits>`.
    pub fn digest_text(&self) -> String {
        digest_text(&self.digest)
    }

    /// Returns registry and repository, without tag and digest.
    pub fn name(&self) -> String {
        join(self.registry(), &self.repository)
    }

    /// Returns the reference for an engine: name and digest, without the tag, which some engines refuse
    /// beside a digest.
    pub fn pull_reference(&self) -> String {
        format!("{}@{}", self.name(), self.digest_text())
    }
}

impl FromStr for ImageReference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let image: ImageName = text.parse()?;
        image.reference().ok_or_else(|| ImageError::NoDigest {
            reference: text.to_owned(),
            name: image.name(),
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.name())?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        write!(formatter, "@{}", self.digest_text())
    }
}

impl TryFrom<String> for ImageReference {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        reference.to_string()
    }
}

/// Names a container image by tag or by digest: `[registry/]repository[:tag][@sha256:<hex>]`.
///
/// A manifest takes an [`ImageReference`] alone: where there is no digest, the registry has to say which
/// image the tag names now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName {
    registry: Option<String>,
    repository: String,
    tag: Option<String>,
    digest: Option<[u8; 32]>,
}

impl ImageName {
    /// The registry with its port, where the name has one.
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// The repository inside its registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where the name has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// sha256 of the image's manifest, where the name has it.
    pub fn digest(&self) -> Option<[u8; 32]> {
        self.digest
    }

    /// Registry and repository, without tag and digest.
    pub fn name(&self) -> String {
        join(self.registry(), &self.repository)
    }

    /// Returns the tag to resolve: `latest` where the name has none, as engines take it.
    pub fn tag_or_latest(&self) -> &str {
        self.tag().unwrap_or(DEFAULT_TAG)
    }

    /// Returns the reference of the image; `None` if its digest has to be resolved first.
    pub fn reference(&self) -> Option<ImageReference> {
        self.digest.map(|digest| self.with_digest(digest))
    }

    /// Returns the reference of the image of this name that has the digest.
    pub fn with_digest(&self, digest: [u8; 32]) -> ImageReference {
        ImageReference {
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            tag: self.tag.clone(),
            digest,
        }
    }

    /// Returns true if the reference is of an image that this name may mean: of the same registry and
    /// repository, and with the same digest where this name has one.
    pub fn may_mean(&self, reference: &ImageReference) -> bool {
        self.registry == reference.registry
            && self.repository == reference.repository
            && self.digest.is_none_or(|digest| digest == reference.digest)
    }
}

impl FromStr for ImageName {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let reference = || text.to_owned();
        let (front, digest) = match text.split_once('@') {
            Some((front, digest)) => (front, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let after_slash = front.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match front[after_slash..].find(':') {
            Some(colon) => (
                &front[..after_slash + colon],
                Some(&front[after_slash + colon + 1..]),
            ),
            None => (front, None),
        };
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
            _ => (None, name),
        };
        if name.len() > MAX_IMAGE_NAME_BYTES
            || !registry.is_none_or(is_registry)
            || !repository.split('/').all(is_path_component)
        {
            return Err(ImageError::BadName {
                reference: reference(),
            });
        }
        if !tag.is_none_or(is_tag) {
            return Err(ImageError::BadTag {
                reference: reference(),
            });
        }
        let digest = digest
            .map(|digest| {
                parse_digest(digest).ok_or_else(|| ImageError::BadDigest {
                    reference: reference(),
                })
            })
            .transpose()?;
        Ok(Self {
            registry: registry.map(str::to_owned),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.name())?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{}", digest_text(digest))?;
        }
        Ok(())
    }
}

impl From<ImageReference> for ImageName {
    fn from(reference: ImageReference) -> Self {
        Self {
            registry: reference.registry,
            repository: reference.repository,
            tag: reference.tag,
            digest: Some(reference.digest),
        }
    }
}

impl TryFrom<String> for ImageName {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.to_string()
    }
}

/// Returns registry and repository as one name.
fn join(registry: Option<&str>, repository: &str) -> String {
    match registry {
        Some(registry) => format!("{registry}/{repository}"),
        None => repository.to_owned(),
    }
}

/// Returns the digest as registries write it.
fn digest_text(digest: &[u8; 32]) -> String {
    format!("sha256:{}", hex::encode(digest))
}

/// Returns true for a host with or without a port. IPv6 addresses in brackets are not accepted.
fn is_registry(text: &str) -> bool {
    let (host, port) = text
        .split_once(':')
        .map_or((text, None), |(host, port)| (host, Some(port)));
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Digits only: `parse` would take a sign as well.
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Returns true for lower-case letters and digits with separators between them: one `.`, one or two `_`, or
/// any number of `-`.
fn is_path_component(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_plain = |byte: Option<&u8>| byte.is_some_and(|byte| is_plain(*byte));
    let bytes = text.as_bytes();
    ends_plain(bytes.first())
        && ends_plain(bytes.last())
        && bytes.iter().all(|byte| is_plain(*byte) || b"._-".contains(byte))
        && text
            .split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
            .all(|separator| {
                matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
            })
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG_BYTES
        && text.bytes().next().is_some_and(is_word)
        && text
            .bytes()
            .all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?;
    if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut digest = [0u8; 32];
    hex::decode_to_slice(digits, &mut digest).ok()?;
    Some(digest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn digest() -> String {
        "ab".repeat(32)
    }

    fn parse(text: &str) -> Result<ImageReference, ImageError> {
        text.parse()
    }

    #[test]
    fn image_reference_parses() {
        let image = parse(&format!("localhost:5000/hello@sha256:{}", digest())).unwrap();
        assert_eq!(image.registry(), Some("localhost:5000"));
        assert_eq!(image.repository(), "hello");
        assert_eq!(image.tag(), None);
        assert_eq!(image.digest(), [0xab; 32]);

        let image = parse(&format!("ghcr.io/a-b/c__d.e:v1.2@sha256:{}", digest())).unwrap();
        assert_eq!(image.registry(), Some("ghcr.io"));
        assert_eq!(image.repository(), "a-b/c__d.e");
        assert_eq!(image.tag(), Some("v1.2"));
        assert_eq!(
            image.pull_reference(),
            format!("ghcr.io/a-b/c__d.e@sha256:{}", digest())
        );

        let image = parse(&format!("library/busybox@sha256:{}", digest())).unwrap();
        assert_eq!((image.registry(), image.repository()), (None, "library/busybox"));
    }

    #[test]
    fn image_reference_fails_when_it_has_no_digest() {
        for text in ["busybox", "busybox:latest", "localhost:5000/hello:1"] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, ImageError::NoDigest { .. }), "{error}");
        }
        let message = parse("localhost:5000/hello:1").unwrap_err().to_string();
        assert!(message.contains("skopeo inspect --format '{{.Digest}}' docker://localhost:5000/hello:1"));
        assert!(message.contains("localhost:5000/hello@sha256:"));
    }

    #[test]
    fn image_name_has_a_tag_or_a_digest_or_both() {
        let name = |text: &str| text.parse::<ImageName>().unwrap();
        let tagged = name("registry.example/team/finetune:v2.4");
        assert_eq!(
            (tagged.name().as_str(), tagged.tag_or_latest(), tagged.digest()),
            ("registry.example/team/finetune", "v2.4", None)
        );
        assert_eq!(tagged.reference(), None);
        let resolved = tagged.with_digest([0xab; 32]);
        assert_eq!(
            resolved.to_string(),
            format!("registry.example/team/finetune:v2.4@sha256:{}", digest())
        );
        assert!(tagged.may_mean(&resolved));
        assert!(!name("registry.example/team/other:v2.4").may_mean(&resolved));

        let pinned = ImageName::from(resolved.clone());
        assert_eq!(pinned.reference(), Some(resolved.clone()));
        assert!(pinned.may_mean(&resolved));
        assert!(!pinned.may_mean(&tagged.with_digest([0xcd; 32])));
        assert_eq!(name("busybox").tag_or_latest(), "latest");
        assert!(matches!(
            "busybox@sha256:1".parse::<ImageName>(),
            Err(ImageError::BadDigest { .. })
        ));
        assert!(matches!(
            "Busybox".parse::<ImageName>(),
            Err(ImageError::BadName { .. })
        ));
    }

    #[test]
    fn image_reference_fails_when_the_digest_is_wrong() {
        for end in ["sha256:", "sha256:abcd", "sha512:abcd", "", "sha256:zz", "md5"] {
            let error = parse(&format!("busybox@{end}")).unwrap_err();
            assert!(matches!(error, ImageError::BadDigest { .. }), "{error}");
        }
        let upper_case = format!("busybox@sha256:{}", "AB".repeat(32));
        assert!(matches!(parse(&upper_case), Err(ImageError::BadDigest { .. })));
        let twice = format!("busybox@sha256:{0}@sha256:{0}", digest());
        assert!(matches!(parse(&twice), Err(ImageError::BadDigest { .. })));
    }

    #[test]
    fn image_reference_fails_when_the_name_is_wrong() {
        for name in [
            "",
            "/",
            "Busybox",
            "busybox/",
            "/busybox",
            "a//b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "local host/a",
            "localhost:port/a",
            "localhost:+1/a",
            "-host.org/a",
            "a\u{e9}",
            "localhost:70000/a",
        ] {
            let error = parse(&format!("{name}@sha256:{}", digest())).unwrap_err();
            assert!(matches!(error, ImageError::BadName { .. }), "{name}: {error}");
        }
    }

    #[test]
    fn image_reference_fails_when_the_tag_is_wrong() {
        for tag in ["", "-a", ".a", "a b", "a:b"] {
            let error = parse(&format!("busybox:{tag}@sha256:{}", digest())).unwrap_err();
            assert!(matches!(error, ImageError::BadTag { .. }), "{tag}: {error}");
        }
        let long = "a".repeat(MAX_TAG_BYTES + 1);
        assert!(matches!(
            parse(&format!("busybox:{long}@sha256:{}", digest())),
            Err(ImageError::BadTag { .. })
        ));
    }

    proptest! {
        #[test]
        fn every_image_reference_survives_formatting(
            registry in proptest::option::of("[a-z]{1,8}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?"),
            repository in "[a-z0-9]{1,8}([._-][a-z0-9]{1,8}){0,2}(/[a-z0-9]{1,8}){0,2}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            digest: [u8; 32],
            is_pinned: bool,
        ) {
            // A first component with a dot would be read as the registry.
            prop_assume!(registry.is_some() || !repository.split('/').next().is_some_and(|first| {
                repository.contains('/') && first.contains('.')
            }));
            prop_assume!(registry.is_some() || !repository.starts_with("localhost/"));
            let reference = ImageReference { registry, repository, tag, digest };
            prop_assert_eq!(parse(&reference.to_string()), Ok(reference.clone()));
            let name = ImageName {
                digest: is_pinned.then_some(digest),
                ..ImageName::from(reference)
            };
            prop_assert_eq!(name.to_string().parse::<ImageName>(), Ok(name));
        }


        #[test]
        fn parsing_never_panics(text in ".{0,80}") {
            let _ = parse(&text);
        }
    }
}

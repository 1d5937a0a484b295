//! Secrets of `assay job deploy --sealed`, and `assay job deliver`.

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use assay_client::{
    ChainClient,
    consumer::deliver_manifest,
    manifest::{MAX_SEALED_MANIFEST_BYTES, RegistryLogin, Secret},
    order::ContainerSettings,
    sealing::PlainManifest,
};
use clap::Args;

use super::steps;
use crate::output::Output;

/// Options of a sealed manifest.
#[derive(Debug, Args)]
pub(crate) struct SealOptions {
    /// Seal the manifest to each machine and deliver it there, instead of publishing it on chain
    #[arg(long, conflicts_with = "nodes")]
    pub(crate) sealed: bool,

    /// A file of /run/secrets in the container: this value, which others can see in the process list here, or
    /// the content of a file here; may be repeated
    #[arg(long = "secret", value_name = "NAME=VALUE|NAME=@FILE", value_parser = parse_secret)]
    secrets: Vec<(String, SecretSource)>,

    /// Environment variable of the container, with the value that it has here; may be repeated
    #[arg(long = "secret-env", value_name = "NAME")]
    secret_environment: Vec<String>,

    /// User name at the image's registry
    #[arg(
        long,
        value_name = "NAME",
        requires = "sealed",
        requires = "registry_password_file"
    )]
    registry_user: Option<String>,

    /// File with the password or token of --registry-user
    #[arg(long, value_name = "FILE", requires = "registry_user")]
    registry_password_file: Option<PathBuf>,

    /// Keep the sealed manifest's plain text in a new file that only its owner can read; `assay job deliver`
    /// delivers it again. Without the file, no later command can
    #[arg(long, value_name = "FILE")]
    pub(crate) keep: Option<PathBuf>,
}

/// Source of a secret.
#[derive(Clone, PartialEq, Eq)]
enum SecretSource {
    Value(String),
    File(PathBuf),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A secret must not reach a log.
            Self::Value(_) => formatter.write_str("Value(…)"),
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
        }
    }
}

impl SecretSource {
    fn read(&self) -> anyhow::Result<Secret> {
        Ok(match self {
            Self::Value(value) => Secret::Text(value.clone()),
            Self::File(path) => Secret::from_bytes(read_bounded(path, MAX_SEALED_MANIFEST_BYTES)?),
        })
    }
}

fn parse_secret(text: &str) -> Result<(String, SecretSource), String> {
    let source = |value: &str| match value.strip_prefix('@') {
        Some("") => None,
        Some(path) => Some(SecretSource::File(path.into())),
        None => Some(SecretSource::Value(value.to_owned())),
    };
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .and_then(|(name, value)| Some((name.to_owned(), source(value)?)))
        // The error leaves out the text, which may contain a secret.
        .ok_or_else(|| {
            "this is not a secret: write NAME=VALUE, or NAME=@FILE with the path of a file".to_owned()
        })
}

impl SealOptions {
    /// Fails for secrets in a manifest that is not sealed: the chain is public.
    pub(crate) fn ensure_sealed(&self) -> anyhow::Result<()> {
        for (option, is_used) in [
            ("--secret", !self.secrets.is_empty()),
            ("--secret-env", !self.secret_environment.is_empty()),
        ] {
            if is_used && !self.sealed {
                bail!(
                    "{option} needs --sealed: anybody can read a public manifest on chain; add --sealed, which brings it to \
                     the named machines alone, or use --env for what is no secret"
                );
            }
        }
        Ok(())
    }

    /// Adds the settings that only a sealed manifest may have.
    pub(crate) fn complete(&self, container: &mut ContainerSettings) -> anyhow::Result<()> {
        for (name, source) in &self.secrets {
            if container.secrets.insert(name.clone(), source.read()?).is_some() {
                bail!("the secret {name} is given twice: keep one");
            }
        }
        for name in &self.secret_environment {
            let value = std::env::var(name).map_err(|error| {
                anyhow!("--secret-env {name}: {error}; set the variable before the command, as text")
            })?;
            if container.env.insert(name.clone(), value).is_some() {
                bail!("the environment variable {name} is given twice: keep one");
            }
        }
        if let (Some(username), Some(path)) = (&self.registry_user, &self.registry_password_file) {
            let password = String::from_utf8(read_bounded(path, MAX_SEALED_MANIFEST_BYTES)?)
                .with_context(|| format!("{} is no text", path.display()))?;
            container.registry = Some(RegistryLogin {
                username: username.clone(),
                password: password.trim_end_matches(['\r', '\n']).to_owned(),
            });
        }
        Ok(())
    }
}

/// Reads a file that must not be longer than a bound.
pub(super) fn read_bounded(path: &Path, max_bytes: usize) -> anyhow::Result<Vec<u8>> {
    let read = || {
        let mut bytes = Vec::new();
        let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        if bytes.len() > max_bytes {
            return Err(io::Error::other(format!("it has more than {max_bytes} bytes")));
        }
        Ok(bytes)
    };
    read().with_context(|| format!("{} cannot be read", path.display()))
}

/// Delivers a manifest from a file of `--keep` to the machines of a job.
pub(crate) async fn deliver_file(
    client: &ChainClient,
    job: u64,
    path: &Path,
    output: &Output,
) -> anyhow::Result<()> {
    let plain = PlainManifest::load(path).with_context(|| {
        format!(
            "{} cannot be delivered; name a file of `assay job deploy --keep`",
            path.display()
        )
    })?;
    deliver_manifest(client, job, &plain, &|step| steps::show(output, &step)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_client::{
        manifest::{ImageReference, JobManifest},
        order::OrderSpec,
    };

    use super::*;
    use crate::commands::testing::parsed;

    /// The options, and one beside them that some exclude.
    #[derive(Args)]
    struct Line {
        #[command(flatten)]
        options: SealOptions,
        #[arg(long)]
        nodes: Option<u8>,
    }

    fn options(words: &[&str]) -> Result<SealOptions, String> {
        let line: Line = parsed(words).map_err(|error| error.to_string())?;
        assert!(line.nodes.is_none());
        Ok(line.options)
    }

    /// Manifest of an order with these settings.
    fn manifest(container: &ContainerSettings) -> JobManifest {
        let image: ImageReference = format!("a@sha256:{}", "ab".repeat(32)).parse().unwrap();
        let order = OrderSpec {
            container: container.clone(),
            ..OrderSpec::new(image.clone().into())
        };
        order.manifest(image).unwrap()
    }

    #[test]
    fn parse_secret_works() {
        let (name, source) = parse_secret("key=@/a=@b").unwrap();
        assert_eq!(name, "key");
        assert_eq!(source, SecretSource::File("/a=@b".into()));
        for (text, value) in [("key=word", "word"), ("key=", ""), ("key=a=b", "a=b")] {
            let (_, source) = parse_secret(text).unwrap();
            assert_eq!(source, SecretSource::Value(value.to_owned()));
            assert_eq!(format!("{source:?}"), "Value(…)");
        }
        for text in ["", "key", "=word", "=@file", "key=@"] {
            assert!(parse_secret(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_need_a_sealed_manifest() {
        for words in [
            &["--registry-user=a", "--registry-password-file=b"][..],
            &["--sealed", "--registry-user=a"],
            &["--sealed", "--nodes=2"],
        ] {
            assert!(options(words).is_err(), "{words:?}");
        }
        for word in ["--secret=a=b", "--secret=a=@b", "--secret-env=A"] {
            let error = options(&[word]).unwrap().ensure_sealed().unwrap_err().to_string();
            assert!(error.contains("add --sealed"), "{error}");
            assert!(options(&["--sealed", word]).unwrap().ensure_sealed().is_ok());
        }
        assert!(options(&["--sealed"]).unwrap().sealed);
        assert!(!options(&[]).unwrap().sealed);
    }

    #[test]
    fn secrets_come_from_files_and_from_the_environment() {
        let folder = std::env::temp_dir().join(format!("assay-cli-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (text, bytes) = (folder.join("text"), folder.join("bytes"));
        fs::write(&text, "word\n").unwrap();
        fs::write(&bytes, [0xff, 0]).unwrap();
        let options = options(&[
            "--sealed",
            &format!("--secret=text=@{}", text.display()),
            &format!("--secret=bytes=@{}", bytes.display()),
            "--secret=word=said",
            "--secret-env=PATH",
            "--registry-user=me",
            &format!("--registry-password-file={}", text.display()),
        ])
        .unwrap();
        let mut container = ContainerSettings::default();
        options.complete(&mut container).unwrap();
        let manifest = manifest(&container);
        assert_eq!(manifest.secrets["text"].bytes().unwrap(), b"word\n");
        assert_eq!(manifest.secrets["bytes"].bytes().unwrap(), [0xff, 0]);
        assert_eq!(manifest.secrets["word"].bytes().unwrap(), b"said");
        assert_eq!(manifest.env["PATH"], std::env::var("PATH").unwrap());
        assert_eq!(manifest.registry.as_ref().unwrap().password, "word");
        assert!(options.complete(&mut container).is_err(), "each name once");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn missing_secrets_are_named() {
        let error = options(&["--sealed", "--secret=a=@/nowhere/file"])
            .unwrap()
            .complete(&mut ContainerSettings::default())
            .unwrap_err();
        assert!(error.to_string().contains("/nowhere/file"), "{error}");
        let error = options(&["--sealed", "--secret-env=ASSAY_NO_SUCH_VARIABLE"])
            .unwrap()
            .complete(&mut ContainerSettings::default())
            .unwrap_err();
        assert!(error.to_string().contains("ASSAY_NO_SUCH_VARIABLE"), "{error}");
    }
}

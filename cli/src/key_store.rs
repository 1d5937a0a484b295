//! The accounts of this user: keys with a password, each under a name, and which of them signs by default.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use assay_client::{
    AccountId, Keypair,
    keys::encrypted::{self, MAX_ENCRYPTED_BYTES},
    redaction,
};

/// File with the name of the account that signs by default.
const DEFAULT: &str = "default";

/// Longest name of an account, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Longest password, in bytes.
const MAX_PASSWORD_BYTES: u64 = 1_024;

/// Folder with the keys.
pub(crate) struct KeyStore {
    folder: PathBuf,
}

impl KeyStore {
    /// Opens the folder of this user: `ASSAY_KEYS`, or `assay/keys` in the folder for configuration.
    pub(crate) fn of_user() -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = variable("ASSAY_KEYS")
            .map(PathBuf::from)
            .or_else(|| variable("XDG_CONFIG_HOME").map(|folder| PathBuf::from(folder).join("assay/keys")))
            .or_else(|| variable("HOME").map(|folder| PathBuf::from(folder).join(".config/assay/keys")))
            .context("there is no folder for keys: set ASSAY_KEYS to one")?;
        Ok(Self { folder })
    }

    #[cfg(test)]
    pub(crate) fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Returns the names and accounts of all keys, by name.
    pub(crate) fn list(&self) -> anyhow::Result<Vec<(String, AccountId)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("cannot read {}", self.folder.display()))?,
        };
        let mut accounts = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path
                .file_stem()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.extension().is_none_or(|extension| extension != "json") || check_name(name).is_err() {
                continue;
            }
            let account = encrypted::encrypted_account(&read(&path)?)
                .with_context(|| format!("{} is no key", path.display()))?;
            accounts.push((name.to_owned(), account));
        }
        accounts.sort_by(|(name, _), (other, _)| name.cmp(other));
        Ok(accounts)
    }

    /// Returns the name of the account that signs by default.
    pub(crate) fn default_name(&self) -> anyhow::Result<Option<String>> {
        match fs::read_to_string(self.folder.join(DEFAULT)) {
            Ok(name) => Ok(Some(name.trim().to_owned()).filter(|name| check_name(name).is_ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.folder.display())),
        }
    }

    /// Makes an account the one that signs by default.
    pub(crate) fn set_default(&self, name: &str) -> anyhow::Result<()> {
        self.content(name)?;
        let path = self.folder.join(DEFAULT);
        fs::write(&path, name).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Returns the content of a key's file.
    pub(crate) fn content(&self, name: &str) -> anyhow::Result<String> {
        let path = self.path(name)?;
        if !path.exists() {
            // A seed could be a name.
            bail!(
                "there is no account named {:?}: `assay keys list` shows those there are",
                redaction::shown(name)
            );
        }
        read(&path)
    }

    /// Adds a key; the first one signs by default from then on. A name that is taken is an error.
    pub(crate) fn add(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let path = self.path(name)?;
        let is_first = self.list()?.is_empty();
        let write = || {
            make_private(&self.folder)?;
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&path)?;
            file.write_all(content.as_bytes())
                .and_then(|()| file.sync_all())
                .inspect_err(|_| {
                    // What is not whole is no key.
                    let _ = fs::remove_file(&path);
                })
        };
        match write() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("there is an account named {name:?} already: choose another name")
            }
            written => written.with_context(|| format!("cannot write {}", path.display()))?,
        }
        if is_first {
            self.set_default(name)?;
        }
        Ok(())
    }

    /// Returns the key of an account; of the default one where none is named, if there is one.
    pub(crate) fn load(
        &self,
        name: Option<&str>,
        password: impl FnOnce(&str) -> anyhow::Result<Password>,
    ) -> anyhow::Result<Option<Keypair>> {
        let name = match name {
            Some(name) => name.to_owned(),
            None => match self.default_name()? {
                Some(name) => name,
                None => return Ok(None),
            },
        };
        let content = self.content(&name)?;
        let password = password(&name)?;
        let key = encrypted::decrypt(&content, &password.0)
            .with_context(|| format!("opening the account {name:?}"))?;
        Ok(Some(key))
    }

    fn path(&self, name: &str) -> anyhow::Result<PathBuf> {
        check_name(name)?;
        Ok(self.folder.join(format!("{name}.json")))
    }
}

/// Checks the name of an account, which is part of a path.
pub(crate) fn check_name(name: &str) -> anyhow::Result<()> {
    let usable = (1..=MAX_NAME_BYTES).contains(&name.len())
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    ensure!(
        usable,
        "an account is named by 1 to {MAX_NAME_BYTES} of a-z, A-Z, 0-9, - and _, and not by a phrase or a path"
    );
    Ok(())
}

fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Reads a text file of bounded length.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    let read = || -> io::Result<String> {
        let file = fs::File::open(path)?;
        io::read_to_string(file.take(MAX_ENCRYPTED_BYTES))
    };
    read().with_context(|| format!("cannot read {}", redaction::shown(&path.to_string_lossy())))
}

/// A password, which no message and no log repeats.
pub(crate) struct Password(String);

impl Password {
    /// Reads a password from the first line of a file that its owner alone can read.
    pub(crate) fn from_file(path: &Path) -> anyhow::Result<Self> {
        let shown = redaction::shown(&path.to_string_lossy()).into_owned();
        let read = || -> io::Result<(u32, String)> {
            let file = fs::File::open(path)?;
            let mode = mode_of(&file.metadata()?);
            Ok((mode, io::read_to_string(file.take(MAX_PASSWORD_BYTES))?))
        };
        let (mode, content) = read().with_context(|| format!("cannot read the password file {shown}"))?;
        ensure!(
            mode & 0o077 == 0,
            "the password file {shown} can be read by others (mode {mode:04o}); run `chmod 600` on it"
        );
        let password = content.lines().next().unwrap_or_default();
        ensure!(!password.is_empty(), "the password file {shown} is empty");
        Ok(Self(password.to_owned()))
    }

    /// Asks for the password of an account on the terminal.
    pub(crate) fn ask(name: &str) -> anyhow::Result<Self> {
        ensure!(
            io::stdin().is_terminal(),
            "the account {name:?} has a password, and there is no terminal to ask for it: name a file with it by \
             --password-file FILE"
        );
        let password = rpassword::prompt_password(format!("password of {name}: "))
            .context("reading the password failed")?;
        Ok(Self(password))
    }

    /// Asks for a new password, twice.
    pub(crate) fn ask_new(name: &str) -> anyhow::Result<Self> {
        let password = Self::ask(name)?;
        ensure!(!password.0.is_empty(), "the password is empty");
        let again = rpassword::prompt_password("once more: ").context("reading the password failed")?;
        ensure!(
            password.0 == again,
            "these are two passwords; nothing was written"
        );
        Ok(password)
    }

    /// Returns the password itself.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(unix)]
fn mode_of(details: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&details.permissions()) & 0o7777
}

#[cfg(not(unix))]
fn mode_of(_: &fs::Metadata) -> u32 {
    0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_client::keys::{account_of, encrypted::Seed};

    use super::*;

    fn password(text: &str) -> impl FnOnce(&str) -> anyhow::Result<Password> {
        let password = Password(text.to_owned());
        move |_| Ok(password)
    }

    #[test]
    fn accounts_are_added_listed_and_used() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::at(&folder.path().join("deep/keys"));
        assert!(store.list().unwrap().is_empty());
        assert!(store.load(None, password("p")).unwrap().is_none());
        let (seed, _) = Seed::generate().unwrap();
        let account = account_of(&seed.keypair().unwrap());
        let content = seed.encrypt("first", "p", 0).unwrap();
        store.add("first", &content).unwrap();
        store.add("second", &content).unwrap();
        assert_eq!(
            store.list().unwrap(),
            [("first".to_owned(), account), ("second".to_owned(), account)]
        );
        assert_eq!(store.default_name().unwrap().as_deref(), Some("first"));
        store.set_default("second").unwrap();
        assert_eq!(store.default_name().unwrap().as_deref(), Some("second"));
        let key = store.load(None, password("p")).unwrap().unwrap();
        assert_eq!(account_of(&key), account);
        assert!(store.load(Some("first"), password("q")).is_err());
        assert!(store.load(Some("third"), password("p")).is_err());
        assert!(store.set_default("third").is_err());
        assert!(store.add("first", &content).is_err(), "no key is overwritten");
        let mode = mode_of(&fs::metadata(folder.path().join("deep/keys/first.json")).unwrap());
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn names_lead_out_of_no_folder_and_are_no_secrets() {
        let phrase = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";
        for name in ["", "..", "a/b", "a.json", "-a", "a b", phrase, &"a".repeat(65)] {
            let error = check_name(name).unwrap_err().to_string();
            assert!(!error.contains("bottom"), "{error}");
        }
        check_name("consumer-2").unwrap();
    }

    #[test]
    fn password_files_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        fs::write(&path, "swordfish\n").unwrap();
        let set =
            |mode| fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        set(0o644);
        let error = Password::from_file(&path).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("chmod 600") && !error.contains("swordfish"),
            "{error}"
        );
        set(0o600);
        assert_eq!(
            Password::from_file(&path).map(|password| password.0).unwrap(),
            "swordfish"
        );
    }
}

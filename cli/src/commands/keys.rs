//! `assay keys`

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use assay_client::{
    AccountId,
    keys::{
        account_of,
        encrypted::{self, Seed},
    },
};
use clap::Subcommand;
use serde_json::{Value, json};

use crate::{
    connection::Connection,
    key_store::{self, KeyStore, check_name},
    output::Output,
};

/// Commands about the accounts of this user.
#[derive(Debug, Subcommand)]
pub(crate) enum Options {
    /// Make an account, and show once the phrase by which it can be made again
    Create {
        /// Name of the account
        name: String,
    },
    /// Add an account by its phrase or seed, or by a file that polkadot.js exported
    Import {
        /// Name of the account
        name: String,
        /// File with a phrase, a seed or an export of polkadot.js, whose password then stays; the phrase or
        /// seed is asked for when left out
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// List the accounts; the default one is marked
    List,
    /// Make an account the one that signs where none is named
    Use {
        /// Name of the account
        name: String,
    },
}

pub(crate) fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let store = KeyStore::of_user()?;
    match options {
        Options::Create { name } => create(&store, &name, connection, output),
        Options::Import { name, file } => import(&store, &name, file, connection, output),
        Options::List => list(&store, output),
        Options::Use { name } => {
            store.set_default(&name)?;
            list(&store, output)
        }
    }
}

fn create(store: &KeyStore, name: &str, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    check_name(name)?;
    let password = connection.new_password(name)?;
    let (seed, phrase) = Seed::generate()?;
    store.add(name, &seed.encrypt(name, password.as_str(), now_ms())?)?;
    let account = account_of(&seed.keypair()?);
    let mut object = object(name, &account, is_default(store, name)?);
    object["phrase"] = phrase.as_str().into();
    output.print(
        &object,
        format_args!(
            "{name}  {account}\nIts phrase, shown this once; write it down, and show it to nobody:\n\n  {}\n",
            phrase.as_str()
        ),
    )
}

fn import(
    store: &KeyStore,
    name: &str,
    file: Option<PathBuf>,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    check_name(name)?;
    let secret = match file {
        Some(path) => key_store::read(&path)?,
        None => {
            ensure!(
                io::stdin().is_terminal(),
                "there is no terminal to ask for the phrase: name a file with --file"
            );
            rpassword::prompt_password("phrase or seed (not shown): ").context("reading it failed")?
        }
    };
    let (content, account) = if secret.trim_start().starts_with('{') {
        let password = connection.password(name)?;
        let account = account_of(&encrypted::decrypt(&secret, password.as_str())?);
        (secret, account)
    } else {
        let seed = Seed::parse(&secret)?;
        let password = connection.new_password(name)?;
        (
            seed.encrypt(name, password.as_str(), now_ms())?,
            account_of(&seed.keypair()?),
        )
    };
    store.add(name, &content)?;
    let object = object(name, &account, is_default(store, name)?);
    output.print(&object, format_args!("{name}  {account}"))
}

fn list(store: &KeyStore, output: &Output) -> anyhow::Result<()> {
    let accounts = store.list()?;
    if accounts.is_empty() && !output.is_json() {
        return output.line("there are no accounts; `assay keys create NAME` makes one");
    }
    for (name, account) in accounts {
        let is_default = is_default(store, &name)?;
        let mark = if is_default { '*' } else { ' ' };
        output.print(
            &object(&name, &account, is_default),
            format_args!("{mark} {name:<16}  {account}"),
        )?;
    }
    Ok(())
}

fn is_default(store: &KeyStore, name: &str) -> anyhow::Result<bool> {
    Ok(store.default_name()?.is_some_and(|default| default == name))
}

/// An account for programs.
fn object(name: &str, account: &AccountId, is_default: bool) -> Value {
    json!({ "name": name, "account": account, "is_default": is_default })
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_printed_as_the_schema_says() {
        let account = AccountId::from([1; 32]);
        let mut object = object("consumer", &account, true);
        crate::schema::assert_is("account", &object);
        object["phrase"] = "twelve words".into();
        crate::schema::assert_is("account", &object);
    }
}

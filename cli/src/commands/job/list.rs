//! `assay job list` and `assay job reclaim`: what a consumer has on chain.

use assay_client::{
    AccountId,
    accounts::NotedManifest,
    calls, json, keys,
    manifest::JobManifest,
    types::{Assignment, Job, ManifestRef},
    units::format_asy,
};
use clap::Args;
use serde_json::json;

use super::show::describe_state;
use crate::{connection::Connection, output::Output};

/// Most open jobs that are looked at; more than an account has unless a program orders for it.
const MAX_JOBS: usize = 2_000;

/// Most entries of the preimage store that are looked at: those of all accounts.
const MAX_NOTES: usize = 10_000;

/// Most deposits that one transaction takes back.
const MAX_RECLAIMED: usize = 50;

/// Whose jobs to list.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// The consumer: an SS58 address, a public key in hex, or a development name; the signer when left out
    #[arg(long, value_name = "ACCOUNT", value_parser = keys::parse_account)]
    account: Option<AccountId>,

    /// Most jobs to show, the newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

/// Lists the open jobs of a consumer.
pub(super) async fn list(
    options: ListOptions,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let consumer = match options.account {
        Some(account) => account,
        None => keys::account_of(&connection.signer()?),
    };
    let client = connection.client().await?;
    let jobs = client.jobs_of_consumer(&consumer, MAX_JOBS).await?;
    if !output.is_json() && jobs.entries.is_empty() {
        return output.line(format_args!("{consumer} has no open jobs"));
    }
    let now_ms = client.clock().await?.active_time_ms;
    let count = jobs.entries.len();
    for id in jobs.entries.into_iter().rev().take(options.limit.into()) {
        // It may be closed since.
        let Some(job) = client.job(id).await? else {
            continue;
        };
        let parts = client.assignments(id).await?;
        let mut object = json::to_value(&job)?;
        object["id"] = id.into();
        object["machines"] = parts
            .iter()
            .map(|(machine, _)| *machine)
            .collect::<Vec<_>>()
            .into();
        output.print(&object, describe(id, &job, &parts, now_ms))?;
    }
    if !output.is_json() && (count > usize::from(options.limit) || !jobs.is_complete) {
        let more = if jobs.is_complete { "" } else { " or more" };
        output.line(format_args!(
            "{} of {count}{more} open jobs shown; --limit shows more",
            options.limit
        ))?;
    }
    Ok(())
}

fn describe(id: u64, job: &Job, parts: &[(u64, Assignment)], now_ms: u64) -> String {
    let mut text = format!("job {id:<6} {}; {} paid", job.kind, format_asy(job.paid));
    if job.open_places > 0 {
        text.push_str(&format!("; {} of {} places open", job.open_places, job.nodes));
    }
    for (machine, part) in parts {
        text.push_str(&format!(
            "\n  machine {machine:<4} {}",
            describe_state(part, now_ms)
        ));
    }
    text
}

/// Takes back the deposits of manifests that the signer noted. Manifests of open jobs stay on chain for them.
pub(super) async fn reclaim(connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let signer = connection.signer()?;
    let client = connection.client().await?;
    let noted = client
        .noted_manifests(&keys::account_of(&signer), MAX_NOTES)
        .await?;
    let mut manifests: Vec<NotedManifest> = Vec::new();
    for entry in noted.entries {
        if manifests.len() >= MAX_RECLAIMED {
            break;
        }
        let manifest = ManifestRef {
            hash: entry.hash.into(),
            length_bytes: entry.length_bytes,
        };
        // The store has other bytes, too, such as calls that governance is to decide on.
        let bytes = client.manifest_bytes(&manifest).await?;
        if bytes.is_some_and(|bytes| JobManifest::from_bytes(&bytes).is_ok()) {
            manifests.push(entry);
        }
    }
    if !output.is_json() && !noted.is_complete {
        output.line(format_args!(
            "only the first {MAX_NOTES} entries of the preimage store were searched"
        ))?;
    }
    if manifests.is_empty() {
        return output.print(
            &json!({ "reclaimed": "0", "manifests": [] }),
            "no deposits of manifests are held",
        );
    }
    let total = manifests
        .iter()
        .fold(0u128, |sum, manifest| sum.saturating_add(manifest.deposit));
    let mut batch: Vec<_> = manifests
        .iter()
        .map(|manifest| calls::unnote_preimage(manifest.hash))
        .collect();
    let call = match batch.pop() {
        Some(only) if batch.is_empty() => only,
        last => calls::batch_all(batch.into_iter().chain(last).collect()),
    };
    connection.submit_to(&client, call, &signer).await?;
    output.print(
        &json!({ "reclaimed": total.to_string(), "manifests": json::to_value(&manifests)? }),
        format_args!(
            "{} came back for {} manifests",
            format_asy(total),
            manifests.len()
        ),
    )
}

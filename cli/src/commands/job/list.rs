//! `assay job list` and `assay job reclaim`: what a consumer has on chain.

use assay_client::{
    AccountId,
    accounts::NotedManifest,
    calls,
    consumer::MAX_JOBS,
    json, keys,
    manifest::JobManifest,
    types::{Assignment, Job, ManifestRef},
    units::format_asy,
};
use clap::Args;
use serde_json::{Value, json};

use super::show::describe_state;
use crate::{connection::Connection, output::Output};

/// Maximum number of entries of the preimage store that are read: those of all accounts.
const MAX_NOTES: usize = 10_000;

/// Maximum number of deposits that one transaction returns.
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
        let machines = parts.iter().map(|(machine, _)| *machine).collect();
        output.print(&object(id, &job, machines)?, describe(id, &job, &parts, now_ms))?;
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

/// A job and its machines for programs.
fn object(id: u64, job: &Job, machines: Vec<u64>) -> anyhow::Result<Value> {
    let mut object = json::to_value(job)?;
    object["job"] = id.into();
    object["machines"] = machines.into();
    Ok(object)
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
        return output.print(&reclaimed(0, &[])?, "no deposits of manifests are held");
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
        &reclaimed(total, &manifests)?,
        format_args!(
            "{} came back for {} manifests",
            format_asy(total),
            manifests.len()
        ),
    )
}

/// Deposits that came back, for programs.
fn reclaimed(total: u128, manifests: &[NotedManifest]) -> anyhow::Result<Value> {
    Ok(json!({ "reclaimed": total.to_string(), "manifests": json::to_value(manifests)? }))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_client::types::{AssignmentState, Auction, AuctionTerms, JobKind, Manifest};

    use super::*;
    use crate::schema::assert_is;

    pub(crate) fn job() -> Job {
        let terms = AuctionTerms {
            floor_price_per_slot_hour: 1,
            rise_ms: 2,
            open_ms: 3,
        };
        Job {
            consumer: AccountId::from([1; 32]),
            kind: JobKind::task(7),
            manifest: Manifest::Public(ManifestRef::of(b"{}")),
            image_digest: [2; 32],
            slots: 1,
            nodes: 2,
            max_price_per_slot_hour: 3,
            max_duration_ms: 4,
            auction: Some(Auction::new(terms, 5)),
            open_places: 1,
            assignments: 1,
            ballot: None,
            deposit: 5,
            bounties: 6,
            paid: 7,
            created_at_ms: 8,
        }
    }

    pub(crate) fn assignment() -> Assignment {
        Assignment {
            provider: AccountId::from([3; 32]),
            price_per_slot_hour: 1,
            max_duration_ms: 2,
            escrowed: 3,
            earned: 4,
            paid: 5,
            state: AssignmentState::Starting {
                assigned_at_ms: 0,
                deadline_ms: 60_000,
                risen_ms: 0,
            },
        }
    }

    #[test]
    fn jobs_and_deposits_are_printed_as_the_schema_says() {
        assert_is("job", &object(7, &job(), vec![3]).unwrap());
        let noted = NotedManifest {
            hash: [1; 32],
            length_bytes: 9,
            deposit: 5,
            open_jobs: 0,
        };
        assert_is("reclaimed", &reclaimed(5, &[noted]).unwrap());
    }

    #[test]
    fn job_is_described_with_its_machines() {
        let text = describe(7, &job(), &[(3, assignment())], 0);
        assert!(text.contains("1 of 2 places open"), "{text}");
        assert!(text.ends_with("machine 3    starting, 1 min left"), "{text}");
    }
}

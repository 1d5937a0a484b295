//! `assay job show`: a job as the chain has it.

use assay_client::{
    json,
    manifest::{JobManifest, ManifestError},
    types::{Assignment, AssignmentState, Job, Manifest},
    units::format_asy,
};
use serde_json::{Value, json};

use super::closed;
use crate::{connection::Connection, duration::format_milliseconds, output::Output};

/// Prints a job; of a closed one the last events.
pub(super) async fn show(id: u64, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let client = connection.client().await?;
    let Some(job) = client.job(id).await? else {
        return closed::show(&client, id, output).await;
    };
    let now_ms = client.clock().await?.active_time_ms;
    let assignments = client.assignments(id).await?;
    let manifest = match &job.manifest {
        Manifest::Public(manifest) => client.manifest_bytes(manifest).await?,
        Manifest::Sealed { .. } => None,
    };
    let manifest = manifest.map(|bytes| JobManifest::from_bytes(&bytes));

    let object = object(id, &job, manifest.as_ref(), &assignments)?;
    let mut text = format!(
        "job          {id}, a {} on {} {} of {}\n\
         image        {}\n\
         consumer     {}\n\
         price        at most {} per slot-hour, for at most {}\n\
         money        {} paid, {} deposited for bytes and bounties",
        job.kind,
        job.slots,
        if job.slots == 1 { "slot" } else { "slots" },
        match job.nodes {
            1 => "one machine".to_owned(),
            nodes => format!("each of {nodes} machines"),
        },
        match (manifest, &job.manifest) {
            (Some(Ok(manifest)), _) => manifest.image.to_string(),
            (Some(Err(error)), _) => format!("unknown: {error}"),
            (None, Manifest::Sealed { .. }) => "sealed".to_owned(),
            (None, Manifest::Public(_)) => "unknown: its manifest is not on chain".to_owned(),
        },
        job.consumer,
        format_asy(job.max_price_per_slot_hour),
        format_milliseconds(job.max_duration_ms),
        format_asy(job.paid),
        format_asy(job.deposit.saturating_add(job.bounties)),
    );
    if job.open_places > 0 {
        text.push_str(&format!(
            "\nopen         {} of {} places",
            job.open_places, job.nodes
        ));
    }
    for (machine, assignment) in &assignments {
        text.push_str(&format!(
            "\nmachine {machine:<4} {}; {} per slot-hour, {} paid, {} in escrow",
            describe_state(assignment, now_ms),
            format_asy(assignment.price_per_slot_hour),
            format_asy(assignment.paid),
            format_asy(assignment.escrowed),
        ));
    }
    output.print(&object, text)
}

/// Returns a job, its manifest if that can be read, and its machines, for programs.
fn object(
    id: u64,
    job: &Job,
    manifest: Option<&Result<JobManifest, ManifestError>>,
    assignments: &[(u64, Assignment)],
) -> anyhow::Result<Value> {
    let mut object = json::to_value(job)?;
    object["job"] = id.into();
    object["manifest_content"] = match manifest {
        Some(Ok(manifest)) => json!(manifest),
        _ => Value::Null,
    };
    let machines: Vec<_> = assignments
        .iter()
        .map(|(machine, assignment)| {
            let mut object = json::to_value(assignment)?;
            object["machine"] = (*machine).into();
            Ok(object)
        })
        .collect::<serde_json::Result<_>>()?;
    object["machines"] = json!(machines);
    Ok(object)
}

/// Describes the state of an assignment.
pub(super) fn describe_state(assignment: &Assignment, now_ms: u64) -> String {
    let left = |then_ms: u64| format_milliseconds(then_ms.saturating_sub(now_ms));
    match assignment.state {
        AssignmentState::Starting { deadline_ms, .. } => format!("starting, {} left", left(deadline_ms)),
        AssignmentState::Running { started_at_ms, .. } => {
            format!(
                "running for {}",
                format_milliseconds(now_ms.saturating_sub(started_at_ms))
            )
        }
        AssignmentState::Verifying {
            result_hash,
            window_ends_ms,
            ..
        } => {
            format!(
                "result 0x{}, accepted by silence in {}",
                hex::encode(result_hash),
                left(window_ends_ms)
            )
        }
        AssignmentState::Committed { .. } => "committed to its result".to_owned(),
        AssignmentState::Revealed { result_hash, .. } => {
            format!("result 0x{}, to be counted", hex::encode(result_hash))
        }
        AssignmentState::Ended { outcome, .. } => {
            format!("{outcome}; its last epochs are still to be judged")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::commands::job::list::tests::{assignment, job};

    #[test]
    fn a_job_is_printed_as_the_schema_says() {
        let object = object(7, &job(), None, &[(3, assignment())]).unwrap();
        crate::schema::assert_is("job_show", &object);
    }
}

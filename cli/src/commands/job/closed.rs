//! A job that is closed: its last events, as far as the node keeps them, and where else it can be read.

use anyhow::{Context, bail};
use assay_client::{
    ChainClient, Error,
    events::{AssayEvent, EscrowEvent},
    types::Outcome,
};

use crate::output::Output;

/// Blocks that are searched, from the best one back: nodes that are no archives keep the states of so many.
const SEARCHED_BLOCKS: u64 = 256;

/// Prints the last events of a job that is not open.
pub(super) async fn show(client: &ChainClient, id: u64, output: &Output) -> anyhow::Result<()> {
    let next = client.next_job_id().await?;
    if id >= next {
        bail!("there is no job {id}: the next one gets the number {next}; `assay job list` shows yours");
    }
    let events = last_events(client, id).await?;
    if events.is_empty() {
        bail!(
            "job {id} is closed, and this node has its events no more. Its workers keep the notes, logs and results of \
             their last jobs: `assay job status {id} --machine ID`, and `logs`, `result` and `artifacts` likewise. An \
             archive node has the events: `assay --url URL watch --job {id} --from-block NUMBER`"
        );
    }
    if !output.is_json() {
        output.line(format_args!("job {id} is closed; what happened at last:"))?;
    }
    for (block, event) in &events {
        output.event(event, *block)?;
    }
    if output.is_json() {
        return Ok(());
    }
    for (_, event) in &events {
        if let Some(hint) = hint(id, event) {
            output.line(hint)?;
        }
    }
    Ok(())
}

/// Returns the events of a job in the newest blocks, in order. Ends early at its order, and at a block whose
/// state the node forgot.
async fn last_events(client: &ChainClient, id: u64) -> anyhow::Result<Vec<(u64, AssayEvent)>> {
    let best = client.best_block().await?.number;
    let mut found = Vec::new();
    for number in (best.saturating_sub(SEARCHED_BLOCKS)..=best).rev() {
        let block = client.block(number).await?;
        let events = match client.events_at(&block.hash).await {
            Ok(events) => events,
            Err(Error::BlockUnavailable { .. }) => break,
            Err(error) => return Err(error).context(format!("reading the events of block {number}")),
        };
        let mut is_order = false;
        // The whole list is turned around in the end.
        for event in events.into_iter().rev().filter(|event| event.job() == Some(id)) {
            is_order |= matches!(event, AssayEvent::JobEscrow(EscrowEvent::JobOrdered { .. }));
            found.push((number, event));
        }
        if is_order {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// Returns what a consumer can do to learn more of a machine's end.
fn hint(id: u64, event: &AssayEvent) -> Option<String> {
    let AssayEvent::JobEscrow(
        EscrowEvent::AssignmentEnded { machine, outcome, .. }
        | EscrowEvent::PlaceReopened { machine, outcome, .. },
    ) = event
    else {
        return None;
    };
    Some(match outcome {
        Outcome::Declined | Outcome::Abandoned | Outcome::NoResult | Outcome::WorkloadEnded => format!(
            "machine {machine}: its worker has the reason for a while: `assay job status {id} --machine {machine}`"
        ),
        Outcome::NotDelivered => format!(
            "machine {machine}: no sealed manifest reached it: order again, and see that `assay job deploy` delivers it"
        ),
        Outcome::NotStarted => format!(
            "machine {machine}: its worker said nothing in time, and the machine is out of the market until it does"
        ),
        Outcome::Completed => format!(
            "machine {machine}: its worker has exit code and result: `assay job result {id} --machine {machine}`"
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(outcome: Outcome) -> AssayEvent {
        AssayEvent::from(EscrowEvent::AssignmentEnded {
            job: 7,
            machine: 3,
            outcome,
            ended_at_ms: 1,
        })
    }

    #[test]
    fn reasons_are_looked_for_where_they_are() {
        let declined = hint(7, &ended(Outcome::Declined)).unwrap_or_default();
        assert!(declined.contains("assay job status 7 --machine 3"), "{declined}");
        let done = hint(7, &ended(Outcome::Completed)).unwrap_or_default();
        assert!(done.contains("assay job result 7 --machine 3"), "{done}");
        assert_eq!(hint(7, &ended(Outcome::Rejected)), None);
        let closed = AssayEvent::from(EscrowEvent::EscrowReturned { job: 7, amount: 1 });
        assert_eq!(hint(7, &closed), None);
    }
}

//! `assay watch`: events of finalized blocks, as they come.

mod display;
mod filter;
mod step;

use std::time::Duration;

use anyhow::bail;
use assay_client::{BlockId, ChainClient, Error, FinalizedBlocks};
use clap::Args;
use tokio::time::{Instant, timeout_at};

use crate::{
    connection::Connection,
    duration::{format_milliseconds, parse_duration, until},
    output::Output,
};
use display::Display;
use filter::Filter;
use step::{Checklist, Step};

/// Default timeout for named steps.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Pause before another attempt to reach the node.
const RECONNECT_PAUSE: Duration = Duration::from_secs(2);

/// Events to watch, and the end of the watch.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only events of this machine, of its jobs, and of the chain as a whole
    #[arg(long, value_name = "ID")]
    machine: Option<u64>,

    /// Only events of this job, and the steps that --until names
    #[arg(long, value_name = "ID")]
    job: Option<u64>,

    /// End when this step, and every other named one, has happened; may be repeated
    #[arg(long, value_enum, value_name = "STEP")]
    until: Vec<Step>,

    /// Longest time to wait, such as 120s or 10m; 120s when steps are named, else no limit
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// Begin with this block instead of the newest finalized one; nodes other than archives prune the states
    /// of old blocks, by default of all but the newest 256
    #[arg(long, value_name = "NUMBER")]
    from_block: Option<u64>,
}

pub(crate) async fn run(options: Options, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let timeout = options
        .timeout
        .or((!options.until.is_empty()).then_some(DEFAULT_TIMEOUT));
    let started = Instant::now();
    // A length of time that the clock cannot reach is no limit.
    let deadline = timeout.and_then(|timeout| started.checked_add(timeout));
    let mut watch = Watch {
        connection,
        filter: Filter::new(options.machine, options.job, options.until.clone()),
        checklist: Checklist::new(options.until),
        display: Display::new(output),
        next_block: options.from_block,
    };
    watch.display.waiting(&watch.checklist, None);

    // The first connection must succeed: waiting does not correct a wrong URL.
    let client = connection.client().await?;
    let outcome = tokio::select! {
        outcome = watch.follow(client) => outcome.map(|()| true),
        () = until(deadline) => Ok(false),
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| false).map_err(Into::into),
    };
    watch.display.finish();
    if outcome? || watch.checklist.names_nothing() {
        return Ok(());
    }
    let elapsed = format_milliseconds(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    bail!("{}", watch.checklist.complaint(&elapsed))
}

/// Error for a block whose state the node forgot, with the oldest one from which the watch can begin.
async fn pruned(client: &ChainClient, block: BlockId, head: BlockId) -> anyhow::Error {
    let oldest = oldest_readable(client, block.number, head.number).await;
    anyhow::anyhow!(
        "the node at {} has no events of block {} any more: begin with --from-block {oldest} or later, or watch at an \
         archive node (`assay-node --state-pruning archive`) with --url",
        client.url(),
        block.number
    )
}

/// Returns the number of the oldest block between a forgotten one and the newest whose events the node has.
async fn oldest_readable(client: &ChainClient, forgotten: u64, newest: u64) -> u64 {
    let (mut forgotten, mut readable) = (forgotten, newest);
    // Halves the distance each time.
    while readable.saturating_sub(forgotten) > 1 {
        let middle = forgotten + (readable - forgotten) / 2;
        let events = match client.block(middle).await {
            Ok(block) => client.events_at(&block.hash).await.map(drop),
            Err(error) => Err(error),
        };
        match events {
            Ok(()) => readable = middle,
            Err(_) => forgotten = middle,
        }
    }
    readable
}

struct Watch<'a> {
    connection: &'a Connection,
    checklist: Checklist,
    filter: Filter,
    display: Display<'a>,
    /// First block that is not shown yet; `None` for the newest one.
    next_block: Option<u64>,
}

impl Watch<'_> {
    /// Shows block after block until every named step has happened. Waits for a node that went away.
    async fn follow(&mut self, mut client: ChainClient) -> anyhow::Result<()> {
        loop {
            match self.follow_connection(&client).await {
                Ok(()) => return Ok(()),
                Err(error)
                    if error
                        .downcast_ref::<Error>()
                        .is_some_and(Error::is_connection_lost) =>
                {
                    self.display
                        .notice("the node went away; waiting for it to come back")?;
                    client = self.reconnect(client.genesis_hash()).await?;
                    self.display.notice("the node is back")?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn reconnect(&self, genesis_hash: [u8; 32]) -> anyhow::Result<ChainClient> {
        loop {
            tokio::time::sleep(RECONNECT_PAUSE).await;
            match ChainClient::connect_expecting(&self.connection.url, &genesis_hash).await {
                Ok(client) => return Ok(client),
                Err(error) if error.is_connection_lost() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn follow_connection(&mut self, client: &ChainClient) -> anyhow::Result<()> {
        self.filter.learn_jobs(client).await?;
        let mut finalized: FinalizedBlocks = client.subscribe_finalized().await?;
        let mut is_first = true;
        loop {
            let head = self.next_head(&mut finalized).await?;
            let first = self.next_block.unwrap_or(head.number);
            // Two blocks of the same number are final only on two chains: the node has not caught up.
            if is_first && first > head.number.saturating_add(1) {
                self.display.notice(&format!(
                    "the node's newest finalized block is {}; waiting for block {first}",
                    head.number
                ))?;
            }
            is_first = false;
            for number in first..=head.number {
                let block = if number == head.number {
                    head
                } else {
                    client.block(number).await?
                };
                if let Err(error) = self.show(client, block).await {
                    let is_pruned = matches!(
                        error.downcast_ref::<Error>(),
                        Some(Error::BlockUnavailable { .. })
                    );
                    return Err(if is_pruned {
                        pruned(client, block, head).await
                    } else {
                        error
                    });
                }
                self.next_block = Some(number.saturating_add(1));
                if self.checklist.is_done() {
                    return Ok(());
                }
            }
            self.display.waiting(&self.checklist, Some(head.number));
        }
    }

    /// Waits for a finalized block and keeps the display moving meanwhile.
    async fn next_head(&mut self, finalized: &mut FinalizedBlocks) -> anyhow::Result<BlockId> {
        let next = finalized.next();
        tokio::pin!(next);
        loop {
            let tick = Instant::now() + Duration::from_secs(1);
            if let Ok(head) = timeout_at(tick, &mut next).await {
                return Ok(head?);
            }
            self.display.tick();
        }
    }

    async fn show(&mut self, client: &ChainClient, block: BlockId) -> anyhow::Result<()> {
        for event in client.events_at(&block.hash).await? {
            if self.filter.lets_through(&event) {
                let steps = Step::of(&event);
                self.checklist.note(&steps);
                self.display.event(&event, &steps, block.number)?;
            }
        }
        Ok(())
    }
}

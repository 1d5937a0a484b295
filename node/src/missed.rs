//! Reports machines that owed an answer to a hardware challenge and gave none.
//!
//! Every validator's node does this without a reward: a reward for a missing answer would be an incentive to
//! cause one. All nodes make the same transaction, so only the first one counts. While a round can be
//! reported, its machines are scanned repeatedly, so that a report that did not get into a block is made
//! again.

use std::{collections::BTreeMap, sync::Arc};

use assay_primitives::{
    api::{AvailabilityApi, HardwareChallengeApi},
    availability::{AVAILABILITY_KEY_TYPE, AvailabilityId},
    challenge::{MAX_MISSED_PAGE, MissedPage, RoundId},
    machine::MachineId,
};
use assay_runtime::{AccountId, Hash, OpaqueBlock as Block};
use futures::StreamExt;
use polkadot_sdk::{
    sc_client_api::BlockchainEvents,
    sc_transaction_pool_api::{TransactionPool, TransactionSource},
    sp_api::{ApiError, ProvideRuntimeApi},
    sp_consensus::SyncOracle,
    sp_keystore::KeystorePtr,
};

/// Maximum number of reports submitted per block: as many as blocks have room for besides everything else.
const MAX_REPORTS_PER_BLOCK: usize = 64;

/// Maximum number of pages scanned per block: 10,000 machines.
const MAX_PAGES_PER_BLOCK: u32 = 10;

/// Blocks after which the machines of a round are scanned again.
const REPEAT_AFTER_BLOCKS: u32 = 10;

/// MissedReportDependencies of [`run`].
pub(crate) struct MissedReportDependencies<Client, Pool, Syncing> {
    pub(crate) client: Arc<Client>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) sync: Syncing,
    pub(crate) keystore: KeystorePtr,
}

/// Progress of the scan of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The next page starts at this machine.
    At(MachineId),
    /// The scan is complete and starts again after so many blocks.
    Done(u32),
}

/// Reports as long as the node runs.
pub(crate) async fn run<Client, Pool, Syncing>(dependencies: MissedReportDependencies<Client, Pool, Syncing>)
where
    Client: ProvideRuntimeApi<Block> + BlockchainEvents<Block> + Send + Sync + 'static,
    Client::Api: HardwareChallengeApi<Block> + AvailabilityApi<Block, AccountId>,
    Pool: TransactionPool<Block = Block> + 'static,
    Syncing: SyncOracle,
{
    let mut rounds = BTreeMap::new();
    let mut blocks = dependencies.client.import_notification_stream();
    while let Some(block) = blocks.next().await {
        if !block.is_new_best || dependencies.sync.is_major_syncing() {
            continue;
        }
        if let Err(error) = report(&dependencies, block.hash, &mut rounds).await {
            log::warn!(target: "challenge", "cannot ask the runtime for missing answers: {error}");
        }
    }
}

/// Continues the scan of every round that can be reported.
async fn report<Client, Pool, Syncing>(
    node: &MissedReportDependencies<Client, Pool, Syncing>,
    at: Hash,
    rounds: &mut BTreeMap<RoundId, Progress>,
) -> Result<(), ApiError>
where
    Client: ProvideRuntimeApi<Block>,
    Client::Api: HardwareChallengeApi<Block> + AvailabilityApi<Block, AccountId>,
    Pool: TransactionPool<Block = Block>,
{
    if !is_validator(node, at)? {
        return Ok(());
    }
    let reportable = node.client.runtime_api().reportable_rounds(at)?;
    follow(rounds, &reportable);
    let (mut room, mut pages) = (MAX_REPORTS_PER_BLOCK, MAX_PAGES_PER_BLOCK);
    for (round, progress) in rounds.iter_mut() {
        while let Progress::At(from) = *progress
            && pages > 0
            && room > 0
        {
            pages -= 1;
            let page = node
                .client
                .runtime_api()
                .missed(at, *round, from, MAX_MISSED_PAGE)?;
            let Some(page) = page else { break };
            let (now, after) = shared_out(page, room);
            room -= now.len();
            for machine in now {
                send(node, at, *round, machine).await?;
            }
            *progress = after;
        }
    }
    Ok(())
}

/// Returns the machines of a page to report now, and the next start of the scan: the first machine without
/// room.
fn shared_out(page: MissedPage, room: usize) -> (Vec<MachineId>, Progress) {
    let mut now = page.machines;
    let after = match now.get(room) {
        Some(first_left) => Progress::At(*first_left),
        None => page
            .next
            .map_or(Progress::Done(REPEAT_AFTER_BLOCKS), Progress::At),
    };
    now.truncate(room);
    (now, after)
}

/// Adds new rounds, drops those that are over, and counts a block down for the others.
fn follow(rounds: &mut BTreeMap<RoundId, Progress>, reportable: &[RoundId]) {
    rounds.retain(|round, _| reportable.contains(round));
    for round in reportable {
        let progress = rounds.entry(*round).or_insert(Progress::At(0));
        *progress = match *progress {
            Progress::Done(0) => Progress::At(0),
            Progress::Done(blocks) => Progress::Done(blocks - 1),
            at => at,
        };
    }
}

/// Returns true if this node holds the key of one of the session's validators.
fn is_validator<Client, Pool, Syncing>(
    node: &MissedReportDependencies<Client, Pool, Syncing>,
    at: Hash,
) -> Result<bool, ApiError>
where
    Client: ProvideRuntimeApi<Block>,
    Client::Api: AvailabilityApi<Block, AccountId>,
{
    for key in node.keystore.sr25519_public_keys(AVAILABILITY_KEY_TYPE) {
        let key: AvailabilityId = key.into();
        if node.client.runtime_api().validator_of(at, key)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Submits a report to the pool. Ignores that another node was first.
async fn send<Client, Pool, Syncing>(
    node: &MissedReportDependencies<Client, Pool, Syncing>,
    at: Hash,
    round: RoundId,
    machine: MachineId,
) -> Result<(), ApiError>
where
    Client: ProvideRuntimeApi<Block>,
    Client::Api: HardwareChallengeApi<Block>,
    Pool: TransactionPool<Block = Block>,
{
    let transaction = node
        .client
        .runtime_api()
        .report_missed_transaction(at, round, machine)?;
    let Some(transaction) = transaction else {
        return Ok(());
    };
    match node
        .pool
        .submit_one(at, TransactionSource::Local, transaction)
        .await
    {
        Ok(_) => log::info!(
            target: "challenge",
            "📮 Reported that machine {machine} gave no answer in round {round}"
        ),
        Err(error) => log::debug!(
            target: "challenge",
            "the report of machine {machine} in round {round} was refused: {error}"
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_taken_up_gone_through_again_and_forgotten() {
        let mut rounds = BTreeMap::new();
        follow(&mut rounds, &[4, 6]);
        assert_eq!(
            rounds,
            BTreeMap::from([(4, Progress::At(0)), (6, Progress::At(0))])
        );
        rounds.insert(4, Progress::At(1_000));
        rounds.insert(6, Progress::Done(1));
        follow(&mut rounds, &[4, 6]);
        assert_eq!(
            rounds,
            BTreeMap::from([(4, Progress::At(1_000)), (6, Progress::Done(0))])
        );
        follow(&mut rounds, &[6]);
        assert_eq!(rounds, BTreeMap::from([(6, Progress::At(0))]));
        follow(&mut rounds, &[]);
        assert!(rounds.is_empty());
    }

    #[test]
    fn page_with_more_than_there_is_room_for_is_gone_on_with() {
        let page = |next| MissedPage {
            machines: vec![3, 5, 8],
            next,
        };
        assert_eq!(shared_out(page(Some(9)), 2), (vec![3, 5], Progress::At(8)));
        assert_eq!(shared_out(page(Some(9)), 3), (vec![3, 5, 8], Progress::At(9)));
        assert_eq!(
            shared_out(page(None), 4),
            (vec![3, 5, 8], Progress::Done(REPEAT_AFTER_BLOCKS))
        );
    }
}

//! Reports machines that owed an answer to a hardware challenge and gave none.
//!
//! Every validator's node does this, and nobody is paid for it: whoever earned by a missing answer would gain
//! by causing one. All make the same transaction, so the first one counts. While a round can be reported, its
//! machines are gone through again and again, so that a report that did not get into a block is made anew.

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

/// Most reports given to the pool at one block: what blocks have room for besides everything else.
const MAX_REPORTS_PER_BLOCK: usize = 64;

/// Most pages that are looked at in one block: 10,000 machines.
const MAX_PAGES_PER_BLOCK: u32 = 10;

/// Blocks after which the machines of a round are gone through again.
const REPEAT_AFTER_BLOCKS: u32 = 10;

/// What reporting needs of the node.
pub(crate) struct Dependencies<Client, Pool, Sync> {
    pub(crate) client: Arc<Client>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) sync: Sync,
    pub(crate) keystore: KeystorePtr,
}

/// How far a round was gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The next page starts here.
    At(MachineId),
    /// All of it; again after so many blocks.
    Done(u32),
}

/// Reports as long as the node runs.
pub(crate) async fn run<Client, Pool, Sync>(dependencies: Dependencies<Client, Pool, Sync>)
where
    Client: ProvideRuntimeApi<Block> + BlockchainEvents<Block> + Send + std::marker::Sync + 'static,
    Client::Api: HardwareChallengeApi<Block> + AvailabilityApi<Block, AccountId>,
    Pool: TransactionPool<Block = Block> + 'static,
    Sync: SyncOracle,
{
    let mut rounds = BTreeMap::new();
    let mut blocks = dependencies.client.import_notification_stream();
    while let Some(block) = blocks.next().await {
        if !block.is_new_best || dependencies.sync.is_major_syncing() {
            continue;
        }
        if let Err(error) = report(&dependencies, block.hash, &mut rounds).await {
            log::warn!(target: "challenge", "the runtime could not be asked who gave no answer: {error}");
        }
    }
}

/// Goes on with every round that can be reported.
async fn report<Client, Pool, Sync>(
    node: &Dependencies<Client, Pool, Sync>,
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

/// The machines of a page that are reported now, and where to go on: with the first that there is no room for.
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

/// Takes up rounds that are new, forgets those that are over, and lets a block pass for the others.
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

/// Returns true where this node holds the key of one of the session's validators.
fn is_validator<Client, Pool, Sync>(
    node: &Dependencies<Client, Pool, Sync>,
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

/// Gives a report to the pool. That another one was first is nothing to speak of.
async fn send<Client, Pool, Sync>(
    node: &Dependencies<Client, Pool, Sync>,
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
            "the report of machine {machine} in round {round} was not taken: {error}"
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

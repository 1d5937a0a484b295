//! One submission of an account at a time, so that no nonce is used twice.
//!
//! A nonce is asked of the node, which counts the transactions in its pool. Two submissions that ask at once
//! would get the same one, and one of their transactions would replace the other or be refused. Hence a turn
//! for each account and chain, from the question until the pool has the transaction: for all clients of this
//! process, whatever connection they have.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Genesis hash of a chain and public key of an account.
type AccountOfChain = ([u8; 32], [u8; 32]);

/// Turns that somebody has or waits for.
static TURNS: LazyLock<Mutex<HashMap<AccountOfChain, Weak<AsyncMutex<()>>>>> = LazyLock::new(Mutex::default);

/// Right to ask for an account's nonce and to use it, until it is dropped.
pub(crate) struct Turn {
    _guard: OwnedMutexGuard<()>,
}

/// Waits for the account's turn.
pub(crate) async fn turn(genesis_hash: [u8; 32], account: [u8; 32]) -> Turn {
    let turns = turns_of((genesis_hash, account));
    Turn {
        _guard: turns.lock_owned().await,
    }
}

fn turns_of(key: AccountOfChain) -> Arc<AsyncMutex<()>> {
    let mut all = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(turns) = all.get(&key).and_then(Weak::upgrade) {
        return turns;
    }
    // Accounts that nobody waits for: a long-running program may sign with ever new ones.
    all.retain(|_, turns| turns.strong_count() > 0);
    let turns = Arc::new(AsyncMutex::new(()));
    all.insert(key, Arc::downgrade(&turns));
    turns
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_account_of_one_chain_has_one_turn() {
        let first = turn([1; 32], [1; 32]).await;
        // Another account, and the same one elsewhere, need not wait.
        let _other = turn([1; 32], [2; 32]).await;
        let _elsewhere = turn([2; 32], [1; 32]).await;
        let waiting = tokio::time::timeout(Duration::from_millis(50), turn([1; 32], [1; 32])).await;
        assert!(waiting.is_err(), "the turn is taken");
        drop(first);
        assert!(
            tokio::time::timeout(Duration::from_secs(5), turn([1; 32], [1; 32]))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn turns_that_nobody_waits_for_are_forgotten() {
        let key = ([3; 32], [3; 32]);
        drop(turn(key.0, key.1).await);
        drop(turn([3; 32], [4; 32]).await);
        let all = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(all.get(&key).is_none_or(|turns| turns.strong_count() == 0));
    }
}

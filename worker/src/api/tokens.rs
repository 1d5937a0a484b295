//! Nonces and tokens of the owner part. Both stay in memory: a restart of the worker ends every token.
//!
//! A challenge stores nothing: its nonce carries its own expiry and a code that only this worker can make, so
//! a flood of challenges displaces no other's. Only nonces that an owner has used are remembered, until they
//! expire. Of a token the store has the hash, never the token.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use assay_client::{AccountId, worker_api::NONCE_BYTES};
use tokio_util::sync::CancellationToken;

/// Life of a nonce: time to ask a person for a signature.
pub const NONCE_LIFE: Duration = Duration::from_secs(120);

/// Maximum number of nonces of one job that are used while none of them has expired.
pub const MAX_USED_NONCES_PER_JOB: usize = 64;

/// Maximum number of live tokens of one account for one job; a further one ends the oldest.
///
/// A job has one consumer and at most [`assay_client::manifest::MAX_DELEGATES`] delegates, so this bounds
/// a job's tokens. It is above the number of streams that one job may have open by default, since those
/// of a token end with it.
pub const MAX_TOKENS_PER_ACCOUNT: usize = 32;

/// Length of a token, in bytes; it is written in hexadecimal.
const TOKEN_BYTES: usize = 32;

/// Length of the part of a nonce that the code is made of: expiry and random bytes.
const CLAIM_BYTES: usize = 16;

/// Reason why a nonce cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceError {
    /// The worker did not give it for this job, or it has expired.
    Invalid,
    /// It gave a token already.
    Used,
    /// Too many nonces of the job were used in the last minutes.
    TooMany,
}

/// Error of a system that gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random bytes: {0}")]
pub struct NoRandomness(getrandom::Error);

struct UsedNonce {
    job: u64,
    expires: Instant,
}

struct Token {
    job: u64,
    account: AccountId,
    life: TokenLife,
}

impl Drop for Token {
    fn drop(&mut self) {
        self.life.ended.cancel();
    }
}

/// Life of a token, for work that must not outlast it: an open shell, a log that is followed, a download.
#[derive(Clone, Debug)]
pub struct TokenLife {
    expires: Instant,
    /// Cancelled when the token is revoked or removed.
    ended: CancellationToken,
}

impl TokenLife {
    /// Waits until the token has expired, was revoked or made room for a younger one.
    pub async fn over(&self) {
        tokio::select! {
            () = self.ended.cancelled() => (),
            () = tokio::time::sleep_until(self.expires.into()) => (),
        }
    }
}

/// Nonces and tokens.
pub struct Tokens {
    started: Instant,
    key: [u8; 32],
    used: Mutex<HashMap<[u8; NONCE_BYTES], UsedNonce>>,
    tokens: Mutex<HashMap<[u8; 32], Token>>,
}

impl Tokens {
    /// Creates an empty store with a fresh key for nonces.
    pub fn new(now: Instant) -> Result<Self, NoRandomness> {
        Ok(Self {
            started: now,
            key: random()?,
            used: Mutex::default(),
            tokens: Mutex::default(),
        })
    }

    /// Creates a nonce for a job.
    pub fn nonce(&self, job: u64, now: Instant) -> Result<[u8; NONCE_BYTES], NoRandomness> {
        let expiry = now.saturating_duration_since(self.started) + NONCE_LIFE;
        let mut claim: [u8; CLAIM_BYTES] = random()?;
        claim[..8].copy_from_slice(&milliseconds(expiry).to_le_bytes());
        let mut nonce = [0; NONCE_BYTES];
        nonce[..CLAIM_BYTES].copy_from_slice(&claim);
        nonce[CLAIM_BYTES..].copy_from_slice(&self.code(job, &claim));
        Ok(nonce)
    }

    /// Returns true if a nonce is of this worker, for this job, and has not expired.
    pub fn is_valid(&self, nonce: &[u8; NONCE_BYTES], job: u64, now: Instant) -> bool {
        let (mut claim, mut expiry) = ([0; CLAIM_BYTES], [0; 8]);
        claim.copy_from_slice(&nonce[..CLAIM_BYTES]);
        expiry.copy_from_slice(&claim[..8]);
        let is_in_time =
            milliseconds(now.saturating_duration_since(self.started)) < u64::from_le_bytes(expiry);
        let differences = self
            .code(job, &claim)
            .iter()
            .zip(&nonce[CLAIM_BYTES..])
            .fold(0, |differences, (left, right)| differences | (left ^ right));
        differences == 0 && is_in_time
    }

    /// Uses a nonce, once; called after the signature over it was verified.
    pub fn use_nonce(&self, nonce: &[u8; NONCE_BYTES], job: u64, now: Instant) -> Result<(), NonceError> {
        if !self.is_valid(nonce, job, now) {
            return Err(NonceError::Invalid);
        }
        let mut used = lock(&self.used);
        used.retain(|_, used| used.expires > now);
        if used.contains_key(nonce) {
            return Err(NonceError::Used);
        }
        if used.values().filter(|used| used.job == job).count() >= MAX_USED_NONCES_PER_JOB {
            return Err(NonceError::TooMany);
        }
        let expires = now + NONCE_LIFE;
        used.insert(*nonce, UsedNonce { job, expires });
        Ok(())
    }

    /// Creates a token for a job and an account.
    pub fn issue(
        &self,
        job: u64,
        account: AccountId,
        life: Duration,
        now: Instant,
    ) -> Result<String, NoRandomness> {
        let token = hex::encode(random::<TOKEN_BYTES>()?);
        let mut tokens = lock(&self.tokens);
        tokens.retain(|_, token| token.life.expires > now);
        let mut of_account: Vec<_> = tokens
            .iter()
            .filter(|(_, token)| token.job == job && token.account == account)
            .map(|(hash, token)| (token.life.expires, *hash))
            .collect();
        of_account.sort_unstable();
        let surplus = (of_account.len() + 1).saturating_sub(MAX_TOKENS_PER_ACCOUNT);
        for (_, hash) in of_account.into_iter().take(surplus) {
            tokens.remove(&hash);
        }
        let life = TokenLife {
            expires: now + life,
            ended: CancellationToken::new(),
        };
        tokens.insert(hash(&token), Token { job, account, life });
        Ok(token)
    }

    /// Returns the job, the account and the life of a live token.
    pub fn owner(&self, token: &str, now: Instant) -> Option<(u64, AccountId, TokenLife)> {
        lock(&self.tokens)
            .get(&hash(token))
            .filter(|token| token.life.expires > now)
            .map(|token| (token.job, token.account, token.life.clone()))
    }

    /// Ends a token, and what goes on by it; returns false if there is no such live token.
    pub fn revoke(&self, token: &str, now: Instant) -> bool {
        lock(&self.tokens)
            .remove(&hash(token))
            .is_some_and(|token| token.life.expires > now)
    }

    fn code(&self, job: u64, claim: &[u8; CLAIM_BYTES]) -> [u8; NONCE_BYTES - CLAIM_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&job.to_le_bytes()).update(claim);
        let mut code = [0; NONCE_BYTES - CLAIM_BYTES];
        hasher.finalize_xof().fill(&mut code);
        code
    }
}

/// The maps are whole after a panic: every change is one operation.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(token: &str) -> [u8; 32] {
    blake3::hash(token.as_bytes()).into()
}

fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(bytes)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const LIFE: Duration = Duration::from_secs(60);

    fn account(number: u8) -> AccountId {
        AccountId::from([number; 32])
    }

    #[test]
    fn nonce_is_of_one_job_and_one_worker_and_used_once() {
        let now = Instant::now();
        let tokens = Tokens::new(now).unwrap();
        let nonce = tokens.nonce(5, now).unwrap();
        assert_ne!(nonce, tokens.nonce(5, now).unwrap());
        assert_eq!(tokens.use_nonce(&nonce, 6, now), Err(NonceError::Invalid));
        let other = Tokens::new(now).unwrap();
        assert_eq!(other.use_nonce(&nonce, 5, now), Err(NonceError::Invalid));
        assert_eq!(tokens.use_nonce(&nonce, 5, now), Ok(()));
        assert_eq!(tokens.use_nonce(&nonce, 5, now), Err(NonceError::Used));
        let later = now + NONCE_LIFE;
        assert_eq!(tokens.use_nonce(&nonce, 5, later), Err(NonceError::Invalid));
    }

    #[test]
    fn nonce_expires() {
        let now = Instant::now();
        let tokens = Tokens::new(now).unwrap();
        let begun = now + LIFE;
        let nonce = tokens.nonce(5, begun).unwrap();
        assert!(tokens.is_valid(&nonce, 5, begun + NONCE_LIFE - Duration::from_millis(1)));
        assert!(!tokens.is_valid(&nonce, 5, begun + NONCE_LIFE));
    }

    #[test]
    fn used_nonces_of_one_job_take_no_room_of_another() {
        let now = Instant::now();
        let tokens = Tokens::new(now).unwrap();
        for _ in 0..MAX_USED_NONCES_PER_JOB {
            let nonce = tokens.nonce(5, now).unwrap();
            assert_eq!(tokens.use_nonce(&nonce, 5, now), Ok(()));
        }
        let next = |job| tokens.use_nonce(&tokens.nonce(job, now).unwrap(), job, now);
        assert_eq!(next(5), Err(NonceError::TooMany));
        assert_eq!(next(6), Ok(()));
        let later = now + NONCE_LIFE;
        let nonce = tokens.nonce(5, later).unwrap();
        assert_eq!(tokens.use_nonce(&nonce, 5, later), Ok(()));
    }

    #[test]
    fn token_ends_by_time_by_revocation_and_by_younger_ones() {
        let now = Instant::now();
        let tokens = Tokens::new(now).unwrap();
        let owner = |token: &str, now| {
            let found = tokens.owner(token, now);
            found.map(|(job, account, _)| (job, account))
        };
        let first = tokens.issue(5, account(1), LIFE, now).unwrap();
        assert_eq!(first.len(), 2 * TOKEN_BYTES);
        assert_eq!(owner(&first, now), Some((5, account(1))));
        assert_eq!(owner(&first, now + LIFE), None);
        assert_eq!(owner(&first.to_uppercase(), now), None);

        let others = tokens.issue(5, account(2), LIFE, now).unwrap();
        for second in 1..MAX_TOKENS_PER_ACCOUNT as u32 {
            let later = now + Duration::from_millis(second.into());
            tokens.issue(5, account(1), LIFE, later).unwrap();
        }
        assert!(tokens.owner(&first, now).is_some());
        let last = tokens
            .issue(5, account(1), LIFE, now + Duration::from_secs(1))
            .unwrap();
        assert_eq!(owner(&first, now), None, "the oldest made room");
        assert!(tokens.owner(&last, now).is_some());
        assert!(tokens.owner(&others, now).is_some());

        assert!(tokens.revoke(&last, now));
        assert_eq!(owner(&last, now), None);
        assert!(!tokens.revoke(&last, now));
    }

    #[tokio::test]
    async fn life_of_a_token_is_over_with_it() {
        async fn ends(life: &TokenLife) -> bool {
            let waited = tokio::time::timeout(Duration::from_millis(200), life.over()).await;
            waited.is_ok()
        }
        let now = Instant::now();
        let tokens = Tokens::new(now).unwrap();
        let issued = |life| tokens.issue(5, account(1), life, now).unwrap();
        let life_of = |token: &str| tokens.owner(token, now).unwrap().2;
        let revoked = issued(LIFE);
        let life = life_of(&revoked);
        assert!(!ends(&life).await);
        assert!(tokens.revoke(&revoked, now));
        assert!(ends(&life).await, "revoked");

        let brief = issued(Duration::from_millis(100));
        assert!(ends(&life_of(&brief)).await, "expired");

        let oldest = issued(LIFE);
        let life = life_of(&oldest);
        for _ in 0..MAX_TOKENS_PER_ACCOUNT {
            tokens.issue(5, account(1), LIFE * 2, now).unwrap();
        }
        assert!(ends(&life).await, "made room");
    }

    proptest! {
        #[test]
        fn no_other_nonce_is_valid(bytes in any::<[u8; NONCE_BYTES]>(), bit in 0..8 * NONCE_BYTES) {
            let now = Instant::now();
            let tokens = Tokens::new(now).unwrap();
            prop_assert!(!tokens.is_valid(&bytes, 5, now));
            let mut nonce = tokens.nonce(5, now).unwrap();
            nonce[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!tokens.is_valid(&nonce, 5, now));
        }
    }
}

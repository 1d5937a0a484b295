//! Logs of a job, followed across the ends of tokens.

use std::time::Duration;

use tokio::time::Instant;

use super::{ConsumerError, JobAccess};
use crate::worker_api::{LogEvent, LogFollower, LogQuery, OwnerSession};

/// Least time between two tokens: one that is refused at once is not asked for again, and one may end without
/// any output in its time.
const TOKEN_PAUSE: Duration = Duration::from_secs(2);

/// Log of a job's container, from its beginning or from a time on, until the job's last container has ended.
///
/// A connection that breaks and a token that ends are made anew, and the log goes on where it was.
pub struct LogStream {
    access: JobAccess,
    session: OwnerSession,
    follower: LogFollower,
    /// Time at which the token was asked for.
    asked: Instant,
}

impl LogStream {
    pub(super) async fn begin(access: JobAccess, query: LogQuery) -> Result<Self, ConsumerError> {
        let session = access.log_in().await?;
        Ok(Self {
            follower: session.follow_logs(query),
            access,
            session,
            asked: Instant::now(),
        })
    }

    /// Waits for the next piece of the log; `None` when nothing follows.
    ///
    /// # Errors
    /// The worker refuses, answers what cannot be read, or was not reached by several attempts.
    pub async fn next(&mut self) -> Result<Option<LogEvent>, ConsumerError> {
        loop {
            match self.follower.next().await {
                Ok(event) => return Ok(event),
                Err(error) if error.is_logged_out() && self.asked.elapsed() >= TOKEN_PAUSE => {
                    self.asked = Instant::now();
                    self.session = self.access.log_in().await?;
                    self.follower.continue_with(self.session.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends the token.
    pub async fn end(self) {
        self.access.log_out(self.session).await;
    }
}

//! Lengths of time in text (`90s`, `10m`, `2h`, `1d`), and waits with a deadline.

use tokio::time::{Instant, sleep_until};

pub(crate) use assay_client::units::{format_milliseconds, parse_duration};

/// Ends at the deadline, or never.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

//! What a job brings in, and what the chain charges for it.

use assay_client::{Error, units::format_asy};
use assay_primitives::{
    clock::MILLIS_PER_HOUR,
    job::{self, DEFAULT_PROTOCOL_FEE_PPM, JobId},
    machine::MachineId,
    money::{Balance, Rounding},
};

use crate::chain::{FeeEstimator, WorkerCall};

const FULL_PPM: u128 = 1_000_000;

/// Highest price that is reckoned with, in plancks: more than all ASY, and small enough to be multiplied with
/// a share in parts per million.
const MAX_PRICE: Balance = Balance::MAX / MILLIS_PER_HOUR as Balance;

/// The most that a job brings the provider, in plancks: its price for all its slots and its longest time,
/// less the protocol's fee; rounded down.
///
/// A task that is done earlier brings less, but nobody knows that beforehand.
pub fn revenue(price_per_slot_hour: Balance, slots: u8, max_duration_ms: u64) -> Balance {
    let price = job::cost(price_per_slot_hour, slots, max_duration_ms, Rounding::Down)
        .map_or(MAX_PRICE, |price| price.min(MAX_PRICE));
    price * (FULL_PPM - u128::from(DEFAULT_PROTOCOL_FEE_PPM)) / FULL_PPM
}

/// What the chain will charge the worker key for a job that it has already, in plancks. Starting it and
/// giving its result are free for the machine that does so; having it paid is not.
pub async fn fees_after_assignment<C: FeeEstimator>(
    chain: &C,
    job: JobId,
    machine: MachineId,
) -> Result<Balance, Error> {
    chain.fee(WorkerCall::Settle { job, machine }).await
}

/// The same for a job that is still to be accepted.
pub async fn fees_with_acceptance<C: FeeEstimator>(
    chain: &C,
    job: JobId,
    machine: MachineId,
) -> Result<Balance, Error> {
    let accept = chain.fee(WorkerCall::AcceptRequest { job, machine }).await?;
    Ok(accept.saturating_add(fees_after_assignment(chain, job, machine).await?))
}

/// Why a job is not worth its fees; `None` for one that is.
pub fn refusal(revenue: Balance, fees: Balance, min_profit: Balance) -> Option<String> {
    let needed = fees.saturating_add(min_profit);
    (revenue < needed).then(|| {
        format!(
            "it brings in {} ASY at most, and less than {} ASY is not worth it: {} ASY of fees and `assay.min_profit`",
            format_asy(revenue),
            format_asy(needed),
            format_asy(fees)
        )
    })
}

#[cfg(test)]
mod tests {
    use assay_primitives::money::ASY;

    use super::*;

    #[test]
    fn revenue_is_price_by_slots_and_time_less_the_protocols_fee() {
        assert_eq!(revenue(ASY, 1, 3_600_000), ASY / 100 * 95);
        assert_eq!(revenue(ASY, 2, 1_800_000), ASY / 100 * 95);
        // The worthless order that was seen: a second at an ask of one ASY.
        assert_eq!(revenue(ASY, 1, 1_000), 263_888_888);
        assert_eq!(revenue(0, 64, u64::MAX), 0);
        assert_eq!(revenue(3_600_000, 1, 1), 0);
        assert_eq!(
            revenue(u128::MAX, 64, u64::MAX),
            u128::MAX / 3_600_000 * 950_000 / FULL_PPM
        );
    }

    #[test]
    fn job_that_costs_more_than_it_brings_is_refused() {
        let fees = 4_500_000_000;
        let reason = refusal(revenue(ASY, 1, 1_000), fees, 0).expect("it is worthless");
        assert!(reason.contains("0.0045"), "{reason}");
        assert_eq!(refusal(fees, fees, 0), None);
        assert!(refusal(fees - 1, fees, 0).is_some());
        assert!(refusal(fees, fees, 1).is_some());
        // Where nothing is charged, only the least profit counts.
        assert_eq!(refusal(0, 0, 0), None);
        assert_eq!(refusal(5, 0, 5), None);
        assert!(refusal(4, 0, 5).is_some());
        assert!(refusal(u128::MAX - 1, u128::MAX, u128::MAX).is_some());
    }
}

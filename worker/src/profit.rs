//! Revenue of a job, and the chain's fees for it.

use assay_client::{Error, units::format_asy};
use assay_primitives::{
    clock::MILLIS_PER_HOUR,
    job::{self, DEFAULT_PROTOCOL_FEE_PPM, JobId},
    machine::MachineId,
    market,
    money::{Balance, Rounding},
};

use crate::chain::{FeeEstimator, WorkerCall};

/// Parts of a whole, wide enough for amounts.
const FULL_PPM: u128 = market::FULL_PPM as u128;

/// Maximum price in the computation, in plancks: more than all ASY, and small enough that a multiplication by
/// parts per million does not overflow.
const MAX_PRICE: Balance = Balance::MAX / MILLIS_PER_HOUR as Balance;

/// Returns the provider's maximum revenue of a job, in plancks: the price for all of its slots and its
/// maximum time, less the protocol's fee; rounded down.
///
/// A task that ends earlier earns less, but its duration is not known beforehand.
pub fn revenue(price_per_slot_hour: Balance, slots: u8, max_duration_ms: u64) -> Balance {
    let price = job::cost(price_per_slot_hour, slots, max_duration_ms, Rounding::Down)
        .map_or(MAX_PRICE, |price| price.min(MAX_PRICE));
    price * (FULL_PPM - u128::from(DEFAULT_PROTOCOL_FEE_PPM)) / FULL_PPM
}

/// Returns the worker key's fees for a job that is already assigned, in plancks. Reporting the start and
/// submitting the result are free for the assigned machine; the settlement is not.
pub async fn fees_after_assignment<C: FeeEstimator>(
    chain: &C,
    job: JobId,
    machine: MachineId,
) -> Result<Balance, Error> {
    chain.fee(WorkerCall::Settle { job, machine }).await
}

/// Returns the worker key's fees for a job that is still to be accepted, in plancks.
pub async fn fees_with_acceptance<C: FeeEstimator>(
    chain: &C,
    job: JobId,
    machine: MachineId,
) -> Result<Balance, Error> {
    let accept = chain.fee(WorkerCall::AcceptRequest { job, machine }).await?;
    Ok(accept.saturating_add(fees_after_assignment(chain, job, machine).await?))
}

/// Returns the reason why a job is not worth its fees; `None` if it is.
pub fn refusal(revenue: Balance, fees: Balance, min_profit: Balance) -> Option<String> {
    let needed = fees.saturating_add(min_profit);
    (revenue < needed).then(|| {
        format!(
            "it earns {} ASY at most, less than the needed {} ASY: {} ASY of fees and `assay.min_profit`",
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
        // Observed order below its fees: one second at an ask of one ASY.
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
        // Without fees, only the minimum profit counts.
        assert_eq!(refusal(0, 0, 0), None);
        assert_eq!(refusal(5, 0, 5), None);
        assert!(refusal(4, 0, 5).is_some());
        assert!(refusal(u128::MAX - 1, u128::MAX, u128::MAX).is_some());
    }
}

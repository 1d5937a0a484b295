//! The open orders that a machine can take, for its worker. The chain itself never looks for any.

use assay_primitives::{
    clock::{ActiveClock, Millis},
    job::{JobId, MAX_ORDERS_LOOKED_AT, MAX_PAGE_ORDERS, OpenOrder, OpenOrderPage},
    machine::{MachineId, MachineInspect},
    market::{MachineMatching, Requirements},
};

use crate::{Assignments, Config, Jobs, Manifest, Pallet, Refusals, Requests};

impl<T: Config> Pallet<T> {
    /// A page of orders that a machine can take; see [`assay_primitives::api::JobMarketApi`].
    ///
    /// Goes by the hashes of their identifiers, so that a cursor holds though its order is gone.
    pub fn open_orders(machine: MachineId, after: Option<JobId>, limit: u32) -> OpenOrderPage {
        let limit = limit.clamp(1, MAX_PAGE_ORDERS) as usize;
        let now_ms = T::Clock::now_ms();
        let requests = match after {
            Some(job) => Requests::<T>::iter_from(Requests::<T>::hashed_key_for(job)),
            None => Requests::<T>::iter(),
        };
        let mut page = OpenOrderPage {
            orders: Default::default(),
            next: None,
        };
        let mut looked_at = 0;
        for (job, requirements) in requests {
            looked_at += 1;
            page.orders
                .extend(Self::order_for(machine, job, requirements, now_ms));
            if page.orders.len() == limit || looked_at == MAX_ORDERS_LOOKED_AT {
                page.next = Some(job);
                break;
            }
        }
        page
    }

    /// Returns an order as a machine sees it; `None` if the machine cannot take it at this price.
    fn order_for(
        machine: MachineId,
        job_id: JobId,
        requirements: Requirements,
        now_ms: Millis,
    ) -> Option<OpenOrder> {
        let job = Jobs::<T>::get(job_id)?;
        let price_per_slot_hour = job.offered_price_at(now_ms)?;
        let at_this_price = Requirements {
            max_price_per_slot_hour: Some(price_per_slot_hour),
            ..requirements
        };
        if !T::Matching::meets(&at_this_price, machine)
            || Refusals::<T>::get(job_id).contains(&machine)
            || Assignments::<T>::contains_key(job_id, machine)
            || !Self::may_run(&job, machine)
        {
            return None;
        }
        if job.kind.quorum_threshold().is_some() {
            let provider = T::Machines::provider_of(machine)?;
            // At most as many as a quorum has replicas.
            if Assignments::<T>::iter_prefix_values(job_id).any(|other| other.provider == provider) {
                return None;
            }
        }
        Some(OpenOrder {
            job: job_id,
            price_per_slot_hour,
            slots: job.slots,
            max_duration_ms: job.max_duration_ms,
            closes_at_ms: job.closes_at_ms()?,
            is_sealed: matches!(job.manifest, Manifest::Sealed { .. }),
        })
    }
}

//! Benchmarks: each call in the branch that costs most, which for all that can close a job is closing it with
//! a payment.

#![allow(clippy::unwrap_used)]

extern crate alloc;

use alloc::vec;

use assay_primitives::{
    clock::{ActiveClock, MILLIS_PER_HOUR, Millis},
    machine::{MachineInspect, MachineLease},
    money::{ASY, Balance},
};
use polkadot_sdk::{
    frame_benchmarking::v2::*,
    frame_support::{
        assert_ok,
        traits::{Get, QueryPreimage, StorePreimage, fungible::Mutate},
    },
    frame_system::{self, RawOrigin},
    sp_core::H256,
};

use crate::{
    Call, Config, Event, JobId, JobKind, JobOrder, JobOutcome, JobState, Jobs, ManifestRef, NextJobId, Pallet,
};

const START_MS: Millis = 1_000_000;

/// The accounts that take part.
struct Parties<AccountId> {
    consumer: AccountId,
    provider: AccountId,
    worker: AccountId,
}

/// Funds everybody, so that every part of a payment arrives, and sets up a machine and an order for it.
fn set_up<T: Config>(kind: JobKind) -> (Parties<T::AccountId>, JobOrder) {
    let parties = Parties {
        consumer: whitelisted_caller(),
        provider: account("provider", 0, 0),
        worker: account("worker", 0, 0),
    };
    for account in [
        &parties.consumer,
        &parties.provider,
        &parties.worker,
        &T::TreasuryAccount::get(),
    ] {
        assert_ok!(T::Currency::mint_into(account, 1_000_000 * ASY));
    }
    T::Clock::benchmark_set_now_ms(START_MS);
    let machine = T::Machines::benchmark_machine(&parties.provider, &parties.worker, 1);
    T::Machines::benchmark_activate(machine);

    let bytes = vec![b' '; T::MaxManifestBytes::get() as usize];
    let length_bytes = T::MaxManifestBytes::get();
    let hash = T::Preimages::note(bytes.into()).unwrap();
    let order = JobOrder {
        machine,
        slots: 1,
        kind,
        manifest: ManifestRef { hash, length_bytes },
        image_digest: H256::repeat_byte(1),
        max_duration_ms: MILLIS_PER_HOUR.clamp(T::MinDurationMs::get(), T::MaxDurationMs::get()),
        max_price_per_slot_hour: Balance::MAX,
    };
    (parties, order)
}

/// Deploys an order; its manifest is then needed by this job alone and removed when it closes.
fn deploy<T: Config>(parties: &Parties<T::AccountId>, order: JobOrder) -> JobId {
    let job = NextJobId::<T>::get();
    assert_ok!(Pallet::<T>::deploy(
        RawOrigin::Signed(parties.consumer.clone()).into(),
        order
    ));
    T::Preimages::unrequest(&order.manifest.hash);
    job
}

/// Deploys and starts a job, and lets `elapsed_ms` pass.
fn run<T: Config>(kind: JobKind, elapsed_ms: Millis) -> (Parties<T::AccountId>, JobOrder, JobId) {
    let (parties, order) = set_up::<T>(kind);
    let job = deploy::<T>(&parties, order);
    assert_ok!(Pallet::<T>::start(
        RawOrigin::Signed(parties.worker.clone()).into(),
        job
    ));
    T::Clock::benchmark_set_now_ms(START_MS.saturating_add(elapsed_ms));
    (parties, order, job)
}

/// Deploys, starts and finishes a task.
fn finish_task<T: Config>() -> (Parties<T::AccountId>, JobOrder, JobId) {
    let (parties, order, job) = run::<T>(JobKind::Task, T::MinDurationMs::get());
    assert_ok!(Pallet::<T>::submit_result(
        RawOrigin::Signed(parties.worker.clone()).into(),
        job,
        H256::repeat_byte(2),
    ));
    (parties, order, job)
}

/// What closing the job now has to say: that it was paid for.
fn closing<T: Config>(job: JobId, outcome: JobOutcome) -> Event<T> {
    let record = Jobs::<T>::get(job).unwrap();
    let paid = record.due_at(T::Clock::now_ms());
    assert!(paid > 0);
    let refunded = record.escrowed - paid;
    Event::JobClosed {
        job,
        machine: record.machine,
        outcome,
        paid,
        refunded,
    }
}

/// Checks that the job closed as told and left no manifest.
fn assert_closed<T: Config>(order: &JobOrder, job: JobId, closed: Event<T>) {
    assert!(!Jobs::<T>::contains_key(job));
    assert_eq!(T::Preimages::len(&order.manifest.hash), None);
    frame_system::Pallet::<T>::assert_last_event(closed.into());
}

#[benchmarks]
mod benchmarks {
    use super::*;

    #[benchmark]
    fn deploy() {
        let (parties, order) = set_up::<T>(JobKind::Service);

        #[extrinsic_call]
        _(RawOrigin::Signed(parties.consumer), order);

        assert!(Jobs::<T>::contains_key(NextJobId::<T>::get() - 1));
    }

    #[benchmark]
    fn start() {
        let (parties, order) = set_up::<T>(JobKind::Service);
        let job = super::deploy::<T>(&parties, order);

        #[extrinsic_call]
        _(RawOrigin::Signed(parties.worker), job);

        assert!(matches!(
            Jobs::<T>::get(job).unwrap().state,
            JobState::Running { .. }
        ));
    }

    #[benchmark]
    fn submit_result() {
        let (parties, _, job) = run::<T>(JobKind::Task, T::MinDurationMs::get());

        #[extrinsic_call]
        _(RawOrigin::Signed(parties.worker), job, H256::repeat_byte(2));

        assert!(matches!(
            Jobs::<T>::get(job).unwrap().state,
            JobState::Verifying { .. }
        ));
    }

    #[benchmark]
    fn accept() {
        let (parties, order, job) = finish_task::<T>();
        let closed = closing::<T>(job, JobOutcome::Completed);

        #[extrinsic_call]
        _(RawOrigin::Signed(parties.consumer), job);

        assert_closed(&order, job, closed);
    }

    #[benchmark]
    fn close() {
        let (parties, order, job) = run::<T>(JobKind::Service, T::MinDurationMs::get());
        let closed = closing::<T>(job, JobOutcome::ClosedByConsumer);

        #[extrinsic_call]
        _(RawOrigin::Signed(parties.consumer), job);

        assert_closed(&order, job, closed);
    }

    #[benchmark]
    fn settle() {
        let (parties, order, job) = finish_task::<T>();
        T::Clock::benchmark_set_now_ms(Millis::MAX);
        let closed = closing::<T>(job, JobOutcome::Completed);

        #[extrinsic_call]
        _(RawOrigin::Signed(parties.provider), job);

        assert_closed(&order, job, closed);
    }

    #[benchmark]
    fn expire() {
        let (parties, order, job) = run::<T>(JobKind::Service, 0);
        T::Clock::benchmark_set_now_ms(Millis::MAX);
        let closed = closing::<T>(job, JobOutcome::Expired);

        #[extrinsic_call]
        _(RawOrigin::Signed(parties.provider), job);

        assert_closed(&order, job, closed);
    }

    #[benchmark]
    fn abandon() {
        // By the worker key, which takes one more look at the registry than the provider does.
        let (parties, order, job) = run::<T>(JobKind::Service, T::MinDurationMs::get());
        let closed = closing::<T>(job, JobOutcome::Abandoned);

        #[extrinsic_call]
        _(RawOrigin::Signed(parties.worker), job);

        assert_closed(&order, job, closed);
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_test_ext(), crate::mock::Test);
}

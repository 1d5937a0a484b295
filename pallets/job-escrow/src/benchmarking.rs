//! Benchmarks: each call in the branch that costs most, which for all that can close a job is closing it.

#![allow(clippy::unwrap_used)]

use alloc::{vec, vec::Vec};

use assay_primitives::{
    attestation::AttestedSigners,
    clock::{ActiveClock, EpochIndex, Millis},
    emission::EpochUptime,
    machine::{MachineId, MachineInspect, MachineLease},
    market::{MAX_NODES, MachineMatching, TeeKind},
    money::ASY,
};
use polkadot_sdk::{
    frame_benchmarking::{benchmarking, v2::*},
    frame_support::{
        assert_ok,
        traits::{Get, QueryPreimage, StorePreimage, fungible::Mutate},
    },
    frame_system::{self, RawOrigin},
    sp_core::{H256, crypto::KeyTypeId, sr25519},
    sp_io,
};

use crate::{
    AssignmentState, Assignments, AuctionTerms, Call, Config, DeclineReason, JobId, JobKind, JobOrder, Jobs,
    Manifest, ManifestRef, NextJobId, Pallet, Refusals, RefusedMachines, Verification,
    types::{MAX_REFUSALS, MAX_REPLICAS},
};

/// The epoch in which everything begins.
const FIRST_EPOCH: EpochIndex = 10;

/// Type of the worker keys that benchmarks make in the keystore.
const WORKER_KEY_TYPE: KeyTypeId = KeyTypeId(*b"work");

/// Makes worker keys that sign, and the author who has a part in payments.
pub trait BenchmarkHelper<AccountId, Signature> {
    /// The account of a new key.
    fn worker() -> AccountId;

    /// The signature of such a key.
    fn sign(worker: &AccountId, message: &[u8]) -> Signature;

    /// Makes an account the author of the block at hand.
    fn set_author(_author: &AccountId) {}
}

/// Keys of sr25519, in the keystore.
impl<AccountId: Clone + From<[u8; 32]> + Into<[u8; 32]>, Signature: From<sr25519::Signature>>
    BenchmarkHelper<AccountId, Signature> for ()
{
    fn worker() -> AccountId {
        sp_io::crypto::sr25519_generate(WORKER_KEY_TYPE, None).0.into()
    }

    fn sign(worker: &AccountId, message: &[u8]) -> Signature {
        let public = sr25519::Public::from_raw(worker.clone().into());
        sp_io::crypto::sr25519_sign(WORKER_KEY_TYPE, &public, message)
            .unwrap()
            .into()
    }
}

/// A machine and who acts for it.
struct Party<AccountId> {
    machine: MachineId,
    worker: AccountId,
}

/// The first moment of an epoch.
fn epoch_ms<T: Config>(epoch: EpochIndex) -> Millis {
    Millis::from(epoch).saturating_mul(T::Clock::epoch_duration_ms())
}

/// An account with money.
fn funded<T: Config>(name: &'static str, index: u32) -> T::AccountId {
    let who: T::AccountId = account(name, index, 0);
    assert_ok!(T::Currency::mint_into(&who, 1_000_000 * ASY));
    who
}

/// Funds those who share in payments, and the consumer, and sets the clock.
fn set_up<T: Config>() -> T::AccountId {
    assert_ok!(T::Currency::mint_into(
        &T::TreasuryAccount::get(),
        1_000_000 * ASY
    ));
    T::BenchmarkHelper::set_author(&funded::<T>("author", 0));
    T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH));
    funded::<T>("consumer", 0)
}

/// Origin of a call's signer, whose account costs the call no access to the database: its nonce was checked
/// and its fee paid before.
fn signed<T: Config>(who: T::AccountId) -> RawOrigin<T::AccountId> {
    let key = frame_system::Account::<T>::hashed_key_for(&who);
    benchmarking::add_to_whitelist(key.into());
    RawOrigin::Signed(who)
}

/// A machine of one slot whose provider and average uptime are as good as can be.
fn machine<T: Config>(provider: &T::AccountId, worker: T::AccountId) -> Party<T::AccountId> {
    let machine = T::Machines::benchmark_machine(provider, &worker, 1);
    T::Machines::benchmark_activate(machine);
    T::Uptime::benchmark_reliable(machine);
    Party { machine, worker }
}

/// Machines of one slot, each of a provider of its own.
fn machines<T: Config>(count: u32) -> Vec<Party<T::AccountId>> {
    (0..count)
        .map(|index| machine::<T>(&funded::<T>("provider", index), funded::<T>("worker", index)))
        .collect()
}

/// Those, each with as much evidence as a machine can have.
fn attested_machines<T: Config>(count: u32) -> Vec<Party<T::AccountId>> {
    let parties = machines::<T>(count);
    for party in &parties {
        T::AttestedSigners::benchmark_attest(party.machine);
    }
    parties
}

/// A task whose machine vouches for its result.
const ATTESTED: JobKind = JobKind::Task {
    verification: Verification::Attested,
};

fn task(window_ms: Millis) -> JobKind {
    JobKind::Task {
        verification: Verification::Consumer { window_ms },
    }
}

fn quorum(replicas: u8) -> JobKind {
    JobKind::Task {
        verification: Verification::Quorum {
            replicas,
            threshold: replicas / 2 + 1,
        },
    }
}

/// An order for so many epochs, whose manifest is as long as may be, and whose requirements these machines
/// meet and cost most to check; evidence among them where a TEE vouches for the result.
fn order<T: Config>(kind: JobKind, epochs: u32, parties: &[Party<T::AccountId>]) -> JobOrder {
    let mut requirements = parties
        .first()
        .map(|party| T::Matching::benchmark_requirements(party.machine))
        .unwrap_or_default();
    requirements.tee = kind.is_attested().then_some(TeeKind::NvidiaGpu);
    let bytes = vec![b' '; T::MaxManifestBytes::get() as usize];
    let length_bytes = T::MaxManifestBytes::get();
    let hash = T::Preimages::note(bytes.into()).unwrap();
    JobOrder {
        kind,
        manifest: Manifest::Public(ManifestRef { hash, length_bytes }),
        image_digest: H256::repeat_byte(1),
        requirements,
        slots: 1,
        max_duration_ms: epoch_ms::<T>(epochs).clamp(T::MinDurationMs::get(), T::MaxDurationMs::get()),
        // So dear that every part of a payment arrives, and that everybody can pay.
        max_price_per_slot_hour: 100 * ASY,
    }
}

fn auction() -> AuctionTerms {
    AuctionTerms {
        floor_price_per_slot_hour: 1,
        rise_ms: 1_000,
        open_ms: 1_000,
    }
}

/// Leaves a manifest to the job alone, so that it goes with it.
fn forget_manifest<T: Config>(order: &JobOrder) {
    if let Manifest::Public(manifest) = &order.manifest {
        T::Preimages::unrequest(&manifest.hash);
    }
}

/// Deploys an order to the machines.
fn deploy_to<T: Config>(consumer: &T::AccountId, order: &JobOrder, parties: &[Party<T::AccountId>]) -> JobId {
    let job = NextJobId::<T>::get();
    let machines: Vec<_> = parties.iter().map(|party| party.machine).collect();
    assert_ok!(Pallet::<T>::deploy(
        RawOrigin::Signed(consumer.clone()).into(),
        order.clone(),
        machines.try_into().unwrap(),
    ));
    forget_manifest::<T>(order);
    job
}

/// Has the machines take an auctioned order at its highest price. The auction ends after `open_ms`, and
/// remembers but one as many machines that gave a place back as it can: all of that goes with the job.
fn auction_to<T: Config>(
    consumer: &T::AccountId,
    order: &JobOrder,
    parties: &[Party<T::AccountId>],
    open_ms: Millis,
) -> JobId {
    let job = NextJobId::<T>::get();
    let terms = AuctionTerms {
        floor_price_per_slot_hour: order.max_price_per_slot_hour,
        rise_ms: 1,
        open_ms,
    };
    let nodes = parties.len() as u8;
    assert_ok!(Pallet::<T>::request(
        RawOrigin::Signed(consumer.clone()).into(),
        order.clone(),
        nodes,
        terms,
    ));
    forget_manifest::<T>(order);
    for party in parties {
        assert_ok!(Pallet::<T>::accept_request(
            RawOrigin::Signed(party.worker.clone()).into(),
            job,
            party.machine,
        ));
    }
    let refusals: Vec<MachineId> = (0..MachineId::from(MAX_REFUSALS) - 1)
        .map(|number| MachineId::MAX - number)
        .collect();
    Refusals::<T>::insert(job, RefusedMachines::truncate_from(refusals));
    job
}

fn start_all<T: Config>(job: JobId, parties: &[Party<T::AccountId>]) {
    for party in parties {
        assert_ok!(Pallet::<T>::start(
            RawOrigin::Signed(party.worker.clone()).into(),
            job
        ));
    }
}

/// A job that runs on so many machines, for so many epochs.
fn run<T: Config>(
    kind: JobKind,
    nodes: u32,
    epochs: u32,
) -> (T::AccountId, Vec<Party<T::AccountId>>, JobOrder, JobId) {
    let consumer = set_up::<T>();
    let parties = machines::<T>(nodes);
    let order = order::<T>(kind, epochs, &parties);
    let job = auction_to::<T>(&consumer, &order, &parties, 1);
    start_all::<T>(job, &parties);
    T::Machines::benchmark_audit();
    (consumer, parties, order, job)
}

/// A task that gave its result after half of its time.
fn finish_task<T: Config>() -> (T::AccountId, MachineId, JobOrder, JobId) {
    let (consumer, parties, order, job) = run::<T>(task(1_000), 1, 2);
    T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH + 1));
    assert_ok!(Pallet::<T>::submit_result(
        RawOrigin::Signed(parties[0].worker.clone()).into(),
        job,
        H256::repeat_byte(2),
    ));
    (consumer, parties[0].machine, order, job)
}

/// Checks that nothing of a job is left.
fn assert_closed<T: Config>(order: &JobOrder, job: JobId) {
    assert!(!Jobs::<T>::contains_key(job));
    if let Manifest::Public(manifest) = &order.manifest {
        assert_eq!(T::Preimages::len(&manifest.hash), None);
    }
}

#[benchmarks]
mod benchmarks {
    use super::*;

    // Cheap and seldom called, and so the first: the first benchmark of a run is slow for some seconds.
    #[benchmark]
    fn reveal_result() {
        let (_, parties, _, job) = run::<T>(quorum(2), 2, 1);
        let (result_hash, salt) = (H256::repeat_byte(2), [7; 32]);
        for party in &parties {
            assert_ok!(Pallet::<T>::commit_result(
                RawOrigin::Signed(party.worker.clone()).into(),
                job,
                Pallet::<T>::commitment_to(job, party.machine, result_hash, salt),
            ));
        }

        #[extrinsic_call]
        _(
            RawOrigin::Signed(parties[0].worker.clone()),
            job,
            result_hash,
            salt,
        );

        assert_eq!(Jobs::<T>::get(job).unwrap().ballot.unwrap().revealed, 1);
    }

    #[benchmark]
    fn deploy(n: Linear<1, { MAX_NODES as u32 }>) {
        let consumer = set_up::<T>();
        let parties = machines::<T>(n);
        let order = order::<T>(task(1_000), 1, &parties);
        let chosen: Vec<_> = parties.into_iter().map(|party| party.machine).collect();
        T::Machines::benchmark_audit();
        let origin = signed::<T>(consumer);

        #[extrinsic_call]
        _(origin, order, chosen.try_into().unwrap());

        let job = NextJobId::<T>::get() - 1;
        assert_eq!(u32::from(Jobs::<T>::get(job).unwrap().assignments), n);
    }

    #[benchmark]
    fn start() {
        // A request, which gives back what was held above the price.
        let consumer = set_up::<T>();
        let parties = machines::<T>(1);
        let job = NextJobId::<T>::get();
        assert_ok!(Pallet::<T>::request(
            RawOrigin::Signed(consumer).into(),
            order::<T>(JobKind::Service, 1, &parties),
            1,
            auction(),
        ));
        assert_ok!(Pallet::<T>::accept_request(
            RawOrigin::Signed(parties[0].worker.clone()).into(),
            job,
            parties[0].machine,
        ));

        #[extrinsic_call]
        _(RawOrigin::Signed(parties[0].worker.clone()), job);

        let part = Assignments::<T>::get(job, parties[0].machine).unwrap();
        assert!(matches!(part.state, AssignmentState::Running { .. }));
    }

    #[benchmark]
    fn submit_result() {
        let (_, parties, _, job) = run::<T>(task(1_000), 1, 1);

        #[extrinsic_call]
        _(
            RawOrigin::Signed(parties[0].worker.clone()),
            job,
            H256::repeat_byte(2),
        );

        let part = Assignments::<T>::get(job, parties[0].machine).unwrap();
        assert!(matches!(part.state, AssignmentState::Verifying { .. }));
    }

    #[benchmark]
    fn accept() {
        let (consumer, machine, _, job) = finish_task::<T>();
        let origin = signed::<T>(consumer);

        #[extrinsic_call]
        _(origin, job, machine);

        let part = Assignments::<T>::get(job, machine).unwrap();
        assert!(matches!(part.state, AssignmentState::Ended { .. }));
    }

    #[benchmark]
    fn close(n: Linear<1, { MAX_NODES as u32 }>) {
        // Machines that were reserved and have not started: each is paid for that, and the job closes with
        // the last.
        let consumer = set_up::<T>();
        let parties = machines::<T>(n);
        let order = order::<T>(JobKind::Service, 1, &parties);
        let job = auction_to::<T>(&consumer, &order, &parties, 1);
        T::Machines::benchmark_audit();
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH) + T::Terms::get().start_window_ms);
        let origin = signed::<T>(consumer);

        #[extrinsic_call]
        _(origin, job);

        assert_closed::<T>(&order, job);
    }

    #[benchmark]
    fn settle(e: Linear<1, { T::MaxEpochsPerSettle::get() }>) {
        // A service that goes on, for its own provider, who has no bounty of it: what is paid is one payment.
        // The provider's account is counted, because anybody else may call.
        let consumer = set_up::<T>();
        let provider = funded::<T>("provider", 0);
        let parties = [machine::<T>(&provider, funded::<T>("worker", 0))];
        let machine = parties[0].machine;
        let order = order::<T>(JobKind::Service, e + 3, &parties);
        let job = deploy_to::<T>(&consumer, &order, &parties);
        start_all::<T>(job, &parties);
        for epoch in FIRST_EPOCH..FIRST_EPOCH + e {
            T::Uptime::benchmark_watch(machine, epoch);
        }
        // The uptime of an epoch is final when the one after it has ended.
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH + e + 1));

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), job, machine);

        let part = Assignments::<T>::get(job, machine).unwrap();
        assert!(part.paid > 0 && part.earned > part.paid);
        let AssignmentState::Running { judged_until_ms, .. } = part.state else {
            panic!("the service goes on");
        };
        assert_eq!(judged_until_ms, epoch_ms::<T>(FIRST_EPOCH + e));
    }

    #[benchmark]
    fn settle_last(e: Linear<1, { T::MaxEpochsPerSettle::get() }>) {
        let (consumer, parties, order, job) = run::<T>(JobKind::Service, 1, e);
        let machine = parties[0].machine;
        for epoch in FIRST_EPOCH..FIRST_EPOCH + e {
            T::Uptime::benchmark_watch(machine, epoch);
        }
        // In the last moment of the last epoch, which its consumer disputes: what is held back goes to the
        // treasury.
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH + e));
        assert_ok!(Pallet::<T>::report_workload_ended(
            RawOrigin::Signed(parties[0].worker.clone()).into(),
            job
        ));
        assert_ok!(Pallet::<T>::reject(
            RawOrigin::Signed(consumer).into(),
            job,
            machine
        ));
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH + e + 3));
        let origin = signed::<T>(funded::<T>("stranger", 0));

        #[extrinsic_call]
        settle(origin, job, machine);

        assert_closed::<T>(&order, job);
    }

    #[benchmark]
    fn expire() {
        // A machine that did not start: its failure is counted, its part goes back, and the job closes.
        let consumer = set_up::<T>();
        let parties = machines::<T>(1);
        let order = order::<T>(JobKind::Service, 1, &parties);
        let job = auction_to::<T>(&consumer, &order, &parties, 1);
        T::Machines::benchmark_audit();
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH) + T::Terms::get().start_window_ms + 1);
        let origin = signed::<T>(funded::<T>("stranger", 0));

        #[extrinsic_call]
        _(origin, job, parties[0].machine);

        assert_closed::<T>(&order, job);
    }

    #[benchmark]
    fn expire_reopening() {
        // While machines may still accept the order: the place is open again.
        let consumer = set_up::<T>();
        let parties = machines::<T>(1);
        let order = order::<T>(JobKind::Service, 1, &parties);
        let job = auction_to::<T>(&consumer, &order, &parties, 2 * T::Terms::get().start_window_ms);
        T::Machines::benchmark_audit();
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH) + T::Terms::get().start_window_ms + 1);
        let origin = signed::<T>(funded::<T>("stranger", 0));

        #[extrinsic_call]
        expire(origin, job, parties[0].machine);

        assert_eq!(Jobs::<T>::get(job).unwrap().open_places, 1);
    }

    #[benchmark]
    fn abandon() {
        // By the worker key, which takes one more look at the registry than the provider does; a task, which
        // closes.
        let (_, parties, order, job) = run::<T>(task(1_000), 1, 1);

        #[extrinsic_call]
        _(
            RawOrigin::Signed(parties[0].worker.clone()),
            job,
            parties[0].machine,
        );

        assert_closed::<T>(&order, job);
    }

    #[benchmark]
    fn report_workload_ended() {
        let (_, parties, _, job) = run::<T>(JobKind::Service, 1, 2);
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH + 1));

        #[extrinsic_call]
        _(RawOrigin::Signed(parties[0].worker.clone()), job);

        let part = Assignments::<T>::get(job, parties[0].machine).unwrap();
        assert!(matches!(part.state, AssignmentState::Ended { .. }));
    }

    #[benchmark]
    fn request() {
        let consumer = set_up::<T>();
        let order = order::<T>(task(1_000), 1, &machines::<T>(1));
        let origin = signed::<T>(consumer);

        #[extrinsic_call]
        _(origin, order, MAX_NODES, auction());

        assert_eq!(
            Jobs::<T>::get(NextJobId::<T>::get() - 1).unwrap().open_places,
            MAX_NODES
        );
    }

    #[benchmark]
    fn accept_request(n: Linear<0, { MAX_REPLICAS as u32 - 1 }>) {
        let consumer = set_up::<T>();
        let parties = machines::<T>(n + 1);
        let job = NextJobId::<T>::get();
        assert_ok!(Pallet::<T>::request(
            RawOrigin::Signed(consumer).into(),
            order::<T>(quorum(MAX_REPLICAS), 1, &parties),
            MAX_REPLICAS,
            auction(),
        ));
        for party in &parties[1..] {
            assert_ok!(Pallet::<T>::accept_request(
                RawOrigin::Signed(party.worker.clone()).into(),
                job,
                party.machine,
            ));
        }
        let party = &parties[0];
        T::Machines::benchmark_audit();

        #[extrinsic_call]
        _(RawOrigin::Signed(party.worker.clone()), job, party.machine);

        assert!(Assignments::<T>::contains_key(job, party.machine));
    }

    #[benchmark]
    fn decline() {
        // Late, so that the reserved time is paid for; the job closes and its manifest goes.
        let consumer = set_up::<T>();
        let parties = machines::<T>(1);
        let order = order::<T>(JobKind::Service, 1, &parties);
        let job = auction_to::<T>(&consumer, &order, &parties, 1);
        T::Machines::benchmark_audit();
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH) + T::Terms::get().start_window_ms);

        #[extrinsic_call]
        _(
            RawOrigin::Signed(parties[0].worker.clone()),
            job,
            parties[0].machine,
            DeclineReason::CannotRun,
        );

        assert_closed::<T>(&order, job);
    }

    #[benchmark]
    fn decline_reopening() {
        // While machines may still accept the order: the place is open again.
        let consumer = set_up::<T>();
        let parties = machines::<T>(1);
        let order = order::<T>(JobKind::Service, 1, &parties);
        let job = auction_to::<T>(&consumer, &order, &parties, 1_000);
        T::Machines::benchmark_audit();

        #[extrinsic_call]
        decline(
            RawOrigin::Signed(parties[0].worker.clone()),
            job,
            parties[0].machine,
            DeclineReason::CannotRun,
        );

        assert_eq!(Jobs::<T>::get(job).unwrap().open_places, 1);
    }

    #[benchmark]
    fn decline_undelivered() {
        // The same of a sealed manifest, for which a bounty is due besides.
        let consumer = set_up::<T>();
        let parties = machines::<T>(1);
        let mut order = order::<T>(JobKind::Service, 1, &parties);
        order.manifest = Manifest::Sealed {
            hash: H256::repeat_byte(3),
        };
        let job = auction_to::<T>(&consumer, &order, &parties, 1);
        T::Machines::benchmark_audit();
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH) + T::Terms::get().start_window_ms);

        #[extrinsic_call]
        decline(
            RawOrigin::Signed(parties[0].worker.clone()),
            job,
            parties[0].machine,
            DeclineReason::NotDelivered,
        );

        assert_closed::<T>(&order, job);
    }

    #[benchmark]
    fn expire_request() {
        let consumer = set_up::<T>();
        let order = order::<T>(JobKind::Service, 1, &machines::<T>(1));
        let job = NextJobId::<T>::get();
        assert_ok!(Pallet::<T>::request(
            RawOrigin::Signed(consumer).into(),
            order.clone(),
            MAX_NODES,
            auction(),
        ));
        forget_manifest::<T>(&order);
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH) + auction().open_ms + 1);
        let origin = signed::<T>(funded::<T>("stranger", 0));

        #[extrinsic_call]
        _(origin, job);

        assert_closed::<T>(&order, job);
    }

    #[benchmark]
    fn top_up(n: Linear<1, { MAX_NODES as u32 }>) {
        let (consumer, parties, order, job) = run::<T>(JobKind::Service, n, 1);
        let origin = signed::<T>(consumer);

        #[extrinsic_call]
        _(origin, job, epoch_ms::<T>(100));

        let part = Assignments::<T>::get(job, parties[0].machine).unwrap();
        assert_eq!(part.max_duration_ms, order.max_duration_ms + epoch_ms::<T>(100));
    }

    #[benchmark]
    fn reject() {
        let (consumer, machine, order, job) = finish_task::<T>();
        let origin = signed::<T>(consumer);

        #[extrinsic_call]
        _(origin, job, machine);

        assert_closed::<T>(&order, job);
    }

    #[benchmark]
    fn commit_result() {
        // The last one, which lets all reveal.
        let (_, parties, _, job) = run::<T>(quorum(2), 2, 1);
        assert_ok!(Pallet::<T>::commit_result(
            RawOrigin::Signed(parties[1].worker.clone()).into(),
            job,
            H256::repeat_byte(2),
        ));

        #[extrinsic_call]
        _(
            RawOrigin::Signed(parties[0].worker.clone()),
            job,
            H256::repeat_byte(2),
        );

        assert!(
            Jobs::<T>::get(job)
                .unwrap()
                .ballot
                .unwrap()
                .reveal_ends_ms
                .is_some()
        );
    }

    #[benchmark]
    fn resolve(n: Linear<2, { MAX_REPLICAS as u32 }>) {
        // Nobody revealed: what each earned goes to the treasury, which costs more than to end the part of
        // one that won.
        let (_, parties, order, job) = run::<T>(quorum(n as u8), n, 1);
        let ran_ms = epoch_ms::<T>(1) / 2;
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH) + ran_ms);
        for party in &parties {
            assert_ok!(Pallet::<T>::commit_result(
                RawOrigin::Signed(party.worker.clone()).into(),
                job,
                H256::repeat_byte(2),
            ));
        }
        T::Clock::benchmark_set_now_ms(
            epoch_ms::<T>(FIRST_EPOCH) + ran_ms + T::Terms::get().reveal_window_ms + 1,
        );
        let origin = signed::<T>(funded::<T>("stranger", 0));

        #[extrinsic_call]
        _(origin, job);

        assert_closed::<T>(&order, job);
    }

    #[benchmark]
    fn deploy_attested(n: Linear<1, { MAX_NODES as u32 }>) {
        let consumer = set_up::<T>();
        let parties = attested_machines::<T>(n);
        let order = order::<T>(ATTESTED, 1, &parties);
        let chosen: Vec<_> = parties.into_iter().map(|party| party.machine).collect();
        T::Machines::benchmark_audit();
        let origin = signed::<T>(consumer);

        #[extrinsic_call]
        deploy(origin, order, chosen.try_into().unwrap());

        let job = NextJobId::<T>::get() - 1;
        assert_eq!(u32::from(Jobs::<T>::get(job).unwrap().assignments), n);
    }

    #[benchmark]
    fn accept_attested_request() {
        let consumer = set_up::<T>();
        let parties = attested_machines::<T>(1);
        let job = NextJobId::<T>::get();
        assert_ok!(Pallet::<T>::request(
            RawOrigin::Signed(consumer).into(),
            order::<T>(ATTESTED, 1, &parties),
            MAX_NODES,
            auction(),
        ));
        let party = &parties[0];
        T::Machines::benchmark_audit();

        #[extrinsic_call]
        accept_request(RawOrigin::Signed(party.worker.clone()), job, party.machine);

        assert!(Assignments::<T>::contains_key(job, party.machine));
    }

    #[benchmark]
    fn submit_attested_result() {
        // After half of the time, so that a part of the escrow goes back.
        let consumer = set_up::<T>();
        let worker = T::BenchmarkHelper::worker();
        let parties = [machine::<T>(&funded::<T>("provider", 0), worker.clone())];
        let machine = parties[0].machine;
        T::AttestedSigners::benchmark_attest(machine);
        let job = deploy_to::<T>(&consumer, &order::<T>(ATTESTED, 2, &parties), &parties);
        start_all::<T>(job, &parties);
        T::Machines::benchmark_audit();
        T::Clock::benchmark_set_now_ms(epoch_ms::<T>(FIRST_EPOCH + 1));
        let result_hash = H256::repeat_byte(2);
        let record = Jobs::<T>::get(job).unwrap();
        let message = Pallet::<T>::statement_of_result(job, machine, &record, result_hash);
        let signature = T::BenchmarkHelper::sign(&worker, &message);

        #[extrinsic_call]
        _(RawOrigin::Signed(worker), job, result_hash, signature);

        let part = Assignments::<T>::get(job, machine).unwrap();
        assert!(matches!(part.state, AssignmentState::Ended { .. }));
    }

    impl_benchmark_test_suite!(Pallet, crate::mock::new_test_ext(), crate::mock::Test);
}

//! Those who try to gain by others' loss, as actors with their accounts: what each strategy gains, and what
//! it costs an honest party at most. `docs/ECONOMICS.md` has the same table in words.
//!
//! A provider's time has a price, its ask: an honest machine that is kept from other work for a time loses
//! what it would have earned in it, and an attacker that has the work of a machine has gained what it is
//! worth. So gains and losses are money *and* time.

use assay_primitives::{
    clock::{MILLIS_PER_HOUR, Millis},
    machine::MachineId,
    money::{ASY, Balance},
};
use polkadot_sdk::{frame_support::assert_ok, sp_core::H256, sp_runtime::Permill};
use proptest::prelude::*;

use crate::{AuctionTerms, DeclineReason, Error, JobId, JobKind, JobOrder, Verification, mock::*};

/// An attacker's machines, of two providers of its own.
const SYBILS: [(MachineId, AccountId, AccountId); 2] = [OTHERS[0], OTHERS[1]];
const TRUTH: H256 = H256::repeat_byte(1);
const LIE: H256 = H256::repeat_byte(2);

/// Returns the price of a machine's two slots for a time.
fn worth(price: Balance, duration_ms: Millis) -> Balance {
    price * 2 * Balance::from(duration_ms) / Balance::from(MILLIS_PER_HOUR)
}

/// Returns the balance of all of these accounts.
fn wealth_of(accounts: &[AccountId]) -> i128 {
    accounts.iter().map(|account| wealth(*account) as i128).sum()
}

/// Effect of a strategy on the attacker's money and on the honest machine's.
struct Outcome {
    attacker: i128,
    victim: i128,
}

/// Plays a strategy, and counts money of the attacker's accounts and of the honest provider's before and
/// after.
fn play(attackers: &[AccountId], victims: &[AccountId], strategy: impl FnOnce()) -> Outcome {
    let mut outcome = Outcome {
        attacker: 0,
        victim: 0,
    };
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let before = (wealth_of(attackers), wealth_of(victims));
        strategy();
        outcome.attacker = wealth_of(attackers) - before.0;
        outcome.victim = wealth_of(victims) - before.1;
    });
    outcome
}

/// Ends everything of a job by whoever may, long after.
fn wind_up(job: JobId) {
    for _ in 0..40 {
        if is_gone(job) {
            return;
        }
        advance(2 * MILLIS_PER_HOUR);
        let _ = JobEscrow::expire_request(signed(STRANGER), job);
        let _ = JobEscrow::resolve(signed(STRANGER), job);
        for (machine, ..) in ALL {
            let _ = JobEscrow::expire(signed(STRANGER), job, machine);
            let _ = JobEscrow::settle(signed(STRANGER), job, machine);
        }
    }
    panic!("the job does not end");
}

fn commit_and_reveal(job: JobId, votes: &[(MachineId, AccountId, H256)]) {
    for (machine, worker, result) in votes {
        let commitment = JobEscrow::commitment_to(job, *machine, *result, [9; 32]);
        assert_ok!(JobEscrow::commit_result(signed(*worker), job, commitment));
    }
    for (_, worker, result) in votes {
        assert_ok!(JobEscrow::reveal_result(signed(*worker), job, *result, [9; 32]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Orders and takes back before the start, to keep a rival's slots from being audited and from earning.
    #[test]
    fn who_reserves_machines_and_takes_the_order_back_pays_for_their_time(held_ms in 0..=START_WINDOW_MS) {
        let outcome = play(&[CONSUMER], &[PROVIDER], || {
            let job = deploy(SERVICE);
            advance(held_ms);
            assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        });
        let time = worth(ASK, held_ms);
        prop_assert_eq!(outcome.attacker, -(time as i128));
        // All of its time is paid, but for the protocol's fee.
        prop_assert_eq!(outcome.victim, (time - Permill::from_percent(5).mul_floor(time)) as i128);
    }

    /// Orders an image that trickles in, so that the machine has to decline at last.
    #[test]
    fn a_slow_image_costs_its_consumer_the_time_beyond_a_look_at_it(held_ms in 0..=START_WINDOW_MS) {
        let outcome = play(&[CONSUMER], &[PROVIDER, WORKER], || {
            let job = deploy(SERVICE);
            advance(held_ms);
            assert_ok!(JobEscrow::decline(signed(WORKER), job, MACHINE, DeclineReason::CannotRun));
        });
        let lost_time = worth(ASK, held_ms);
        let grace = worth(ASK, START_WINDOW_MS / 5);
        // No bond, no fee and no share: the machine loses time, and beyond the grace the attacker as much in
        // money.
        prop_assert_eq!(outcome.victim, 0);
        prop_assert!(-outcome.attacker >= lost_time as i128 - grace as i128 - 1);
        prop_assert!(outcome.attacker <= 0);
    }

    /// Runs a workload that crashes, and disputes that it did.
    #[test]
    fn a_crash_that_its_consumer_made_costs_the_machine_at_most_the_hold_back(ran_ms in 1..8 * MILLIS_PER_HOUR) {
        let outcome = play(&[CONSUMER], &[PROVIDER], || {
            let mut order = order(SERVICE);
            order.max_duration_ms = 8 * MILLIS_PER_HOUR;
            let job = deploy_order(order);
            assert_ok!(JobEscrow::start(signed(WORKER), job));
            advance(ran_ms);
            assert_ok!(JobEscrow::report_workload_ended(signed(WORKER), job));
            assert_ok!(JobEscrow::reject(signed(CONSUMER), job, MACHINE));
            settle_all(job, MACHINE);
        });
        let price = worth(ASK, ran_ms) as i128;
        prop_assert!((-outcome.attacker - price).abs() <= 16, "pays as if it had not disputed");
        prop_assert!(outcome.victim >= price * 95 / 100 * 9 / 10 - 16);
    }

    /// Brings a machine down, by a flood or by its own workload, and closes meanwhile.
    #[test]
    fn closing_in_an_outage_gains_its_consumer_no_hold_back(hours in 1..40_u64) {
        let pays = |outage: bool| play(&[CONSUMER], &[PROVIDER], || {
            let mut order = order(SERVICE);
            order.max_duration_ms = 50 * MILLIS_PER_HOUR;
            let job = deploy_order(order);
            assert_ok!(JobEscrow::start(signed(WORKER), job));
            advance(hours * MILLIS_PER_HOUR + MILLIS_PER_HOUR / 2);
            if outage {
                Outages::set(&vec![(MACHINE, (NowMs::get() / MILLIS_PER_HOUR) as u32, 0)]);
            }
            assert_ok!(JobEscrow::close(signed(CONSUMER), job));
            settle_all(job, MACHINE);
        });
        let (calm, outage) = (pays(false), pays(true));
        // The epoch in which validators saw it down is not paid, which is no more than it is worth to
        // anybody.
        prop_assert_eq!(outage.attacker - calm.attacker, worth(ASK, MILLIS_PER_HOUR / 2) as i128);
        // An outage at the worst moment costs a tenth of the pay besides, and of no more than ten days of it.
        let lost = calm.victim - outage.victim;
        let whole = worth(ASK, hours * MILLIS_PER_HOUR) as i128;
        prop_assert!(lost <= whole / 10 + worth(ASK, MILLIS_PER_HOUR) as i128);
        prop_assert!(lost <= worth(ASK, 25 * MILLIS_PER_HOUR) as i128);
    }

    /// Takes a place when it is cheap and gives it back when it would be dear, with machines of two providers
    /// in turns.
    #[test]
    fn holding_a_place_of_an_auction_never_makes_it_dearer(
        taken_ms in 0..50 * MINUTE_MS,
        holds in proptest::collection::vec(0..=START_WINDOW_MS, 1..8),
    ) {
        ExtBuilder::default().build_and_execute(|| {
            add_others();
            let terms = AuctionTerms { open_ms: 7 * 24 * MILLIS_PER_HOUR, ..auction() };
            assert_ok!(JobEscrow::request(signed(CONSUMER), order(SERVICE), 1, terms));
            advance(taken_ms);
            let price = JobEscrow::offered_price(0).unwrap();
            let sybils = (0..holds.len() as u64).map(|index| 100 + index);
            for (machine, held_ms) in sybils.zip(&holds) {
                add_machine(machine, PROVIDER + 1, 2_000 + machine, SLOTS, ASK / 10);
                assert_ok!(JobEscrow::accept_request(signed(PROVIDER + 1), 0, machine));
                assert_eq!(part(0, machine).price_per_slot_hour, price);
                advance(*held_ms);
                assert_ok!(JobEscrow::decline(signed(PROVIDER + 1), 0, machine, DeclineReason::CannotRun));
                let again = JobEscrow::accept_request(signed(PROVIDER + 1), 0, machine).map_err(|error| error.error);
                assert_eq!(again.map(|_| ()), Err(Error::<Test>::GaveItBack.into()));
            }
            assert_eq!(JobEscrow::offered_price(0), Some(price));
        });
    }

    /// Orders a quorum of two machines of its own and one of somebody else, and outvotes it.
    #[test]
    fn a_quorum_of_one_s_own_has_no_replica_s_work_for_nothing(ran_ms in MINUTE_MS..MILLIS_PER_HOUR) {
        let attackers = [CONSUMER, SYBILS[0].1, SYBILS[0].2, SYBILS[1].1, SYBILS[1].2];
        let outcome = play(&attackers, &[PROVIDER, WORKER], || {
            let job = deploy_to(order(QUORUM), &[MACHINE, SYBILS[0].0, SYBILS[1].0]);
            for (_, _, worker) in ALL {
                assert_ok!(JobEscrow::start(signed(worker), job));
            }
            advance(ran_ms);
            commit_and_reveal(
                job,
                &[(MACHINE, WORKER, TRUTH), (SYBILS[0].0, SYBILS[0].2, LIE), (SYBILS[1].0, SYBILS[1].2, LIE)],
            );
            assert_ok!(JobEscrow::resolve(signed(STRANGER), job));
            wind_up(job);
        });
        let work = worth(ASK, ran_ms) as i128;
        // It has a replica's work, and paid at least as much for it as an honest order of one replica costs;
        // what it paid to its own machines it has, but for the fee.
        prop_assert!(-outcome.attacker >= work);
        // The machine loses the pay for its time, and nothing of its bond: there is nobody here who could
        // take that.
        prop_assert_eq!(outcome.victim, 0);
    }

    /// Spoils a vote by silence, so that the other replica's work is not paid.
    #[test]
    fn a_silent_replica_costs_no_other_its_pay(ran_ms in MINUTE_MS..MILLIS_PER_HOUR, commits in any::<bool>()) {
        let attackers = [CONSUMER, SYBILS[0].1, SYBILS[0].2];
        let outcome = play(&attackers, &[PROVIDER], || {
            let kind = JobKind::Task { verification: Verification::Quorum { replicas: 2, threshold: 2 } };
            let job = deploy_to(order(kind), &[MACHINE, SYBILS[0].0]);
            for worker in [WORKER, SYBILS[0].2] {
                assert_ok!(JobEscrow::start(signed(worker), job));
            }
            advance(ran_ms);
            if commits {
                let commitment = JobEscrow::commitment_to(job, SYBILS[0].0, LIE, [9; 32]);
                assert_ok!(JobEscrow::commit_result(signed(SYBILS[0].2), job, commitment));
            } else {
                assert_ok!(JobEscrow::abandon(signed(SYBILS[0].2), job, SYBILS[0].0));
            }
            commit_and_reveal(job, &[(MACHINE, WORKER, TRUTH)]);
            wind_up(job);
        });
        let work = worth(ASK, ran_ms) as i128;
        prop_assert!((outcome.victim - work * 95 / 100).abs() <= 16);
        prop_assert!(-outcome.attacker >= work);
    }

    /// Takes tasks and gives no result, or gives them up: neither pays, and neither is cheaper than the
    /// other.
    #[test]
    fn a_provider_that_takes_tasks_and_does_nothing_earns_nothing(speaks in any::<bool>()) {
        let outcome = play(&[PROVIDER, WORKER], &[CONSUMER], || {
            let job = run(TASK);
            if speaks {
                assert_ok!(JobEscrow::abandon(signed(WORKER), job, MACHINE));
            }
            advance(MILLIS_PER_HOUR + 1);
            if !is_gone(job) {
                assert_ok!(JobEscrow::expire(signed(CONSUMER), job, MACHINE));
            }
        });
        prop_assert_eq!((outcome.attacker, outcome.victim), (0, 0));
    }

    /// Leases its own machine: each job costs the fee, and gains nothing in the escrow.
    #[test]
    fn leasing_one_s_own_machine_costs_the_fee(ran_ms in MINUTE_MS..MILLIS_PER_HOUR) {
        let outcome = play(&[CONSUMER, PROVIDER], &[], || {
            let job = run(SERVICE);
            advance(ran_ms);
            assert_ok!(JobEscrow::close(signed(CONSUMER), job));
            settle_all(job, MACHINE);
        });
        let fee = Permill::from_percent(5).mul_floor(worth(ASK, ran_ms)) as i128;
        prop_assert!((-outcome.attacker - fee).abs() <= 2);
    }

    /// Orders a second at a low ask and extends it when asks have risen.
    #[test]
    fn a_cheap_minute_buys_no_time_at_yesterday_s_price(rise in 1..ASY, hours in 1..1_000_u64) {
        ExtBuilder::default().build_and_execute(|| {
            let mut minute: JobOrder = order(SERVICE);
            minute.max_duration_ms = MINUTE_MS;
            let job = deploy_order(minute);
            assert_ok!(JobEscrow::start(signed(WORKER), job));
            Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask += rise);
            let extended = JobEscrow::top_up(signed(CONSUMER), job, hours * MILLIS_PER_HOUR);
            assert_eq!(extended.map(|_| ()).map_err(|error| error.error), Err(Error::<Test>::PriceTooLow.into()));
            wind_up(job);
        });
    }
}

use assay_primitives::{
    emission::EpochUptime,
    machine::{
        MachineId,
        MachineStatus::{Draining, Retired, Suspended, Unproven},
        OnMachineRemoved,
        SuspensionReason::OwnRequest,
    },
};
use codec::{Decode, Encode};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

use crate::{
    EpochRecords, Error, Event, UptimeRecord, Uptimes,
    mock::*,
    types::{EpochHead, UnfinishedReport},
};

const MACHINE: MachineId = 7;
const UP: u32 = 1_000_000;
const DOWN: u32 = 0;

/// Of the machine's three validators, so many report and so many of these did not see it.
fn seen(reporting: usize, failed: usize) -> u32 {
    let epoch = current_epoch();
    let assigned = assigned(MACHINE, epoch);
    assert_eq!(assigned.len(), 3);
    next_epoch();
    for (place, validator) in assigned.into_iter().take(reporting).enumerate() {
        let failures: &[MachineId] = if place < failed { &[MACHINE] } else { &[] };
        report(epoch, validator, failures);
    }
    next_epoch();
    Availability::uptime_ppm(MACHINE, epoch)
}

#[test]
fn a_machine_is_down_when_most_of_those_that_watch_it_say_so() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(seen(3, 0), UP);
        assert_eq!(seen(3, 1), UP);
        assert_eq!(seen(3, 2), DOWN);
        assert_eq!(seen(3, 3), DOWN);
        assert_eq!(seen(2, 2), DOWN);
        // The silence of others helps no accuser.
        assert_eq!(seen(2, 1), UP);
        assert_eq!(seen(2, 0), UP);
        assert_eq!(seen(1, 0), UP);
        assert_eq!(seen(1, 1), UP);
    });
}

#[test]
fn down_takes_a_majority_of_the_assigned_and_two_where_there_are_two() {
    for (validators, needed) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (9, 3)] {
        for accusers in 1..=validators.min(5) {
            ExtBuilder::default()
                .validators(validators)
                .per_machine(5)
                .build_and_execute(|| {
                    next_epoch();
                    // Nobody else says a word.
                    for validator in assigned(MACHINE, 1).into_iter().take(accusers as usize) {
                        report(1, validator, &[MACHINE]);
                    }
                    next_epoch();
                    assert_eq!(
                        Availability::uptime_ppm(MACHINE, 1),
                        if accusers >= needed { DOWN } else { UP },
                        "{accusers} of {validators}"
                    );
                });
        }
    }
}

#[test]
fn the_head_of_a_record_makes_the_same_verdict_as_the_whole() {
    for (validators, per_machine) in [(1, 3), (2, 3), (3, 2), (5, 5), (20, 5)] {
        ExtBuilder::default()
            .validators(validators)
            .per_machine(per_machine)
            .build_and_execute(|| {
                next_epoch();
                let mut record = EpochRecords::<Test>::get(1).unwrap();
                for validator_index in 0..validators {
                    assert!(record.reported.insert(validator_index));
                    let part = UnfinishedReport {
                        validator_index,
                        parts: 1,
                        last: MACHINE,
                    };
                    record.unfinished.try_push(part).unwrap();
                }
                let head = EpochHead::decode(&mut record.encode().as_slice()).unwrap();
                assert_eq!(head.needed_to_be_down(), record.needed_to_be_down());
            });
    }
}

#[test]
fn a_machine_that_leaves_does_not_undo_that_it_was_down() {
    // Every way out of the market, in the epoch that follows: before the reports come, and after they did.
    for status in [Some(Retired), Some(Unproven), Some(Suspended(OwnRequest)), None] {
        ExtBuilder::default().build_and_execute(|| {
            next_epoch();
            let watching = assigned(MACHINE, 1);
            report(1, watching[0], &[MACHINE]);
            if status.is_some() {
                set_status(MACHINE, status);
            }
            report(1, watching[1], &[MACHINE]);
            set_status(MACHINE, status);
            if status.is_none() {
                Availability::on_machine_removed(MACHINE);
            }
            next_epoch();
            assert_eq!(Availability::uptime_ppm(MACHINE, 1), DOWN, "{status:?}");
            pass_epochs(HISTORY);
            assert_eq!(crate::Failures::<Test>::iter().count(), 0, "it goes with history");
        });
    }
}

#[test]
fn an_unproven_machine_is_judged_while_it_is_leased() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(update_uptime(MACHINE, 1));
        Engaged::set([MACHINE].into());
        set_status(MACHINE, Some(Unproven));
        next_epoch();
        assert!(Availability::is_watched(MACHINE));
        assert_eq!(seen(3, 3), DOWN);
        assert_ok!(update_uptime(MACHINE, 1));
        assert_eq!(UptimeChanges::get(), [(MACHINE, 855_000)]);
    });
}

#[test]
fn an_outage_is_blamed_on_nobody_and_paid_to_nobody() {
    ExtBuilder::default().validators(3).build_and_execute(|| {
        for machine in [MACHINE, 20] {
            assert_ok!(update_uptime(machine, 1));
        }
        next_epoch();
        next_epoch();
        reports(2, 0..3, &(0..14).collect::<Vec<_>>());
        next_epoch();
        reports(3, 0..3, &[MACHINE]);
        next_epoch();
        // For what nobody saw nobody is paid, or a third of the network could be paid for being off.
        assert_eq!(Availability::uptime_ppm(MACHINE, 2), DOWN);
        assert_eq!(Availability::uptime_ppm(20, 2), UP);
        assert_eq!(Availability::uptime_ppm(MACHINE, 3), DOWN);
        // Averages count the second epoch only: 0.9 × 950,000, and that and 100,000.
        for machine in [MACHINE, 20] {
            assert_ok!(update_uptime(machine, 2));
        }
        assert_eq!(UptimeChanges::get(), [(MACHINE, 855_000), (20, 955_000)]);
    });
}

#[test]
fn an_outage_takes_many_machines_and_a_third_of_the_weight() {
    let is_outage = |down: MachineId, weighty: &[(MachineId, u64)]| {
        let mut is_outage = false;
        ExtBuilder::default().validators(3).build_and_execute(|| {
            Weighty::set(weighty.iter().copied().collect());
            next_epoch();
            reports(1, 0..3, &(0..down).collect::<Vec<_>>());
            is_outage = crate::EpochRecords::<Test>::get(1).unwrap().is_outage;
        });
        is_outage
    };
    assert!(!is_outage(13, &[]));
    assert!(is_outage(14, &[]));
    // A few machines that are most of the weight are one provider's.
    assert!(!is_outage(9, &[(0, 30)]));
    assert!(is_outage(10, &[(0, 30)]));
    // Many that weigh nothing are nobody's outage.
    let light: Vec<_> = (0..40).map(|machine| (machine, 0)).collect();
    assert!(!is_outage(40, &light));
}

#[test]
fn count_failure_lowers_the_average_by_one_epoch_down() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        // One machine fails a consumer, and another one is down for an epoch.
        let other = MACHINE + 1;
        for machine in [MACHINE, other] {
            assert_ok!(update_uptime(machine, 1));
        }
        take_events();
        Availability::count_failure(MACHINE);
        assert_eq!(
            take_events(),
            [Event::FailureCounted {
                machine: MACHINE,
                average_ppm: 855_000
            }]
        );
        next_epoch();
        next_epoch();
        report(2, 0, &[other]);
        next_epoch();
        assert_ok!(update_uptime(other, 1));
        assert_eq!(UptimeChanges::get(), [(MACHINE, 855_000), (other, 855_000)]);
        let average = |machine| Uptimes::<Test>::get(machine).unwrap().average;
        assert_eq!(average(MACHINE), average(other));
        // What is counted next, and what it is paid for, does not change.
        assert_eq!(Uptimes::<Test>::get(MACHINE).unwrap().next_epoch, 2);
        assert_eq!(Availability::uptime_ppm(MACHINE, 2), UP);
    });
}

#[test]
fn count_failure_rounds_as_an_epoch_does() {
    ExtBuilder::default().build_and_execute(|| {
        let mut expected = UptimeRecord {
            average: 999_999_999_999,
            next_epoch: 2,
        };
        Uptimes::<Test>::insert(MACHINE, expected);
        for _ in 0..40 {
            Availability::count_failure(MACHINE);
            expected.count(0, MEMORY);
            assert_eq!(Uptimes::<Test>::get(MACHINE), Some(expected));
        }
    });
}

#[test]
fn count_failure_begins_an_average_and_passes_over_who_is_gone() {
    ExtBuilder::default().build_and_execute(|| {
        Availability::count_failure(MACHINE);
        assert_eq!(
            take_events(),
            [
                Event::UptimeTracked {
                    machine: MACHINE,
                    from_epoch: 2
                },
                Event::FailureCounted {
                    machine: MACHINE,
                    average_ppm: 855_000
                }
            ]
        );
        // Leased until a moment ago, and no longer proven: it counts all the same.
        set_status(MACHINE, Some(Unproven));
        Availability::count_failure(MACHINE);
        assert_eq!(UptimeChanges::get(), [(MACHINE, 855_000), (MACHINE, 769_500)]);
        set_status(MACHINE + 1, None);
        Availability::count_failure(MACHINE + 1);
        assert_eq!(Uptimes::<Test>::iter().count(), 1);
    });
}

#[test]
fn a_machine_is_up_when_none_of_its_validators_reported() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(seen(0, 0), UP);
        // Others did, of other machines.
        let epoch = current_epoch();
        let others: Vec<u32> = (0..5)
            .filter(|index| !assigned(MACHINE, epoch).contains(index))
            .collect();
        next_epoch();
        reports(
            epoch,
            others,
            &(0..10).filter(|machine| *machine != MACHINE).collect::<Vec<_>>(),
        );
        next_epoch();
        assert_eq!(Availability::uptime_ppm(MACHINE, epoch), UP);
    });
}

#[test]
fn one_validator_decides_where_there_is_one() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        next_epoch();
        report(1, 0, &[MACHINE]);
        next_epoch();
        assert_eq!(Availability::uptime_ppm(MACHINE, 1), DOWN);
        assert_eq!(Availability::uptime_ppm(MACHINE + 1, 1), UP);
    });
}

#[test]
fn an_epoch_is_closed_when_its_window_is() {
    ExtBuilder::default().build_and_execute(|| {
        // Of the first epoch there was nobody to report.
        assert!(!Availability::is_closed(0));
        assert!(!Availability::is_closed(1));
        next_epoch();
        assert!(Availability::is_closed(0));
        assert!(!Availability::is_closed(1));
        assert_eq!(Availability::uptime(MACHINE, 1), None);
        next_epoch();
        assert!(Availability::is_closed(1));
        assert_eq!(Availability::first_open_epoch(), 2);
        assert_eq!(Availability::uptime(MACHINE, 0), Some(UP));
        assert_eq!(Availability::uptime(MACHINE, 1), Some(UP));
    });
}

#[test]
fn update_uptime_begins_with_the_next_epoch() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(update_uptime(MACHINE, 1));
        assert_eq!(
            Uptimes::<Test>::get(MACHINE),
            Some(UptimeRecord {
                average: 950_000_000_000,
                next_epoch: 2
            })
        );
        assert_eq!(
            take_events(),
            [Event::UptimeTracked {
                machine: MACHINE,
                from_epoch: 2
            }]
        );
        // Nothing is known yet, so nothing is told.
        assert_eq!(UptimeChanges::get(), []);
        for _ in 0..2 {
            assert_noop!(update_uptime(MACHINE, 1), Error::<Test>::NothingToCount);
            next_epoch();
        }
        // Epoch 2 is being reported on.
        assert_noop!(update_uptime(MACHINE, 1), Error::<Test>::NothingToCount);
        next_epoch();
        assert_ok!(update_uptime(MACHINE, 1));
    });
}

#[test]
fn update_uptime_forgets_no_past_for_asking_late() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        // It earns from epoch 1 on, is down in the second of two epochs, and nobody asks.
        FirstUnpaid::set([(MACHINE, 1), (MACHINE + 1, 9)].into());
        next_epoch();
        report(1, 0, &[]);
        next_epoch();
        report(2, 0, &[MACHINE]);
        next_epoch();
        next_epoch();
        take_events();
        assert_ok!(update_uptime(MACHINE, 1));
        assert_ok!(update_uptime(MACHINE, 2));
        // 950,000, then 955,000, then 859,500.
        assert_eq!(UptimeChanges::get(), [(MACHINE, 859_500)]);
        // A machine that will earn later still begins with the next epoch.
        assert_ok!(update_uptime(MACHINE + 1, 1));
        let tracked = |machine, from_epoch| Event::UptimeTracked { machine, from_epoch };
        let events = take_events();
        assert_eq!(
            (&events[0], &events[2]),
            (&tracked(MACHINE, 1), &tracked(MACHINE + 1, 6))
        );
    });
}

#[test]
fn update_uptime_counts_each_epoch_once_and_in_order() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        assert_ok!(update_uptime(MACHINE, 1));
        next_epoch();
        // Up in epoch 2, down in 3, up in 4 and 5.
        next_epoch();
        report(2, 0, &[]);
        next_epoch();
        report(3, 0, &[MACHINE]);
        next_epoch();
        report(4, 0, &[]);
        next_epoch();
        next_epoch();
        take_events();

        let mut average = 950_000_000_000u64;
        let mut count = |sample: u64| average = (average * 9 + sample * 1_000_000) / 10;
        count(1_000_000);
        count(0);
        assert_ok!(update_uptime(MACHINE, 2));
        count(1_000_000);
        count(1_000_000);
        assert_ok!(update_uptime(MACHINE, MAX_EPOCHS));

        // By hand: 955,000, 859,500, 873,550, 886,195.
        assert_eq!(average, 886_195_000_000);
        assert_eq!(
            Uptimes::<Test>::get(MACHINE),
            Some(UptimeRecord {
                average,
                next_epoch: 6
            })
        );
        assert_eq!(UptimeChanges::get(), [(MACHINE, 859_500), (MACHINE, 886_195)]);
        let updated = |first_epoch, last_epoch, average_ppm| Event::UptimeUpdated {
            machine: MACHINE,
            first_epoch,
            last_epoch,
            average_ppm,
        };
        assert_eq!(take_events(), [updated(2, 3, 859_500), updated(4, 5, 886_195)]);
        assert_noop!(update_uptime(MACHINE, 1), Error::<Test>::NothingToCount);
    });
}

#[test]
fn update_uptime_weighs_what_it_counted() {
    ExtBuilder::default().build_and_execute(|| {
        use crate::WeightInfo;
        let weigh = || {
            Availability::update_uptime(RuntimeOrigin::signed(STRANGER), MACHINE, MAX_EPOCHS)
                .unwrap()
                .actual_weight
        };
        assert_eq!(weigh(), Some(<() as WeightInfo>::update_uptime(0)));
        for _ in 0..4 {
            next_epoch();
        }
        assert_eq!(weigh(), Some(<() as WeightInfo>::update_uptime(2)));
    });
}

#[test]
fn update_uptime_fails_when_the_count_is_out_of_range() {
    ExtBuilder::default().build_and_execute(|| {
        for count in [0, MAX_EPOCHS + 1, u32::MAX] {
            assert_noop!(update_uptime(MACHINE, count), Error::<Test>::BadEpochCount);
        }
    });
}

#[test]
fn update_uptime_fails_when_the_machine_is_not_in_the_market() {
    ExtBuilder::default().build_and_execute(|| {
        for status in [None, Some(Unproven), Some(Retired)] {
            set_status(MACHINE, status);
            assert_noop!(update_uptime(MACHINE, 1), Error::<Test>::MachineNotWatched);
        }
        for (machine, status) in [(1, Draining), (2, Suspended(OwnRequest))] {
            set_status(machine, Some(status));
            assert_ok!(update_uptime(machine, 1));
        }
    });
}

#[test]
fn update_uptime_skips_what_was_forgotten() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        assert_ok!(update_uptime(MACHINE, 1));
        next_epoch();
        next_epoch();
        report(2, 0, &[MACHINE]);
        pass_epochs(HISTORY);
        let oldest = current_epoch() - HISTORY;
        assert_eq!(oldest, 3);
        take_events();
        assert_ok!(update_uptime(MACHINE, 1));
        assert_eq!(
            take_events(),
            [Event::UptimeUpdated {
                machine: MACHINE,
                first_epoch: 3,
                last_epoch: 3,
                average_ppm: 955_000
            }]
        );
    });
}

#[test]
fn averages_stay_between_nothing_and_the_whole() {
    let mut record = UptimeRecord {
        average: 950_000_000_000,
        next_epoch: 0,
    };
    for _ in 0..10_000 {
        record.count(u32::MAX, 168);
    }
    assert_eq!(record.average_ppm(), 1_000_000);
    assert!(record.average <= 1_000_000_000_000);
    for _ in 0..10_000 {
        record.count(0, 168);
    }
    assert_eq!(record.average_ppm(), 0);
    // Without a memory only the last epoch counts, and none at all is as good as one.
    for memory in [0, 1] {
        record.count(1_000_000, memory);
        assert_eq!(record.average_ppm(), 1_000_000);
        record.count(0, memory);
        assert_eq!(record.average_ppm(), 0);
    }
}

#[test]
fn averages_are_told_to_the_nearest_part() {
    let told = |average| {
        UptimeRecord {
            average,
            next_epoch: 0,
        }
        .average_ppm()
    };
    assert_eq!(told(499_999), 0);
    assert_eq!(told(500_000), 1);
    assert_eq!(told(999_999_499_999), 999_999);
    assert_eq!(told(999_999_500_000), 1_000_000);
}

#[test]
fn an_average_goes_with_its_machine() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(update_uptime(MACHINE, 1));
        Availability::on_machine_removed(MACHINE);
        Availability::on_machine_removed(MACHINE + 1);
        assert_eq!(Uptimes::<Test>::iter().count(), 0);
    });
}

use assay_primitives::{
    emission::EpochUptime,
    machine::{
        MachineId,
        MachineStatus::{Draining, Retired, Suspended, Unproven},
        OnMachineRemoved,
        SuspensionReason::OwnRequest,
    },
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

use crate::{Error, Event, UptimeRecord, Uptimes, mock::*};

const MACHINE: MachineId = 7;
const UP: u32 = 1_000_000;
const DOWN: u32 = 0;

/// Of the machine's three validators, so many report and so many of these did not see it.
fn seen(reporting: usize, failed: usize) -> u32 {
    let epoch = CurrentEpoch::get();
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
fn a_machine_is_up_when_most_of_those_that_reported_saw_it() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(seen(3, 0), UP);
        assert_eq!(seen(3, 1), UP);
        assert_eq!(seen(3, 2), DOWN);
        assert_eq!(seen(3, 3), DOWN);
        // Half is not most.
        assert_eq!(seen(2, 1), DOWN);
        assert_eq!(seen(2, 0), UP);
        assert_eq!(seen(1, 0), UP);
        assert_eq!(seen(1, 1), DOWN);
    });
}

#[test]
fn a_machine_is_up_when_none_of_its_validators_reported() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(seen(0, 0), UP);
        // Others did, of other machines.
        let epoch = CurrentEpoch::get();
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
        let oldest = CurrentEpoch::get() - HISTORY;
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

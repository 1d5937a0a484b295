use assay_primitives::emission::EpochUptime;

use crate::{EpochRecords, Failures, ValidatorSets, mock::*};

#[test]
fn verdicts_stay_as_long_as_history_is() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        next_epoch();
        report(1, 0, &[7]);
        for _ in 0..HISTORY - 1 {
            pass_epochs(1);
            if Availability::is_closed(1) {
                assert_eq!(Availability::uptime_ppm(7, 1), 0);
                assert_eq!(Availability::uptime_ppm(8, 1), 1_000_000);
            }
        }
        assert_eq!(current_epoch(), 1 + HISTORY);
    });
}

#[test]
fn nobody_gains_by_asking_for_what_was_forgotten() {
    ExtBuilder::default().validators(1).build_and_execute(|| {
        next_epoch();
        report(1, 0, &[]);
        pass_epochs(HISTORY - 1);
        assert_eq!(Availability::uptime_ppm(7, 1), 1_000_000);
        // Whether the hook forgot it already or not.
        next_epoch();
        assert!(EpochRecords::<Test>::contains_key(1));
        assert_eq!(Availability::uptime_ppm(7, 1), 0);
        assert_eq!(Availability::uptime(7, 1), None);
        poll();
        assert!(!EpochRecords::<Test>::contains_key(1));
        assert_eq!(Availability::uptime_ppm(7, 1), 0);
    });
}

#[test]
fn what_is_kept_does_not_grow_with_time() {
    ExtBuilder::default().build_and_execute(|| {
        let mut kept = Vec::new();
        for epoch in 1..40 {
            next_epoch();
            new_session(epoch % 3..5 + epoch % 3);
            let count = EpochRecords::<Test>::get(epoch).unwrap().validators;
            let numbers: Vec<u32> = ValidatorSets::<Test>::get(EpochRecords::<Test>::get(epoch).unwrap().set)
                .iter()
                .map(|(who, _)| (*who - FIRST_VALIDATOR) as u32)
                .collect();
            for index in 0..count {
                report_as(epoch, numbers[index as usize], index);
            }
            poll();
            kept.push((
                EpochRecords::<Test>::iter().count(),
                Failures::<Test>::iter().count(),
                ValidatorSets::<Test>::iter().count(),
            ));
        }
        for (epochs, failures, sets) in kept.split_off(HISTORY as usize) {
            assert_eq!(epochs, HISTORY as usize + 1);
            // One failure in each report of the epochs that can be or were reported on.
            assert!(failures <= 5 * HISTORY as usize, "{failures}");
            assert!(sets <= 3, "{sets}");
        }
    });
}

/// The report of the validator with that number, who has that place, of the first machine that is its to
/// watch.
fn report_as(epoch: u32, number: u32, validator_index: u32) {
    let failures: Vec<_> = machines_of(validator_index, epoch).into_iter().take(1).collect();
    let call = crate::Call::report {
        epoch,
        validator_index,
        after: None,
        failures: failures.clone().try_into().unwrap(),
        signature: sign(number, epoch, validator_index, &failures),
    };
    authorize(call.clone()).unwrap();
    dispatch_authorized(call).unwrap();
}

//! Plan of an epoch for one validator: times of the probes, and their results. Uses no clock and no network.

use std::{collections::BTreeMap, time::Duration};

use assay_primitives::{availability::AssignedMachine, clock::EpochIndex, machine::MachineId};
use assay_runtime::{AccountId, configs::market::MAX_FAILURES_PER_EPOCH};

/// Probes of each machine in an epoch: several, so that one lost packet is no outage.
pub(super) const PROBES_PER_MACHINE: u32 = 3;

/// Maximum number of machines watched in an epoch, as many as a report can list; twice the share of one of
/// 200 validators in a network of 40,000. Further machines are not probed, and so not reported.
pub(super) const MAX_WATCHED: usize = MAX_FAILURES_PER_EPOCH as usize;

/// Scheduled probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlannedProbe {
    /// Time from the beginning of the watch.
    pub(super) after: Duration,
    /// Index of the machine in [`EpochWatch::machines`].
    pub(super) index: usize,
}

/// An epoch's machines and results, as one validator sees them.
pub(super) struct EpochWatch {
    /// Index of the epoch.
    pub(super) epoch: EpochIndex,
    machines: Vec<Watched>,
}

struct Watched {
    machine: AssignedMachine<AccountId>,
    seen: u32,
    missed: u32,
}

impl Watched {
    fn new(machine: AssignedMachine<AccountId>) -> Self {
        Self {
            machine,
            seen: 0,
            missed: 0,
        }
    }

    fn is_asked(&self) -> bool {
        self.seen.saturating_add(self.missed) > 0
    }
}

impl EpochWatch {
    /// Creates the watch of an epoch, without results.
    pub(super) fn new(epoch: EpochIndex, machines: Vec<AssignedMachine<AccountId>>) -> Self {
        let machines = machines.into_iter().take(MAX_WATCHED).map(Watched::new).collect();
        Self { epoch, machines }
    }

    /// Returns the number of machines.
    pub(super) fn len(&self) -> usize {
        self.machines.len()
    }

    /// Returns the machine at an index.
    pub(super) fn machine(&self, index: usize) -> Option<&AssignedMachine<AccountId>> {
        self.machines.get(index).map(|watched| &watched.machine)
    }

    /// Updates the list of machines. Takes new endpoints and keys, so that a machine that moves can still
    /// answer in this epoch. Before part `part` of the window, also adds machines that joined since, if they
    /// can still be probed more than once.
    pub(super) fn refresh(&mut self, part: u32, machines: Vec<AssignedMachine<AccountId>>) {
        let places: BTreeMap<_, _> = (0..)
            .zip(&self.machines)
            .map(|(index, watched)| (watched.machine.machine, index))
            .collect();
        let takes_more = part.saturating_add(1) < PROBES_PER_MACHINE;
        for machine in machines {
            let known = places
                .get(&machine.machine)
                .and_then(|index: &usize| self.machines.get_mut(*index));
            if let Some(watched) = known {
                watched.machine = machine;
            } else if takes_more && self.machines.len() < MAX_WATCHED {
                self.machines.push(Watched::new(machine));
            }
        }
    }

    /// Returns the times of the probes of part `part` of `window`, the earliest first.
    ///
    /// The window has as many equal parts as each machine has probes. Each machine is probed once at a random
    /// time of each part, so probes of a machine never overlap and it cannot predict when to be up. `random`
    /// returns uniformly distributed numbers.
    pub(super) fn plan(
        &self,
        part: u32,
        window: Duration,
        mut random: impl FnMut() -> u32,
    ) -> Vec<PlannedProbe> {
        let length = window / PROBES_PER_MACHINE;
        let mut probes: Vec<_> = (0..self.machines.len())
            .map(|index| PlannedProbe {
                after: length * part + length.mul_f64(f64::from(random()) / (f64::from(u32::MAX) + 1.0)),
                index,
            })
            .collect();
        probes.sort_by_key(|probe| probe.after);
        probes
    }

    /// Records the result of a probe.
    pub(super) fn note(&mut self, index: usize, is_seen: bool) {
        if let Some(watched) = self.machines.get_mut(index) {
            let count = if is_seen {
                &mut watched.seen
            } else {
                &mut watched.missed
            };
            *count = count.saturating_add(1);
        }
    }

    /// Returns true if enough was probed to report: a validator that slept through the epoch must not report
    /// that all was well.
    pub(super) fn is_reportable(&self) -> bool {
        let asked = self.machines.iter().filter(|watched| watched.is_asked()).count();
        asked * 2 >= self.machines.len()
    }

    /// Returns the first `max` machines after `after`, by number, that failed more probes than they passed.
    pub(super) fn failures(&self, after: Option<MachineId>, max: usize) -> Vec<MachineId> {
        let mut failures: Vec<_> = self
            .machines
            .iter()
            .filter(|watched| watched.missed > watched.seen)
            .map(|watched| watched.machine.machine)
            .filter(|machine| after.is_none_or(|last| *machine > last))
            .collect();
        failures.sort_unstable();
        failures.truncate(max);
        failures
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn watch(machines: u64) -> EpochWatch {
        let machine = |machine| AssignedMachine {
            machine,
            endpoint: b"http://1.1.1.1".to_vec().try_into().unwrap(),
            worker_key: AccountId::new([1; 32]),
        };
        EpochWatch::new(4, (0..machines).map(machine).collect())
    }

    /// Returns a source of numbers spread over the whole range.
    fn dice() -> impl FnMut() -> u32 {
        let mut state = 1_u32;
        move || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            state
        }
    }

    #[test]
    fn every_machine_is_asked_once_in_each_part_of_the_window() {
        let (watch, window) = (watch(50), Duration::from_secs(30));
        let mut random = dice();
        let probes: Vec<_> = (0..PROBES_PER_MACHINE)
            .flat_map(|part| watch.plan(part, window, &mut random))
            .collect();
        assert_eq!(probes.len(), 150);
        assert!(probes.is_sorted_by_key(|probe| probe.after));
        for index in 0..50 {
            let parts: Vec<_> = probes
                .iter()
                .filter(|probe| probe.index == index)
                .map(|probe| probe.after.as_secs() / 10)
                .collect();
            assert_eq!(parts, [0, 1, 2], "machine {index}");
        }
        // The extremes stay inside.
        assert!(
            watch
                .plan(2, window, || u32::MAX)
                .iter()
                .all(|probe| probe.after < window)
        );
        assert_eq!(watch.plan(0, window, || 0)[0].after, Duration::ZERO);
    }

    #[test]
    fn machine_failed_if_it_was_missed_more_often_than_seen() {
        let mut watch = watch(5);
        for (index, seen, missed) in [(0, 3, 0), (1, 2, 1), (2, 1, 1), (3, 1, 2), (4, 0, 1)] {
            (0..seen).for_each(|_| watch.note(index, true));
            (0..missed).for_each(|_| watch.note(index, false));
        }
        watch.note(99, false);
        assert_eq!(watch.failures(None, 10), [3, 4]);
    }

    #[test]
    fn failures_that_do_not_fit_come_in_the_next_part() {
        let mut watch = watch(25);
        (0..25)
            .filter(|index| index % 2 == 0)
            .for_each(|index| watch.note(index, false));
        assert_eq!(watch.failures(None, 100).len(), 13);
        let first = watch.failures(None, 6);
        assert_eq!(first, [0, 2, 4, 6, 8, 10]);
        let second = watch.failures(first.last().copied(), 6);
        assert_eq!(second, [12, 14, 16, 18, 20, 22]);
        let third = watch.failures(second.last().copied(), 6);
        assert_eq!(third, [24]);
        assert!(watch.failures(Some(24), 6).is_empty());
    }

    #[test]
    fn who_slept_does_not_report() {
        assert!(
            watch(0).is_reportable(),
            "with nothing to watch there is nothing to miss"
        );
        let mut watch = watch(4);
        assert!(!watch.is_reportable());
        watch.note(0, true);
        assert!(!watch.is_reportable());
        watch.note(1, false);
        assert!(watch.is_reportable());
    }

    #[test]
    fn what_is_watched_is_bounded() {
        let watch = watch(MAX_WATCHED as u64 + 10);
        assert_eq!(watch.len(), MAX_WATCHED);
        assert_eq!(watch.plan(0, Duration::from_secs(9), dice()).len(), MAX_WATCHED);
    }

    #[test]
    fn who_moves_is_asked_where_it_is() {
        let mut watch = watch(3);
        watch.note(1, true);
        let mut moved = watch.machine(1).unwrap().clone();
        moved.endpoint = b"http://2.2.2.2".to_vec().try_into().unwrap();
        watch.refresh(2, vec![moved.clone()]);
        assert_eq!(watch.machine(1), Some(&moved));
        assert_eq!(watch.len(), 3);
        // Earlier results of the machine stay.
        watch.note(1, false);
        assert!(watch.failures(None, 10).is_empty());
    }

    #[test]
    fn who_joins_is_asked_at_least_twice_or_not_at_all() {
        let newcomer = |machine| AssignedMachine {
            machine,
            ..watch(1).machine(0).unwrap().clone()
        };
        let mut joined = watch(3);
        joined.refresh(2, vec![newcomer(7)]);
        assert_eq!(joined.len(), 3, "one lost packet would be an outage");
        joined.refresh(1, vec![newcomer(7), newcomer(1)]);
        assert_eq!(joined.len(), 4);
        assert_eq!(joined.machine(3), Some(&newcomer(7)));
        assert_eq!(joined.plan(1, Duration::from_secs(9), dice()).len(), 4);

        let mut full = watch(MAX_WATCHED as u64);
        full.refresh(1, vec![newcomer(u64::MAX)]);
        assert_eq!(full.len(), MAX_WATCHED);
    }
}

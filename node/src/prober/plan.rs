//! What a validator watches in an epoch: when to ask whom, and what came of it. Knows no clock and no network.

use std::{collections::BTreeMap, time::Duration};

use assay_primitives::{availability::AssignedMachine, clock::EpochIndex, machine::MachineId};
use assay_runtime::{AccountId, configs::market::MAX_FAILURES_PER_EPOCH};

/// How often each machine is asked in an epoch, so that one lost packet is no outage.
pub(super) const PROBES_PER_MACHINE: u32 = 3;

/// Most machines that are watched in an epoch, as many as a report can list; twice what falls to one of 200
/// validators in a network of 40,000. What is beyond is not asked, and so is accused of nothing.
pub(super) const MAX_WATCHED: usize = MAX_FAILURES_PER_EPOCH as usize;

/// A probe to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlannedProbe {
    /// When, from the beginning of the watch.
    pub(super) after: Duration,
    /// Place of the machine in [`Watch::machines`].
    pub(super) index: usize,
}

/// An epoch as one validator sees it.
pub(super) struct Watch {
    /// The epoch.
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

impl Watch {
    /// The watch of an epoch in which nothing was asked yet.
    pub(super) fn new(epoch: EpochIndex, machines: Vec<AssignedMachine<AccountId>>) -> Self {
        let machines = machines.into_iter().take(MAX_WATCHED).map(Watched::new).collect();
        Self { epoch, machines }
    }

    /// How many machines are watched.
    pub(super) fn len(&self) -> usize {
        self.machines.len()
    }

    /// A machine of this watch.
    pub(super) fn machine(&self, index: usize) -> Option<&AssignedMachine<AccountId>> {
        self.machines.get(index).map(|watched| &watched.machine)
    }

    /// Takes over what changed since the machines were listed: where and by which key they answer, so that
    /// who moves does not miss the rest of the epoch; and, before part `part` of the window, who joined since
    /// and can still be asked more than once.
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

    /// Times of the probes of part `part` of `window`, the earliest first.
    ///
    /// The window has as many equal parts as a machine is asked times, and each machine is asked once at a random time
    /// of each part: never twice at once, and nobody can tell when it is enough to be there. `random` gives numbers
    /// whose every value is as likely.
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

    /// Notes what a probe saw.
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

    /// Whether enough was seen to report: a validator that slept through the epoch must not say that all was well.
    pub(super) fn is_reportable(&self) -> bool {
        let asked = self.machines.iter().filter(|watched| watched.is_asked()).count();
        asked * 2 >= self.machines.len()
    }

    /// The machines behind `after` that were missed more often than seen, by identifier: the first `max` of
    /// them.
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

    fn watch(machines: u64) -> Watch {
        let machine = |machine| AssignedMachine {
            machine,
            endpoint: b"http://1.1.1.1".to_vec().try_into().unwrap(),
            worker_key: AccountId::new([1; 32]),
        };
        Watch::new(4, (0..machines).map(machine).collect())
    }

    /// Numbers that are spread over the whole range.
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
        // What was seen of it stays seen.
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

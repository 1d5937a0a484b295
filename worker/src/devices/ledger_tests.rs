#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{super::DeviceKind, *};

const GPUS: Shape = Shape {
    slots: 4,
    has_devices: true,
};

fn gpu(number: u8) -> Device {
    Device {
        id: DeviceId(format!("GPU-{number}")),
        pci_address: format!("0000:{number:02x}:00.0"),
        kind: DeviceKind::Nvidia,
        name: String::new(),
        memory_mib: 1,
    }
}

fn gpus(numbers: &[u8]) -> Vec<Device> {
    numbers.iter().copied().map(gpu).collect()
}

fn job(job: u64) -> LeaseKey {
    LeaseKey {
        job,
        fingerprint: "f".into(),
    }
}

fn observed(numbers: &[u8]) -> Ledger {
    let mut ledger = Ledger::new();
    ledger.observe(GPUS, &gpus(numbers));
    ledger
}

/// Returns the numbers of the devices of a job.
fn devices_of(grants: &[Grant]) -> Vec<(u8, String)> {
    grants
        .iter()
        .map(|grant| (grant.slot, grant.device.as_ref().unwrap().id.0.clone()))
        .collect()
}

fn states(ledger: &Ledger) -> Vec<SlotState> {
    ledger.view().iter().map(|slot| slot.state).collect()
}

/// Writes and reads the ledger, as a restart does.
fn restarted(ledger: &Ledger, present: &[Device]) -> Ledger {
    let bytes = serde_json::to_vec(ledger).unwrap();
    let mut ledger: Ledger = serde_json::from_slice(&bytes).unwrap();
    ledger.observe(GPUS, present);
    ledger
}

#[test]
fn job_has_the_same_slots_however_often_it_asks() {
    let mut ledger = observed(&[1, 2, 3, 4]);
    let first = ledger.take(&job(1), 2).unwrap();
    assert_eq!(devices_of(&first), [(0, "GPU-1".into()), (1, "GPU-2".into())]);
    assert_eq!(ledger.take(&job(1), 2).unwrap(), first);
    let mut again = restarted(&ledger, &gpus(&[1, 2, 3, 4]));
    assert_eq!(again.take(&job(1), 2).unwrap(), first);
    assert_eq!(
        devices_of(&again.take(&job(2), 1).unwrap()),
        [(2, "GPU-3".into())]
    );
    again.release(&job(1));
    again.release(&job(1));
    assert_eq!(
        devices_of(&again.take(&job(3), 2).unwrap()),
        [(0, "GPU-1".into()), (1, "GPU-2".into())]
    );
    assert_eq!(again.holders(), [job(2), job(3)]);
}

#[test]
fn job_waits_for_devices_of_others_and_is_refused_what_is_not_there() {
    let mut ledger = observed(&[1, 2, 3]);
    assert_eq!(
        ledger.take(&job(1), 4),
        Err(TakeError::TooFew {
            wanted: 4,
            present: 3
        })
    );
    ledger.take(&job(1), 2).unwrap();
    assert_eq!(ledger.take(&job(2), 2), Err(TakeError::Busy { wanted: 2 }));
    assert_eq!(ledger.lend(4).unwrap(), gpus(&[3]));
    assert_eq!(ledger.take(&job(2), 1), Err(TakeError::Lent));
    assert_eq!(
        states(&ledger),
        [
            SlotState::Leased,
            SlotState::Leased,
            SlotState::Lent,
            SlotState::Empty
        ]
    );
    ledger.take_back(&[gpu(3).id]);
    assert_eq!(
        devices_of(&ledger.take(&job(2), 1).unwrap()),
        [(2, "GPU-3".into())]
    );
    assert_eq!(ledger.lend(4).unwrap(), []);
}

#[test]
fn leased_device_that_fell_off_the_bus_stays_with_its_job() {
    let mut ledger = observed(&[1, 2]);
    ledger.take(&job(1), 1).unwrap();
    // The device of the free slot is gone as well, and another one takes its place.
    ledger.observe(GPUS, &gpus(&[3]));
    assert_eq!(states(&ledger)[..2], [SlotState::Lost, SlotState::Free]);
    assert_eq!(ledger.view()[1].device, Some(gpu(3).id));
    assert_eq!(
        ledger.take(&job(1), 1),
        Err(TakeError::Lost {
            slot: 0,
            device: gpu(1).id
        })
    );
    assert_eq!(ledger.lend(4).unwrap(), gpus(&[3]));
    ledger.take_back(&[gpu(3).id]);
    let mut again = restarted(&ledger, &gpus(&[3, 1]));
    assert_eq!(
        devices_of(&again.take(&job(1), 1).unwrap()),
        [(0, "GPU-1".into())]
    );
    // Gone for good, and released: the slot is for another device.
    ledger.release(&job(1));
    ledger.observe(GPUS, &gpus(&[3, 4]));
    assert_eq!(ledger.view()[0].device, Some(gpu(4).id));
}

#[test]
fn slot_keeps_its_device_when_others_come_and_go() {
    let mut ledger = observed(&[1, 2, 3]);
    ledger.observe(GPUS, &gpus(&[0, 2, 3]));
    let devices: Vec<_> = ledger.view().into_iter().map(|slot| slot.device).collect();
    assert_eq!(devices, [Some(gpu(0).id), Some(gpu(2).id), Some(gpu(3).id), None]);
}

#[test]
fn slots_of_jobs_outlive_a_smaller_offer() {
    let mut ledger = observed(&[1, 2, 3, 4]);
    ledger.take(&job(1), 3).unwrap();
    ledger.take(&job(2), 1).unwrap();
    let small = Shape {
        slots: 1,
        has_devices: true,
    };
    ledger.release(&job(1));
    ledger.observe(small, &gpus(&[1, 2, 3, 4]));
    assert_eq!(ledger.view().len(), 4);
    assert_eq!(
        ledger.take(&job(3), 2),
        Err(TakeError::TooFew {
            wanted: 2,
            present: 1
        })
    );
    assert_eq!(ledger.lend(4).unwrap(), gpus(&[1]));
    ledger.take_back(&[gpu(1).id]);
    ledger.release(&job(2));
    assert_eq!(ledger.view().len(), 1);
}

#[test]
fn machine_without_gpus_gives_numbers() {
    let shape = Shape {
        slots: 3,
        has_devices: false,
    };
    let mut ledger = Ledger::new();
    ledger.observe(shape, &[]);
    let slots = |grants: Vec<Grant>| grants.iter().map(|grant| grant.slot).collect::<Vec<_>>();
    assert_eq!(slots(ledger.take(&job(1), 2).unwrap()), [0, 1]);
    // A job that ended still has its numbers: the next one starts all the same.
    assert_eq!(slots(ledger.take(&job(2), 2).unwrap()), [2]);
    assert_eq!(ledger.take(&job(3), 1).unwrap(), []);
    ledger.release(&job(1));
    assert_eq!(slots(ledger.take(&job(3), 1).unwrap()), [0]);
    assert_eq!(ledger.lend(3).unwrap(), []);
}

#[test]
fn lost_ledger_is_rebuilt_from_the_containers() {
    let present = gpus(&[1, 2, 3]);
    let mut ledger = Ledger::rebuilt();
    ledger.observe(GPUS, &present);
    assert_eq!(ledger.take(&job(9), 1), Err(TakeError::Unsure));
    assert_eq!(ledger.lend(1), Err(TakeError::Unsure));
    let holding = Holding {
        slots: vec![2, 0],
        devices: vec![gpu(1).id, gpu(7).id],
    };
    ledger.note_holdings(&[(job(5), holding.clone())], &present);
    ledger.note_holdings(&[(job(5), holding)], &present);
    let devices: Vec<_> = ledger
        .view()
        .into_iter()
        .map(|slot| (slot.device.map(|device| device.0), slot.state))
        .collect();
    assert_eq!(
        devices,
        [
            (Some("GPU-7".into()), SlotState::Lost),
            (Some("GPU-2".into()), SlotState::Free),
            (Some("GPU-1".into()), SlotState::Leased),
            (Some("GPU-3".into()), SlotState::Free),
        ]
    );
    assert_eq!(
        devices_of(&ledger.take(&job(9), 2).unwrap()),
        [(1, "GPU-2".into()), (3, "GPU-3".into())]
    );
}

#[test]
fn labels_say_what_a_container_has() {
    let holding = Holding {
        slots: vec![2, 0],
        devices: vec![gpu(1).id, gpu(7).id],
    };
    let (slots, devices) = (holding.slots_text(), holding.devices_text());
    assert_eq!((slots.as_str(), devices.as_str()), ("2,0", "GPU-1,GPU-7"));
    assert_eq!(Holding::of_texts(&slots, &devices), holding);
    assert_eq!(Holding::of_texts("", ""), Holding::default());
    assert_eq!(Holding::of_texts("x,256,3,", &"y".repeat(97)).slots, [3]);
}

#[test]
fn file_that_breaks_the_rules_is_none() {
    let read = |text: &str| serde_json::from_str::<Ledger>(text).map_err(|error| error.to_string());
    assert!(read(r#"{"version":1,"slots":[]}"#).is_ok());
    let device = serde_json::to_string(&gpu(1)).unwrap();
    let slot = format!(r#"{{"device":{device},"job":null}}"#);
    for (text, expected) in [
        (r#"{"version":2,"slots":[]}"#.to_owned(), "version 2"),
        (
            format!(r#"{{"version":1,"slots":[{slot},{slot}]}}"#),
            "two slots have the device GPU-1",
        ),
        (
            format!(
                r#"{{"version":1,"slots":[{}]}}"#,
                vec![r#"{"device":null,"job":null}"#; 129].join(",")
            ),
            "more than 128 slots",
        ),
        (r#"{"version":1,"slots":[],"more":1}"#.to_owned(), "unknown field"),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

/// An event in the life of a machine.
#[derive(Clone, Debug)]
enum Event {
    Take(u64, u8),
    Release(u64),
    Present(Vec<u8>),
    Lend(u8),
    TakeBack,
    /// The worker restarts with the last file.
    Crash,
    /// The worker restarts, and its file is torn.
    TornFile,
    /// The container of a job is removed, before the job is released.
    EndContainer(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..6_u64, 1..4_u8).prop_map(|(job, slots)| Event::Take(job, slots)),
        3 => (0..6_u64).prop_map(Event::Release),
        2 => proptest::sample::subsequence((0..7_u8).collect::<Vec<_>>(), 0..=7).prop_map(Event::Present),
        1 => (0..5_u8).prop_map(Event::Lend),
        1 => Just(Event::TakeBack),
        1 => Just(Event::Crash),
        1 => Just(Event::TornFile),
        1 => (0..6_u64).prop_map(Event::EndContainer),
    ]
}

/// A machine with its containers, which are the truth about who has a device.
struct World {
    ledger: Ledger,
    present: Vec<Device>,
    file: Vec<u8>,
    containers: BTreeMap<u64, Holding>,
    lent: Vec<DeviceId>,
}

impl World {
    fn restart(&mut self, is_torn: bool) {
        self.lent.clear();
        let bytes = if is_torn {
            &self.file[..self.file.len() / 2]
        } else {
            &self.file[..]
        };
        self.ledger = serde_json::from_slice(bytes).unwrap_or_else(|_| Ledger::rebuilt());
        self.ledger.observe(GPUS, &self.present);
        if is_torn {
            assert_eq!(
                self.ledger.take(&job(99), 1),
                Err(TakeError::Unsure),
                "nothing is given before the containers are known"
            );
        }
        let holdings: Vec<_> = self
            .containers
            .iter()
            .map(|(id, holding)| (job(*id), holding.clone()))
            .collect();
        self.ledger.note_holdings(&holdings, &self.present);
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Take(id, slots) => {
                let Ok(grants) = self.ledger.take(&job(*id), *slots) else {
                    return;
                };
                // Neither another container nor a prover has them.
                for grant in &grants {
                    let device = &grant.device.as_ref().unwrap().id;
                    assert!(self.present.iter().any(|present| present.id == *device));
                    assert!(!self.lent.contains(device), "{device} is lent");
                    let other = self
                        .containers
                        .iter()
                        .find(|(other, holding)| *other != id && holding.devices.contains(device));
                    assert_eq!(other, None, "{device} is another container's");
                }
                let holding = Holding {
                    slots: grants.iter().map(|grant| grant.slot).collect(),
                    devices: grants
                        .iter()
                        .map(|grant| grant.device.as_ref().unwrap().id.clone())
                        .collect(),
                };
                if let Some(container) = self.containers.get(id) {
                    let sorted = |holding: &Holding| {
                        let mut devices = holding.devices.clone();
                        devices.sort();
                        devices
                    };
                    assert_eq!(sorted(container), sorted(&holding), "a lease never moves");
                } else {
                    self.containers.insert(*id, holding);
                }
            }
            // The worker removes a container before it releases its lease.
            Event::Release(id) => {
                self.containers.remove(id);
                self.ledger.release(&job(*id));
                self.ledger.observe(GPUS, &self.present);
            }
            Event::EndContainer(id) => drop(self.containers.remove(id)),
            Event::Present(numbers) => {
                self.present = gpus(numbers);
                self.ledger.observe(GPUS, &self.present);
            }
            Event::Lend(most) => {
                for device in self.ledger.lend(*most).unwrap() {
                    let is_held = self
                        .containers
                        .values()
                        .any(|holding| holding.devices.contains(&device.id));
                    assert!(!is_held, "{device} is a job's");
                    assert!(!self.lent.contains(&device.id));
                    self.lent.push(device.id);
                }
            }
            Event::TakeBack => {
                self.ledger.take_back(&self.lent);
                self.lent.clear();
            }
            Event::Crash => self.restart(false),
            Event::TornFile => self.restart(true),
        }
        self.file = serde_json::to_vec(&self.ledger).unwrap();
    }

    fn check(&self) {
        let view = self.ledger.view();
        assert!(view.len() >= 4, "all slots are accounted for");
        let mut devices: Vec<_> = view.iter().filter_map(|slot| slot.device.clone()).collect();
        let count = devices.len();
        devices.sort();
        devices.dedup();
        assert_eq!(devices.len(), count, "a device is in one slot");
        for (id, holding) in &self.containers {
            let held: Vec<_> = self
                .ledger
                .held_by(&job(*id))
                .into_iter()
                .filter_map(|grant| grant.device)
                .map(|device| device.id)
                .collect();
            for device in &holding.devices {
                assert!(held.contains(device), "job {id} lost {device}");
            }
        }
        // Every present device has a slot, unless all of the offered ones are taken.
        let is_full = view.iter().take(4).all(|slot| slot.device.is_some());
        let all_placed = self.present.iter().all(|device| devices.contains(&device.id));
        assert!(is_full || all_placed || self.ledger.is_unsure);
        // The written file has the same state.
        let mut read: Ledger = serde_json::from_slice(&self.file).unwrap();
        read.observe(GPUS, &self.present);
        assert_eq!(read.holders(), self.ledger.holders());
    }
}

proptest! {
    #[test]
    fn no_device_has_two_users_whatever_happens(events in proptest::collection::vec(event(), 1..60)) {
        let present = gpus(&[0, 1, 2, 3]);
        let ledger = observed(&[0, 1, 2, 3]);
        let mut world = World {
            file: serde_json::to_vec(&ledger).unwrap(),
            ledger,
            present,
            containers: BTreeMap::new(),
            lent: Vec::new(),
        };
        for event in &events {
            world.apply(event);
            world.check();
        }
    }
}

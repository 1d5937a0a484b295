//! Random histories of submissions, renewals, withdrawals, ends and changes of keys, against a model.

use std::collections::BTreeMap;

use assay_primitives::{
    attestation::{Attestations, MachineIdentities},
    machine::MachineId,
    market::TeeKind,
};
use polkadot_sdk::sp_runtime::DispatchResult;
use proptest::prelude::*;

use crate::{
    Attested, DeviceHash, Devices, Error, Event, EvidenceId, KeySource, VerifiedKeys, deposits,
    mock::*,
    test_vendors::{self, gpu_evidence, intel::Kind, quote_evidence},
};

/// Devices of each kind.
const DEVICES: u8 = 3;

/// Step of a history.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A machine submits evidence of a device, with a kept key where there is one.
    Submit(MachineId, TeeKind, u8),
    /// A machine takes back its evidence at this place, if it has so much.
    Withdraw(MachineId, usize),
    /// So many parts of 24 of a lifetime pass.
    Pass(u64),
    /// A machine has another sealing key.
    RotateKeys(MachineId, u8),
    /// The owner of the key at this place removes it.
    RemoveKey(usize),
    /// Governance bans the device of a machine's evidence at this place, and lets it in again.
    Ban(MachineId, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let machine = || 0..MACHINES;
    let kind = prop_oneof![Just(TeeKind::Sgx), Just(TeeKind::Tdx), Just(TeeKind::NvidiaGpu)];
    prop_oneof![
        8 => (machine(), kind, 0..DEVICES).prop_map(|(machine, kind, device)| Step::Submit(machine, kind, device)),
        2 => (machine(), 0..3_usize).prop_map(|(machine, place)| Step::Withdraw(machine, place)),
        4 => (0..12_u64).prop_map(Step::Pass),
        1 => (machine(), any::<u8>()).prop_map(|(machine, key)| Step::RotateKeys(machine, key)),
        1 => (0..4_usize).prop_map(Step::RemoveKey),
        1 => (machine(), 0..3_usize).prop_map(|(machine, place)| Step::Ban(machine, place)),
    ]
}

/// A piece of evidence in the model.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Piece {
    machine: MachineId,
    sealing_key: [u8; 32],
    until_s: u64,
    anchor: u64,
}

/// The evidence there should be, by device and kind.
#[derive(Default)]
struct Model {
    pieces: BTreeMap<(bool, u8, u8), Piece>,
}

/// Intel's devices are one for both kinds: whether it is a GPU, its number, and its kind.
fn place(kind: TeeKind, device: u8) -> (bool, u8, u8) {
    (kind == TeeKind::NvidiaGpu, device, kind as u8)
}

impl Model {
    fn expected(&self, machine: MachineId, kind: TeeKind, device: u8) -> Result<(), Error<Test>> {
        let of_device = |other: &(bool, u8, u8)| other.0 == place(kind, device).0 && other.1 == device;
        if self
            .pieces
            .iter()
            .any(|(other, piece)| of_device(other) && piece.machine != machine)
        {
            return Err(Error::DeviceTaken);
        }
        match self.pieces.get(&place(kind, device)) {
            Some(piece) if piece.anchor >= anchor() => return Err(Error::NotNewer),
            Some(_) => return Ok(()),
            None => {}
        }
        let has_other = self
            .pieces
            .iter()
            .any(|(other, piece)| piece.machine == machine && !other.0 && other.1 != device);
        if kind != TeeKind::NvidiaGpu && has_other {
            return Err(Error::OtherProcessor);
        }
        Ok(())
    }

    fn pass(&mut self) {
        let now = now_s();
        self.pieces.retain(|_, piece| now < piece.until_s);
    }
}

fn submit_of(machine: MachineId, kind: TeeKind, device: u8) -> DispatchResult {
    let binding = binding(machine);
    let (id, evidence): (_, Box<dyn Fn(KeySource) -> crate::Evidence>) = match kind {
        TeeKind::NvidiaGpu => {
            let gpu = test_vendors::gpu(device, &binding);
            let key = gpu.keys[4].point();
            (key, Box::new(move |source| gpu_evidence(&gpu, source)))
        }
        _ => {
            let form = if kind == TeeKind::Tdx {
                Kind::Td15
            } else {
                Kind::Sgx(3)
            };
            let intel = test_vendors::intel(form, device, &binding);
            let key = intel.attestation_key.point();
            (key, Box::new(move |source| quote_evidence(&intel, source)))
        }
    };
    let kept = VerifiedKeys::<Test>::iter().find(|(_, record)| match &record.key {
        crate::VerifiedKey::Intel(key) => key.key.as_slice() == id,
        crate::VerifiedKey::Amd(key) => key.key.as_slice() == id,
        crate::VerifiedKey::Nvidia(key) => key.key.as_slice() == id,
    });
    let source = match (kept, kind) {
        (Some((id, _)), _) => KeySource::Known(id),
        (None, TeeKind::NvidiaGpu) => {
            KeySource::Chain(test_vendors::chain(test_vendors::gpu(device, &binding).chain()))
        }
        (None, _) => KeySource::Carried,
    };
    submit(machine, evidence(source))
}

fn nth_of(machine: MachineId, place: usize) -> Option<EvidenceId> {
    evidence_of(machine).get(place).map(|record| record.id)
}

/// Removes the piece of the model that a record on chain stands for.
fn forget(model: &mut Model, devices: &BTreeMap<DeviceHash, (bool, u8)>, id: EvidenceId) {
    let (is_gpu, device) = devices[&id.device];
    model.pieces.remove(&(is_gpu, device, id.kind as u8));
}

fn apply(model: &mut Model, devices: &mut BTreeMap<DeviceHash, (bool, u8)>, step: Step) {
    match step {
        Step::Submit(machine, kind, device) => {
            let expected = model.expected(machine, kind, device);
            let result = submit_of(machine, kind, device);
            assert_eq!(result, expected.map_err(Into::into), "{step:?}");
            if result.is_ok() {
                let identity = MockMachines::identity_of(machine).unwrap();
                let Some(Event::EvidenceAccepted { id, .. }) = take_events().pop() else {
                    panic!("accepted evidence is told of last");
                };
                let record = *evidence_of(machine)
                    .iter()
                    .find(|record| record.id == id)
                    .unwrap();
                if let Some(known) = devices.insert(record.id.device, (kind == TeeKind::NvidiaGpu, device)) {
                    assert_eq!(
                        known,
                        (kind == TeeKind::NvidiaGpu, device),
                        "two devices have one name"
                    );
                }
                let piece = Piece {
                    machine,
                    sealing_key: identity.sealing_key,
                    until_s: record.until_s(),
                    anchor: anchor(),
                };
                assert!(piece.until_s > now_s() && piece.until_s <= now_s() + LIFETIME_S);
                model.pieces.insert(place(kind, device), piece);
            }
        }
        Step::Withdraw(machine, place) => {
            if let Some(id) = nth_of(machine, place) {
                withdraw(machine, id).unwrap();
                forget(model, devices, id);
            }
        }
        Step::Pass(parts) => {
            pass_s(parts * LIFETIME_S / 24);
            model.pass();
        }
        Step::RotateKeys(machine, key) => {
            change_machine(machine, |identity| identity.sealing_key = [key; 32]);
        }
        Step::RemoveKey(place) => {
            if let Some((id, record)) = VerifiedKeys::<Test>::iter().nth(place) {
                Attestation::remove_key(RuntimeOrigin::signed(record.owner), id).unwrap();
            }
        }
        Step::Ban(machine, place) => {
            if let Some(id) = nth_of(machine, place) {
                Attestation::ban_device(RuntimeOrigin::root(), id.device).unwrap();
                Attestation::unban_device(RuntimeOrigin::root(), id.device).unwrap();
                for kind in TeeKind::ALL {
                    forget(model, devices, EvidenceId { kind, ..id });
                }
            }
        }
    }
    compare(model);
}

/// Pallet and model say the same.
fn compare(model: &Model) {
    Attestation::do_try_state().unwrap();
    let pieces: usize = Attested::<Test>::iter_values()
        .map(|entry| entry.records.len())
        .sum();
    assert_eq!(pieces, model.pieces.len());
    let devices: std::collections::BTreeSet<_> = model
        .pieces
        .keys()
        .map(|(is_gpu, device, _)| (*is_gpu, *device))
        .collect();
    assert_eq!(Devices::<Test>::iter().count(), devices.len());
    for machine in 0..MACHINES {
        let identity = MockMachines::identity_of(machine).unwrap();
        let mut fresh = model
            .pieces
            .iter()
            .filter(|(_, piece)| piece.machine == machine && piece.sealing_key == identity.sealing_key)
            .map(|((_, _, kind), _)| *kind);
        let kinds = Attestation::tee_kinds(machine);
        for kind in TeeKind::ALL {
            let expected = fresh.clone().any(|other| other == kind as u8);
            assert_eq!(kinds.contains(kind), expected, "machine {machine}, {kind:?}");
        }
        let premium = fresh.any(|kind| kind != TeeKind::NvidiaGpu as u8);
        assert_eq!(Attestation::earns_premium(machine), premium);
    }
    // What is held is for what is there, and nothing else.
    for who in [ALICE, BOB] {
        let evidence = model
            .pieces
            .values()
            .filter(|piece| provider(piece.machine) == who)
            .count() as u128;
        let keys: u128 = VerifiedKeys::<Test>::iter_values()
            .filter(|record| record.owner == who)
            .map(|record| record.deposit)
            .sum();
        assert_eq!(held(&who), evidence * deposits::of_evidence::<Test>() + keys);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever happens: a device is one machine's, deposits are for what is there, evidence counts until its
    /// end and no longer, and the pallet's invariants hold.
    #[test]
    fn evidence_is_as_the_model_has_it(steps in prop::collection::vec(step(), 1..40)) {
        ExtBuilder::default().build_and_execute(|| {
            let mut model = Model::default();
            let mut devices = BTreeMap::new();
            for step in steps {
                apply(&mut model, &mut devices, step);
            }
            // In the end everything ends, and every deposit comes back.
            apply(&mut model, &mut devices, Step::Pass(24));
            for _ in 0..10 {
                next_block();
            }
            while VerifiedKeys::<Test>::iter().next().is_some() {
                apply(&mut model, &mut devices, Step::RemoveKey(0));
            }
            assert_eq!((held(&ALICE), held(&BOB)), (0, 0));
        });
    }
}

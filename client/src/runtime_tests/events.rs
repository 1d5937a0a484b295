//! Events are read as the runtime deposits them.

use assay_primitives::market::TeeKind;
use assay_runtime::Runtime;
use subxt::{Metadata, ext::codec::Encode};

use super::{ZEROS, metadata};
use crate::{
    error::Error,
    events::{AssayEvent, AttestationEvent, AvailabilityEvent, PALLETS, RegistryEvent},
    json,
    types::{self, AccountId, CollateralId, EvidenceId, IntelTee, MachineStatus, TcbInfoId, Vendor},
};

/// Fields of events that the client does not carry: the randomness of rounds, and fields for provers only.
const FIELDS_LEFT_OUT: [(&str, &str, &str); 5] = [
    ("HardwareChallenge", "RoundOpened", "randomness"),
    ("HardwareChallenge", "OpeningsDrawn", "randomness"),
    ("HardwareChallenge", "AnswerWrong", "error"),
    ("HardwareChallenge", "ClassSet", "params"),
    ("HardwareChallenge", "ScheduleSet", "schedule"),
];

#[test]
fn every_pallet_of_assay_has_its_events() {
    // Below are the pallets of the SDK.
    let metadata = metadata();
    let ours: Vec<_> = metadata
        .pallets()
        .filter(|pallet| pallet.event_index() >= 50)
        .map(|pallet| pallet.name().to_owned())
        .collect();
    assert_eq!(ours, PALLETS);
}

#[test]
fn every_event_is_understood() {
    let metadata = metadata();
    let mut left_out = Vec::new();
    for pallet in PALLETS {
        let variants = metadata.pallet_by_name(pallet).unwrap().event_variants().unwrap();
        for variant in variants {
            let name = &variant.name;
            let bytes = [&[variant.index][..], &ZEROS].concat();
            let event = read_event(&metadata, pallet, &bytes)
                .unwrap_or_else(|error| panic!("{pallet}::{name}: {error}"))
                .unwrap_or_else(|| panic!("{pallet}::{name} is not known"));

            let serde_json::Value::Object(mut object) = json::to_value(&event).unwrap() else {
                panic!("{event:?} is no object")
            };
            let (shown_pallet, shown_event) = (json::snake_case(pallet), json::snake_case(name));
            assert_eq!(object.remove("pallet"), Some(shown_pallet.into()), "{name}");
            assert_eq!(object.remove("event"), Some(shown_event.into()), "{pallet}");
            let number = |field: &str| object.get(field).and_then(serde_json::Value::as_u64);
            assert_eq!(event.machine(), number("machine"), "{pallet}::{name}");
            assert_eq!(event.job(), number("job"), "{pallet}::{name}");
            for field in &variant.fields {
                let field = field.name.as_deref().unwrap();
                if object.remove(field).is_none() {
                    left_out.push((pallet, name.clone(), field.to_owned()));
                }
            }
            assert!(object.is_empty(), "{pallet}::{name} has no {object:?}");
        }
    }
    let left_out: Vec<_> = left_out
        .iter()
        .map(|(pallet, event, field)| (*pallet, event.as_str(), field.as_str()))
        .collect();
    assert_eq!(left_out, FIELDS_LEFT_OUT);
}

#[test]
fn an_event_that_is_not_known_is_skipped_and_one_that_does_not_fit_is_an_error() {
    let metadata = metadata();
    let bytes = event_bytes(
        &metadata,
        "ProviderRegistry",
        "UptimeUpdated",
        (7_u64, 995_000_u32),
    );
    assert_eq!(read_event(&metadata, "System", &bytes).unwrap(), None);
    assert!(
        read_event(&metadata, "ProviderRegistry", &bytes)
            .unwrap()
            .is_some()
    );

    // Cut short, and a number that no variant has.
    for bytes in [&bytes[..bytes.len() - 1], &[u8::MAX]] {
        let error = read_event(&metadata, "ProviderRegistry", bytes).unwrap_err();
        assert!(matches!(error, Error::Incompatible { .. }), "{error}");
        assert!(
            error.to_string().contains("ProviderRegistry::of a test"),
            "{error}"
        );
    }

    // An event that is read as another pallet's has no variant of that name, or other fields.
    let registry = metadata.pallet_by_name("ProviderRegistry").unwrap();
    let type_id = registry.event_ty_id().unwrap();
    let as_attestation = AssayEvent::decode_as("Attestation", &bytes, type_id, &metadata);
    assert_eq!(as_attestation.unwrap(), None);
    let as_availability = AssayEvent::decode_as("Availability", &bytes, type_id, &metadata);
    assert!(as_availability.is_err(), "{as_availability:?}");
}

#[test]
fn events_of_one_name_are_read_as_their_pallet_s() {
    let metadata = metadata();
    let read = |pallet: &str, fields: Vec<u8>| {
        let index = event_bytes(&metadata, pallet, "UptimeUpdated", ());
        read_event(&metadata, pallet, &[index, fields].concat())
            .unwrap()
            .unwrap()
    };
    assert_eq!(
        read("ProviderRegistry", (7_u64, 995_000_u32).encode()),
        RegistryEvent::UptimeUpdated {
            machine: 7,
            uptime_ppm: 995_000
        }
        .into()
    );
    assert_eq!(
        read("Availability", (7_u64, 3_u32, 5_u32, 995_000_u32).encode()),
        AvailabilityEvent::UptimeUpdated {
            machine: 7,
            first_epoch: 3,
            last_epoch: 5,
            average_ppm: 995_000
        }
        .into()
    );
}

#[test]
fn events_of_attestation_are_read_as_they_were_deposited() {
    use pallet_attestation as chain;

    type Deposited = chain::Event<Runtime>;

    let metadata = metadata();
    let check = |deposited: Deposited, expected: AttestationEvent| {
        let read = read_event(&metadata, "Attestation", &deposited.encode());
        assert_eq!(read.unwrap(), Some(expected.into()), "{deposited:?}");
    };
    for kind in TeeKind::ALL {
        check(
            Deposited::EvidenceAccepted {
                machine: 7,
                id: chain::EvidenceId {
                    device: [1; 32].into(),
                    kind,
                },
                workload: [2; 32].into(),
                until_s: 3,
            },
            AttestationEvent::EvidenceAccepted {
                machine: 7,
                id: EvidenceId {
                    device: [1; 32].into(),
                    kind,
                },
                workload: [2; 32],
                until_s: 3,
            },
        );
    }
    for tee in [IntelTee::Sgx, IntelTee::Tdx] {
        let (fmspc, pce_id) = ([1, 2, 3, 4, 5, 6], [7, 8]);
        check(
            Deposited::CollateralRenewed {
                collateral: CollateralId::TcbInfo(TcbInfoId { tee, fmspc, pce_id }),
            },
            AttestationEvent::CollateralRenewed {
                collateral: CollateralId::TcbInfo(TcbInfoId { tee, fmspc, pce_id }),
            },
        );
        check(
            Deposited::CollateralRemoved {
                collateral: CollateralId::QeIdentity(tee),
            },
            AttestationEvent::CollateralRemoved {
                collateral: CollateralId::QeIdentity(tee),
            },
        );
    }
    check(
        Deposited::CollateralRenewed {
            collateral: CollateralId::RevocationList([4; 32]),
        },
        AttestationEvent::CollateralRenewed {
            collateral: CollateralId::RevocationList([4; 32]),
        },
    );
    for (vendor, ours) in [
        (chain::Vendor::Intel, Vendor::Intel),
        (chain::Vendor::AmdMilan, Vendor::AmdMilan),
        (chain::Vendor::AmdGenoa, Vendor::AmdGenoa),
        (chain::Vendor::AmdTurin, Vendor::AmdTurin),
        (chain::Vendor::Nvidia, Vendor::Nvidia),
    ] {
        check(
            Deposited::RootAdded {
                vendor,
                fingerprint: [5; 32].into(),
            },
            AttestationEvent::RootAdded {
                vendor: ours,
                fingerprint: [5; 32],
            },
        );
    }
    check(Deposited::PoliciesSet, AttestationEvent::PoliciesSet);
    check(
        Deposited::KeyKept {
            key: [6; 32].into(),
            owner: [7; 32].into(),
            valid_until_s: 8,
        },
        AttestationEvent::KeyKept {
            key: [6; 32],
            owner: AccountId::from([7; 32]),
            valid_until_s: 8,
        },
    );
}

#[test]
fn every_status_is_understood() {
    use types::SuspensionReason as Reason;

    let metadata = metadata();
    for status in [
        MachineStatus::Unproven,
        MachineStatus::Active,
        MachineStatus::Suspended(Reason::OwnRequest),
        MachineStatus::Suspended(Reason::BondTooLow),
        MachineStatus::Suspended(Reason::InDebt),
        MachineStatus::Suspended(Reason::Offence),
        MachineStatus::Suspended(Reason::Condemned),
        MachineStatus::Draining,
        MachineStatus::Retired,
    ] {
        let bytes = event_bytes(
            &metadata,
            "ProviderRegistry",
            "MachineStatusChanged",
            (7_u64, MachineStatus::Unproven, status),
        );
        let read = read_event(&metadata, "ProviderRegistry", &bytes).unwrap();
        assert_eq!(
            read,
            Some(
                RegistryEvent::MachineStatusChanged {
                    machine: 7,
                    from: MachineStatus::Unproven,
                    to: status,
                }
                .into()
            )
        );
    }
}

/// Decodes an event as it is read from a block.
fn read_event(metadata: &Metadata, pallet: &str, bytes: &[u8]) -> Result<Option<AssayEvent>, Error> {
    AssayEvent::decode(pallet, "of a test", bytes, metadata)
}

/// The bytes of an event: the number of its variant, and its fields.
fn event_bytes(metadata: &Metadata, pallet: &str, event: &str, fields: impl Encode) -> Vec<u8> {
    let pallet = metadata.pallet_by_name(pallet).unwrap();
    let variants = pallet.event_variants().unwrap();
    let variant = variants.iter().find(|variant| variant.name == event).unwrap();
    (variant.index, fields).encode()
}

//! This client against the metadata of the runtime of the same source tree: a field that a pallet renamed is
//! found here, not by the first person who needs it.

#![allow(clippy::unwrap_used)]

use assay_primitives::market::{Near, Requirements, TeeKind};
use assay_runtime::Runtime;
use polkadot_sdk::sp_io::TestExternalities;
use scale_decode::DecodeAsType;
use subxt::{
    Metadata, OfflineClient, SubstrateConfig,
    config::{
        DefaultExtrinsicParamsBuilder,
        substrate::{H256, SpecVersionForRange, SubstrateConfigBuilder},
    },
    ext::{
        codec::{Decode, Encode},
        scale_value::{Composite, Value},
    },
    metadata::ArcMetadata,
};
use subxt_signer::sr25519::dev;

use crate::{
    calls::{self, Call, JobOrder, MachineRegistration},
    challenge::ClassVersion,
    error::Error,
    events::{AssayEvent, AttestationEvent, AvailabilityEvent, PALLETS, RegistryEvent},
    keys,
    queries::AccountRecord,
    types::{
        self, AccountId, Assignment, AuctionTerms, Bond, Collateral, CollateralId, Debt, EpochRecord,
        Evidence, EvidenceId, EvidenceRecord, HardwareClass, Job, JobKind, KeptCollateral, KeptKey,
        KeySource, KeyVendor, Location, Machine, MachineStatus, Manifest, ManifestRef, Offence, Provider,
        RawMachineEvidence, RewardDestination, SignedJson, Slash, SlashId, SlashReason, TcbInfoId, Vendor,
        Verification,
    },
};

/// Enough zeros for any record: they decode as zero numbers, empty lists and the first variant of each enum.
const ZEROS: [u8; 1_024] = [0; 1_024];

fn metadata() -> Metadata {
    // Some constants are parameters that governance can change, so they are read from state; an empty one does.
    let opaque = TestExternalities::default()
        .execute_with(|| Runtime::metadata_at_version(15))
        .unwrap();
    let bytes = opaque.encode();
    // The runtime hands it out as opaque bytes: a list of bytes around the metadata itself.
    let inner = Vec::<u8>::decode(&mut &bytes[..]).unwrap();
    Metadata::decode(&mut &inner[..]).unwrap()
}

fn offline_client() -> OfflineClient<SubstrateConfig> {
    let config = SubstrateConfigBuilder::new()
        .set_genesis_hash(H256::zero())
        .set_spec_version_for_block_ranges([SpecVersionForRange {
            block_range: 0..10,
            spec_version: 1,
            transaction_version: 1,
        }])
        .set_metadata_for_spec_versions([(1, ArcMetadata::from(metadata()))])
        .build();
    OfflineClient::new_with_config(config)
}

fn registration() -> MachineRegistration {
    MachineRegistration {
        worker_key: AccountId::from([1; 32]),
        sealing_key: [2; 32],
        class: 3,
        slots: 4,
        cpu_cores: 5,
        ram_mib: 6,
        disk_gib: 7,
        upload_mbps: 8,
        download_mbps: 9,
        location: Location {
            latitude_microdegrees: -10,
            longitude_microdegrees: 11,
        },
        region: "us-east".to_owned(),
        endpoint: "http://127.0.0.1:4001".to_owned(),
        ask: u128::from(u64::MAX) + 1,
    }
}

fn order() -> JobOrder {
    JobOrder {
        kind: JobKind::task(1),
        manifest: Manifest::Public(ManifestRef {
            hash: [3; 32],
            length_bytes: 4,
        }),
        image_digest: [5; 32],
        requirements: Requirements::default(),
        slots: 2,
        max_duration_ms: 6,
        max_price_per_slot_hour: 7,
    }
}

const fn task(verification: Verification) -> JobKind {
    JobKind::Task { verification }
}

/// Requirements of which none is left out.
fn every_requirement() -> Requirements {
    Requirements {
        gpu_type: Some(b"NVIDIA_H100".to_vec().try_into().unwrap()),
        region: Some(b"us-east".to_vec().try_into().unwrap()),
        near: Some(Near {
            center: assay_primitives::machine::Location {
                latitude_microdegrees: -1,
                longitude_microdegrees: 2,
            },
            within_km: 3,
        }),
        max_price_per_slot_hour: Some(4),
        tee: Some(TeeKind::NvidiaGpu),
        min_nodes: 5,
        ..Default::default()
    }
}

fn signed_json() -> SignedJson {
    SignedJson {
        json: b"{}".to_vec(),
        signature: [1; 64],
        chain: vec![vec![2; 100]],
    }
}

fn every_call() -> Vec<Call> {
    let account = AccountId::from([9; 32]);
    let slash = SlashId {
        due_epoch: 2,
        index: 3,
    };
    vec![
        calls::register_provider("name"),
        calls::deregister_provider(),
        calls::register_machine(registration(), [8; 64]),
        calls::update_ask(1, 2),
        calls::update_endpoint(1, "https://example.org"),
        calls::rotate_keys(1, &account, [2; 32], [8; 64]),
        calls::suspend_self(1),
        calls::drain(1),
        calls::resume(1),
        calls::retire(1),
        calls::refresh_machine(1),
        calls::bond(1, 2),
        calls::bond_extra(1, 2),
        calls::unbond(1, 2),
        calls::withdraw(1),
        calls::set_auto_stake(1, true),
        calls::apply_slash(slash),
        calls::pay_debt(1, slash),
        calls::deploy(order(), vec![1, 2]),
        calls::deploy(
            JobOrder {
                kind: JobKind::Service,
                manifest: Manifest::Sealed { hash: [3; 32] },
                requirements: every_requirement(),
                ..order()
            },
            Vec::new(),
        ),
        calls::deploy(
            JobOrder {
                kind: task(Verification::Quorum {
                    replicas: 3,
                    threshold: 2,
                }),
                ..order()
            },
            Vec::new(),
        ),
        calls::deploy(
            JobOrder {
                kind: task(Verification::Attested),
                ..order()
            },
            Vec::new(),
        ),
        calls::request(
            JobOrder {
                kind: task(Verification::Proof {
                    verifying_key: [6; 32],
                }),
                ..order()
            },
            3,
            AuctionTerms {
                floor_price_per_slot_hour: 1,
                rise_ms: 2,
                open_ms: 3,
            },
        ),
        calls::accept_request(1, 2),
        calls::decline(1, 2, true),
        calls::decline(1, 2, false),
        calls::commit_result(1, [2; 32]),
        calls::reveal_result(1, [2; 32], [3; 32]),
        calls::resolve(1),
        calls::reject(1, 2),
        calls::top_up(1, 2),
        calls::expire_request(1),
        calls::start(1),
        calls::submit_result(1, [2; 32]),
        calls::submit_attested_result(1, [2; 32], [3; 64]),
        calls::accept(1, 2),
        calls::close(1),
        calls::settle(1, 2),
        calls::expire(1, 2),
        calls::abandon(1, 2),
        calls::payout(1, 2),
        calls::set_reward_destination(1, RewardDestination::Provider),
        calls::set_reward_destination(1, RewardDestination::Account(account)),
        calls::set_reward_destination(1, RewardDestination::Ethereum([2; 20])),
        calls::set_reward_destination(1, RewardDestination::Bond),
        calls::submit_evidence(
            1,
            2,
            Evidence::Quote {
                quote: vec![1; 300],
                key: KeySource::Carried,
            },
        ),
        calls::submit_evidence(
            1,
            2,
            Evidence::SnpReport {
                report: vec![1; 1_184],
                key: KeySource::Known([3; 32]),
            },
        ),
        calls::submit_evidence(
            1,
            2,
            Evidence::GpuReport {
                report: vec![1; 4_000],
                key: KeySource::Chain(vec![vec![4; 500], vec![5; 600]]),
            },
        ),
        calls::withdraw_evidence(
            1,
            EvidenceId {
                device: [2; 32],
                kind: TeeKind::SevSnp,
            },
        ),
        calls::submit_collateral(Collateral::TcbInfo(signed_json())),
        calls::submit_collateral(Collateral::QeIdentity(signed_json())),
        calls::submit_collateral(Collateral::RevocationList {
            vendor: Vendor::AmdTurin,
            list: vec![6; 70],
            issuer: None,
        }),
        calls::submit_collateral(Collateral::RevocationList {
            vendor: Vendor::Nvidia,
            list: vec![6; 70],
            issuer: Some(vec![7; 80]),
        }),
        calls::note_preimage(b"bytes"),
        calls::transfer_keep_alive(&account, 1),
    ]
}

#[test]
fn every_call_is_encoded_as_the_runtime_decodes_it() {
    let client = offline_client();
    let at = client.at_block(1u64).unwrap();
    let every_call = every_call();
    for call in every_call
        .iter()
        .cloned()
        .chain([calls::batch_all(every_call.clone())])
    {
        let name = format!("{}.{}", call.pallet(), call.name());
        let bytes = at
            .tx()
            .call_data(&call.into_payload())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let decoded = assay_runtime::RuntimeCall::decode(&mut &bytes[..]);
        assert_eq!(
            decoded.unwrap_or_else(|error| panic!("{name}: {error}")).encode(),
            bytes,
            "{name}"
        );
    }
}

#[test]
fn no_argument_of_a_call_is_ignored() {
    // The encoder leaves out arguments that a call does not have: compare the names.
    let metadata = metadata();
    for call in every_call() {
        let (pallet, name) = (call.pallet().to_owned(), call.name().to_owned());
        let payload = call.into_payload();
        let Composite::Named(arguments) = payload.call_data() else {
            panic!("{pallet}.{name} is unnamed")
        };
        let given: Vec<_> = arguments
            .iter()
            .map(|(name, _): &(String, Value<()>)| name.as_str())
            .collect();
        let variant = metadata
            .pallet_by_name(&pallet)
            .unwrap()
            .call_variant_by_name(&name)
            .unwrap();
        let known: Vec<_> = variant
            .fields
            .iter()
            .filter_map(|field| field.name.as_deref())
            .collect();
        assert_eq!(given, known, "{pallet}.{name}");
    }
}

#[test]
fn a_transaction_is_signed_with_every_extension() {
    let client = offline_client();
    let at = client.at_block(1u64).unwrap();
    let parameters = DefaultExtrinsicParamsBuilder::new()
        .nonce(5)
        .mortal_from_unchecked(64, 1, H256::zero());
    let payload = calls::register_provider("name").into_payload();
    let mut transaction = at
        .tx()
        .create_signable_offline(&payload, parameters.build())
        .unwrap();
    let signed = transaction.sign(&dev::bob()).unwrap();
    let decoded = assay_runtime::UncheckedExtrinsic::decode(&mut signed.encoded()).unwrap();
    assert_eq!(decoded.encode(), signed.encoded());
}

/// Fields of events that the client does not carry: what rounds are drawn from, and what only provers read.
const FIELDS_LEFT_OUT: [(&str, &str, &str); 5] = [
    ("HardwareChallenge", "RoundOpened", "randomness"),
    ("HardwareChallenge", "OpeningsDrawn", "randomness"),
    ("HardwareChallenge", "AnswerWrong", "error"),
    ("HardwareChallenge", "ClassSet", "params"),
    ("HardwareChallenge", "ScheduleSet", "schedule"),
];

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

            let serde_json::Value::Object(mut object) = serde_json::to_value(&event).unwrap() else {
                panic!("{event:?} is no object")
            };
            assert_eq!(object.remove("pallet"), Some(pallet.into()), "{name}");
            assert_eq!(object.remove("event"), Some(name.as_str().into()), "{pallet}");
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

    // What one pallet calls so, read as another's event: of no variant's name, or of other fields.
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
    use assay_evidence::intel::TeeKind as IntelKind;
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
                    device: [1; 32],
                    kind,
                },
                workload: [2; 32],
                until_s: 3,
            },
        );
    }
    for (tee, ours) in [
        (IntelKind::Sgx, types::IntelTee::Sgx),
        (IntelKind::Tdx, types::IntelTee::Tdx),
    ] {
        let (fmspc, pce_id) = ([1, 2, 3, 4, 5, 6], [7, 8]);
        check(
            Deposited::CollateralRenewed {
                collateral: chain::CollateralId::TcbInfo(chain::TcbInfoId { tee, fmspc, pce_id }),
            },
            AttestationEvent::CollateralRenewed {
                collateral: CollateralId::TcbInfo(TcbInfoId {
                    tee: ours,
                    fmspc,
                    pce_id,
                }),
            },
        );
        check(
            Deposited::CollateralRemoved {
                collateral: chain::CollateralId::QeIdentity(tee),
            },
            AttestationEvent::CollateralRemoved {
                collateral: CollateralId::QeIdentity(ours),
            },
        );
    }
    check(
        Deposited::CollateralRenewed {
            collateral: chain::CollateralId::RevocationList([4; 32].into()),
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
fn every_record_is_understood() {
    fn check<T: DecodeAsType>(metadata: &Metadata, pallet: &str, entry: &str) {
        let storage = metadata.pallet_by_name(pallet).unwrap().storage().unwrap();
        let info = storage
            .entry_by_name(entry)
            .unwrap_or_else(|| panic!("{pallet}::{entry} is missing"));
        let decoded = T::decode_as_type(&mut &ZEROS[..], info.value_ty(), metadata.types());
        assert!(decoded.is_ok(), "{pallet}::{entry}: {}", decoded.err().unwrap());
    }
    let metadata = metadata();
    check::<Machine>(&metadata, "ProviderRegistry", "Machines");
    check::<Provider>(&metadata, "ProviderRegistry", "Providers");
    check::<HardwareClass>(&metadata, "ProviderRegistry", "HardwareClasses");
    check::<u64>(&metadata, "ProviderRegistry", "WorkerKeys");
    check::<Bond>(&metadata, "ProviderStaking", "Bonds");
    check::<Slash>(&metadata, "ProviderStaking", "Agenda");
    check::<Debt>(&metadata, "ProviderStaking", "Debts");
    check::<Job>(&metadata, "JobEscrow", "Jobs");
    check::<Assignment>(&metadata, "JobEscrow", "Assignments");
    check::<()>(&metadata, "JobEscrow", "MachineJobs");
    check::<Vec<ClassVersion>>(&metadata, "HardwareChallenge", "Classes");
    check::<EpochRecord>(&metadata, "RewardEmission", "EpochRecords");
    check::<RawMachineEvidence>(&metadata, "Attestation", "Attested");
    check::<KeptKey>(&metadata, "Attestation", "VerifiedKeys");
    check::<KeptCollateral>(&metadata, "Attestation", "TcbInfos");
    check::<KeptCollateral>(&metadata, "Attestation", "QeIdentities");
    check::<KeptCollateral>(&metadata, "Attestation", "RevocationLists");
    check::<Vec<u8>>(&metadata, "Preimage", "PreimageFor");
    check::<AccountRecord>(&metadata, "System", "Account");
    check::<u128>(&metadata, "Balances", "TotalIssuance");
    check::<u64>(&metadata, "ChainClock", "ActiveTimeMs");
    check::<u32>(&metadata, "ChainClock", "CurrentEpoch");
    check::<u64>(&metadata, "ChainClock", "EpochDurationMs");
}

#[test]
fn every_part_of_a_record_is_understood() {
    // Zeros never show what is behind an option, and only the first variant of an enum.
    let metadata = metadata();
    let value_type = |pallet: &str, entry: &str| {
        let storage = metadata.pallet_by_name(pallet).unwrap().storage().unwrap();
        storage.entry_by_name(entry).unwrap().value_ty()
    };
    let debts = value_type("ProviderStaking", "Debts");
    let share = |account: u8, amount: u128| Some(([account; 32], amount));
    let bytes = (share(1, 2), share(3, 4), 5_u128).encode();
    let debt = Debt::decode_as_type(&mut &bytes[..], debts, metadata.types()).unwrap();
    assert_eq!(debt.total(), 11);
    assert_eq!(debt.reporter.unwrap().account, AccountId::from([3; 32]));

    let agenda = value_type("ProviderStaking", "Agenda");
    // The machine, an offence, what is owed, who gets a share, the reporter's, and whether the machine ends.
    let reason = (0_u8, assay_primitives::offence::Offence::ForgedEvidence);
    let bytes = (
        7_u64,
        reason,
        9_u128,
        (share(1, 2), Some([3_u8; 32])),
        4_u128,
        true,
    )
        .encode();
    let slash = Slash::decode_as_type(&mut &bytes[..], agenda, metadata.types()).unwrap();
    assert_eq!(slash.reason, SlashReason::Offence(Offence::ForgedEvidence));
    assert_eq!(slash.beneficiaries.consumer.unwrap().amount, 2);
    assert!(slash.ends_machine);

    let bonds = value_type("ProviderStaking", "Bonds");
    let strikes = [0_u8, 0, 6, 0, 0].map(|count| (count, u32::from(count)));
    let unlocking = vec![(1_u128, 2_u32)];
    let bytes = (
        [1_u8; 32], 2_u128, unlocking, true, 3_u128, 4_u128, 5_u32, strikes,
    )
        .encode();
    let bond = Bond::decode_as_type(&mut &bytes[..], bonds, metadata.types()).unwrap();
    assert_eq!((bond.debt, bond.pending, bond.pending_slashes), (3, 4, 5));
    let strikes: Vec<_> = bond
        .strikes_by_offence()
        .map(|(offence, strikes)| (offence, strikes.count))
        .collect();
    assert_eq!(strikes, [(Offence::JobAbandoned, 6)]);
}

#[test]
fn every_status_is_understood() {
    use assay_primitives::machine::{MachineStatus as OnChain, SuspensionReason as Reason};

    let metadata = metadata();
    for status in [
        OnChain::Unproven,
        OnChain::Active,
        OnChain::Suspended(Reason::OwnRequest),
        OnChain::Suspended(Reason::BondTooLow),
        OnChain::Suspended(Reason::InDebt),
        OnChain::Suspended(Reason::Offence),
        OnChain::Suspended(Reason::Condemned),
        OnChain::Draining,
        OnChain::Retired,
    ] {
        let bytes = event_bytes(
            &metadata,
            "ProviderRegistry",
            "MachineStatusChanged",
            (7_u64, OnChain::Unproven, status),
        );
        let read = read_event(&metadata, "ProviderRegistry", &bytes).unwrap();
        assert_eq!(
            read,
            Some(
                RegistryEvent::MachineStatusChanged {
                    machine: 7,
                    from: MachineStatus::Unproven,
                    to: MachineStatus::from(status),
                }
                .into()
            )
        );
    }
}

#[test]
fn slash_ids_in_keys_are_pairs_of_numbers() {
    let metadata = metadata();
    let storage = metadata
        .pallet_by_name("ProviderStaking")
        .unwrap()
        .storage()
        .unwrap();
    let types = |entry: &str| -> Vec<u32> {
        let entry = storage.entry_by_name(entry).unwrap();
        entry.keys().map(|key| key.key_id).collect()
    };
    let bytes = (2_u32, 3_u32).encode();
    let [_, slash] = types("Debts")[..] else {
        panic!("debts have other keys")
    };
    let id = <(u32, u32)>::decode_as_type(&mut &bytes[..], slash, metadata.types()).unwrap();
    assert_eq!(id, (2, 3));
    assert_eq!(types("Agenda").len(), 2);
}

#[test]
fn worker_key_message_is_the_one_that_the_registry_checks() {
    let account = keys::account_of(&dev::bob());
    let message = keys::worker_key_message(&[1; 32], &account.0);
    assert_eq!(
        message.len(),
        assay_primitives::machine::WORKER_KEY_CONTEXT.len() + 64
    );
}

#[test]
fn evidence_is_read_as_it_was_recorded() {
    let metadata = metadata();
    let storage = metadata.pallet_by_name("Attestation").unwrap().storage().unwrap();
    let value_type = storage.entry_by_name("Attested").unwrap().value_ty();
    for kind in TeeKind::ALL {
        let record = pallet_attestation::EvidenceRecord::<u32> {
            id: pallet_attestation::EvidenceId {
                device: [1; 32].into(),
                kind,
            },
            workload: [2; 32].into(),
            keys: [3; 32].into(),
            anchor: 4,
            expires: 5,
            deposit: 6,
        };
        let bytes = ([9_u8; 32], vec![record]).encode();
        let read = RawMachineEvidence::decode_as_type(&mut &bytes[..], value_type, metadata.types()).unwrap();
        let [read] = <[_; 1]>::try_from(read.records).ok().unwrap();
        let expected = EvidenceRecord {
            id: EvidenceId {
                device: [1; 32],
                kind,
            },
            workload: [2; 32],
            keys: [3; 32],
            anchor: 4,
            until_s: record.until_s(),
        };
        assert_eq!(EvidenceRecord::from(read), expected);
    }
}

#[test]
fn keys_of_collateral_are_encoded_as_the_runtime_has_them() {
    use assay_evidence::intel::TeeKind as OnChain;
    use subxt::ext::scale_encode::EncodeAsType;

    let metadata = metadata();
    let storage = metadata.pallet_by_name("Attestation").unwrap().storage().unwrap();
    let key_type = |entry: &str| {
        storage
            .entry_by_name(entry)
            .unwrap()
            .keys()
            .next()
            .unwrap()
            .key_id
    };
    for (ours, on_chain) in [
        (types::IntelTee::Sgx, OnChain::Sgx),
        (types::IntelTee::Tdx, OnChain::Tdx),
    ] {
        let id = pallet_attestation::TcbInfoId {
            tee: on_chain,
            fmspc: [1, 2, 3, 4, 5, 6],
            pce_id: [7, 8],
        };
        let key = crate::attestation::tcb_info_key(&TcbInfoId {
            tee: ours,
            fmspc: id.fmspc,
            pce_id: id.pce_id,
        });
        assert_eq!(
            key.encode_as_type(key_type("TcbInfos"), metadata.types())
                .unwrap(),
            id.encode()
        );
        let tee = calls::intel_tee(ours);
        assert_eq!(
            tee.encode_as_type(key_type("QeIdentities"), metadata.types())
                .unwrap(),
            on_chain.encode()
        );
    }
}

#[test]
fn hashes_of_keys_are_those_of_the_pallet() {
    use assay_primitives::attestation::MachineIdentity;

    let identity = MachineIdentity {
        provider: [1; 32].into(),
        worker_key: [2; 32].into(),
        sealing_key: [3; 32],
        gpus: 0,
        is_in_market: true,
    };
    assert_eq!(
        types::keys_digest(&[2; 32], &[3; 32]),
        pallet_attestation::keys_digest::<Runtime>(&identity).0
    );
    assert_eq!(types::EXPIRY_SLOT_S, pallet_attestation::EXPIRY_SLOT_S);

    // Zeros decode as a key of every vendor, whose point is then changed.
    let zeros = |index: u8| [&[index][..], &ZEROS].concat();
    for (index, vendor) in [KeyVendor::Intel, KeyVendor::Amd, KeyVendor::Nvidia]
        .into_iter()
        .enumerate()
    {
        let encoded = zeros(index.try_into().unwrap());
        let mut key = pallet_attestation::VerifiedKey::decode(&mut &encoded[..]).unwrap();
        let point = match &mut key {
            pallet_attestation::VerifiedKey::Intel(key) => {
                key.key = [8; 64];
                key.key.to_vec()
            }
            pallet_attestation::VerifiedKey::Amd(key) => {
                key.key = [8; 96];
                key.key.to_vec()
            }
            pallet_attestation::VerifiedKey::Nvidia(key) => {
                key.key = [8; 96];
                key.key.to_vec()
            }
        };
        assert_eq!(types::key_id(vendor, &point), key.id().0);
    }
}

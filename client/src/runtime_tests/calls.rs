//! Calls are encoded as the runtime decodes them, and signed with every extension that it checks.

use assay_primitives::{
    machine::SuspensionCause,
    market::{Near, Requirements, TeeKind},
};
use subxt::{
    OfflineClient, SubstrateConfig,
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

use super::metadata;
use crate::{
    calls::{self, Call, JobOrder, MachineRegistration},
    types::{
        AccountId, AuctionTerms, Collateral, Evidence, EvidenceId, JobKind, KeySource, Location, Manifest,
        ManifestRef, RewardDestination, SignedJson, SlashId, Vendor, Verification,
    },
};

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
            hash: [3; 32].into(),
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
            center: Location {
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
        calls::suspend_self(1, SuspensionCause::Maintenance),
        calls::suspend_self(1, SuspensionCause::Heat),
        calls::suspend_self(1, SuspensionCause::Fault),
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
                manifest: Manifest::Sealed { hash: [3; 32].into() },
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
                    verifying_key: [6; 32].into(),
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
                device: [2; 32].into(),
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
        calls::unnote_preimage([8; 32]),
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

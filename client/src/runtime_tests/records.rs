//! Records are read, keys encoded and messages made as the runtime has them.

use assay_primitives::market::TeeKind;
use assay_runtime::Runtime;
use scale_decode::DecodeAsType;
use subxt::{
    Metadata,
    ext::codec::{Decode, Encode},
};
use subxt_signer::sr25519::dev;

use super::{ZEROS, metadata};
use crate::{
    accounts::{HoldRecord, NoteRecord},
    calls,
    challenge::ClassVersion,
    keys, order,
    queries::AccountRecord,
    types::{
        self, AccountId, Assignment, Bond, Debt, EpochRecord, EvidenceId, EvidenceRecord, HardwareClass,
        IntelTee, Job, KeptCollateral, KeptKey, KeyVendor, Machine, Offence, Provider, RawMachineEvidence,
        Slash, SlashReason, TcbInfoId,
    },
};

#[test]
fn bounds_of_orders_are_those_of_the_chain() {
    let metadata = metadata();
    let pallet = metadata.pallet_by_name("JobEscrow").unwrap();
    for (name, bound) in [
        ("MinDurationMs", order::MIN_DURATION_MS),
        ("MaxDurationMs", order::MAX_DURATION_MS),
        ("MaxVerificationMs", order::MAX_VERIFICATION_MS),
    ] {
        let constant = pallet.constant_by_name(name).unwrap().value();
        assert_eq!(u64::decode(&mut &constant[..]).unwrap(), bound, "{name}");
    }
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
    check::<u64>(&metadata, "JobEscrow", "NextJobId");
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
    check::<NoteRecord>(&metadata, "Preimage", "RequestStatusFor");
    check::<Vec<HoldRecord>>(&metadata, "Balances", "Holds");
    check::<()>(&metadata, "JobEscrow", "ConsumerJobs");
    check::<AccountRecord>(&metadata, "System", "Account");
    check::<u128>(&metadata, "Balances", "TotalIssuance");
    check::<u64>(&metadata, "ChainClock", "ActiveTimeMs");
    check::<u32>(&metadata, "ChainClock", "CurrentEpoch");
    check::<u64>(&metadata, "ChainClock", "EpochDurationMs");
    check::<u128>(&metadata, "RewardEmission", "RemainingEmission");
    check::<u128>(&metadata, "RewardEmission", "TotalWeight");
}

#[test]
fn holds_and_notes_are_understood_behind_their_enums() {
    let metadata = metadata();
    let value_type = |pallet: &str, entry: &str| {
        let storage = metadata.pallet_by_name(pallet).unwrap().storage().unwrap();
        storage.entry_by_name(entry).unwrap().value_ty()
    };
    let reason = assay_runtime::RuntimeHoldReason::Attestation(pallet_attestation::HoldReason::Evidence);
    let bytes = vec![(reason, 7_u128)].encode();
    let holds = value_type("Balances", "Holds");
    let holds = Vec::<HoldRecord>::decode_as_type(&mut &bytes[..], holds, metadata.types()).unwrap();
    let hold = holds.into_iter().next().unwrap().into_hold();
    assert_eq!(
        (hold.pallet.as_str(), hold.reason.as_str(), hold.amount),
        ("Attestation", "Evidence", 7)
    );

    // The second variant: a note that an open job asks for.
    let status = (1_u8, Some(([3_u8; 32], 5_u128)), 1_u32, Some(9_u32)).encode();
    let notes = value_type("Preimage", "RequestStatusFor");
    let note = NoteRecord::decode_as_type(&mut &status[..], notes, metadata.types()).unwrap();
    assert_eq!(note.ticket(), Some((AccountId::from([3; 32]), 5)));
}

#[test]
fn cap_of_the_emission_is_understood() {
    let metadata = metadata();
    let pallet = metadata.pallet_by_name("RewardEmission").unwrap();
    let cap = pallet.constant_by_name("CapPerWeight").unwrap();
    let plancks = u128::decode(&mut cap.value()).unwrap();
    assert_eq!(
        plancks * u128::from(assay_primitives::emission::WEIGHT_PARTS),
        assay_runtime::configs::market::EMISSION_CAP_PER_POINT
    );
}

#[test]
fn constants_that_messages_and_programs_read_are_there() {
    let metadata = metadata();
    for (pallet, name) in [
        ("JobEscrow", "MinDurationMs"),
        ("JobEscrow", "MaxDurationMs"),
        ("JobEscrow", "MaxOpenMs"),
    ] {
        let constant = metadata.pallet_by_name(pallet).unwrap().constant_by_name(name);
        let value = u64::decode(&mut constant.unwrap_or_else(|| panic!("{name}")).value()).unwrap();
        assert!(value > 0, "{name}");
    }
    let pallet = metadata.pallet_by_name("Availability").unwrap();
    let initial = pallet.constant_by_name("InitialUptimePpm").unwrap();
    assert_eq!(u32::decode(&mut initial.value()).unwrap(), 950_000);
}

#[test]
fn every_part_of_a_record_is_understood() {
    // Zeros decode as `None` and as the first variant of an enum, so the test encodes the other values
    // itself.
    let metadata = metadata();
    let value_type = |pallet: &str, entry: &str| {
        let storage = metadata.pallet_by_name(pallet).unwrap().storage().unwrap();
        storage.entry_by_name(entry).unwrap().value_ty()
    };
    let debts = value_type("ProviderStaking", "Debts");
    let share = |account: u8, amount: u128| Some(([account; 32], amount));
    let bytes = (share(3, 4), 5_u128).encode();
    let debt = Debt::decode_as_type(&mut &bytes[..], debts, metadata.types()).unwrap();
    assert_eq!(debt.total(), 9);
    assert_eq!(debt.consumer.unwrap().account, AccountId::from([3; 32]));

    let agenda = value_type("ProviderStaking", "Agenda");
    // The machine, an offence, the plancks owed, the consumer's share, and a flag for the machine's end.
    let reason = (0_u8, assay_primitives::offence::Offence::ForgedEvidence);
    let bytes = (7_u64, reason, 9_u128, share(1, 2), true).encode();
    let slash = Slash::decode_as_type(&mut &bytes[..], agenda, metadata.types()).unwrap();
    assert_eq!(slash.reason, SlashReason::Offence(Offence::ForgedEvidence));
    assert_eq!(slash.beneficiaries.consumer.unwrap().1, 2);
    assert!(slash.ends_machine);

    let bonds = value_type("ProviderStaking", "Bonds");
    let strikes = [0_u8, 6, 0].map(|count| (count, u32::from(count)));
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
    assert_eq!(strikes, [(Offence::ChallengeWrong, 6)]);
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
                device: [1; 32].into(),
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
    for tee in [IntelTee::Sgx, IntelTee::Tdx] {
        let id = TcbInfoId {
            tee,
            fmspc: [1, 2, 3, 4, 5, 6],
            pce_id: [7, 8],
        };
        let key = crate::attestation::tcb_info_key(&id);
        assert_eq!(
            key.encode_as_type(key_type("TcbInfos"), metadata.types())
                .unwrap(),
            id.encode()
        );
        assert_eq!(
            calls::intel_tee(tee)
                .encode_as_type(key_type("QeIdentities"), metadata.types())
                .unwrap(),
            tee.encode()
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

//! Benchmarks of the calls and of the hook's units, with the vendors of the evidence crate's tests.
//!
//! Evidence is signed for the machine and block that it is measured with, before the clock runs. Chains are
//! as long, and keys and signatures as large, as the vendors' own; the lists of revoked certificates are the
//! longest that there can be.

#![allow(clippy::unwrap_used)]

use alloc::{format, string::String, vec, vec::Vec};

use assay_evidence::{
    Binding, MAX_REVOKED, TrustRoot,
    nvidia::{MAX_ALTERNATIVES, MAX_MEASUREMENTS, Reference, ReferenceMeasurement},
};
use assay_primitives::{
    attestation::MachineIdentities,
    clock::WallClock,
    machine::MachineId,
    market::TeeKind,
    money::{ASY, Balance},
};
use polkadot_sdk::{
    frame_benchmarking::v2::*,
    frame_support::{
        BoundedVec,
        traits::{EnsureOrigin, fungible::Mutate},
    },
    frame_system::{self, RawOrigin, pallet_prelude::BlockNumberFor},
    sp_core::H256,
    sp_runtime::traits::One,
};

use crate::{
    test_vendors::{
        self, VENDORS_NOW_S, amd::Amd, amd_chain, gpu_chain, gpu_evidence, intel::Intel, intel::Kind,
        keys::TestKey, nvidia::Nvidia, quote_evidence, signed_json, snp_evidence,
    },
    *,
};

/// Bytes of an entry of a list of revoked certificates.
const LIST_ENTRY_BYTES: u32 = 30;

/// Bytes of a list that revokes nothing, at most.
const EMPTY_LIST_BYTES: u32 = 1_024;

/// Bytes of collateral whose verification is measured: from less than any has to the most that is read.
const MIN_JSON_BYTES: u32 = 4_096;

/// A provider that lacks nothing, and its machine.
fn machine_of<T: Config>() -> (T::AccountId, MachineId)
where
    T::Currency: Mutate<T::AccountId>,
{
    let provider: T::AccountId = account("provider", 0, 0);
    T::Currency::set_balance(&provider, 1_000_000 * ASY as Balance);
    let machine = T::Machines::benchmark_machine_with_gpus(&provider, &account("worker", 0, 0));
    (provider, machine)
}

/// A block whose predecessor's hash is known, at a time at which the tests' vendors' certificates are valid.
fn begin<T: Config>() {
    T::WallClock::benchmark_set_now_s(VENDORS_NOW_S);
    let anchor = BlockNumberFor::<T>::one();
    frame_system::BlockHash::<T>::insert(anchor, T::Hash::default());
    frame_system::Pallet::<T>::set_block_number(anchor + One::one());
}

/// Trusts the tests' vendors, and allows what runs on their devices.
fn trust<T: Config>() {
    begin::<T>();
    for (vendor, certificate) in roots() {
        Pallet::<T>::do_add_root(vendor, &certificate).unwrap();
    }
    for digest in test_vendors::test_workloads() {
        AllowedWorkloads::<T>::insert(digest, WorkloadName::default());
    }
    for mut reference in test_vendors::test_references() {
        // As many as NVIDIA's files have; those beyond the report's are compared with the same measurements.
        let known = reference.measurements.to_vec();
        let all = known.iter().cycle().take(MAX_MEASUREMENTS as usize);
        reference.measurements = all.cloned().collect::<Vec<_>>().try_into().unwrap();
        References::<T>::insert(H256::from(reference.key()), reference);
    }
    let (sgx, tdx) = (
        intel(Kind::Sgx(3), &no_binding()),
        intel(Kind::Td15, &no_binding()),
    );
    let mut collateral = test_vendors::intel_collateral(&sgx);
    collateral.extend(test_vendors::intel_collateral(&tdx).split_off(2));
    collateral.extend(test_vendors::amd_collateral(&amd(&no_binding())));
    collateral.extend(test_vendors::nvidia_collateral(&gpu(&no_binding())));
    for piece in collateral {
        Pallet::<T>::do_submit_collateral(None, &piece, VENDORS_NOW_S).unwrap();
    }
}

/// The serial numbers of so many revoked certificates, none of which is used.
fn revoked(count: u32) -> Vec<Vec<u8>> {
    (0..count)
        .map(|number| [&[1; 6][..], &number.to_be_bytes()].concat())
        .collect()
}

/// With the longest lists.
fn intel(kind: Kind, binding: &Binding) -> Intel {
    let mut intel = test_vendors::intel(kind, 1, binding);
    intel.root_list.revoked = revoked(MAX_REVOKED);
    intel.authority_list.revoked = revoked(MAX_REVOKED);
    intel
}

/// With the longest list, and keys of AMD's size.
fn amd(binding: &Binding) -> Amd {
    let mut amd = test_vendors::amd(1, binding);
    amd.list.revoked = revoked(MAX_REVOKED);
    amd.root_key = TestKey::rsa(3);
    amd.authority_key = TestKey::rsa(4);
    amd
}

/// With the longest lists, and as many measurements as a Hopper has.
fn gpu(binding: &Binding) -> Nvidia {
    let mut gpu = test_vendors::gpu(1, binding);
    gpu.root_list.revoked = revoked(MAX_REVOKED);
    gpu.family_list.revoked = revoked(MAX_REVOKED);
    gpu.measurements
        .extend((9..=64).map(|index| (index, vec![index; 48])));
    gpu
}

fn roots() -> Vec<(Vendor, Vec<u8>)> {
    let amd = amd(&no_binding());
    test_vendors::test_roots()
        .into_iter()
        .map(|(vendor, certificate)| match vendor {
            Vendor::AmdGenoa => (vendor, amd.root.sign(&amd.root_key, &amd.root_key)),
            _ => (vendor, certificate),
        })
        .collect()
}

fn no_binding() -> Binding {
    Binding {
        genesis_hash: [0; 32],
        machine_id: 0,
        worker_key: [0; 32],
        sealing_key: [0; 32],
        anchor_hash: [0; 32],
    }
}

/// Returns the binding that evidence of the machine needs with this anchor.
fn binding<T: Config>(machine: MachineId, anchor: BlockNumberFor<T>) -> Binding {
    let identity = T::Machines::identity_of(machine).unwrap();
    Pallet::<T>::binding_to(machine, &identity, anchor).unwrap()
}

/// A machine that has as much evidence as fits beside what is measured, and all that the verification of it
/// needs.
fn attesting_machine<T: Config>() -> (T::AccountId, MachineId)
where
    T::Currency: Mutate<T::AccountId>,
{
    let (provider, machine) = machine_of::<T>();
    trust::<T>();
    fill::<T>(&provider, machine);
    (provider, machine)
}

/// Evidence was accepted with this anchor, and the key that signed it is kept.
fn assert_accepted<T: Config>(machine: MachineId, anchor: BlockNumberFor<T>) {
    let records = Attested::<T>::get(machine).unwrap().records;
    assert_eq!(records.len() as u32, MAX_EVIDENCE);
    assert_eq!(records.last().unwrap().anchor, anchor);
    assert_eq!(VerifiedKeys::<T>::iter().count(), 1);
}

/// As much evidence as a machine may have, but for some of the kind that is measured, each in its place in
/// the agenda.
fn fill<T: Config>(provider: &T::AccountId, machine: MachineId) {
    for number in 0..MAX_EVIDENCE - 1 {
        insert_gpu::<T>(provider, machine, number, later_slot());
    }
}

fn later_slot() -> ExpirySlot {
    (VENDORS_NOW_S / EXPIRY_SLOT_S) as ExpirySlot + 100
}

/// A piece of evidence of a GPU that nobody signed: only the book is measured with it.
fn insert_gpu<T: Config>(
    provider: &T::AccountId,
    machine: MachineId,
    number: u32,
    expires: ExpirySlot,
) -> EvidenceId {
    let mut device = H256::repeat_byte(0xee);
    device.0[..4].copy_from_slice(&number.to_le_bytes());
    let id = EvidenceId {
        device,
        kind: TeeKind::NvidiaGpu,
    };
    let identity = T::Machines::identity_of(machine).unwrap();
    let record = EvidenceRecord {
        id,
        workload: H256::zero(),
        keys: keys_digest::<T>(&identity),
        anchor: Default::default(),
        expires,
        deposit: 0,
    };
    assert_eq!(*provider, identity.provider);
    book::EvidenceBook::<T>::put(machine, &identity, record).unwrap();
    id
}

/// Submits as the provider does.
fn submit<T: Config>(provider: &T::AccountId, machine: MachineId, evidence: Evidence) {
    Pallet::<T>::submit_evidence(
        RawOrigin::Signed(provider.clone()).into(),
        machine,
        BlockNumberFor::<T>::one(),
        evidence,
    )
    .unwrap();
}

/// The next block, so that a renewal has a later anchor.
fn next_block<T: Config>() -> BlockNumberFor<T> {
    let anchor = frame_system::Pallet::<T>::block_number();
    frame_system::BlockHash::<T>::insert(anchor, T::Hash::default());
    frame_system::Pallet::<T>::set_block_number(anchor + One::one());
    anchor
}

fn known_key<T: Config>() -> KeySource {
    KeySource::Known(VerifiedKeys::<T>::iter_keys().next().unwrap())
}

/// JSON of so many bytes: what is behind it is white space.
fn padded(json: &str, bytes: u32) -> String {
    let mut padded = String::from(json);
    padded.extend((json.len()..bytes as usize).map(|_| ' '));
    padded
}

fn admin<T: Config>() -> Result<T::RuntimeOrigin, BenchmarkError> {
    T::AdminOrigin::try_successful_origin().map_err(|()| BenchmarkError::Weightless)
}

#[benchmarks(where T::Currency: Mutate<T::AccountId>)]
mod benches {
    use super::*;

    #[benchmark]
    fn submit_quote() {
        let (provider, machine) = attesting_machine::<T>();
        let anchor = One::one();
        let intel = intel(Kind::Td15, &binding::<T>(machine, anchor));
        let evidence = quote_evidence(&intel, KeySource::Carried);

        #[extrinsic_call]
        submit_evidence(RawOrigin::Signed(provider), machine, anchor, evidence);

        assert_accepted::<T>(machine, anchor);
    }

    #[benchmark]
    fn renew_quote() {
        let (provider, machine) = attesting_machine::<T>();
        let first = intel(Kind::Td15, &binding::<T>(machine, One::one()));
        submit::<T>(&provider, machine, quote_evidence(&first, KeySource::Carried));
        let anchor = next_block::<T>();
        let renewed = intel(Kind::Td15, &binding::<T>(machine, anchor));
        let evidence = quote_evidence(&renewed, known_key::<T>());

        #[extrinsic_call]
        submit_evidence(RawOrigin::Signed(provider), machine, anchor, evidence);

        assert_accepted::<T>(machine, anchor);
    }

    #[benchmark]
    fn submit_snp_report() {
        let (provider, machine) = attesting_machine::<T>();
        let anchor = One::one();
        let amd = amd(&binding::<T>(machine, anchor));
        let evidence = snp_evidence(&amd, amd_chain(&amd));

        #[extrinsic_call]
        submit_evidence(RawOrigin::Signed(provider), machine, anchor, evidence);

        assert_accepted::<T>(machine, anchor);
    }

    #[benchmark]
    fn renew_snp_report() {
        let (provider, machine) = attesting_machine::<T>();
        let first = amd(&binding::<T>(machine, One::one()));
        submit::<T>(&provider, machine, snp_evidence(&first, amd_chain(&first)));
        let anchor = next_block::<T>();
        let renewed = amd(&binding::<T>(machine, anchor));
        let evidence = snp_evidence(&renewed, known_key::<T>());

        #[extrinsic_call]
        submit_evidence(RawOrigin::Signed(provider), machine, anchor, evidence);

        assert_accepted::<T>(machine, anchor);
    }

    #[benchmark]
    fn submit_gpu_report() {
        let (provider, machine) = attesting_machine::<T>();
        let anchor = One::one();
        let gpu = gpu(&binding::<T>(machine, anchor));
        let evidence = gpu_evidence(&gpu, gpu_chain(&gpu));

        #[extrinsic_call]
        submit_evidence(RawOrigin::Signed(provider), machine, anchor, evidence);

        assert_accepted::<T>(machine, anchor);
    }

    #[benchmark]
    fn renew_gpu_report() {
        let (provider, machine) = attesting_machine::<T>();
        let first = gpu(&binding::<T>(machine, One::one()));
        submit::<T>(&provider, machine, gpu_evidence(&first, gpu_chain(&first)));
        let anchor = next_block::<T>();
        let renewed = gpu(&binding::<T>(machine, anchor));
        let evidence = gpu_evidence(&renewed, known_key::<T>());

        #[extrinsic_call]
        submit_evidence(RawOrigin::Signed(provider), machine, anchor, evidence);

        assert_accepted::<T>(machine, anchor);
    }

    #[benchmark]
    fn withdraw_evidence() {
        let (provider, machine) = machine_of::<T>();
        begin::<T>();
        fill::<T>(&provider, machine);
        let id = insert_gpu::<T>(&provider, machine, MAX_EVIDENCE, later_slot());

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine, id);

        assert!(!Devices::<T>::contains_key(id.device));
    }

    #[benchmark]
    fn remove_key() {
        let (provider, machine) = machine_of::<T>();
        trust::<T>();
        let gpu = gpu(&binding::<T>(machine, One::one()));
        submit::<T>(&provider, machine, gpu_evidence(&gpu, gpu_chain(&gpu)));
        let key = VerifiedKeys::<T>::iter_keys().next().unwrap();

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), key);

        assert_eq!(VerifiedKeys::<T>::iter().count(), 0);
    }

    /// In the place of an older one of another depositor; `b` bytes, of which some are white space.
    #[benchmark]
    fn submit_tcb_info(b: Linear<MIN_JSON_BYTES, { assay_evidence::intel::MAX_COLLATERAL_BYTES as u32 }>) {
        let (provider, _) = machine_of::<T>();
        let other: T::AccountId = account("other", 0, 0);
        T::Currency::set_balance(&other, 1_000_000 * ASY as Balance);
        trust::<T>();
        let intel = intel(Kind::Td15, &no_binding());
        let later = |day: u32| {
            let json = intel.tcb_info.replace("2025-12-20T", &format!("2025-12-{day}T"));
            Collateral::TcbInfo(signed_json(&intel, &padded(&json, b)))
        };
        Pallet::<T>::do_submit_collateral(Some(other), &later(21), VENDORS_NOW_S).unwrap();
        let collateral = later(22);

        #[extrinsic_call]
        submit_collateral(RawOrigin::Signed(provider.clone()), collateral);

        assert!(TcbInfos::<T>::iter_values().any(|record| record.depositor.as_ref() == Some(&provider)));
    }

    /// Like [`submit_tcb_info`].
    #[benchmark]
    fn submit_qe_identity(b: Linear<MIN_JSON_BYTES, { assay_evidence::intel::MAX_COLLATERAL_BYTES as u32 }>) {
        let (provider, _) = machine_of::<T>();
        let other: T::AccountId = account("other", 0, 0);
        T::Currency::set_balance(&other, 1_000_000 * ASY as Balance);
        trust::<T>();
        let intel = intel(Kind::Td15, &no_binding());
        let later = |day: u32| {
            let json = intel
                .qe_identity
                .replace("2025-12-21T", &format!("2025-12-{day}T"));
            Collateral::QeIdentity(signed_json(&intel, &padded(&json, b)))
        };
        Pallet::<T>::do_submit_collateral(Some(other), &later(22), VENDORS_NOW_S).unwrap();
        let collateral = later(23);

        #[extrinsic_call]
        submit_collateral(RawOrigin::Signed(provider.clone()), collateral);

        assert!(QeIdentities::<T>::iter_values().any(|record| record.depositor.as_ref() == Some(&provider)));
    }

    /// Of a chip family of NVIDIA's, whose issuer's certificate is verified too; of about `b` bytes.
    #[benchmark]
    fn submit_revocation_list(
        b: Linear<EMPTY_LIST_BYTES, { EMPTY_LIST_BYTES + MAX_REVOKED * LIST_ENTRY_BYTES }>,
    ) {
        let (provider, _) = machine_of::<T>();
        let other: T::AccountId = account("other", 0, 0);
        T::Currency::set_balance(&other, 1_000_000 * ASY as Balance);
        trust::<T>();
        let list = |from: &'static str| {
            let mut gpu = gpu(&no_binding());
            gpu.family_list.from = from;
            gpu.family_list.revoked = revoked((b - EMPTY_LIST_BYTES) / LIST_ENTRY_BYTES);
            test_vendors::nvidia_collateral(&gpu).remove(1)
        };
        let older = list("20251201000000Z");
        Pallet::<T>::do_submit_collateral(Some(other), &older, VENDORS_NOW_S).unwrap();
        let collateral = list("20251202000000Z");

        #[extrinsic_call]
        submit_collateral(RawOrigin::Signed(provider.clone()), collateral);

        assert!(
            RevocationLists::<T>::iter_values().any(|record| record.depositor.as_ref() == Some(&provider))
        );
    }

    #[benchmark]
    fn allow_workload() -> Result<(), BenchmarkError> {
        let digest = H256::repeat_byte(1);
        let name = BoundedVec::truncate_from(vec![b'a'; 64]);

        #[extrinsic_call]
        _(admin::<T>()? as T::RuntimeOrigin, digest, name);

        assert!(AllowedWorkloads::<T>::contains_key(digest));
        Ok(())
    }

    #[benchmark]
    fn disallow_workload() -> Result<(), BenchmarkError> {
        let digest = H256::repeat_byte(1);
        AllowedWorkloads::<T>::insert(digest, BoundedVec::truncate_from(vec![b'a'; 64]));

        #[extrinsic_call]
        _(admin::<T>()? as T::RuntimeOrigin, digest);

        assert!(!AllowedWorkloads::<T>::contains_key(digest));
        Ok(())
    }

    /// The longest there can be.
    fn long_reference() -> Reference {
        let mut reference = test_vendors::test_references().remove(0);
        let alternatives = vec![[7; 48]; MAX_ALTERNATIVES as usize];
        reference.measurements = (1..=MAX_MEASUREMENTS)
            .map(|index| ReferenceMeasurement {
                index: index as u8,
                alternatives: alternatives.clone().try_into().unwrap(),
            })
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        reference
    }

    #[benchmark]
    fn set_reference() -> Result<(), BenchmarkError> {
        let reference = long_reference();
        let key = H256::from(reference.key());

        #[extrinsic_call]
        _(admin::<T>()? as T::RuntimeOrigin, reference);

        assert!(References::<T>::contains_key(key));
        Ok(())
    }

    #[benchmark]
    fn remove_reference() -> Result<(), BenchmarkError> {
        let reference = long_reference();
        let key = H256::from(reference.key());
        References::<T>::insert(key, reference);

        #[extrinsic_call]
        _(admin::<T>()? as T::RuntimeOrigin, key);

        assert!(!References::<T>::contains_key(key));
        Ok(())
    }

    /// One of AMD's, whose signature costs most.
    #[benchmark]
    fn add_root() -> Result<(), BenchmarkError> {
        let (vendor, certificate) = roots()
            .into_iter()
            .find(|(vendor, _)| *vendor == Vendor::AmdGenoa)
            .unwrap();
        let before = Roots::<T>::get().amd.len();

        #[extrinsic_call]
        _(
            admin::<T>()? as T::RuntimeOrigin,
            vendor,
            BoundedVec::truncate_from(certificate),
        );

        assert_eq!(Roots::<T>::get().amd.len(), before + 1);
        Ok(())
    }

    #[benchmark]
    fn remove_root() -> Result<(), BenchmarkError> {
        trust::<T>();
        let before = Roots::<T>::get().amd.len();
        let amd = amd(&no_binding());
        let root = TrustRoot::new(&amd.root.sign(&amd.root_key, &amd.root_key)).unwrap();

        #[extrinsic_call]
        _(
            admin::<T>()? as T::RuntimeOrigin,
            Vendor::AmdGenoa,
            H256::from(root.fingerprint()),
        );

        assert_eq!(Roots::<T>::get().amd.len(), before - 1);
        Ok(())
    }

    /// With as many refused advisories as there can be.
    #[benchmark]
    fn set_policies() -> Result<(), BenchmarkError> {
        let mut policies = Policies::default();
        let advisory = BoundedVec::truncate_from(b"INTEL-SA-00000-LONG-NAME".to_vec());
        while policies
            .intel
            .refused_advisories
            .try_push(advisory.clone())
            .is_ok()
        {}

        #[extrinsic_call]
        _(admin::<T>()? as T::RuntimeOrigin, policies.clone());

        assert_eq!(CurrentPolicies::<T>::get(), policies);
        Ok(())
    }

    /// A TCB info, with its deposit.
    #[benchmark]
    fn remove_collateral() -> Result<(), BenchmarkError> {
        let (provider, _) = machine_of::<T>();
        trust::<T>();
        let intel = intel(Kind::Td15, &no_binding());
        let json = intel.tcb_info.replace("2025-12-20T", "2025-12-21T");
        let collateral = Collateral::TcbInfo(signed_json(&intel, &json));
        Pallet::<T>::do_submit_collateral(Some(provider), &collateral, VENDORS_NOW_S).unwrap();
        let (id, _) = TcbInfos::<T>::iter()
            .find(|(_, record)| record.depositor.is_some())
            .unwrap();

        #[extrinsic_call]
        _(admin::<T>()? as T::RuntimeOrigin, CollateralId::TcbInfo(id));

        assert!(!TcbInfos::<T>::contains_key(id));
        Ok(())
    }

    #[benchmark]
    fn ban_device() -> Result<(), BenchmarkError> {
        let (provider, machine) = machine_of::<T>();
        begin::<T>();
        fill::<T>(&provider, machine);
        let id = insert_gpu::<T>(&provider, machine, MAX_EVIDENCE, later_slot());

        #[extrinsic_call]
        _(admin::<T>()? as T::RuntimeOrigin, id.device);

        assert!(!Devices::<T>::contains_key(id.device));
        assert!(BannedDevices::<T>::contains_key(id.device));
        Ok(())
    }

    #[benchmark]
    fn unban_device() -> Result<(), BenchmarkError> {
        let device = H256::repeat_byte(1);
        BannedDevices::<T>::insert(device, ());

        #[extrinsic_call]
        _(admin::<T>()? as T::RuntimeOrigin, device);

        assert!(!BannedDevices::<T>::contains_key(device));
        Ok(())
    }

    #[benchmark]
    fn condemn() -> Result<(), BenchmarkError> {
        let (provider, machine) = machine_of::<T>();
        begin::<T>();
        fill::<T>(&provider, machine);
        let id = insert_gpu::<T>(&provider, machine, MAX_EVIDENCE, later_slot());

        #[extrinsic_call]
        _(admin::<T>()? as T::RuntimeOrigin, machine, id.device);

        assert!(!Devices::<T>::contains_key(id.device));
        Ok(())
    }

    #[benchmark]
    fn hook_overhead() {
        begin::<T>();
        let now = (VENDORS_NOW_S / EXPIRY_SLOT_S) as ExpirySlot;
        NextExpirySlot::<T>::put(now + 1);
        let mut meter = polkadot_sdk::frame_support::weights::WeightMeter::new();

        #[block]
        {
            Pallet::<T>::serve_expiries(&mut meter);
        }

        assert_eq!(NextExpirySlot::<T>::get(), Some(now + 1));
    }

    #[benchmark]
    fn hook_expire() {
        let (provider, machine) = machine_of::<T>();
        begin::<T>();
        fill::<T>(&provider, machine);
        let slot = later_slot() - 1;
        let id = insert_gpu::<T>(&provider, machine, MAX_EVIDENCE, slot);

        #[block]
        {
            let ((machine, id), ()) = Expiries::<T>::drain_prefix(slot).next().unwrap();
            book::EvidenceBook::<T>::expire(slot, machine, id);
            Pallet::<T>::deposit_event(Event::EvidenceExpired { machine, id });
        }

        assert!(!Devices::<T>::contains_key(id.device));
    }

    #[benchmark]
    fn hook_next_slot() {
        NextExpirySlot::<T>::put(1);
        let found;

        #[block]
        {
            found = Expiries::<T>::drain_prefix(1).next().is_some();
            NextExpirySlot::<T>::put(2);
        }

        assert!(!found);
    }

    impl_benchmark_test_suite!(
        Pallet,
        crate::mock::ExtBuilder::released().build(),
        crate::mock::Test,
    );
}

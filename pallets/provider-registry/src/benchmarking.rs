//! Benchmarks of the calls, and the states that benchmarks of other pallets start from.

#![allow(clippy::unwrap_used)]

use alloc::vec;

use assay_primitives::{
    clock::ActiveClock,
    machine::{
        Endpoint, HardwareClassId, HardwareProofs, Location, MAX_CLASS_NAME_BYTES, MAX_ENDPOINT_BYTES,
        MAX_PROVIDER_NAME_BYTES, MAX_REGION_BYTES, MachineId, MachineStatus, SuspensionCause,
        SuspensionReason,
    },
    market::{Near, OfferPage, Requirements},
    money::{ASY, Balance},
    stake::BondInspect,
};
use codec::Decode;
use polkadot_sdk::{
    frame_benchmarking::v2::*,
    frame_support::traits::{
        EnsureOrigin, Get,
        fungible::{Inspect, Unbalanced},
        tokens::Precision,
    },
    frame_system::{self, RawOrigin},
    sp_core::{crypto::KeyTypeId, sr25519},
    sp_io,
};

use crate::{
    Call, Config, Event, HardwareClassRecord, HardwareClasses, MachineRecord, MachineRegistration,
    MachineRegistrationOf, Machines, Pallet, ProviderName, ProviderRecord, Providers, WorkerKeys,
    offers::MachineBook,
};

/// Type of the worker keys that benchmarks make in the keystore.
const WORKER_KEY_TYPE: KeyTypeId = KeyTypeId(*b"work");

/// The class of the machines that benchmarks make; written over whatever has this identifier.
const CLASS: HardwareClassId = HardwareClassId::MAX;

/// Slots of the machines of this pallet's own benchmarks.
const SLOTS: u8 = 8;

/// Offers on the page whose search is measured.
const FIRST_PAGE: u32 = 20;

/// Classes and regions of a network of many.
const CLASSES: u16 = 16;
const REGIONS: u64 = 32;

fn class_record<T: Config>(compute_score: u32) -> HardwareClassRecord {
    HardwareClassRecord {
        name: vec![b'A'; MAX_CLASS_NAME_BYTES as usize].try_into().unwrap(),
        vram_mib: 81_920,
        cuda_cores: 16_896,
        compute_score,
        stake_per_slot: T::BondPerPoint::get().saturating_mul(compute_score.into()),
    }
}

fn provider_name() -> ProviderName {
    vec![b'p'; MAX_PROVIDER_NAME_BYTES as usize].try_into().unwrap()
}

fn longest_endpoint() -> Endpoint {
    let mut endpoint = b"https://".to_vec();
    endpoint.resize(MAX_ENDPOINT_BYTES as usize, b'e');
    endpoint.try_into().unwrap()
}

fn registration<T: Config>(worker_key: T::AccountId, slots: u8) -> MachineRegistrationOf<T> {
    MachineRegistration {
        worker_key,
        sealing_key: [7; 32],
        class: CLASS,
        slots,
        cpu_cores: 64,
        ram_mib: 524_288,
        disk_gib: 4_096,
        upload_mbps: 10_000,
        download_mbps: 10_000,
        location: Location {
            latitude_microdegrees: 51_477_928,
            longitude_microdegrees: -1_545,
        },
        region: vec![b'r'; MAX_REGION_BYTES as usize].try_into().unwrap(),
        endpoint: longest_endpoint(),
        ask: ASY,
    }
}

/// Makes money for an account, counted in the total issuance.
fn fund<T: Config>(who: &T::AccountId, amount: Balance) {
    T::Currency::increase_balance(who, amount, Precision::Exact).unwrap();
    T::Currency::set_total_issuance(T::Currency::total_issuance().saturating_add(amount));
}

/// A provider with money and no machines.
fn funded_provider<T: Config>() -> T::AccountId {
    let provider: T::AccountId = whitelisted_caller();
    let deposits = T::ProviderDeposit::get().saturating_add(T::MachineDeposit::get());
    fund::<T>(&provider, deposits.saturating_add(1_000 * ASY));
    Pallet::<T>::register_provider(RawOrigin::Signed(provider.clone()).into(), provider_name()).unwrap();
    provider
}

/// A machine of [`funded_provider`] whose deposits are held, unproven.
fn registered_machine<T: Config>() -> (T::AccountId, MachineId) {
    let provider = funded_provider::<T>();
    Pallet::<T>::put_class(CLASS, class_record::<T>(989)).unwrap();
    let (registration, signature) = signed_registration::<T>(&provider);
    let machine = crate::NextMachineId::<T>::get();
    Pallet::<T>::register_machine(
        RawOrigin::Signed(provider.clone()).into(),
        registration,
        signature,
    )
    .unwrap();
    (provider, machine)
}

/// A registered machine in a status that its call changes, while audits live that have noted nothing of it.
fn audited_machine<T: Config>(status: MachineStatus) -> (T::AccountId, MachineId) {
    let (provider, machine) = registered_machine::<T>();
    T::Bonds::benchmark_bond(machine);
    T::HardwareProofs::benchmark_prove(machine);
    force_status::<T>(machine, status);
    T::HardwareProofs::benchmark_audit();
    (provider, machine)
}

/// A registration with the signature of a worker key that the keystore just made.
fn signed_registration<T: Config>(provider: &T::AccountId) -> (MachineRegistrationOf<T>, sr25519::Signature) {
    let public = sp_io::crypto::sr25519_generate(WORKER_KEY_TYPE, None);
    let message = Pallet::<T>::worker_key_message(provider);
    let signature = sp_io::crypto::sr25519_sign(WORKER_KEY_TYPE, &public, &message).unwrap();
    let worker_key = T::AccountId::decode(&mut &public.0[..]).unwrap();
    (registration::<T>(worker_key, SLOTS), signature)
}

/// Implements [`assay_primitives::machine::MachineInspect::benchmark_machine`]. No deposit is held, and none
/// is on record.
pub(crate) fn insert_machine<T: Config>(
    provider: &T::AccountId,
    worker_key: &T::AccountId,
    slots: u8,
) -> MachineId {
    let class = class_record::<T>(989);
    Pallet::<T>::put_class(CLASS, class.clone()).unwrap();
    let mut record = Providers::<T>::get(provider).unwrap_or_else(|| ProviderRecord {
        name: provider_name(),
        machines: 0,
        deposit: 0,
    });
    record.machines += 1;
    let registration = registration::<T>(worker_key.clone(), slots);
    Pallet::<T>::insert_machine(provider.clone(), record, registration, &class, 0).unwrap()
}

/// Implements [`assay_primitives::market::MachineMatching::benchmark_requirements`]. The center of the circle
/// lies away from the machine, so that the distance has to be worked out.
pub(crate) fn strictest_requirements<T: Config>(machine: MachineId) -> Requirements {
    let record = Machines::<T>::get(machine).unwrap();
    let class = HardwareClasses::<T>::get(record.class).unwrap();
    Requirements {
        gpu_type: Some(class.name),
        min_vram_mib: class.vram_mib,
        min_cuda_cores: class.cuda_cores,
        min_compute_score: class.compute_score,
        min_cpu_cores: 1,
        min_ram_mib: 1,
        min_disk_gib: 1,
        min_upload_mbps: record.upload_mbps,
        min_download_mbps: record.download_mbps,
        region: Some(record.region),
        near: Some(Near {
            center: Location::default(),
            within_km: u32::MAX,
        }),
        max_price_per_slot_hour: None,
        tee: None,
        min_uptime_ppm: 0,
        min_free_slots: 1,
        min_nodes: 0,
    }
}

/// Gives a machine a status, whatever its bond and proofs.
pub(crate) fn force_status<T: Config>(machine: MachineId, status: MachineStatus) {
    let record = Machines::<T>::get(machine).unwrap();
    Pallet::<T>::set_status(machine, record, status);
}

/// A network of active machines, spread over classes and regions, all in the same bucket of uptime. Only what
/// a search reads is written.
fn insert_network<T: Config>(machines: u64, classes: u16, regions: u64) {
    let provider: T::AccountId = account("provider", 0, 0);
    for class in 0..classes {
        let mut record = class_record::<T>(989);
        record.name = alloc::format!("BENCHMARK_{class}")
            .into_bytes()
            .try_into()
            .unwrap();
        Pallet::<T>::put_class(CLASS - class, record).unwrap();
    }
    for machine in 0..machines {
        let class = CLASS - (machine % u64::from(classes)) as u16;
        let registration = MachineRegistration {
            class,
            region: alloc::format!("region-{}", machine % regions)
                .into_bytes()
                .try_into()
                .unwrap(),
            // Prices in an order that has nothing to do with that of the machines.
            ask: ASY + Balance::from(machine.wrapping_mul(2_654_435_761) % 1_000_000),
            ..registration::<T>(provider.clone(), SLOTS)
        };
        let mut record = MachineRecord::new(provider.clone(), registration, Default::default(), 0, 0);
        record.status = MachineStatus::Active;
        MachineBook::<T>::put(machine, &mut record);
    }
}

/// The first page in a network where one class stands in one region.
fn find_in_one_region<T: Config>() -> OfferPage<T::AccountId> {
    let requirements = Requirements {
        gpu_type: Some(b"BENCHMARK_0".to_vec().try_into().unwrap()),
        region: Some(b"region-0".to_vec().try_into().unwrap()),
        min_vram_mib: 81_920,
        max_price_per_slot_hour: Some(2 * ASY),
        ..Default::default()
    };
    Pallet::<T>::find_machines(&requirements, FIRST_PAGE, None).unwrap()
}

/// The first page of whatever has the memory, wherever it is, by distance too.
fn find_in_the_world<T: Config>() -> OfferPage<T::AccountId> {
    let requirements = Requirements {
        min_vram_mib: 81_920,
        near: Some(Near {
            center: Location::default(),
            within_km: 20_000,
        }),
        ..Default::default()
    };
    Pallet::<T>::find_machines(&requirements, FIRST_PAGE, None).unwrap()
}

fn assert_first_page<AccountId>(page: &OfferPage<AccountId>) {
    assert_eq!(page.offers.len(), FIRST_PAGE as usize);
    assert!(page.offers.is_sorted_by_key(|offer| offer.price_per_slot_hour));
    assert!(page.next.is_some());
}

fn assert_last_event<T: Config>(event: Event<T>) {
    frame_system::Pallet::<T>::assert_last_event(event.into());
}

fn assert_status<T: Config>(machine: MachineId, status: MachineStatus) {
    assert_eq!(
        Machines::<T>::get(machine).map(|record| record.status),
        Some(status)
    );
}

#[benchmarks]
mod benches {
    use super::*;

    #[benchmark]
    fn register_provider() {
        let provider: T::AccountId = whitelisted_caller();
        fund::<T>(&provider, T::ProviderDeposit::get().saturating_add(1_000 * ASY));

        #[extrinsic_call]
        _(RawOrigin::Signed(provider.clone()), provider_name());

        assert_last_event::<T>(Event::ProviderRegistered { provider });
    }

    #[benchmark]
    fn register_machine() {
        let provider = funded_provider::<T>();
        Pallet::<T>::put_class(CLASS, class_record::<T>(989)).unwrap();
        let (registration, signature) = signed_registration::<T>(&provider);
        let worker_key = registration.worker_key.clone();
        let machine = crate::NextMachineId::<T>::get();

        #[extrinsic_call]
        _(RawOrigin::Signed(provider.clone()), registration, signature);

        assert_eq!(WorkerKeys::<T>::get(worker_key), Some(machine));
        assert_last_event::<T>(Event::MachineRegistered {
            machine,
            provider,
            class: CLASS,
            slots: SLOTS,
        });
    }

    /// Of a machine on offer: its place among the offers changes.
    #[benchmark]
    fn update_ask() {
        let (provider, machine) = audited_machine::<T>(MachineStatus::Active);

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine, 2 * ASY);

        assert_last_event::<T>(Event::AskUpdated {
            machine,
            ask: 2 * ASY,
            from_ms: T::Clock::now_ms().saturating_add(T::AskRaiseDelayMs::get()),
        });
    }

    #[benchmark]
    fn update_endpoint() {
        let (provider, machine) = registered_machine::<T>();

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine, longest_endpoint());

        assert_last_event::<T>(Event::EndpointUpdated { machine });
    }

    /// Of a machine on offer, to a key that served nobody.
    #[benchmark]
    fn rotate_keys() {
        let (provider, machine) = audited_machine::<T>(MachineStatus::Active);
        let (registration, signature) = signed_registration::<T>(&provider);
        let worker_key = registration.worker_key;

        #[extrinsic_call]
        _(
            RawOrigin::Signed(provider),
            machine,
            worker_key.clone(),
            [8; 32],
            signature,
        );

        assert_eq!(WorkerKeys::<T>::get(&worker_key), Some(machine));
        assert_last_event::<T>(Event::KeysRotated {
            machine,
            worker_key,
            sealing_key: [8; 32],
        });
    }

    /// Of an active machine, which loses its weight in the emission.
    #[benchmark]
    fn suspend_self() {
        let (provider, machine) = audited_machine::<T>(MachineStatus::Active);

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine, SuspensionCause::Heat);

        assert_status::<T>(machine, MachineStatus::Suspended(SuspensionReason::Overheated));
    }

    /// Of a bonded machine, which becomes active and weighs something in the emission.
    #[benchmark]
    fn resume() {
        let (provider, machine) =
            audited_machine::<T>(MachineStatus::Suspended(SuspensionReason::OwnRequest));

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine);

        assert_status::<T>(machine, MachineStatus::Active);
    }

    #[benchmark]
    fn drain() {
        let (provider, machine) = audited_machine::<T>(MachineStatus::Active);

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine);

        assert_status::<T>(machine, MachineStatus::Draining);
    }

    /// Of a machine that was never in the market and for which nothing is bonded: its record goes at once.
    /// One that leaves the market keeps its record; the call's weight adds what that costs, as [`drain`]
    /// measures it.
    #[benchmark]
    fn retire() {
        let (provider, machine) = registered_machine::<T>();

        #[extrinsic_call]
        _(RawOrigin::Signed(provider.clone()), machine);

        assert!(!Machines::<T>::contains_key(machine));
        assert_last_event::<T>(Event::MachineRemoved { machine, provider });
    }

    /// Of an entry that gets another name.
    #[benchmark]
    fn set_hardware_class() {
        let mut before = class_record::<T>(1);
        before.name.truncate(MAX_CLASS_NAME_BYTES as usize - 1);
        Pallet::<T>::put_class(CLASS, before).unwrap();
        let origin = T::AdminOrigin::try_successful_origin().unwrap();

        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, CLASS, class_record::<T>(989));

        assert_last_event::<T>(Event::HardwareClassSet { class: CLASS });
    }

    #[benchmark]
    fn deregister_provider() {
        let provider = funded_provider::<T>();

        #[extrinsic_call]
        _(RawOrigin::Signed(provider.clone()));

        assert!(!Providers::<T>::contains_key(&provider));
        assert_last_event::<T>(Event::ProviderDeregistered { provider });
    }

    /// Of a bonded machine that is suspended for its bond: new terms, a new status and a new weight.
    #[benchmark]
    fn refresh_machine() {
        let (provider, machine) =
            audited_machine::<T>(MachineStatus::Suspended(SuspensionReason::BondTooLow));
        Pallet::<T>::put_class(CLASS, class_record::<T>(494)).unwrap();

        #[extrinsic_call]
        _(RawOrigin::Signed(provider), machine);

        assert_status::<T>(machine, MachineStatus::Active);
        assert_eq!(
            Machines::<T>::get(machine).map(|record| record.terms.compute_score),
            Some(494)
        );
    }

    // What a search costs, which no call is charged for: `scripts/benchmark --search` shows that the size of
    // the network does not matter.

    /// `n`: the network has 10^n machines.
    #[benchmark(extra, pov_mode = Ignored)]
    fn search_one_region(n: Linear<3, 5>) {
        insert_network::<T>(10_u64.pow(n), 1, 1);
        let page;
        #[block]
        {
            page = find_in_one_region::<T>();
        }
        assert_first_page(&page);
    }

    /// `n`: the network has 10^n machines.
    #[benchmark(extra, pov_mode = Ignored)]
    fn search_world(n: Linear<3, 5>) {
        insert_network::<T>(10_u64.pow(n), CLASSES, REGIONS);
        let page;
        #[block]
        {
            page = find_in_the_world::<T>();
        }
        assert_first_page(&page);
    }

    impl_benchmark_test_suite!(
        Pallet,
        crate::mock::ExtBuilder::default().build(),
        crate::mock::Test,
        extra = false,
    );
}

use assay_primitives::{
    machine::{
        Location, MachineLease,
        MachineStatus::{Active, Unproven},
        OnUptimeChange,
    },
    market::{
        Cursor, FindError, Gap, MAX_NODES, MAX_PAGE_OFFERS, Mismatch, Near, OfferPage, PassedOver,
        Requirements, TeeKind, TeeKinds,
    },
    money::{ASY, Balance},
    stake::BondStanding::Sufficient,
};
use polkadot_sdk::frame_support::assert_ok;
use proptest::prelude::*;

use crate::{MachineRegistration, NextMachineId, mock::*, search::MAX_LOOKED_AT};

/// An active machine that is registered as told.
fn offer(provider: AccountId, number: u8, change: impl FnOnce(&mut MachineRegistration<AccountId>)) -> u64 {
    let machine = NextMachineId::<Test>::get();
    let mut registration = registration(number);
    change(&mut registration);
    assert_ok!(register(provider, number, registration));
    change_bond(machine, ASY, Sufficient);
    machine
}

fn page(requirements: &Requirements, limit: u32, cursor: Option<Cursor>) -> OfferPage<AccountId> {
    ProviderRegistry::find_machines(requirements, limit, cursor).unwrap()
}

fn found(requirements: &Requirements) -> Vec<u64> {
    let page = page(requirements, MAX_PAGE_OFFERS, None);
    assert_eq!(page.next, None);
    page.offers.iter().map(|offer| offer.machine).collect()
}

fn gpu(name: &[u8]) -> Requirements {
    Requirements {
        gpu_type: Some(name.to_vec().try_into().unwrap()),
        ..Default::default()
    }
}

fn explain(requirements: &Requirements, machine: u64) -> Vec<Mismatch> {
    ProviderRegistry::explain(requirements, machine).unwrap().unwrap()
}

#[test]
fn find_machines_works_across_classes_best_first() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let dear = offer(PROVIDER, 1, |it| it.ask = 9 * ASY);
        let cpu = offer(PROVIDER, 2, |it| {
            it.class = CPU;
            it.ask = 3 * ASY;
        });
        let cheap = offer(OTHER_PROVIDER, 3, |it| it.ask = ASY);
        unproven_machine(PROVIDER, 4);
        assert_eq!(found(&Requirements::default()), [cheap, cpu, dear]);
        assert_eq!(found(&gpu(b"NVIDIA_H100")), [cheap, dear]);
        assert_eq!(found(&gpu(b"CPU")), [cpu]);

        ProviderRegistry::on_uptime_change(dear, 1_000_000);
        assert_eq!(found(&Requirements::default()), [dear, cheap, cpu]);
    });
}

#[test]
fn find_machines_shows_a_machine_whole() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = offer(PROVIDER, 1, |_| {});
        Evidence::mutate(|all| all.insert(machine, TeeKinds::NONE.with(TeeKind::Tdx)));
        assert_ok!(ProviderRegistry::lease(machine, 1));
        let near = Near {
            center: Location {
                latitude_microdegrees: 48_137_154,
                longitude_microdegrees: 11_576_124,
            },
            within_km: 1_000,
        };
        let requirements = Requirements {
            near: Some(near),
            ..Default::default()
        };
        let view = page(&requirements, 1, None).offers.remove(0);
        let record = record(machine);
        assert_eq!(view.machine, machine);
        assert_eq!(view.provider, PROVIDER);
        assert_eq!(view.worker_key, worker(1));
        assert_eq!(view.sealing_key, record.sealing_key);
        assert_eq!(view.status, Active);
        assert_eq!(view.gpu_type.as_slice(), b"NVIDIA_H100");
        assert_eq!(
            (view.vram_mib, view.cuda_cores, view.compute_score),
            (81_920, 16_896, 989)
        );
        assert_eq!((view.slots, view.free_slots), (SLOTS, SLOTS - 1));
        assert_eq!(view.region, record.region);
        assert_eq!(view.endpoint, record.endpoint);
        assert_eq!(view.price_per_slot_hour, ASK);
        assert_eq!(view.price_per_tflops_hour, Some(ASK.div_ceil(989)));
        assert_eq!(view.uptime_ppm, record.uptime_ppm);
        assert!(view.tee_kinds.contains(TeeKind::Tdx));
        // Berlin to Munich.
        assert!((504_000..505_000).contains(&view.distance_m.unwrap()));

        let alone = ProviderRegistry::machine_view(machine).unwrap();
        assert_eq!(alone.distance_m, None);
        assert_eq!(alone.endpoint, view.endpoint);
        assert_eq!(ProviderRegistry::machine_view(99), None);
    });
}

#[test]
fn every_requirement_filters_and_says_why() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = offer(PROVIDER, 1, |_| {});
        assert_ok!(ProviderRegistry::lease(machine, 1));
        let record = record(machine);
        let any = Requirements::default();
        let gap = |wanted, found| Gap { wanted, found };
        let far = Near {
            center: Location {
                latitude_microdegrees: 48_137_154,
                longitude_microdegrees: 11_576_124,
            },
            within_km: 504,
        };
        // What just about fits, what just does not, and why not. One slot shares a quarter of the host.
        let cases: Vec<(Requirements, Requirements, Mismatch)> = vec![
            (
                gpu(b"NVIDIA_H100"),
                gpu(b"CPU"),
                Mismatch::GpuType {
                    found: b"NVIDIA_H100".to_vec().try_into().unwrap(),
                },
            ),
            (
                Requirements {
                    min_vram_mib: 81_920,
                    ..any.clone()
                },
                Requirements {
                    min_vram_mib: 81_921,
                    ..any.clone()
                },
                Mismatch::MinVramMib(gap(81_921, 81_920)),
            ),
            (
                Requirements {
                    min_cuda_cores: 16_896,
                    ..any.clone()
                },
                Requirements {
                    min_cuda_cores: 16_897,
                    ..any.clone()
                },
                Mismatch::MinCudaCores(gap(16_897, 16_896)),
            ),
            (
                Requirements {
                    min_compute_score: 989,
                    ..any.clone()
                },
                Requirements {
                    min_compute_score: 990,
                    ..any.clone()
                },
                Mismatch::MinComputeScore(gap(990, 989)),
            ),
            (
                Requirements {
                    min_cpu_cores: 32,
                    min_free_slots: 2,
                    ..any.clone()
                },
                Requirements {
                    min_cpu_cores: 17,
                    ..any.clone()
                },
                Mismatch::MinCpuCores(gap(17, 16)),
            ),
            (
                Requirements {
                    min_ram_mib: 131_072,
                    ..any.clone()
                },
                Requirements {
                    min_ram_mib: 131_073,
                    ..any.clone()
                },
                Mismatch::MinRamMib(gap(131_073, 131_072)),
            ),
            (
                Requirements {
                    min_disk_gib: 1_024,
                    ..any.clone()
                },
                Requirements {
                    min_disk_gib: 1_025,
                    ..any.clone()
                },
                Mismatch::MinDiskGib(gap(1_025, 1_024)),
            ),
            (
                Requirements {
                    min_upload_mbps: 1_000,
                    ..any.clone()
                },
                Requirements {
                    min_upload_mbps: 1_001,
                    ..any.clone()
                },
                Mismatch::MinUploadMbps(gap(1_001, 1_000)),
            ),
            (
                Requirements {
                    min_download_mbps: 2_000,
                    ..any.clone()
                },
                Requirements {
                    min_download_mbps: 2_001,
                    ..any.clone()
                },
                Mismatch::MinDownloadMbps(gap(2_001, 2_000)),
            ),
            (
                Requirements {
                    region: Some(record.region.clone()),
                    ..any.clone()
                },
                Requirements {
                    region: Some(b"us-east".to_vec().try_into().unwrap()),
                    ..any.clone()
                },
                Mismatch::Region {
                    found: record.region.clone(),
                },
            ),
            (
                Requirements {
                    near: Some(Near {
                        within_km: 505,
                        ..far
                    }),
                    ..any.clone()
                },
                Requirements {
                    near: Some(far),
                    ..any.clone()
                },
                Mismatch::WithinKm(gap(504, 505)),
            ),
            (
                Requirements {
                    max_price_per_slot_hour: Some(ASK),
                    ..any.clone()
                },
                Requirements {
                    max_price_per_slot_hour: Some(ASK - 1),
                    ..any.clone()
                },
                Mismatch::MaxPricePerSlotHour { found: ASK },
            ),
            (
                any.clone(),
                Requirements {
                    tee: Some(TeeKind::SevSnp),
                    ..any.clone()
                },
                Mismatch::Tee {
                    found: TeeKinds::NONE,
                },
            ),
            (
                Requirements {
                    min_uptime_ppm: 950_000,
                    ..any.clone()
                },
                Requirements {
                    min_uptime_ppm: 950_001,
                    ..any.clone()
                },
                Mismatch::MinUptimePpm(gap(950_001, 950_000)),
            ),
            (
                Requirements {
                    min_free_slots: SLOTS - 1,
                    ..any.clone()
                },
                Requirements {
                    min_free_slots: SLOTS,
                    ..any.clone()
                },
                Mismatch::MinFreeSlots(gap(SLOTS.into(), u32::from(SLOTS) - 1)),
            ),
            (
                Requirements {
                    min_nodes: 1,
                    ..any.clone()
                },
                Requirements {
                    min_nodes: 2,
                    ..any.clone()
                },
                Mismatch::MinNodes(gap(2, 1)),
            ),
        ];
        for (fits, fails, why) in cases {
            assert_eq!(found(&fits), [machine], "{fits:?}");
            assert_eq!(explain(&fits, machine), [], "{fits:?}");
            assert_eq!(found(&fails), [0_u64; 0], "{fails:?}");
            assert_eq!(explain(&fails, machine), [why], "{fails:?}");
        }
    });
}

#[test]
fn find_machines_says_whom_it_passed_over() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let cheap = offer(PROVIDER, 1, |it| it.ask = ASY);
        let narrow = offer(PROVIDER, 2, |it| it.upload_mbps = 1);
        let requirements = Requirements {
            min_upload_mbps: 100,
            ..Default::default()
        };
        let page = page(&requirements, 10, None);
        assert_eq!(
            page.offers.iter().map(|offer| offer.machine).collect::<Vec<_>>(),
            [cheap]
        );
        assert_eq!(
            page.passed_over,
            [PassedOver {
                machine: narrow,
                mismatches: vec![Mismatch::MinUploadMbps(Gap {
                    wanted: 100,
                    found: 1
                })]
            }]
        );
    });
}

#[test]
fn explain_tells_what_keeps_a_machine_from_the_market() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = unproven_machine(PROVIDER, 1);
        assert_eq!(
            explain(&Requirements::default(), machine),
            [Mismatch::Status { found: Unproven }]
        );
        assert_eq!(ProviderRegistry::explain(&Requirements::default(), 99), Ok(None));
    });
}

#[test]
fn find_machines_counts_the_machines_of_a_provider() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let first = offer(PROVIDER, 1, |_| {});
        let second = offer(PROVIDER, 2, |_| {});
        offer(PROVIDER, 3, |it| it.class = CPU);
        offer(OTHER_PROVIDER, 4, |_| {});
        let wanted = |min_nodes| Requirements {
            min_nodes,
            ..gpu(b"NVIDIA_H100")
        };
        assert_eq!(found(&wanted(2)), [first, second]);
        assert_eq!(found(&wanted(3)), [0_u64; 0]);
    });
}

#[test]
fn pages_follow_each_other_without_a_gap_or_a_repetition() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let mut machines: Vec<u64> = (1..=9)
            .map(|number| offer(PROVIDER, number, |it| it.ask = ASY + Balance::from(number / 3)))
            .collect();
        let any = Requirements::default();
        let first = page(&any, 4, None);
        let machine =
            |page: &OfferPage<AccountId>| page.offers.iter().map(|it| it.machine).collect::<Vec<_>>();
        assert_eq!(machine(&first), machines[..4]);

        // Between the pages one on the first goes, and one comes that belongs there.
        assert_ok!(ProviderRegistry::retire(
            RuntimeOrigin::signed(PROVIDER),
            machines[1]
        ));
        offer(PROVIDER, 10, |it| it.ask = 1);
        let second = page(&any, 4, first.next);
        assert_eq!(machine(&second), machines[4..8]);
        let third = page(&any, 4, second.next);
        assert_eq!(machine(&third), machines.split_off(8));
        assert_eq!(third.next, None);
        // A page that ends with the last machine is the last.
        assert_eq!(page(&any, 9, None).next, None);
    });
}

#[test]
fn a_page_looks_at_a_bounded_number_of_machines() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        // Registered behind the back of the calls, since their worker keys are beside the point.
        for number in 0..MAX_LOOKED_AT + 10 {
            insert_offer(number as u64, |it| it.upload_mbps = 1);
        }
        let wanted = insert_offer(9_999, |it| it.ask = 2 * ASK);
        let requirements = Requirements {
            min_upload_mbps: 100,
            ..Default::default()
        };
        let first = page(&requirements, 1, None);
        assert_eq!(first.offers, []);
        assert_eq!(first.passed_over.len(), 100);
        let second = page(&requirements, 1, first.next);
        assert_eq!(second.offers[0].machine, wanted);
        assert_eq!(second.next, None);
    });
}

#[test]
fn a_search_skips_what_its_order_rules_out() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        // More than a page looks at, all too dear, and better seen than the one that is wanted.
        for number in 0..MAX_LOOKED_AT + 10 {
            let machine = insert_offer(number as u64, |it| it.ask = 3 * ASK);
            ProviderRegistry::on_uptime_change(machine, 1_000_000);
        }
        let wanted = insert_offer(9_999, |_| {});
        let cheap = Requirements {
            max_price_per_slot_hour: Some(ASK),
            ..Default::default()
        };
        let found_cheap = page(&cheap, 10, None);
        assert_eq!(
            found_cheap.offers.iter().map(|it| it.machine).collect::<Vec<_>>(),
            [wanted]
        );
        // One of those that were skipped tells why.
        assert_eq!(found_cheap.passed_over.len(), 1);
        assert_eq!(found_cheap.next, None);

        let reliable = Requirements {
            min_uptime_ppm: 990_000,
            max_price_per_slot_hour: Some(ASK),
            ..Default::default()
        };
        assert_eq!(found(&reliable), [0_u64; 0]);
    });
}

#[test]
fn find_machines_fails_when_it_makes_no_sense() {
    ExtBuilder::default().build_and_execute(|| {
        let any = Requirements::default();
        for limit in [0, MAX_PAGE_OFFERS + 1] {
            assert_eq!(
                ProviderRegistry::find_machines(&any, limit, None),
                Err(FindError::BadLimit)
            );
        }
        let off_earth = Near {
            center: Location {
                latitude_microdegrees: 90_000_001,
                longitude_microdegrees: 0,
            },
            within_km: 1,
        };
        for (requirements, error) in [
            (gpu(b"NVIDIA_H100_"), FindError::UnknownGpuType),
            (
                Requirements {
                    near: Some(off_earth),
                    ..any.clone()
                },
                FindError::NotOnEarth,
            ),
            (
                Requirements {
                    min_nodes: MAX_NODES + 1,
                    ..any
                },
                FindError::TooManyNodes,
            ),
        ] {
            assert_eq!(
                ProviderRegistry::find_machines(&requirements, 1, None),
                Err(error)
            );
            assert_eq!(ProviderRegistry::explain(&requirements, 0), Err(error));
        }
    });
}

fn requirements() -> impl Strategy<Value = Requirements> {
    (
        prop::option::of(prop_oneof![Just(&b"NVIDIA_H100"[..]), Just(&b"CPU"[..])]),
        prop::option::of(1..6_u128),
        0..=SLOTS,
        prop_oneof![Just(0), Just(900_000), Just(999_000)],
        0..4_u8,
        prop::option::of(prop_oneof![Just(&b"eu-central"[..]), Just(&b"us-east"[..])]),
    )
        .prop_map(
            |(gpu_type, price, min_free_slots, min_uptime_ppm, min_nodes, region)| Requirements {
                gpu_type: gpu_type.map(|name| name.to_vec().try_into().unwrap()),
                max_price_per_slot_hour: price,
                min_free_slots,
                min_uptime_ppm,
                min_nodes,
                region: region.map(|region| region.to_vec().try_into().unwrap()),
                ..Default::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The index finds what looking at every machine finds, in the same order, page by page.
    #[test]
    fn a_search_finds_what_a_scan_finds(
        machines in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 1..6_u128, 0..=SLOTS, 0..5_usize), 0..40),
        requirements in requirements(),
        limit in 1..8_u32,
    ) {
        ExtBuilder::default().with_providers().build_and_execute(|| {
            for (number, (other, cpu, east, ask, leased, uptime)) in machines.into_iter().enumerate() {
                let machine = insert_offer_of(if other { OTHER_PROVIDER } else { PROVIDER }, number as u64, |it| {
                    it.ask = ask;
                    if cpu { it.class = CPU }
                    if east { it.region = b"us-east".to_vec().try_into().unwrap() }
                });
                if leased > 0 {
                    assert_ok!(ProviderRegistry::lease(machine, leased));
                }
                ProviderRegistry::on_uptime_change(machine, [0, 700_000, 950_000, 999_000, 1_000_000][uptime]);
            }

            let mut scanned: Vec<_> = crate::Machines::<Test>::iter()
                .filter(|(machine, _)| explain(&requirements, *machine).is_empty())
                .map(|(machine, record)| {
                    crate::offers::rank(crate::offers::uptime_bucket(record.uptime_ppm), record.ask, machine)
                })
                .collect();
            scanned.sort();
            let scanned: Vec<u64> = scanned.iter().map(|rank| crate::offers::parts(rank).2).collect();

            let mut searched = Vec::new();
            let mut cursor = None;
            loop {
                let page = page(&requirements, limit, cursor);
                assert!(page.offers.len() <= limit as usize);
                searched.extend(page.offers.iter().map(|offer| offer.machine));
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(searched, scanned);
        });
    }
}

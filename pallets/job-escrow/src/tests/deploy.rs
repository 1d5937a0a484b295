//! `deploy`: what is checked, leased and held.

use assay_primitives::{
    clock::MILLIS_PER_HOUR,
    machine::Location,
    market::{MAX_NODES, Near, Requirements},
    money::{ASY, Balance, MILLI_ASY},
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::QueryPreimage},
    sp_core::H256,
    sp_runtime::{ArithmeticError, DispatchError, Permill, TokenError},
};

use crate::{
    AssignmentRecord, AssignmentState, Assignments, ConsumerJobs, Error, Event, JobKind, JobOrder, JobRecord,
    MachineJobs, Manifest, ManifestRef, NextJobId, Verification, mock::*,
};

/// Deposit of [`order`] for bytes and bounties when it is deployed to one machine: 0.8 ASY for bytes, four
/// bounties.
const DEPOSIT: Balance = ASY + MANIFEST_DEPOSIT;

#[test]
fn deploy_works() {
    ExtBuilder::default().build_and_execute(|| {
        let order = order(SERVICE);
        take_events();
        assert_ok!(JobEscrow::deploy(
            signed(CONSUMER),
            order.clone(),
            chosen(&[MACHINE])
        ));

        let start_deadline_ms = NowMs::get() + START_WINDOW_MS;
        assert_eq!(
            job_record(0),
            JobRecord {
                consumer: CONSUMER,
                kind: SERVICE,
                manifest: order.manifest,
                image_digest: order.image_digest,
                slots: 2,
                nodes: 1,
                max_price_per_slot_hour: ASK,
                max_duration_ms: MILLIS_PER_HOUR,
                auction: None,
                open_places: 0,
                assignments: 1,
                ballot: None,
                hold_back: Permill::from_percent(10),
                deposit: 800 * MILLI_ASY + MANIFEST_DEPOSIT,
                bounties: 4 * BOUNTY,
                bounty: BOUNTY,
                paid: 0,
                created_at_ms: NowMs::get(),
            }
        );
        assert_eq!(
            part(0, MACHINE),
            AssignmentRecord {
                provider: PROVIDER,
                price_per_slot_hour: ASK,
                max_duration_ms: MILLIS_PER_HOUR,
                escrowed: 2 * ASY,
                earned: 0,
                paid: 0,
                state: AssignmentState::Starting {
                    assigned_at_ms: NowMs::get(),
                    deadline_ms: start_deadline_ms,
                    risen_ms: 0,
                },
            }
        );
        assert_eq!(
            take_events(),
            vec![
                Event::MachineAssigned {
                    job: 0,
                    machine: MACHINE,
                    provider: PROVIDER,
                    price_per_slot_hour: ASK,
                    start_deadline_ms,
                },
                Event::JobOrdered {
                    job: 0,
                    consumer: CONSUMER,
                    kind: SERVICE,
                    nodes: 1,
                    slots: 2,
                    escrowed: 2 * ASY,
                    deposit: DEPOSIT,
                    closes_at_ms: None,
                }
            ]
        );
        assert!(MachineJobs::<Test>::contains_key(MACHINE, 0));
        assert!(ConsumerJobs::<Test>::contains_key(CONSUMER, 0));
        assert_eq!(escrow_of(CONSUMER), 2 * ASY);
        assert_eq!(deposit_of(CONSUMER), DEPOSIT);
        assert_eq!(free(CONSUMER), ENDOWMENT - 2 * ASY - DEPOSIT);
        assert_eq!(free_slots(MACHINE), SLOTS - 2);
        let Manifest::Public(manifest) = order.manifest else {
            panic!("the order's manifest is public");
        };
        assert!(Preimage::is_requested(&manifest.hash));
    });
}

#[test]
fn deploy_gives_each_machine_its_own_terms() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        Machines::mutate(8, |machine| machine.as_mut().unwrap().ask = ASK / 2);
        let job = deploy_to(order(SERVICE), &[MACHINE, 8, 9]);
        assert_eq!(part(job, 8).price_per_slot_hour, ASK / 2);
        assert_eq!(part(job, 8).escrowed, ASY);
        assert_eq!(part(job, 9).escrowed, 2 * ASY);
        assert_eq!(escrow_of(CONSUMER), 5 * ASY);
        assert_eq!(deposit_of(CONSUMER), deposit_for(3, MILLIS_PER_HOUR, false));
        assert_eq!(job_record(job).assignments, 3);
    });
}

#[test]
fn deploy_numbers_jobs_and_adds_up_their_escrows() {
    ExtBuilder::default().build_and_execute(|| {
        assert_eq!(deploy(SERVICE), 0);
        assert_eq!(deploy(TASK), 1);
        assert_eq!(NextJobId::<Test>::get(), 2);
        assert_eq!(escrow_of(CONSUMER), 4 * ASY);
        assert_eq!(free_slots(MACHINE), 0);
    });
}

#[test]
fn deploy_rounds_the_escrow_up() {
    ExtBuilder::default().build_and_execute(|| {
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = 1);
        let mut order = order(SERVICE);
        order.slots = 1;
        order.max_duration_ms = 1_000;
        let job = deploy_order(order);
        assert_eq!(part(job, MACHINE).escrowed, 1);
    });
}

#[test]
fn deploy_takes_a_sealed_manifest_by_its_hash() {
    ExtBuilder::default().build_and_execute(|| {
        let mut order = order(SERVICE);
        order.manifest = Manifest::Sealed {
            hash: H256::repeat_byte(3),
        };
        let job = deploy_order(order);
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        assert!(is_gone(job));
    });
}

#[test]
fn a_raised_ask_touches_no_assignment() {
    ExtBuilder::default().build_and_execute(|| {
        let job = run(SERVICE);
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = 100 * ASK);
        advance(MILLIS_PER_HOUR / 2);
        assert_ok!(JobEscrow::close(signed(CONSUMER), job));
        settle_all(job, MACHINE);
        assert_eq!(wealth(CONSUMER), ENDOWMENT - ASY);
        assert_eq!(free(PROVIDER), ENDOWMENT + net(ASY));
    });
}

#[test]
fn deploy_fails_when_unsigned() {
    ExtBuilder::default().build_and_execute(|| {
        let order = order(SERVICE);
        assert_noop!(
            JobEscrow::deploy(RuntimeOrigin::none(), order, chosen(&[MACHINE])),
            DispatchError::BadOrigin
        );
    });
}

#[test]
fn orders_fail_when_no_machine_can_be_of_their_class_or_number() {
    ExtBuilder::default().build_and_execute(|| {
        let wanting = |gpu_type: &[u8], min_nodes| {
            let mut order = order(SERVICE);
            order.requirements.gpu_type = Some(gpu_type.to_vec().try_into().unwrap());
            order.requirements.min_nodes = min_nodes;
            order
        };
        let deploy = |order| JobEscrow::deploy(signed(CONSUMER), order, chosen(&[MACHINE]));
        let request = |order| JobEscrow::request(signed(CONSUMER), order, 1, auction());
        for bad in [wanting(b"NVIDIA_H1000", 0), wanting(GPU_TYPE, MAX_NODES + 1)] {
            assert_noop!(deploy(bad.clone()), Error::<Test>::BadRequirements);
            assert_noop!(request(bad), Error::<Test>::BadRequirements);
        }
        assert_ok!(deploy(wanting(GPU_TYPE, MAX_NODES)));
        assert_ok!(request(wanting(GPU_TYPE, MAX_NODES)));
        // A known class, and no machine of it with so many slots.
        let mut large = wanting(GPU_TYPE, 0);
        large.slots = SLOTS + 1;
        assert_noop!(deploy(large), Error::<Test>::NotEligible);
    });
}

#[test]
fn deploy_fails_when_the_order_is_malformed() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let good = order(SERVICE);
        let order = |kind| JobOrder { kind, ..good.clone() };
        let deploy = |order| JobEscrow::deploy(signed(CONSUMER), order, chosen(&[MACHINE]));
        let task = |verification| JobKind::Task { verification };

        let mut bad = order(SERVICE);
        bad.slots = 0;
        assert_noop!(deploy(bad), Error::<Test>::NoSlots);
        for max_duration_ms in [0, 999, MAX_DURATION_MS + 1] {
            let mut bad = order(SERVICE);
            bad.max_duration_ms = max_duration_ms;
            assert_noop!(deploy(bad), Error::<Test>::BadDuration);
        }
        let mut bad = order(SERVICE);
        bad.requirements.near = Some(Near {
            center: Location {
                latitude_microdegrees: i32::MAX,
                longitude_microdegrees: 0,
            },
            within_km: 1,
        });
        assert_noop!(deploy(bad), Error::<Test>::BadRequirements);
        for (kind, error) in [
            (
                task(Verification::Consumer {
                    window_ms: MAX_VERIFICATION_MS + 1,
                }),
                Error::<Test>::VerificationTooLong,
            ),
            (
                task(Verification::Proof {
                    verifying_key: H256::zero(),
                }),
                Error::ProofNotSupported,
            ),
            (QUORUM, Error::BadNodes),
        ] {
            assert_noop!(deploy(order(kind)), error);
        }
        assert_noop!(
            JobEscrow::deploy(signed(CONSUMER), order(SERVICE), chosen(&[])),
            Error::<Test>::BadNodes
        );
        let mut long = order(QUORUM);
        long.max_duration_ms = MAX_VERIFICATION_MS + 1;
        assert_noop!(
            JobEscrow::deploy(signed(CONSUMER), long, chosen(&[MACHINE, 8, 9])),
            Error::<Test>::VerificationTooLong
        );
        // Half of the replicas are not enough, and more than all cannot agree.
        for (replicas, threshold) in [(2, 1), (3, 1), (3, 4)] {
            let machines = &[MACHINE, 8, 9][..usize::from(replicas)];
            let bad = order(task(Verification::Quorum { replicas, threshold }));
            assert_noop!(
                JobEscrow::deploy(signed(CONSUMER), bad, chosen(machines)),
                Error::<Test>::BadQuorum
            );
        }
    });
}

#[test]
fn deploy_fails_when_the_manifest_is_too_large_or_missing() {
    ExtBuilder::default().build_and_execute(|| {
        let noted = note_manifest(b"{}");
        for (hash, length_bytes, error) in [
            (
                noted.hash,
                MAX_MANIFEST_BYTES + 1,
                Error::<Test>::ManifestTooLarge,
            ),
            (noted.hash, 3, Error::ManifestMissing),
            (H256::zero(), 2, Error::ManifestMissing),
        ] {
            let mut bad = order(SERVICE);
            bad.manifest = Manifest::Public(ManifestRef { hash, length_bytes });
            assert_noop!(
                JobEscrow::deploy(signed(CONSUMER), bad, chosen(&[MACHINE])),
                error
            );
        }
    });
}

#[test]
fn deploy_fails_when_a_machine_cannot_take_it() {
    ExtBuilder::default().build_and_execute(|| {
        add_others();
        let good = order(SERVICE);
        let order = |kind| JobOrder { kind, ..good.clone() };
        let deploy = |order, machines: &[_]| JobEscrow::deploy(signed(CONSUMER), order, chosen(machines));

        assert_noop!(deploy(order(SERVICE), &[99]), Error::<Test>::NotEligible);
        let mut large = order(SERVICE);
        large.slots = SLOTS + 1;
        assert_noop!(deploy(large, &[MACHINE]), Error::<Test>::NotEligible);
        let mut hungry = order(SERVICE);
        hungry.requirements.min_ram_mib = RAM_MIB + 1;
        assert_noop!(deploy(hungry, &[MACHINE]), Error::<Test>::NotEligible);
        assert_noop!(
            deploy(order(SERVICE), &[MACHINE, MACHINE]),
            Error::<Test>::AlreadyAssigned
        );
        // One of several is enough to have none of them.
        Machines::mutate(9, |machine| machine.as_mut().unwrap().ask = ASK + 1);
        assert_noop!(
            deploy(order(SERVICE), &[MACHINE, 8, 9]),
            Error::<Test>::PriceTooLow
        );
        Machines::mutate(9, |machine| {
            let machine = machine.as_mut().unwrap();
            machine.ask = ASK;
            machine.provider = PROVIDER;
        });
        assert_noop!(
            deploy(order(QUORUM), &[MACHINE, 8, 9]),
            Error::<Test>::ProviderNotDistinct
        );
        Machines::mutate(9, |machine| machine.as_mut().unwrap().active = false);
        assert_noop!(deploy(order(SERVICE), &[9]), Error::<Test>::NotEligible);
        assert_eq!(free_slots(MACHINE), SLOTS);
    });
}

#[test]
fn deploy_asks_for_the_order_s_own_slots_and_price() {
    ExtBuilder::default().build_and_execute(|| {
        let mut order = order(SERVICE);
        order.requirements = Requirements {
            min_free_slots: SLOTS + 1,
            max_price_per_slot_hour: Some(0),
            min_nodes: MAX_NODES,
            ..Default::default()
        };
        deploy_order(order);
    });
}

#[test]
fn deploy_fails_when_the_consumer_has_too_little() {
    ExtBuilder::default().build_and_execute(|| {
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = ENDOWMENT);
        let mut dear = order(SERVICE);
        dear.max_price_per_slot_hour = ENDOWMENT;
        assert_noop!(
            JobEscrow::deploy(signed(CONSUMER), dear, chosen(&[MACHINE])),
            TokenError::FundsUnavailable
        );
        // The price alone would be there, the deposit is not.
        Machines::mutate(MACHINE, |machine| {
            machine.as_mut().unwrap().ask = ENDOWMENT / 2 - DEPOSIT / 2 + 1;
        });
        let mut dear = order(SERVICE);
        dear.max_price_per_slot_hour = ENDOWMENT;
        assert_noop!(
            JobEscrow::deploy(signed(CONSUMER), dear, chosen(&[MACHINE])),
            TokenError::FundsUnavailable
        );
    });
}

#[test]
fn deploy_fails_when_the_price_is_more_than_any_balance() {
    ExtBuilder::default().build_and_execute(|| {
        Machines::mutate(MACHINE, |machine| machine.as_mut().unwrap().ask = Balance::MAX);
        let mut dear = order(SERVICE);
        dear.max_price_per_slot_hour = Balance::MAX;
        assert_noop!(
            JobEscrow::deploy(signed(CONSUMER), dear, chosen(&[MACHINE])),
            ArithmeticError::Overflow
        );
        assert_eq!(Assignments::<Test>::iter().count(), 0);
    });
}

#[test]
fn escrow_for_and_deposit_for_tell_what_deploy_holds() {
    ExtBuilder::default().build_and_execute(|| {
        deploy(SERVICE);
        assert_eq!(
            JobEscrow::escrow_for(ASK, 2, MILLIS_PER_HOUR),
            Some(escrow_of(CONSUMER))
        );
        assert_eq!(deposit_for(1, MILLIS_PER_HOUR, false), deposit_of(CONSUMER));
        assert_eq!(JobEscrow::escrow_for(Balance::MAX, 2, MILLIS_PER_HOUR), None);
        // A year touches 8,762 epochs: four to a call, twice besides; and two for the job.
        let year = 365 * 24 * MILLIS_PER_HOUR;
        assert_eq!(
            deposit_for(2, year, true),
            1_300 * MILLI_ASY + MANIFEST_DEPOSIT + (2 * (2_190 + 2) + 2) * BOUNTY
        );
    });
}

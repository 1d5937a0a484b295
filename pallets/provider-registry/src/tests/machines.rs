use assay_primitives::{
    machine::{
        LeaseEnd::Fulfilled, Location, MAX_SLOTS, MachineInspect, MachineLease, MachineStatus, ServiceRecord,
        WORKER_KEY_CONTEXT,
    },
    market::{MachineMatching, Mismatch, Requirements},
};
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_core::Pair,
    sp_runtime::{DispatchResult, TokenError},
};

use crate::{
    ClassTerms, Error, Event, HoldReason, INITIAL_UPTIME_PPM, MachineRecord, MachineRegistration,
    MachinesByProvider, NextMachineId, Providers, WorkerKeys, mock::*,
};

/// Registers a machine of the provider after `change` spoiled its registration.
fn register_spoiled(change: impl FnOnce(&mut MachineRegistration<AccountId>)) -> DispatchResult {
    let mut spoiled = registration(1);
    change(&mut spoiled);
    register(PROVIDER, 1, spoiled)
}

#[test]
fn worker_key_message_is_context_genesis_and_provider() {
    ExtBuilder::default().build_and_execute(|| {
        let mut message = WORKER_KEY_CONTEXT.to_vec();
        message.extend_from_slice(System::block_hash(0).as_ref());
        message.extend_from_slice(&[1; 32]);
        assert_eq!(ProviderRegistry::worker_key_message(&PROVIDER), message);
    });
}

#[test]
fn register_machine_works() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        assert_ok!(register(PROVIDER, 1, registration(1)));

        let expected = registration(1);
        assert_eq!(
            record(0),
            MachineRecord {
                provider: PROVIDER,
                worker_key: expected.worker_key,
                sealing_key: expected.sealing_key,
                class: H100,
                terms: ClassTerms {
                    compute_score: 989,
                    stake_per_slot: 999 * assay_primitives::money::ASY
                },
                slots: SLOTS,
                free_slots: SLOTS,
                cpu_cores: expected.cpu_cores,
                ram_mib: expected.ram_mib,
                disk_gib: expected.disk_gib,
                upload_mbps: expected.upload_mbps,
                download_mbps: expected.download_mbps,
                location: expected.location,
                region: expected.region,
                endpoint: expected.endpoint,
                ask: ASK,
                raise: None,
                uptime_ppm: INITIAL_UPTIME_PPM,
                service: ServiceRecord::default(),
                status: MachineStatus::Unproven,
                last_duty_epoch: None,
                registered_at_ms: NOW_MS,
                deposit: MACHINE_DEPOSIT,
            }
        );
        assert_eq!(WorkerKeys::<Test>::get(worker(1)), Some(0));
        assert_eq!(ProviderRegistry::machine_of_worker(&worker(1)), Some(0));
        assert_eq!(ProviderRegistry::provider_of(0), Some(PROVIDER));
        assert!(MachinesByProvider::<Test>::contains_key(PROVIDER, 0));
        assert_eq!(Providers::<Test>::get(PROVIDER).unwrap().machines, 1);
        assert_eq!(held(HoldReason::MachineDeposit, &PROVIDER), MACHINE_DEPOSIT);
        assert_eq!(
            take_events(),
            [Event::MachineRegistered {
                machine: 0,
                provider: PROVIDER,
                class: H100,
                slots: SLOTS
            }]
        );
        // It weighs nothing, and the emission need not know of it.
        assert_eq!(WeightsHeard::get(), []);
    });
}

#[test]
fn register_machine_never_gives_an_identifier_twice() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        assert_eq!(unproven_machine(PROVIDER, 1), 0);
        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), 0));
        // The same key may serve again, as another machine.
        assert_eq!(unproven_machine(PROVIDER, 1), 1);
        assert_eq!(unproven_machine(OTHER_PROVIDER, 2), 2);
        assert_eq!(NextMachineId::<Test>::get(), 3);
    });
}

#[test]
fn register_machine_fails_when_signer_is_no_provider() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(
            register(PROVIDER, 1, registration(1)),
            Error::<Test>::NoSuchProvider
        );
    });
}

#[test]
fn register_machine_fails_when_a_field_is_bad() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        assert_noop!(register_spoiled(|it| it.class = 999), Error::<Test>::NoSuchClass);
        assert_noop!(register_spoiled(|it| it.slots = 0), Error::<Test>::BadSlots);
        assert_noop!(
            register_spoiled(|it| it.slots = MAX_SLOTS + 1),
            Error::<Test>::BadSlots
        );
        assert_noop!(
            register_spoiled(|it| it.location = Location {
                latitude_microdegrees: 90_000_001,
                longitude_microdegrees: 0
            }),
            Error::<Test>::NotOnEarth
        );
        assert_noop!(register_spoiled(|it| it.ask = 0), Error::<Test>::AskIsZero);
        for region in [&b""[..], b"US-EAST", b"us east", b"us_east"] {
            assert_noop!(
                register_spoiled(|it| it.region = region.to_vec().try_into().unwrap()),
                Error::<Test>::BadRegion
            );
        }
        for endpoint in [
            &b""[..],
            b"http://",
            b"ftp://example.org",
            b"HTTP://example.org",
            b"http://example.org/a b",
            b"http://ex\xc3\xa4mple.org",
            b"http://example.org\n",
        ] {
            assert_noop!(
                register_spoiled(|it| it.endpoint = endpoint.to_vec().try_into().unwrap()),
                Error::<Test>::BadEndpoint
            );
        }
    });
}

#[test]
fn register_machine_works_with_extreme_fields() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        assert_ok!(register_spoiled(|it| {
            it.slots = MAX_SLOTS;
            it.location = Location {
                latitude_microdegrees: -90_000_000,
                longitude_microdegrees: 180_000_000,
            };
            it.region = b"0123456789-abxyz".to_vec().try_into().unwrap();
            it.endpoint = b"https://x".to_vec().try_into().unwrap();
            it.ask = u128::MAX;
        }));
    });
}

#[test]
fn register_machine_fails_when_worker_key_serves_already() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        unproven_machine(PROVIDER, 1);
        assert_noop!(
            register(PROVIDER, 1, registration(1)),
            Error::<Test>::WorkerKeyInUse
        );
        assert_noop!(
            register(OTHER_PROVIDER, 1, registration(1)),
            Error::<Test>::WorkerKeyInUse
        );
    });
}

#[test]
fn register_machine_fails_when_worker_did_not_agree() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let refused = |signature| {
            assert_noop!(
                ProviderRegistry::register_machine(
                    RuntimeOrigin::signed(PROVIDER),
                    registration(1),
                    signature
                ),
                Error::<Test>::BadWorkerSignature
            );
        };
        // It agreed to serve somebody else.
        refused(agreement(1, &OTHER_PROVIDER));
        // Another key agreed.
        refused(agreement(2, &PROVIDER));
        // It agreed on another chain.
        let elsewhere = [WORKER_KEY_CONTEXT, &[0xAB; 32], &[1; 32]].concat();
        refused(worker_pair(1).sign(&elsewhere));
        // It signed something else.
        refused(worker_pair(1).sign(b"anything"));
    });
}

#[test]
fn register_machine_fails_when_deposit_is_not_there() {
    ExtBuilder::default().build_and_execute(|| {
        use polkadot_sdk::frame_support::traits::fungible::Mutate;

        let just_a_provider = PROVIDER_DEPOSIT + MACHINE_DEPOSIT;
        Balances::set_balance(&PAUPER, just_a_provider);
        assert_ok!(register_provider(PAUPER));
        assert_noop!(register(PAUPER, 1, registration(1)), TokenError::FundsUnavailable);
    });
}

fn update_ask(machine: u64, ask: u128) {
    assert_ok!(ProviderRegistry::update_ask(
        RuntimeOrigin::signed(PROVIDER),
        machine,
        ask
    ));
}

/// Returns the ask at which a slot of the machine is leased now.
fn leased_at(machine: u64) -> u128 {
    let terms = ProviderRegistry::lease(machine, 1).unwrap();
    assert_ok!(ProviderRegistry::release(machine, 1, Fulfilled));
    terms.price_per_slot_hour
}

#[test]
fn update_ask_cuts_at_once() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        update_ask(machine, ASK - 1);

        assert_eq!((record(machine).ask, record(machine).raise), (ASK - 1, None));
        assert_eq!(
            take_events(),
            [Event::AskUpdated {
                machine,
                ask: ASK - 1,
                from_ms: NOW_MS
            }]
        );
        assert_eq!(leased_at(machine), ASK - 1);
        // The same again is no raise.
        update_ask(machine, ASK - 1);
        assert_eq!(record(machine).raise, None);
    });
}

#[test]
fn update_ask_raises_later() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        update_ask(machine, 2 * ASK);
        let from_ms = NOW_MS + ASK_RAISE_DELAY_MS;
        assert_eq!(
            take_events(),
            [Event::AskUpdated {
                machine,
                ask: 2 * ASK,
                from_ms
            }]
        );
        // An order that was sent before is filled at the price that its consumer saw, whichever comes first
        // in a block.
        let dearest = Requirements {
            max_price_per_slot_hour: Some(ASK),
            ..Requirements::default()
        };
        let view = || ProviderRegistry::machine_view(machine).unwrap();
        MockClock::set_now_ms(from_ms - 1);
        assert!(ProviderRegistry::meets(&dearest, machine));
        assert_eq!(leased_at(machine), ASK);
        assert_eq!(ProviderRegistry::extension_ask(machine), Some(ASK));
        assert_eq!(view().price_per_slot_hour, ASK);
        assert_eq!(view().next_price_per_slot_hour, Some(2 * ASK));
        assert_eq!(view().next_price_from_ms, Some(from_ms));

        MockClock::set_now_ms(from_ms);
        assert_eq!(
            ProviderRegistry::explain(&dearest, machine),
            Ok(Some(vec![Mismatch::MaxPricePerSlotHour { found: 2 * ASK }]))
        );
        assert_eq!(leased_at(machine), 2 * ASK);
        assert_eq!(ProviderRegistry::extension_ask(machine), Some(2 * ASK));
        assert_eq!(view().price_per_slot_hour, 2 * ASK);
        assert_eq!(
            (view().next_price_per_slot_hour, view().next_price_from_ms),
            (None, None)
        );
    });
}

#[test]
fn update_ask_replaces_a_raise_that_does_not_hold_yet() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        update_ask(machine, 3 * ASK);
        // Whatever was announced, the next raise waits as long.
        MockClock::set_now_ms(NOW_MS + ASK_RAISE_DELAY_MS - 1);
        update_ask(machine, 2 * ASK);
        MockClock::set_now_ms(NOW_MS + ASK_RAISE_DELAY_MS);
        assert_eq!(leased_at(machine), ASK);
        MockClock::set_now_ms(NOW_MS + 2 * ASK_RAISE_DELAY_MS - 1);
        assert_eq!(leased_at(machine), 2 * ASK);
        // A cut is one of what holds by now, and forgets what was announced.
        update_ask(machine, 4 * ASK);
        update_ask(machine, 2 * ASK);
        MockClock::set_now_ms(NOW_MS + 9 * ASK_RAISE_DELAY_MS);
        assert_eq!(leased_at(machine), 2 * ASK);
        assert_eq!(record(machine).raise, None);
    });
}

#[test]
fn offers_are_in_the_order_of_announced_asks() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        let rival = active_machine(OTHER_PROVIDER, 2);
        let found = |price: u128| -> Vec<u64> {
            let wanted = Requirements {
                max_price_per_slot_hour: Some(price),
                ..Requirements::default()
            };
            let page = ProviderRegistry::find_machines(&wanted, 100, None).unwrap();
            page.offers.into_iter().map(|offer| offer.machine).collect()
        };
        assert_eq!(found(ASK), [machine, rival]);
        update_ask(machine, 2 * ASK);
        // It takes its later place at once, and is offered at its price still.
        assert_eq!(found(ASK), [rival, machine]);
        assert_eq!(found(2 * ASK), [rival, machine]);
        // Nobody has to touch the machine when the raise comes to hold.
        MockClock::set_now_ms(NOW_MS + ASK_RAISE_DELAY_MS);
        assert_eq!(found(ASK), [rival]);
        assert_eq!(found(2 * ASK), [rival, machine]);
        ProviderRegistry::do_try_state().unwrap();
        update_ask(machine, ASK - 1);
        assert_eq!(found(ASK), [machine, rival]);
    });
}

#[test]
fn update_ask_fails_when_not_allowed() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        let update =
            |who, machine, ask| ProviderRegistry::update_ask(RuntimeOrigin::signed(who), machine, ask);
        assert_noop!(update(PROVIDER, machine, 0), Error::<Test>::AskIsZero);
        assert_noop!(update(PROVIDER, 99, 7), Error::<Test>::NoSuchMachine);
        assert_noop!(update(OTHER_PROVIDER, machine, 7), Error::<Test>::NotProvider);
        assert_noop!(update(worker(1), machine, 7), Error::<Test>::NotProvider);
        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), machine));
        assert_noop!(update(PROVIDER, machine, 7), Error::<Test>::MachineRetired);
    });
}

#[test]
fn update_endpoint_works() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(ProviderRegistry::update_endpoint(
            RuntimeOrigin::signed(PROVIDER),
            machine,
            b"https://example.org/worker".to_vec().try_into().unwrap()
        ));

        assert_eq!(record(machine).endpoint.as_slice(), b"https://example.org/worker");
        assert_eq!(take_events(), [Event::EndpointUpdated { machine }]);
    });
}

#[test]
fn update_endpoint_fails_when_not_allowed() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        let update = |who, machine, endpoint: &[u8]| {
            let endpoint = endpoint.to_vec().try_into().unwrap();
            ProviderRegistry::update_endpoint(RuntimeOrigin::signed(who), machine, endpoint)
        };
        assert_noop!(
            update(PROVIDER, machine, b"example.org"),
            Error::<Test>::BadEndpoint
        );
        assert_noop!(update(PROVIDER, 99, b"http://x"), Error::<Test>::NoSuchMachine);
        assert_noop!(
            update(worker(1), machine, b"http://x"),
            Error::<Test>::NotProvider
        );
        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), machine));
        assert_noop!(
            update(PROVIDER, machine, b"http://x"),
            Error::<Test>::MachineRetired
        );
    });
}

/// Rotates a machine's keys to those of a worker, with its agreement to serve `signed_for`.
fn rotate(who: AccountId, machine: u64, worker_number: u8, signed_for: &AccountId) -> DispatchResult {
    ProviderRegistry::rotate_keys(
        RuntimeOrigin::signed(who),
        machine,
        worker(worker_number),
        [worker_number; 32],
        agreement(worker_number, signed_for),
    )
}

#[test]
fn rotate_keys_works() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_ok!(ProviderRegistry::lease(machine, 1));
        let before = record(machine);
        take_events();
        assert_ok!(rotate(PROVIDER, machine, 2, &PROVIDER));

        // Nothing but the keys changed: the job goes on, and what is owed stays with the machine.
        assert_eq!(
            record(machine),
            MachineRecord {
                worker_key: worker(2),
                sealing_key: [2; 32],
                ..before
            }
        );
        assert_eq!(ProviderRegistry::machine_of_worker(&worker(1)), None);
        assert_eq!(ProviderRegistry::machine_of_worker(&worker(2)), Some(machine));
        assert_eq!(
            take_events(),
            [Event::KeysRotated {
                machine,
                worker_key: worker(2),
                sealing_key: [2; 32]
            }]
        );
        // The sealing key alone, and then the freed key for another machine.
        assert_ok!(ProviderRegistry::rotate_keys(
            RuntimeOrigin::signed(PROVIDER),
            machine,
            worker(2),
            [9; 32],
            agreement(2, &PROVIDER)
        ));
        assert_eq!(record(machine).sealing_key, [9; 32]);
        unproven_machine(OTHER_PROVIDER, 1);
    });
}

#[test]
fn rotate_keys_fails_when_not_allowed() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        unproven_machine(OTHER_PROVIDER, 2);
        assert_noop!(rotate(PROVIDER, 99, 3, &PROVIDER), Error::<Test>::NoSuchMachine);
        assert_noop!(
            rotate(OTHER_PROVIDER, machine, 3, &OTHER_PROVIDER),
            Error::<Test>::NotProvider
        );
        // A leaked worker key must not lock its provider out.
        assert_noop!(
            rotate(worker(1), machine, 3, &PROVIDER),
            Error::<Test>::NotProvider
        );
        assert_noop!(
            rotate(PROVIDER, machine, 2, &PROVIDER),
            Error::<Test>::WorkerKeyInUse
        );
        assert_noop!(
            rotate(PROVIDER, machine, 3, &OTHER_PROVIDER),
            Error::<Test>::BadWorkerSignature
        );
        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), machine));
        assert_noop!(
            rotate(PROVIDER, machine, 3, &PROVIDER),
            Error::<Test>::MachineRetired
        );
    });
}

//! Availability on the real runtime: validators watch, report and are paid; machines are paid for their
//! uptime.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::{
    availability::{AvailabilityId, AvailabilitySignature, report_message},
    clock::{ActiveClock, EpochIndex},
    emission::EpochUptime,
    machine::{LeaseEnd, MachineId, MachineLease, MachineStatus, OnProofChange},
    money::{ASY, Balance},
};
use assay_runtime::{
    Availability, ChainClock, Executive, ProviderRegistry, Runtime, RuntimeEvent, System, UncheckedExtrinsic,
    availability::{assignments, report_transaction},
    configs::market::{AvailabilityPot, VALIDATORS_PER_MACHINE},
};
use common::*;
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_keyring::Sr25519Keyring::{self, Alice, AliceStash, Bob, BobStash, Charlie, CharlieStash, Dave, Eve},
    sp_runtime::{
        traits::Dispatchable,
        transaction_validity::{InvalidTransaction, TransactionSource, UnknownTransaction},
    },
};

/// Returns a validator's key for reports: the presets use its key for making blocks.
fn key(validator: Sr25519Keyring) -> AvailabilityId {
    validator.public().into()
}

/// Returns the transaction by which a validator reports failures of these machines and no others.
fn report_of(validator: Sr25519Keyring, epoch: EpochIndex, failures: &[MachineId]) -> UncheckedExtrinsic {
    let validator_index = Availability::validator_index(epoch, &key(validator)).unwrap();
    let genesis_hash = System::block_hash(0);
    let message = report_message(genesis_hash.as_ref(), epoch, validator_index, None, failures);
    let signature: AvailabilitySignature = validator.sign(&message).into();
    report_transaction(epoch, validator_index, None, failures.to_vec(), signature).unwrap()
}

/// Applies the validator's report of the latest ended epoch in the current block.
fn report(validator: Sr25519Keyring, failures: &[MachineId]) {
    let epoch = ChainClock::current_epoch() - 1;
    assert_ok!(
        Executive::apply_extrinsic(report_of(validator, epoch, failures)).expect("the report is valid")
    );
}

/// Makes the chain treat the machine's proof as too old.
fn forget_proof(machine: MachineId) {
    let expiries: Vec<_> = pallet_hardware_challenge::Expiries::<Runtime>::iter_keys()
        .filter(|(_, expiring)| *expiring == machine)
        .collect();
    for (epoch, machine) in expiries {
        pallet_hardware_challenge::Expiries::<Runtime>::remove(epoch, machine);
    }
    pallet_hardware_challenge::Proofs::<Runtime>::remove(machine);
    ProviderRegistry::on_proof_change(machine);
}

/// Pays the machine everything that is due; returns its provider's gain.
fn payout(machine: MachineId, provider: Sr25519Keyring) -> Balance {
    let before = wealth(&account(provider));
    let call = pallet_reward_emission::Call::payout {
        machine,
        max_epochs: 32,
    };
    assert_ok!(call_as(&account(Eve), call));
    wealth(&account(provider)) - before
}

fn pool(epoch: EpochIndex) -> Balance {
    pallet_reward_emission::EpochRecords::<Runtime>::get(epoch).pool
}

fn owed(stash: Sr25519Keyring) -> Balance {
    pallet_availability::Rewards::<Runtime>::get(account(stash))
}

#[test]
fn a_lone_validator_watches_every_machine_and_is_paid_for_it() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let watched = ChainClock::current_epoch() + 1;
        chain.until_epoch(watched);

        // The validator reads which machines to watch, and where.
        let page = assignments(&key(Alice), 0, 100).unwrap();
        assert_eq!((page.epoch, page.validator_index, page.next), (watched, 0, None));
        assert_eq!(page.machines.len(), 1);
        assert_eq!(page.machines[0].machine, machine);
        assert_eq!(page.machines[0].endpoint.as_slice(), b"http://127.0.0.1:4001");
        assert_eq!(page.machines[0].worker_key, account(Dave));
        assert_eq!(assignments(&key(Bob), 0, 100), None, "Bob validates nothing here");

        // It reports, without a fee.
        chain.until_epoch(watched + 1);
        let due = Availability::report_due(&key(Alice)).unwrap();
        assert_eq!((due.epoch, due.validator_index), (watched, 0));
        let before = wealth(&account(AliceStash)) + wealth(&account(Alice));
        report(Alice, &[]);
        assert_eq!(wealth(&account(AliceStash)) + wealth(&account(Alice)), before);
        assert_eq!(Availability::report_due(&key(Alice)), None);

        // The pot pays after the epoch was closed.
        chain.until_epoch(watched + 2);
        assert_eq!(owed(AliceStash), ASY);
        let (stash, pot, issuance) = (
            wealth(&account(AliceStash)),
            wealth(&AvailabilityPot::get()),
            issuance(),
        );
        let claim = || pallet_availability::Call::claim {
            validator: account(AliceStash),
        };
        assert_ok!(call_as(&account(Eve), claim()));
        assert_eq!(wealth(&account(AliceStash)) - stash, ASY);
        assert_eq!(pot - wealth(&AvailabilityPot::get()), ASY);
        assert_eq!(common::issuance(), issuance);
        assert_noop!(
            call_as(&account(Eve), claim()),
            pallet_availability::Error::<Runtime>::NothingToClaim
        );
    });
}

#[test]
fn an_epoch_in_which_a_machine_is_down_is_not_rewarded() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let first = ChainClock::current_epoch() + 1;
        chain.until_epoch(first + 1);
        report(Alice, &[]);
        chain.until_epoch(first + 2);
        report(Alice, &[machine]);
        chain.until_epoch(first + 3);
        report(Alice, &[]);
        let issuance_before = issuance();
        // The third epoch is not closed yet, and the second one forfeits its pool.
        assert_eq!(payout(machine, Bob), pool(first));
        chain.until_epoch(first + 4);
        assert_eq!(payout(machine, Bob), pool(first + 2));
        assert_eq!(issuance() - issuance_before, pool(first) + pool(first + 2));
        assert_eq!(
            pallet_reward_emission::EpochRecords::<Runtime>::get(first + 1).minted,
            0
        );
    });
}

#[test]
fn a_payout_waits_for_the_reports() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let first = ChainClock::current_epoch() + 1;
        chain.until_epoch(first + 1);
        assert!(!Availability::is_closed(first));
        assert_noop!(
            call_as(
                &account(Bob),
                pallet_reward_emission::Call::payout {
                    machine,
                    max_epochs: 32
                }
            ),
            pallet_reward_emission::Error::<Runtime>::NothingToPay
        );
        chain.until_epoch(first + 2);
        assert!(Availability::is_closed(first));
        // No validator reported, which is not the provider's fault.
        assert_eq!(payout(machine, Bob), pool(first));
    });
}

#[test]
fn of_three_validators_the_liar_decides_nothing_and_earns_nothing() {
    with_chain("local", |chain| {
        let honest = active_machine(Dave, Eve, 1);
        let watched = ChainClock::current_epoch() + 1;
        chain.until_epoch(watched);
        // All three watch the machine.
        for validator in [Alice, Bob, Charlie] {
            let page = assignments(&key(validator), 0, 100).unwrap();
            assert_eq!(page.machines[0].machine, honest);
        }
        chain.until_epoch(watched + 1);
        report(Alice, &[]);
        report(Charlie, &[honest]);
        report(Bob, &[]);
        chain.until_epoch(watched + 2);

        assert_eq!(payout(honest, Dave), pool(watched));
        assert_eq!(
            [AliceStash, BobStash, CharlieStash].map(owed),
            [ASY, ASY, 0],
            "the liar earns nothing"
        );
        let liar = account(CharlieStash);
        assert_eq!(
            pallet_availability::EpochRecords::<Runtime>::get(watched)
                .unwrap()
                .against_majority
                .count(),
            1
        );
        assert!(happened(|event| matches!(
            event,
            RuntimeEvent::Availability(pallet_availability::Event::ReportAgainstMajority { epoch, validator })
                if *epoch == watched && *validator == liar
        )));
    });
}

#[test]
fn of_three_validators_two_suffice_to_see_a_machine_down() {
    with_chain("local", |chain| {
        let machine = active_machine(Dave, Eve, 1);
        let watched = ChainClock::current_epoch() + 1;
        chain.until_epoch(watched + 1);
        report(Alice, &[machine]);
        report(Bob, &[machine]);
        // Charlie reports no failure of the machine.
        report(Charlie, &[]);
        chain.until_epoch(watched + 2);
        assert_eq!(payout(machine, Dave), 0);
        assert_eq!([AliceStash, BobStash, CharlieStash].map(owed), [ASY, ASY, 0]);
    });
}

#[test]
fn of_two_reporters_one_decides_nothing() {
    with_chain("local", |chain| {
        let machine = active_machine(Dave, Eve, 1);
        let watched = ChainClock::current_epoch() + 1;
        chain.until_epoch(watched + 1);
        report(Alice, &[machine]);
        report(Bob, &[]);
        chain.until_epoch(watched + 2);
        // One of three validators decides nothing either, when the others do not report.
        report(Alice, &[]);
        chain.until_epoch(watched + 3);
        report(Charlie, &[machine]);
        chain.until_epoch(watched + 4);
        assert_eq!(
            payout(machine, Dave),
            pool(watched) + pool(watched + 1) + pool(watched + 2)
        );
    });
}

#[test]
fn a_machine_does_not_undo_by_retiring_that_it_was_down() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let watched = ChainClock::current_epoch() + 1;
        chain.until_epoch(watched + 1);
        let retire = pallet_provider_registry::Call::retire { machine };
        assert_ok!(call_as(&account(Bob), retire));
        report(Alice, &[machine]);
        chain.until_epoch(watched + 2);
        assert_eq!(Availability::uptime(machine, watched), Some(0));
        assert_eq!(payout(machine, Bob), 0);
    });
}

#[test]
fn a_lease_that_outlives_the_proof_is_watched_and_judged() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 2);
        assert_ok!(ProviderRegistry::lease(machine, 1));
        forget_proof(machine);
        assert_eq!(status(machine), Some(MachineStatus::Unproven));

        let watched = ChainClock::current_epoch() + 1;
        chain.until_epoch(watched);
        let page = assignments(&key(Alice), 0, 100).unwrap();
        assert_eq!(page.machines.len(), 1, "it is leased");
        chain.until_epoch(watched + 1);
        report(Alice, &[machine]);
        // The lease ends before the epoch is closed, which changes nothing.
        assert_ok!(ProviderRegistry::release(machine, 1, LeaseEnd::Fulfilled));
        chain.until_epoch(watched + 2);
        assert_eq!(Availability::uptime_ppm(machine, watched), 0);
    });
}

#[test]
fn a_failure_costs_the_average_as_much_as_an_epoch_down() {
    with_chain("development", |_| {
        let machine = active_machine(Bob, Dave, 1);
        Availability::count_failure(machine);
        let record = pallet_provider_registry::Machines::<Runtime>::get(machine).unwrap();
        // One part in 168 less than 950,000, with a memory of a week.
        assert_eq!(record.uptime_ppm, 944_345);
    });
}

/// Returns the verdicts, in a million, that so many colluding validators of a network decide alone, with the
/// runtime's number of validators to a machine.
fn verdicts_of(colluding: u128, validators: u128) -> u128 {
    let choose = |from: u128, taken: u128| {
        (0..taken).fold(1, |ways, number| {
            ways * from.saturating_sub(number) / (number + 1)
        })
    };
    let watching = u128::from(VALIDATORS_PER_MACHINE);
    let ways: u128 = (watching / 2 + 1..=watching)
        .map(|together| choose(colluding, together) * choose(validators - colluding, watching - together))
        .sum();
    ways * 1_000_000 / choose(validators, watching)
}

#[test]
fn verdicts_are_as_hard_to_buy_as_the_table_says() {
    // A tenth, a fifth, a third and a half of two hundred validators: the verdicts that they can decide
    // against the others.
    assert_eq!(
        [20, 40, 66, 99].map(|colluding| verdicts_of(colluding, 200)),
        [7_592, 55_588, 202_425, 490_530]
    );
    // Two of five decide nothing; three of five decide everything.
    assert_eq!([2, 3].map(|colluding| verdicts_of(colluding, 5)), [0, 1_000_000]);
}

#[test]
fn the_pool_takes_a_report_once() {
    with_chain("local", |chain| {
        let watched = ChainClock::current_epoch() + 1;
        chain.until_epoch(watched + 1);
        let validate = |transaction: UncheckedExtrinsic| {
            Executive::validate_transaction(TransactionSource::External, transaction, System::parent_hash())
        };
        let transaction = report_of(Alice, watched, &[]);
        let valid = validate(transaction.clone()).unwrap();
        assert_eq!(valid.provides.len(), 1);
        assert_eq!(
            validate(report_of(Alice, watched, &[])).unwrap().provides,
            valid.provides
        );
        assert_ne!(
            validate(report_of(Bob, watched, &[])).unwrap().provides,
            valid.provides
        );

        assert_ok!(Executive::apply_extrinsic(transaction.clone()).unwrap());
        assert_eq!(
            validate(transaction.clone()),
            Err(InvalidTransaction::Custom(pallet_availability::ALREADY_REPORTED).into())
        );
        assert_eq!(
            Executive::apply_extrinsic(transaction),
            Err(InvalidTransaction::Custom(pallet_availability::ALREADY_REPORTED).into())
        );
    });
}

#[test]
fn a_report_is_neither_signed_nor_sent_by_anybody_else() {
    with_chain("development", |chain| {
        let watched = ChainClock::current_epoch() + 1;
        chain.until_epoch(watched + 1);
        let call = report_of(Alice, watched, &[]).function;
        // Governance is refused too, and so is the validator's own account.
        for who in [Alice, AliceStash] {
            assert_eq!(
                call_as(&account(who), call.clone()),
                Err(polkadot_sdk::sp_runtime::DispatchError::BadOrigin)
            );
        }
        assert_eq!(
            call.dispatch(assay_runtime::RuntimeOrigin::root())
                .unwrap_err()
                .error,
            polkadot_sdk::sp_runtime::DispatchError::BadOrigin
        );
        // Without an extension to authorize it no pool accepts it, and an author who includes it in a block
        // gains nothing.
        let bare = UncheckedExtrinsic::new_bare(report_of(Alice, watched, &[]).function);
        assert_eq!(
            Executive::validate_transaction(TransactionSource::External, bare.clone(), System::parent_hash()),
            Err(UnknownTransaction::NoUnsignedValidator.into())
        );
        assert_eq!(
            Executive::apply_extrinsic(bare),
            Ok(Err(polkadot_sdk::sp_runtime::DispatchError::BadOrigin))
        );
        assert!(Availability::report_due(&key(Alice)).is_some());
    });
}

#[test]
fn the_registry_hears_how_reliable_a_machine_is() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let uptime = |machine| {
            pallet_provider_registry::Machines::<Runtime>::get(machine)
                .unwrap()
                .uptime_ppm
        };
        let update = || {
            call_as(
                &account(Eve),
                pallet_availability::Call::update_uptime {
                    machine,
                    max_epochs: 32,
                },
            )
        };
        assert_ok!(update());
        let first = ChainClock::current_epoch() + 1;
        chain.until_epoch(first + 1);
        report(Alice, &[machine]);
        chain.until_epoch(first + 2);
        report(Alice, &[]);
        assert_eq!(uptime(machine), 950_000);
        assert_ok!(update());
        // A memory of a week: one part in 168 of it was down.
        assert_eq!(uptime(machine), 944_345);
        assert_noop!(update(), pallet_availability::Error::<Runtime>::NothingToCount);
        chain.until_epoch(first + 3);
        // A payout of the machine's rewards also updates its average.
        payout(machine, Bob);
        assert_eq!(uptime(machine), 944_677);
        assert_noop!(update(), pallet_availability::Error::<Runtime>::NothingToCount);
    });
}

#[test]
fn a_provider_does_not_shed_its_past_by_asking_late() {
    with_chain("development", |chain| {
        let machine = active_machine(Bob, Dave, 1);
        let first = ChainClock::current_epoch() + 1;
        chain.until_epoch(first + 1);
        report(Alice, &[machine]);
        chain.until_epoch(first + 3);
        // Its average is updated only when its provider claims its rewards.
        assert_eq!(payout(machine, Bob), pool(first + 1));
        let update = pallet_availability::Call::update_uptime {
            machine,
            max_epochs: 32,
        };
        assert_ok!(call_as(&account(Eve), update));
        let record = pallet_provider_registry::Machines::<Runtime>::get(machine).unwrap();
        // One epoch down, then one up.
        assert_eq!(record.uptime_ppm, 944_677);
    });
}

#[test]
fn an_average_leaves_with_its_machine() {
    with_chain("development", |chain| {
        set_parameter(staking_parameter!(UnbondingEpochs, 2));
        let machine = active_machine(Bob, Dave, 1);
        let bonded = minimum_bond(machine);
        assert_ok!(call_as(
            &account(Eve),
            pallet_availability::Call::update_uptime {
                machine,
                max_epochs: 1
            }
        ));
        assert!(pallet_availability::Uptimes::<Runtime>::contains_key(machine));
        for call in [
            assay_runtime::RuntimeCall::from(pallet_provider_registry::Call::retire { machine }),
            pallet_provider_staking::Call::unbond {
                machine,
                amount: bonded,
            }
            .into(),
        ] {
            assert_ok!(call_as(&account(Bob), call));
        }
        chain.until_epoch(ChainClock::current_epoch() + 2);
        assert_ok!(call_as(
            &account(Eve),
            pallet_provider_staking::Call::withdraw { machine }
        ));
        assert!(pallet_provider_registry::Machines::<Runtime>::get(machine).is_none());
        assert!(!pallet_availability::Uptimes::<Runtime>::contains_key(machine));
    });
}

#[test]
fn assignments_come_in_pages() {
    with_chain("development", |chain| {
        let workers = [
            Sr25519Keyring::One,
            Sr25519Keyring::Two,
            Dave,
            Eve,
            Sr25519Keyring::Ferdie,
        ];
        let machines = workers.map(|worker| active_machine(Bob, worker, 1));
        // One of them has left the market, and one was never bonded.
        assert_ok!(call_as(
            &account(Bob),
            pallet_provider_registry::Call::retire { machine: machines[1] }
        ));
        let unproven = register_machine(Bob, Alice, registration_of(Alice, 1)).expect("the machine is new");
        // Validators watch the machine that left until its last epoch is closed.
        chain.until_epoch(ChainClock::current_epoch() + 3);

        let mut seen = Vec::new();
        let mut from = Some(0);
        let mut pages = 0;
        while let Some(start) = from {
            let page = assignments(&key(Alice), start, 2).unwrap();
            assert!(page.machines.len() <= 2);
            seen.extend(page.machines.into_iter().map(|assigned| assigned.machine));
            from = page.next;
            pages += 1;
        }
        assert_eq!(seen, [machines[0], machines[2], machines[3], machines[4]]);
        assert_eq!(pages, (unproven + 1).div_ceil(2));
        // For any limit, a page makes progress and ends.
        assert_eq!(assignments(&key(Alice), 0, 0).unwrap().next, Some(1));
        assert_eq!(assignments(&key(Alice), 0, u32::MAX).unwrap().next, None);
        assert_eq!(assignments(&key(Alice), MachineId::MAX, 10).unwrap().machines, []);
    });
}

#[test]
fn availability_follows_the_sessions() {
    with_chain("local", |chain| {
        // Far beyond a session and an election: new sets of validators are kept, and unused ones are removed.
        for _ in 0..30 {
            let epoch = ChainClock::current_epoch();
            chain.until_epoch(epoch + 1);
            if epoch > 0 {
                for validator in [Alice, Bob, Charlie] {
                    report(validator, &[]);
                }
            }
            chain.check_invariants();
        }
        assert_eq!(pallet_availability::ValidatorSets::<Runtime>::iter().count(), 1);
        assert!(owed(AliceStash) >= 27 * ASY);
    });
}

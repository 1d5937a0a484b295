//! The hardware challenge on the real runtime: BABE's randomness, real proofs through the transaction
//! extensions, and the effects on the bond.

#![allow(clippy::unwrap_used)]

mod common;

use assay_primitives::{
    challenge::{ChallengeDue, ChallengePhase, RoundKind, RoundRef, commit_message, prove_message},
    clock::ActiveClock,
    finality::FinalityLag,
    machine::{
        MachineId,
        MachineStatus::{Active, Suspended, Unproven},
        SuspensionReason,
    },
    money::{Balance, MILLI_ASY},
    offence::{Beneficiaries, Offence, ReportOffence},
};
use assay_proof::{
    Hash, SlotClaim, SlotProof,
    prover::{CpuProver, Prover},
};
use assay_runtime::{
    ChainClock, Executive, FinalityView, HardwareChallenge, ProviderRegistry, ProviderStaking, Runtime,
    RuntimeCall, System, UncheckedExtrinsic, hardware_classes, transactions::general_transaction,
};
use common::*;
use pallet_hardware_challenge::{LastAuditMs, NextRound, Proofs, Rounds, Schedule};
use pallet_provider_registry::Machines;
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok, traits::Get},
    pallet_babe,
    sp_core::Pair,
    sp_io,
    sp_keyring::Sr25519Keyring::{self, Bob, Charlie, Dave, Eve, Ferdie, One},
    sp_runtime::{
        DispatchError,
        transaction_validity::{TransactionSource, TransactionValidityError},
    },
};

/// Makes a block whose parent has a VRF output.
fn next_block(chain: &mut Chain) {
    let drawn = sp_io::hashing::blake2_256(&System::block_number().to_le_bytes());
    pallet_babe::AuthorVrfRandomness::<Runtime>::put(Some(drawn));
    chain.next_block();
}

/// Makes blocks until the condition holds.
fn blocks_until(chain: &mut Chain, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        next_block(chain);
    }
    panic!("it never was so");
}

/// Registers and bonds a machine without a proof.
fn bonded_machine(provider: Sr25519Keyring, worker: Sr25519Keyring, slots: u8) -> MachineId {
    let machine = active_machine(provider, worker, slots);
    // Removes the proof that the other tests assume.
    let expiry = Proofs::<Runtime>::take(machine).unwrap().steps[0].expires_at_ms;
    let epoch = expiry / ChainClock::epoch_duration_ms() + 1;
    pallet_hardware_challenge::Expiries::<Runtime>::remove(epoch as u32, machine);
    use assay_primitives::machine::OnProofChange;
    ProviderRegistry::on_proof_change(machine);
    assert_eq!(status(machine), Some(Unproven));
    machine
}

/// Sends a call as a general transaction without a signature or fee.
fn send(call: impl Into<RuntimeCall>) -> Result<(), TransactionValidityError> {
    Executive::apply_extrinsic(general_transaction(call.into()))
        .map(|result| assert!(result.is_ok(), "{result:?}"))
}

/// Returns the machine's due or possible answer in the oldest such round.
fn due(machine: MachineId) -> Option<ChallengeDue> {
    HardwareChallenge::challenge_due(machine).into_iter().next()
}

fn seed(due: &ChallengeDue, machine: MachineId, slot: u8) -> Hash {
    assay_proof::seed(&due.randomness, machine, &due.worker_key, slot)
}

/// Commits a root for each slot as the worker; `change` may corrupt the roots.
fn commit(
    worker: Sr25519Keyring,
    machine: MachineId,
    change: impl Fn(&mut Vec<Hash>),
) -> Result<(), TransactionValidityError> {
    let due = due(machine).unwrap();
    let mut prover = CpuProver::new(Default::default()).unwrap();
    let mut roots: Vec<Hash> = (0..due.slots)
        .map(|slot| {
            prover
                .commit(&due.params, &seed(&due, machine, slot), &())
                .unwrap()
                .root
        })
        .collect();
    change(&mut roots);
    let genesis_hash = System::block_hash(0);
    let subject = due.subject(machine);
    let message = commit_message(genesis_hash.as_ref(), &subject, &roots);
    send(pallet_hardware_challenge::Call::<Runtime>::commit {
        round: subject.round,
        machine,
        roots: roots.try_into().unwrap(),
        signature: worker.pair().sign(&message),
    })
}

/// Proves all slots at once as the worker.
fn prove(worker: Sr25519Keyring, machine: MachineId) -> Result<(), TransactionValidityError> {
    let due = due(machine).unwrap();
    let ChallengePhase::Prove {
        opening_randomness, ..
    } = due.phase
    else {
        panic!("there is nothing to prove: {:?}", due.phase);
    };
    let mut prover = CpuProver::new(Default::default()).unwrap();
    let proofs: Vec<SlotProof> = (0..due.slots)
        .map(|slot| {
            let seed = seed(&due, machine, slot);
            let commitment = prover.commit(&due.params, &seed, &()).unwrap();
            let claim = SlotClaim {
                params: due.params,
                seed,
                opening_randomness,
                machine_id: machine,
                slot,
                root: commitment.root,
            };
            let lanes: Vec<u32> = claim.opened_lanes().collect();
            prover.open(&commitment, &lanes, &()).unwrap()
        })
        .collect();
    let genesis_hash = System::block_hash(0);
    let subject = due.subject(machine);
    let message = prove_message(
        genesis_hash.as_ref(),
        &subject,
        &opening_randomness,
        &due.roots,
        0,
        &proofs,
    );
    send(pallet_hardware_challenge::Call::<Runtime>::prove {
        round: subject.round,
        opening_randomness,
        machine,
        first_slot: 0,
        proofs: proofs.try_into().unwrap(),
        signature: worker.pair().sign(&message),
    })
}

fn may_commit(machine: MachineId) -> bool {
    due(machine).is_some_and(|due| matches!(due.phase, ChallengePhase::Commit { .. }))
}

fn may_prove(machine: MachineId) -> bool {
    due(machine).is_some_and(|due| matches!(due.phase, ChallengePhase::Prove { .. }))
}

/// Answers the machine's first newcomer round, which makes it active.
fn prove_newcomer(chain: &mut Chain, worker: Sr25519Keyring, machine: MachineId) {
    blocks_until(chain, || may_commit(machine));
    assert_eq!(due(machine).unwrap().kind, RoundKind::Newcomers);
    assert_ok!(commit(worker, machine, |_| {}));
    blocks_until(chain, || may_prove(machine));
    assert_ok!(prove(worker, machine));
    assert_eq!(status(machine), Some(Active));
}

/// Opens an audit; returns its round.
fn audit(chain: &mut Chain) -> u32 {
    let mut schedule: Schedule = pallet_hardware_challenge::CurrentSchedule::<Runtime>::get();
    let before = schedule;
    schedule.mean_audit_interval_ms = 1;
    let set = |schedule| {
        assert_ok!(sudo(pallet_hardware_challenge::Call::<Runtime>::set_schedule {
            schedule
        }));
    };
    set(schedule);
    next_block(chain);
    set(before);
    let round = NextRound::<Runtime>::get() - 1;
    assert_eq!(Rounds::<Runtime>::get(round).unwrap().kind, RoundKind::Audit);
    assert_eq!(LastAuditMs::<Runtime>::get(), ChainClock::now_ms());
    round
}

/// Returns the sum of the machine's pending slashes.
fn pending(machine: MachineId) -> Balance {
    pallet_provider_staking::Bonds::<Runtime>::get(machine)
        .unwrap()
        .pending
}

/// Makes blocks until no proof is accepted in the round.
fn until_late(chain: &mut Chain, round: u32) {
    blocks_until(chain, || {
        Rounds::<Runtime>::get(round)
            .unwrap()
            .prove_deadline_ms()
            .is_some_and(|deadline| ChainClock::now_ms() > deadline)
    });
}

fn report(round: u32, machine: MachineId) -> Result<(), TransactionValidityError> {
    send(pallet_hardware_challenge::Call::<Runtime>::report_missed { round, machine })
}

#[test]
fn a_bonded_machine_is_active_within_half_a_minute() {
    with_chain("development", |chain| {
        let machine = bonded_machine(Bob, One, 2);
        let bonded_at_ms = ChainClock::now_ms();
        prove_newcomer(chain, One, machine);
        // The worker needs no money.
        assert_eq!(wealth(&account(One)), 0);
        let took_ms = ChainClock::now_ms() - bonded_at_ms;
        assert!(took_ms <= 36_000, "{took_ms} ms");
        let record = Machines::<Runtime>::get(machine).unwrap();
        assert_eq!(record.free_slots, 2);
        assert_eq!(HardwareChallenge::proven_slots_now(machine), 2);
        assert_eq!(
            pallet_reward_emission::PendingWeight::<Runtime>::get(),
            8,
            "it earns for its two slots, of four quarters each, from the next epoch on"
        );
    });
}

#[test]
fn an_audit_tells_the_honest_from_the_silent_and_the_wrong() {
    with_chain("development", |chain| {
        let honest = bonded_machine(Bob, Dave, 1);
        let silent = bonded_machine(Bob, Eve, 1);
        let wrong = bonded_machine(Charlie, Ferdie, 1);
        // One of four is silent: less than a third.
        let other = bonded_machine(Charlie, One, 1);
        let workers = [(Dave, honest), (Eve, silent), (Ferdie, wrong), (One, other)];
        blocks_until(chain, || workers.iter().all(|(_, machine)| may_commit(*machine)));
        for (worker, machine) in workers {
            assert_ok!(commit(worker, machine, |_| {}));
        }
        blocks_until(chain, || may_prove(honest));
        for (worker, machine) in workers {
            assert_ok!(prove(worker, machine));
            assert_eq!(status(machine), Some(Active));
        }

        let round = audit(chain);
        assert_ok!(commit(Dave, honest, |_| {}));
        assert_ok!(commit(One, other, |_| {}));
        assert_ok!(commit(Ferdie, wrong, |roots| roots[0][0] ^= 1));
        // A second attempt gets into no block.
        assert!(commit_again(honest).is_err());
        blocks_until(chain, || may_prove(honest));
        assert_ok!(prove(Dave, honest));
        assert_ok!(prove(One, other));
        assert_ok!(prove(Ferdie, wrong));
        assert_eq!(status(honest), Some(Active));
        assert_eq!(status(wrong), Some(Suspended(SuspensionReason::Offence)));
        assert_eq!(pending(wrong), minimum_bond(wrong) / 2);

        // No machine can be reported before its time.
        assert!(report(round, silent).is_err());
        until_late(chain, round);
        let page = HardwareChallenge::missed(round, 0, 100).unwrap();
        assert_eq!((page.machines, page.next), (vec![silent], None));
        assert!(report(round, honest).is_err());
        assert_ok!(report(round, silent));
        assert!(report(round, silent).is_err());
        assert_eq!(status(silent), Some(Unproven));
        // The other consequences are decided when the round is over.
        assert_eq!(pending(silent), 0);
        blocks_until(chain, || !Rounds::<Runtime>::contains_key(round));
        assert_eq!(pending(silent), minimum_bond(silent) / 100);
        assert_eq!(pending(honest), 0);

        // The slash is applied and burned in full: neither the reporter nor the provider gets any of it.
        let (providers, issued) = (wealth(&account(Bob)) + wealth(&account(Charlie)), issuance());
        let due_epoch = pallet_provider_staking::Agenda::<Runtime>::iter()
            .map(|(epoch, ..)| epoch)
            .max()
            .unwrap();
        chain.until_epoch(due_epoch);
        assert_eq!(pending(silent), 0);
        let taken = minimum_bond(silent) / 100 + minimum_bond(wrong) / 2;
        assert_eq!(
            providers - wealth(&account(Bob)) - wealth(&account(Charlie)),
            taken
        );
        assert!(issued - issuance() >= taken);
    });
}

/// States, in as many blocks as needed, the largest lag of finality.
fn stall(chain: &mut Chain) {
    let behind = assay_runtime::configs::consensus::STALL_SEEN_AFTER_BLOCKS;
    let stood_at = System::block_number();
    for _ in 0..=behind {
        next_block(chain);
        state_finalized(stood_at);
    }
}

/// Applies the inherent of a block's author.
fn state_finalized(finalized: u32) {
    let call = pallet_finality_view::Call::<Runtime>::state_finalized { finalized };
    assert_ok!(Executive::apply_extrinsic(UncheckedExtrinsic::new_bare(call.into())).unwrap());
}

#[test]
fn a_stall_of_finality_in_an_audit_charges_nobody() {
    with_chain("development", |chain| {
        let machine = bonded_machine(Bob, Dave, 1);
        prove_newcomer(chain, Dave, machine);
        let round = audit(chain);
        stall(chain);
        assert!(FinalityView::is_stalled());
        let next = NextRound::<Runtime>::get();
        until_late(chain, round);
        assert!(report(round, machine).is_err());
        assert_eq!(HardwareChallenge::missed(round, 0, 100), None);
        assert_eq!(NextRound::<Runtime>::get(), next, "no round opens meanwhile");
        blocks_until(chain, || !Rounds::<Runtime>::contains_key(round));
        assert_eq!((pending(machine), status(machine)), (0, Some(Active)));
        // Finality resumes, and so do rounds.
        for _ in 0..pallet_finality_view::WINDOW_BLOCKS {
            next_block(chain);
            state_finalized(System::block_number() - 3);
        }
        assert!(!FinalityView::is_stalled());
        blocks_until(chain, || NextRound::<Runtime>::get() > next);
    });
}

#[test]
fn nobody_but_the_author_states_what_is_final() {
    with_chain("development", |_| {
        let call = || pallet_finality_view::Call::<Runtime>::state_finalized { finalized: 0 };
        assert_eq!(call_as(&account(Bob), call()), Err(DispatchError::BadOrigin));
        // No pool accepts it: a bare extrinsic is an inherent, or its pallet validates it, and this one
        // validates none.
        assert!(
            Executive::validate_transaction(
                TransactionSource::External,
                UncheckedExtrinsic::new_bare(call().into()),
                System::block_hash(0),
            )
            .is_err()
        );
        assert!(send(call()).is_err());
    });
}

#[test]
fn a_stall_is_seen_before_its_misses_are_punished() {
    use assay_runtime::configs::consensus::{SLOT_DURATION_MS, STALL_SEEN_AFTER_BLOCKS};

    let seen_after_ms = u64::from(STALL_SEEN_AFTER_BLOCKS) * SLOT_DURATION_MS;
    // With the default schedule a stall is detected before any machine can be reported: no proof ends for it.
    assert!(seen_after_ms < Schedule::default().prove_window_ms);
    for preset in ["development", "local"] {
        with_chain(preset, |_| {
            let schedule = pallet_hardware_challenge::CurrentSchedule::<Runtime>::get();
            assert!(
                seen_after_ms < schedule.prove_window_ms + schedule.report_window_ms,
                "{preset}"
            );
        });
    }
}

#[test]
fn stake_stays_until_a_round_is_concluded() {
    use assay_runtime::parameters::dynamic::provider_staking::UnbondingEpochs;

    for preset in ["development", "local"] {
        with_chain(preset, |_| {
            let schedule = pallet_hardware_challenge::CurrentSchedule::<Runtime>::get();
            let round_ms = schedule.commit_window_ms
                + schedule.opening_delay_ms
                + schedule.prove_window_ms
                + schedule.report_window_ms;
            let unbonding_ms = u64::from(UnbondingEpochs::get()) * ChainClock::epoch_duration_ms();
            assert!(
                4 * round_ms < unbonding_ms,
                "{preset}: {round_ms} of {unbonding_ms}"
            );
        });
    }
}

/// The figures of `docs/ECONOMICS.md`, for a machine with one H100 slot.
#[test]
fn silence_and_lies_cost_what_economics_says() {
    with_chain("development", |_| {
        assert_ok!(register_provider(Bob));
        let mut registration = registration_of(Dave, 1);
        registration.class = hardware_classes::catalogue()
            .into_iter()
            .find(|class| class.name == "NVIDIA_H100")
            .unwrap()
            .class;
        let machine = register_machine(Bob, Dave, registration).unwrap();
        let bond = minimum_bond(machine);
        assert_eq!(bond, 1_483_500 * MILLI_ASY);
        let amount = bond;
        assert_ok!(call_as(
            &account(Bob),
            pallet_provider_staking::Call::bond { machine, amount }
        ));
        let cost_of = |offence| {
            let before = pending(machine);
            assert_ok!(ProviderStaking::report_offence(
                machine,
                offence,
                Beneficiaries::nobody()
            ));
            pending(machine) - before
        };
        assert_eq!(cost_of(Offence::ChallengeUnanswered), 14_835 * MILLI_ASY);
        assert_eq!(cost_of(Offence::ChallengeWrong), 741_750 * MILLI_ASY);
    });
}

/// Sends other roots for a round in which the machine's worker has committed.
fn commit_again(machine: MachineId) -> Result<(), TransactionValidityError> {
    let round = NextRound::<Runtime>::get() - 1;
    let roots = vec![[1; 32]];
    let randomness = Rounds::<Runtime>::get(round).unwrap().randomness;
    send(pallet_hardware_challenge::Call::<Runtime>::commit {
        round: RoundRef { round, randomness },
        machine,
        roots: roots.try_into().unwrap(),
        // The first commit is found before the signature is checked.
        signature: Dave.pair().sign(b""),
    })
}

#[test]
fn a_job_does_not_hide_a_slot_from_an_audit_that_is_open() {
    with_chain("development", |chain| {
        let machine = bonded_machine(Bob, Dave, 2);
        prove_newcomer(chain, Dave, machine);
        let round = audit(chain);
        deploy(Charlie, machine, pallet_job_escrow::JobKind::Service, 600_000);
        deploy(Charlie, machine, pallet_job_escrow::JobKind::Service, 600_000);
        let due = due(machine).unwrap();
        assert_eq!((due.round, due.is_owed, due.slots), (round, true, 2));
        assert_ok!(commit(Dave, machine, |_| {}));
        blocks_until(chain, || may_prove(machine));
        assert_ok!(prove(Dave, machine));
        // The next audit finds nothing free.
        audit(chain);
        assert!(!may_commit(machine));
    });
}

#[test]
fn a_machine_whose_proof_expired_earns_nothing_and_takes_no_jobs() {
    with_chain("development", |chain| {
        let machine = bonded_machine(Bob, Dave, 1);
        prove_newcomer(chain, Dave, machine);
        let expires_at_ms = Proofs::<Runtime>::get(machine).unwrap().next_expiry_ms().unwrap();
        let epoch = expires_at_ms / ChainClock::epoch_duration_ms() + 1;
        // No VRF output, so that no audit opens in between.
        pallet_babe::AuthorVrfRandomness::<Runtime>::put(None::<[u8; 32]>);
        chain.until_epoch(epoch as u32 + 1);
        assert_eq!(status(machine), Some(Unproven));
        assert_eq!(pallet_reward_emission::TotalWeight::<Runtime>::get(), 0);
        use assay_primitives::machine::MachineLease;
        assert_noop!(
            ProviderRegistry::lease(machine, 1),
            pallet_provider_registry::Error::<Runtime>::NotActive
        );
    });
}

#[test]
fn a_slot_is_verified_in_less_than_15_ms_whatever_its_class() {
    use pallet_hardware_challenge::{DOUBLE_ROUNDS_PER_UNIT, WeightInfo, weights::SubstrateWeight};

    let most = assay_runtime::configs::proofs::MAX_DOUBLE_ROUNDS;
    for challenge in assay_runtime::hardware_classes::challenges() {
        let double_rounds = challenge.params.verification_double_rounds();
        assert!(
            double_rounds <= most,
            "class {}: {double_rounds}",
            challenge.class
        );
    }
    let units = (most / DOUBLE_ROUNDS_PER_UNIT) as u32;
    let time_ps = <SubstrateWeight<Runtime> as WeightInfo>::verify_slot(units).ref_time();
    assert!(time_ps < 15_000_000_000, "{time_ps} picoseconds");
}

//! Benchmarks of the calls, of their authorization, of the verification of a slot and of the hook's units.

#![allow(clippy::unwrap_used)]

use alloc::{vec, vec::Vec};

use assay_primitives::{
    challenge::{AnswerSubject, RoundId, RoundKind, RoundRef, commit_message, prove_message},
    clock::{ActiveClock, Millis},
    finality::FinalityLag,
    machine::{Exposure, HardwareClaims, MAX_SLOTS, MachineId, MachineInspect, MachineLease},
    stake::BondInspect,
};
use assay_proof::{ChallengeParams, Hash, SlotClaim, SlotProof, lane, leaf, node, opened_lanes, seed};
use polkadot_sdk::{
    frame_benchmarking::v2::*,
    frame_support::{
        BoundedVec,
        traits::{Authorize, EnsureOrigin, Get},
        weights::WeightMeter,
    },
    frame_system::{self, RawOrigin},
    sp_core::{crypto::KeyTypeId, sr25519},
    sp_io,
    sp_runtime::transaction_validity::TransactionSource,
};

use crate::{
    Answer, Answers, Audits, AuditsDrawnUntilMs, Call, ClassVersion, ClassVersions, Classes, Commitment,
    Config, CurrentSchedule, DOUBLE_ROUNDS_PER_UNIT, DrawnOpenings, Expiries, Exposures, LastAuditMs,
    LastStalledMs, LiveAudits, MAX_CLASS_VERSIONS, MAX_LIVE_AUDITS, NextDraw, NextExpiryEpoch, NextRound,
    OldestRound, Pallet, ProofRecord, ProofStep, Proofs, Roots, RoundOutcome, RoundRecord, Rounds, Schedule,
    Tally, WeightInfo, rounds::DrawInputs,
};

/// Type of the worker keys that benchmarks make in the keystore.
const WORKER_KEY_TYPE: KeyTypeId = KeyTypeId(*b"work");

/// The audit that benchmarks answer: the oldest of as many as can be.
const ROUND: RoundId = 7;

/// The same audit, with its randomness.
const ROUND_REF: RoundRef = RoundRef {
    round: ROUND,
    randomness: [1; 32],
};

/// When that audit opened.
const OPENED_MS: Millis = 1_000_000;

/// Lanes that are the cheapest to verify, in so large a proof that it is hardly allowed.
const PARAMS: ChallengeParams = ChallengeParams {
    items: 1 << 10,
    fill_double_rounds: 4,
    lanes_log2: 8,
    steps: 1,
    openings: 15,
    deadline_ms: 1_000,
};

/// Time between two expiries of a machine's proofs, in milliseconds.
const PROOF_STEP_MS: Millis = 100_000;

/// Openings that were drawn for the round.
const OPENINGS: DrawnOpenings = DrawnOpenings {
    randomness: [2; 32],
    drawn_at_ms: OPENED_MS + 3_000,
};

/// Moves the clock to so long after the audit opened.
fn set_time<T: Config>(after_ms: Millis) {
    T::Clock::benchmark_set_now_ms(OPENED_MS.saturating_add(after_ms));
}

fn audit_record(openings: Option<DrawnOpenings>) -> RoundRecord {
    RoundRecord {
        kind: RoundKind::Audit,
        randomness: ROUND_REF.randomness,
        opened_at_ms: OPENED_MS,
        commits_until_ms: OPENED_MS + 1_000,
        draws_after_ms: OPENED_MS + 2_000,
        prove_window_ms: 10_000,
        report_window_ms: 10_000,
        openings,
        // Fewer than a third were silent.
        tally: Tally {
            answered: 100,
            missed: 1,
        },
        outcome: None,
    }
}

/// So many audits, of which the oldest is the one that is answered.
fn open_audits<T: Config>(count: u32, openings: Option<DrawnOpenings>) {
    let end = ROUND + count;
    for round in ROUND..end {
        Rounds::<T>::insert(round, audit_record(openings));
    }
    OldestRound::<T>::put(ROUND);
    NextRound::<T>::put(end);
    NextDraw::<T>::put(if openings.is_some() { end } else { ROUND });
    let audits: Vec<RoundId> = (ROUND..end).collect();
    Audits::<T>::put(LiveAudits::truncate_from(audits));
}

/// A worker's account, whose key is in the keystore.
fn worker<T: Config>() -> (T::AccountId, sr25519::Public)
where
    T::AccountId: From<[u8; 32]>,
{
    let public = sp_io::crypto::sr25519_generate(WORKER_KEY_TYPE, None);
    (public.0.into(), public)
}

/// An active machine, otherwise as [`unproven_machine`] makes it.
fn active_machine<T: Config>(worker_key: &T::AccountId, slots: u8) -> MachineId
where
    T::Machines: MachineLease<T::AccountId>,
{
    let machine = unproven_machine::<T>(worker_key, slots);
    // Activation proves the machine anew, for ever.
    let proofs = Proofs::<T>::get(machine);
    T::Machines::benchmark_activate(machine);
    let forever = Proofs::<T>::get(machine)
        .and_then(|record| record.next_expiry_ms())
        .unwrap();
    Expiries::<T>::remove(Pallet::<T>::expiry_epoch(forever), machine);
    Expiries::<T>::insert(Pallet::<T>::expiry_epoch(OPENED_MS), machine, ());
    Proofs::<T>::set(machine, proofs);
    machine
}

/// A bonded machine, registered before all rounds, with as many proofs as can be, the next of which expires
/// when the audit opens. Its class has as many versions as can be, and the oldest of them counts for the
/// audit.
fn unproven_machine<T: Config>(worker_key: &T::AccountId, slots: u8) -> MachineId
where
    T::Machines: MachineLease<T::AccountId>,
{
    T::Clock::benchmark_set_now_ms(1);
    let provider: T::AccountId = account("provider", 0, 0);
    let machine = T::Machines::benchmark_machine(&provider, worker_key, slots);
    T::Bonds::benchmark_bond(machine);

    let class = T::Machines::hardware_claim(machine).unwrap().class;
    let versions: Vec<ClassVersion> = (0..MAX_CLASS_VERSIONS)
        .map(|version| ClassVersion {
            from_round: ROUND + version,
            params: Some(PARAMS),
        })
        .collect();
    Classes::<T>::insert(class, ClassVersions::try_from(versions).unwrap());

    let steps: Vec<ProofStep> = (0..MAX_SLOTS)
        .map(|step| ProofStep {
            slots: MAX_SLOTS - step,
            expires_at_ms: OPENED_MS + PROOF_STEP_MS * Millis::from(step),
        })
        .collect();
    Proofs::<T>::insert(
        machine,
        ProofRecord {
            steps: steps.try_into().unwrap(),
            first_round: 0,
        },
    );
    Expiries::<T>::insert(Pallet::<T>::expiry_epoch(OPENED_MS), machine, ());
    machine
}

/// The root of a slot, and its proof: made by walking all lanes, without memory.
fn root_and_proof(worker_key: &sr25519::Public, machine: MachineId, slot: u8) -> (Hash, SlotProof) {
    let seed = seed(&[1; 32], machine, &worker_key.0, slot);
    let leaves = (0..1 << PARAMS.lanes_log2)
        .map(|number| leaf(&lane(&PARAMS, &seed, number)))
        .collect();
    let mut levels: Vec<Vec<Hash>> = vec![leaves];
    for level in 0..usize::from(PARAMS.lanes_log2) {
        let above = levels[level]
            .chunks(2)
            .map(|pair| node(&pair[0], &pair[1]))
            .collect();
        levels.push(above);
    }
    let root = levels.pop().unwrap()[0];
    let opened = opened_lanes(
        &OPENINGS.randomness,
        machine,
        slot,
        PARAMS.openings,
        PARAMS.lanes_log2,
    );
    let paths = opened.map(|lane| {
        levels
            .iter()
            .enumerate()
            .map(|(level, hashes)| hashes[(lane as usize >> level) ^ 1])
            .collect::<Vec<Hash>>()
    });
    (root, SlotProof::from_paths(paths).unwrap())
}

/// A machine that committed for so many slots, and their proofs, at the time at which they can be proven.
fn committed<T: Config>(
    slots: u32,
    is_active: bool,
) -> (
    MachineId,
    sr25519::Public,
    BoundedVec<SlotProof, T::MaxSlotsPerProof>,
)
where
    T::Machines: MachineLease<T::AccountId>,
    T::AccountId: From<[u8; 32]>,
{
    let (worker_key, public) = worker::<T>();
    let machine = if is_active {
        active_machine::<T>(&worker_key, slots as u8)
    } else {
        unproven_machine::<T>(&worker_key, slots as u8)
    };
    open_audits::<T>(MAX_LIVE_AUDITS, Some(OPENINGS));
    let (roots, proofs): (Vec<Hash>, Vec<SlotProof>) = (0..slots as u8)
        .map(|slot| root_and_proof(&public, machine, slot))
        .unzip();
    Answers::<T>::insert(
        ROUND,
        machine,
        Answer::Committed(Commitment {
            worker_key: public.0,
            roots: roots.try_into().unwrap(),
            proven: 0,
            is_owed: true,
        }),
    );
    set_time::<T>(5_000);
    (machine, public, BoundedVec::truncate_from(proofs))
}

/// Subject of the machine's answers.
fn subject(public: &sr25519::Public, machine: MachineId) -> AnswerSubject {
    AnswerSubject {
        round: ROUND_REF,
        machine,
        worker_key: public.0,
        params: PARAMS,
    }
}

fn signature(public: &sr25519::Public, message: &[u8]) -> sr25519::Signature {
    sp_io::crypto::sr25519_sign(WORKER_KEY_TYPE, public, message).unwrap()
}

/// The roots of a machine that was open to the audit as the newest one noted, and their signature.
fn signed_roots<T: Config>(slots: u32) -> (MachineId, Roots, sr25519::Signature)
where
    T::Machines: MachineLease<T::AccountId>,
    T::AccountId: From<[u8; 32]>,
{
    let (worker_key, public) = worker::<T>();
    let machine = active_machine::<T>(&worker_key, slots as u8);
    open_audits::<T>(MAX_LIVE_AUDITS, None);
    let exposure = Exposure {
        free_slots: slots as u8,
        is_active: true,
    };
    Exposures::<T>::insert(ROUND + MAX_LIVE_AUDITS - 1, machine, exposure);
    set_time::<T>(500);
    let roots = Roots::try_from(vec![[3; 32]; slots as usize]).unwrap();
    let genesis_hash = Pallet::<T>::genesis_hash();
    let message = commit_message(genesis_hash.as_ref(), &subject(&public, machine), &roots);
    (machine, roots, signature(&public, &message))
}

/// A machine that owed an answer, at the time at which that can be reported.
fn silent_machine<T: Config>() -> MachineId
where
    T::Machines: MachineLease<T::AccountId>,
    T::AccountId: From<[u8; 32]>,
{
    let (worker_key, _) = worker::<T>();
    let machine = active_machine::<T>(&worker_key, MAX_SLOTS);
    // None of them has noted what the machine had free: all are read, and its suspension is noted for the
    // newest.
    open_audits::<T>(MAX_LIVE_AUDITS, Some(OPENINGS));
    // Finality stalled before the audit.
    LastStalledMs::<T>::put(1);
    set_time::<T>(13_001);
    machine
}

/// An active machine whose proofs have all expired, which the hook did not see yet.
fn expired_machine<T: Config>() -> MachineId
where
    T::Machines: MachineLease<T::AccountId>,
    T::AccountId: From<[u8; 32]>,
{
    let (worker_key, _) = worker::<T>();
    let machine = active_machine::<T>(&worker_key, MAX_SLOTS);
    open_audits::<T>(MAX_LIVE_AUDITS, None);
    set_time::<T>(PROOF_STEP_MS * Millis::from(MAX_SLOTS));
    machine
}

#[benchmarks(where
    T::Machines: MachineLease<T::AccountId>,
    T::AccountId: From<[u8; 32]>,
    <T as frame_system::Config>::RuntimeCall: From<Call<T>>,
)]
mod benches {
    use super::*;

    #[benchmark]
    fn commit(s: Linear<1, { u32::from(MAX_SLOTS) }>) {
        let (machine, roots, signature) = signed_roots::<T>(s);

        #[extrinsic_call]
        _(RawOrigin::Authorized, ROUND_REF, machine, roots, signature);

        assert!(Answers::<T>::contains_key(ROUND, machine));
    }

    #[benchmark]
    fn authorize_commit(s: Linear<1, { u32::from(MAX_SLOTS) }>) {
        let (machine, roots, signature) = signed_roots::<T>(s);
        let call: <T as frame_system::Config>::RuntimeCall = Call::commit {
            round: ROUND_REF,
            machine,
            roots,
            signature,
        }
        .into();

        let validity;
        #[block]
        {
            validity = call.authorize(TransactionSource::InBlock);
        }

        assert!(validity.unwrap().is_ok());
    }

    /// Of all slots of a machine, which enters the market by it, with lanes that cost next to nothing.
    #[benchmark]
    fn prove(s: Linear<1, { T::MaxSlotsPerProof::get() }>) {
        let (machine, public, proofs) = committed::<T>(s, false);
        let signature = signature(&public, b"checked before");

        #[extrinsic_call]
        _(
            RawOrigin::Authorized,
            ROUND_REF,
            OPENINGS.randomness,
            machine,
            0,
            proofs,
            signature,
        );

        assert_eq!(
            Answers::<T>::get(ROUND, machine),
            Some(Answer::Proven { slots: s as u8 })
        );
    }

    /// Of an active machine, which is suspended: the last sibling of the last slot is wrong.
    #[benchmark]
    fn prove_wrong(s: Linear<1, { T::MaxSlotsPerProof::get() }>) {
        let (machine, public, proofs) = committed::<T>(s, true);
        let mut proofs = proofs.into_inner();
        let mut openings = proofs.pop().unwrap().openings.into_inner();
        let mut last = openings.pop().unwrap();
        last.pop();
        last.try_push([0; 32]).unwrap();
        openings.push(last);
        proofs.push(SlotProof {
            openings: openings.try_into().unwrap(),
        });
        let proofs: BoundedVec<SlotProof, T::MaxSlotsPerProof> = proofs.try_into().unwrap();
        let signature = signature(&public, b"checked before");

        #[extrinsic_call]
        prove(
            RawOrigin::Authorized,
            ROUND_REF,
            OPENINGS.randomness,
            machine,
            0,
            proofs,
            signature,
        );

        assert_eq!(Answers::<T>::get(ROUND, machine), Some(Answer::Wrong));
    }

    #[benchmark]
    fn authorize_prove(s: Linear<1, { T::MaxSlotsPerProof::get() }>) {
        let (machine, public, proofs) = committed::<T>(s, true);
        let genesis_hash = Pallet::<T>::genesis_hash();
        let Some(Answer::Committed(commitment)) = Answers::<T>::get(ROUND, machine) else {
            panic!("the machine committed");
        };
        let message = prove_message(
            genesis_hash.as_ref(),
            &subject(&public, machine),
            &OPENINGS.randomness,
            &commitment.roots,
            0,
            &proofs,
        );
        let call: <T as frame_system::Config>::RuntimeCall = Call::prove {
            round: ROUND_REF,
            opening_randomness: OPENINGS.randomness,
            machine,
            first_slot: 0,
            proofs,
            signature: signature(&public, &message),
        }
        .into();

        let validity;
        #[block]
        {
            validity = call.authorize(TransactionSource::InBlock);
        }

        assert!(validity.unwrap().is_ok());
    }

    /// Of one slot, with `r` units of double rounds: one lane that reads `r` items, each made by a unit but
    /// for its step.
    #[benchmark(pov_mode = Ignored)]
    fn verify_slot(r: Linear<1, { (T::MaxDoubleRounds::get() / DOUBLE_ROUNDS_PER_UNIT) as u32 }>) {
        let params = ChallengeParams {
            fill_double_rounds: DOUBLE_ROUNDS_PER_UNIT as u16 - assay_proof::STEP_DOUBLE_ROUNDS,
            lanes_log2: 4,
            steps: r as u16,
            openings: 1,
            ..PARAMS
        };
        assert_eq!(
            params.verification_double_rounds(),
            DOUBLE_ROUNDS_PER_UNIT * u64::from(r)
        );
        let siblings = [[4; 32]; 4];
        let mut claim = SlotClaim {
            params,
            seed: [5; 32],
            opening_randomness: OPENINGS.randomness,
            machine_id: 0,
            slot: 0,
            root: [0; 32],
        };
        let opened = claim.opened_lanes().next().unwrap();
        claim.root = assay_proof::root_of_path(leaf(&lane(&params, &claim.seed, opened)), opened, &siblings);
        let proof = SlotProof::from_paths([siblings]).unwrap();

        let verified;
        #[block]
        {
            verified = claim.verify(&proof);
        }

        assert_eq!(verified, Ok(()));
    }

    #[benchmark]
    fn report_missed() {
        let machine = silent_machine::<T>();

        #[extrinsic_call]
        _(RawOrigin::Authorized, ROUND, machine);

        assert_eq!(Answers::<T>::get(ROUND, machine), Some(Answer::Missed));
    }

    #[benchmark]
    fn authorize_report_missed() {
        let machine = silent_machine::<T>();
        let call: <T as frame_system::Config>::RuntimeCall = Call::report_missed {
            round: ROUND,
            machine,
        }
        .into();

        let validity;
        #[block]
        {
            validity = call.authorize(TransactionSource::InBlock);
        }

        assert!(validity.unwrap().is_ok());
    }

    #[benchmark]
    fn report_expired() {
        let machine = expired_machine::<T>();

        #[extrinsic_call]
        _(RawOrigin::Authorized, machine);

        assert!(!Pallet::<T>::has_expired(machine));
    }

    #[benchmark]
    fn authorize_report_expired() {
        let machine = expired_machine::<T>();
        let call: <T as frame_system::Config>::RuntimeCall = Call::report_expired { machine }.into();

        let validity;
        #[block]
        {
            validity = call.authorize(TransactionSource::InBlock);
        }

        assert!(validity.unwrap().is_ok());
    }

    #[benchmark]
    fn set_class() {
        let origin = T::AdminOrigin::try_successful_origin().unwrap();
        open_audits::<T>(MAX_LIVE_AUDITS, None);
        let versions: Vec<ClassVersion> = (1..MAX_CLASS_VERSIONS)
            .map(|version| ClassVersion {
                from_round: ROUND + version,
                params: Some(PARAMS),
            })
            .collect();
        Classes::<T>::insert(0, ClassVersions::try_from(versions).unwrap());
        CurrentSchedule::<T>::put(Schedule::default());
        // Enough to read the memory once.
        let params = ChallengeParams { steps: 4, ..PARAMS };

        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, 0, Some(params));

        assert_eq!(Classes::<T>::get(0).len(), MAX_CLASS_VERSIONS as usize);
    }

    #[benchmark]
    fn set_schedule() {
        let origin = T::AdminOrigin::try_successful_origin().unwrap();
        let schedule = Schedule {
            newcomer_interval_ms: 1,
            ..Schedule::default()
        };

        #[extrinsic_call]
        _(origin as T::RuntimeOrigin, schedule);

        assert_eq!(CurrentSchedule::<T>::get(), schedule);
    }

    /// The hook in a block that has no room for a unit, and the mixing of randomness, which a benchmark's
    /// parent block may not have.
    #[benchmark]
    fn hook_overhead() {
        open_audits::<T>(MAX_LIVE_AUDITS, None);
        set_time::<T>(0);
        T::Finality::benchmark_set_stalled(true);
        let mut meter = WeightMeter::with_limit(T::WeightInfo::hook_overhead());

        #[block]
        {
            Pallet::<T>::mix(Default::default());
            Pallet::<T>::serve(&mut meter);
        }

        assert_eq!(meter.consumed(), T::WeightInfo::hook_overhead());
        assert!(LastStalledMs::<T>::exists());
    }

    #[benchmark]
    fn hook_draw() {
        open_audits::<T>(MAX_LIVE_AUDITS, None);
        let moment = DrawInputs {
            entropy: [6; 32],
            now_ms: OPENED_MS + 4_000,
            mixed_at_ms: OPENED_MS + 3_000,
        };

        #[block]
        {
            let round = Pallet::<T>::next_to_draw(&moment).unwrap();
            Pallet::<T>::draw_openings(&moment, round);
        }

        assert!(Rounds::<T>::get(ROUND).unwrap().openings.is_some());
        assert_eq!(NextDraw::<T>::get(), ROUND + 1);
    }

    /// Of an audit that is overdue, the last for which there is room.
    #[benchmark]
    fn hook_open() {
        open_audits::<T>(MAX_LIVE_AUDITS - 1, None);
        let schedule = Schedule::default();
        CurrentSchedule::<T>::put(schedule);
        LastAuditMs::<T>::put(0);
        let moment = DrawInputs {
            entropy: [6; 32],
            now_ms: OPENED_MS + schedule.max_audit_interval_ms,
            mixed_at_ms: OPENED_MS,
        };
        AuditsDrawnUntilMs::<T>::put(moment.now_ms);

        #[block]
        {
            let kind = Pallet::<T>::round_to_open(&moment).unwrap();
            Pallet::<T>::open_round(&moment, kind);
        }

        assert_eq!(Audits::<T>::get().len(), MAX_LIVE_AUDITS as usize);
    }

    /// Of an active machine that had as many proofs as can be, and leaves the market with the last of them.
    #[benchmark]
    fn hook_expire() {
        let machine = expired_machine::<T>();
        let epoch = Pallet::<T>::expiry_epoch(OPENED_MS);

        #[block]
        {
            let (machine, ()) = Expiries::<T>::drain_prefix(epoch).next().unwrap();
            Pallet::<T>::expire(machine);
        }

        assert_eq!(Proofs::<T>::get(machine).unwrap().steps.len(), 0);
    }

    #[benchmark]
    fn hook_pass_epoch() {
        #[block]
        {
            if Expiries::<T>::drain_prefix(1).next().is_none() {
                NextExpiryEpoch::<T>::put(2);
            }
        }

        assert_eq!(NextExpiryEpoch::<T>::get(), 2);
    }

    /// An answer that was committed for as many slots as can be and never proven.
    #[benchmark]
    fn hook_forget_answer() {
        open_audits::<T>(1, Some(OPENINGS));
        set_time::<T>(1_000_000);
        for machine in 0..2 {
            Answers::<T>::insert(
                ROUND,
                machine,
                Answer::Committed(Commitment {
                    worker_key: [0; 32],
                    roots: Roots::try_from(vec![[3; 32]; usize::from(MAX_SLOTS)]).unwrap(),
                    proven: 0,
                    is_owed: true,
                }),
            );
        }

        let is_over;
        #[block]
        {
            is_over = Pallet::<T>::is_over(ROUND);
            Answers::<T>::drain_prefix(ROUND).next();
        }

        assert!(is_over);
        assert_eq!(Answers::<T>::iter_prefix(ROUND).count(), 1);
    }

    #[benchmark]
    fn hook_forget_round() {
        open_audits::<T>(1, Some(OPENINGS));
        set_time::<T>(1_000_000);

        let is_over;
        #[block]
        {
            is_over = Pallet::<T>::is_over(ROUND);
            if Answers::<T>::drain_prefix(ROUND).next().is_none()
                && Exposures::<T>::drain_prefix(ROUND).next().is_none()
            {
                Pallet::<T>::forget(ROUND);
                OldestRound::<T>::put(ROUND + 1);
            }
        }

        assert!(is_over);
        assert!(!Rounds::<T>::contains_key(ROUND));
        assert_eq!(Audits::<T>::get().len(), 0);
    }

    /// Of an audit after which nobody can be reported any more.
    #[benchmark]
    fn hook_conclude() {
        open_audits::<T>(1, Some(OPENINGS));
        LastStalledMs::<T>::put(1);
        set_time::<T>(1_000_000);

        let outcome;
        #[block]
        {
            outcome = Pallet::<T>::conclude(ROUND);
        }

        assert_eq!(outcome, Some(RoundOutcome::Punished));
        assert_eq!(Rounds::<T>::get(ROUND).unwrap().outcome, outcome);
    }

    /// Of an active machine: its provider brought it back before the round was concluded.
    #[benchmark]
    fn hook_punish() {
        let machine = silent_machine::<T>();
        let before = frame_system::Pallet::<T>::event_count();

        #[block]
        {
            Pallet::<T>::punish_missed(ROUND, machine);
        }

        assert!(frame_system::Pallet::<T>::event_count() > before);
    }

    impl_benchmark_test_suite!(
        Pallet,
        crate::mock::ExtBuilder::default().build(),
        crate::mock::Test,
    );
}

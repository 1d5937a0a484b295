//! Strategies for the steps: their frequencies and their order of simplicity, for short failures.

use assay_primitives::{
    money::{ASY, Balance},
    offence::Offence,
};
use assay_runtime::parameters::RuntimeParameters;
use pallet_job_escrow::JobKind;
use pallet_provider_staking::{DEFAULT_OFFENCE_TABLE, OffencePenalty, OffenceTable};
use polkadot_sdk::{
    sp_keyring::Sr25519Keyring::{
        self, AliceStash, Bob, BobStash, Charlie, CharlieStash, Dave, DaveStash, Eve, EveStash, Ferdie,
        FerdieStash, One, Two,
    },
    sp_runtime::Permill,
};
use proptest::{bool::weighted, collection::vec, option, prelude::*, sample::select, strategy::Union};

use crate::{
    common::task,
    staking_parameter,
    steps::{Amount, Pick, Recipient, Shares, Signer, Step},
};

/// Accounts of the providers. The last one has nothing at the start.
pub(crate) const PROVIDERS: [Sr25519Keyring; 3] = [Bob, Charlie, DaveStash];
const WORKERS: [Sr25519Keyring; 8] = [
    Dave,
    Eve,
    One,
    Two,
    AliceStash,
    CharlieStash,
    EveStash,
    FerdieStash,
];
const CONSUMERS: [Sr25519Keyring; 2] = [Ferdie, BobStash];

/// Task whose result is accepted by silence after an epoch.
const SHORT_TASK: JobKind = task(24_000);

fn one_of<T: Copy + std::fmt::Debug + 'static>(among: &'static [T]) -> impl Strategy<Value = T> {
    select(among)
}

fn pick() -> impl Strategy<Value = Pick> {
    (any::<u8>(), weighted(0.125)).prop_map(|(index, strays)| Pick { index, strays })
}

/// Returns mostly the provider.
fn owner() -> impl Strategy<Value = Signer> {
    prop_oneof![11 => Just(Signer::Provider), 1 => Just(Signer::Stranger)]
}

fn signer() -> impl Strategy<Value = Signer> {
    prop_oneof![
        8 => Just(Signer::Provider),
        3 => Just(Signer::Worker),
        1 => Just(Signer::Stranger),
    ]
}

fn whole_asy(below: Balance) -> impl Strategy<Value = Balance> {
    (0..below).prop_map(|amount| amount * ASY)
}

/// Returns an amount that governance may require to be bonded: half of the time zero.
fn asked(below: Balance) -> impl Strategy<Value = Balance> {
    prop_oneof![Just(0), whole_asy(below)]
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        3 => (-1..=1_i8).prop_map(Amount::AboutMinimum),
        3 => one_of(&[1_000_000, 500_000, 300_000, 10_000, 1_000_001]).prop_map(Amount::OfBonded),
        1 => (0..3_u128).prop_map(Amount::Some),
        1 => whole_asy(3_000).prop_map(Amount::Some),
    ]
}

fn recipient() -> impl Strategy<Value = Recipient> {
    prop_oneof![
        2 => one_of(&CONSUMERS).prop_map(Recipient::Keyring),
        1 => one_of(&PROVIDERS).prop_map(Recipient::Keyring),
        1 => (100..103_u8).prop_map(Recipient::Newcomer),
    ]
}

fn shares() -> impl Strategy<Value = Shares> {
    let loss = prop_oneof![
        // Less than an account's existential deposit.
        0..1_000_000_000_u128,
        whole_asy(500).prop_map(|loss| loss + 1),
        whole_asy(5_000),
    ];
    option::weighted(0.5, (recipient(), loss)).prop_map(|consumer| Shares { consumer })
}

fn parameter() -> impl Strategy<Value = RuntimeParameters> {
    let percent = || (0..=100_u32).prop_map(Permill::from_percent);
    prop_oneof![
        2 => (0..4_u32).prop_map(|epochs| staking_parameter!(SlashDeferEpochs, epochs)),
        1 => (0..4_u32).prop_map(|epochs| staking_parameter!(UnbondingEpochs, epochs)),
        2 => asked(1_000).prop_map(|bond| staking_parameter!(BaseBond, bond)),
        1 => (0..20_u32).prop_map(|epochs| staking_parameter!(StrikeMemoryEpochs, epochs)),
        1 => (percent(), 0..4_u8, percent()).prop_map(|(first, factor, at_most)| {
            let offences = OffenceTable {
                challenge_unanswered: OffencePenalty { first, factor, at_most },
                ..DEFAULT_OFFENCE_TABLE
            };
            staking_parameter!(Offences, offences)
        }),
    ]
}

/// Returns steps of providers and their machines' records, and of time.
fn registry_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..=2_u64).prop_map(Step::BlocksPass),
        6 => (1..=2_u32).prop_map(Step::EpochsPass),
        1 => one_of(&PROVIDERS).prop_map(Step::RegisterProvider),
        6 => (one_of(&PROVIDERS), one_of(&WORKERS), weighted(0.33), one_of(&[1, 1, 2, 2, 3, 0])).prop_map(
            |(provider, worker, of_a_gpu, slots)| Step::RegisterMachine { provider, worker, of_a_gpu, slots },
        ),
        1 => (pick(), whole_asy(20_000)).prop_map(|(pick, ask)| Step::UpdateAsk(pick, ask)),
        1 => (pick(), signer()).prop_map(|(pick, signer)| Step::UpdateEndpoint(pick, signer)),
        1 => (pick(), one_of(&WORKERS)).prop_map(|(pick, worker)| Step::RotateKeys(pick, worker)),
        2 => (pick(), signer()).prop_map(|(pick, signer)| Step::SuspendSelf(pick, signer)),
        6 => (pick(), signer()).prop_map(|(pick, signer)| Step::Resume(pick, signer)),
        1 => (pick(), signer()).prop_map(|(pick, signer)| Step::Drain(pick, signer)),
        1 => (pick(), signer()).prop_map(|(pick, signer)| Step::Retire(pick, signer)),
        1 => one_of(&PROVIDERS).prop_map(Step::DeregisterProvider),
        1 => pick().prop_map(Step::RefreshMachine),
        1 => asked(40).prop_map(|stake_per_slot| Step::SetHardwareClass { stake_per_slot }),
        1 => (pick(), 0..1_100_000_u32).prop_map(|(pick, uptime)| Step::UptimeChanges(pick, uptime)),
    ]
}

/// Returns steps of bonds, slashes and debts.
fn staking_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (pick(), owner(), amount()).prop_map(|(pick, signer, amount)| Step::Bond(pick, signer, amount)),
        6 => (pick(), owner(), amount()).prop_map(|(pick, signer, amount)| Step::BondExtra(pick, signer, amount)),
        5 => (pick(), owner(), amount()).prop_map(|(pick, signer, amount)| Step::Unbond(pick, signer, amount)),
        3 => pick().prop_map(Step::Withdraw),
        1 => (pick(), any::<bool>()).prop_map(|(pick, auto_stake)| Step::SetAutoStake(pick, auto_stake)),
        1 => pick().prop_map(Step::Payout),
        7 => (pick(), one_of(&Offence::ALL), shares())
            .prop_map(|(pick, offence, shares)| Step::Offence(pick, offence, shares)),
        2 => (pick(), 0..=1_000_000_u32, shares())
            .prop_map(|(pick, parts, shares)| Step::Slash(pick, Permill::from_parts(parts), shares)),
        2 => pick().prop_map(Step::CancelSlash),
        1 => pick().prop_map(Step::ApplySlash),
        3 => (one_of(&[Bob, Charlie, Ferdie]), pick()).prop_map(|(who, pick)| Step::PayDebt(who, pick)),
        2 => parameter().prop_map(Step::SetParameter),
        2 => (one_of(&PROVIDERS), any::<bool>())
            .prop_map(|(provider, keep_alive)| Step::GiveAllAway(provider, keep_alive)),
        3 => one_of(&PROVIDERS).prop_map(Step::GetMoney),
    ]
}

/// Returns steps of jobs.
fn job_step() -> impl Strategy<Value = Step> {
    let order = (
        one_of(&CONSUMERS),
        pick(),
        1..=2_u8,
        one_of(&[JobKind::Service, SHORT_TASK, SHORT_TASK]),
        // Some end before anybody acts on them, some outlast the sequence.
        one_of(&[5_u64, 5, 6, 20, 100]),
    );
    prop_oneof![
        5 => order.prop_map(|(consumer, pick, slots, kind, dozens_of_seconds)| Step::Deploy {
            consumer,
            pick,
            slots,
            kind,
            duration_ms: 12_000 * dozens_of_seconds,
        }),
        3 => pick().prop_map(Step::Start),
        // A running task must get its result before its time is over.
        5 => pick().prop_map(Step::SubmitResult),
        2 => pick().prop_map(Step::Accept),
        1 => pick().prop_map(Step::Close),
        1 => pick().prop_map(Step::Settle),
        4 => pick().prop_map(Step::Expire),
        2 => pick().prop_map(Step::Abandon),
    ]
}

/// Returns sequences of steps with a maximum length.
pub(crate) fn steps(at_most: usize) -> impl Strategy<Value = Vec<Step>> {
    // The weights are the sums of the parts' weights.
    let step = Union::new_weighted(vec![
        (36, registry_step().boxed()),
        (44, staking_step().boxed()),
        (20, job_step().boxed()),
    ]);
    vec(step, 0..=at_most)
}

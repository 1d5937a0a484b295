//! What may happen, as a throw of the dice decides, and how it is done.

use assay_primitives::{
    clock::{ActiveClock, EpochIndex},
    machine::{MachineId, MachineStatus, OnUptimeChange},
    money::{ASY, Balance},
    offence::{Beneficiaries, Offence, ReportOffence},
};
use assay_runtime::{
    AccountId, ChainClock, ProviderRegistry, ProviderStaking, Runtime, RuntimeCall, hardware_classes,
    parameters::RuntimeParameters,
};
use pallet_job_escrow::{JobId, JobKind, JobOrder, JobRecord, JobState, Jobs, ManifestRef};
use pallet_provider_registry::{
    HardwareClassRecord, HardwareClasses, MachineRecordOf, MachineRegistrationOf, Machines,
};
use pallet_provider_staking::{Bonds, DEFAULT_OFFENCE_TABLE, OffencePenalty, OffenceTable};
use polkadot_sdk::{
    frame_support::storage::with_storage_layer,
    pallet_balances,
    sp_core::H256,
    sp_io::hashing::blake2_256,
    sp_keyring::Sr25519Keyring::{
        self, Alice, AliceStash, Bob, BobStash, Charlie, CharlieStash, Dave, DaveStash, Eve, EveStash,
        Ferdie, FerdieStash, One, Two,
    },
    sp_runtime::{DispatchResult, Permill},
};

use crate::{
    common::*,
    model::{bond_of, debts, jobs, machines, slashes},
    staking_parameter,
};

type Registry = pallet_provider_registry::Call<Runtime>;
type Staking = pallet_provider_staking::Call<Runtime>;
type Escrow = pallet_job_escrow::Call<Runtime>;

/// The last one has nothing at the start.
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

/// What a job's manifest is; nobody reads it.
pub(crate) const MANIFEST: &[u8] = b"{}";

/// A throw of dice that is the same on every machine, so that a failure can be had again by its number.
pub(crate) struct Dice {
    pub(crate) case: u64,
    pub(crate) throws: u64,
}

impl Dice {
    fn throw(&mut self) -> u64 {
        self.throws += 1;
        let hash = blake2_256(&[self.case.to_le_bytes(), self.throws.to_le_bytes()].concat());
        u64::from_le_bytes(hash[..8].try_into().unwrap())
    }

    fn below(&mut self, end: u64) -> u64 {
        self.throw() % end
    }

    fn one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len() as u64) as usize]
    }
}

/// One of what there is at the moment, whatever that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick(u64);

impl Pick {
    fn of<T: Copy>(self, among: &[T]) -> Option<T> {
        (!among.is_empty()).then(|| among[(self.0 % among.len() as u64) as usize])
    }

    /// One that suits, where there is one, but in an eighth of the cases any.
    fn mostly<T: Copy>(self, among: &[T], suits: impl Fn(T) -> bool) -> Option<T> {
        let suitable: Vec<_> = among.iter().copied().filter(|one| suits(*one)).collect();
        let one = self.of(&suitable).filter(|_| !self.0.is_multiple_of(8));
        one.or_else(|| self.of(among))
    }
}

/// Who signs a call about a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signer {
    Provider,
    Worker,
    Stranger,
}

/// An amount that makes sense for a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    /// The machine's minimum and some plancks more or less.
    AboutMinimum(i8),
    /// A part of what is bonded, in parts per million.
    OfBonded(u64),
    Some(Balance),
}

/// Who gets a share of a slash. Newcomers cannot receive less than the existential deposit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    consumer: Option<(Recipient, Balance)>,
    reporter: Option<Recipient>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Recipient {
    Keyring(Sr25519Keyring),
    Newcomer(u8),
}

impl Recipient {
    fn account(self) -> AccountId {
        match self {
            Self::Keyring(who) => account(who),
            Self::Newcomer(number) => AccountId::new([number; 32]),
        }
    }
}

impl From<Shares> for Beneficiaries<AccountId> {
    fn from(shares: Shares) -> Self {
        Self {
            consumer: shares.consumer.map(|(who, loss)| (who.account(), loss)),
            reporter: shares.reporter.map(Recipient::account),
        }
    }
}

/// Something that happens. It may fail: then it changes nothing.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    RegisterProvider(Sr25519Keyring),
    RegisterMachine {
        provider: Sr25519Keyring,
        worker: Sr25519Keyring,
        of_a_gpu: bool,
        slots: u8,
    },
    UpdateAsk(Pick, Balance),
    UpdateEndpoint(Pick, Signer),
    RotateKeys(Pick, Sr25519Keyring),
    SuspendSelf(Pick, Signer),
    Resume(Pick, Signer),
    Drain(Pick, Signer),
    Retire(Pick, Signer),
    DeregisterProvider(Sr25519Keyring),
    RefreshMachine(Pick),
    SetHardwareClass {
        stake_per_slot: Balance,
    },
    UptimeChanges(Pick, u32),
    Bond(Pick, Signer, Amount),
    BondExtra(Pick, Signer, Amount),
    Unbond(Pick, Signer, Amount),
    Withdraw(Pick),
    SetAutoStake(Pick, bool),
    Payout(Pick),
    Offence(Pick, Offence, Shares),
    Slash(Pick, Permill, Shares),
    CancelSlash(Pick),
    ApplySlash(Pick),
    PayDebt(Sr25519Keyring, Pick),
    Deploy {
        consumer: Sr25519Keyring,
        pick: Pick,
        slots: u8,
        kind: JobKind,
        duration_ms: u64,
    },
    Start(Pick),
    SubmitResult(Pick),
    Accept(Pick),
    Close(Pick),
    Settle(Pick),
    Expire(Pick),
    Abandon(Pick),
    SetParameter(RuntimeParameters),
    GiveAllAway(Sr25519Keyring, bool),
    GetMoney(Sr25519Keyring),
    BlocksPass(u64),
    EpochsPass(EpochIndex),
}

fn amount(dice: &mut Dice) -> Amount {
    match dice.below(8) {
        0..=2 => Amount::AboutMinimum(dice.below(3) as i8 - 1),
        3..=5 => Amount::OfBonded(dice.pick(&[10_000, 300_000, 500_000, 1_000_000, 1_000_001])),
        6 => Amount::Some(dice.below(3).into()),
        _ => Amount::Some(Balance::from(dice.below(3_000)) * ASY),
    }
}

fn owner(dice: &mut Dice) -> Signer {
    if dice.one_in(12) {
        Signer::Stranger
    } else {
        Signer::Provider
    }
}

fn signer(dice: &mut Dice) -> Signer {
    match dice.below(12) {
        0 => Signer::Stranger,
        1..=3 => Signer::Worker,
        _ => Signer::Provider,
    }
}

fn shares(dice: &mut Dice) -> Shares {
    fn recipient(dice: &mut Dice) -> Recipient {
        match dice.below(4) {
            0 => Recipient::Newcomer(dice.below(3) as u8 + 100),
            1 => Recipient::Keyring(dice.pick(&PROVIDERS)),
            _ => Recipient::Keyring(dice.pick(&CONSUMERS)),
        }
    }
    let loss = match dice.below(3) {
        // Less than an account needs to come to life.
        0 => dice.below(1_000_000_000).into(),
        1 => Balance::from(dice.below(500)) * ASY + 1,
        _ => Balance::from(dice.below(5_000)) * ASY,
    };
    Shares {
        consumer: dice.one_in(2).then(|| (recipient(dice), loss)),
        reporter: dice.one_in(2).then(|| recipient(dice)),
    }
}

fn parameter(dice: &mut Dice) -> RuntimeParameters {
    match dice.below(7) {
        0 | 1 => staking_parameter!(SlashDeferEpochs, dice.below(4) as EpochIndex),
        2 => staking_parameter!(UnbondingEpochs, dice.below(4) as EpochIndex),
        3 => staking_parameter!(BaseBond, Balance::from(dice.below(1_000)) * ASY),
        4 => staking_parameter!(ReporterShare, Permill::from_parts(dice.below(1_000_001) as u32)),
        5 => staking_parameter!(StrikeMemoryEpochs, dice.below(20) as EpochIndex),
        _ => {
            let offences = OffenceTable {
                job_abandoned: OffencePenalty {
                    first: Permill::from_percent(dice.below(101) as u32),
                    factor: dice.below(4) as u8,
                    at_most: Permill::from_percent(dice.below(101) as u32),
                },
                ..DEFAULT_OFFENCE_TABLE
            };
            staking_parameter!(Offences, offences)
        }
    }
}

pub(crate) fn step(dice: &mut Dice) -> Step {
    let pick = Pick(dice.throw());
    match dice.below(100) {
        0 => Step::RegisterProvider(dice.pick(&PROVIDERS)),
        1..=6 => Step::RegisterMachine {
            provider: dice.pick(&PROVIDERS),
            worker: dice.pick(&WORKERS),
            of_a_gpu: dice.one_in(3),
            slots: dice.pick(&[0, 1, 1, 2, 2, 3]),
        },
        7 => Step::UpdateAsk(pick, Balance::from(dice.below(20_000)) * ASY),
        8 => Step::UpdateEndpoint(pick, signer(dice)),
        9 => Step::RotateKeys(pick, dice.pick(&WORKERS)),
        10 | 11 => Step::SuspendSelf(pick, signer(dice)),
        12..=17 => Step::Resume(pick, signer(dice)),
        18 => Step::Drain(pick, signer(dice)),
        19 => Step::Retire(pick, signer(dice)),
        20 => Step::DeregisterProvider(dice.pick(&PROVIDERS)),
        21 => Step::RefreshMachine(pick),
        22 => Step::SetHardwareClass {
            stake_per_slot: Balance::from(1 + dice.below(40)) * ASY,
        },
        23 => Step::UptimeChanges(pick, dice.below(1_100_000) as u32),
        24..=29 => Step::Bond(pick, owner(dice), amount(dice)),
        33..=38 => Step::BondExtra(pick, owner(dice), amount(dice)),
        39..=43 => Step::Unbond(pick, owner(dice), amount(dice)),
        44..=46 => Step::Withdraw(pick),
        47 => Step::SetAutoStake(pick, dice.one_in(2)),
        48 => Step::Payout(pick),
        49..=55 => Step::Offence(pick, dice.pick(&Offence::ALL), shares(dice)),
        56 | 57 => Step::Slash(
            pick,
            Permill::from_parts(dice.below(1_000_001) as u32),
            shares(dice),
        ),
        58 | 59 => Step::CancelSlash(pick),
        60 => Step::ApplySlash(pick),
        61..=63 => Step::PayDebt(dice.pick(&[Bob, Charlie, Ferdie]), pick),
        64..=68 => Step::Deploy {
            consumer: dice.pick(&CONSUMERS),
            pick,
            slots: 1 + dice.below(2) as u8,
            kind: dice.pick(&[JobKind::Service, JobKind::Task, JobKind::Task]),
            // Some end before anybody does anything about them, some outlast the sequence.
            duration_ms: 12_000 * dice.pick(&[1, 2, 4, 20, 100]),
        },
        69..=71 => Step::Start(pick),
        // A task that runs has to be met before its time is over.
        30..=32 | 72 | 73 => Step::SubmitResult(pick),
        74 | 75 => Step::Accept(pick),
        76 => Step::Close(pick),
        77 => Step::Settle(pick),
        78 => Step::Expire(pick),
        79 | 80 => Step::Abandon(pick),
        81 | 82 => Step::SetParameter(parameter(dice)),
        83 | 84 => Step::GiveAllAway(dice.pick(&PROVIDERS), dice.one_in(2)),
        85..=87 => Step::GetMoney(dice.pick(&PROVIDERS)),
        88..=93 => Step::BlocksPass(1 + dice.below(2)),
        _ => Step::EpochsPass(1 + dice.below(2) as EpochIndex),
    }
}

/// One of the machines, mostly one that suits; `None` where there are none.
fn machine(pick: Pick, suits: fn(MachineId, &MachineRecordOf<Runtime>) -> bool) -> Option<MachineId> {
    pick.mostly(&machines(), |machine| {
        suits(machine, &Machines::<Runtime>::get(machine).unwrap())
    })
}

fn is_any_machine(_: MachineId, _: &MachineRecordOf<Runtime>) -> bool {
    true
}

fn is_active(_: MachineId, record: &MachineRecordOf<Runtime>) -> bool {
    record.status == MachineStatus::Active
}

fn is_on_offer(_: MachineId, record: &MachineRecordOf<Runtime>) -> bool {
    record.is_on_offer()
}

fn is_out_of_work(_: MachineId, record: &MachineRecordOf<Runtime>) -> bool {
    matches!(
        record.status,
        MachineStatus::Suspended(_) | MachineStatus::Draining
    )
}

fn is_bonded(machine: MachineId, _: &MachineRecordOf<Runtime>) -> bool {
    bond_of(machine).1 > 0
}

fn can_be_bonded(machine: MachineId, _: &MachineRecordOf<Runtime>) -> bool {
    Bonds::<Runtime>::get(machine).is_none_or(|record| record.bonded == 0 && record.debt == 0)
}

fn can_be_withdrawn(machine: MachineId, _: &MachineRecordOf<Runtime>) -> bool {
    let epoch = ChainClock::current_epoch();
    Bonds::<Runtime>::get(machine)
        .is_some_and(|record| record.unlocking.iter().any(|chunk| chunk.due_epoch <= epoch))
}

/// A call about one of the machines, mostly one that suits, if there are any.
fn call_about(
    pick: Pick,
    signer: Signer,
    suits: fn(MachineId, &MachineRecordOf<Runtime>) -> bool,
    call: impl FnOnce(MachineId) -> RuntimeCall,
) -> DispatchResult {
    let Some(machine) = machine(pick, suits) else {
        return Ok(());
    };
    let record = Machines::<Runtime>::get(machine).unwrap();
    let who = match signer {
        Signer::Provider => record.provider,
        Signer::Worker => record.worker_key,
        Signer::Stranger => account(Ferdie),
    };
    call_as(&who, call(machine))
}

fn plancks(amount: Amount, machine: MachineId) -> Balance {
    match amount {
        Amount::AboutMinimum(more) => minimum_bond(machine).saturating_add_signed(more.into()),
        Amount::OfBonded(parts) => bond_of(machine).1 * Balance::from(parts) / 1_000_000,
        Amount::Some(plancks) => plancks,
    }
}

/// A call about one of the jobs, mostly one that suits, if there are any, by one of the accounts that have to
/// do with it.
fn call_about_job(
    pick: Pick,
    suits: fn(&JobRecord<AccountId>) -> bool,
    by: fn(&Job) -> AccountId,
    call: impl FnOnce(JobId) -> Escrow,
) -> DispatchResult {
    let Some(id) = pick.mostly(&jobs(), |id| suits(&Jobs::<Runtime>::get(id).unwrap())) else {
        return Ok(());
    };
    let record = Jobs::<Runtime>::get(id).unwrap();
    let machine = Machines::<Runtime>::get(record.machine).unwrap();
    let job = Job {
        consumer: record.consumer,
        provider: record.provider,
        worker: machine.worker_key,
    };
    call_as(&by(&job), call(id))
}

fn is_starting(job: &JobRecord<AccountId>) -> bool {
    matches!(job.state, JobState::Starting { .. })
}

fn is_running(job: &JobRecord<AccountId>) -> bool {
    matches!(job.state, JobState::Running { .. })
}

fn is_running_task(job: &JobRecord<AccountId>) -> bool {
    is_running(job) && job.kind == JobKind::Task
}

fn is_verifying(job: &JobRecord<AccountId>) -> bool {
    matches!(job.state, JobState::Verifying { .. })
}

fn is_any_job(_: &JobRecord<AccountId>) -> bool {
    true
}

struct Job {
    consumer: AccountId,
    provider: AccountId,
    worker: AccountId,
}

fn by_consumer(job: &Job) -> AccountId {
    job.consumer.clone()
}

fn by_provider(job: &Job) -> AccountId {
    job.provider.clone()
}

fn by_worker(job: &Job) -> AccountId {
    job.worker.clone()
}

fn by_stranger(_: &Job) -> AccountId {
    account(Alice)
}

pub(crate) fn deploy_job(
    consumer: Sr25519Keyring,
    machine: MachineId,
    slots: u8,
    kind: JobKind,
    max_duration_ms: u64,
) -> DispatchResult {
    let manifest = ManifestRef {
        hash: blake2_256(MANIFEST).into(),
        length_bytes: MANIFEST.len() as u32,
    };
    let order = JobOrder {
        machine,
        slots,
        kind,
        manifest,
        image_digest: H256::repeat_byte(1),
        max_duration_ms,
        max_price_per_slot_hour: Balance::MAX,
    };
    call_as(&account(consumer), Escrow::deploy { order })
}

fn transfer_all(who: Sr25519Keyring, keep_alive: bool) -> DispatchResult {
    let dest = account(Alice).into();
    call_as(
        &account(who),
        pallet_balances::Call::<Runtime>::transfer_all { dest, keep_alive },
    )
}

fn get_money(who: Sr25519Keyring) -> DispatchResult {
    let (dest, value) = (account(who).into(), 20_000 * ASY);
    call_as(
        &account(Alice),
        pallet_balances::Call::<Runtime>::transfer_keep_alive { dest, value },
    )
}

/// What a machine of one of two classes is registered as; the other class's stake stays what it was at genesis.
fn registration(worker: Sr25519Keyring, of_a_gpu: bool, slots: u8) -> MachineRegistrationOf<Runtime> {
    let mut registration = registration_of(worker, slots);
    if of_a_gpu {
        registration.class = HardwareClasses::<Runtime>::iter()
            .find(|(_, class)| class.name.as_slice() == b"NVIDIA_L4")
            .unwrap()
            .0;
    }
    registration
}

/// Lets a step happen that takes no time.
pub(crate) fn act(step: Step) -> DispatchResult {
    match step {
        Step::RegisterProvider(provider) => register_provider(provider),
        Step::RegisterMachine {
            provider,
            worker,
            of_a_gpu,
            slots,
        } => register_machine(provider, worker, registration(worker, of_a_gpu, slots)).map(|_| ()),
        Step::UpdateAsk(pick, ask) => call_about(pick, Signer::Provider, is_any_machine, |machine| {
            Registry::update_ask { machine, ask }.into()
        }),
        Step::UpdateEndpoint(pick, signer) => call_about(pick, signer, is_any_machine, |machine| {
            let endpoint = b"https://other.example".to_vec().try_into().unwrap();
            Registry::update_endpoint { machine, endpoint }.into()
        }),
        Step::RotateKeys(pick, worker) => call_about(pick, Signer::Provider, is_any_machine, |machine| {
            let provider = Machines::<Runtime>::get(machine).unwrap().provider;
            let worker_signature = consent(worker, &provider);
            Registry::rotate_keys {
                machine,
                worker_key: account(worker),
                sealing_key: [9; 32],
                worker_signature,
            }
            .into()
        }),
        Step::SuspendSelf(pick, signer) => call_about(pick, signer, is_active, |machine| {
            Registry::suspend_self { machine }.into()
        }),
        Step::Resume(pick, signer) => call_about(pick, signer, is_out_of_work, |machine| {
            Registry::resume { machine }.into()
        }),
        Step::Drain(pick, signer) => call_about(pick, signer, is_active, |machine| {
            Registry::drain { machine }.into()
        }),
        Step::Retire(pick, signer) => call_about(pick, signer, is_any_machine, |machine| {
            Registry::retire { machine }.into()
        }),
        Step::DeregisterProvider(provider) => call_as(&account(provider), Registry::deregister_provider {}),
        Step::RefreshMachine(pick) => call_about(pick, Signer::Stranger, is_any_machine, |machine| {
            Registry::refresh_machine { machine }.into()
        }),
        Step::SetHardwareClass { stake_per_slot } => {
            let class = hardware_classes::CPU;
            let record = HardwareClassRecord {
                stake_per_slot,
                ..HardwareClasses::<Runtime>::get(class).unwrap()
            };
            sudo(Registry::set_hardware_class { class, record })
        }
        Step::UptimeChanges(pick, uptime_ppm) => {
            if let Some(machine) = pick.of(&machines()) {
                ProviderRegistry::on_uptime_change(machine, uptime_ppm);
            }
            Ok(())
        }
        Step::Bond(pick, signer, amount) => call_about(pick, signer, can_be_bonded, |machine| {
            let amount = plancks(amount, machine);
            Staking::bond { machine, amount }.into()
        }),
        Step::BondExtra(pick, signer, amount) => call_about(pick, signer, is_bonded, |machine| {
            let amount = plancks(amount, machine);
            Staking::bond_extra { machine, amount }.into()
        }),
        Step::Unbond(pick, signer, amount) => call_about(pick, signer, is_bonded, |machine| {
            let amount = plancks(amount, machine);
            Staking::unbond { machine, amount }.into()
        }),
        Step::Withdraw(pick) => call_about(pick, Signer::Stranger, can_be_withdrawn, |machine| {
            Staking::withdraw { machine }.into()
        }),
        Step::SetAutoStake(pick, auto_stake) => call_about(pick, Signer::Provider, is_bonded, |machine| {
            Staking::set_auto_stake { machine, auto_stake }.into()
        }),
        Step::Payout(pick) => call_about(pick, Signer::Stranger, is_any_machine, |machine| {
            pallet_reward_emission::Call::<Runtime>::payout {
                machine,
                max_epochs: 32,
            }
            .into()
        }),
        Step::Offence(pick, offence, shares) => pick.of(&machines()).map_or(Ok(()), |machine| {
            with_storage_layer(|| ProviderStaking::report_offence(machine, offence, shares.into()))
                .map(|_| ())
        }),
        Step::Slash(pick, fraction, shares) => pick.of(&machines()).map_or(Ok(()), |machine| {
            let beneficiaries = shares.into();
            sudo(Staking::slash {
                machine,
                fraction,
                beneficiaries,
            })
        }),
        Step::CancelSlash(pick) => pick
            .of(&slashes())
            .map_or(Ok(()), |id| sudo(Staking::cancel_slash { id })),
        Step::ApplySlash(pick) => pick.of(&slashes()).map_or(Ok(()), |id| {
            call_as(&account(Ferdie), Staking::apply_slash { id })
        }),
        Step::PayDebt(who, pick) => pick.of(&debts()).map_or(Ok(()), |(machine, id)| {
            call_as(&account(who), Staking::pay_debt { machine, id })
        }),
        Step::Deploy {
            consumer,
            pick,
            slots,
            kind,
            duration_ms,
        } => machine(pick, is_on_offer).map_or(Ok(()), |machine| {
            deploy_job(consumer, machine, slots, kind, duration_ms)
        }),
        Step::Start(pick) => call_about_job(pick, is_starting, by_worker, |job| Escrow::start { job }),
        Step::SubmitResult(pick) => {
            call_about_job(pick, is_running_task, by_worker, |job| Escrow::submit_result {
                job,
                result_hash: H256::repeat_byte(2),
            })
        }
        Step::Accept(pick) => call_about_job(pick, is_verifying, by_consumer, |job| Escrow::accept { job }),
        Step::Close(pick) => call_about_job(pick, is_any_job, by_consumer, |job| Escrow::close { job }),
        Step::Settle(pick) => call_about_job(pick, is_running, by_stranger, |job| Escrow::settle { job }),
        Step::Expire(pick) => call_about_job(pick, is_any_job, by_stranger, |job| Escrow::expire { job }),
        Step::Abandon(pick) => call_about_job(pick, is_running, by_provider, |job| Escrow::abandon { job }),
        Step::SetParameter(parameter) => {
            set_parameter(parameter);
            Ok(())
        }
        Step::GiveAllAway(provider, keep_alive) => transfer_all(provider, keep_alive),
        Step::GetMoney(provider) => get_money(provider),
        Step::BlocksPass(_) | Step::EpochsPass(_) => unreachable!("time passes elsewhere"),
    }
}

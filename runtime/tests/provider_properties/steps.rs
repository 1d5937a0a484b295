//! Steps of the property test, and their execution.

use assay_primitives::{
    clock::{ActiveClock, EpochIndex},
    machine::{MachineId, MachineStatus, OnUptimeChange, SuspensionCause::Maintenance},
    market::Requirements,
    money::{ASY, Balance},
    offence::{Beneficiaries, Offence, ReportOffence},
};
use assay_runtime::{
    AccountId, ChainClock, ProviderRegistry, ProviderStaking, Runtime, RuntimeCall, hardware_classes,
    parameters::RuntimeParameters,
};
use pallet_job_escrow::{
    AssignmentRecord, AssignmentState, Assignments, JobId, JobKind, JobOrder, Jobs, Manifest, ManifestRef,
};
use pallet_provider_registry::{
    HardwareClassRecord, HardwareClasses, MachineRecordOf, MachineRegistrationOf, Machines,
};
use pallet_provider_staking::Bonds;
use polkadot_sdk::{
    frame_support::storage::with_storage_layer,
    pallet_balances,
    sp_core::H256,
    sp_io::hashing::blake2_256,
    sp_keyring::Sr25519Keyring::{self, Alice, Ferdie},
    sp_runtime::{DispatchResult, Permill},
};

use crate::{
    common::*,
    model::{bond_of, debts, machines, parts, slashes},
};

type Registry = pallet_provider_registry::Call<Runtime>;
type Staking = pallet_provider_staking::Call<Runtime>;
type Escrow = pallet_job_escrow::Call<Runtime>;

/// Manifest of the jobs; nobody reads it.
pub(crate) const MANIFEST: &[u8] = b"{}";

/// Choice among the existing items, whatever they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick {
    /// Index of the chosen item, modulo their number.
    pub(crate) index: u8,
    /// True if the item may be an unsuitable one.
    pub(crate) strays: bool,
}

impl Pick {
    fn of<T: Copy>(self, among: &[T]) -> Option<T> {
        (!among.is_empty()).then(|| among[usize::from(self.index) % among.len()])
    }

    /// Returns a suitable item if there is one and this pick does not stray.
    fn mostly<T: Copy>(self, among: &[T], suits: impl Fn(T) -> bool) -> Option<T> {
        let suitable: Vec<_> = among.iter().copied().filter(|one| suits(*one)).collect();
        let one = self.of(&suitable).filter(|_| !self.strays);
        one.or_else(|| self.of(among))
    }
}

/// Signer of a call about a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signer {
    Provider,
    Worker,
    Stranger,
}

/// Plausible amount for a machine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    /// The machine's minimum plus or minus some plancks.
    AboutMinimum(i8),
    /// Part of the bonded amount, in parts per million.
    OfBonded(u64),
    Some(Balance),
}

/// Shares of a slash. New accounts cannot receive less than the existential deposit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    pub(crate) consumer: Option<(Recipient, Balance)>,
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
        }
    }
}

/// One step. It may fail without any effect.
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

/// Returns one of the machines, mostly a suitable one; `None` if there are none.
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

/// Makes a call about one of the machines, mostly a suitable one, if there are any.
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

/// Makes a call about a machine's assignment to one of the jobs, mostly a suitable one, if there are any, by
/// one of the involved accounts.
fn call_about_job(
    pick: Pick,
    suits: fn(JobId, &AssignmentRecord<AccountId>) -> bool,
    by: fn(&Job) -> AccountId,
    call: impl FnOnce(JobId, MachineId) -> Escrow,
) -> DispatchResult {
    let part = |(job, machine)| Assignments::<Runtime>::get(job, machine).unwrap();
    let Some((job, machine)) = pick.mostly(&parts(), |id| suits(id.0, &part(id))) else {
        return Ok(());
    };
    let parties = Job {
        consumer: Jobs::<Runtime>::get(job).unwrap().consumer,
        provider: part((job, machine)).provider,
        // A machine may be gone before its last epochs are paid.
        worker: Machines::<Runtime>::get(machine).map_or(account(Alice), |record| record.worker_key),
    };
    call_as(&by(&parties), call(job, machine))
}

fn is_starting(_: JobId, part: &AssignmentRecord<AccountId>) -> bool {
    matches!(part.state, AssignmentState::Starting { .. })
}

fn is_running(_: JobId, part: &AssignmentRecord<AccountId>) -> bool {
    matches!(part.state, AssignmentState::Running { .. })
}

fn is_running_task(job: JobId, part: &AssignmentRecord<AccountId>) -> bool {
    is_running(job, part) && Jobs::<Runtime>::get(job).unwrap().kind != JobKind::Service
}

fn is_verifying(_: JobId, part: &AssignmentRecord<AccountId>) -> bool {
    matches!(part.state, AssignmentState::Verifying { .. })
}

fn is_ended(_: JobId, part: &AssignmentRecord<AccountId>) -> bool {
    matches!(part.state, AssignmentState::Ended { .. })
}

fn is_any_part(_: JobId, _: &AssignmentRecord<AccountId>) -> bool {
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
    let manifest = Manifest::Public(ManifestRef {
        hash: blake2_256(MANIFEST).into(),
        length_bytes: MANIFEST.len() as u32,
    });
    let order = JobOrder {
        kind,
        manifest,
        image_digest: H256::repeat_byte(1),
        requirements: Requirements::default(),
        slots,
        max_duration_ms,
        max_price_per_slot_hour: Balance::MAX,
    };
    let machines = vec![machine].try_into().unwrap();
    call_as(&account(consumer), Escrow::deploy { order, machines })
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

/// Returns a registration in one of two classes; the other class's stake stays as at genesis.
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

/// Executes a step that takes no time.
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
            Registry::suspend_self {
                machine,
                cause: Maintenance,
            }
            .into()
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
        Step::Start(pick) => call_about_job(pick, is_starting, by_worker, |job, _| Escrow::start { job }),
        Step::SubmitResult(pick) => {
            call_about_job(pick, is_running_task, by_worker, |job, _| Escrow::submit_result {
                job,
                result_hash: H256::repeat_byte(2),
            })
        }
        Step::Accept(pick) => call_about_job(pick, is_verifying, by_consumer, |job, machine| {
            Escrow::accept { job, machine }
        }),
        Step::Close(pick) => call_about_job(pick, is_any_part, by_consumer, |job, _| Escrow::close { job }),
        Step::Settle(pick) => call_about_job(pick, is_ended, by_stranger, |job, machine| Escrow::settle {
            job,
            machine,
        }),
        Step::Expire(pick) => call_about_job(pick, is_any_part, by_stranger, |job, machine| Escrow::expire {
            job,
            machine,
        }),
        Step::Abandon(pick) => call_about_job(pick, is_running, by_provider, |job, machine| {
            Escrow::abandon { job, machine }
        }),
        Step::SetParameter(parameter) => {
            set_parameter(parameter);
            Ok(())
        }
        Step::GiveAllAway(provider, keep_alive) => transfer_all(provider, keep_alive),
        Step::GetMoney(provider) => get_money(provider),
        Step::BlocksPass(_) | Step::EpochsPass(_) => unreachable!("time passes elsewhere"),
    }
}

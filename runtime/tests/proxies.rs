//! Limits of the proxies, call by call. A new call that is missing in the table fails the test until somebody
//! decides on it.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use assay_primitives::{
    machine::SuspensionCause,
    money::{ASY, Balance},
    offence::{Beneficiaries, SlashId},
};
use assay_runtime::{OriginCaller, Runtime, RuntimeCall, RuntimeEvent, configs::proxies::ProxyType};
use codec::{Decode, Encode};
use common::*;
use polkadot_sdk::{
    frame_support::{
        assert_ok,
        dispatch::RawOrigin,
        traits::{GetCallMetadata, InstanceFilter},
    },
    frame_system, pallet_balances, pallet_multisig, pallet_proxy, pallet_scheduler, pallet_sudo,
    pallet_utility,
    sp_keyring::Sr25519Keyring::{self, Alice, Bob, Charlie, Dave, Eve, Ferdie},
    sp_runtime::{DispatchError, DispatchResult, Permill},
};

/// Limited types, by their letters in the table.
const LIMITED: [(char, ProxyType); 3] = [
    ('N', ProxyType::NonTransfer),
    ('P', ProxyType::Provider),
    ('V', ProxyType::Validation),
];

/// Pallet, call, the limited types that may send it, and the reason for the limit (or for its absence).
type Decision = (&'static str, &'static str, &'static str, &'static str);

const ROOT: &str = "root's; no account may send it";
const PAYS: &str = "gives the principal's money away";
const ANYBODY: &str = "does the same whoever sends it, so a deputy needs no principal for it";
const STAKES: &str = "puts more of the principal's money at stake: a part of a slash is its reporter's";
const HANDS_OVER: &str = "gives another key or account power over what is the principal's";
const ELSEWHERE: &str = "acts as another account, where the limits do not hold";
const WORKER: &str = "the worker key's, which needs no proxy";
const UNSIGNED: &str = "comes without an account that signs";
const WITHIN: &str = "only wraps; each call within is looked at again";
const OWN: &str = "gives back to the principal what is its own";
const OPERATION: &str = "runs the principal's machines, and neither pays nor appoints anybody";
const BACK: &str = "can be taken back, and moves nothing but a deposit of the principal's";
const VOTES: &str = "what a validator's deputy is there for, with what is at stake already";

/// Decision on every call of the runtime.
#[rustfmt::skip]
const DECISIONS: &[Decision] = &[
    ("System", "remark", "N", "moves nothing"),
    ("System", "remark_with_event", "N", "moves nothing"),
    ("System", "set_heap_pages", "", ROOT),
    ("System", "set_code", "", ROOT),
    ("System", "set_code_without_checks", "", ROOT),
    ("System", "set_storage", "", ROOT),
    ("System", "kill_storage", "", ROOT),
    ("System", "kill_prefix", "", ROOT),
    ("System", "authorize_upgrade", "", ROOT),
    ("System", "authorize_upgrade_without_checks", "", ROOT),
    ("System", "apply_authorized_upgrade", "", ANYBODY),
    ("Timestamp", "set", "", UNSIGNED),
    ("Babe", "report_equivocation", "", ANYBODY),
    ("Babe", "report_equivocation_unsigned", "", UNSIGNED),
    ("Babe", "plan_config_change", "", ROOT),
    ("Balances", "transfer_allow_death", "", PAYS),
    ("Balances", "force_transfer", "", ROOT),
    ("Balances", "transfer_keep_alive", "", PAYS),
    ("Balances", "transfer_all", "", PAYS),
    ("Balances", "force_unreserve", "", ROOT),
    ("Balances", "upgrade_accounts", "", ANYBODY),
    ("Balances", "force_set_balance", "", ROOT),
    ("Balances", "force_adjust_total_issuance", "", ROOT),
    ("Balances", "burn", "", "destroys the principal's money"),
    ("Staking", "bond", "", STAKES),
    ("Staking", "bond_extra", "", STAKES),
    ("Staking", "unbond", "NV", OWN),
    ("Staking", "withdraw_unbonded", "NV", OWN),
    ("Staking", "validate", "V", VOTES),
    ("Staking", "nominate", "V", VOTES),
    ("Staking", "chill", "NV", "takes out of stakes, and puts nothing in"),
    ("Staking", "set_payee", "", "can send rewards to anybody"),
    ("Staking", "set_controller", "", "no account has another controller on this chain"),
    ("Staking", "set_validator_count", "", ROOT),
    ("Staking", "increase_validator_count", "", ROOT),
    ("Staking", "scale_validator_count", "", ROOT),
    ("Staking", "force_no_eras", "", ROOT),
    ("Staking", "force_new_era", "", ROOT),
    ("Staking", "set_invulnerables", "", ROOT),
    ("Staking", "force_unstake", "", ROOT),
    ("Staking", "force_new_era_always", "", ROOT),
    ("Staking", "cancel_deferred_slash", "", ROOT),
    ("Staking", "payout_stakers", "V", "pays the validator and its nominators where they said"),
    ("Staking", "rebond", "", STAKES),
    ("Staking", "reap_stash", "", ANYBODY),
    ("Staking", "kick", "V", VOTES),
    ("Staking", "set_staking_configs", "", ROOT),
    ("Staking", "chill_other", "", ANYBODY),
    ("Staking", "force_apply_min_commission", "", ANYBODY),
    ("Staking", "set_min_commission", "", ROOT),
    ("Staking", "payout_stakers_by_page", "V", "pays the validator and its nominators where they said"),
    ("Staking", "update_payee", "", ANYBODY),
    ("Staking", "deprecate_controller_batch", "", ROOT),
    ("Staking", "restore_ledger", "", ROOT),
    ("Staking", "migrate_currency", "", ANYBODY),
    ("Staking", "manual_slash", "", ROOT),
    ("VoterList", "rebag", "V", "puts votes where their stake belongs"),
    ("VoterList", "put_in_front_of", "V", "puts votes where their stake belongs"),
    ("VoterList", "put_in_front_of_other", "", ANYBODY),
    ("Session", "set_keys", "V", "hands validation over, which is what that deputy is there for"),
    ("Session", "purge_keys", "V", "ends validation; the other types would stop a validator with it"),
    ("Grandpa", "report_equivocation", "", ANYBODY),
    ("Grandpa", "report_equivocation_unsigned", "", UNSIGNED),
    ("Grandpa", "note_stalled", "", ROOT),
    ("Utility", "batch", "NPV", WITHIN),
    ("Utility", "as_derivative", "NPV", "acts for an account of the principal's own; each call within is looked at again"),
    ("Utility", "batch_all", "NPV", WITHIN),
    ("Utility", "dispatch_as", "", ROOT),
    ("Utility", "force_batch", "NPV", WITHIN),
    ("Utility", "with_weight", "", ROOT),
    ("Utility", "if_else", "NPV", WITHIN),
    ("Utility", "dispatch_as_fallible", "", ROOT),
    ("Proxy", "proxy", "", ELSEWHERE),
    ("Proxy", "add_proxy", "", HANDS_OVER),
    ("Proxy", "remove_proxy", "", "could shut others out"),
    ("Proxy", "remove_proxies", "", "could shut others out"),
    ("Proxy", "create_pure", "", HANDS_OVER),
    ("Proxy", "kill_pure", "", "loses what the account has"),
    ("Proxy", "announce", "", ELSEWHERE),
    ("Proxy", "remove_announcement", "", ELSEWHERE),
    ("Proxy", "reject_announcement", "", "could shut others out"),
    ("Proxy", "proxy_announced", "", ELSEWHERE),
    ("Proxy", "poke_deposit", "", "changes a deposit, which is the principal's to decide"),
    ("Multisig", "as_multi_threshold_1", "", ELSEWHERE),
    ("Multisig", "as_multi", "", ELSEWHERE),
    ("Multisig", "approve_as_multi", "", ELSEWHERE),
    ("Multisig", "cancel_as_multi", "", "takes back what the principal approved"),
    ("Multisig", "poke_deposit", "", "changes a deposit, which is the principal's to decide"),
    ("Preimage", "note_preimage", "", "of use only with orders, which pay"),
    ("Preimage", "unnote_preimage", "", "could take a manifest from the principal's job"),
    ("Preimage", "request_preimage", "", ROOT),
    ("Preimage", "unrequest_preimage", "", ROOT),
    ("Preimage", "ensure_updated", "", ANYBODY),
    ("Scheduler", "schedule", "", ROOT),
    ("Scheduler", "cancel", "", ROOT),
    ("Scheduler", "schedule_named", "", ROOT),
    ("Scheduler", "cancel_named", "", ROOT),
    ("Scheduler", "schedule_after", "", ROOT),
    ("Scheduler", "schedule_named_after", "", ROOT),
    ("Scheduler", "set_retry", "", ROOT),
    ("Scheduler", "set_retry_named", "", ROOT),
    ("Scheduler", "cancel_retry", "", ROOT),
    ("Scheduler", "cancel_retry_named", "", ROOT),
    ("Parameters", "set_parameter", "", ROOT),
    ("Sudo", "sudo", "", ELSEWHERE),
    ("Sudo", "sudo_unchecked_weight", "", ELSEWHERE),
    ("Sudo", "set_key", "", HANDS_OVER),
    ("Sudo", "sudo_as", "", ELSEWHERE),
    ("Sudo", "remove_key", "", "leaves the chain without governance"),
    ("ProviderRegistry", "register_provider", "NP", BACK),
    ("ProviderRegistry", "register_machine", "P", "appoints a key, of a machine for which nothing is bonded"),
    ("ProviderRegistry", "update_ask", "P", "sets prices, which that deputy is there for; others could lease for a planck"),
    ("ProviderRegistry", "update_endpoint", "P", OPERATION),
    ("ProviderRegistry", "rotate_keys", "", HANDS_OVER),
    ("ProviderRegistry", "suspend_self", "NP", BACK),
    ("ProviderRegistry", "resume", "NP", BACK),
    ("ProviderRegistry", "drain", "NP", BACK),
    ("ProviderRegistry", "retire", "P", "cannot be taken back, but frees the bond"),
    ("ProviderRegistry", "set_hardware_class", "", ROOT),
    ("ProviderRegistry", "deregister_provider", "NP", OWN),
    ("ProviderRegistry", "refresh_machine", "NP", OPERATION),
    ("ProviderStaking", "bond", "", STAKES),
    ("ProviderStaking", "bond_extra", "", STAKES),
    ("ProviderStaking", "unbond", "NP", OWN),
    ("ProviderStaking", "withdraw", "NP", OWN),
    ("ProviderStaking", "set_auto_stake", "", STAKES),
    ("ProviderStaking", "slash", "", ROOT),
    ("ProviderStaking", "cancel_slash", "", ROOT),
    ("ProviderStaking", "apply_slash", "", ANYBODY),
    ("ProviderStaking", "pay_debt", "", "pays whoever a debt of any machine names, out of the principal's free balance"),
    ("JobEscrow", "deploy", "", PAYS),
    ("JobEscrow", "start", "", WORKER),
    ("JobEscrow", "submit_result", "", WORKER),
    ("JobEscrow", "accept", "", PAYS),
    ("JobEscrow", "close", "", "ends what the principal pays for"),
    ("JobEscrow", "settle", "P", OPERATION),
    ("JobEscrow", "expire", "P", OPERATION),
    ("JobEscrow", "abandon", "", "gives up a job at the provider's cost"),
    ("JobEscrow", "request", "", PAYS),
    ("JobEscrow", "accept_request", "P", OPERATION),
    ("JobEscrow", "decline", "P", OPERATION),
    ("JobEscrow", "expire_request", "", ANYBODY),
    ("JobEscrow", "top_up", "", PAYS),
    ("JobEscrow", "reject", "", "judges what the principal paid for"),
    ("JobEscrow", "commit_result", "", WORKER),
    ("JobEscrow", "reveal_result", "", WORKER),
    ("JobEscrow", "resolve", "", ANYBODY),
    ("JobEscrow", "submit_attested_result", "", WORKER),
    ("JobEscrow", "report_workload_ended", "", WORKER),
    ("RewardEmission", "payout", "P", "pays where the principal said"),
    ("RewardEmission", "set_reward_destination", "", "can send rewards to anybody"),
    ("HardwareChallenge", "commit", "", UNSIGNED),
    ("HardwareChallenge", "prove", "", UNSIGNED),
    ("HardwareChallenge", "report_missed", "", ANYBODY),
    ("HardwareChallenge", "report_expired", "", ANYBODY),
    ("HardwareChallenge", "set_class", "", ROOT),
    ("HardwareChallenge", "set_schedule", "", ROOT),
    ("Attestation", "submit_evidence", "P", BACK),
    ("Attestation", "withdraw_evidence", "P", BACK),
    ("Attestation", "remove_key", "P", OWN),
    ("Attestation", "submit_collateral", "P", BACK),
    ("Attestation", "allow_workload", "", ROOT),
    ("Attestation", "disallow_workload", "", ROOT),
    ("Attestation", "set_reference", "", ROOT),
    ("Attestation", "remove_reference", "", ROOT),
    ("Attestation", "add_root", "", ROOT),
    ("Attestation", "remove_root", "", ROOT),
    ("Attestation", "set_policies", "", ROOT),
    ("Attestation", "remove_collateral", "", ROOT),
    ("Attestation", "ban_device", "", ROOT),
    ("Attestation", "unban_device", "", ROOT),
    ("Attestation", "condemn", "", ROOT),
    ("Availability", "report", "", UNSIGNED),
    ("FinalityView", "state_finalized", "", UNSIGNED),
    ("Availability", "update_uptime", "P", OPERATION),
    ("Availability", "claim", "V", "pays the validator"),
];

/// Returns one call of each kind, by pallet and name, decoded from filler bytes after its two indices.
fn samples() -> BTreeMap<(&'static str, &'static str), RuntimeCall> {
    let mut samples = BTreeMap::new();
    for pallet in 0..=u8::MAX {
        for call in 0..=u8::MAX {
            // Zeros decode to arguments of nearly every call; some enumerations begin at one.
            for filling in [0, 1] {
                let mut bytes = vec![filling; 16_384];
                bytes[..2].copy_from_slice(&[pallet, call]);
                if let Ok(sample) = RuntimeCall::decode(&mut &bytes[..]) {
                    assert_eq!(sample.encode()[..2], [pallet, call]);
                    let metadata = sample.get_call_metadata();
                    samples.insert((metadata.pallet_name, metadata.function_name), sample);
                    break;
                }
            }
        }
    }
    samples
}

#[test]
fn every_call_is_decided_for_every_proxy() {
    let samples = samples();
    let mut decided: BTreeMap<_, _> = DECISIONS
        .iter()
        .map(|(pallet, call, may, why)| ((*pallet, *call), (*may, *why)))
        .collect();
    assert_eq!(decided.len(), DECISIONS.len(), "a call has two lines");

    for pallet in RuntimeCall::get_module_names() {
        for call in RuntimeCall::get_call_names(pallet) {
            let name = format!("{pallet}.{call}");
            let Some((may, why)) = decided.remove(&(*pallet, *call)) else {
                panic!("{name} is new: decide who may send it, and write it into the table with the reason");
            };
            assert!(!why.is_empty(), "{name} has no reason");
            let sample = samples
                .get(&(*pallet, *call))
                .unwrap_or_else(|| panic!("no sample of {name}"));
            assert!(ProxyType::Any.filter(sample), "{name}");
            for (letter, kind) in LIMITED {
                assert_eq!(kind.filter(sample), may.contains(letter), "{name} by {kind:?}");
            }
        }
    }
    assert!(decided.is_empty(), "there are no such calls: {decided:?}");
}

#[test]
fn a_superset_allows_what_its_subsets_allow() {
    let kinds: Vec<_> = LIMITED
        .iter()
        .map(|(_, kind)| *kind)
        .chain([ProxyType::Any])
        .collect();
    for sample in samples().values() {
        for wider in &kinds {
            for narrower in kinds.iter().filter(|kind| wider.is_superset(kind)) {
                assert!(!narrower.filter(sample) || wider.filter(sample), "{sample:?}");
            }
        }
    }
}

/// Makes Dave a deputy of the account.
fn appoint(principal: Sr25519Keyring, kind: ProxyType) {
    assert_ok!(call_as(
        &account(principal),
        pallet_proxy::Call::add_proxy {
            delegate: account(Dave).into(),
            proxy_type: kind,
            delay: 0
        }
    ));
}

/// Sends a call through Dave's proxy for the principal; returns its result.
fn through(principal: Sr25519Keyring, kind: ProxyType, call: impl Into<RuntimeCall>) -> DispatchResult {
    assert_ok!(call_as(
        &account(Dave),
        pallet_proxy::Call::proxy {
            real: account(principal).into(),
            force_proxy_type: Some(kind),
            call: Box::new(call.into())
        }
    ));
    let executed = polkadot_sdk::frame_system::Pallet::<Runtime>::events()
        .into_iter()
        .rev()
        .find_map(|record| match record.event {
            RuntimeEvent::Proxy(pallet_proxy::Event::ProxyExecuted { result }) => Some(result),
            _ => None,
        });
    executed.expect("a proxy's call has a result")
}

fn filtered() -> DispatchResult {
    Err(frame_system::Error::<Runtime>::CallFiltered.into())
}

/// Returns a call that sends an ASY to Dave.
fn pay_dave() -> RuntimeCall {
    pallet_balances::Call::<Runtime>::transfer_keep_alive {
        dest: account(Dave).into(),
        value: ASY,
    }
    .into()
}

/// Creates a debt of a machine of Charlie's, of which the consumer's part is Dave's.
fn debt_to_dave(chain: &mut Chain) -> (u64, SlashId, Balance) {
    set_parameter(staking_parameter!(SlashDeferEpochs, 1));
    let machine = active_machine(Charlie, Ferdie, 1);
    let loss = minimum_bond(machine) / 2;
    let mut last = None;
    // The first slash takes the whole bond; the second one is owed.
    for beneficiaries in [
        Beneficiaries::nobody(),
        Beneficiaries {
            consumer: Some((account(Dave), loss)),
        },
    ] {
        assert_ok!(sudo(pallet_provider_staking::Call::slash {
            machine,
            fraction: Permill::one(),
            beneficiaries
        }));
        last = staking_events().into_iter().rev().find_map(|event| match event {
            pallet_provider_staking::Event::SlashQueued { id, .. } => Some(id),
            _ => None,
        });
    }
    let id = last.expect("it was queued");
    chain.until_epoch(id.due_epoch);
    (machine, id, loss)
}

#[test]
fn a_limited_proxy_pays_no_debt_that_names_itself() {
    with_chain("development", |chain| {
        let (machine, id, loss) = debt_to_dave(chain);
        let pay = pallet_provider_staking::Call::<Runtime>::pay_debt { machine, id };
        let before = [Bob, Dave].map(|who| wealth(&account(who)));
        for (_, kind) in LIMITED {
            appoint(Bob, kind);
            assert_eq!(through(Bob, kind, pay.clone()), filtered());
            assert_eq!([Bob, Dave].map(|who| wealth(&account(who))), before);
        }
        // The debt exists: Bob himself can pay it.
        assert_ok!(call_as(&account(Bob), pay));
        assert!(wealth(&account(Dave)) >= before[1] + loss);
    });
}

#[test]
fn no_call_around_another_lifts_a_proxy_s_limits() {
    with_chain("development", |_| {
        // Bob controls a derivative account, half of a multisig of threshold one, and all of Eve's money.
        let derivative = pallet_utility::derivative_account_id(account(Bob), 7);
        let mut signatories = vec![account(Bob), account(Ferdie)];
        signatories.sort();
        let multisig = pallet_multisig::Pallet::<Runtime>::multi_account_id(&signatories, 1);
        let rich = [account(Bob), account(Eve), derivative.clone(), multisig.clone()];
        for account in [&derivative, &multisig] {
            endow(account, 10 * ASY);
        }
        assert_ok!(call_as(
            &account(Eve),
            pallet_proxy::Call::add_proxy {
                delegate: account(Bob).into(),
                proxy_type: ProxyType::Any,
                delay: 0
            }
        ));

        let inner = || Box::new(pay_dave());
        let failing = || {
            Box::new(RuntimeCall::from(pallet_utility::Call::<Runtime>::batch_all {
                calls: vec![pay_dave()],
            }))
        };
        let as_root = Box::new(OriginCaller::system(RawOrigin::Signed(account(Eve))));
        // Wrappers that a limited proxy may send, and those that it may not.
        let wraps: [RuntimeCall; 8] = [
            pallet_utility::Call::batch {
                calls: vec![pay_dave()],
            }
            .into(),
            pallet_utility::Call::batch_all {
                calls: vec![pay_dave()],
            }
            .into(),
            pallet_utility::Call::force_batch {
                calls: vec![pay_dave()],
            }
            .into(),
            pallet_utility::Call::as_derivative {
                index: 7,
                call: inner(),
            }
            .into(),
            pallet_utility::Call::if_else {
                main: inner(),
                fallback: inner(),
            }
            .into(),
            pallet_utility::Call::if_else {
                main: failing(),
                fallback: inner(),
            }
            .into(),
            pallet_utility::Call::batch {
                calls: vec![*failing()],
            }
            .into(),
            pallet_utility::Call::as_derivative {
                index: 7,
                call: failing(),
            }
            .into(),
        ];
        let escapes: [RuntimeCall; 8] = [
            pay_dave(),
            pallet_proxy::Call::proxy {
                real: account(Eve).into(),
                force_proxy_type: None,
                call: inner(),
            }
            .into(),
            pallet_proxy::Call::add_proxy {
                delegate: account(Dave).into(),
                proxy_type: ProxyType::Any,
                delay: 0,
            }
            .into(),
            pallet_proxy::Call::create_pure {
                proxy_type: ProxyType::Any,
                delay: 0,
                index: 0,
            }
            .into(),
            pallet_multisig::Call::as_multi_threshold_1 {
                other_signatories: vec![account(Ferdie)],
                call: inner(),
            }
            .into(),
            pallet_multisig::Call::as_multi {
                threshold: 2,
                other_signatories: vec![account(Ferdie)],
                maybe_timepoint: None,
                call: inner(),
                max_weight: Default::default(),
            }
            .into(),
            pallet_scheduler::Call::schedule {
                when: 100,
                maybe_periodic: None,
                priority: 0,
                call: inner(),
            }
            .into(),
            pallet_utility::Call::dispatch_as {
                as_origin: as_root,
                call: inner(),
            }
            .into(),
        ];

        for (_, kind) in LIMITED {
            appoint(Bob, kind);
            // The deposit of the proxy is reserved, and so still counts.
            let before = rich.clone().map(|account| wealth(&account));
            let daves = wealth(&account(Dave));
            for call in &wraps {
                assert!(kind.filter(call), "{call:?}");
                // A batch reports its interruption by an event; the others return the error.
                let result = through(Bob, kind, call.clone());
                assert!(result.is_ok() || result == filtered(), "{call:?}: {result:?}");
            }
            for call in &escapes {
                assert_eq!(through(Bob, kind, call.clone()), filtered(), "{call:?}");
                let batch = pallet_utility::Call::batch_all {
                    calls: vec![call.clone()],
                };
                assert_eq!(through(Bob, kind, batch), filtered(), "{call:?}");
            }
            assert_eq!(rich.clone().map(|account| wealth(&account)), before, "{kind:?}");
            assert_eq!(wealth(&account(Dave)), daves);
        }

        // None of these fails for another reason: an unlimited proxy empties all four.
        appoint(Bob, ProxyType::Any);
        let daves = wealth(&account(Dave));
        for (call, _) in [
            (&escapes[0], "Bob"),
            (&escapes[1], "Eve"),
            (&escapes[4], "multisig"),
            (&wraps[3], "derivative"),
        ] {
            assert_ok!(through(Bob, ProxyType::Any, call.clone()));
        }
        assert_eq!(wealth(&account(Dave)), daves + 4 * ASY);
    });
}

#[test]
fn a_limited_proxy_of_governance_governs_nothing() {
    with_chain("development", |_| {
        let call = Box::new(RuntimeCall::from(pallet_balances::Call::force_set_balance {
            who: account(Dave).into(),
            new_free: 0,
        }));
        let before = wealth(&account(Dave));
        for (_, kind) in LIMITED {
            appoint(Alice, kind);
            for call in [
                pallet_sudo::Call::<Runtime>::sudo { call: call.clone() },
                pallet_sudo::Call::sudo_as {
                    who: account(Eve).into(),
                    call: Box::new(pay_dave()),
                },
                pallet_sudo::Call::set_key {
                    new: account(Dave).into(),
                },
                pallet_sudo::Call::remove_key {},
            ] {
                assert_eq!(through(Alice, kind, call), filtered());
            }
        }
        assert_eq!(wealth(&account(Dave)), before);
        assert_eq!(pallet_sudo::Key::<Runtime>::get(), Some(account(Alice)));
    });
}

#[test]
fn a_limited_proxy_sends_what_it_is_there_for() {
    with_chain("development", |_| {
        for (_, kind) in LIMITED {
            appoint(Bob, kind);
        }
        let machine = active_machine(Bob, Ferdie, 1);
        type Registry = pallet_provider_registry::Call<Runtime>;
        assert_ok!(through(
            Bob,
            ProxyType::NonTransfer,
            Registry::suspend_self {
                machine,
                cause: SuspensionCause::Maintenance
            }
        ));
        assert_ok!(through(Bob, ProxyType::NonTransfer, Registry::resume { machine }));
        assert_ok!(through(
            Bob,
            ProxyType::Provider,
            Registry::update_ask { machine, ask: ASY }
        ));
        assert_eq!(
            through(
                Bob,
                ProxyType::NonTransfer,
                Registry::update_ask { machine, ask: 1 }
            ),
            filtered()
        );
        let batch = pallet_utility::Call::<Runtime>::batch_all {
            calls: vec![
                Registry::drain { machine }.into(),
                Registry::resume { machine }.into(),
            ],
        };
        assert_ok!(through(Bob, ProxyType::Provider, batch));
        assert_eq!(
            through(
                Bob,
                ProxyType::Validation,
                pallet_session::Call::<Runtime>::purge_keys {}
            ),
            Err(DispatchError::from(pallet_session::Error::<Runtime>::NoKeys))
        );
    });
}

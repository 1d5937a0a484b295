//! Limits of a proxy: the calls that it may send for its principal.
//!
//! Each limited type is a list of single calls: a call that is not on it is refused, including every new one.
//! `tests/proxies.rs` names every call of the runtime with the reason why it is on a list or on none, and
//! fails if a call is missing. A call is on a list if its deputy cannot, with it and with the others on the
//! same list,
//!
//! - give money of the principal to anyone, including those who cause, report or suffer an offence;
//! - put more of the principal's money at stake than is at stake now: a part of a slash is its reporter's;
//! - give power over the principal's money, machines or votes to another key or account;
//! - act as another account, where these limits would not hold: `multisig`, `proxy`, `sudo` and `dispatch_as`
//!   dispatch with an origin of their own.
//!
//! Calls that wrap others and keep the limits are allowed: each inner call is checked again.
//!
//! Attacks by a deputy without these lists, and the remaining ones:
//!
//! - Any limited deputy pays a debt that names itself as the beneficiary: it could take the whole free
//!   balance; now it sends no call that pays.
//! - `Provider` rotates the machine to its own key and reports its offences: 10 % of the bond was its own;
//!   now it appoints no key of a bonded machine, and bonds nothing.
//! - `Provider` rents the machine from itself at an ask of one planck: the principal loses the income until
//!   it notices. Setting prices is that deputy's purpose.
//! - `Validation` equivocates with session keys of its own and reports it: the principal loses the slash, of
//!   which at most 5 % is the reporter's. Any holder of session keys can do this; the principal chooses the
//!   stake.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use polkadot_sdk::{
    frame_support::traits::InstanceFilter, frame_system, pallet_bags_list, pallet_session, pallet_staking,
    pallet_utility,
};
use scale_info::TypeInfo;

use crate::RuntimeCall;

/// Limits of a proxy.
#[derive(
    Copy,
    Clone,
    Eq,
    PartialEq,
    Ord,
    PartialOrd,
    Encode,
    Decode,
    DecodeWithMemTracking,
    Debug,
    MaxEncodedLen,
    TypeInfo,
    Default,
)]
pub enum ProxyType {
    /// All calls.
    #[default]
    Any,
    /// Maintenance of the account's assets: taking them out of the market and out of stakes, and back into
    /// the market.
    NonTransfer,
    /// Operation of a provider's machines: listing them, their prices, orders, evidence and payouts; not
    /// their keys, bonds or reward destinations.
    Provider,
    /// Validating and nominating with the existing bond.
    Validation,
}

impl InstanceFilter<RuntimeCall> for ProxyType {
    fn filter(&self, call: &RuntimeCall) -> bool {
        match self {
            ProxyType::Any => true,
            _ if keeps_limits_within(call) => true,
            ProxyType::NonTransfer => non_transfer(call),
            ProxyType::Provider => provider(call),
            ProxyType::Validation => validation(call),
        }
    }

    fn is_superset(&self, other: &Self) -> bool {
        self == other || *self == ProxyType::Any
    }
}

/// Returns true for a call that only wraps others, which are dispatched with the same limits.
///
/// The accounts behind `as_derivative` are the principal's own.
fn keeps_limits_within(call: &RuntimeCall) -> bool {
    use pallet_utility::Call;

    matches!(
        call,
        RuntimeCall::Utility(
            Call::batch { .. }
                | Call::batch_all { .. }
                | Call::force_batch { .. }
                | Call::as_derivative { .. }
                | Call::if_else { .. }
        )
    )
}

/// Returns true for the calls of [`ProxyType::NonTransfer`].
fn non_transfer(call: &RuntimeCall) -> bool {
    use pallet_provider_registry::Call as Registry;
    use pallet_provider_staking::Call as Bonds;
    use pallet_staking::Call as Staking;

    matches!(
        call,
        RuntimeCall::System(frame_system::Call::remark { .. } | frame_system::Call::remark_with_event { .. })
            | RuntimeCall::Staking(
                Staking::unbond { .. } | Staking::withdraw_unbonded { .. } | Staking::chill {}
            )
            | RuntimeCall::ProviderRegistry(
                Registry::register_provider { .. }
                    | Registry::deregister_provider {}
                    | Registry::suspend_self { .. }
                    | Registry::resume { .. }
                    | Registry::drain { .. }
                    | Registry::refresh_machine { .. }
            )
            | RuntimeCall::ProviderStaking(Bonds::unbond { .. } | Bonds::withdraw { .. })
    )
}

/// Returns true for the calls of [`ProxyType::Provider`].
fn provider(call: &RuntimeCall) -> bool {
    use pallet_attestation::Call as Attestation;
    use pallet_job_escrow::Call as Escrow;
    use pallet_provider_registry::Call as Registry;
    use pallet_provider_staking::Call as Bonds;

    matches!(
        call,
        RuntimeCall::ProviderRegistry(
            Registry::register_provider { .. }
                | Registry::deregister_provider {}
                | Registry::register_machine { .. }
                | Registry::update_ask { .. }
                | Registry::update_endpoint { .. }
                | Registry::suspend_self { .. }
                | Registry::resume { .. }
                | Registry::drain { .. }
                | Registry::retire { .. }
                | Registry::refresh_machine { .. }
        ) | RuntimeCall::ProviderStaking(Bonds::unbond { .. } | Bonds::withdraw { .. })
            | RuntimeCall::JobEscrow(
                Escrow::accept_request { .. }
                    | Escrow::decline { .. }
                    | Escrow::settle { .. }
                    | Escrow::expire { .. }
            )
            | RuntimeCall::RewardEmission(pallet_reward_emission::Call::payout { .. })
            | RuntimeCall::Attestation(
                Attestation::submit_evidence { .. }
                    | Attestation::withdraw_evidence { .. }
                    | Attestation::remove_key { .. }
                    | Attestation::submit_collateral { .. }
            )
            | RuntimeCall::Availability(pallet_availability::Call::update_uptime { .. })
    )
}

/// Returns true for the calls of [`ProxyType::Validation`].
fn validation(call: &RuntimeCall) -> bool {
    use pallet_staking::Call as Staking;

    matches!(
        call,
        RuntimeCall::Staking(
            Staking::validate { .. }
                | Staking::nominate { .. }
                | Staking::chill {}
                | Staking::kick { .. }
                | Staking::unbond { .. }
                | Staking::withdraw_unbonded { .. }
                | Staking::payout_stakers { .. }
                | Staking::payout_stakers_by_page { .. }
        ) | RuntimeCall::Session(pallet_session::Call::set_keys { .. } | pallet_session::Call::purge_keys {})
            | RuntimeCall::VoterList(
                pallet_bags_list::Call::rebag { .. } | pallet_bags_list::Call::put_in_front_of { .. }
            )
            | RuntimeCall::Availability(pallet_availability::Call::claim { .. })
    )
}

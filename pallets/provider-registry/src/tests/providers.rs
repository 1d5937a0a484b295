use assay_primitives::stake::BondStanding::TooLow;
use polkadot_sdk::{
    frame_support::{assert_noop, assert_ok},
    sp_runtime::TokenError,
};

use crate::{Error, Event, HoldReason, ProviderRecord, Providers, mock::*};

fn deregister(who: AccountId) -> polkadot_sdk::sp_runtime::DispatchResult {
    ProviderRegistry::deregister_provider(RuntimeOrigin::signed(who))
}

#[test]
fn register_provider_works() {
    ExtBuilder::default().build_and_execute(|| {
        assert_ok!(register_provider(PROVIDER));

        assert_eq!(
            Providers::<Test>::get(PROVIDER),
            Some(ProviderRecord {
                name: b"Acme".to_vec().try_into().unwrap(),
                machines: 0,
                deposit: PROVIDER_DEPOSIT,
            })
        );
        assert_eq!(held(HoldReason::ProviderDeposit, &PROVIDER), PROVIDER_DEPOSIT);
        assert_eq!(take_events(), [Event::ProviderRegistered { provider: PROVIDER }]);
    });
}

#[test]
fn register_provider_fails_when_registered_already() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        assert_noop!(register_provider(PROVIDER), Error::<Test>::AlreadyProvider);
    });
}

#[test]
fn register_provider_fails_when_name_is_empty() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(
            ProviderRegistry::register_provider(RuntimeOrigin::signed(PROVIDER), Default::default()),
            Error::<Test>::EmptyName
        );
    });
}

#[test]
fn register_provider_fails_when_deposit_is_not_there() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(register_provider(PAUPER), TokenError::FundsUnavailable);
    });
}

#[test]
fn deregister_provider_works() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        assert_ok!(deregister(PROVIDER));

        assert_eq!(Providers::<Test>::get(PROVIDER), None);
        assert_eq!(held(HoldReason::ProviderDeposit, &PROVIDER), 0);
        assert_eq!(
            take_events(),
            [Event::ProviderDeregistered { provider: PROVIDER }]
        );
        // And it may come back.
        assert_ok!(register_provider(PROVIDER));
    });
}

#[test]
fn deregister_provider_fails_when_not_registered() {
    ExtBuilder::default().build_and_execute(|| {
        assert_noop!(deregister(STRANGER), Error::<Test>::NoSuchProvider);
    });
}

#[test]
fn deregister_provider_fails_when_it_has_machines() {
    ExtBuilder::default().with_providers().build_and_execute(|| {
        let machine = active_machine(PROVIDER, 1);
        assert_noop!(deregister(PROVIDER), Error::<Test>::HasMachines);
        // A retired machine that is still bonded counts too.
        assert_ok!(ProviderRegistry::retire(RuntimeOrigin::signed(PROVIDER), machine));
        assert_noop!(deregister(PROVIDER), Error::<Test>::HasMachines);

        MockClock::set_epoch(2);
        change_bond(machine, 0, TooLow);
        assert_ok!(deregister(PROVIDER));
    });
}

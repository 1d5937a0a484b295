#![allow(clippy::unwrap_used)]

use assay_primitives::job::{JobKind, Verification};
use serde_json::json;

use super::{
    choice::pick,
    deploy::{Stand, stand},
    find::clusters,
    jobs::end_of,
    quote::machine_costs,
    *,
};
use crate::{
    Error,
    market::MachineView,
    order::{OrderSpec, Spread},
    types::{AssignmentState, Outcome},
};

/// Machine of the provider with this number, as the market shows it.
fn machine(id: u64, provider: u8, uptime_ppm: u32, price: u128, region: &str) -> MachineView {
    serde_json::from_value(json!({
        "machine": id,
        "provider": AccountId::from([provider; 32]).to_string(),
        "workerKey": AccountId::from([9; 32]).to_string(),
        "sealingKey": format!("0x{}", "22".repeat(32)),
        "status": "active",
        "class": 3,
        "gpuType": "NVIDIA_H100",
        "vramMib": 81_920,
        "cudaCores": 16_896,
        "computeScore": 989,
        "slots": 8,
        "freeSlots": 2,
        "cpuCores": 64,
        "ramMib": 524_288,
        "diskGib": 2_000,
        "uploadMbps": 1_000,
        "downloadMbps": 1_000,
        "region": region,
        "location": { "latitudeMicrodegrees": 0, "longitudeMicrodegrees": 0 },
        "distanceM": null,
        "endpoint": "http://127.0.0.1:4001",
        "pricePerSlotHour": price.to_string(),
        "nextPricePerSlotHour": null,
        "nextPriceFromMs": null,
        "pricePerTflopsHour": null,
        "uptimePpm": uptime_ppm,
        "teeKinds": [],
        "service": { "fulfilled": 0, "cancelled": 0, "notStarted": 0, "abandoned": 0, "unresolved": 0 },
    }))
    .unwrap()
}

fn spec(nodes: u8) -> OrderSpec {
    OrderSpec {
        nodes,
        ..OrderSpec::new("registry.example/team/finetune:v2.4".parse().unwrap())
    }
}

fn ids(machines: &[MachineView]) -> Vec<u64> {
    machines.iter().map(|machine| machine.machine).collect()
}

#[test]
fn clusters_have_the_best_machines_of_each_provider_that_has_enough() {
    // As the market gives them: by uptime, then by price.
    let offers = vec![
        machine(1, 1, 999_000, 5, "us-east"),
        machine(2, 2, 990_000, 2, "us-east"),
        machine(3, 2, 990_000, 3, "us-east"),
        machine(4, 3, 990_000, 1, "us-east"),
        machine(5, 3, 990_000, 1, "us-west"),
        machine(6, 3, 980_000, 9, "us-west"),
    ];
    let found = clusters(offers, 2);
    let machines: Vec<_> = found.iter().map(|cluster| ids(&cluster.machines)).collect();
    assert_eq!(
        machines,
        [vec![4, 5], vec![2, 3]],
        "equal uptime: the cheaper first"
    );
    assert_eq!(found[1].price_per_slot_hour(), 3);
    assert_eq!(found[0].uptime_ppm(), 990_000);
    assert_eq!(found[0].regions(), ["us-east", "us-west"]);
    assert!(clusters(Vec::new(), 1).is_empty());
}

#[test]
fn announced_raise_counts_as_the_price() {
    let mut raising = machine(1, 1, 990_000, 2, "us-east");
    raising.next_price_per_slot_hour = Some(7);
    raising.next_price_from_ms = Some(1_000);
    assert_eq!(clusters(vec![raising.clone()], 1)[0].price_per_slot_hour(), 7);
    // A cheaper price that is announced does not hold yet.
    raising.next_price_per_slot_hour = Some(1);
    assert_eq!(clusters(vec![raising], 1)[0].price_per_slot_hour(), 2);
}

#[test]
fn machines_are_of_one_provider_unless_the_order_spreads_them() {
    let offers = || {
        vec![
            machine(1, 1, 999_000, 5, "us-east"),
            machine(2, 2, 990_000, 2, "us-east"),
            machine(3, 2, 990_000, 3, "us-west"),
            machine(4, 3, 980_000, 1, "us-west"),
        ]
    };
    assert_eq!(ids(&pick(offers(), &spec(1), None).unwrap()), [1]);
    assert_eq!(ids(&pick(offers(), &spec(2), None).unwrap()), [2, 3]);
    let provider = AccountId::from([3; 32]);
    assert_eq!(ids(&pick(offers(), &spec(1), Some(&provider)).unwrap()), [4]);
    let error = pick(offers(), &spec(2), Some(&provider)).unwrap_err();
    assert!(
        error.to_string().contains("2 machines are wanted, and 1 "),
        "{error}"
    );

    let mut distinct = spec(3);
    distinct.spread.providers = true;
    assert_eq!(ids(&pick(offers(), &distinct, None).unwrap()), [1, 2, 4]);
    assert_eq!(
        ids(&pick(offers(), &distinct, Some(&provider)).unwrap()),
        [4, 1, 2],
        "a provider that is named has one"
    );
    distinct.nodes = 4;
    assert!(matches!(
        pick(offers(), &distinct, None),
        Err(ConsumerError::NothingFits { .. })
    ));

    let apart = OrderSpec {
        spread: Spread {
            providers: true,
            regions: true,
        },
        ..spec(2)
    };
    assert_eq!(ids(&pick(offers(), &apart, None).unwrap()), [1, 3]);
    let regions = OrderSpec {
        spread: Spread {
            providers: false,
            regions: true,
        },
        ..spec(2)
    };
    assert_eq!(ids(&pick(offers(), &regions, None).unwrap()), [2, 3]);
}

#[test]
fn replicas_of_a_quorum_are_of_distinct_providers() {
    let quorum = OrderSpec {
        kind: JobKind::Task {
            verification: Verification::Quorum {
                replicas: 2,
                threshold: 2,
            },
        },
        ..spec(2)
    };
    let offers = vec![
        machine(1, 1, 999_000, 5, "us-east"),
        machine(2, 1, 999_000, 5, "us-east"),
        machine(3, 2, 990_000, 2, "us-east"),
    ];
    assert_eq!(ids(&pick(offers, &quorum, None).unwrap()), [1, 3]);
}

#[test]
fn quote_is_price_by_slots_and_time_rounded_up_for_each_machine() {
    let order = OrderSpec {
        slots: 3,
        max_duration_ms: 100_000,
        ..spec(2)
    };
    // 1 planck for 3 slots and 100 s is a twelfth: the chain holds a whole one for each machine.
    let machines = [
        machine(1, 1, 999_000, 1, "us-east"),
        machine(2, 1, 999_000, 12_000_000_000_000, "us-east"),
    ];
    let (quoted, escrow) = machine_costs(&order, &machines).unwrap();
    let costs: Vec<_> = quoted
        .iter()
        .map(|quoted| (quoted.machine, quoted.cost))
        .collect();
    assert_eq!(costs, [(1, 1), (2, 1_000_000_000_000)]);
    assert_eq!(escrow, 1_000_000_000_001);
    let dear = [
        machine(1, 1, 999_000, u128::MAX, "us-east"),
        machine(2, 1, 999_000, u128::MAX, "us-east"),
    ];
    let long = OrderSpec {
        max_duration_ms: 3_600_000,
        ..order
    };
    assert!(matches!(machine_costs(&long, &dear), Err(ConsumerError::TooDear)));
    let quote = Quote {
        machines: quoted,
        escrow,
        deposit: Some(5),
        fee: 7,
    };
    assert_eq!(quote.total(), escrow + 12);
}

#[test]
fn part_that_is_to_start_waits_until_its_deadline() {
    let starting = AssignmentState::Starting {
        assigned_at_ms: 0,
        deadline_ms: 100,
        risen_ms: 0,
    };
    assert_eq!(stand(Some(starting), 100), Stand::Waiting);
    assert!(matches!(stand(Some(starting), 101), Stand::Failed(reason) if reason.contains("in time")));
    assert!(matches!(stand(None, 0), Stand::Failed(reason) if reason.contains("gave the job back")));
    let running = AssignmentState::Running {
        started_at_ms: 0,
        judged_until_ms: 0,
    };
    assert_eq!(stand(Some(running), 0), Stand::Started);
    let ended = |outcome| AssignmentState::Ended {
        started_at_ms: 0,
        ended_at_ms: 0,
        judged_until_ms: 0,
        outcome,
    };
    assert_eq!(stand(Some(ended(Outcome::Completed)), 0), Stand::Started);
    assert!(matches!(
        stand(Some(ended(Outcome::Abandoned)), 0),
        Stand::Failed(_)
    ));

    assert_eq!(end_of(starting), None);
    assert_eq!(end_of(running), None);
    assert_eq!(
        end_of(ended(Outcome::Completed)),
        Some(AssignmentEnd::Ended {
            outcome: Outcome::Completed
        })
    );
}

#[test]
fn other_machines_are_tried_only_when_nothing_can_be_paid_twice() {
    let failed = |is_closed| ConsumerError::NotStarted {
        job: 5,
        reason: "machine 7: it gave the job back".to_owned(),
        is_closed,
    };
    assert!(failed(true).may_succeed_elsewhere());
    assert!(!failed(false).may_succeed_elsewhere());
    assert!(
        failed(false).to_string().contains("is paid for"),
        "{}",
        failed(false)
    );
    let refused = |error: &str| {
        ConsumerError::from(Error::Dispatch {
            pallet: "JobEscrow".to_owned(),
            error: error.to_owned(),
            docs: String::new(),
        })
    };
    assert!(refused("NoSlots").may_succeed_elsewhere());
    assert!(!refused("BadDuration").may_succeed_elsewhere());
    // It may yet be included: another order would be a second one.
    let undecided = ConsumerError::from(Error::Undecided {
        transaction: "00".to_owned(),
        awaited: "final",
        waited: "after 180 seconds".to_owned(),
    });
    assert!(!undecided.may_succeed_elsewhere());
}

#[test]
fn steps_read_as_sentences() {
    let step = Progress::Chosen {
        machines: vec![7, 9],
        escrow: 2_500_000_000_000,
    };
    assert_eq!(step.to_string(), "machines 7, 9, at most 2.5 ASY");
    let step = Progress::Submitted {
        transaction: [0xab; 32],
    };
    assert_eq!(step.to_string(), format!("transaction 0x{}", "ab".repeat(32)));
    assert_eq!(
        serde_json::to_value(&step).unwrap(),
        json!({ "step": "submitted", "transaction": format!("0x{}", "ab".repeat(32)) })
    );
}

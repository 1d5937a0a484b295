#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::Value as Json;

use super::*;
use crate::{
    manifest::{NetworkAccess, PortProtocol, Profile},
    market::{Near, TeeKind},
    types::{JobKind, Location, Verification},
    yaml::{ScalarKind, Value},
};

const EXAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/compute-manifest.example.yaml"
);

const SCHEMA: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/compute-manifest.schema.json"
);

/// Reads a file in whose environment `SET` is set.
fn parse_text(text: &str) -> Result<OrderSpec, OrderFileError> {
    let sources = Sources {
        folder: Path::new("/nonexistent"),
        variable: &|name| (name == "SET").then(|| "s3cret".to_owned()),
    };
    parse(text, Path::new("compute-manifest.yaml"), sources)
}

/// Problems of a file that has a version and an image in lines 1 and 2, and these lines.
fn problems(lines: &str) -> Vec<String> {
    let error = parse_text(&format!("version: 1\nimage: busybox\n{lines}")).unwrap_err();
    error
        .to_string()
        .lines()
        .skip(1)
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn example_is_an_order_with_every_wish() {
    let spec = load(Path::new(EXAMPLE)).unwrap();
    assert_eq!(spec.image.to_string(), "registry.example/team/finetune:v2.4");
    assert_eq!(spec.container.command, ["python", "train.py", "--epochs", "3"]);
    assert_eq!(spec.container.env["BATCH_SIZE"], "64");
    assert!(matches!(&spec.container.network, NetworkAccess::Allow(list) if list.len() == 2));
    assert_eq!(spec.container.ports[0].protocol, PortProtocol::Http);
    assert_eq!(
        (spec.container.shm_mib, spec.container.profile),
        (Some(1_024), Profile::Interactive)
    );
    assert!(!spec.container.capture_stdout);
    assert_eq!(spec.kind, JobKind::task(7_200_000));
    assert_eq!((spec.nodes, spec.slots), (4, 8));
    let wanted = spec.search();
    assert_eq!(wanted.gpu_type.as_ref().unwrap().as_slice(), b"NVIDIA_H100");
    assert_eq!((wanted.min_vram_mib, wanted.min_ram_mib), (81_920, 262_144));
    assert_eq!(
        wanted.near,
        Some(Near {
            center: Location {
                latitude_microdegrees: 40_712_800,
                longitude_microdegrees: -74_006_000,
            },
            within_km: 482,
        })
    );
    assert_eq!(
        (wanted.tee, wanted.min_uptime_ppm),
        (Some(TeeKind::NvidiaGpu), 995_000)
    );
    assert_eq!(wanted.max_price_per_slot_hour, Some(2_500_000_000_000));
    assert_eq!(wanted.min_nodes, 1, "providers are to be distinct");
    assert_eq!((spec.max_duration_ms, spec.retry.attempts), (21_600_000, 3));
    assert!(spec.sealed && spec.spread.providers && !spec.spread.regions);
}

#[test]
fn cases_have_the_verdict_that_they_name() {
    let cases = read_tree(include_str!("cases.yaml")).unwrap();
    let Value::List(cases) = &cases.value else {
        panic!("no list")
    };
    assert!(cases.len() > 80);
    let mut reader = Reader::default();
    for case in cases {
        let case = Section::read(&mut reader, "case", case, &["schema", "program", "text"]).unwrap();
        let verdict = values::boolean(&mut reader, &case, "program").unwrap();
        let text = values::text(&mut reader, &case, "text", "text").unwrap().value;
        let read = parse_text(&text);
        assert_eq!(
            read.is_ok(),
            verdict,
            "{text}{:?}",
            read.err().map(|error| error.to_string())
        );
    }
    assert!(reader.is_clean());
}

/// Asks a validator of JSON Schema, which comes with the fuzzer that `scripts/test unit` names.
#[test]
fn schema_gives_cases_the_verdict_that_they_name() {
    let Ok(fuzzer) = std::env::var("ASSAY_SCHEMATHESIS") else {
        println!("ASSAY_SCHEMATHESIS is unset: nothing is tested");
        return;
    };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/order/file");
    let output = Command::new(Path::new(&fuzzer).with_file_name("python"))
        .arg(format!("{folder}/check_schema.py"))
        .args([SCHEMA, EXAMPLE])
        .arg(format!("{folder}/cases.yaml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn schema_has_the_keys_of_the_program() {
    let schema: Json = serde_json::from_str(&fs::read_to_string(SCHEMA).unwrap()).unwrap();
    let check = |pointer: &str, keys: &[&str]| {
        let section = schema.pointer(pointer).unwrap();
        assert_eq!(section["additionalProperties"], false, "{pointer}");
        let found: BTreeSet<&str> = section["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(found, keys.iter().copied().collect::<BTreeSet<_>>(), "{pointer}");
    };
    check("", &KEYS);
    check("/properties/requirements", &machines::REQUIREMENT_KEYS);
    check("/properties/requirements/properties/near", &machines::NEAR_KEYS);
    check("/properties/verification", &machines::VERIFICATION_KEYS);
    check("/properties/spread", &machines::SPREAD_KEYS);
    check("/properties/retry", &machines::RETRY_KEYS);
    check("/properties/registry_login", &container::LOGIN_KEYS);
    check("/properties/network/oneOf/1", &container::NETWORK_KEYS);
    check("/properties/ports/items", &container::PORT_KEYS);
    check("/$defs/source", &container::SOURCE_KEYS);
}

#[test]
fn schema_has_the_bounds_of_the_program() {
    use crate::{
        manifest::{MAX_DELEGATES, MAX_DESTINATIONS, MAX_PORTS},
        market::MAX_NODES,
        order::MAX_ATTEMPTS,
    };
    use assay_primitives::{job::MAX_REPLICAS, machine::MAX_SLOTS};

    let schema: Json = serde_json::from_str(&fs::read_to_string(SCHEMA).unwrap()).unwrap();
    for (pointer, bound) in [
        ("/properties/nodes/maximum", u64::from(MAX_NODES)),
        ("/properties/slots/maximum", MAX_SLOTS.into()),
        (
            "/properties/retry/properties/attempts/maximum",
            MAX_ATTEMPTS.into(),
        ),
        (
            "/properties/verification/properties/replicas/maximum",
            MAX_REPLICAS.into(),
        ),
        ("/properties/ports/maxItems", MAX_PORTS as u64),
        ("/properties/delegates/maxItems", MAX_DELEGATES as u64),
        (
            "/properties/network/oneOf/1/properties/allow/maxItems",
            MAX_DESTINATIONS as u64,
        ),
        ("/properties/version/enum/0", FILE_VERSION.into()),
    ] {
        assert_eq!(
            schema.pointer(pointer).and_then(Json::as_u64),
            Some(bound),
            "{pointer}"
        );
    }
}

#[test]
fn every_problem_is_named_with_line_column_and_remedy() {
    assert_eq!(
        problems("nods: 3\nslots: 65\nkind: tsk\nrequirements:\n  tee: sev-snp\n"),
        [
            format!(
                "line 3, column 1: unknown key `nods`; did you mean `nodes`?; allowed here: {}",
                KEYS.join(", ")
            ),
            "line 4, column 8: `slots` is `65`; allowed: a whole number from 1 to 64".to_owned(),
            "line 5, column 7: `kind` is `tsk`; allowed: task, service; did you mean `task`?".to_owned(),
            "line 7, column 8: `requirements.tee` is `sev-snp`; allowed: sgx, tdx, sev_snp, nvidia_gpu; did you mean \
             `sev_snp`?"
                .to_owned(),
        ]
    );
    assert_eq!(
        problems("time_limit: 59s\n"),
        [
            "line 3, column 13: `time_limit` is `59s`; allowed: a length of time from 60s to 365d, such as 90s, 10m or 2h"
        ]
    );
    assert_eq!(
        problems("verification: {by: attested, threshold: 2}\n"),
        ["line 3, column 30: `verification.threshold` is for `by: quorum`; remove one of them"]
    );
    let error = parse_text("nodes: 0\n").unwrap_err().to_string();
    assert!(
        error.starts_with("compute-manifest.yaml is not usable:\n"),
        "{error}"
    );
    assert!(error.contains("add it, such as `version: 1`"), "{error}");
    assert!(error.contains("add it, such as `image: "), "{error}");
    assert!(error.contains("`nodes` is `0`"), "{error}");
}

#[test]
fn secrets_are_read_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bytes"), [0xff, 0]).unwrap();
    fs::write(folder.path().join("word"), "s3cret\n").unwrap();
    let path = folder.path().join(DEFAULT_FILE_NAME);
    let text = "version: 1\nimage: busybox\nenv: {KEY: {file: word}}\nsecrets: {a: {file: bytes}}\n\
                registry_login: {username: u, password: {file: word}}\n";
    fs::write(&path, text).unwrap();
    let spec = load(&path).unwrap();
    assert_eq!(spec.container.env["KEY"], "s3cret");
    assert_eq!(spec.container.secrets["a"].bytes().unwrap(), [0xff, 0]);
    assert_eq!(spec.container.registry.as_ref().unwrap().password, "s3cret");
    let shown = format!(
        "{spec:?} {} {}",
        spec.describe().join("\n"),
        spec.to_json().unwrap()
    );
    assert!(!shown.contains("s3cret"), "{shown}");

    for lines in [
        "secrets: {a: s3cret}\n",
        "registry_login: {username: u, password: s3cret}\n",
        "sealed: false\nsecrets: {a: {env: SET}}\n",
    ] {
        let shown = problems(lines).join("\n");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    assert!(matches!(
        load(&folder.path().join("missing.yaml")),
        Err(OrderFileError::Unreadable { .. })
    ));
}

#[test]
fn price_of_a_machine_is_divided_among_its_slots() {
    let price = |lines: &str| {
        let text = format!("version: 1\nimage: busybox\n{lines}");
        parse_text(&text).unwrap().max_price_per_slot_hour
    };
    assert_eq!(price(""), None);
    assert_eq!(price("max_price_per_slot_hour: 2.50\n"), Some(2_500_000_000_000));
    assert_eq!(
        price("slots: 8\nmax_price_per_machine_hour: 20\n"),
        Some(2_500_000_000_000)
    );
    // A third of 1 ASY, rounded down.
    assert_eq!(
        price("slots: 3\nmax_price_per_machine_hour: 1\n"),
        Some(333_333_333_333)
    );
}

#[test]
fn quorum_runs_on_as_many_machines_as_it_has_replicas() {
    let text = "version: 1\nimage: busybox\nverification: {by: quorum, replicas: 3, threshold: 2}\n";
    let spec = parse_text(text).unwrap();
    assert_eq!(spec.nodes, 3);
    let verification = Verification::Quorum {
        replicas: 3,
        threshold: 2,
    };
    assert_eq!(spec.kind, JobKind::Task { verification });
}

#[test]
fn order_is_described_in_plain_words() {
    let lines = load(Path::new(EXAMPLE)).unwrap().describe();
    for expected in [
        "runs on 4 machines, each of another provider, with 8 slots each",
        "pays at most 2.5 ASY per slot-hour, which is 80 ASY an hour for all",
        "needs machines within 482 km of 40.7128° north, -74.006° east",
        "reaches data.example:443, 198.51.100.0/24 and nothing else",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected}: {lines:#?}"
        );
    }
}

#[test]
fn scalars_of_the_example_have_the_types_that_they_seem_to_have() {
    let root = read_tree(&fs::read_to_string(EXAMPLE).unwrap()).unwrap();
    let mut reader = Reader::default();
    let section = Section::read(&mut reader, "", &root, &KEYS).unwrap();
    let (_, kind) = values::scalar(&mut reader, &section, "max_price_per_slot_hour", "").unwrap();
    assert_eq!(kind, ScalarKind::Decimal);
}

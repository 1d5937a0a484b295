//! The published schema of the output, for tests: it describes what the commands really print.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../docs/cli-output.schema.json");

/// Fails unless a value is of this kind of line.
pub(crate) fn assert_is(kind: &str, value: &Value) {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut faults = Vec::new();
    check(
        &schema,
        &json!({ "$ref": format!("#/$defs/{kind}") }),
        value,
        kind,
        &mut faults,
    );
    assert!(faults.is_empty(), "{faults:#?} in {value:#}");
    let listed = schema["anyOf"].as_array().unwrap();
    assert!(
        listed.contains(&json!({ "$ref": format!("#/$defs/{kind}") })),
        "{kind} is not among the lines of the schema"
    );
}

/// Notes where a value differs from a schema: the keywords that the published schema uses, and no others.
fn check(root: &Value, schema: &Value, value: &Value, path: &str, faults: &mut Vec<String>) {
    for (keyword, argument) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$ref" => {
                let name = argument.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                let target = root["$defs"]
                    .get(name)
                    .unwrap_or_else(|| panic!("{name} is not defined"));
                check(root, target, value, path, faults);
            }
            "description" => (),
            "type" => {
                let allowed = match argument {
                    Value::Array(types) => types.iter().any(|name| is_of(name, value)),
                    name => is_of(name, value),
                };
                if !allowed {
                    faults.push(format!("{path} is not of type {argument}"));
                }
            }
            "minimum" => {
                if value
                    .as_i64()
                    .is_some_and(|number| number < argument.as_i64().unwrap())
                {
                    faults.push(format!("{path} is below {argument}"));
                }
            }
            "enum" => {
                if !argument.as_array().unwrap().contains(value) {
                    faults.push(format!("{path} is none of {argument}"));
                }
            }
            "anyOf" => {
                let fits = argument.as_array().unwrap().iter().any(|option| {
                    let mut faults = Vec::new();
                    check(root, option, value, path, &mut faults);
                    faults.is_empty()
                });
                if !fits {
                    faults.push(format!("{path} fits no option"));
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, argument, item, &format!("{path}[{index}]"), faults);
                }
            }
            "required" => {
                for name in argument.as_array().unwrap() {
                    if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
                        faults.push(format!("{path} lacks {name}"));
                    }
                }
            }
            "properties" | "additionalProperties" => (),
            other => panic!("this test does not know the keyword {other}"),
        }
    }
    let Some(properties) = schema.get("properties") else {
        return;
    };
    for (name, content) in value.as_object().into_iter().flatten() {
        match properties.get(name) {
            Some(property) => check(root, property, content, &format!("{path}.{name}"), faults),
            None if schema["additionalProperties"] == true => (),
            None => faults.push(format!("{path} has {name}, which the schema does not know")),
        }
    }
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("this test does not know the type {other}"),
    }
}

#[test]
fn names_are_in_snake_case() {
    fn collect(schema: &Value, names: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                if let Some(properties) = object.get("properties").and_then(Value::as_object) {
                    names.extend(properties.keys().cloned());
                }
                object.values().for_each(|inner| collect(inner, names));
            }
            Value::Array(array) => array.iter().for_each(|inner| collect(inner, names)),
            _ => (),
        }
    }
    let mut names = Vec::new();
    collect(&serde_json::from_str(SCHEMA).unwrap(), &mut names);
    assert!(names.len() > 100, "{names:?}");
    let is_snake_case = |name: &String| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    for name in names {
        assert!(is_snake_case(&name), "{name}");
        assert_ne!(
            name, "id",
            "a machine is a `machine` and a job a `job` everywhere"
        );
    }
}

#[test]
fn what_differs_from_the_schema_is_found() {
    let is_valid = |value: Value| std::panic::catch_unwind(|| assert_is("ordered", &value)).is_ok();
    assert!(is_valid(json!({ "job": 7, "block": 9 })));
    for wrong in [
        json!({}),
        json!({ "job": "7", "block": 9 }),
        json!({ "job": -1, "block": 9 }),
        json!({ "job": 7, "block": 9, "id": 7 }),
    ] {
        assert!(!is_valid(wrong.clone()), "{wrong}");
    }
}

#[test]
fn lines_of_the_owner_s_commands_are_described() {
    let hash = format!("0x{}", "ab".repeat(32));
    for (kind, line) in [
        ("log", json!({ "stream": "stderr", "time_ms": 9, "text": "a" })),
        ("log", json!({ "stream": "stdout", "time_ms": 9, "bytes": "ff" })),
        ("log_gap", json!({ "dropped": null, "time_ms": 9 })),
        ("ordered", json!({ "job": 7, "block": 9 })),
        (
            "receipt",
            json!({ "job": 7, "machine": 1, "manifest_hash": hash, "active_time_ms": 5, "signature": hash }),
        ),
        (
            "result",
            json!({ "hash": hash, "is_on_chain": true, "document": { "exit_code": 0 } }),
        ),
    ] {
        assert_is(kind, &line);
    }
}

//! Requirements and orders as programs in other languages say them: objects with named values.
//!
//! Bindings hand over what their users wrote, so that one place knows the names, the units and the bounds.
//! Numbers may be written as texts, and are read exactly: a price of `2.5` is not rounded.

use std::{collections::BTreeMap, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{DeployOptions, MachineChoice};
use crate::{
    keys::parse_account,
    manifest::{ImageName, NetworkAccess},
    market::{MAX_NODES, Near, Requirements, TeeKind, parse_class_name, parse_region},
    order::{ContainerSettings, DEFAULT_WINDOW_MS, MAX_ATTEMPTS, OrderSpec, Spread},
    redaction,
    types::{JobKind, Location, Verification},
    units::{parse_asy, parse_decimal, parse_duration, parse_percent},
    yaml::nearest,
};

/// Metres of an international mile.
const METRES_PER_MILE: u64 = 1_609;

/// Metres of a kilometre.
const METRES_PER_KM: u64 = 1_000;

/// Names of requirements.
const REQUIREMENTS: [&str; 17] = [
    "gpu_type",
    "max_price_per_hour",
    "min_compute_score",
    "min_cpu_cores",
    "min_cuda_cores",
    "min_disk_gb",
    "min_download_mbps",
    "min_nodes",
    "min_ram_gb",
    "min_upload_mbps",
    "min_uptime_percent",
    "min_vram_gb",
    "near",
    "region",
    "slots",
    "tee",
    "price_currency",
];

/// Names of the values of a point and its surroundings.
const NEAR: [&str; 4] = ["latitude", "longitude", "within_km", "within_miles"];

/// Names of the values of an order.
const ORDER: [&str; 30] = [
    "capture_stdout",
    "command",
    "delegates",
    "distinct",
    "distinct_regions",
    "entrypoint",
    "env_vars",
    "image",
    "kind",
    "machines",
    "max_duration",
    "max_price_per_hour",
    "network",
    "nodes",
    "output",
    "ports",
    "profile",
    "provider_id",
    "registry",
    "requirements",
    "retry",
    "runtime",
    "sealed",
    "secrets",
    "shm_mb",
    "slots",
    "start_within",
    "threshold",
    "verification",
    "writable_root",
];

/// Value that cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct WishError {
    /// Name of the value.
    pub name: String,
    /// Fault, and what is allowed.
    pub reason: String,
}

impl WishError {
    fn new(name: &str, reason: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Reads requirements.
///
/// | name | meaning |
/// |---|---|
/// | `gpu_type`, `region` | text, such as `NVIDIA_H100` and `us-east` |
/// | `min_vram_gb`, `min_ram_gb`, `min_disk_gb` | GiB |
/// | `min_cuda_cores`, `min_compute_score`, `min_cpu_cores` | cores; dense BF16 TFLOPS; cores |
/// | `min_upload_mbps`, `min_download_mbps` | Mbit/s |
/// | `min_uptime_percent` | 0 to 100 |
/// | `max_price_per_hour` | ASY for each slot and hour |
/// | `near` | `latitude`, `longitude` in degrees, and `within_km` or `within_miles` |
/// | `tee` | `sgx`, `tdx`, `sev-snp` or `nvidia-gpu` |
/// | `slots`, `min_nodes` | slots of each machine; machines of one provider |
///
/// # Errors
/// A name that is not known, or a value that is not of its kind, with what is allowed.
pub fn requirements_from_json(value: &Value) -> Result<Requirements, WishError> {
    let fields = Fields::of("requirements", value, &REQUIREMENTS)?;
    if let Some(currency) = fields.text("price_currency")?
        && currency != "ASY"
    {
        return Err(WishError::new("price_currency", NO_RATE));
    }
    Ok(Requirements {
        gpu_type: fields.parsed("gpu_type", parse_class_name)?,
        min_vram_mib: fields.mib("min_vram_gb")?,
        min_cuda_cores: fields.number("min_cuda_cores", 0, u32::MAX)?.unwrap_or_default(),
        min_compute_score: fields
            .number("min_compute_score", 0, u32::MAX)?
            .unwrap_or_default(),
        min_cpu_cores: fields.number("min_cpu_cores", 0, u32::MAX)?.unwrap_or_default(),
        min_ram_mib: fields.mib("min_ram_gb")?,
        min_disk_gib: fields.number("min_disk_gb", 0, u32::MAX)?.unwrap_or_default(),
        min_upload_mbps: fields.number("min_upload_mbps", 0, u32::MAX)?.unwrap_or_default(),
        min_download_mbps: fields
            .number("min_download_mbps", 0, u32::MAX)?
            .unwrap_or_default(),
        region: fields.parsed("region", parse_region)?,
        near: fields.value("near").map(near).transpose()?,
        max_price_per_slot_hour: fields.price("max_price_per_hour")?,
        tee: fields.parsed("tee", tee)?,
        min_uptime_ppm: fields
            .decimal("min_uptime_percent", parse_percent)?
            .unwrap_or_default(),
        min_free_slots: fields.number("slots", 1, u32::from(u8::MAX))?.map_or(0, small),
        min_nodes: fields
            .number("min_nodes", 1, u32::from(MAX_NODES))?
            .map_or(0, small),
    })
}

/// Reads an order, and where it is placed. `provider_id` is the account of a provider, `machines` are
/// numbers; the other names are those of [`OrderSpec`] and of the manifest. Times are seconds, or texts such
/// as `90s`.
///
/// # Errors
/// A name that is not known, or a value that is not of its kind, with what is allowed.
pub fn order_from_json(value: &Value) -> Result<(OrderSpec, DeployOptions), WishError> {
    let fields = Fields::of("order", value, &ORDER)?;
    let image = fields
        .parsed("image", |text| {
            text.parse::<ImageName>().map_err(|error| error.to_string())
        })?
        .ok_or_else(|| {
            WishError::new(
                "image",
                "an order names an image, such as registry.example/team/app:v1",
            )
        })?;
    let requirements = match fields.value("requirements") {
        Some(value) => requirements_from_json(value)?,
        None => Requirements::default(),
    };
    let machines: Option<Vec<u64>> = fields.shape("machines", "a list of numbers of machines")?;
    let named = machines
        .as_ref()
        .map(|machines| u8::try_from(machines.len()).unwrap_or(u8::MAX));
    let nodes = fields
        .number("nodes", 1, u32::from(MAX_NODES))?
        .map(small)
        .or(named)
        .unwrap_or_else(|| requirements.min_nodes.max(1));
    let slots = fields
        .number("slots", 1, u32::from(u8::MAX))?
        .map_or_else(|| requirements.slots(), small);
    let price = fields.price("max_price_per_hour")?;
    let spec = OrderSpec {
        container: container(&fields)?,
        kind: kind(&fields, nodes)?,
        nodes,
        slots,
        max_price_per_slot_hour: price.or(requirements.max_price_per_slot_hour),
        max_duration_ms: match fields.duration("max_duration")? {
            Some(duration) => u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            None => crate::order::DEFAULT_DURATION_MS,
        },
        requirements,
        sealed: fields.flag("sealed")?.unwrap_or(true),
        spread: Spread {
            providers: fields.flag("distinct")?.unwrap_or_default(),
            regions: fields.flag("distinct_regions")?.unwrap_or_default(),
        },
        retry: crate::order::Retry {
            attempts: fields
                .number("retry", 0, u32::from(MAX_ATTEMPTS) - 1)?
                .map_or(1, |retries| small(retries).saturating_add(1)),
        },
        ..OrderSpec::new(image)
    };
    let provider = fields.parsed("provider_id", |text| {
        parse_account(text).map_err(|_| {
            format!(
                "{:?} is not the id of a provider: take that of a cluster",
                redaction::shown(text)
            )
        })
    })?;
    let choice = match (provider, machines) {
        (Some(_), Some(_)) => {
            return Err(WishError::new(
                "machines",
                "an order names a provider or machines, not both",
            ));
        }
        (Some(provider), None) => MachineChoice::Provider(provider),
        (None, Some(machines)) => MachineChoice::Machines(machines),
        (None, None) => MachineChoice::Anywhere,
    };
    let options = DeployOptions {
        machines: choice,
        start_within: fields.duration("start_within")?,
        ..DeployOptions::default()
    };
    Ok((spec, options))
}

/// Answer to a price in another currency.
const NO_RATE: &str = "prices are in ASY, for each slot and hour: a price in another currency needs the rate of a source \
     that you trust; convert it, and give the amount in ASY";

fn container(fields: &Fields<'_>) -> Result<ContainerSettings, WishError> {
    let words = "a list of texts";
    let table = "an object of texts";
    let network: Option<Value> = match fields.value("network") {
        Some(Value::Array(list)) => Some(json!({ "allow": list })),
        other => other.cloned(),
    };
    let network = match network {
        Some(value) => serde_json::from_value(value).map_err(|error| {
            WishError::new(
                "network",
                format!("{error}; allowed: false, true, or a list of destinations such as example.org:443"),
            )
        })?,
        None => NetworkAccess::default(),
    };
    let ports: Option<Vec<Value>> = fields.shape("ports", "a list of ports")?;
    let mut published = Vec::new();
    for port in ports.unwrap_or_default() {
        let port = if port.is_number() {
            json!({ "port": port })
        } else {
            port
        };
        published.push(serde_json::from_value(port).map_err(|error| {
            WishError::new(
                "ports",
                format!("{error}; a port is a number, or an object with port, protocol (tcp, udp, http), name and public"),
            )
        })?);
    }
    let defaults = ContainerSettings::default();
    Ok(ContainerSettings {
        entrypoint: fields.shape("entrypoint", words)?.unwrap_or_default(),
        command: fields.shape("command", words)?.unwrap_or_default(),
        env: fields
            .shape::<BTreeMap<String, String>>("env_vars", table)?
            .unwrap_or_default(),
        secrets: fields
            .shape("secrets", "an object of texts, or of {\"base64\": text}")?
            .unwrap_or_default(),
        registry: fields.shape("registry", "an object with username and password")?,
        network,
        ports: published,
        work_dir: None,
        output: fields.text("output")?.map(str::to_owned),
        writable_root: fields.flag("writable_root")?.unwrap_or_default(),
        shm_mib: fields.number("shm_mb", 1, u32::MAX)?,
        profile: fields
            .shape("profile", "\"batch\" or \"interactive\"")?
            .unwrap_or_default(),
        runtime: fields.text("runtime")?.map(str::to_owned),
        delegates: {
            let accounts: Vec<String> = fields.shape("delegates", words)?.unwrap_or_default();
            let accounts: Result<Vec<_>, _> = accounts.iter().map(|account| parse_account(account)).collect();
            accounts.map_err(|error| WishError::new("delegates", error.to_string()))?
        },
        capture_stdout: fields.flag("capture_stdout")?.unwrap_or(defaults.capture_stdout),
    })
}

fn kind(fields: &Fields<'_>, nodes: u8) -> Result<JobKind, WishError> {
    let threshold = fields.number("threshold", 1, u32::from(MAX_NODES))?.map(small);
    let verification = fields.text("verification")?;
    let verification = match (fields.text("kind")?, verification) {
        (Some("service"), None) => return Ok(JobKind::Service),
        (Some("service"), Some(_)) => {
            return Err(WishError::new(
                "verification",
                "a service has no result to verify: order a task",
            ));
        }
        (Some("task") | None, verification) => verification.unwrap_or("consumer"),
        (Some(_), _) => return Err(WishError::new("kind", "allowed: \"task\", \"service\"")),
    };
    let verification = match (verification, threshold) {
        ("consumer", None) => Verification::Consumer {
            window_ms: DEFAULT_WINDOW_MS,
        },
        ("attested", None) => Verification::Attested,
        ("quorum", threshold) => Verification::Quorum {
            replicas: nodes,
            // More than half of them.
            threshold: threshold.unwrap_or(nodes / 2 + 1),
        },
        ("consumer" | "attested", Some(_)) => {
            return Err(WishError::new(
                "threshold",
                "only a quorum has one: verification=\"quorum\"",
            ));
        }
        _ => {
            return Err(WishError::new(
                "verification",
                "allowed: \"consumer\", \"attested\", \"quorum\"",
            ));
        }
    };
    Ok(JobKind::Task { verification })
}

fn near(value: &Value) -> Result<Near, WishError> {
    let fields = Fields::of("near", value, &NEAR)?;
    let degrees = |name: &str, bound: i64| {
        let microdegrees = fields
            .decimal(name, |text| parse_decimal(text, 6))?
            .ok_or_else(|| WishError::new(name, "a place has a latitude and a longitude, in degrees"))?;
        i32::try_from(microdegrees)
            .ok()
            .filter(|_| microdegrees.abs() <= bound * 1_000_000)
            .ok_or_else(|| WishError::new(name, format!("allowed: -{bound} to {bound} degrees")))
    };
    let distance = |name: &str| fields.number(name, 1, 100_000);
    let within_km = match (distance("within_km")?, distance("within_miles")?) {
        (Some(km), None) => km,
        // Rounded up: whoever is within the miles is within the kilometres.
        (None, Some(miles)) => {
            let metres = u64::from(miles).saturating_mul(METRES_PER_MILE);
            u32::try_from(metres.div_ceil(METRES_PER_KM)).unwrap_or(u32::MAX)
        }
        _ => {
            return Err(WishError::new(
                "near",
                "give the distance as within_km or as within_miles",
            ));
        }
    };
    Ok(Near {
        center: Location {
            latitude_microdegrees: degrees("latitude", 90)?,
            longitude_microdegrees: degrees("longitude", 180)?,
        },
        within_km,
    })
}

fn tee(text: &str) -> Result<TeeKind, String> {
    // Files of orders write an underscore.
    match text.replace('_', "-").as_str() {
        "sgx" => Ok(TeeKind::Sgx),
        "tdx" => Ok(TeeKind::Tdx),
        "sev-snp" => Ok(TeeKind::SevSnp),
        "nvidia-gpu" => Ok(TeeKind::NvidiaGpu),
        _ => Err("allowed: \"sgx\", \"tdx\", \"sev-snp\", \"nvidia-gpu\"".to_owned()),
    }
}

/// Number whose bound was checked.
fn small(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Named values of an object; null is none.
struct Fields<'a> {
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn of(what: &str, value: &'a Value, allowed: &[&str]) -> Result<Self, WishError> {
        let Value::Object(map) = value else {
            return Err(WishError::new(
                what,
                format!("it is {}, and not an object", kind_of(value)),
            ));
        };
        if let Some(unknown) = map.keys().find(|name| !allowed.contains(&name.as_str())) {
            let meant = nearest(unknown, allowed.iter().copied())
                .map_or_else(String::new, |name| format!(" Did you mean {name}?"));
            return Err(WishError::new(
                unknown,
                format!("this name is not known.{meant} Allowed: {}", allowed.join(", ")),
            ));
        }
        Ok(Self { map })
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, WishError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(WishError::new(
                name,
                format!("it is {}, and not a text", kind_of(other)),
            )),
        }
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, WishError> {
        let text = self.text(name)?;
        text.map(|text| parse(text).map_err(|reason| WishError::new(name, reason)))
            .transpose()
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, WishError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(WishError::new(
                name,
                format!("it is {}; allowed: true, false", kind_of(other)),
            )),
        }
    }

    fn number(&self, name: &str, least: u32, most: u32) -> Result<Option<u32>, WishError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (least..=most).contains(number))
            .map(Some)
            .ok_or_else(|| {
                WishError::new(
                    name,
                    format!(
                        "it is {}; allowed: whole numbers from {least} to {most}",
                        shown(value)
                    ),
                )
            })
    }

    /// Reads a number exactly, written as a number or as a text.
    fn decimal<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, WishError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let text = match value {
            Value::String(text) => text.clone(),
            // Not in scientific notation, as JSON's own text would be.
            Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(float) => float.to_string(),
                None => number.to_string(),
            },
            other => {
                return Err(WishError::new(
                    name,
                    format!("it is {}, and not a number", kind_of(other)),
                ));
            }
        };
        parse(&text)
            .map(Some)
            .map_err(|reason| WishError::new(name, reason))
    }

    fn price(&self, name: &str) -> Result<Option<u128>, WishError> {
        self.decimal(name, |text| {
            // A text with a currency is not taken for one in ASY.
            let other = text
                .trim()
                .trim_end_matches("ASY")
                .contains(|character: char| !character.is_ascii_digit() && !".-+ ,".contains(character));
            if other {
                return Err(NO_RATE.to_owned());
            }
            parse_asy(text).map_err(|error| error.to_string())
        })
    }

    /// Reads GiB with up to three decimal places as MiB.
    fn mib(&self, name: &str) -> Result<u32, WishError> {
        let thousandths = self
            .decimal(name, |text| parse_decimal(text, 3))?
            .unwrap_or_default();
        u64::try_from(thousandths)
            .ok()
            .and_then(|thousandths| thousandths.checked_mul(1_024))
            // Rounded up: who asks for 0.001 GiB wants some.
            .and_then(|mib| u32::try_from(mib.div_ceil(1_000)).ok())
            .ok_or_else(|| WishError::new(name, "allowed: 0 to 4194303 GiB"))
    }

    /// Reads seconds, or a text such as `90s` or `2h`.
    fn duration(&self, name: &str) -> Result<Option<Duration>, WishError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => parse_duration(text)
                .map(Some)
                .map_err(|reason| WishError::new(name, reason)),
            Some(_) => {
                let milliseconds = self
                    .decimal(name, |text| parse_decimal(text, 3))?
                    .unwrap_or_default();
                u64::try_from(milliseconds)
                    .map(|milliseconds| Some(Duration::from_millis(milliseconds)))
                    .map_err(|_| {
                        WishError::new(
                            name,
                            "allowed: seconds from 0 on, or a text such as 90s, 10m or 2h",
                        )
                    })
            }
        }
    }

    /// Reads a value of a shape that serde knows.
    fn shape<T: DeserializeOwned>(&self, name: &str, allowed: &str) -> Result<Option<T>, WishError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        // The error of serde would show the value, which may be a secret.
        serde_json::from_value(value.clone())
            .map(Some)
            .map_err(|_| WishError::new(name, format!("it is {}; allowed: {allowed}", described(value))))
    }
}

/// Returns the kind of a value.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Returns the kind of a value, and of what is in it.
fn described(value: &Value) -> String {
    match value {
        Value::Array(list) => {
            let kinds: std::collections::BTreeSet<_> = list.iter().map(kind_of).collect();
            let kinds: Vec<_> = kinds.into_iter().collect();
            format!("a list of {}", kinds.join(" and "))
        }
        Value::Object(map) => {
            let kinds: std::collections::BTreeSet<_> = map.values().map(kind_of).collect();
            let kinds: Vec<_> = kinds.into_iter().collect();
            format!("an object of {}", kinds.join(" and "))
        }
        other => kind_of(other).to_owned(),
    }
}

/// Returns a number as it was written, and the kind of anything else.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        other => kind_of(other).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_primitives::money::ASY;

    use super::*;

    fn requirements(value: Value) -> Requirements {
        requirements_from_json(&value).unwrap()
    }

    fn refused(value: Value) -> String {
        requirements_from_json(&value).unwrap_err().to_string()
    }

    #[test]
    fn requirements_mean_what_their_names_say() {
        let wanted = requirements(json!({
            "gpu_type": "NVIDIA_H100",
            "min_vram_gb": 80,
            "min_nodes": 4,
            "region": "us-east",
            "max_price_per_hour": 2.50,
            "min_uptime_percent": 99.5,
            "tee": "sev-snp",
            "slots": 2,
            "near": { "latitude": 40.7128, "longitude": -74.006, "within_miles": 100 },
        }));
        assert_eq!(wanted.gpu_type.unwrap().as_slice(), b"NVIDIA_H100");
        assert_eq!(wanted.region.unwrap().as_slice(), b"us-east");
        assert_eq!(wanted.min_vram_mib, 81_920);
        assert_eq!((wanted.min_nodes, wanted.min_free_slots), (4, 2));
        assert_eq!(wanted.max_price_per_slot_hour, Some(ASY * 5 / 2));
        assert_eq!(wanted.min_uptime_ppm, 995_000);
        assert_eq!(wanted.tee, Some(TeeKind::SevSnp));
        let near = wanted.near.unwrap();
        assert_eq!(near.center.latitude_microdegrees, 40_712_800);
        assert_eq!(near.center.longitude_microdegrees, -74_006_000);
        assert_eq!(near.within_km, 161);
        assert_eq!(requirements(json!({})), Requirements::default());
        assert_eq!(
            requirements(json!({ "min_vram_gb": null })),
            Requirements::default()
        );
    }

    #[test]
    fn prices_are_exact_and_in_asy() {
        for (price, plancks) in [
            (json!(2.5), 2_500_000_000_000),
            (json!(0.1), 100_000_000_000),
            (json!(0.00001), 10_000_000),
            (json!(3), 3_000_000_000_000),
            (json!("0.000000000001"), 1),
            (json!("2.5 ASY"), 2_500_000_000_000),
        ] {
            let wanted = requirements(json!({ "max_price_per_hour": price }));
            assert_eq!(wanted.max_price_per_slot_hour, Some(plancks), "{price}");
        }
        for price in [json!("2.50 USD"), json!("$2.50"), json!("€2")] {
            let error = refused(json!({ "max_price_per_hour": price }));
            assert!(error.contains("needs the rate of a source"), "{error}");
        }
        assert!(refused(json!({ "price_currency": "USD" })).contains("rate"));
        assert!(refused(json!({ "max_price_per_hour": -1 })).contains("max_price_per_hour"));
        assert!(refused(json!({ "max_price_per_hour": true })).contains("not a number"));
    }

    #[test]
    fn unknown_names_and_wrong_kinds_say_what_is_allowed() {
        let error = refused(json!({ "min_vram": 80 }));
        assert!(error.contains("Did you mean min_vram_gb?"), "{error}");
        assert!(error.contains("max_price_per_hour"), "{error}");
        assert!(refused(json!({ "min_nodes": 0 })).contains("from 1 to 64"));
        assert!(refused(json!({ "min_nodes": 2.5 })).contains("it is 2.5"));
        assert!(refused(json!({ "min_nodes": "4" })).contains("it is a text"));
        assert!(refused(json!({ "gpu_type": 7 })).contains("it is a number, and not a text"));
        assert!(refused(json!({ "tee": "tpm" })).contains("sev-snp"));
        assert!(
            refused(json!({ "near": { "latitude": 91, "longitude": 0, "within_km": 1 } }))
                .contains("-90 to 90")
        );
        assert!(refused(json!({ "near": { "latitude": 1, "longitude": 0 } })).contains("within_miles"));
        assert!(refused(json!([])).contains("it is a list"));
    }

    #[test]
    fn order_runs_on_as_many_machines_as_were_required() {
        let (spec, options) = order_from_json(&json!({
            "image": "registry.example/team/finetune:v2.4",
            "provider_id": "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty",
            "env_vars": { "DATASET_URL": "https://example.org" },
            "requirements": { "min_nodes": 4, "max_price_per_hour": 2.5, "slots": 2 },
            "max_duration": 3600,
            "retry": 2,
            "ports": [8080, { "port": 22, "protocol": "tcp", "name": "ssh" }],
            "network": ["example.org:443"],
        }))
        .unwrap();
        spec.check().unwrap();
        assert_eq!((spec.nodes, spec.slots, spec.retry.attempts), (4, 2, 3));
        assert_eq!(spec.max_duration_ms, 3_600_000);
        assert_eq!(spec.max_price_per_slot_hour, Some(ASY * 5 / 2));
        assert_eq!(spec.container.env["DATASET_URL"], "https://example.org");
        assert_eq!(spec.container.ports.len(), 2);
        assert!(matches!(&spec.container.network, NetworkAccess::Allow(list) if list.len() == 1));
        assert!(spec.sealed);
        assert!(matches!(options.machines, MachineChoice::Provider(_)));
        let nodes = order_from_json(&json!({
            "image": "a",
            "requirements": { "min_nodes": 4 },
            "nodes": 2,
            "max_duration": "2h",
        }));
        let (spec, options) = nodes.unwrap();
        assert_eq!((spec.nodes, spec.max_duration_ms), (2, 7_200_000));
        assert_eq!(options.machines, MachineChoice::Anywhere);
    }

    #[test]
    fn kinds_and_verifications_fit_together() {
        let kind = |mut more: Value| {
            more["image"] = json!("a");
            order_from_json(&more)
                .map(|(spec, _)| spec.kind)
                .map_err(|error| error.to_string())
        };
        assert_eq!(kind(json!({ "kind": "service" })), Ok(JobKind::Service));
        assert_eq!(
            kind(json!({ "verification": "attested" })),
            Ok(JobKind::Task {
                verification: Verification::Attested
            })
        );
        assert_eq!(
            kind(json!({ "verification": "quorum", "nodes": 3 })),
            Ok(JobKind::Task {
                verification: Verification::Quorum {
                    replicas: 3,
                    threshold: 2
                }
            })
        );
        for value in [
            json!({ "kind": "service", "verification": "attested" }),
            json!({ "kind": "daemon" }),
            json!({ "verification": "proof" }),
            json!({ "threshold": 2 }),
            json!({ "provider_id": "5F" }),
            json!({ "machines": [1], "provider_id": "//Bob" }),
            json!({ "sealed": 1 }),
            json!({ "command": "echo" }),
            json!({ "retry": 16 }),
        ] {
            assert!(kind(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn secrets_are_not_shown_in_errors() {
        let error = order_from_json(&json!({ "image": "a", "secrets": { "key": ["hunter2"] } })).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        let error =
            order_from_json(&json!({ "image": "a", "registry": { "password": "hunter2" } })).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

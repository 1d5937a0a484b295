//! An order in plain words, and as JSON.

use assay_primitives::{
    job::{JobKind, Verification},
    market::{Near, Requirements},
};
use serde_json::{Map, Value, json};

use super::OrderSpec;
use crate::{
    json,
    manifest::{NetworkAccess, Profile, PublishPort},
    market::TeeKind,
    units::{format_asy, format_milliseconds, format_ppm},
};

const MIB_PER_GIB: u32 = 1_024;

impl OrderSpec {
    /// Returns what the order means in plain words, one fact a line. Secrets are named and not shown.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = vec![
            match self.image.digest() {
                Some(_) => format!("runs the image {}", self.image),
                None => format!(
                    "runs the image {}: the one that its tag `{}` names when the order is placed",
                    self.image.name(),
                    self.image.tag_or_latest()
                ),
            },
            self.machines(),
            self.price(),
            self.ending(),
            if self.sealed {
                "seals command, environment and secrets to each machine".to_owned()
            } else {
                "publishes command and environment on chain, where anybody can read them".to_owned()
            },
        ];
        lines.extend(requirements(&self.requirements));
        lines.extend(self.container_lines());
        if self.retry.attempts > 1 {
            lines.push(format!(
                "tries up to {} times, each time on machines that did not fail",
                self.retry.attempts
            ));
        }
        lines
    }

    fn machines(&self) -> String {
        let distinct = match (self.needs_distinct_providers(), self.spread.regions) {
            _ if self.nodes < 2 => "",
            (true, true) => ", each of another provider and in another region",
            (true, false) => ", each of another provider",
            (false, true) => " of one provider, each in another region",
            (false, false) => " of one provider",
        };
        format!(
            "runs on {}{distinct}, with {} each",
            count(self.nodes, "machine"),
            count(self.slots, "slot")
        )
    }

    fn price(&self) -> String {
        let Some(price) = self.max_price_per_slot_hour else {
            return "pays what the chosen machines ask for: there is no ceiling".to_owned();
        };
        let slots = u128::from(self.slots).saturating_mul(u128::from(self.nodes));
        format!(
            "pays at most {} per slot-hour, which is {} an hour for all",
            format_asy(price),
            format_asy(price.saturating_mul(slots))
        )
    }

    fn ending(&self) -> String {
        let limit = format_milliseconds(self.max_duration_ms);
        match self.kind {
            JobKind::Service => format!("is a service: runs until it is closed, for {limit} at most"),
            JobKind::Task { verification } => {
                let judge = match verification {
                    Verification::Consumer { window_ms } => format!(
                        "you accept or reject its result within {}, and silence accepts",
                        format_milliseconds(window_ms)
                    ),
                    Verification::Quorum { replicas, threshold } => {
                        format!("a result stands when {threshold} of {replicas} replicas agree on it")
                    }
                    Verification::Attested => "the machine's TEE vouches for its result".to_owned(),
                    Verification::Proof { .. } => "a proof vouches for its result".to_owned(),
                };
                format!("is a task: ends by itself, within {limit}; {judge}")
            }
        }
    }

    fn container_lines(&self) -> Vec<String> {
        let container = &self.container;
        let mut lines = Vec::new();
        let words = |words: &[String]| {
            words
                .iter()
                .map(|word| format!("{word:?}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        if !container.entrypoint.is_empty() {
            lines.push(format!(
                "starts with the entrypoint {}",
                words(&container.entrypoint)
            ));
        }
        if !container.command.is_empty() {
            lines.push(format!("runs the command {}", words(&container.command)));
        }
        for (what, names) in [
            (
                "sets the variables",
                container.env.keys().cloned().collect::<Vec<_>>(),
            ),
            (
                "has the secrets, below /run/secrets,",
                container.secrets.keys().cloned().collect(),
            ),
        ] {
            if !names.is_empty() {
                lines.push(format!("{what} {}", names.join(", ")));
            }
        }
        if let Some(login) = &container.registry {
            lines.push(format!("logs in at the registry as {:?}", login.username));
        }
        lines.push(match &container.network {
            NetworkAccess::Off => "has no network".to_owned(),
            NetworkAccess::On => "reaches the public network".to_owned(),
            NetworkAccess::Allow(list) => {
                let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                format!("reaches {} and nothing else", list.join(", "))
            }
        });
        lines.extend(container.ports.iter().map(port));
        if let Some(path) = &container.output {
            lines.push(format!("gives the content of {path} as its result"));
        }
        if let Some(shm_mib) = container.shm_mib {
            lines.push(format!("has {shm_mib} MiB of /dev/shm"));
        }
        if container.profile == Profile::Interactive {
            lines.push("may install packages and run sshd".to_owned());
        }
        lines
    }

    /// Returns the order as JSON in snake_case, without values of the environment and of secrets. Amounts are
    /// decimal strings of plancks.
    ///
    /// # Errors
    /// None that an order of this crate's own types has.
    pub fn to_json(&self) -> Result<Value, serde_json::Error> {
        let container = &self.container;
        let mut requirements = json::to_value(&self.search())?;
        if let Value::Object(fields) = &mut requirements {
            drop_nothing(fields);
        }
        Ok(json!({
            "image": self.image.to_string(),
            "kind": json::to_value(&self.kind)?,
            "nodes": self.nodes,
            "slots": self.slots,
            "requirements": requirements,
            "max_duration_ms": self.max_duration_ms,
            "max_price_per_slot_hour": self.max_price_per_slot_hour.map(|price| price.to_string()),
            "sealed": self.sealed,
            "spread": { "providers": self.spread.providers, "regions": self.spread.regions },
            "retry": { "attempts": self.retry.attempts },
            "container": {
                "entrypoint": container.entrypoint,
                "command": container.command,
                "env": container.env.keys().collect::<Vec<_>>(),
                "secrets": container.secrets.keys().collect::<Vec<_>>(),
                "registry_username": container.registry.as_ref().map(|login| &login.username),
                "network": json::to_value(&container.network)?,
                "ports": json::to_value(&container.ports)?,
                "work_dir": container.work_dir,
                "output": container.output,
                "writable_root": container.writable_root,
                "shm_mib": container.shm_mib,
                "profile": json::to_value(&container.profile)?,
                "runtime": container.runtime,
                "delegates": json::to_value(&container.delegates)?,
                "capture_stdout": container.capture_stdout,
            },
        }))
    }
}

/// Removes the fields that ask for nothing.
fn drop_nothing(fields: &mut Map<String, Value>) {
    fields.retain(|_, value| !value.is_null() && *value != json!(0));
}

fn count(number: u8, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn requirements(wanted: &Requirements) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut lines = Vec::new();
    if let Some(class) = &wanted.gpu_type {
        lines.push(format!("needs the hardware class {}", text(class)));
    }
    for (least, what) in [
        (wanted.min_vram_mib / MIB_PER_GIB, "GiB of memory on each GPU"),
        (
            wanted.min_cuda_cores,
            "CUDA cores or stream processors on each GPU",
        ),
        (wanted.min_compute_score, "TFLOPS (dense BF16) on each GPU"),
        (wanted.min_cpu_cores, "CPU cores for the slots of a machine"),
        (
            wanted.min_ram_mib / MIB_PER_GIB,
            "GiB of main memory for the slots of a machine",
        ),
        (wanted.min_disk_gib, "GiB of disk for the slots of a machine"),
        (wanted.min_upload_mbps, "Mbit/s of upload"),
        (wanted.min_download_mbps, "Mbit/s of download"),
    ] {
        if least > 0 {
            lines.push(format!("needs at least {least} {what}"));
        }
    }
    if let Some(region) = &wanted.region {
        lines.push(format!("needs machines in the region {}", text(region)));
    }
    if let Some(Near { center, within_km }) = &wanted.near {
        lines.push(format!(
            "needs machines within {within_km} km of {} north, {} east",
            degrees(center.latitude_microdegrees),
            degrees(center.longitude_microdegrees)
        ));
    }
    if let Some(tee) = wanted.tee {
        let name = match tee {
            TeeKind::Sgx => "Intel SGX",
            TeeKind::Tdx => "Intel TDX",
            TeeKind::SevSnp => "AMD SEV-SNP",
            TeeKind::NvidiaGpu => "NVIDIA confidential computing",
        };
        lines.push(format!("needs fresh evidence on chain of {name}"));
    }
    if wanted.min_uptime_ppm > 0 {
        lines.push(format!(
            "needs machines that are up at least {} of the time",
            format_ppm(wanted.min_uptime_ppm)
        ));
    }
    if lines.is_empty() {
        lines.push("takes any machine: it has no requirements".to_owned());
    }
    lines
}

/// Writes micro-degrees as degrees.
fn degrees(microdegrees: i32) -> String {
    let sign = if microdegrees < 0 { "-" } else { "" };
    let size = microdegrees.unsigned_abs();
    let decimals = format!("{:06}", size % 1_000_000);
    let decimals = decimals.trim_end_matches('0');
    let point = if decimals.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{decimals}°", size / 1_000_000)
}

fn port(port: &PublishPort) -> String {
    let access = match (port.protocol.name(), port.public) {
        ("http", false) => "for you alone",
        _ => "open to anybody",
    };
    format!(
        "publishes port {} ({}) as {}, {access}",
        port.port,
        port.protocol.name(),
        port.name()
    )
}

//! `assay-worker check`: finds problems before the worker runs. Changes nothing on chain, and writes no keys.
//!
//! Host and chain are checked by [`run`] alone; what [`start_findings`] lists is checked by the start of the
//! worker, too.

mod chain;
mod finding;
mod host;
mod start;

use std::{io::Write, process::ExitCode};

use crate::{
    command_line::LogFormat,
    config::Config,
    keys::{FoundKeys, Keys},
    sealing_store::SealingStore,
    state,
};

pub use finding::{Finding, Severity};
pub use start::findings as start_findings;

/// Runs all checks and prints their results as text or JSON; fails if any of them found a problem.
pub async fn run(config: &Config, format: LogFormat, output: &mut impl Write) -> ExitCode {
    let mut findings = start_findings(config);
    findings.extend(host::engine(config).await);
    findings.push(host::job_networks(config).await);
    findings.extend(host::gpus(config).await);
    findings.extend(host::health(config).await);
    findings.extend(host::disks(config).await);
    findings.extend(host::provers(config).await);
    let (store, evidence) = host::evidence(config).await;
    findings.extend(evidence);
    findings.push(host::launcher(config));
    match look_at_keys(config, &store) {
        Ok((found, key_findings)) => {
            findings.extend(key_findings);
            findings.extend(chain::findings(config, &found).await);
        }
        Err(finding) => findings.push(finding),
    }
    let is_ready = !findings.iter().any(Finding::is_bad);
    match finding::print(&findings, format, output) {
        Ok(()) if is_ready => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Loads the keys, and says which ones the start of the worker would create.
fn look_at_keys(config: &Config, store: &SealingStore) -> Result<(FoundKeys, Vec<Finding>), Finding> {
    const SUBJECT: &str = "keys";
    let known = state::noted_worker_keys(&config.assay.state_dir);
    let found = Keys::look(&config.assay, store, &known)
        .map_err(|error| Finding::fatal(SUBJECT, error.to_string()))?;
    let text = if found.worker_is_new {
        format!(
            "the worker will create its key in {}",
            config.assay.worker_key_file.display()
        )
    } else {
        format!("worker key {}", found.keys.worker_account())
    };
    Ok((found, vec![Finding::good(SUBJECT, text)]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn keys_are_looked_at_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let text = include_str!("../../worker.example.yaml");
        let mut config = Config::parse(text, Path::new("worker.yaml")).unwrap();
        config.assay.state_dir = folder.path().to_owned();
        config.assay.provider_key = None;
        config.assay.worker_key_file = folder.path().join("worker.key");
        let store = SealingStore::File(folder.path().join("sealing.key"));
        let Ok((found, findings)) = look_at_keys(&config, &store) else {
            panic!("new keys are no problem")
        };
        assert!(found.worker_is_new);
        assert!(
            findings[0].to_string().contains("will create its key"),
            "{findings:?}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

        fs::write(&config.assay.worker_key_file, "0x12").unwrap();
        let Err(finding) = look_at_keys(&config, &store) else {
            panic!("it is no key")
        };
        assert!(finding.is_fatal(), "{finding}");
    }
}

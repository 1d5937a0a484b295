//! Checks that the start of the worker makes, too: what they refuse keeps the worker from running.

use std::{io, net::TcpListener, path::Path};

use rustix::fs::{Access, access};

use super::finding::Finding;
use crate::{
    api::{self, ListenError},
    config::Config,
    files::Disk,
    state,
};

/// A check that needs neither engine nor chain.
struct StartCheck {
    /// Part that it checks.
    subject: &'static str,
    /// Looks, and changes nothing that lasts.
    look: fn(&Config, &'static str) -> Vec<Finding>,
}

/// The checks in the order of their findings. `assay-worker check` prints all of them; the start of the
/// worker logs them and fails if one is fatal.
const START_CHECKS: [StartCheck; 5] = [
    StartCheck {
        subject: "configuration",
        look: configuration,
    },
    StartCheck {
        subject: "state",
        look: state_folder,
    },
    StartCheck {
        subject: "port",
        look: ports,
    },
    StartCheck {
        subject: "metrics",
        look: metrics,
    },
    StartCheck {
        subject: "owners of jobs",
        look: certificate,
    },
];

/// Makes the checks. They block for as long as file system and resolver do.
pub fn findings(config: &Config) -> Vec<Finding> {
    START_CHECKS
        .iter()
        .flat_map(|check| (check.look)(config, check.subject))
        .collect()
}

fn configuration(config: &Config, subject: &'static str) -> Vec<Finding> {
    let offer = format!(
        "{} offers {} slot(s) at {} per slot-hour",
        config.node.node_name,
        config.slots(),
        assay_client::units::format_asy(config.assay.ask_per_slot_hour)
    );
    vec![Finding::good(subject, offer)]
}

/// Checks that no other worker has the state folder, and that it can be written.
fn state_folder(config: &Config, subject: &'static str) -> Vec<Finding> {
    let folder = &config.assay.state_dir;
    if let Err(error) = state::ensure_free(folder) {
        return vec![Finding::fatal(subject, error.to_string())];
    }
    folder_findings(folder, subject)
}

fn folder_findings(folder: &Path, subject: &'static str) -> Vec<Finding> {
    // The lock file is the one that must be there: a disk may take no writes later.
    if !folder.join("lock").exists()
        && let Err(error) = can_be_made(folder)
    {
        return vec![
            Finding::fatal(subject, format!("{} cannot be used: {error}", folder.display()))
                .with_remedy("check its owner, or name another with `assay.state_dir`"),
        ];
    }
    if !folder.exists() {
        return vec![Finding::good(
            subject,
            format!("{} will be created", folder.display()),
        )];
    }
    let mut findings = vec![match Disk::default().probe(folder).problem {
        // The worker starts on a disk that takes no writes, and its jobs go on.
        Some(problem) => Finding::bad(
            subject,
            format!("{problem}; until then the worker takes no new jobs"),
        ),
        None => Finding::good(subject, format!("{} can be written", folder.display())),
    }];
    findings.extend(state::broken_files(folder).iter().map(|path| {
        Finding::note(
            subject,
            format!(
                "{} was corrupted, so the worker goes on without it",
                path.display()
            ),
        )
        .with_remedy("restore it from a backup or delete it")
    }));
    findings
}

/// Checks that files can be made in a folder, or that it can be made itself.
fn can_be_made(folder: &Path) -> io::Result<()> {
    let folder = std::path::absolute(folder)?;
    // The root is always there.
    let Some(existing) = folder.ancestors().find(|path| path.symlink_metadata().is_ok()) else {
        return Ok(());
    };
    if !existing.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(existing, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Checks that both parts of the HTTP API can listen where they are told to.
fn ports(config: &Config, subject: &'static str) -> Vec<Finding> {
    [config.listen_on(), config.owner_listen_on()]
        .into_iter()
        .map(|address| match TcpListener::bind(address) {
            Ok(_) => Finding::good(subject, format!("{address} is free")),
            Err(source) if source.kind() == io::ErrorKind::AddrNotAvailable => {
                Finding::fatal(subject, format!("this host has not the address {}", address.ip())).with_remedy(
                    "name one of its own, or 0.0.0.0, in `assay.listen_address`, and the public URL in `assay.endpoint`",
                )
            }
            Err(source) => Finding::fatal(subject, ListenError { address, source }.to_string()),
        })
        .collect()
}

/// Checks the address of the metrics. The worker runs without them, so that a bad one is a note.
fn metrics(config: &Config, subject: &'static str) -> Vec<Finding> {
    let address = config.assay.metrics_listen;
    vec![match TcpListener::bind(address) {
        Ok(_) if address.ip().is_loopback() => Finding::good(subject, format!("{address} is free")),
        Ok(_) => Finding::note(
            subject,
            format!("{address} is free; everybody who reaches it sees what jobs do with their GPUs"),
        ),
        Err(error) => Finding::note(subject, format!("cannot listen on {address}: {error}"))
            .with_remedy("name another address with `assay.metrics_listen`"),
    }]
}

/// Checks the provider's certificate.
fn certificate(config: &Config, subject: &'static str) -> Vec<Finding> {
    let owner = &config.assay.owner;
    vec![match owner.certificate.as_ref().map(api::tls::check_files) {
        None => Finding::good(
            subject,
            format!("{} with a certificate of the worker's own", owner.endpoint),
        ),
        Some(Ok(())) => Finding::good(subject, format!("{} with the given certificate", owner.endpoint)),
        Some(Err(error)) => Finding::fatal(subject, error.to_string()),
    }]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;
    use crate::{check::finding::texts, files::tests::SmallDisk, state::StateFolder};

    /// The example's configuration with a state folder and ports that are free.
    fn config(folder: &Path) -> Config {
        let text = include_str!("../../worker.example.yaml");
        let mut config = Config::parse(text, Path::new("worker.yaml")).unwrap();
        config.assay.state_dir = folder.join("state");
        config.assay.listen_address = [127, 0, 0, 1].into();
        config.assay.owner.certificate = None;
        config.network.p2p_port = 0;
        config.assay.owner.port = 0;
        config
    }

    fn bad(config: &Config) -> Vec<String> {
        findings(config)
            .iter()
            .filter(|finding| finding.is_bad())
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn host_in_order_passes_and_gets_no_files() {
        let folder = tempfile::tempdir().unwrap();
        let found = findings(&config(folder.path()));
        assert!(!found.iter().any(Finding::is_bad), "{found:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn folder_of_a_worker_that_runs_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let running = StateFolder::open(&config.assay.state_dir).unwrap();
        let found = bad(&config);
        assert!(
            found.len() == 1 && found[0].contains("belongs to a worker that runs already"),
            "{found:?}"
        );
        drop(running);
        assert!(bad(&config).is_empty());
    }

    #[test]
    fn address_that_is_foreign_or_taken_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        // TEST-NET-1: no host has it.
        config.assay.listen_address = [192, 0, 2, 1].into();
        let found = bad(&config);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("port: this host has not the address 192.0.2.1; name one"),
            "{found:?}"
        );

        config.assay.listen_address = [127, 0, 0, 1].into();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        config.network.p2p_port = taken.local_addr().unwrap().port();
        let found = bad(&config);
        assert!(
            found.len() == 1 && found[0].starts_with("port: cannot listen on 127.0.0.1:"),
            "{found:?}"
        );
    }

    #[test]
    fn file_in_place_of_the_state_folder_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        fs::write(&config.assay.state_dir, "").unwrap();
        let found = bad(&config);
        assert!(found.len() == 1 && found[0].starts_with("state: "), "{found:?}");
    }

    #[test]
    fn full_disk_and_broken_files_are_told() {
        let Some(small) = SmallDisk::mount() else { return };
        let look = || texts(&folder_findings(small.path(), "state"));
        assert_eq!(look().len(), 1);
        fs::write(small.path().join("machine.broken-0"), "{").unwrap();
        let found = look();
        assert!(
            found[1].starts_with("note state: ") && found[1].contains("machine.broken-0"),
            "{found:?}"
        );
        small.fill();
        let found = look();
        assert!(found[0].starts_with("BAD state: cannot write "), "{found:?}");
        assert!(found[0].contains("takes no new jobs"), "{found:?}");
    }
}

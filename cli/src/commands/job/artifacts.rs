//! `assay job artifacts`: a job's output folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use assay_client::{
    json,
    worker_api::{ArchiveReader, ArchiveSummary, ArtifactList, OwnerSession},
};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{
    access::{Access, JobOnMachine, log_out, shown},
    unpack::Unpacked,
};
use crate::{connection::Connection, output::Output};

/// Bytes of a GiB.
const GIB: u64 = 1 << 30;

/// Output folder to list or download.
#[derive(Debug, Args)]
pub(crate) struct ArtifactsOptions {
    #[command(flatten)]
    target: JobOnMachine,

    /// List the files with their hashes, and download nothing
    #[arg(long)]
    list: bool,

    /// New folder for the files
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "list",
        conflicts_with = "list"
    )]
    to: Option<PathBuf>,

    /// Maximum download, in GiB
    #[arg(long, value_name = "GIB", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    max_gib: u64,
}

/// Expected root hash of the output folder, and its source.
struct Expected {
    root_hash: [u8; 32],
    is_on_chain: bool,
}

/// Lists or downloads an output folder.
pub(super) async fn run(
    options: ArtifactsOptions,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let access = Access::open(&options.target, connection).await?;
    let session = access.log_in().await?;
    match &options.to {
        None => {
            let list = session.artifacts().await?;
            log_out(session).await;
            output.print(&json::to_value(&list)?, table(&list))
        }
        Some(folder) => {
            let max_bytes = options.max_gib.saturating_mul(GIB);
            download(&access, session, folder, max_bytes, output).await
        }
    }
}

fn table(list: &ArtifactList) -> String {
    let mut lines = vec![format!("root {}", shown(&list.root))];
    for entry in &list.entries {
        let path = match (&entry.path, &entry.path_base64) {
            (Some(path), _) => shown(path),
            (None, Some(base64)) => format!("(base64) {}", shown(base64)),
            (None, None) => "(no path)".to_owned(),
        };
        lines.push(format!(
            "{}  {:4}  {:>12}  {}  {path}",
            shown(&entry.blake3),
            shown(&entry.kind),
            entry.size,
            shown(&entry.mode),
        ));
    }
    if list.skipped > 0 {
        lines.push(format!(
            "{} sockets, pipes and devices are left out",
            list.skipped
        ));
    }
    lines.join("\n")
}

/// Returns the root hash of the job's result, once the result's own hash is checked; `None` while there is no
/// result, or one without an output folder.
async fn expected(access: &Access, session: &OwnerSession) -> anyhow::Result<Option<Expected>> {
    let result = match session.result().await {
        Err(error) if error.is_refused_with(404) => return Ok(None),
        result => result?,
    };
    let document = result
        .checked()
        .context("the worker's result does not have the hash that the worker names; do not rely on it")?;
    let on_chain = access.result_on_chain().await?;
    if on_chain.is_some_and(|hash| hash != document.hash()) {
        bail!(
            "the worker shows a result with the hash 0x{}, and gave the chain another; reject it",
            hex::encode(document.hash())
        );
    }
    Ok(document.output.map(|root_hash| Expected {
        root_hash,
        is_on_chain: on_chain.is_some(),
    }))
}

async fn download(
    access: &Access,
    session: OwnerSession,
    folder: &Path,
    max_bytes: u64,
    output: &Output,
) -> anyhow::Result<()> {
    let expected = expected(access, &session).await?;
    let unpacked = Unpacked::create(folder)?;
    let (summary, left_out) =
        receive(access, &session, unpacked, expected.as_ref(), max_bytes, output).await?;
    log_out(session).await;
    let (witness, sentence) = match &expected {
        Some(Expected {
            is_on_chain: true, ..
        }) => ("chain", "it is that of the result on chain"),
        Some(_) => (
            "worker",
            "it is that of the worker's result; compare the hash of `assay job result` with the chain's",
        ),
        None => ("none", "the job has no result yet to compare it with"),
    };
    let root = format!("0x{}", hex::encode(summary.root_hash));
    let mut text = format!(
        "{} files, {} bytes in {}\nroot hash {root}: {sentence}",
        summary.files,
        summary.bytes,
        folder.display()
    );
    if left_out > 0 {
        text.push_str(&format!(
            "\n{left_out} links that lead out of the folder were left out"
        ));
    }
    let object = json!({
        "folder": folder.display().to_string(),
        "root": root,
        "compared_with": witness,
        "files": summary.files,
        "links": summary.links.saturating_sub(left_out),
        "links_left_out": left_out,
        "bytes": summary.bytes,
    });
    output.print(&object, text)
}

/// Downloads and unpacks the folder, and removes it if its root hash is wrong. Returns the archive's summary,
/// and the number of links that were left out.
async fn receive(
    access: &Access,
    session: &OwnerSession,
    mut unpacked: Unpacked,
    expected: Option<&Expected>,
    max_bytes: u64,
    output: &Output,
) -> anyhow::Result<(ArchiveSummary, u64)> {
    let mut download = session.download_artifacts().await?;
    let promised = expected.map_or(download.root_hash(), |expected| expected.root_hash);
    if download.root_hash() != promised {
        bail!(
            "the output folder has the root hash 0x{}, and the result has 0x{}: it was changed since, or is not what \
             the job left",
            hex::encode(download.root_hash()),
            hex::encode(promised)
        );
    }
    let bar = progress(output, download.length());
    let mut reader = ArchiveReader::new(max_bytes);
    // A token that is refused at once is not asked for again.
    let mut is_fresh = true;
    loop {
        match download.next().await {
            Ok(Some(bytes)) => {
                is_fresh = false;
                reader.push(&bytes, &mut unpacked)?;
                bar.set_position(download.position());
            }
            Ok(None) => break,
            Err(error) if error.is_logged_out() && !is_fresh => {
                is_fresh = true;
                download.continue_with(access.log_in().await?);
            }
            Err(error) => return Err(error.into()),
        }
    }
    bar.finish_and_clear();
    let summary = reader.finish()?;
    if summary.root_hash != promised {
        bail!(
            "what came has the root hash 0x{}, and not 0x{}: nothing was kept; begin again, best when the job's container \
             has ended",
            hex::encode(summary.root_hash),
            hex::encode(promised)
        );
    }
    Ok((summary, unpacked.complete()?))
}

/// Progress display, hidden where the output is no terminal.
fn progress(output: &Output, length: u64) -> ProgressBar {
    let target = if output.is_interactive() {
        ProgressDrawTarget::stdout()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {bytes} of {total_bytes} ({elapsed})") {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_client::worker_api::Artifact;

    use super::*;
    use crate::commands::testing::parsed;

    fn options(words: &[&str]) -> Result<ArtifactsOptions, String> {
        parsed(&[&["5"][..], words].concat()).map_err(|error| error.to_string())
    }

    #[test]
    fn options_list_or_name_a_folder() {
        assert!(options(&["--list"]).unwrap().list);
        let named = options(&["--to=out", "--machine=7"]).unwrap();
        assert_eq!(named.to.as_deref(), Some(Path::new("out")));
        assert_eq!(named.max_gib, 16);
        assert!(options(&[]).unwrap_err().contains("--to"));
        assert!(options(&["--list", "--to=out"]).is_err());
        assert!(options(&["--to=out", "--max-gib=0"]).is_err());
    }

    #[test]
    fn list_is_shown_without_control_characters() {
        let list = ArtifactList {
            root: "ab".to_owned(),
            archive_bytes: 0,
            skipped: 1,
            entries: vec![Artifact {
                path: Some("a\u{1b}b".to_owned()),
                path_base64: None,
                kind: "file".to_owned(),
                mode: "0644".to_owned(),
                size: 7,
                blake3: "cd".to_owned(),
            }],
        };
        assert_eq!(
            table(&list),
            "root ab\ncd  file             7  0644  a\u{fffd}b\n1 sockets, pipes and devices are left out"
        );
    }
}

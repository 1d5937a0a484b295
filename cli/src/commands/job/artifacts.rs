//! `assay job artifacts`: a job's output folder.

use std::path::{Path, PathBuf};

use assay_client::{
    consumer::{JobAccess, RootWitness},
    json,
    worker_api::ArtifactList,
};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::access::{self, JobOnMachine, shown};
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

/// Lists or downloads an output folder.
pub(super) async fn run(
    options: ArtifactsOptions,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let access = access::open(&options.target, connection).await?;
    match &options.to {
        None => {
            let list = access.artifacts().await?;
            output.print(&json::to_value(&list)?, table(&list))
        }
        Some(folder) => {
            let max_bytes = options.max_gib.saturating_mul(GIB);
            download(&access, folder, max_bytes, output).await
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

async fn download(access: &JobAccess, folder: &Path, max_bytes: u64, output: &Output) -> anyhow::Result<()> {
    let bar = progress(output);
    let downloaded = access
        .download_artifacts(folder, max_bytes, |position, length| {
            bar.set_length(length);
            bar.set_position(position);
        })
        .await?;
    bar.finish_and_clear();
    let (summary, left_out) = (downloaded.summary, downloaded.links_left_out);
    let (witness, sentence) = match downloaded.witness {
        RootWitness::Chain => ("chain", "it is that of the result on chain"),
        RootWitness::Worker => (
            "worker",
            "it is that of the worker's result; compare the hash of `assay job result` with the chain's",
        ),
        RootWitness::None => ("none", "the job has no result yet to compare it with"),
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

/// Progress display, hidden where the output is no terminal.
fn progress(output: &Output) -> ProgressBar {
    let target = if output.is_interactive() {
        ProgressDrawTarget::stdout()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(None, target);
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

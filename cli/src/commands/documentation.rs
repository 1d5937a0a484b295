//! `assay completions` and `assay man`: made of the command line's own description.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::{Arguments, output::Output};

/// Prints what makes a shell complete the words of the command line.
pub(super) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "assay", &mut script);
    write(&script)
}

/// Prints the manual page, or writes it and one for each command into a folder.
pub(super) fn man(to: Option<&Path>, output: &Output) -> anyhow::Result<()> {
    let Some(folder) = to else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
        return write(&page);
    };
    fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Arguments::command(), folder))
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    if output.is_json() {
        return Ok(());
    }
    output.line(format_args!("manual pages are in {}", folder.display()))
}

fn write(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "assay", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Arguments::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell}: {}",
                    command.get_name()
                );
            }
        }
    }

    #[test]
    fn every_command_has_a_manual_page() {
        let folder = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Arguments::command(), folder.path()).unwrap();
        for page in [
            "assay.1",
            "assay-job.1",
            "assay-job-deploy.1",
            "assay-keys-create.1",
        ] {
            let text = fs::read_to_string(folder.path().join(page)).unwrap_or_default();
            assert!(text.contains("assay"), "{page}");
        }
    }
}

//! Output of the commands, for people or for programs.

use std::{
    fmt::{self, Display},
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use assay_client::{Included, events::AssayEvent, json};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

/// Heading of the options that every command has.
pub(crate) const GLOBAL: &str = "Global options";

/// True once a transaction was sent: from then on a closed pipe ends nothing, because what follows a
/// transaction, such as the delivery of a sealed manifest, is paid for.
static HAS_ACTED: AtomicBool = AtomicBool::new(false);

/// Returns true for the error of writing into a pipe that its reader closed.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// End of a command with this exit code, after it printed everything that there is to say.
#[derive(Debug)]
pub(crate) struct ExitStatus(pub(crate) u8);

impl fmt::Display for ExitStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "exit code {}", self.0)
    }
}

impl std::error::Error for ExitStatus {}

/// Format of the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Format {
    /// Text for people
    #[default]
    Human,
    /// One JSON object per line, names in snake_case, amounts in plancks as strings; an event is named by its
    /// `pallet` and its `event`
    Json,
}

/// An event of a transaction for programs.
fn event_object(event: &AssayEvent, block: u64) -> anyhow::Result<Value> {
    let mut object = json::to_value(event)?;
    object["block"] = block.into();
    Ok(object)
}

/// Output options.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Output {
    /// Format of the output
    #[arg(long, global = true, value_enum, default_value = "human", help_heading = GLOBAL)]
    output: Format,
}

impl Output {
    pub(crate) fn is_json(&self) -> bool {
        self.output == Format::Json
    }

    /// Returns true if a progress display may move about the screen.
    pub(crate) fn is_interactive(&self) -> bool {
        !self.is_json() && io::stdout().is_terminal()
    }

    /// Returns true if text may be coloured: on a terminal, unless `NO_COLOR` is set to anything.
    pub(crate) fn has_colour(&self) -> bool {
        self.is_interactive() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Prints one result: the object for programs or the text for people.
    pub(crate) fn print(&self, object: &Value, text: impl Display) -> anyhow::Result<()> {
        if self.is_json() {
            self.line(object)
        } else {
            self.line(text)
        }
    }

    /// Prints the hash of a transaction that the node took. Called before anything is waited for: whoever
    /// interrupts the wait can still look the transaction up.
    pub(crate) fn sent(&self, hash: &[u8; 32]) -> anyhow::Result<()> {
        HAS_ACTED.store(true, Ordering::Relaxed);
        let hash = format!("0x{}", hex::encode(hash));
        self.print(
            &json!({ "transaction": hash }),
            format_args!("transaction {hash} sent; waiting until it is final"),
        )
    }

    /// Prints a transaction that went through.
    pub(crate) fn included(&self, included: &Included) -> anyhow::Result<()> {
        for event in &included.events {
            self.event(event, included.block_number)?;
        }
        if included.events.is_empty() {
            let object = json!({ "event": null, "block": included.block_number });
            self.print(&object, format_args!("block {}: done", included.block_number))?;
        }
        Ok(())
    }

    /// Prints an event and its block.
    pub(crate) fn event(&self, event: &AssayEvent, block: u64) -> anyhow::Result<()> {
        self.print(
            &event_object(event, block)?,
            format_args!("block {block}: {event}"),
        )
    }

    /// Prints the reason for a failure of the command, to standard error.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        let line = if self.is_json() {
            json!({ "error": text }).to_string()
        } else {
            format!("error: {text}")
        };
        // A closed standard error leaves no way to report this.
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Writes a line. A reader that closed the pipe early is an error, not a panic, and no error at all once
    /// a transaction was sent.
    pub(crate) fn line(&self, text: impl Display) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && HAS_ACTED.load(Ordering::Relaxed) => {
                Ok(())
            }
            written => Ok(written?),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use assay_client::events::EscrowEvent;

    use super::*;
    use crate::schema::assert_is;

    #[test]
    fn transactions_and_faults_are_printed_as_the_schema_says() {
        let event = AssayEvent::from(EscrowEvent::EscrowReturned { job: 7, amount: 1 });
        assert_is("event", &event_object(&event, 9).unwrap());
        assert_is("event", &json!({ "event": null, "block": 9 }));
        assert_is("transaction", &json!({ "transaction": "0x01" }));
        assert_is("error", &json!({ "error": "no node answers" }));
    }

    #[test]
    fn a_closed_pipe_is_told_from_other_faults() {
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("printing");
        assert!(is_closed_pipe(&closed));
        assert!(!is_closed_pipe(&anyhow::anyhow!("Broken pipe")));
        let missing = anyhow::Error::from(io::Error::from(io::ErrorKind::NotFound));
        assert!(!is_closed_pipe(&missing));
    }
}

//! Output of the commands, for people or for programs.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use assay_client::{Included, json};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

/// Heading of the options that every command has.
pub(crate) const GLOBAL: &str = "Global options";

/// Format of the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// Text for people
    Human,
    /// One JSON object per line, names in snake_case, amounts in plancks as strings; an event is named by its
    /// `pallet` and its `event`
    Json,
}

/// Output options.
#[derive(Debug, Args)]
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

    /// Prints a transaction that went through.
    pub(crate) fn included(&self, included: &Included) -> anyhow::Result<()> {
        for event in &included.events {
            let mut object = json::to_value(event)?;
            object["block"] = included.block_number.into();
            self.print(&object, format_args!("block {}: {event}", included.block_number))?;
        }
        if included.events.is_empty() {
            let object = json!({ "event": null, "block": included.block_number });
            self.print(&object, format_args!("block {}: done", included.block_number))?;
        }
        Ok(())
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

    /// Writes a line; a reader that closed the pipe early is an error, not a panic.
    pub(crate) fn line(&self, text: impl Display) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        Ok(stdout.flush()?)
    }
}

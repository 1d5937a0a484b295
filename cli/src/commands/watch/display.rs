//! Display of events: plain lines, JSON lines, or on a terminal lines above a progress display.

use std::time::Duration;

use assay_client::{events::AssayEvent, json};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::step::{Checklist, Step};
use crate::output::Output;

/// Width of the column that names the step.
const STEP_WIDTH: usize = 12;

/// An event and its steps for programs.
fn object(event: &AssayEvent, steps: &[&str], block: u64) -> anyhow::Result<Value> {
    let mut object = json::to_value(event)?;
    object["block"] = block.into();
    object["steps"] = json!(steps);
    object["text"] = event.to_string().into();
    Ok(object)
}

pub(crate) struct Display<'a> {
    output: &'a Output,
    /// Progress line at the bottom, on terminals.
    bar: Option<ProgressBar>,
}

impl<'a> Display<'a> {
    pub(crate) fn new(output: &'a Output) -> Self {
        let bar = output.is_interactive().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { output, bar }
    }

    /// Shows the step that the watch waits for.
    pub(crate) fn waiting(&self, checklist: &Checklist, block: Option<u64>) {
        let Some(bar) = &self.bar else { return };
        let block = block.map_or_else(
            || "connecting".to_owned(),
            |block| format!("finalized block {block}"),
        );
        let (done, all) = checklist.count();
        bar.set_message(match checklist.first_missing() {
            Some(step) => format!(
                "{done} of {all} steps done, waiting for `{}` · {block}",
                step.name()
            ),
            None => format!("watching · {block}"),
        });
    }

    /// Updates the elapsed time.
    pub(crate) fn tick(&self) {
        if let Some(bar) = &self.bar {
            bar.tick();
        }
    }

    /// Shows an event with the names of its steps, coloured where colour is wanted.
    pub(crate) fn event(&self, event: &AssayEvent, steps: &[Step], block: u64) -> anyhow::Result<()> {
        let names: Vec<_> = steps.iter().map(|step| step.name()).collect();
        if self.output.is_json() {
            return self.output.line(object(event, &names, block)?);
        }
        let column = if names.is_empty() {
            format!("{:STEP_WIDTH$}", "")
        } else {
            let column = format!("{:<STEP_WIDTH$}", names.join(", "));
            if self.output.has_colour() {
                format!("\x1b[1;32m{column}\x1b[0m")
            } else {
                column
            }
        };
        let mark = if names.is_empty() { ' ' } else { '✓' };
        self.line(format!("{mark} {column}  #{block:<6} {event}"))
    }

    /// Shows a notice about the watch itself.
    pub(crate) fn notice(&self, text: &str) -> anyhow::Result<()> {
        if self.output.is_json() {
            return self.output.line(json!({ "notice": text }));
        }
        self.line(format!("  {:STEP_WIDTH$}  {text}", "notice"))
    }

    /// Removes the progress line.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: String) -> anyhow::Result<()> {
        match &self.bar {
            Some(bar) => {
                bar.println(text);
                Ok(())
            }
            None => self.output.line(text),
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
    fn events_and_notices_are_printed_as_the_schema_says() {
        let event = AssayEvent::from(EscrowEvent::EscrowReturned { job: 7, amount: 1 });
        let object = object(&event, &["paid"], 9).unwrap();
        assert_is("watched_event", &object);
        assert_eq!(object["event"], "escrow_returned");
        assert_is("notice", &json!({ "notice": "the node is back" }));
    }
}

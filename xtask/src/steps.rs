//! Steps of the demo, printed as the chain makes them final.

use std::{
    env, fs,
    io::{self, ErrorKind, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;

use crate::{
    amounts::format_asy,
    events::{self, Event, EventReader, Goal},
};

/// Exit status when the step has not happened: the time is over, or a process ended.
const DID_NOT_HAPPEN: u8 = 3;

/// Pause between two looks at the file of events.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// Steps that are not printed: becoming a provider, closing a job and ends of epochs are part of other steps.
const SILENT_STEPS: [&str; 3] = ["provider", "closed", "epoch"];

/// Options of `xtask await-step`.
#[derive(Debug, Args)]
pub(crate) struct AwaitOptions {
    /// File that `assay --output json watch` writes
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    /// File that keeps the number of lines whose steps are printed, between two calls
    #[arg(long, value_name = "FILE")]
    printed: PathBuf,
    /// Longest time to wait, in seconds
    #[arg(long, value_name = "SECONDS")]
    limit: u64,
    /// Stop waiting with status 3 when this process has ended; may be repeated
    #[arg(long, value_name = "PID")]
    process: Vec<u32>,
    /// Step to wait for, such as "rewarded" or "paid of job 3"
    step: Goal,
}

/// Options of `xtask event-field`.
#[derive(Debug, Args)]
pub(crate) struct FieldOptions {
    /// File that `assay --output json watch` writes
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    /// Step that the event shows, such as "rewarded" or "paid of job 3"
    step: Goal,
    /// Name of the field
    field: String,
}

/// Waits for the step; the exit status tells whether it happened.
pub(crate) fn await_step(options: &AwaitOptions) -> anyhow::Result<ExitCode> {
    Ok(if happens(options)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(DID_NOT_HAPPEN)
    })
}

/// Prints steps as they come until the awaited one has happened, a process has ended or the time is over.
///
/// Returns true if the step has happened.
fn happens(options: &AwaitOptions) -> anyhow::Result<bool> {
    let terminal = Terminal::of_environment();
    let started = Instant::now();
    let limit = Duration::from_secs(options.limit);
    let mut reader = EventReader::open(&options.events)?;
    let already_printed = read_count(&options.printed)?;
    let mut lines = 0;
    let mut has_happened = false;
    loop {
        let events = reader.read_new()?;
        for event in &events {
            lines += 1;
            if lines > already_printed {
                terminal.clear_waiting_line()?;
                print!("{}", terminal.step_lines(event)?);
            }
            has_happened |= options.step.is_shown_by(event);
        }
        if lines > already_printed && !events.is_empty() {
            fs::write(&options.printed, lines.to_string())
                .with_context(|| format!("cannot write {}", options.printed.display()))?;
        }
        let elapsed = started.elapsed();
        if has_happened || elapsed > limit || !options.process.iter().all(|pid| is_running(*pid)) {
            terminal.clear_waiting_line()?;
            return Ok(has_happened);
        }
        terminal.waiting_line(&options.step, elapsed)?;
        sleep(POLL_INTERVAL);
    }
}

/// Returns a field of the first event that shows the step.
pub(crate) fn event_field(options: &FieldOptions) -> anyhow::Result<String> {
    let events = events::read_all(&options.events)?;
    events::first(&events, &options.step)?.field(&options.field)
}

/// Reads the number of lines whose steps earlier calls have printed; zero when there was no call.
fn read_count(path: &Path) -> anyhow::Result<usize> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse::<usize>().map_err(anyhow::Error::from),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
    .with_context(|| format!("cannot read a count from {}", path.display()))
}

/// Returns true if the process lives; a zombie does not.
fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !is_zombie(&stat))
}

/// Reads the process's state, which follows the command's name in parentheses.
fn is_zombie(stat: &str) -> bool {
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// Standard output: its colours, and its last line that moves on a terminal.
struct Terminal {
    green: String,
    dim: String,
    off: String,
    is_terminal: bool,
}

impl Terminal {
    /// Reads the colours that `scripts/lib/common.sh` exports; they are empty where the output is plain.
    fn of_environment() -> Self {
        let colour = |name| env::var(name).unwrap_or_default();
        Self {
            green: colour("COLOUR_GREEN"),
            dim: colour("COLOUR_DIM"),
            off: colour("COLOUR_OFF"),
            is_terminal: io::stdout().is_terminal(),
        }
    }

    /// Writes one line for each step that an event shows and that is printed.
    fn step_lines(&self, event: &Event) -> anyhow::Result<String> {
        let mut lines = String::new();
        for step in event.steps().filter(|step| !SILENT_STEPS.contains(step)) {
            let block = event.block().map_or_else(String::new, |block| block.to_string());
            // The event of a payment shows the burn, too, and its text is the payment's.
            let text = match step {
                "burned" => format!(
                    "{} ASY of the fee left the total issuance",
                    format_asy(event.amount("burned")?)
                ),
                _ => event.text().to_owned(),
            };
            let Self { green, off, .. } = self;
            lines += &format!("{green}  ✓ {step:<11}{off} block {block:<4} {text}\n");
        }
        Ok(lines)
    }

    /// Shows the step that is awaited below the others, on a terminal.
    fn waiting_line(&self, step: &Goal, elapsed: Duration) -> io::Result<()> {
        if !self.is_terminal {
            return Ok(());
        }
        let Self { dim, off, .. } = self;
        let seconds = elapsed.as_secs();
        print!("\r\x1b[K{dim}    waiting for '{step}', {seconds} s{off}");
        io::stdout().flush()
    }

    /// Removes what `waiting_line` shows.
    fn clear_waiting_line(&self) -> io::Result<()> {
        if !self.is_terminal {
            return Ok(());
        }
        print!("\r\x1b[K");
        io::stdout().flush()
    }
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;
    use crate::events::tests::{RECORDED, recorded};

    fn plain() -> Terminal {
        Terminal {
            green: "<".to_owned(),
            dim: String::new(),
            off: ">".to_owned(),
            is_terminal: false,
        }
    }

    #[test]
    fn steps_are_printed_with_block_and_text() {
        let lines: String = recorded()
            .iter()
            .map(|event| plain().step_lines(event).expect("every event can be printed"))
            .collect();
        assert_eq!(
            lines,
            "<  ✓ registered > block 9    machine 0 registered\n\
             <  ✓ assigned   > block 15   job 3 assigned\n\
             <  ✓ assigned   > block 17   job 4 assigned\n\
             <  ✓ paid       > block 40   5.7 ASY paid for job 3\n\
             <  ✓ burned     > block 40   0.150000000000 ASY of the fee left the total issuance\n\
             <  ✓ rewarded   > block 41   a reward\n"
        );
    }

    /// Makes options for a step, with [`RECORDED`] in a folder that the caller removes.
    fn options(folder: &Path, step: &str) -> AwaitOptions {
        fs::create_dir_all(folder).expect("the folder can be made");
        fs::write(folder.join("events"), RECORDED).expect("the events can be written");
        AwaitOptions {
            events: folder.join("events"),
            printed: folder.join("printed"),
            limit: 0,
            process: vec![process::id()],
            step: step.parse().expect("the text names a step"),
        }
    }

    #[test]
    fn happens_tells_the_outcome_and_counts_printed_lines() {
        let folder = env::temp_dir().join(format!("assay-xtask-{}", process::id()));
        let succeeds = |options: &AwaitOptions| happens(options).expect("the events can be read");
        let mut wanted = options(&folder, "paid of job 3");
        assert!(succeeds(&wanted));
        assert_eq!(read_count(&wanted.printed).expect("a count was written"), 8);
        // An ended process does not hide a step that happened before.
        wanted.process.push(u32::MAX);
        assert!(succeeds(&wanted));
        // An ended process ends the wait long before the limit.
        wanted.limit = u64::from(u32::MAX);
        wanted.step = "paid of job 4".parse().expect("the text names a step");
        assert!(!succeeds(&wanted));
        fs::write(&wanted.printed, "many").expect("the count can be written");
        assert!(happens(&wanted).is_err());
        fs::remove_dir_all(&folder).expect("the folder can be removed");
    }

    #[test]
    fn zombies_do_not_run() {
        assert!(is_running(process::id()));
        assert!(!is_running(u32::MAX));
        assert!(is_zombie("7 (a ) Z b) Z 1 7 7"));
        assert!(!is_zombie("7 (a) Z b) S 1 7 7"));
    }
}

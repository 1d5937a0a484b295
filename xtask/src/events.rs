//! Events of a chain, as `assay --output json watch` writes them: one JSON object a line.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    str::FromStr,
};

use anyhow::{Context, anyhow};
use assay_primitives::money::Balance;
use serde_json::Value;

/// Words between a step and the job that it is a step of.
const OF_JOB: &str = " of job ";

/// One line of the watch: an event of the chain, or a notice of the watch itself, which shows no step.
#[derive(Clone, Debug)]
pub(crate) struct Event(Value);

impl Event {
    fn parse(line: &[u8]) -> anyhow::Result<Self> {
        match serde_json::from_slice::<Value>(line)? {
            object @ Value::Object(_) => Ok(Self(object)),
            other => Err(anyhow!("expected a JSON object, found {other}")),
        }
    }

    /// Returns the names of the steps that the event shows; most events show none.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &str> {
        let steps = self.0["steps"].as_array().map(Vec::as_slice);
        steps.unwrap_or_default().iter().filter_map(Value::as_str)
    }

    /// Returns the block that has the event.
    pub(crate) fn block(&self) -> Option<u64> {
        self.0["block"].as_u64()
    }

    /// Returns the job that the event is about.
    fn job(&self) -> Option<u64> {
        self.0["job"].as_u64()
    }

    /// Returns the sentence that describes the event.
    pub(crate) fn text(&self) -> &str {
        self.0["text"].as_str().unwrap_or_default()
    }

    /// Returns a field as the shell wants it: a string without its quotes, any other value as JSON.
    pub(crate) fn field(&self, name: &str) -> anyhow::Result<String> {
        match &self.0[name] {
            Value::Null => Err(anyhow!("the event has no field `{name}`: {}", self.0)),
            Value::String(text) => Ok(text.clone()),
            other => Ok(other.to_string()),
        }
    }

    /// Returns a field that holds an amount, in plancks.
    pub(crate) fn amount(&self, name: &str) -> anyhow::Result<Balance> {
        let text = self.field(name)?;
        text.parse::<Balance>()
            .with_context(|| format!("the field `{name}` is no amount: {text:?}"))
    }
}

/// A step, of one job or of anything: written `rewarded`, or `paid of job 3`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Goal {
    step: String,
    job: Option<u64>,
}

impl Goal {
    /// Makes the goal of a step of anything.
    pub(crate) fn of_any(step: &str) -> Self {
        Self {
            step: step.to_owned(),
            job: None,
        }
    }

    /// Makes the goal of a step of one job.
    pub(crate) fn of_job(step: &str, job: u64) -> Self {
        Self {
            step: step.to_owned(),
            job: Some(job),
        }
    }

    /// Returns true if an event shows the step.
    pub(crate) fn is_shown_by(&self, event: &Event) -> bool {
        event.steps().any(|step| step == self.step) && self.job.is_none_or(|job| event.job() == Some(job))
    }
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((step, job)) = text.split_once(OF_JOB) else {
            return Ok(Self::of_any(text));
        };
        let job = job
            .parse::<u64>()
            .map_err(|_| format!("{job:?} is not the number of a job"))?;
        Ok(Self::of_job(step, job))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.step)?;
        self.job.map_or(Ok(()), |job| write!(f, "{OF_JOB}{job}"))
    }
}

/// Reader of a file of events that still grows.
pub(crate) struct EventReader<R> {
    reader: R,
    /// Bytes of a line whose end has not been written yet.
    line: Vec<u8>,
    /// Complete lines read so far, for error messages.
    lines: usize,
}

impl EventReader<BufReader<File>> {
    /// Opens a file at its first line.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self::new(BufReader::new(file)))
    }
}

impl<R: BufRead> EventReader<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            line: Vec::new(),
            lines: 0,
        }
    }

    /// Returns the events of all lines that were completed since the last call.
    pub(crate) fn read_new(&mut self) -> anyhow::Result<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            self.reader.read_until(b'\n', &mut self.line)?;
            if self.line.last() != Some(&b'\n') {
                return Ok(events);
            }
            self.lines += 1;
            let event = Event::parse(&self.line);
            events.push(event.with_context(|| format!("line {} of the events is broken", self.lines))?);
            self.line.clear();
        }
    }
}

/// Reads all events that a file holds now.
pub(crate) fn read_all(path: &Path) -> anyhow::Result<Vec<Event>> {
    EventReader::open(path)?.read_new()
}

/// Returns the first event that shows a step.
pub(crate) fn first<'a>(events: &'a [Event], goal: &Goal) -> anyhow::Result<&'a Event> {
    events
        .iter()
        .find(|event| goal.is_shown_by(event))
        .ok_or_else(|| anyhow!("no event shows the step `{goal}`"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Lines of the watch, with fewer fields: an epoch, a machine, a job until its payment, a reward.
    pub(crate) const RECORDED: &str = concat!(
        r#"{"pallet":"chain_clock","event":"epoch_started","epoch":1,"block":8,"steps":[],"text":"epoch 1 began"}"#,
        "\n",
        r#"{"notice":"the node is back"}"#,
        "\n",
        r#"{"pallet":"provider_registry","event":"machine_registered","machine":0,"block":9,"steps":["registered"],"text":"machine 0 registered"}"#,
        "\n",
        r#"{"pallet":"job_escrow","event":"machine_assigned","job":3,"machine":0,"block":15,"steps":["assigned"],"text":"job 3 assigned"}"#,
        "\n",
        r#"{"pallet":"job_escrow","event":"machine_assigned","job":4,"machine":0,"block":17,"steps":["assigned"],"text":"job 4 assigned"}"#,
        "\n",
        r#"{"pallet":"job_escrow","event":"payment_settled","job":3,"machine":0,"provider_amount":"5700000000000","fee":"300000000000","burned":"150000000000","block":40,"steps":["paid","burned"],"text":"5.7 ASY paid for job 3"}"#,
        "\n",
        r#"{"pallet":"job_escrow","event":"job_closed","job":3,"paid":"6000000000000","block":40,"steps":["closed"],"text":"job 3 closed"}"#,
        "\n",
        r#"{"pallet":"reward_emission","event":"reward_paid","machine":0,"amount":"3333333","block":41,"steps":["rewarded"],"text":"a reward"}"#,
        "\n",
    );

    /// Reads the events of [`RECORDED`].
    pub(crate) fn recorded() -> Vec<Event> {
        EventReader::new(RECORDED.as_bytes())
            .read_new()
            .expect("the recorded lines are events")
    }

    fn goal(text: &str) -> Goal {
        text.parse().expect("the text names a step")
    }

    #[test]
    fn read_new_waits_for_the_end_of_a_line() {
        let mut reader = EventReader::new(VecDeque::<u8>::new());
        assert!(reader.read_new().expect("nothing is broken").is_empty());
        // The text is cut inside a character of two bytes.
        let line = "{\"steps\":[\"paid\"],\"text\":\"é\"}\n".as_bytes();
        let middle = line.len() - 4;
        reader.reader.extend(&line[..middle]);
        assert!(reader.read_new().expect("half a line is not broken").is_empty());
        reader.reader.extend(&line[middle..]);
        reader
            .reader
            .extend(b"{\"notice\":\"the node is back\"}\n{\"steps\"");
        let events = reader.read_new().expect("both lines are complete");
        let steps: Vec<Vec<_>> = events.iter().map(|event| event.steps().collect()).collect();
        assert_eq!(steps, [vec!["paid"], vec![]]);
        assert_eq!(events[0].text(), "é");
    }

    #[test]
    fn read_new_names_the_broken_line() {
        for broken in ["{\"steps\"\n", "\n", "[]\n", "7\n"] {
            let text = format!("{{}}\n{broken}");
            let error = EventReader::new(text.as_bytes()).read_new().expect_err(broken);
            assert_eq!(error.to_string(), "line 2 of the events is broken", "{broken:?}");
        }
    }

    #[test]
    fn goal_reads_what_it_writes() {
        assert_eq!(goal("paid of job 3"), Goal::of_job("paid", 3));
        for text in ["rewarded", "paid of job 3"] {
            assert_eq!(goal(text).to_string(), text);
        }
        assert!("paid of job three".parse::<Goal>().is_err());
    }

    #[test]
    fn first_finds_a_step_of_any_job_or_of_one() {
        let events = recorded();
        let block = |text| first(&events, &goal(text)).ok().and_then(Event::block);
        assert_eq!(block("registered"), Some(9));
        assert_eq!(block("assigned"), Some(15));
        assert_eq!(block("assigned of job 4"), Some(17));
        assert_eq!(block("burned of job 3"), Some(40));
        assert_eq!(block("paid of job 4"), None);
        assert_eq!(block("registered of job 3"), None);
    }

    #[test]
    fn fields_are_read_for_the_shell() {
        let events = recorded();
        let payment = first(&events, &goal("paid of job 3")).expect("the job was paid");
        assert_eq!(payment.field("fee").expect("the fee is there"), "300000000000");
        assert_eq!(payment.field("machine").expect("the machine is there"), "0");
        assert_eq!(
            payment.amount("fee").expect("a fee is an amount"),
            300_000_000_000
        );
        assert!(payment.field("amount").is_err());
        assert!(payment.amount("text").is_err());
    }
}

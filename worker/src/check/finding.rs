//! Results of checks, for people and for programs.

use std::{
    fmt,
    io::{self, Write},
};

use serde::Serialize;

use crate::command_line::LogFormat;

/// Weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// In order.
    Good,
    /// Works, but deserves attention.
    Note,
    /// The worker runs, and does not do what the configuration promises.
    Bad,
    /// The worker does not start.
    Fatal,
}

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Part of worker or host that was checked, such as `engine`.
    pub subject: &'static str,
    /// Weight.
    pub severity: Severity,
    /// State that was found.
    pub finding: String,
    /// Remedy, where the finding's text has none.
    pub remedy: Option<String>,
}

impl Finding {
    /// Creates a finding about something in order.
    pub(super) fn good(subject: &'static str, finding: impl Into<String>) -> Self {
        Self::new(subject, Severity::Good, finding)
    }

    /// Creates a finding that deserves attention.
    pub(super) fn note(subject: &'static str, finding: impl Into<String>) -> Self {
        Self::new(subject, Severity::Note, finding)
    }

    /// Creates a finding about a problem.
    pub(super) fn bad(subject: &'static str, finding: impl Into<String>) -> Self {
        Self::new(subject, Severity::Bad, finding)
    }

    /// Creates a finding about a problem with which the worker does not start.
    pub(super) fn fatal(subject: &'static str, finding: impl Into<String>) -> Self {
        Self::new(subject, Severity::Fatal, finding)
    }

    fn new(subject: &'static str, severity: Severity, finding: impl Into<String>) -> Self {
        Self {
            subject,
            severity,
            finding: finding.into(),
            remedy: None,
        }
    }

    /// Adds the remedy.
    pub(super) fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// Returns true for a problem.
    pub fn is_bad(&self) -> bool {
        matches!(self.severity, Severity::Bad | Severity::Fatal)
    }

    /// Returns true for a problem with which the worker does not start.
    pub fn is_fatal(&self) -> bool {
        self.severity == Severity::Fatal
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.subject, self.finding)?;
        match &self.remedy {
            Some(remedy) => write!(formatter, "; {remedy}"),
            None => Ok(()),
        }
    }
}

/// Prints findings, and then whether the worker could run: lines for people, or one JSON object a line.
pub(super) fn print(findings: &[Finding], format: LogFormat, output: &mut impl Write) -> io::Result<()> {
    let bad = findings.iter().filter(|finding| finding.is_bad()).count();
    for finding in findings {
        match format {
            LogFormat::Json => writeln!(output, "{}", serde_json::to_string(finding)?)?,
            LogFormat::Text => {
                let mark = match finding.severity {
                    Severity::Good => "ok   ",
                    Severity::Note => "note ",
                    Severity::Bad | Severity::Fatal => "BAD  ",
                };
                writeln!(output, "{mark} {finding}")?;
            }
        }
    }
    match format {
        LogFormat::Json => writeln!(
            output,
            "{}",
            serde_json::json!({ "ready": bad == 0, "problems": bad })
        ),
        LogFormat::Text if bad == 0 => writeln!(output, "Ready: all checks passed"),
        LogFormat::Text => writeln!(output, "Not ready: {bad} problem(s) to fix"),
    }
}

/// Returns findings as lines with their weight.
#[cfg(test)]
pub(super) fn texts(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|finding| match finding.severity {
            Severity::Good => format!("ok {finding}"),
            Severity::Note => format!("note {finding}"),
            Severity::Bad => format!("BAD {finding}"),
            Severity::Fatal => format!("FATAL {finding}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::*;

    fn printed(format: LogFormat) -> String {
        let findings = [
            Finding::good("engine", "Podman 5"),
            Finding::bad("port", "127.0.0.1:80 is taken").with_remedy("take another"),
        ];
        let mut output = Vec::new();
        print(&findings, format, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn findings_are_lines_for_people() {
        assert_eq!(
            printed(LogFormat::Text),
            "ok    engine: Podman 5\nBAD   port: 127.0.0.1:80 is taken; take another\nNot ready: 1 problem(s) to fix\n"
        );
    }

    #[test]
    fn findings_are_objects_for_programs() {
        let lines: Vec<Value> = printed(LogFormat::Json)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["subject"], "engine");
        assert_eq!(lines[0]["severity"], "good");
        assert_eq!(lines[0]["remedy"], Value::Null);
        assert_eq!(lines[1]["severity"], "bad");
        assert_eq!(lines[1]["remedy"], "take another");
        assert_eq!(lines[2], serde_json::json!({ "ready": false, "problems": 1 }));
    }
}

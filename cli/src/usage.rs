//! Command lines that cannot be understood: their messages, in the wanted format and without secrets.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use assay_client::redaction;
use clap::error::ErrorKind;
use serde_json::json;

/// Options whose values are secrets, or paths in whose place people type one.
const SECRET_OPTIONS: [&str; 3] = ["--key-uri", "--key-file", "--key"];

/// Number of plain words behind such an option from which on they are taken for a phrase without quotes.
const PHRASE_WORDS: usize = 6;

/// Prints the help, the version or the fault that clap found in the words of a command line. Returns the
/// process's exit code: 0 for help and version, 2 for faults.
pub(crate) fn report(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    if !error.use_stderr() {
        // A reader that closed the pipe has read enough of the help.
        let _ = error.print();
        return code;
    }
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(|word| &**word).collect();
    let plain = error.render().to_string();
    let cleaned = without_secrets(&plain, &words);
    // Nobody is left to be told when standard error is closed.
    let _ = if wants_json(&words) {
        writeln!(
            io::stderr(),
            "{}",
            json!({ "error": essence(error.kind(), &cleaned) })
        )
    } else if cleaned == plain {
        error.print()
    } else {
        io::stderr().write_all(cleaned.as_bytes())
    };
    code
}

/// Returns true if the words ask for JSON. They may be wrong in every other way, so clap cannot tell.
fn wants_json(words: &[&str]) -> bool {
    let own = words.iter().take_while(|word| **word != "--");
    let next = words.iter().skip(1);
    own.zip(next.map(Some).chain([None]))
        .any(|(word, next)| *word == "--output=json" || (*word == "--output" && next == Some(&"json")))
}

/// Returns the fault alone, as one line: without usage and hints at the help.
fn essence(kind: ErrorKind, message: &str) -> String {
    if kind == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "the command is incomplete; run it with --help to see what it needs".to_owned();
    }
    let end = ["\n\nUsage:", "\n\nFor more information"]
        .iter()
        .filter_map(|rest| message.find(rest))
        .min()
        .unwrap_or(message.len());
    let fault = message.get(..end).unwrap_or(message);
    let fault = fault.strip_prefix("error: ").unwrap_or(fault);
    fault.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Replaces in a message the words of the command line that may be secrets.
fn without_secrets(message: &str, words: &[&str]) -> String {
    let mut cleaned = message.to_owned();
    for word in words {
        cleaned = redaction::without(&cleaned, word);
        if let Some((_, value)) = word.split_once('=') {
            cleaned = redaction::without(&cleaned, value);
        }
    }
    for (index, word) in words.iter().enumerate() {
        let option = word.split_once('=').map_or(*word, |(option, _)| option);
        if !SECRET_OPTIONS.contains(&option) {
            continue;
        }
        let phrase: Vec<_> = words
            .iter()
            .skip(index.saturating_add(1))
            .take_while(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
            .collect();
        if phrase.len() < PHRASE_WORDS {
            continue;
        }
        for word in phrase {
            for quote in ['\'', '"'] {
                cleaned = cleaned.replace(&format!("{quote}{word}{quote}"), "'…'");
            }
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::Arguments;

    const PHRASE: &str = "bottom drive obey lake curtain smoke basket hold race lonely fit walk";

    /// Returns the message for a command line that is refused.
    fn refusal(words: &[&str]) -> String {
        let words: Vec<_> = ["assay"].iter().chain(words).copied().collect();
        let error = Arguments::try_parse_from(&words).unwrap_err();
        without_secrets(&error.render().to_string(), &words)
    }

    #[test]
    fn secrets_on_the_command_line_are_not_repeated() {
        let seed = "1f".repeat(32);
        let prefixed = format!("0x{seed}");
        let (option, until) = (format!("--no-such-option={PHRASE}"), format!("--until={PHRASE}"));
        let unquoted: Vec<_> = ["--key-uri"]
            .into_iter()
            .chain(PHRASE.split(' '))
            .chain(["chain"])
            .collect();
        let as_file: Vec<_> = ["balance", "--key-file"]
            .into_iter()
            .chain(PHRASE.split(' '))
            .collect();
        let lines: [&[&str]; 13] = [
            &unquoted,
            &as_file,
            &["balance", PHRASE],
            &["balance", "--", PHRASE],
            &[PHRASE],
            &["--no-such-option", PHRASE, "chain"],
            &[option.as_str(), "chain"],
            &["job", "show", seed.as_str()],
            &["job", "top-up", "1", prefixed.as_str()],
            &["--finality-timeout", PHRASE, "chain"],
            &["--output", PHRASE, "chain"],
            &["watch", until.as_str()],
            &["chain", "wss://me:bottom@node.example"],
        ];
        for words in lines {
            let message = refusal(words);
            for secret in ["bottom", "drive", "obey", "1f1f"] {
                assert!(!message.contains(secret), "{words:?}: {message}");
            }
        }
    }

    #[test]
    fn other_words_are_repeated() {
        let message = refusal(&["--key-file", "k", "job", "shwo", "7"]);
        assert!(message.contains("'shwo'"), "{message}");
        let message = refusal(&["job", "show", "seven"]);
        assert!(message.contains("'seven'"), "{message}");
    }

    #[test]
    fn json_is_recognised_on_lines_that_are_wrong() {
        assert!(wants_json(&["assay", "--output", "json", "nonsense"]));
        assert!(wants_json(&["assay", "nonsense", "--output=json"]));
        assert!(!wants_json(&["assay", "--output"]));
        assert!(!wants_json(&["assay", "job", "--", "--output", "json"]));
        assert!(!wants_json(&["assay", "--output", "human"]));
    }

    #[test]
    fn fault_for_programs_is_one_line_without_the_usage() {
        let error = Arguments::try_parse_from(["assay", "job", "show", "seven"]).unwrap_err();
        let text = essence(error.kind(), &error.render().to_string());
        assert!(
            text.starts_with("invalid value 'seven'") && !text.contains("Usage"),
            "{text}"
        );
        assert!(!text.contains("For more") && !text.contains('\n'), "{text}");
        let error = Arguments::try_parse_from(["assay"]).unwrap_err();
        let text = essence(error.kind(), &error.render().to_string());
        assert!(text.contains("--help"), "{text}");
    }

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}

//! Shared by the tests of commands' options.

use clap::{Args, Command};

/// Parses words as the options of a command, without the command's name.
pub(crate) fn parsed<T: Args>(words: &[&str]) -> Result<T, clap::Error> {
    let command = T::augment_args(Command::new("command"));
    let matches = command.try_get_matches_from(std::iter::once(&"command").chain(words))?;
    T::from_arg_matches(&matches)
}

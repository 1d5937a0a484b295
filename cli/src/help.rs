//! Snapshot of the help of every command: a change of an option shows in review as users see it.
//!
//! After a wanted change, `INSTA_UPDATE=always cargo test -p assay help` writes the snapshot anew.

use clap::{Command, CommandFactory};

use crate::Arguments;

/// Calls `look` with every command and its name, in the order of the help.
fn for_every_command(command: &Command, name: &str, look: &mut impl FnMut(&str, &Command)) {
    look(name, command);
    for subcommand in command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
    {
        for_every_command(subcommand, &format!("{name} {}", subcommand.get_name()), look);
    }
}

fn assay() -> Command {
    let mut command = Arguments::command();
    command.build();
    command
}

#[test]
fn help_of_every_command_is_as_it_was() {
    let mut texts = Vec::new();
    for_every_command(&assay(), "assay", &mut |name, command| {
        texts.push(format!("$ {name} --help\n{}", command.clone().render_long_help()));
    });
    insta::assert_snapshot!("help", texts.join("\n"));
}

#[test]
fn every_command_and_option_is_described() {
    for_every_command(&assay(), "assay", &mut |name, command| {
        assert!(command.get_about().is_some(), "{name} is not described");
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some() || argument.get_long_help().is_some(),
                "{} of {name} is not described",
                argument.get_id()
            );
        }
    });
}

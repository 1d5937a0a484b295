//! The provider's binary.

use std::process::ExitCode;

use assay_worker::{
    app, check,
    command_line::{Action, CommandLine, start_log},
    config::Config,
};
use clap::Parser;

fn main() -> ExitCode {
    let command_line = CommandLine::parse();
    start_log(command_line.log_format);
    let config = match Config::load(&command_line.config) {
        Ok(config) => config,
        Err(error) => return fail(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match command_line.action.unwrap_or(Action::Run) {
        Action::Run => match runtime.block_on(app::run(config)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Action::Check => runtime.block_on(check::run(&config, &mut std::io::stdout())),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

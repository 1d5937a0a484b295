//! The provider's binary.

use std::{
    error::Error,
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use assay_worker::{
    app,
    challenge::bench,
    check,
    command_line::{Action, ChallengeAction, CommandLine, GpuAction, LogFormat, start_log},
    config::Config,
    devices::self_test,
};
use clap::Parser;

fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => return refuse(&error),
    };
    let format = command_line.log_format;
    start_log(format);
    match run(command_line) {
        Ok(code) => code,
        Err(error) => {
            let line = match format {
                LogFormat::Text => format!("error: {error}"),
                LogFormat::Json => serde_json::json!({ "error": error.to_string() }).to_string(),
            };
            // Nobody is left to be told when standard error is closed.
            let _ = writeln!(stderr(), "{line}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a fault of the command line, or its help, in the format that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let wants_json = words.iter().any(|word| word == "--log-format=json")
        || words
            .windows(2)
            .any(|pair| matches!(pair, [option, format] if option == "--log-format" && format == "json"));
    // Nobody is left to be told when the stream is closed.
    let _ = if error.use_stderr() && wants_json {
        let text = error.render().to_string();
        let fault = text.split("\n\nUsage:").next().unwrap_or(&text);
        let fault = fault.strip_prefix("error: ").unwrap_or(fault).trim();
        writeln!(stderr(), "{}", serde_json::json!({ "error": fault }))
    } else {
        error.print()
    };
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(command_line: CommandLine) -> Result<ExitCode, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let path = command_line.config;
    match command_line.action.unwrap_or(Action::Run) {
        Action::Run => runtime.block_on(app::run(Config::load(&path)?))?,
        Action::Check => {
            let config = Config::load(&path)?;
            return Ok(runtime.block_on(check::run(&config, command_line.log_format, &mut stdout())));
        }
        Action::Challenge(ChallengeAction::Bench(arguments)) => {
            // The bench also runs on machines without a configuration; an existing file must be valid.
            let config = path.exists().then(|| Config::load(&path)).transpose()?;
            runtime.block_on(bench::run(arguments, config.as_ref(), &mut stdout()))?;
        }
        Action::Gpu(GpuAction::SelfTest(arguments)) => {
            let config = Config::load(&path)?;
            return Ok(runtime.block_on(self_test::run(arguments, &config, &mut stdout()))?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

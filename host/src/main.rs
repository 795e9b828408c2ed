//! The program `tally`: reads the settings, then serves or does what the command says.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    thread,
};

use tally_host::{
    config::{Cli, CliError, Config, Subcommands},
    list,
    serve::Host,
    shutdown::StopSignals,
    telemetry,
};

/// Exit status of a program that was started wrongly.
const USAGE: u8 = 2;
/// Exit status of a program that was stopped before it had drained.
const CUT_SHORT: u8 = 1;

fn main() -> ExitCode {
    let args: Vec<_> = env::args_os().collect();
    let cli = match Cli::load(&args) {
        Ok(cli) => cli,
        Err(CliError::Information(text)) => {
            // Nobody is left to be told when standard output is closed.
            let _ = text.print();
            return ExitCode::SUCCESS;
        }
        Err(CliError::Usage(error)) => return refuse(&error),
    };
    telemetry::start();
    let outcome = match cli.command {
        None => serve(&cli.config),
        Some(Subcommands::Plugins) => list::plugins(&cli.config).and_then(|text| {
            io::stdout().write_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }),
    };
    outcome.unwrap_or_else(|error| refuse(&format!("{error:#}")))
}

fn refuse(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("tally: {error}");
    ExitCode::from(USAGE)
}

fn serve(config: &Config) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before the server starts, so that no signal finds it unprepared.
        let mut stop = StopSignals::new()?;
        let host = Host::start(config)?;
        // A reader that has gone away is no reason not to serve.
        let _ = writeln!(
            io::stdout(),
            "tally: serving on http://{} with {}",
            host.address(),
            host.plugin()
        );
        let signal = stop.next().await;
        tracing::info!("{signal}: answering what has been received, then stopping");
        let (drained, done) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            host.drain();
            let _ = drained.send(());
        });
        Ok(tokio::select! {
            _ = done => ExitCode::SUCCESS,
            signal = stop.next() => {
                tracing::warn!("{signal} again: stopping at once");
                ExitCode::from(CUT_SHORT)
            }
        })
    })
}

//! The program `tally`: reads the settings, then serves or does what the command says.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
    thread,
};

use tally_host::{
    commands,
    config::{Cli, CliError, Config, Subcommands},
    list, panics,
    plugin::compiler::{self, Compiler},
    reload,
    serve::Host,
    shutdown::{Asked, Signals},
    supervisor,
    telemetry::{self, ANNOUNCEMENT, Telemetry},
};

/// Exit status of a program that was started wrongly.
const USAGE: u8 = 2;
/// Exit status of a program that was stopped before it had drained.
const CUT_SHORT: u8 = 1;

fn main() -> ExitCode {
    if let Some(status) = compiler::compile_if_asked() {
        return status;
    }
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
    let name = |error: anyhow::Error| cli.origins.name_in(&format!("{error:#}"));
    let telemetry = match telemetry::start(&cli.config.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => return refuse(&name(error)),
    };
    panics::install_hook();
    let outcome = match cli.command {
        None => serve(&cli.config, &args, telemetry),
        Some(Subcommands::Plugins) => list::plugins(&cli.config).and_then(|text| {
            io::stdout().write_all(text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }),
        Some(Subcommands::Swap(ref swap)) => commands::swap(&cli, swap),
        Some(Subcommands::Rollback(ref rollback)) => commands::rollback(&cli, rollback),
        Some(Subcommands::Health) => commands::health(&cli),
    };
    outcome.unwrap_or_else(|error| refuse(&name(error)))
}

fn refuse(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("tally: {error}");
    ExitCode::from(USAGE)
}

fn serve(config: &Config, args: &[OsString], telemetry: Telemetry) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(panics::essential(async {
        // Before the server starts, so that no signal finds it unprepared.
        let mut signals = Signals::new()?;
        let host = Host::start(config, Compiler::Child)?;
        announce(&host, telemetry.is_json());
        supervisor::ready();
        let signal = loop {
            match signals.next().await {
                Asked::ToReload => {
                    supervisor::reloading();
                    tokio::select! {
                        () = reload::reload(config, args, host.swaps()) => supervisor::ready(),
                        // A swap that it has asked for comes to its end by itself.
                        signal = signals.next_to_stop() => break signal,
                    }
                }
                Asked::ToStop(signal) => break signal,
            }
        };
        supervisor::stopping();
        tracing::info!("{signal}: answering what has been received, then stopping");
        host.stopping().begin();
        let (drained, done) = tokio::sync::oneshot::channel();
        let delay = config.server_limits.drain_delay();
        let ends = async {
            tokio::time::sleep(delay).await;
            thread::spawn(move || {
                host.drain();
                telemetry.stop();
                let _ = drained.send(());
            });
            match done.await {
                Ok(()) => ExitCode::SUCCESS,
                // The thread has panicked, which the log says.
                Err(_) => ExitCode::from(panics::EXIT_STATUS),
            }
        };
        Ok(tokio::select! {
            status = ends => status,
            signal = signals.next_to_stop() => {
                tracing::warn!("{signal} again: stopping at once");
                ExitCode::from(CUT_SHORT)
            }
        })
    }))
}

/// Says where it serves, in the form of the log. A reader that has gone away is no reason not to serve.
fn announce(host: &Host, json: bool) {
    let (address, serving) = (format!("http://{}", host.address()), host.serving());
    let (admin, dashboard) = (host.admin().map(ToString::to_string), host.dashboard());
    if json {
        let plugin = host.plugin();
        return tracing::info!(target: ANNOUNCEMENT, address, plugin, serving, admin, dashboard, "serving");
    }
    let mut out = io::stdout();
    let _ = writeln!(out, "tally: serving on {address} with {serving}");
    if let Some(admin) = admin {
        let _ = writeln!(out, "tally: dashboard and swaps on {admin}");
    }
    if let Some(dashboard) = dashboard {
        let _ = writeln!(out, "tally: open {dashboard}");
    }
}

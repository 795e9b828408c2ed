//! Everything that can be set: as a flag, as an environment variable, or in a file.
//!
//! A flag wins over the variable of the same name, that wins over the file, and that over the
//! default. The file's entries become the defaults of the command line, so that each value is
//! checked in one place whichever way it came.
//!
//! Commands read the same settings, to find the host that was started with them; `uses` says which.

mod file;
mod origins;
mod plugins;
#[cfg(test)]
mod properties;
mod refusal;
mod uses;

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use origins::Origins;
pub use plugins::{Grant, PluginSetting, PluginSettings};

use crate::{
    admin::settings::AdminSettings,
    client::{Endpoint, Token},
    error::UsageError,
    plugin::limits::PluginLimits,
    swap::settings::{PAUSE_MS_RANGE, SwapSettings},
    telemetry::TelemetrySettings,
    worker::limits::ServerLimits,
};

/// A counter server whose storage and locking method are WebAssembly plugins.
///
/// Serves when no command is given. Each setting has an environment variable, and each but --config may stand
/// in the configuration file, under its own name without the dashes in front. Flags that only commands
/// take can't stand there, and of these only --admin has a variable.
#[derive(Debug, Parser)]
#[command(name = "tally", version)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Subcommands>,

    /// Admin listener of the host: http://ADDRESS:PORT or unix:PATH [default: the one that --admin-listen and the
    /// configuration file name].
    // The host that serves has no use for it, so it is listed by the commands alone, and read by those that need it:
    // ADMIN may be set for another program.
    #[arg(long, env, hide = true, value_name = "URL")]
    pub admin: Option<OsString>,

    /// Whether a flag, and not only a variable or the file, says where the admin listener is.
    #[arg(skip)]
    pub names_admin: bool,

    /// What messages call the settings.
    #[arg(skip)]
    pub origins: Origins,

    /// The settings.
    #[command(flatten)]
    pub config: Config,
}

/// What can be done instead of serving.
#[derive(Debug, Subcommand)]
pub enum Subcommands {
    /// List the known plugins: what they promise, what they import, and whether they load.
    Plugins,
    /// Have the host of these settings exchange its plugin.
    Swap(Swap),
    /// Have the host of these settings go back to the plugin before.
    Rollback(Rollback),
    /// Ask the host of these settings whether it is ready: exit status 0 if it is, 1 if not.
    ///
    /// It is asked at --host and --port, or, where --admin or --admin-listen is given as a flag, at its admin listener.
    Health,
}

/// What to swap to, and where.
#[derive(Args, Debug)]
pub struct Swap {
    /// Name of the plugin, or path of a .wasm file on the host's machine.
    #[arg(value_name = "NAME|PATH")]
    pub to: String,

    /// How it is asked for.
    #[command(flatten)]
    pub rollback: Rollback,
}

/// How a swap is asked for.
#[derive(Args, Debug)]
pub struct Rollback {
    /// Take the counts along, from the old storage to the new one. A rollback does so by itself where the
    /// swap before it did.
    #[arg(long, conflicts_with = "leave_counts")]
    pub carry: bool,

    /// Leave the counts in the old storage, and go on with those of the new one.
    #[arg(long)]
    pub leave_counts: bool,

    /// With --carry: give up the counts that are in the new storage already.
    #[arg(long)]
    pub overwrite: bool,

    /// Break off calls that do not end in time, and go on if the last work of the old plugin fails.
    ///
    /// Whether the calls counted is then unknown, and what the plugin had not saved is lost; it is said how much was.
    #[arg(long)]
    pub force: bool,

    /// Time that calls may be held back by this swap, in ms (10 to 600000) [default: the host's].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(PAUSE_MS_RANGE))]
    pub swap_pause_max: Option<u32>,
}

/// The settings.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// File with settings (TOML), under the names of the flags.
    #[arg(long, env, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Address or name of the interface to listen on.
    #[arg(long, env, default_value = "0.0.0.0", help_heading = "Serving")]
    pub host: String,

    /// Port to listen on; 0 takes a free one.
    #[arg(long, env, default_value_t = 8080, help_heading = "Serving")]
    pub port: u16,

    /// Worker threads (1 to 1024) [default: the number of cores].
    #[arg(long, env, value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Serving")]
    pub workers: Option<u16>,

    /// The admin listener.
    #[command(flatten)]
    pub admin: AdminSettings,

    /// Plugins and what they work on.
    #[command(flatten)]
    pub plugins: PluginSettings,

    /// Swaps of plugins.
    #[command(flatten)]
    pub swaps: SwapSettings,

    /// Limits on plugins.
    #[command(flatten)]
    pub plugin_limits: PluginLimits,

    /// Limits on clients.
    #[command(flatten)]
    pub server_limits: ServerLimits,

    /// The log, and traces.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

/// Why the command line does not lead to a configuration.
#[derive(Debug)]
pub enum CliError {
    /// Help or version was asked for: to be printed, with exit status 0.
    Information(clap::Error),
    /// A mistake.
    Usage(UsageError),
}

impl Cli {
    /// Reads the command line `args`, the environment, and the file that they name.
    ///
    /// # Errors
    ///
    /// One sentence that names the flag, variable or entry that is wrong.
    pub fn load(args: &[OsString]) -> Result<Self, CliError> {
        let refused = |error| refusal::of(error, args);
        let (command, entries) =
            file::with_defaults(Self::command(), args).map_err(CliError::Usage)?;
        let mut command = uses::spread(command);
        let matches = command.try_get_matches_from_mut(args).map_err(refused)?;
        uses::check(&command, &matches).map_err(CliError::Usage)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(refused)?;
        cli.origins = Origins::of(&command, &matches, &entries);
        let hazelcast = cli.config.plugins.hazelcast.check();
        hazelcast.map_err(|why| CliError::Usage(UsageError(cli.origins.name_in(&why))))?;
        let typed = uses::is_typed(&matches, "admin");
        let listen = uses::is_typed(&matches, "admin_listen");
        if !typed {
            // It can only be the variable, over which a flag wins. An empty one is how some programs leave it unset.
            cli.admin = cli.admin.filter(|variable| !listen && !variable.is_empty());
        }
        cli.names_admin = listen || typed;
        Ok(cli)
    }

    /// The admin listener of the host that a command speaks to, the one of --admin or the one that the settings say, and
    /// its token, if one is known.
    ///
    /// # Errors
    ///
    /// Why it can't be known, or its token can't be read.
    pub fn admin(&self) -> anyhow::Result<(Endpoint, Option<Token>)> {
        let state_dir = self.config.swaps.state_dir.as_deref();
        self.endpoint()?.with_token(&self.config.admin.admin_token_file, state_dir)
    }

    fn endpoint(&self) -> Result<Endpoint, UsageError> {
        let Some(admin) = &self.admin else { return self.config.admin.endpoint() };
        let admin = admin.to_string_lossy();
        Endpoint::parse(&admin).map_err(|why| {
            let origin =
                if self.names_admin { "--admin" } else { "the environment variable ADMIN" };
            UsageError(format!("\"{admin}\" is no value for {origin}: {why}"))
        })
    }
}

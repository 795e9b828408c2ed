//! The command line, as meant: checked, with nothing left to decide.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, ValueEnum};

use tally_host::config::{PluginSetting, PluginSettings};
use tally_host::keys;
use tally_host::plugin::limits::PluginLimits;

use crate::cli::{CALLS_MAX, Cli, CounterType, Method};
use crate::run::{Load, Start};
use crate::swaps::{Swaps, flags};

/// Flags that say which server to drive, and so contradict `--plugin`.
const WEB_FLAGS: [&str; 3] = ["counter_type", "counter_host", "counter_port"];

/// What one invocation of the program is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to drive.
    pub target: TargetOptions,
    /// The counter's name; `None` is the default counter.
    pub key: Option<String>,
    /// What load to put on it.
    pub load: Load,
    /// Which swaps to make meanwhile; only with a server.
    pub swaps: Option<Swaps>,
    /// Where to write the results as JSON.
    pub json: Option<PathBuf>,
    /// Whether to show progress.
    pub progress: bool,
}

/// What to drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetOptions {
    /// A server over HTTP.
    Web {
        /// Name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A plugin in this process.
    Plugin(Box<PluginOptions>),
}

/// Which plugin, on what, and within which limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginOptions {
    /// The plugin and its storage.
    pub settings: PluginSettings,
    /// What it may use.
    pub limits: PluginLimits,
}

impl Options {
    /// Parses a command line, whose first element is the program's name, and the environment.
    ///
    /// # Errors
    ///
    /// Clap's error, which prints itself; asking for the help is one of them.
    pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Options, clap::Error> {
        let matches = Cli::command().try_get_matches_from(args)?;
        let cli = Cli::from_arg_matches(&matches)?;
        check(cli, &matches)
            .map_err(|sentence| Cli::command().error(ErrorKind::ValueValidation, sentence))
    }
}

fn check(cli: Cli, matches: &ArgMatches) -> Result<Options, String> {
    let clients = cli.n_clients;
    let calls_per_client = cli.n_calls_per_client;
    if CALLS_MAX < clients.saturating_mul(calls_per_client) {
        return Err(format!(
            "{clients} clients x {calls_per_client} calls are more than {CALLS_MAX} increments in one run: \
             lower --n-clients or --n-calls-per-client"
        ));
    }
    let key = unless_unset(cli.key.clone(), "key", matches);
    key.as_deref().map_or(Ok(()), keys::check).map_err(|why| format!("--key: {why}"))?;
    let json = unless_unset(cli.json.clone(), "json", matches).map(PathBuf::from);
    if json.as_ref().is_some_and(|it| it.as_os_str().is_empty()) {
        return Err("--json needs the path of a file".to_owned());
    }
    let load = Load {
        clients: usize::try_from(clients).map_err(|err| err.to_string())?,
        calls_per_client,
        start: Start::Reset,
        sole_writer: true,
    };
    cli.plugins.hazelcast.check()?;
    let target = choose_target(cli.clone(), matches)?;
    let swaps = flags::choose(cli.swaps, &target, matches)?;
    Ok(Options { target, key, load, swaps, json, progress: !cli.no_progress })
}

fn choose_target(cli: Cli, matches: &ArgMatches) -> Result<TargetOptions, String> {
    match cli.counter_type {
        CounterType::Postgresql => choose_method(Method::InplaceUpdate, cli, matches),
        CounterType::Hazelcast => choose_method(Method::Pessimistic, cli, matches),
        CounterType::Web => {
            match ["method", "do_retries"].into_iter().find(|it| typed(matches, it)) {
                Some(flag) => Err(format!(
                    "--{} says how to count without a server, so it needs --counter-type postgresql or hazelcast",
                    flag.replace('_', "-")
                )),
                None => choose_plugin_or_server(cli, matches),
            }
        }
    }
}

/// The plugin of a method, with what the flags say of its retries.
fn choose_method(default: Method, cli: Cli, matches: &ArgMatches) -> Result<TargetOptions, String> {
    let storage = name_of(cli.counter_type);
    if let Some(flag) =
        ["plugin", "counter_host", "counter_port"].into_iter().find(|it| typed(matches, it))
    {
        let flag = flag.replace('_', "-");
        return Err(format!(
            "--counter-type {storage} drives the plugin of a --method without a server, so --{flag} cannot go with it"
        ));
    }
    let method = cli.method.unwrap_or(default);
    if method.counter_type() != cli.counter_type {
        let (method, right) = (name_of(method), name_of(method.counter_type()));
        return Err(format!(
            "there is no --method {method} of --counter-type {storage}: it is one of {right}"
        ));
    }
    let plugin = format!("{storage}-{}", name_of(method).replace('_', "-"));
    let mut settings = cli.plugins;
    settings.plugin_config.extend(cli.do_retries.map(|do_retries| PluginSetting {
        plugin: plugin.clone(),
        key: "do-retries".to_owned(),
        value: do_retries.to_string(),
    }));
    settings.plugin = Some(plugin);
    Ok(TargetOptions::Plugin(Box::new(PluginOptions { settings, limits: cli.plugin_limits })))
}

/// As it is written on the command line.
fn name_of(value: impl ValueEnum) -> String {
    let value = value.to_possible_value().expect("no value is hidden");
    value.get_name().to_owned()
}

/// A plugin, or a server. Two flags that contradict each other are refused, but a flag simply wins over a variable:
/// COUNTER_HOST and PLUGIN may well be set for other programs.
fn choose_plugin_or_server(cli: Cli, matches: &ArgMatches) -> Result<TargetOptions, String> {
    let web_flag = WEB_FLAGS.into_iter().find(|it| typed(matches, it));
    if let Some(plugin) = unless_unset(cli.plugins.plugin.clone(), "plugin", matches) {
        match web_flag {
            Some(flag) if typed(matches, "plugin") => {
                let flag = flag.replace('_', "-");
                return Err(format!(
                    "--plugin drives a plugin without a server, so --{flag} cannot go with it"
                ));
            }
            Some(_) => {}
            None if plugin.is_empty() => return Err("--plugin needs a name or a path".to_owned()),
            None => {
                let options = PluginOptions { settings: cli.plugins, limits: cli.plugin_limits };
                return Ok(TargetOptions::Plugin(Box::new(options)));
            }
        }
    }
    let host = cli.counter_host;
    let good =
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
    if !good {
        return Err(format!(
            "`{host}` is not a host: --counter-host takes a name or an address, without scheme or path"
        ));
    }
    Ok(TargetOptions::Web { host, port: cli.counter_port })
}

pub(crate) fn typed(matches: &ArgMatches, name: &str) -> bool {
    matches.value_source(name) == Some(ValueSource::CommandLine)
}

/// An empty environment variable counts as one that is not set, as compose files write it; an empty flag does not.
pub(crate) fn unless_unset<T: AsRef<std::ffi::OsStr>>(
    value: Option<T>,
    name: &str,
    matches: &ArgMatches,
) -> Option<T> {
    value.filter(|it| !it.as_ref().is_empty() || typed(matches, name))
}

//! Everything that can be set: as a flag, as an environment variable, or in a file.
//!
//! A flag wins over the variable of the same name, that wins over the file, and that over the
//! default. The file's entries become the defaults of the command line, so that each value is
//! checked in one place whichever way it came.

use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use clap::{
    Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser},
};

use crate::{
    admin::settings::AdminSettings,
    capabilities::{
        Capability, hazelcast::HazelcastSettings, shared_memory, sql::DatabaseSettings,
    },
    client::Endpoint,
    error::UsageError,
    plugin::limits::PluginLimits,
    swap::settings::SwapSettings,
    telemetry::TelemetrySettings,
    worker::limits::ServerLimits,
};

/// A counter server whose storage and locking method are WebAssembly plugins.
///
/// Serves when no command is given. Each flag has an environment variable, and may stand in the
/// configuration file under its own name without the dashes in front.
#[derive(Debug, Parser)]
#[command(name = "tally", version, args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Subcommands>,

    /// The settings.
    #[command(flatten)]
    pub config: Config,
}

/// What can be done instead of serving.
#[derive(Debug, Subcommand)]
pub enum Subcommands {
    /// List the known plugins: what they promise, what they import, and whether they load.
    Plugins,
    /// Have a host that serves exchange its plugin.
    Swap(Swap),
    /// Have a host that serves go back to the plugin before.
    Rollback(Rollback),
    /// Ask the host of these settings whether it is ready: exit status 0 if it is, 1 if not.
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
    #[arg(long)]
    pub carry: bool,

    /// With --carry: give up the counts that are in the new storage already.
    #[arg(long)]
    pub overwrite: bool,

    /// Admin listener of the host: http://ADDRESS:PORT or unix:PATH.
    #[arg(long, env = "ADMIN", value_name = "URL", default_value = "http://127.0.0.1:8081", value_parser = Endpoint::parse)]
    pub admin: Endpoint,
}

/// The settings.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// File with settings (TOML), under the names of the flags.
    #[arg(long, env, global = true, value_name = "FILE")]
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

/// Which plugins there are, and what they work on.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Plugins and storage")]
pub struct PluginSettings {
    /// Plugin to serve with: a name that `tally plugins` lists, or the path of a .wasm file.
    ///
    /// Wins over --storage-method.
    #[arg(long, env, global = true, value_name = "NAME|PATH")]
    pub plugin: Option<String>,

    /// Directory whose .wasm files are known plugins too.
    #[arg(long, env, global = true, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,

    /// Storage to serve with: shared_memory, disk, postgresql or hazelcast; picks its recommended exact
    /// plugin [default: disk if --storage-path is set, otherwise shared_memory].
    #[arg(long, env, global = true, value_name = "METHOD")]
    pub storage_method: Option<String>,

    /// File of the disk plugin's default counter; the other counters lie beside it.
    #[arg(
        long,
        env,
        global = true,
        value_name = "FILE",
        // An empty path, which the usual parser refuses, means none.
        value_parser = OsStringValueParser::new().map(PathBuf::from), default_value = "",
        hide_default_value = true
    )]
    pub storage_path: PathBuf,

    /// Directory of the shared-memory region.
    #[arg(long, env, global = true, value_name = "DIR", default_value = "/dev/shm")]
    pub shared_memory_dir: PathBuf,

    /// Name of the shared-memory region; hosts with the same one share their counters
    /// [default: tally-PORT].
    #[arg(long, env, global = true, value_name = "NAME", value_parser = parse_region_name)]
    pub shared_memory_name: Option<String>,

    /// Keys that a new shared-memory region has room for; one takes 640 to 1280 bytes.
    #[arg(long, env, global = true, value_name = "COUNT", default_value_t = 8192, value_parser = parse_capacity)]
    pub shared_memory_capacity: u32,

    /// Grants to plugins that are not bundled, as NAME=CAPABILITY[+CAPABILITY…].
    ///
    /// Capabilities are shared-memory, file-lock, sql, hazelcast-map, hazelcast-atomic-long, files,
    /// clocks, config, log and environment.
    #[arg(long, env, global = true, value_name = "GRANT", value_delimiter = ',', value_parser = parse_grant)]
    pub grant: Vec<Grant>,

    /// Settings of plugins, as NAME.KEY=VALUE; for example disk-flock.durability=none.
    #[arg(long, env, global = true, value_name = "SETTING", value_delimiter = ',', value_parser = parse_setting)]
    pub plugin_config: Vec<PluginSetting>,

    /// Directory of the compile cache, or off
    /// [default: tally in the user's cache directory].
    #[arg(long, env, global = true, value_name = "DIR")]
    pub compile_cache: Option<PathBuf>,

    /// The database.
    #[command(flatten)]
    pub database: DatabaseSettings,

    /// The cluster.
    #[command(flatten)]
    pub hazelcast: HazelcastSettings,
}

/// Capabilities for one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The plugin's name.
    pub plugin: String,
    /// What it is granted.
    pub capabilities: Vec<Capability>,
}

/// One setting of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSetting {
    /// The plugin's name.
    pub plugin: String,
    /// The setting's name.
    pub key: String,
    /// Its value.
    pub value: String,
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
        let file =
            config_file(args).map(|path| read_file(&path)).transpose().map_err(CliError::Usage)?;
        let mut command = Self::command();
        let entries = file.unwrap_or_default();
        for (flag, values) in &entries {
            command = with_default(command, flag, values).map_err(CliError::Usage)?;
        }
        let mut matches =
            command.try_get_matches_from(args).map_err(|error| refused(error, args))?;
        let cli = Self::from_arg_matches_mut(&mut matches).map_err(|error| refused(error, args))?;
        let hazelcast = cli.config.plugins.hazelcast.check();
        hazelcast.map_err(|why| CliError::Usage(UsageError(why)))?;
        Ok(cli)
    }
}

type Entries = HashMap<String, Vec<String>>;

/// The configuration file, looked up before anything else is understood.
fn config_file(args: &[OsString]) -> Option<PathBuf> {
    let mut args = args.iter().skip(1);
    while let Some(arg) = args.next() {
        let arg = arg.to_string_lossy();
        if arg == "--config" {
            return args.next().map(PathBuf::from);
        }
        if let Some(path) = arg.strip_prefix("--config=") {
            return Some(path.into());
        }
    }
    env::var_os("CONFIG").map(PathBuf::from)
}

fn read_file(path: &Path) -> Result<Entries, UsageError> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        UsageError(format!("can't read the configuration file {shown}: {error}"))
    })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        UsageError(format!("the configuration file {shown} is not TOML: {}", error.message()))
    })?;
    let mut entries = Entries::new();
    for (name, value) in table {
        let values = match value {
            toml::Value::Array(values) => values.iter().map(scalar).collect(),
            value => scalar(&value).map(|value| vec![value]),
        };
        let values = values.ok_or_else(|| {
            let what = "is neither a text, a number, nor a list of these";
            UsageError(format!("the entry \"{name}\" in the configuration file {shown} {what}"))
        })?;
        entries.insert(name, values);
    }
    Ok(entries)
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn with_default(
    mut command: Command,
    flag: &str,
    values: &[String],
) -> Result<Command, UsageError> {
    let known: Vec<(String, String)> = command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.get_id().to_string())))
        .filter(|(long, _)| !matches!(long.as_str(), "config" | "help" | "version"))
        .collect();
    let Some((_, id)) = known.iter().find(|(long, _)| long == flag) else {
        let names: Vec<&str> = known.iter().map(|(long, _)| long.as_str()).collect();
        return Err(UsageError::unknown("entry in the configuration file", flag, &names));
    };
    command = command.mut_arg(id, |arg| arg.default_values(values.to_vec()));
    Ok(command)
}

/// Clap's several lines as one sentence that says where the value came from.
fn refused(error: clap::Error, args: &[OsString]) -> CliError {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return CliError::Information(error);
    }
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let sentence =
        match (error.kind(), text(ContextKind::InvalidArg), text(ContextKind::InvalidValue)) {
            (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(arg), Some(value)) => {
                let flag = arg.split(' ').next().unwrap_or(arg);
                let why =
                    match (std::error::Error::source(&error), error.get(ContextKind::ValidValue)) {
                        (Some(source), _) => source.to_string(),
                        (None, Some(ContextValue::Strings(known))) if !value.is_empty() => {
                            format!("known are: {}", known.join(", "))
                        }
                        (None, _) => "a value is missing".to_owned(),
                    };
                format!("\"{value}\" is no value for {}: {why}", origin(flag, args))
            }
            _ => {
                let rendered = error.to_string();
                let first = rendered.lines().next().unwrap_or_default();
                format!("{}; see tally --help", first.trim_start_matches("error: "))
            }
        };
    CliError::Usage(UsageError(sentence))
}

/// Where the value of `flag` came from, by the order in which the places count.
fn origin(flag: &str, args: &[OsString]) -> String {
    let name = flag.trim_start_matches('-');
    let command = Cli::command();
    let arg = command.get_arguments().find(|arg| arg.get_long() == Some(name));
    let variable = arg.and_then(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()));
    let given = args.iter().any(|arg| {
        let arg = arg.to_string_lossy();
        arg == flag || arg.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))
    });
    if given {
        flag.to_owned()
    } else if let Some(variable) = variable.filter(|variable| env::var_os(variable).is_some()) {
        format!("the environment variable {variable}")
    } else {
        format!("\"{name}\" in the configuration file")
    }
}

fn parse_region_name(name: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(valid) {
        return Err(
            "a name has 1 to 100 letters, digits, \"_\", \"-\" or \".\", and no \".\" in front"
                .into(),
        );
    }
    Ok(name.to_owned())
}

fn parse_capacity(text: &str) -> Result<u32, String> {
    let range = shared_memory::CAPACITY_RANGE;
    text.parse().ok().filter(|capacity| range.contains(capacity)).ok_or_else(|| {
        format!("it must be a whole number from {} to {}", range.start(), range.end())
    })
}

fn parse_grant(text: &str) -> Result<Grant, String> {
    let (plugin, names) = text
        .split_once('=')
        .ok_or("a grant is written NAME=CAPABILITY, or NAME=CAPABILITY+CAPABILITY")?;
    let capabilities = names.split('+').map(str::parse).collect::<Result<_, _>>()?;
    Ok(Grant { plugin: plugin.to_owned(), capabilities })
}

fn parse_setting(text: &str) -> Result<PluginSetting, String> {
    let parts = text.split_once('=').and_then(|(name, value)| {
        let (plugin, key) = name.rsplit_once('.')?;
        Some(PluginSetting { plugin: plugin.into(), key: key.into(), value: value.into() })
    });
    parts.ok_or_else(|| "a setting is written NAME.KEY=VALUE".into())
}

//! Which plugins there are, and what they work on.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};

use crate::capabilities::{
    Capability, hazelcast::HazelcastSettings, shared_memory, sql::DatabaseSettings,
};

/// Which plugins there are, and what they work on.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Plugins and storage")]
pub struct PluginSettings {
    /// Plugin to serve with: a name that `tally plugins` lists, or the path of a .wasm file.
    ///
    /// Wins over --storage-method.
    #[arg(long, env, value_name = "NAME|PATH")]
    pub plugin: Option<String>,

    /// Directory whose .wasm files are known plugins too.
    #[arg(long, env, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,

    /// Storage to serve with: shared_memory, disk, postgresql or hazelcast; picks its recommended exact
    /// plugin [default: disk if --storage-path is set, otherwise shared_memory].
    #[arg(long, env, value_name = "METHOD")]
    pub storage_method: Option<String>,

    /// File of the disk plugin's default counter; the other counters lie beside it. Blanks around it do not count
    /// [default: tally-PORT/count.txt in the directory of --state-dir].
    #[arg(
        long,
        env,
        value_name = "FILE",
        // An empty path, which the usual parser refuses, means none.
        value_parser = OsStringValueParser::new().map(trimmed), default_value = "",
        hide_default_value = true
    )]
    pub storage_path: PathBuf,

    /// Directory of the shared-memory region.
    #[arg(long, env, value_name = "DIR", default_value = "/dev/shm")]
    pub shared_memory_dir: PathBuf,

    /// Name of the shared-memory region; hosts with the same one share their counters
    /// [default: tally-PORT].
    #[arg(long, env, value_name = "NAME", value_parser = parse_region_name)]
    pub shared_memory_name: Option<String>,

    /// Keys that a new shared-memory region has room for; one takes 640 to 1280 bytes.
    #[arg(long, env, value_name = "COUNT", default_value_t = 8192, value_parser = parse_capacity)]
    pub shared_memory_capacity: u32,

    /// Grants to plugins that are not bundled, as NAME=CAPABILITY[+CAPABILITY…].
    ///
    /// The name is that of a known plugin, or NAME.wasm for a file of that name, wherever it is and whenever it comes.
    /// Capabilities are shared-memory, file-lock, sql, hazelcast-map, hazelcast-atomic-long, files,
    /// clocks, config, log and environment.
    #[arg(long, env, value_name = "GRANT", value_delimiter = ',', value_parser = parse_grant)]
    pub grant: Vec<Grant>,

    /// Settings of plugins, as NAME.KEY=VALUE; for example disk-flock.durability=none.
    #[arg(long, env, value_name = "SETTING", value_delimiter = ',', value_parser = parse_setting)]
    pub plugin_config: Vec<PluginSetting>,

    /// Directory of the compile cache, or off
    /// [default: tally in the user's cache directory].
    #[arg(long, env, value_name = "DIR")]
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

fn trimmed(path: OsString) -> PathBuf {
    path.to_str().map_or_else(|| PathBuf::from(&path), |path| path.trim().into())
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

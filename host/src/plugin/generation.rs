//! One loaded version of the active plugin.

use std::{fmt, path::PathBuf, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{loader::Plugin, setup::Setup};

/// A plugin that serves, or served, with the settings that it was loaded with.
pub struct Generation {
    /// 1 for the first, and one more with each swap.
    pub number: u64,
    /// What is called.
    pub plugin: Arc<Plugin>,
    /// The settings that it was chosen by.
    pub setup: Arc<Setup>,
    /// The settings that were read last; after a rollback others than those.
    pub read: Arc<Setup>,
    /// What these choose, whatever was swapped to.
    pub chosen: Choice,
    /// When it was published.
    pub since: SystemTime,
    /// What asked for it.
    pub trigger: Trigger,
    /// Whether the counts of the generation before were carried to it.
    pub carried: bool,
}

/// A plugin, and where it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The plugin's name.
    pub plugin: String,
    /// Absolute path of its component; none for a bundled one.
    pub file: Option<PathBuf>,
    /// Where it keeps its counters.
    pub storage: String,
}

impl Choice {
    /// That of this plugin.
    pub fn of(plugin: &Plugin) -> Self {
        let file = plugin.source().place();
        let storage = plugin.protocol().storage.0.clone();
        Self { plugin: plugin.name().to_owned(), file, storage }
    }
}

/// What asks for a swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The start of the host.
    Start,
    /// The admin listener.
    Api,
    /// SIGHUP.
    Reload,
    /// A changed file in the plugin directory.
    Directory,
    /// A way back to the generation before.
    Rollback,
}

impl Trigger {
    /// Its name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Api => "api",
            Self::Reload => "reload",
            Self::Directory => "directory",
            Self::Rollback => "rollback",
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

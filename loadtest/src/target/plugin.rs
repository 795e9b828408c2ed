//! A plugin in this process: the host's runtime without its HTTP server.

use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context;
use tally_host::config::PluginSettings;
use tally_host::keys::DEFAULT_KEY;
use tally_host::plugin::call::{CallError, Operation};
use tally_host::plugin::catalog::Catalog;
use tally_host::plugin::compiler::Compiler;
use tally_host::plugin::limits::PluginLimits;
use tally_host::plugin::loader::Plugin;
use tally_host::plugin::pool::Pool;
use tally_host::plugin::setup::{self, Defaults};
use tempfile::TempDir;

use super::{Client, Outcome, Target};

/// Name of the disk plugin's file in a scratch directory.
const SCRATCH_FILE: &str = "count.txt";

/// A plugin, and the key that is driven.
pub struct PluginTarget {
    plugin: Arc<Plugin>,
    key: String,
    /// Removed at the end.
    _scratch: Vec<TempDir>,
}

impl PluginTarget {
    /// Loads the plugin that `settings` choose, as the host does, and has it compiled by `compiler`.
    ///
    /// A run resets the counter, so storage that the settings do not name is not the host's usual one but scratch:
    /// it is made for this run and removed after it.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with the settings or the plugin.
    pub fn load(
        settings: &PluginSettings,
        limits: &PluginLimits,
        key: Option<&str>,
        compiler: Compiler,
    ) -> anyhow::Result<PluginTarget> {
        let catalog = Catalog::of(settings)?;
        let known = setup::choose(&catalog, settings)?;
        let mut settings = settings.clone();
        let mut scratch = Vec::new();
        if settings.storage_path.as_os_str().is_empty() {
            let directory = tempfile::tempdir().context("cannot make a scratch directory")?;
            settings.storage_path = directory.path().join(SCRATCH_FILE);
            scratch.push(directory);
        }
        if settings.shared_memory_name.is_none() {
            let directory = tempfile::tempdir_in(&settings.shared_memory_dir).context(
                "cannot make a scratch directory for shared memory (--shared-memory-dir)",
            )?;
            settings.shared_memory_dir = directory.path().to_path_buf();
            scratch.push(directory);
        }
        // Each client has a pool of its own, and so a connection of its own.
        settings.database.db_connections_max = 1;
        let loader = setup::loader(compiler, &settings, limits, Defaults::of_port(0, None), 1)?;
        let plugin = loader.load(&known)?;
        plugin.check_grants()?;
        let key = key.unwrap_or(DEFAULT_KEY).to_owned();
        Ok(PluginTarget { plugin, key, _scratch: scratch })
    }
}

impl Target for PluginTarget {
    type Client = PluginClient;

    fn name(&self) -> String {
        "in process".to_owned()
    }

    /// One for each client, since a plugin computes where a server would be waited for.
    fn threads(&self, clients: usize) -> usize {
        clients
    }

    async fn connect(&self, _client: usize) -> anyhow::Result<PluginClient> {
        let pool = Pool::new(self.plugin.clone());
        // Nothing may be written before, not even the reset: it could arrive in the middle of the load.
        pool.wait_for_storage().await?;
        Ok(PluginClient { pool, key: self.key.clone() })
    }
}

/// One client, with plugin instances of its own.
pub struct PluginClient {
    pool: Rc<Pool>,
    key: String,
}

impl Client for PluginClient {
    async fn increment(&mut self) -> Outcome {
        match self.pool.call(Operation::Increment(1), &self.key).await {
            Ok(value) => Outcome::Acknowledged { value: Some(value) },
            Err(error) if error.outcome_is_unknown() => {
                Outcome::Unknown { reason: error.to_string() }
            }
            Err(error) => Outcome::Failed { reason: error.to_string() },
        }
    }

    async fn read(&mut self) -> anyhow::Result<i64> {
        self.pool.call(Operation::Get, &self.key).await.map_err(refused)
    }

    async fn reset(&mut self) -> anyhow::Result<()> {
        self.pool.call(Operation::Reset, &self.key).await.map(drop).map_err(refused)
    }

    async fn plugin(&mut self) -> Result<String, String> {
        Ok(self.pool.plugin().name().to_owned())
    }
}

fn refused(error: CallError) -> anyhow::Error {
    anyhow::anyhow!("the plugin refused: {error}")
}

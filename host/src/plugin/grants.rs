//! Who is granted what: the bundled plugins by their manifests, all others by the settings alone.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;

use super::{
    catalog::{KnownPlugin, Source},
    limits::PluginLimits,
    setup::Defaults,
    storage::{Protocol, Storage},
};
use crate::{
    capabilities::{
        Capability, Grants, directory::LazyDirectory, file_lock::LockScope, hazelcast::Hazelcast,
        lock_times::LockTimes, log::PluginLog, shared_memory::LazyRegion, sql::Database,
    },
    config::PluginSettings,
};

/// Makes the grants of plugins. What several of them are lent, such as the region, exists once.
pub struct Lender {
    settings: PluginSettings,
    lock_wait_max: Duration,
    log_lines_per_second_max: u32,
    region: Arc<LazyRegion>,
    region_name: String,
    file: Option<StorageFile>,
    database: Arc<Database>,
    threads: usize,
}

impl Lender {
    /// A lender for these settings, whose plugins are called on `threads` threads;
    /// `defaults` are where they name no region or file. If `before` lends the same database, its connections
    /// are lent.
    pub fn new(
        settings: &PluginSettings,
        limits: &PluginLimits,
        defaults: Defaults,
        threads: usize,
        before: Option<&Self>,
    ) -> Self {
        let same_database = before.filter(|before| {
            before.settings.database == settings.database && before.threads == threads
        });
        let database = same_database.map_or_else(
            || Arc::new(Database::new(&settings.database, threads)),
            |before| before.database.clone(),
        );
        let region_name = settings.shared_memory_name.clone().unwrap_or(defaults.region_name);
        let region = Arc::new(LazyRegion::new(
            settings.shared_memory_dir.join(&region_name),
            settings.shared_memory_capacity,
        ));
        let file = match &settings.storage_path {
            path if path.as_os_str().is_empty() => defaults.storage_path,
            path => Some(path.clone()),
        };
        Self {
            settings: settings.clone(),
            lock_wait_max: limits.lock_wait(),
            log_lines_per_second_max: limits.log_lines_per_second_max,
            region,
            region_name,
            file: file.and_then(StorageFile::new),
            database,
            threads,
        }
    }

    /// The capabilities that `plugin` may use.
    pub fn capabilities(&self, plugin: &KnownPlugin) -> BTreeSet<Capability> {
        let granted = self
            .settings
            .grant
            .iter()
            .filter(|grant| plugin.is_called(&grant.plugin))
            .flat_map(|grant| grant.capabilities.iter().copied());
        let by_manifest = match &plugin.source {
            Source::Bundled(bundled) => bundled.grants,
            Source::File(_) => &[],
        };
        let by_manifest = by_manifest
            .iter()
            .map(|name| name.parse().expect("a test checks the manifests of the bundled plugins"));
        by_manifest.chain(granted).collect()
    }

    /// What `plugin` is lent when it uses `capabilities`, all of which it was granted.
    ///
    /// # Errors
    ///
    /// A sentence that says what can't be lent, and which setting to change.
    pub fn lend(
        &self,
        plugin: &KnownPlugin,
        capabilities: BTreeSet<Capability>,
    ) -> anyhow::Result<Grants> {
        let has = |capability| capabilities.contains(&capability);
        let region = has(Capability::SharedMemory).then(|| self.region.clone());
        let mut settings = self.plugin_config(plugin);
        let mut directory = None;
        // Locks lie beside what they guard, so that all who share the one share the other. Each plugin has a scope of its own,
        // so that none can take up the names of another.
        let mut locks =
            LockScope::new(self.settings.shared_memory_dir.clone(), self.region_name.clone());
        if has(Capability::Files) {
            let file = self.file.as_ref().context(
                "it keeps its counters in files: set --storage-path to the one of the default counter",
            )?;
            settings.push(("file".into(), file.name.clone()));
            directory = Some(LazyDirectory::new(file.directory.clone()));
            locks = LockScope::of_file(file.directory.clone(), file.name.clone());
        }
        let times = || LockTimes::of(&plugin.name);
        let locks =
            has(Capability::FileLock).then(|| (Arc::new(locks), self.lock_wait_max, times()));
        if has(Capability::Sql) {
            settings.push(("counter-key".into(), self.settings.database.db_counter_key.clone()));
        }
        let database = has(Capability::Sql).then(|| self.database.clone());
        let hazelcast = (has(Capability::HazelcastMap) || has(Capability::HazelcastAtomicLong))
            .then(|| Hazelcast::new(&self.settings.hazelcast, self.lock_wait_max, times()));
        let log = PluginLog::new(plugin.name.clone(), self.log_lines_per_second_max);
        Ok(Grants { capabilities, region, locks, database, hazelcast, directory, settings, log })
    }

    /// Where `plugin` keeps its counters when it uses `capabilities`, and what keeps its callers apart.
    pub fn protocol(&self, plugin: &KnownPlugin, capabilities: &BTreeSet<Capability>) -> Protocol {
        let locks = match &plugin.source {
            Source::Bundled(bundled) => bundled.lock_protocol,
            Source::File(_) => None,
        };
        Protocol { storage: self.storage(&plugin.name, capabilities), locks }
    }

    /// By what it can reach: a plugin with a database keeps its counters there.
    fn storage(&self, plugin: &str, capabilities: &BTreeSet<Capability>) -> Storage {
        let has = |capability| capabilities.contains(&capability);
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
        let settings = &self.settings;
        Storage(if has(Capability::Sql) {
            settings.database.place()
        } else if has(Capability::HazelcastMap) {
            settings.hazelcast.map_place()
        } else if has(Capability::HazelcastAtomicLong) {
            settings.hazelcast.atomic_longs_place()
        } else if has(Capability::Files) {
            let path = self.file.as_ref().map(|file| file.directory.join(&file.name));
            format!("the file {}", absolute(&path.unwrap_or_default()).display())
        } else if has(Capability::SharedMemory) {
            format!("the shared-memory region {}", absolute(self.region.path()).display())
        } else {
            format!("the plugin {plugin} itself")
        })
    }

    fn plugin_config(&self, plugin: &KnownPlugin) -> Vec<(String, String)> {
        let settings = self.settings.plugin_config.iter();
        settings
            .filter(|setting| plugin.is_called(&setting.plugin))
            .map(|setting| (setting.key.clone(), setting.value.clone()))
            .collect()
    }
}

/// The file of the default counter.
struct StorageFile {
    directory: PathBuf,
    name: String,
}

impl StorageFile {
    /// None when the path names no file.
    fn new(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let directory = match path.parent()? {
            parent if parent.as_os_str().is_empty() => PathBuf::from("."),
            parent => parent.to_path_buf(),
        };
        Some(Self { directory, name })
    }
}

#[cfg(test)]
mod tests {
    use crate::{capabilities::Capability, plugin::catalog::BUNDLED};

    #[test]
    fn bundled_plugins_are_granted_capabilities_that_exist() {
        for bundled in BUNDLED {
            for name in bundled.grants {
                name.parse::<Capability>().unwrap();
            }
        }
    }

    #[test]
    fn a_bundled_plugin_names_its_settings_if_it_may_read_any() {
        for bundled in BUNDLED {
            let grants = |capability| bundled.grants.contains(&capability);
            // Those with a database are told the name of the default counter's row, if nothing else.
            let reads = grants("config") && !(grants("sql") && bundled.settings.is_empty());
            assert_eq!(reads, !bundled.settings.is_empty(), "{}", bundled.name);
        }
    }
}

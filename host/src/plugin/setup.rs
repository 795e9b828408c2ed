//! Plugins as one set of settings wants them: which there are, which is chosen, and those loaded so far.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use wasmtime::Engine;

use super::{
    cache::CompileCache,
    catalog::{Catalog, KnownPlugin, Source},
    compiler::Compiler,
    engine,
    grants::Lender,
    limits::PluginLimits,
    loader::{Loader, Plugin},
    names,
    registry::Registry,
};
use crate::{config::PluginSettings, directories, error::UsageError};

/// The storages that `--storage-method` knows, and the plugin that each stands for.
const STORAGE_METHODS: [(&str, &str); 4] = [
    ("shared_memory", "shared-memory-atomic"),
    ("disk", "disk-flock"),
    ("postgresql", "postgresql-inplace-update"),
    ("hazelcast", "hazelcast-pessimistic"),
];

/// Where a host's storages are that its settings do not name.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Name of the region.
    pub region_name: String,
    /// File of the default counter; none where the host has no directory of its own.
    pub storage_path: Option<PathBuf>,
}

impl Defaults {
    /// Those of a host on `port`, with files in `state_dir`. Two hosts on one machine have different ports, so
    /// they never share counters by accident.
    pub fn of_port(port: u16, state_dir: Option<&Path>) -> Self {
        let name = format!("tally-{port}");
        let storage_path = state_dir.map(|directory| directory.join(&name).join("count.txt"));
        Self { region_name: name, storage_path }
    }
}

/// One set of settings, and the plugins that were loaded with it.
pub struct Setup {
    settings: PluginSettings,
    limits: PluginLimits,
    loader: Loader,
    registry: Registry,
}

impl Setup {
    /// A setup without a plugin loaded. All setups of a process share one `engine` and `compiler`, and this one what
    /// `before` has that is the same for both; the other arguments are as for [`loader`].
    pub fn new(
        engine: &Engine,
        compiler: Compiler,
        settings: &PluginSettings,
        limits: &PluginLimits,
        defaults: Defaults,
        threads: usize,
        before: Option<&Self>,
    ) -> Self {
        let before = before.map(|before| before.loader.lender());
        let lender = Lender::new(settings, limits, defaults, threads, before);
        Self {
            settings: settings.clone(),
            limits: limits.clone(),
            loader: Loader::new(
                engine.clone(),
                compiler,
                lender,
                limits.clone(),
                compile_cache(settings),
            ),
            registry: Registry::default(),
        }
    }

    /// The settings that it was made from.
    pub fn settings(&self) -> (&PluginSettings, &PluginLimits) {
        (&self.settings, &self.limits)
    }

    /// Loads plugins with these settings.
    pub fn loader(&self) -> &Loader {
        &self.loader
    }

    /// The plugins that are ready, or the reasons why they are not.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The plugins that are known at the moment: files may have come or gone.
    ///
    /// # Errors
    ///
    /// When the plugin directory can't be read.
    pub fn catalog(&self) -> Result<Catalog, UsageError> {
        Catalog::of(&self.settings)
    }

    /// The plugin that the settings choose.
    ///
    /// # Errors
    ///
    /// When they choose one that does not exist.
    pub fn chosen(&self) -> Result<KnownPlugin, UsageError> {
        choose(&self.catalog()?, &self.settings)
    }

    /// `known`, loaded. One that was loaded before needs no compiler, unless its file has changed.
    ///
    /// This reads and may compile, so it belongs on a thread that serves nobody.
    ///
    /// # Errors
    ///
    /// A sentence that says why the plugin can't be used, and what to do.
    pub fn load(&self, known: &KnownPlugin) -> anyhow::Result<Arc<Plugin>> {
        if let Some(plugin) = self.ready(known) {
            return Ok(plugin);
        }
        let loaded = self.loader.load(known);
        if !self.is_listed(known) {
            return loaded;
        }
        // One that worked stays known when a newer build of it is refused.
        let keep = matches!(self.registry.get(&known.name), Some(Ok(_))) && loaded.is_err();
        if !keep {
            let entry = loaded.as_ref().map(Arc::clone).map_err(|error| format!("{error:#}"));
            self.registry.insert(known.name.clone(), entry);
        }
        if let Ok(catalog) = self.catalog() {
            // Files that are gone are no longer known.
            let is_known = |name: &str| catalog.plugins().iter().any(|known| known.name == name);
            self.registry.retain(is_known);
        }
        loaded
    }

    /// `known`, if it was loaded before and its file has not changed since. This reads the file.
    pub fn ready(&self, known: &KnownPlugin) -> Option<Arc<Plugin>> {
        let plugin = self.registry.get(&known.name)?.ok()?;
        self.is_unchanged(known, &plugin).then_some(plugin)
    }

    /// Whether it is bundled or in the plugin directory. Any number of others could be chosen by their paths.
    fn is_listed(&self, known: &KnownPlugin) -> bool {
        match &known.source {
            Source::Bundled(_) => true,
            Source::File(path) => path.parent() == self.settings.plugin_dir.as_deref(),
        }
    }

    fn is_unchanged(&self, known: &KnownPlugin, plugin: &Plugin) -> bool {
        match &known.source {
            Source::Bundled(_) => true,
            source => {
                plugin.source() == source
                    && self.loader.digest(known).is_ok_and(|digest| digest == plugin.digest())
            }
        }
    }

    /// Loads all known plugins that were not, one after the other, in whichever setups of this process. One that fails is
    /// kept with its reason, and the others go on.
    pub fn load_all(&self) {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let catalog = match self.catalog() {
            Ok(catalog) => catalog,
            Err(error) => return tracing::warn!("{error}"),
        };
        for known in catalog.plugins() {
            if self.registry.get(&known.name).is_none()
                && let Err(error) = self.load(known)
            {
                tracing::info!("{error:#}");
            }
        }
    }
}

/// The plugin that the settings ask for. Whatever they say of the others is checked too.
///
/// # Errors
///
/// When they ask for one that does not exist, or grant something to one, or set what a plugin does not have.
pub fn choose(catalog: &Catalog, settings: &PluginSettings) -> Result<KnownPlugin, UsageError> {
    let chosen = find_chosen(catalog, settings)?;
    let mut known = catalog.plugins().to_vec();
    if known.iter().all(|plugin| plugin.source != chosen.source) {
        known.push(chosen.clone());
    }
    names::check(&known, settings)?;
    Ok(chosen)
}

fn find_chosen(catalog: &Catalog, settings: &PluginSettings) -> Result<KnownPlugin, UsageError> {
    // An empty variable counts as unset, as compose files write it.
    let given = |setting: &Option<String>| setting.clone().filter(|value| !value.is_empty());
    if let Some(choice) = given(&settings.plugin) {
        return catalog
            .find(&choice)
            .map_err(|UsageError(why)| UsageError(format!("--plugin: {why}")));
    }
    let by_path =
        if settings.storage_path.as_os_str().is_empty() { "shared_memory" } else { "disk" };
    let method = given(&settings.storage_method).unwrap_or_else(|| by_path.to_owned());
    match STORAGE_METHODS.iter().find(|(name, _)| *name == method) {
        Some((_, plugin)) => catalog.find(plugin),
        None => {
            let known = STORAGE_METHODS.map(|(name, _)| name);
            Err(UsageError::unknown("value of --storage-method", &method, &known))
        }
    }
}

/// A loader as the settings want it, of plugins that `compiler` compiles and that are called on `threads` threads, with an
/// engine of its own.
///
/// # Errors
///
/// When the engine can't be made on this machine.
pub fn loader(
    compiler: Compiler,
    settings: &PluginSettings,
    limits: &PluginLimits,
    defaults: Defaults,
    threads: usize,
) -> anyhow::Result<Loader> {
    Ok(Setup::new(&engine::new()?, compiler, settings, limits, defaults, threads, None).loader)
}

/// The compile cache; none when it is off or can't be used, which costs time and nothing else.
fn compile_cache(settings: &PluginSettings) -> Option<CompileCache> {
    let directory = settings.compile_cache.clone().or_else(default_cache_directory)?;
    if directory.as_os_str() == "off" {
        return None;
    }
    CompileCache::open(&directory)
        .inspect_err(|error| {
            let shown = directory.display();
            tracing::warn!(
                "there is no compile cache in {shown}, so each start compiles again: {error:#}"
            );
        })
        .ok()
}

/// `$XDG_CACHE_HOME/tally`, or `~/.cache/tally`.
fn default_cache_directory() -> Option<PathBuf> {
    directories::of_user("XDG_CACHE_HOME", Path::new(".cache"))
}

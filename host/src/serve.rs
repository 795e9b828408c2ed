//! A running host: the chosen plugin, its workers, and the other plugins made ready.

use std::{
    env, io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    thread,
};

use anyhow::Context;

use crate::{
    config::{Config, PluginSettings},
    error::UsageError,
    http,
    plugin::{
        cache::CompileCache,
        catalog::{Catalog, KnownPlugin},
        engine,
        grants::Lender,
        limits::PluginLimits,
        loader::Loader,
        registry::Registry,
    },
    readiness,
    worker::{
        counter::PluginCounter,
        server::{self, Server},
    },
};

/// The storages that `--storage-method` knows, and the plugin that each stands for.
const STORAGE_METHODS: [(&str, &str); 3] = [
    ("shared_memory", "shared-memory-atomic"),
    ("disk", "disk-flock"),
    ("postgresql", "postgresql-inplace-update"),
];

/// A host that serves.
pub struct Host {
    server: Server,
    plugin: String,
    registry: Arc<Registry>,
}

impl Host {
    /// Starts serving with the chosen plugin; the others are loaded in the background.
    ///
    /// # Errors
    ///
    /// One sentence that says what is wrong with the settings, or what is in the way. Nothing has
    /// been served then.
    pub fn start(config: &Config) -> anyhow::Result<Self> {
        let catalog = Catalog::new(config.plugins.plugin_dir.as_deref())?;
        let chosen = choose(&catalog, &config.plugins)?;
        let listener = bind(&config.host, config.port)?;
        let region_name = default_region_name(listener.local_addr()?.port());
        let workers = config.workers.map_or_else(server::cores, usize::from);
        let loader = loader(&config.plugins, &config.plugin_limits, region_name, workers)?;
        let plugin = loader.load(&chosen)?;
        plugin.check_grants()?;
        let registry = Arc::new(Registry::default());
        registry.insert(chosen.name.clone(), Ok(plugin.clone()));

        raise_file_limit();
        readiness::watch(plugin.clone())?;
        let server = Server::start(listener, workers, &config.server_limits, move || {
            http::router(PluginCounter::new(plugin.clone()))
        })?;
        load_others(loader, catalog, registry.clone())?;
        Ok(Self { server, plugin: chosen.name, registry })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The name of the plugin that it serves with.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// The plugins that are ready, or the reasons why they are not.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Answers what has been received, then stops.
    pub fn drain(self) {
        self.server.drain();
    }
}

/// The plugin that the settings ask for.
///
/// # Errors
///
/// When they ask for one that does not exist.
pub fn choose(catalog: &Catalog, settings: &PluginSettings) -> Result<KnownPlugin, UsageError> {
    // An empty variable counts as unset, as compose files write it.
    let given = |setting: &Option<String>| setting.clone().filter(|value| !value.is_empty());
    if let Some(choice) = given(&settings.plugin) {
        return catalog.find(&choice);
    }
    let by_path =
        if settings.storage_path.as_os_str().is_empty() { "shared_memory" } else { "disk" };
    let method = given(&settings.storage_method).unwrap_or_else(|| by_path.to_owned());
    match STORAGE_METHODS.iter().find(|(name, _)| *name == method) {
        Some((_, plugin)) => catalog.find(plugin),
        None => {
            let known = STORAGE_METHODS.map(|(name, _)| name);
            Err(UsageError::unknown("storage method", &method, &known))
        }
    }
}

/// The name of the region of a host on `port`: two hosts on one machine have different ports, so
/// they never share counters by accident.
pub fn default_region_name(port: u16) -> String {
    format!("tally-{port}")
}

/// A loader as the settings want it, of plugins that are called on `threads` threads.
///
/// # Errors
///
/// When the engine can't be made on this machine.
pub fn loader(
    settings: &PluginSettings,
    limits: &PluginLimits,
    region_name: String,
    threads: usize,
) -> anyhow::Result<Loader> {
    let lender = Lender::new(settings, limits, region_name, threads);
    Ok(Loader::new(engine::new()?, lender, limits.clone(), compile_cache(settings)))
}

/// The compile cache; none when it is off or can't be used, which costs time and nothing else.
fn compile_cache(settings: &PluginSettings) -> Option<CompileCache> {
    let directory = settings.compile_cache.clone().or_else(default_cache_directory)?;
    if directory.as_os_str() == "off" {
        return None;
    }
    CompileCache::open(&directory)
        .inspect_err(|error| {
            tracing::warn!("no compile cache in {}: {error}", directory.display());
        })
        .ok()
}

/// `$XDG_CACHE_HOME/tally`, or `~/.cache/tally`.
fn default_cache_directory() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("tally"))
}

fn bind(host: &str, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((host, port)).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {port} on {host} is in use: stop the program that listens there, or set --port"
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("port {port} on {host} may not be used by this user: set --port")
        }
        _ => anyhow::anyhow!("can't listen on {host}, port {port}: {error}; set --host or --port"),
    })
}

/// Connections are files to the operating system, whose customary limit is low for a server.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("can't raise the limit on open files: {error}");
    }
}

fn load_others(loader: Loader, catalog: Catalog, registry: Arc<Registry>) -> anyhow::Result<()> {
    thread::Builder::new()
        .name("loader".into())
        .spawn(move || registry.load_all(&loader, catalog.plugins()))
        .context("can't start the thread that loads plugins")?;
    Ok(())
}

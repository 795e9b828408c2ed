//! From what was asked for to a plugin that is compiled and checked.

use std::{path::Path, sync::Arc, thread, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task,
    time::timeout,
};
use wasmtime::Engine;

use super::{error::SwapError, request::Change, status::Status};
use crate::{
    config::PluginSettings,
    plugin::{
        catalog::{Catalog, KnownPlugin, Source},
        compiler::Compiler,
        generation::{Choice, Generation},
        limits::PluginLimits,
        loader::Plugin,
        setup::{Defaults, Setup},
    },
};

/// What the next generation will be.
pub struct Candidate {
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// The settings that it was chosen by.
    pub setup: Arc<Setup>,
    /// The settings that were read last.
    pub read: Arc<Setup>,
    /// What these choose, whatever was swapped to.
    pub chosen: Choice,
}

/// How long all may take that makes a plugin ready, but its compilation.
const READ_TIME_MAX: Duration = Duration::from_secs(5);

/// Who may have a plugin compiled: one at a time, swaps and uploads together.
pub type Compilers = Arc<Semaphore>;

/// Finds candidates.
pub struct Candidates {
    engine: Engine,
    compiler: Compiler,
    defaults: Defaults,
    threads: usize,
    compilers: Compilers,
}

impl Candidates {
    /// Finds plugins for `engine`; `compiler`, `defaults` and `threads` are as for [`Setup::new`].
    pub fn new(
        engine: Engine,
        compiler: Compiler,
        defaults: Defaults,
        threads: usize,
        compilers: Compilers,
    ) -> Self {
        Self { engine, compiler, defaults, threads, compilers }
    }

    /// What `change` asks for; none if it is what serves already.
    pub async fn find(
        &self,
        change: Change,
        status: &Status,
    ) -> Result<Option<Candidate>, SwapError> {
        let active = status.active();
        match change {
            Change::Plugin(choice) => {
                let known = catalog(&active.setup)?.find(&choice).map_err(unknown)?;
                self.beside(&active, known).await.map(Some)
            }
            Change::Rollback => {
                let before = status.previous().ok_or(SwapError::NothingToRollBack)?;
                Ok(Some(beside(&active, before.plugin.clone(), before.setup.clone())))
            }
            Change::Settings(settings) => self.by_settings(&active, &settings.0, &settings.1).await,
            Change::File(path) => self.by_file(&active, &path).await,
        }
    }

    async fn by_settings(
        &self,
        active: &Generation,
        settings: &PluginSettings,
        limits: &PluginLimits,
    ) -> Result<Option<Candidate>, SwapError> {
        let same = active.read.settings() == (settings, limits);
        let setup = if same {
            active.read.clone()
        } else {
            let (compiler, defaults, threads) =
                (self.compiler, self.defaults.clone(), self.threads);
            let before = Some(&*active.setup);
            Arc::new(Setup::new(
                &self.engine,
                compiler,
                settings,
                limits,
                defaults,
                threads,
                before,
            ))
        };
        let known = setup.chosen().map_err(unknown)?;
        let active_is_other = *active.plugin.source() != known.source;
        if same && (active_is_other || !Arc::ptr_eq(&active.setup, &setup)) {
            // Somebody has swapped, or rolled back, to something else since, and no setting says otherwise now.
            return Ok(None);
        }
        let mut plugin = self.load(&setup, known).await?;
        if same && is_active(active, &plugin) {
            return Ok(None);
        }
        let chosen = Choice::of(&plugin);
        if active_is_other && chosen == active.chosen {
            // Nor do these: the counts are where they were swapped to.
            plugin = self.load(&setup, active.plugin.known().clone()).await?;
        }
        let candidate = Candidate { plugin, setup: setup.clone(), read: setup.clone(), chosen };
        if !same {
            // The others of the new settings, so that a swap to one of them waits for no compiler.
            let _ = thread::Builder::new().name("loader".into()).spawn(move || setup.load_all());
        }
        Ok(Some(candidate))
    }

    /// A plugin that does not serve is only made ready.
    async fn by_file(
        &self,
        active: &Generation,
        path: &Path,
    ) -> Result<Option<Candidate>, SwapError> {
        let source = Source::File(path.to_path_buf());
        let catalog = catalog(&active.setup)?;
        let Some(known) = catalog.plugins().iter().find(|known| known.source == source) else {
            // It was removed in the meantime.
            return Ok(None);
        };
        let candidate = self.beside(active, known.clone()).await?;
        let serves = *active.plugin.source() == source;
        Ok((serves && !is_active(active, &candidate.plugin)).then_some(candidate))
    }

    /// `known`, with the settings of what serves.
    async fn beside(
        &self,
        active: &Generation,
        known: KnownPlugin,
    ) -> Result<Candidate, SwapError> {
        let plugin = self.load(&active.setup, known).await?;
        Ok(beside(active, plugin, active.setup.clone()))
    }

    async fn load(&self, setup: &Arc<Setup>, known: KnownPlugin) -> Result<Arc<Plugin>, SwapError> {
        let setup = setup.clone();
        let (looked_up, wanted) = (setup.clone(), known.clone());
        let ready = task::spawn_blocking(move || looked_up.ready(&wanted));
        let Ok(ready) = timeout(READ_TIME_MAX, ready).await else {
            return Err(SwapError::Refused(format!(
                "can't load the plugin {}: it was not read within {READ_TIME_MAX:?}",
                known.name
            )));
        };
        if let Some(plugin) = ready.unwrap_or_default() {
            return Ok(plugin);
        }
        let compiler = compiler(&self.compilers)?;
        let name = known.name.clone();
        let time_max = check_time_max(&setup);
        let loading = task::spawn_blocking(move || {
            let _compiler = compiler;
            setup.load(&known)
        });
        match timeout(time_max, loading).await {
            Ok(Ok(loaded)) => loaded.map_err(|error| SwapError::Refused(format!("{error:#}"))),
            Ok(Err(panic)) => {
                Err(SwapError::Refused(format!("can't load the plugin {name}: {panic}")))
            }
            Err(_) => Err(SwapError::Refused(format!(
                "can't load the plugin {name}: it was not read, compiled and checked within {time_max:?}"
            ))),
        }
    }
}

/// `plugin` in the place of the one that is active, though the settings say nothing new.
fn beside(active: &Generation, plugin: Arc<Plugin>, setup: Arc<Setup>) -> Candidate {
    Candidate { plugin, setup, read: active.read.clone(), chosen: active.chosen.clone() }
}

/// How long a plugin may take until it is compiled and checked. Only a file system that does not answer takes longer:
/// the compiler has a limit of its own, which comes before.
pub fn check_time_max(setup: &Setup) -> Duration {
    setup.settings().1.compile_time() + READ_TIME_MAX
}

/// The right to have a plugin compiled.
pub fn compiler(compilers: &Compilers) -> Result<OwnedSemaphorePermit, SwapError> {
    compilers.clone().try_acquire_owned().map_err(|_| {
        SwapError::NotNow(
            "the compiler is still busy with an earlier plugin: try again later".into(),
        )
    })
}

fn catalog(setup: &Setup) -> Result<Catalog, SwapError> {
    setup.catalog().map_err(|error| SwapError::Refused(error.0))
}

fn unknown(error: crate::error::UsageError) -> SwapError {
    SwapError::UnknownPlugin(error.0)
}

fn is_active(active: &Generation, plugin: &Plugin) -> bool {
    active.plugin.source() == plugin.source() && active.plugin.digest() == plugin.digest()
}

//! Known plugins and how their loading went.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::loader::Plugin;

/// How the loading of a plugin went: ready, or the reason why not.
pub type Loaded = Result<Arc<Plugin>, String>;

/// The plugins that were loaded, by name. Those that are not in it yet are being loaded.
#[derive(Default)]
pub struct Registry {
    plugins: Mutex<BTreeMap<String, Loaded>>,
}

impl Registry {
    /// Enters a plugin.
    pub fn insert(&self, name: String, loaded: Loaded) {
        self.lock().insert(name, loaded);
    }

    /// How the loading of the plugin called `name` went; none while it has not.
    pub fn get(&self, name: &str) -> Option<Loaded> {
        self.lock().get(name).cloned()
    }

    /// Forgets the plugins that are not in `known`.
    pub fn retain(&self, known: impl Fn(&str) -> bool) {
        self.lock().retain(|name, _| known(name));
    }

    /// The plugins that are ready.
    pub fn ready(&self) -> Vec<Arc<Plugin>> {
        self.lock().values().filter_map(|loaded| loaded.as_ref().ok().cloned()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Loaded>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

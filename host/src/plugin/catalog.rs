//! The known plugins: those that are compiled into the host, and the files of a directory.

use std::{
    borrow::Cow,
    ffi::OsStr,
    fs,
    path::{self, Path, PathBuf},
};

use crate::{config::PluginSettings, error::UsageError};

/// A plugin that is compiled into the host, with what its manifest says of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Bundled {
    /// `<storage>-<method>`.
    pub name: &'static str,
    /// Where it keeps the counters.
    pub storage: &'static str,
    /// How it keeps callers apart.
    pub method: &'static str,
    /// What it promises under contention.
    pub guarantee: &'static str,
    /// What keeps its callers apart: plugins with the same one may count on one storage at the same
    /// time. None where nothing does.
    pub lock_protocol: Option<&'static str>,
    /// Names of the capabilities that it is granted without being asked.
    pub grants: &'static [&'static str],
    /// Names of the settings that it has.
    pub settings: &'static [&'static str],
    /// The component.
    pub wasm: &'static [u8],
}

/// All of them, in alphabetical order.
pub const BUNDLED: &[Bundled] = include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// A plugin that can be loaded.
#[derive(Clone, Debug)]
pub struct KnownPlugin {
    /// The name by which it is chosen.
    pub name: String,
    /// Where its component is.
    pub source: Source,
}

/// Where a component is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In this program.
    Bundled(&'static Bundled),
    /// In a file.
    File(PathBuf),
}

impl Source {
    /// The absolute path of a file.
    pub fn place(&self) -> Option<PathBuf> {
        match self {
            Self::Bundled(_) => None,
            Self::File(path) => Some(path::absolute(path).unwrap_or_else(|_| path.clone())),
        }
    }
}

impl KnownPlugin {
    fn bundled(bundled: &'static Bundled) -> Self {
        Self { name: bundled.name.to_owned(), source: Source::Bundled(bundled) }
    }

    /// The plugin in a file, called as the file is without `.wasm`, or with it where another plugin
    /// has that name already.
    fn file(path: PathBuf, others: &[KnownPlugin]) -> Self {
        let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let (stem, name) = (text(path.file_stem()), text(path.file_name()));
        let free = others.iter().all(|plugin| plugin.name != stem);
        Self { name: if free { stem } else { name }, source: Source::File(path) }
    }

    /// Whether `name` means it, in a grant or a setting: its name, or the name of its file.
    pub fn is_called(&self, name: &str) -> bool {
        name == self.name || self.file_name().is_some_and(|file| *file == *name)
    }

    /// What it is called in a grant: a file by the name that also means it when it is nowhere to be found.
    pub fn name_for_grants(&self) -> Cow<'_, str> {
        self.file_name().map_or(Cow::Borrowed(&*self.name), OsStr::to_string_lossy)
    }

    fn file_name(&self) -> Option<&OsStr> {
        match &self.source {
            Source::Bundled(_) => None,
            Source::File(path) => path.file_name(),
        }
    }
}

/// The known plugins.
#[derive(Debug)]
pub struct Catalog {
    plugins: Vec<KnownPlugin>,
    /// The one that the settings choose by its path, if it is not among these.
    chosen: Option<KnownPlugin>,
}

impl Catalog {
    /// The bundled plugins and the `.wasm` files in `directory`.
    ///
    /// # Errors
    ///
    /// When the directory can't be read.
    pub fn new(directory: Option<&Path>) -> Result<Self, UsageError> {
        let mut plugins: Vec<_> = BUNDLED.iter().map(KnownPlugin::bundled).collect();
        for path in directory.map(wasm_files).transpose()?.unwrap_or_default() {
            plugins.push(KnownPlugin::file(path, &plugins));
        }
        Ok(Self { plugins, chosen: None })
    }

    /// As [`Self::new`], of these settings. A file that they choose by its path keeps its name, and with it what it is
    /// granted, whatever lies in the plugin directory.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`].
    pub fn of(settings: &PluginSettings) -> Result<Self, UsageError> {
        let mut catalog = Self::new(settings.plugin_dir.as_deref())?;
        let choice = settings.plugin.as_deref().unwrap_or_default();
        let chosen = KnownPlugin::file(choice.into(), &catalog.plugins[..BUNDLED.len()]);
        let is_known = catalog.named(choice).or(catalog.listed(&chosen.source)).is_some();
        if is_wasm_file(Path::new(choice)) && !is_known {
            for plugin in catalog.plugins.iter_mut().filter(|plugin| plugin.name == chosen.name) {
                plugin.name = plugin.name_for_grants().into_owned();
            }
            catalog.chosen = Some(chosen);
        }
        Ok(catalog)
    }

    /// The plugin called `name`.
    pub fn named(&self, name: &str) -> Option<&KnownPlugin> {
        self.plugins.iter().chain(&self.chosen).find(|plugin| plugin.name == name)
    }

    /// The plugin at `source`, however its path is written.
    fn listed(&self, source: &Source) -> Option<&KnownPlugin> {
        let place = source.place();
        self.plugins.iter().chain(&self.chosen).find(|plugin| plugin.source.place() == place)
    }

    /// All known plugins.
    pub fn plugins(&self) -> &[KnownPlugin] {
        &self.plugins
    }

    /// The plugin that `choice` means: a name, or the path of a `.wasm` file.
    ///
    /// # Errors
    ///
    /// When there is none; the message lists the known names and suggests the nearest.
    pub fn find(&self, choice: &str) -> Result<KnownPlugin, UsageError> {
        if let Some(plugin) = self.named(choice) {
            return Ok(plugin.clone());
        }
        let path = Path::new(choice);
        if !is_wasm_file(path) {
            let names: Vec<&str> = self.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
            return Err(UsageError::unknown("plugin", choice, &names));
        }
        // Whether it is a file is for the one to say who opens it.
        if path.symlink_metadata().is_err() {
            return Err(UsageError(format!("there is no plugin file {choice}")));
        }
        let known = KnownPlugin::file(path.to_path_buf(), &self.plugins);
        Ok(self.listed(&known.source).cloned().unwrap_or(known))
    }
}

/// Whether the name of the file at `path` is that of a component.
fn is_wasm_file(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wasm")
}

/// The files in `directory` that may be components, in alphabetical order.
///
/// # Errors
///
/// When it can't be read.
pub fn wasm_files(directory: &Path) -> Result<Vec<PathBuf>, UsageError> {
    let entries = fs::read_dir(directory)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| {
            UsageError(format!(
                "can't read the plugin directory {} (--plugin-dir): {error}",
                directory.display()
            ))
        })?;
    let mut files: Vec<PathBuf> =
        entries.into_iter().map(|entry| entry.path()).filter(|path| is_wasm_file(path)).collect();
    files.sort();
    Ok(files)
}

//! The names of plugins and of their settings, as `--grant` and `--plugin-config` have them.

use std::path::Path;

use super::catalog::{KnownPlugin, Source};
use crate::{config::PluginSettings, error::UsageError};

/// Refuses grants and settings of plugins that are not among `known`, and settings that a bundled plugin does not have.
///
/// A file that is not there yet, because it will be uploaded or swapped in by its path, may be named with its `.wasm`.
///
/// # Errors
///
/// One sentence with the names that there are.
pub fn check(known: &[KnownPlugin], settings: &PluginSettings) -> Result<(), UsageError> {
    for grant in &settings.grant {
        find("--grant", &grant.plugin, known)?;
    }
    for setting in &settings.plugin_config {
        let plugin = find("--plugin-config", &setting.plugin, known)?;
        let Some(Source::Bundled(bundled)) = plugin.map(|plugin| &plugin.source) else {
            continue;
        };
        let (name, key) = (bundled.name, setting.key.as_str());
        if bundled.settings.is_empty() {
            return Err(UsageError(format!(
                "{name} has no settings, so --plugin-config {name}.{key} has no use"
            )));
        }
        if !bundled.settings.contains(&key) {
            return Err(UsageError::unknown(&format!("setting of {name}"), key, bundled.settings));
        }
    }
    Ok(())
}

/// The plugin called `name`; none where that is a file to come.
fn find<'a>(
    flag: &str,
    name: &str,
    known: &'a [KnownPlugin],
) -> Result<Option<&'a KnownPlugin>, UsageError> {
    let found = known.iter().find(|plugin| plugin.is_called(name));
    let is_file = Path::new(name).extension().is_some_and(|extension| extension == "wasm");
    if found.is_some() || is_file && !name.contains('/') {
        return Ok(found);
    }
    let names: Vec<&str> = known.iter().map(|plugin| plugin.name.as_str()).collect();
    let UsageError(unknown) = UsageError::unknown(&format!("plugin in {flag}"), name, &names);
    Err(UsageError(format!(
        "{unknown}, and NAME.wasm for a file of that name, without its directory"
    )))
}

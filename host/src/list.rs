//! The command `tally plugins`.

use std::fmt::Write as _;

use crate::{
    config::Config,
    plugin::{
        catalog::{Catalog, KnownPlugin, Source},
        compiler::Compiler,
        loader::{Inspected, Loader},
        setup::{self, Defaults},
    },
};

/// Describes every known plugin and the file that is chosen, one paragraph each, as text.
///
/// # Errors
///
/// When the settings name what is not there, the plugin directory or the file can't be read, or the engine can't be
/// made.
pub fn plugins(config: &Config) -> anyhow::Result<String> {
    let catalog = Catalog::of(&config.plugins)?;
    let chosen = setup::choose(&catalog, &config.plugins)?;
    let defaults = Defaults::of_port(config.port, config.swaps.state_dir.as_deref());
    let loader =
        setup::loader(Compiler::Child, &config.plugins, &config.plugin_limits, defaults, 1)?;
    let mut text = String::new();
    let mut plugins = catalog.plugins().to_vec();
    if plugins.iter().all(|known| known.source != chosen.source) {
        plugins.push(chosen);
    }
    for known in &plugins {
        describe(&mut text, known, &loader, config).expect("writing to a string");
    }
    Ok(text)
}

fn describe(
    text: &mut String,
    known: &KnownPlugin,
    loader: &Loader,
    config: &Config,
) -> std::fmt::Result {
    writeln!(text, "{}", known.name)?;
    let (storage, method, guarantee) = match &known.source {
        Source::Bundled(bundled) => (bundled.storage, bundled.method, bundled.guarantee),
        Source::File(_) => ("not stated", "not stated", "not stated"),
    };
    writeln!(text, "  storage    {storage}")?;
    writeln!(text, "  method     {method}")?;
    writeln!(text, "  guarantee  {guarantee}")?;
    let settings = config.plugins.plugin_config.iter();
    for setting in settings.filter(|setting| known.is_called(&setting.plugin)) {
        writeln!(
            text,
            "  setting    {} = {}{}",
            setting.key,
            setting.value,
            consequence(&setting.key, &setting.value)
        )?;
    }
    if let Source::File(path) = &known.source {
        writeln!(text, "  file       {}", path.display())?;
    }
    match loader.inspect(known) {
        Ok(inspected) => describe_component(text, &inspected)?,
        Err(error) => writeln!(text, "  refused    {error:#}")?,
    }
    writeln!(text)
}

/// What a setting takes away from a plugin's guarantee.
fn consequence(key: &str, value: &str) -> &'static str {
    match (key, value) {
        ("durability", "none") => " (a crash of the process is survived, a loss of power is not)",
        _ => "",
    }
}

fn describe_component(text: &mut String, inspected: &Inspected) -> std::fmt::Result {
    for (idx, import) in inspected.imports.iter().enumerate() {
        let heading = if idx == 0 { "imports" } else { "" };
        writeln!(text, "  {heading:<9}  {import}")?;
    }
    writeln!(text, "  exports    {}", inspected.exports.names().join(", "))?;
    let granted: Vec<&str> = inspected.capabilities.iter().map(|granted| granted.name()).collect();
    writeln!(text, "  granted    {}", granted.join(", "))?;
    writeln!(text, "  size       {:.1} KiB", inspected.size as f64 / 1024.0)
}

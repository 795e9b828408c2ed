//! What a component imports and exports, read before anything is compiled.

use anyhow::{Context, bail};
use wasmparser::{Parser, Payload};

use crate::bindings::{COUNTER_INTERFACE, OFFERED_INTERFACES};

/// The names on the outside of a component.
pub struct Outline {
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    exports: Vec<String>,
}

impl Outline {
    /// Reads `wasm`, whose header was checked, to its end.
    ///
    /// # Errors
    ///
    /// When it is damaged, does not export the counter, or uses another version of an interface of ours;
    /// names the first such interface and both versions.
    pub fn read(wasm: &[u8]) -> anyhow::Result<Self> {
        let outline = Self::names(wasm).context("it is damaged")?;
        match outline.exports.iter().find(|export| same_interface(export, COUNTER_INTERFACE)) {
            None => bail!("it does not export the interface {COUNTER_INTERFACE}"),
            Some(export) if export != COUNTER_INTERFACE => bail!(
                "it exports {export} where this host calls {COUNTER_INTERFACE}: compile it against that version"
            ),
            Some(_) => {}
        }
        for import in &outline.imports {
            let offered = OFFERED_INTERFACES.iter().find(|name| same_interface(name, import));
            if let Some(offered) = offered.filter(|offered| *offered != import) {
                bail!(
                    "it imports {import} where this host offers {offered}: compile it against that version"
                );
            }
        }
        Ok(outline)
    }

    fn names(wasm: &[u8]) -> wasmparser::Result<Self> {
        let mut outline = Self { imports: Vec::new(), exports: Vec::new() };
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        outline.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        outline.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }
}

fn same_interface(one: &str, other: &str) -> bool {
    let unversioned = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
    unversioned(one) == unversioned(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::catalog::BUNDLED;

    #[test]
    fn the_outline_of_a_bundled_plugin_has_what_it_was_granted_and_nothing_from_its_inside() {
        let named = |name| BUNDLED.iter().find(|bundled| bundled.name == name).unwrap();
        let mut outline = Outline::read(named("shared-memory-atomic").wasm).unwrap();
        // The linker chooses their order.
        outline.exports.sort();
        outline.imports.sort();
        assert_eq!(
            outline.imports,
            ["tally:panic/report@1.0.0", "tally:shared-memory/cells@1.0.0"]
        );
        assert_eq!(outline.exports, [COUNTER_INTERFACE, crate::bindings::ENTRIES_INTERFACE]);
    }
}

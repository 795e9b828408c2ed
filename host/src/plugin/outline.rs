//! What a component imports and exports, read before anything is compiled.

use anyhow::{Context, bail, ensure};
use wasmparser::{Parser, Payload};

use crate::bindings::{COUNTER_INTERFACE, OFFERED_INTERFACES};

/// Most interfaces that a component may import, and export. This is read before anything limits what a component costs.
const NAMES_MAX: usize = 256;

/// The longest name of one, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// How deep components and modules may lie in each other.
const NESTING_MAX: usize = 64;

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
    /// When it is damaged, nests or names more than any plugin needs, does not export the counter, or uses another version of an interface of ours;
    /// names the first such interface and both versions.
    pub fn read(wasm: &[u8]) -> anyhow::Result<Self> {
        let outline = Self::names(wasm)?;
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

    fn names(wasm: &[u8]) -> anyhow::Result<Self> {
        const DAMAGED: &str = "it is damaged";
        let mut outline = Self { imports: Vec::new(), exports: Vec::new() };
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.context(DAMAGED)? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    depth += 1;
                    ensure!(
                        depth <= NESTING_MAX,
                        "it holds more than {NESTING_MAX} components in each other"
                    );
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        add(&mut outline.imports, import.context(DAMAGED)?.name.name)?;
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        add(&mut outline.exports, export.context(DAMAGED)?.name.name)?;
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }
}

fn add(names: &mut Vec<String>, name: &str) -> anyhow::Result<()> {
    ensure!(names.len() < NAMES_MAX, "it imports or exports more than {NAMES_MAX} interfaces");
    ensure!(
        name.len() <= NAME_BYTES_MAX,
        "the name of an interface that it imports or exports has more than {NAME_BYTES_MAX} bytes"
    );
    names.push(name.to_owned());
    Ok(())
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

    /// A component with one section.
    fn component(section: u8, content: &[u8]) -> Vec<u8> {
        let size = u32::try_from(content.len()).unwrap();
        // A number in LEB128, of five bytes always.
        let digit = |idx: u32| (size >> (7 * idx)) as u8 & 0x7f | if idx < 4 { 0x80 } else { 0 };
        let size = [0, 1, 2, 3, 4].map(digit);
        [&b"\0asm\x0d\0\x01\0"[..], &[section], &size, content].concat()
    }

    #[test]
    fn a_component_that_nests_or_names_more_than_a_plugin_needs_is_refused() {
        let nested = |depth| (0..depth).fold(component(0, &[0]), |inner, _| component(4, &inner));
        // Sections 10 and 11 import and export; each import is a type of its own.
        let import = |name: &[u8]| {
            [&[0, 0x80 | name.len() as u8, (name.len() >> 7) as u8], name, &[3, 1]].concat()
        };
        let imports = |count: usize, name: &[u8]| {
            let count_in_leb128 = [0x80 | (count & 0x7f) as u8, (count >> 7) as u8];
            component(10, &[&count_in_leb128[..], &import(name).repeat(count)].concat())
        };
        let no_counter = "does not export the interface";
        for (wasm, why) in [
            (nested(NESTING_MAX), no_counter),
            (nested(NESTING_MAX + 1), "64 components in each other"),
            (nested(10_000), "64 components in each other"),
            (imports(NAMES_MAX, b"a"), no_counter),
            (imports(NAMES_MAX + 1, b"a"), "256 interfaces"),
            (imports(1, &[b'a'; NAME_BYTES_MAX]), no_counter),
            (imports(1, &[b'a'; NAME_BYTES_MAX + 1]), "256 bytes"),
        ] {
            let said = Outline::read(&wasm).map(drop).unwrap_err();
            let said = format!("{said:#}");
            assert!(said.contains(why), "{said}");
        }
    }
}

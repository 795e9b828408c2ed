//! From a known plugin to one that can be called: read, compile, check, link.

use std::{borrow::Cow, collections::BTreeSet, fs, io::Read, path::Path, sync::Arc};

use anyhow::{Context, bail};
use wasmtime::{
    Engine,
    component::{Component, ComponentExportIndex, Linker},
};

use super::{
    cache::CompileCache,
    catalog::{KnownPlugin, Source},
    grants::Lender,
    limits::PluginLimits,
    state::State,
};
use crate::{
    bindings::{COUNTER_INTERFACE, ContractPre},
    capabilities::{self, Capability, Grants},
};

/// How a component begins; a core module has another version in bytes 4 to 7.
const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// A component that is compiled and checked, before anything is lent to it.
pub struct Inspected {
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The capabilities behind them, all of which it was granted.
    pub capabilities: BTreeSet<Capability>,
    /// Size of the component, in bytes.
    pub size: usize,
    pre: ContractPre<State>,
    exports: [ComponentExportIndex; 3],
}

/// A plugin that is ready to be called.
pub struct Plugin {
    pub(super) name: String,
    pub(super) pre: ContractPre<State>,
    /// Where the component exports `increment`, `get` and `reset`.
    pub(super) exports: [ComponentExportIndex; 3],
    pub(super) waits: bool,
    pub(super) grants: Grants,
    pub(super) limits: PluginLimits,
}

impl Plugin {
    /// The name by which it is chosen.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether what it was granted can be lent right now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_grants(&self) -> anyhow::Result<()> {
        let lent = self.grants.lend(&self.grants.on_thread()).map(drop);
        lent.with_context(|| format!("can't start the plugin {}", self.name))
    }

    /// Whether its calls may wait: for a lock, a file, a timer, a stream.
    ///
    /// Shared memory, settings and the like answer at once, so a plugin that imports nothing else
    /// is called straight away, without the means to suspend it.
    pub fn waits(&self) -> bool {
        self.waits
    }
}

/// Loads plugins.
pub struct Loader {
    engine: Engine,
    lender: Lender,
    limits: PluginLimits,
    cache: Option<CompileCache>,
}

impl Loader {
    /// A loader that grants what `lender` lends.
    pub fn new(
        engine: Engine,
        lender: Lender,
        limits: PluginLimits,
        cache: Option<CompileCache>,
    ) -> Self {
        Self { engine, lender, limits, cache }
    }

    /// Loads `known`. This compiles, so it belongs on a thread that serves nobody.
    ///
    /// # Errors
    ///
    /// A sentence that says why the plugin can't be used, and what to do. No code of it has run.
    pub fn load(&self, known: &KnownPlugin) -> anyhow::Result<Arc<Plugin>> {
        let Inspected { imports, capabilities, pre, exports, .. } = self.inspect(known)?;
        let waits = capabilities.iter().any(|capability| capability.waits())
            || imports.iter().any(|import| is_io(import));
        let grants = self.lender.lend(known, capabilities).with_context(|| cant_load(known))?;
        let limits = self.limits.clone();
        Ok(Arc::new(Plugin { name: known.name.clone(), pre, exports, waits, grants, limits }))
    }

    /// Compiles and checks `known`, as [`Self::load`] does.
    ///
    /// # Errors
    ///
    /// A sentence that says why the plugin can't be used, and what to do.
    pub fn inspect(&self, known: &KnownPlugin) -> anyhow::Result<Inspected> {
        self.try_inspect(known).with_context(|| cant_load(known))
    }

    fn try_inspect(&self, known: &KnownPlugin) -> anyhow::Result<Inspected> {
        let wasm = self.read(&known.source)?;
        check_header(&wasm)?;
        let component = self.compile(&wasm)?;
        let imports = self.imports(&component);
        let capabilities = self.check_granted(known, &imports)?;
        let exports = exports(&component)?;
        let pre = self.link(&component, &capabilities)?;
        Ok(Inspected { imports, capabilities, size: wasm.len(), pre, exports })
    }

    fn read(&self, source: &Source) -> anyhow::Result<Cow<'static, [u8]>> {
        match source {
            Source::Bundled(bundled) => Ok(Cow::Borrowed(bundled.wasm)),
            Source::File(path) => Ok(Cow::Owned(self.read_file(path)?)),
        }
    }

    fn read_file(&self, path: &Path) -> anyhow::Result<Vec<u8>> {
        let size_max = self.limits.file_bytes_max();
        let file =
            fs::File::open(path).with_context(|| format!("can't open {}", path.display()))?;
        let mut wasm = Vec::new();
        file.take(size_max + 1)
            .read_to_end(&mut wasm)
            .with_context(|| format!("can't read {}", path.display()))?;
        if wasm.len() as u64 > size_max {
            bail!(
                "{} is larger than --plugin-file-max ({} MiB)",
                path.display(),
                self.limits.plugin_file_max
            );
        }
        Ok(wasm)
    }

    fn compile(&self, wasm: &[u8]) -> anyhow::Result<Component> {
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, wasm));
        if let Some(component) = cached {
            return Ok(component);
        }
        let component = Component::from_binary(&self.engine, wasm)
            .map_err(|error| anyhow::anyhow!("it does not compile: {error:#}"))?;
        if let Some(cache) = &self.cache
            && let Err(error) = cache.store(&self.engine, wasm, &component)
        {
            tracing::warn!(
                "the compile cache can't be written, so the next start compiles again: {error:#}"
            );
        }
        Ok(component)
    }

    /// The interfaces that the component imports, by their full names.
    fn imports(&self, component: &Component) -> Vec<String> {
        let ty = component.component_type();
        let imports = ty.imports(&self.engine);
        imports.map(|(name, _)| name.to_owned()).collect()
    }

    /// The capabilities behind the imports, if all of them may be used.
    fn check_granted(
        &self,
        known: &KnownPlugin,
        imports: &[String],
    ) -> anyhow::Result<BTreeSet<Capability>> {
        let granted = self.lender.capabilities(known);
        let mut imported = BTreeSet::new();
        for import in imports.iter().filter(|import| !is_io(import)) {
            let Some(capability) = Capability::of_interface(import) else {
                bail!("it imports {import}, which Tally does not offer");
            };
            if !granted.contains(&capability) {
                let name = &known.name;
                bail!(
                    "it imports {import}, which it was not granted: set --grant {name}={capability} to grant it"
                );
            }
            imported.insert(capability);
        }
        Ok(imported)
    }

    fn link(
        &self,
        component: &Component,
        capabilities: &BTreeSet<Capability>,
    ) -> anyhow::Result<ContractPre<State>> {
        let mut linker = Linker::new(&self.engine);
        capabilities::link(capabilities, &mut linker)?;
        let pre = linker
            .instantiate_pre(component)
            .map_err(|error| anyhow::anyhow!("its imports are not what Tally offers: {error:#}"))?;
        ContractPre::new(pre)
            .map_err(|error| anyhow::anyhow!("its exports are not what Tally calls: {error:#}"))
    }
}

/// Streams and polling need no grant: they reach nothing by themselves.
fn is_io(import: &str) -> bool {
    import.starts_with("wasi:io/")
}

/// Where the functions of the contract are; their types are checked when it is linked.
fn exports(component: &Component) -> anyhow::Result<[ComponentExportIndex; 3]> {
    let Some(counter) = component.get_export_index(None, COUNTER_INTERFACE) else {
        bail!("it does not export the interface {COUNTER_INTERFACE}");
    };
    let function = |name| {
        let idx = component.get_export_index(Some(&counter), name);
        idx.with_context(|| format!("its {COUNTER_INTERFACE} has no function {name}"))
    };
    Ok([function("increment")?, function("get")?, function("reset")?])
}

fn cant_load(known: &KnownPlugin) -> String {
    format!("can't load the plugin {}", known.name)
}

fn check_header(wasm: &[u8]) -> anyhow::Result<()> {
    if wasm.starts_with(&COMPONENT_HEADER) {
        return Ok(());
    }
    if wasm.starts_with(b"\0asm") {
        bail!("it is a core WebAssembly module and not a component: compile it for wasm32-wasip2");
    }
    bail!("it is not WebAssembly");
}

//! From a known plugin to one that can be called: read, compile, check, link.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, ensure};
use wasmtime::{
    Engine,
    component::{Component, Linker},
};

use super::{
    cache::CompileCache,
    call::TrapReason,
    catalog::{KnownPlugin, Source},
    compiled,
    compiler::Compiler,
    exports::Exports,
    grants::Lender,
    limits::PluginLimits,
    outline::Outline,
    source,
    state::State,
    storage::Protocol,
    usage::Usage,
};
use crate::{
    bindings::ContractPre,
    capabilities::{
        self, Capability, Grants,
        log::{Ration, Verdict},
    },
    text::{REFUSAL_BYTES_MAX, bounded},
};

/// What a component counts its memory in.
const PAGE_BYTES: u64 = 64 * 1024;

/// Calls that broke off of which the log tells in a second, for each plugin.
const BREAKS_PER_SECOND_MAX: u32 = 10;

/// Failures of the work at an interval of which the log tells in a second, for each plugin.
const FAILURES_PER_SECOND_MAX: u32 = 1;

/// A component that is compiled and checked, before anything is lent to it.
pub struct Inspected {
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The capabilities behind them, all of which it was granted.
    pub capabilities: BTreeSet<Capability>,
    /// Size of the component, in bytes.
    pub size: usize,
    /// Digest of the component.
    pub digest: String,
    /// What it exports.
    pub exports: Exports,
    pre: ContractPre<State>,
}

/// A plugin that is ready to be called.
pub struct Plugin {
    pub(super) known: KnownPlugin,
    pub(super) digest: String,
    pub(super) imports: Vec<String>,
    pub(super) pre: ContractPre<State>,
    pub(super) exports: Exports,
    pub(super) waits: bool,
    pub(super) protocol: Protocol,
    pub(super) grants: Grants,
    pub(super) limits: PluginLimits,
    pub(super) usage: Arc<Usage>,
    /// Lines about calls that broke off.
    breaks: Ration,
    /// Lines about work at an interval that failed.
    failures: Ration,
}

impl Plugin {
    /// The name by which it is chosen.
    pub fn name(&self) -> &str {
        &self.known.name
    }

    /// As it is known by name.
    pub fn known(&self) -> &KnownPlugin {
        &self.known
    }

    /// Where its component came from.
    pub fn source(&self) -> &Source {
        &self.known.source
    }

    /// Digest of its component.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The interfaces that it imports.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// What it exports.
    pub fn exports(&self) -> &Exports {
        &self.exports
    }

    /// What it was lent.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The limits that it is called within.
    pub fn limits(&self) -> &PluginLimits {
        &self.limits
    }

    /// Where its counters are, and what keeps its callers apart.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// What its instances use.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Whether what it was granted can be lent right now.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_grants(&self) -> anyhow::Result<()> {
        let lent = self.grants.lend(&self.grants.on_thread(None)).map(drop);
        lent.with_context(|| format!("can't start the plugin {}", self.name()))
    }

    /// Whether the storage has what it needs, where the storage can say so soon. This waits, for up to
    /// 3 s, so it belongs on a thread that serves nobody.
    ///
    /// # Errors
    ///
    /// What is missing. That the storage can't be reached is none.
    pub fn check_storage(&self) -> anyhow::Result<()> {
        let checked = self.grants.check_storage();
        checked.with_context(|| format!("can't start the plugin {}", self.name()))
    }

    /// Whether its calls may wait: for a lock, a file, a timer, a stream.
    ///
    /// Shared memory, settings and the like answer at once, so a plugin that imports nothing else
    /// is called straight away, without the means to suspend it.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// Tells in the log that a call of `function` broke off, unless there were too many of late.
    pub(super) fn log_break(&self, function: &str, why: &str) {
        let plugin = self.name();
        let Verdict::Log { dropped_before } = self.breaks.judge() else { return };
        if dropped_before > 0 {
            tracing::warn!(plugin, "{dropped_before} more calls of this plugin broke off");
        }
        // Names of the component may stand in it.
        let why = bounded(why.to_owned(), REFUSAL_BYTES_MAX);
        tracing::warn!(plugin, function, "the plugin broke off: {why}");
    }

    /// Tells in the log why its work at an interval failed, unless it did so too often of late.
    pub fn log_failure(&self, why: &str) {
        let plugin = self.name();
        let Verdict::Log { dropped_before } = self.failures.judge() else { return };
        if dropped_before > 0 {
            tracing::warn!(plugin, "the work at an interval failed {dropped_before} more times");
        }
        tracing::warn!(plugin, "{why}");
    }
}

/// Loads plugins.
pub struct Loader {
    engine: Engine,
    compiler: Compiler,
    lender: Lender,
    limits: PluginLimits,
    cache: Option<CompileCache>,
}

impl Loader {
    /// A loader that grants what `lender` lends, and has plugins compiled by `compiler`.
    pub fn new(
        engine: Engine,
        compiler: Compiler,
        lender: Lender,
        limits: PluginLimits,
        cache: Option<CompileCache>,
    ) -> Self {
        Self { engine, compiler, lender, limits, cache }
    }

    /// What plugins are lent by.
    pub fn lender(&self) -> &Lender {
        &self.lender
    }

    /// Loads `known`. This compiles, so it belongs on a thread that serves nobody.
    ///
    /// # Errors
    ///
    /// A sentence that says why the plugin can't be used, and what to do. No code of it has run.
    pub fn load(&self, known: &KnownPlugin) -> anyhow::Result<Arc<Plugin>> {
        let Inspected { imports, capabilities, digest, exports, pre, .. } = self.inspect(known)?;
        let waits = capabilities.iter().any(|capability| capability.waits())
            || imports.iter().any(|import| is_io(import));
        let protocol = self.lender.protocol(known, &capabilities);
        let grants = self.lender.lend(known, capabilities).with_context(|| cant_load(known))?;
        Ok(Arc::new(Plugin {
            known: known.clone(),
            digest,
            imports,
            pre,
            exports,
            waits,
            protocol,
            grants,
            limits: self.limits.clone(),
            usage: Arc::default(),
            breaks: Ration::new(BREAKS_PER_SECOND_MAX),
            failures: Ration::new(FAILURES_PER_SECOND_MAX),
        }))
    }

    /// Digest of the component of `known` as it is now.
    ///
    /// # Errors
    ///
    /// When it can't be read.
    pub fn digest(&self, known: &KnownPlugin) -> anyhow::Result<String> {
        Ok(source::digest(&source::read(&known.source, &self.limits)?))
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
        self.inspect_wasm(known, &source::read(&known.source, &self.limits)?)
    }

    /// Compiles and checks `wasm` as the component of `known`, wherever that is kept.
    ///
    /// # Errors
    ///
    /// Why it can't be used, without the plugin's name.
    pub fn inspect_wasm(&self, known: &KnownPlugin, wasm: &[u8]) -> anyhow::Result<Inspected> {
        // Names of the component may stand in an error.
        self.check_wasm(known, wasm)
            .map_err(|error| anyhow::anyhow!(bounded(format!("{error:#}"), REFUSAL_BYTES_MAX)))
    }

    fn check_wasm(&self, known: &KnownPlugin, wasm: &[u8]) -> anyhow::Result<Inspected> {
        source::check_header(wasm)?;
        let Outline { imports, .. } = Outline::read(wasm)?;
        let capabilities = self.check_granted(known, &imports)?;
        let component = self.compile(wasm)?;
        self.check_memory(&component)?;
        let exports = Exports::find(&component)?;
        let pre = self.link(&component, &capabilities)?;
        let digest = source::digest(wasm);
        Ok(Inspected { imports, capabilities, size: wasm.len(), digest, exports, pre })
    }

    fn compile(&self, wasm: &[u8]) -> anyhow::Result<Component> {
        let name = compiled::name(&self.engine, wasm);
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, &name));
        if let Some(component) = cached {
            return Ok(component);
        }
        let compiled = self.compiler.compile(&self.engine, wasm, &self.limits)?;
        let component = compiled::load(&self.engine, &name, &compiled)
            .context("what its compiler has written can't be loaded")?;
        if let Some(cache) = &self.cache
            && let Err(error) = cache.store(&name, &compiled)
        {
            tracing::warn!(
                "the compile cache can't be written, so the next start compiles again: {error:#}"
            );
        }
        Ok(component)
    }

    /// Refuses a component that could never be instantiated.
    fn check_memory(&self, component: &Component) -> anyhow::Result<()> {
        let pages = component.resources_required().and_then(|needs| needs.max_initial_memory_size);
        let asked = pages.unwrap_or(0).saturating_mul(PAGE_BYTES);
        let (asked, allowed) = (usize::try_from(asked)?, self.limits.memory_bytes_max());
        ensure!(asked <= allowed, "{}", TrapReason::Memory { asked, allowed });
        Ok(())
    }

    /// The capabilities behind the imports, if all of them may be used. What no grant would help
    /// is told first.
    fn check_granted(
        &self,
        known: &KnownPlugin,
        imports: &[String],
    ) -> anyhow::Result<BTreeSet<Capability>> {
        let granted = self.lender.capabilities(known);
        let (mut imported, mut not_offered, mut not_granted) = (BTreeSet::new(), vec![], vec![]);
        for import in imports.iter().filter(|import| !needs_no_grant(import)) {
            match Capability::of_interface(import) {
                None => not_offered.push(import.as_str()),
                Some(capability) => {
                    imported.insert(capability);
                    if !granted.contains(&capability) {
                        not_granted.push(import.as_str());
                    }
                }
            }
        }
        let mut missing = Vec::new();
        if !not_offered.is_empty() {
            missing.push(format!("{}, which Tally does not offer", not_offered.join(", ")));
        }
        if !not_granted.is_empty() {
            let (name, imports) = (known.name_for_grants(), not_granted.join(", "));
            // All that it needs, so that nothing is missing where this takes the place of an earlier grant.
            let needed: Vec<_> = imported.iter().map(|capability| capability.name()).collect();
            let needed = needed.join("+");
            missing
                .push(format!("{imports}, which it was not granted: set --grant {name}={needed}"));
        }
        ensure!(missing.is_empty(), "it imports {}", missing.join("; and "));
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

/// Some imports reach nothing by themselves: streams and polling, types that come with the interfaces which use them, and
/// the report of a panic.
fn needs_no_grant(import: &str) -> bool {
    let reach_nothing = ["tally:hazelcast/types@", "tally:panic/report@"];
    is_io(import) || reach_nothing.iter().any(|interface| import.starts_with(interface))
}

/// Streams and polling.
fn is_io(import: &str) -> bool {
    import.starts_with("wasi:io/")
}

fn cant_load(known: &KnownPlugin) -> String {
    format!("can't load the plugin {}", known.name)
}

//! Finds the functions of the contract in a component.

use anyhow::{Context, bail};
use wasmtime::component::{Component, ComponentExportIndex};

use crate::bindings::{COUNTER_INTERFACE, ENTRIES_INTERFACE, PERIODIC_INTERFACE};

/// Where a component exports what the host calls.
#[derive(Clone, Copy)]
pub struct Exports {
    /// `increment`, `get` and `reset`.
    pub(super) counter: [ComponentExportIndex; 3],
    /// `list` and `put`.
    pub(super) entries: Option<[ComponentExportIndex; 2]>,
    /// `tick`.
    pub(super) tick: Option<ComponentExportIndex>,
}

impl Exports {
    /// Their types are checked when the component is linked and instantiated.
    ///
    /// # Errors
    ///
    /// Names the first item that is missing.
    pub fn find(component: &Component) -> anyhow::Result<Self> {
        Ok(Self {
            counter: functions(component, COUNTER_INTERFACE, ["increment", "get", "reset"])?
                .with_context(|| format!("it does not export the interface {COUNTER_INTERFACE}"))?,
            entries: functions(component, ENTRIES_INTERFACE, ["list", "put"])?,
            tick: functions(component, PERIODIC_INTERFACE, ["tick"])?.map(|[tick]| tick),
        })
    }

    /// Whether it can list its counters and be given some.
    pub fn lists(&self) -> bool {
        self.entries.is_some()
    }

    /// Whether it has work at an interval.
    pub fn ticks(&self) -> bool {
        self.tick.is_some()
    }

    /// Names of the interfaces, without package and version.
    pub fn names(&self) -> Vec<&'static str> {
        let entries = self.entries.map(|_| "entries");
        let periodic = self.tick.map(|_| "periodic");
        ["counter"].into_iter().chain(entries).chain(periodic).collect()
    }
}

/// The functions of an interface; none where the component does not export the interface.
fn functions<const N: usize>(
    component: &Component,
    interface: &str,
    names: [&str; N],
) -> anyhow::Result<Option<[ComponentExportIndex; N]>> {
    let Some(instance) = component.get_export_index(None, interface) else {
        return Ok(None);
    };
    let found = names.map(|name| (name, component.get_export_index(Some(&instance), name)));
    if let Some((missing, _)) = found.iter().find(|(_, idx)| idx.is_none()) {
        bail!("its {interface} has no function {missing}");
    }
    Ok(Some(found.map(|(_, idx)| idx.expect("none is missing"))))
}

//! Finds the functions of the contract in a component.

use anyhow::{Context, anyhow, bail};
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Lift, Lower, types::ComponentItem,
};

use crate::bindings::{
    COUNTER_INTERFACE, ENTRIES_INTERFACE, PERIODIC_INTERFACE,
    exports::tally::counter::counter::Error,
    optional::exports::tally::counter::entries::{self, Entry, Page},
};

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
    /// Looks for those of the contract, and checks their types.
    ///
    /// # Errors
    ///
    /// Names the first item that is missing or of another type.
    pub fn find(component: &Component) -> anyhow::Result<Self> {
        let found = Self {
            counter: functions(component, COUNTER_INTERFACE, ["increment", "get", "reset"])?
                .with_context(|| format!("it does not export the interface {COUNTER_INTERFACE}"))?,
            entries: functions(component, ENTRIES_INTERFACE, ["list", "put"])?,
            tick: functions(component, PERIODIC_INTERFACE, ["tick"])?.map(|[tick]| tick),
        };
        let check = Check { component, interface: COUNTER_INTERFACE };
        check.function::<(String, i64), Result<i64, Error>>("increment")?;
        check.function::<(String,), Result<i64, Error>>("get")?;
        check.function::<(String,), Result<(), Error>>("reset")?;
        if found.lists() {
            let check = Check { component, interface: ENTRIES_INTERFACE };
            check.function::<(Option<String>, u32), Result<Page, entries::Error>>("list")?;
            check.function::<(Vec<Entry>,), Result<(), entries::Error>>("put")?;
        }
        if found.ticks() {
            let check = Check { component, interface: PERIODIC_INTERFACE };
            check.function::<(), Result<(), String>>("tick")?;
        }
        Ok(found)
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

/// Compares functions with what is called, so that a call never meets another type. Wasmtime's documentation does not show
/// `typecheck`; without it, the first instance would find out.
struct Check<'a> {
    component: &'a Component,
    interface: &'a str,
}

impl Check<'_> {
    fn function<P, R>(&self, name: &str) -> anyhow::Result<()>
    where
        P: ComponentNamedList + Lower,
        (R,): ComponentNamedList + Lift,
    {
        let engine = self.component.engine();
        let ty = self.component.component_type();
        let interface = ty.get_export(engine, self.interface).map(|export| export.ty);
        let function = match &interface {
            Some(ComponentItem::ComponentInstance(interface)) => interface.get_export(engine, name),
            _ => None,
        };
        let interface = self.interface;
        match function.map(|export| export.ty) {
            Some(ComponentItem::ComponentFunc(function)) => function
                .typecheck::<P, (R,)>(&ty.instance_type())
                .map_err(|error| anyhow!("its {interface} has another {name}: {error:#}")),
            _ => bail!("its {interface} has no function {name}"),
        }
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

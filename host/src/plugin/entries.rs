//! The optional exports of a plugin: listing counters, writing them in bulk, and work at an interval.

use std::rc::Rc;

use super::{
    call::{CallError, TrapReason},
    instance::Instance,
    pool::Pool,
};
use crate::bindings::{
    ENTRIES_INTERFACE, PERIODIC_INTERFACE,
    exports::tally::counter::counter::Error as Refusal,
    optional::exports::tally::counter::entries::{Entry, Error, Page},
};

/// The most entries on a page.
pub const ENTRIES_PER_PAGE_MAX: u32 = 1000;

impl Pool {
    /// One page of the plugin's counters; see `list` in `entries.wit`.
    ///
    /// # Errors
    ///
    /// [`CallError::NotExported`], and any other.
    pub async fn list(
        self: &Rc<Self>,
        cursor: Option<String>,
        entries_max: u32,
    ) -> Result<Page, CallError> {
        self.with_instance(async move |instance| instance.list(cursor, entries_max).await).await
    }

    /// Sets counters; see `put` in `entries.wit`.
    ///
    /// # Errors
    ///
    /// [`CallError::NotExported`], and any other.
    pub async fn put(self: &Rc<Self>, entries: Vec<Entry>) -> Result<(), CallError> {
        self.with_instance(async move |instance| instance.put(entries).await).await
    }

    /// Lets the plugin do its work at an interval; see `tick` in `entries.wit`.
    ///
    /// # Errors
    ///
    /// [`CallError::NotExported`], and any other.
    pub async fn tick(self: &Rc<Self>) -> Result<(), CallError> {
        let Some(turn) = self.tick_turn().await else {
            let why = "the work that it began before goes on for longer than --call-time-max";
            return Err(CallError::Refused(Refusal::Other(why.into())));
        };
        let tick = async move |instance: &mut Instance| {
            let _turn = turn;
            instance.tick().await
        };
        self.with_instance(tick).await
    }
}

impl Instance {
    async fn list(&mut self, cursor: Option<String>, entries_max: u32) -> Result<Page, CallError> {
        let [list, _] = self.entries()?;
        let answer: Result<Page, Error> =
            self.invoke(("list", list), (cursor, entries_max)).await?;
        let page = answer.map_err(refused)?;
        if page.entries.len() > entries_max as usize {
            tracing::warn!(
                plugin = self.plugin().name(),
                "the plugin listed more counters than it was asked for"
            );
            return Err(CallError::Trapped(TrapReason::Other));
        }
        Ok(page)
    }

    async fn put(&mut self, entries: Vec<Entry>) -> Result<(), CallError> {
        let [_, put] = self.entries()?;
        let answer: Result<(), Error> = self.invoke(("put", put), (entries,)).await?;
        answer.map_err(refused)
    }

    async fn tick(&mut self) -> Result<(), CallError> {
        let tick = self.plugin().exports.tick;
        let tick = tick.ok_or(CallError::NotExported(PERIODIC_INTERFACE))?;
        let answer: Result<(), String> = self.invoke(("tick", tick), ()).await?;
        answer.map_err(|why| CallError::Refused(Refusal::Other(why)))
    }

    fn entries(&self) -> Result<[wasmtime::component::ComponentExportIndex; 2], CallError> {
        self.plugin().exports.entries.ok_or(CallError::NotExported(ENTRIES_INTERFACE))
    }
}

fn refused(error: Error) -> CallError {
    CallError::Refused(match error {
        Error::InvalidCursor(why) => return CallError::InvalidCursor(why),
        Error::Unavailable(why) => Refusal::Unavailable(why),
        Error::Full(why) => Refusal::Full(why),
        Error::InvalidKey(why) => Refusal::InvalidKey(why),
        Error::Other(why) => Refusal::Other(why),
    })
}

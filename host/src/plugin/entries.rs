//! The optional exports of a plugin: listing counters, writing them in bulk, and work at an interval.

use std::rc::Rc;

use wasmtime::component::ComponentExportIndex;

use super::{call::CallError, instance::Instance, pool::Pool};
use crate::{
    bindings::{
        ENTRIES_INTERFACE, PERIODIC_INTERFACE,
        exports::tally::counter::counter::Error as Refusal,
        optional::exports::tally::counter::entries::{Entry, Error, Page},
    },
    text::{SAID_BYTES_MAX, bounded},
};

/// The most entries on a page.
pub const ENTRIES_PER_PAGE_MAX: u32 = 1000;

/// Bytes of a key that is listed. Others may have stored longer ones than clients can use: a key of 255 characters
/// in a database has as many.
const LISTED_KEY_BYTES_MAX: usize = 1020;

/// Bytes of a cursor, which clients send back in the head of a request.
const CURSOR_BYTES_MAX: usize = 4 * 1024;

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
        let [list, _] = self.entries()?;
        self.with_instance(async move |instance| instance.list(list, cursor, entries_max).await)
            .await
    }

    /// Sets counters; see `put` in `entries.wit`.
    ///
    /// # Errors
    ///
    /// [`CallError::NotExported`], and any other.
    pub async fn put(self: &Rc<Self>, entries: Vec<Entry>) -> Result<(), CallError> {
        let [_, put] = self.entries()?;
        self.with_instance(async move |instance| instance.put(put, entries).await).await
    }

    fn entries(&self) -> Result<[ComponentExportIndex; 2], CallError> {
        self.plugin().exports.entries.ok_or(CallError::NotExported(ENTRIES_INTERFACE))
    }

    /// Lets the plugin do its work at an interval; see `tick` in `entries.wit`.
    ///
    /// # Errors
    ///
    /// [`CallError::NotExported`], and any other.
    pub async fn tick(self: &Rc<Self>) -> Result<(), CallError> {
        let tick = self.plugin().exports.tick;
        let tick = tick.ok_or(CallError::NotExported(PERIODIC_INTERFACE))?;
        let Some(turn) = self.tick_turn().await? else {
            let why = "the work that it began before goes on for longer than --call-time-max";
            return Err(CallError::Refused(Refusal::Other(why.into())));
        };
        let work = async move |instance: &mut Instance| {
            let _turn = turn;
            instance.tick(tick).await
        };
        self.with_instance(work).await
    }
}

impl Instance {
    async fn list(
        &mut self,
        list: ComponentExportIndex,
        cursor: Option<String>,
        entries_max: u32,
    ) -> Result<Page, CallError> {
        let answer: Result<Page, Error> =
            self.invoke(("list", list), (cursor, entries_max)).await?;
        let page = answer.map_err(refused)?;
        let too_long = |entry: &Entry| LISTED_KEY_BYTES_MAX < entry.key.len();
        let broken = if (entries_max as usize) < page.entries.len() {
            "it listed more counters than it was asked for"
        } else if page.entries.iter().any(too_long) {
            "it listed a key that is too long"
        } else if page.next.as_ref().is_some_and(|cursor| CURSOR_BYTES_MAX < cursor.len()) {
            "it ended a page with a cursor that is too long"
        } else {
            return Ok(page);
        };
        Err(self.break_of_contract(broken))
    }

    async fn put(
        &mut self,
        put: ComponentExportIndex,
        entries: Vec<Entry>,
    ) -> Result<(), CallError> {
        let answer: Result<(), Error> = self.invoke(("put", put), (entries,)).await?;
        answer.map_err(refused)
    }

    async fn tick(&mut self, tick: ComponentExportIndex) -> Result<(), CallError> {
        let answer: Result<(), String> = self.invoke(("tick", tick), ()).await?;
        answer.map_err(|why| CallError::refused(Refusal::Other(why)))
    }
}

fn refused(error: Error) -> CallError {
    CallError::refused(match error {
        Error::InvalidCursor(why) => {
            return CallError::InvalidCursor(bounded(why, SAID_BYTES_MAX));
        }
        Error::Unavailable(why) => Refusal::Unavailable(why),
        Error::Full(why) => Refusal::Full(why),
        Error::InvalidKey(why) => Refusal::InvalidKey(why),
        Error::Other(why) => Refusal::Other(why),
    })
}

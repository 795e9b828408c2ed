//! Moves the counts from one storage to another while calls are held back.
//!
//! At each moment the counts are right in one of the two storages, and the journal says in which: in
//! the old one until all were copied and compared, then in the new one. Afterwards the old one is
//! emptied, so that nobody finds there what has moved on.

use std::{rc::Rc, sync::Arc};

use super::{
    journal::{Journal, State},
    request::{Carried, SwapError},
};
use crate::{
    bindings::optional::exports::tally::counter::entries::Entry,
    plugin::{SCRATCH_KEY, entries::ENTRIES_PER_PAGE_MAX, pool::Pool, storage::Storage},
};

/// Pages that a listing may have: with a thousand entries each, far more than any storage of ours
/// holds. A plugin whose pages never end is refused.
const PAGES_MAX: u32 = 100_000;

/// Counters that are written at a time. A disk flushes each, so this takes a tenth of a second.
const ENTRIES_PER_PUT_MAX: usize = 100;

/// A carry that may be made.
pub struct Carry {
    from: Rc<Pool>,
    to: Rc<Pool>,
    journal: Arc<Journal>,
}

impl Carry {
    /// Checks that the counts in `from` can be moved to `to`, which must hold none.
    pub async fn prepare(
        from: Rc<Pool>,
        to: Rc<Pool>,
        journal: Arc<Journal>,
    ) -> Result<Self, SwapError> {
        for pool in [&from, &to] {
            if !pool.plugin().exports().lists() {
                let name = pool.plugin().name();
                return Err(SwapError::BadRequest(format!(
                    "the plugin {name} can't list its counters, so they can't be carried"
                )));
            }
        }
        let this = Self { from, to, journal };
        if this.source() == this.target() {
            let place = this.source();
            return Err(SwapError::BadRequest(format!(
                "both plugins keep their counters in {place}, so there is nothing to carry"
            )));
        }
        this.journal.check_writable().map_err(SwapError::Refused)?;
        this.empty_target().await.map_err(SwapError::Refused)?;
        Ok(this)
    }

    fn source(&self) -> &Storage {
        &self.from.plugin().protocol().storage
    }

    fn target(&self) -> &Storage {
        &self.to.plugin().protocol().storage
    }

    /// Counts in the target would be overwritten, so there must be none but what an earlier carry left.
    async fn empty_target(&self) -> Result<(), String> {
        if self.journal.is_left_over(self.target()) {
            return clear(&self.to).await;
        }
        let mut found = None;
        each_page(&self.to, async |entries| {
            found = found.take().or_else(|| entries.first().cloned());
            Ok(())
        })
        .await?;
        match found {
            None => Ok(()),
            Some(Entry { key, value }) => Err(format!(
                "{} holds counts already ({key} is {value}), which a carry would overwrite: reset them first",
                self.target()
            )),
        }
    }

    /// Copies all counts and compares the totals. No call may be under way on either plugin.
    ///
    /// `in_time` is asked between two writes, so that none is cut off whose bytes may still be on their way
    /// when the copies are taken back.
    pub async fn copy(&self, in_time: impl Fn() -> Result<(), String>) -> Result<Carried, String> {
        self.journal.record(self.source(), self.target(), State::Copying)?;
        let mut copied = Carried::default();
        each_page(&self.from, async |entries| {
            for some in entries.chunks(ENTRIES_PER_PUT_MAX) {
                in_time()?;
                copied.add(some);
                self.to.put(some.to_vec()).await.map_err(|error| {
                    format!("the counts can't be written to {}: {error}", self.target())
                })?;
            }
            Ok(())
        })
        .await?;
        in_time()?;
        let arrived = total(&self.to).await?;
        if arrived != copied {
            return Err(format!(
                "{} counters with a total of {} were to be carried, but {} with a total of {} arrived in {}",
                copied.keys,
                copied.total,
                arrived.keys,
                arrived.total,
                self.target()
            ));
        }
        self.journal.record(self.source(), self.target(), State::Moved)?;
        Ok(copied)
    }

    /// Takes back what was copied before the carry was given up.
    pub async fn undo(self) {
        if !self.journal.is_left_over(self.target()) {
            return;
        }
        let undone = match clear(&self.to).await {
            Ok(()) => self.journal.forget(),
            Err(why) => Err(why),
        };
        if let Err(why) = undone {
            tracing::warn!(
                "a part of the counts stays in {}, where nothing counts: {why}",
                self.target()
            );
        }
    }

    /// Empties the old storage once the new one serves.
    pub async fn finish(self) {
        let cleared = match clear(&self.from).await {
            Ok(()) => self.journal.record(self.source(), self.target(), State::Cleared),
            Err(why) => Err(why),
        };
        if let Err(why) = cleared {
            tracing::warn!(
                "the counts have moved, but copies of them stay in {}: {why}",
                self.source()
            );
        }
    }
}

impl Carried {
    fn add(&mut self, entries: &[Entry]) {
        self.keys += entries.len() as u64;
        self.total += entries.iter().map(|entry| i128::from(entry.value)).sum::<i128>();
    }
}

async fn total(pool: &Rc<Pool>) -> Result<Carried, String> {
    let mut total = Carried::default();
    each_page(pool, async |entries| {
        total.add(&entries);
        Ok(())
    })
    .await?;
    Ok(total)
}

async fn clear(pool: &Rc<Pool>) -> Result<(), String> {
    each_page(pool, async |mut entries| {
        entries.iter_mut().for_each(|entry| entry.value = 0);
        let place = &pool.plugin().protocol().storage;
        for some in entries.chunks(ENTRIES_PER_PUT_MAX) {
            let put = pool.put(some.to_vec()).await;
            put.map_err(|error| format!("{place} can't be emptied: {error}"))?;
        }
        Ok(())
    })
    .await
}

/// Lists all counters other than 0, page by page.
async fn each_page(
    pool: &Rc<Pool>,
    mut act: impl AsyncFnMut(Vec<Entry>) -> Result<(), String>,
) -> Result<(), String> {
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let page = pool.list(cursor, ENTRIES_PER_PAGE_MAX).await.map_err(|error| {
            format!("the counters in {} can't be listed: {error}", pool.plugin().protocol().storage)
        })?;
        let counts =
            page.entries.into_iter().filter(|entry| entry.value != 0 && entry.key != SCRATCH_KEY);
        let counts: Vec<Entry> = counts.collect();
        if !counts.is_empty() {
            act(counts).await?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
    Err(format!("{} lists more than {PAGES_MAX} pages of counters", pool.plugin().name()))
}

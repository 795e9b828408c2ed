//! Moves the counts from one storage to another while calls are held back.
//!
//! At each moment the counts are right in one of the two storages, and the journal says in which: in
//! the old one until all were copied and compared, then in the new one. Afterwards the old one is
//! emptied, so that nobody finds there what has moved on.
//!
//! Nothing is overwritten that is not known: the new storage must be empty, or its counts given up by
//! whoever asks, and what is taken back or emptied is only what still is as it was copied.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    error::SwapError,
    holdings::{Counters, Deadline, each_page},
    journal::Turn,
};
use crate::{
    bindings::optional::exports::tally::counter::entries::Entry,
    plugin::{pool::Pool, storage::Storage},
};

/// Counters that can be carried at a time; they are remembered until the carry is done.
const COUNTERS_MAX: usize = 1_000_000;

/// Counters that are written at a time. A disk flushes each, so this takes a tenth of a second.
const ENTRIES_PER_PUT_MAX: usize = 100;

/// How long looking through the new storage may take before a carry, and emptying the old one after it.
const TIDY_TIME_MAX: Duration = Duration::from_secs(60);

/// A carry that may be made.
pub struct Carry {
    from: Rc<Pool>,
    to: Rc<Pool>,
    turn: Turn,
    /// Whether counts in the new storage may be given up.
    overwrite: bool,
    /// Whether some were.
    given_up: Cell<bool>,
    copied: RefCell<HashMap<String, i64>>,
}

impl Carry {
    /// Checks that the counts in `from` can be moved to `to`, which must hold none, or only counts that
    /// may be overwritten.
    pub async fn prepare(
        from: Rc<Pool>,
        to: Rc<Pool>,
        turn: Turn,
        overwrite: bool,
    ) -> Result<Self, SwapError> {
        for pool in [&from, &to] {
            if !pool.plugin().exports().lists() {
                let name = pool.plugin().name();
                return Err(SwapError::Refused(format!(
                    "the plugin {name} can't list its counters, so they can't be carried"
                )));
            }
        }
        let (given_up, copied) = (Cell::default(), RefCell::default());
        let this = Self { from, to, turn, overwrite, given_up, copied };
        if this.source() == this.target() {
            let place = this.source();
            return Err(SwapError::Refused(format!(
                "both plugins keep their counters in {place}, so there is nothing to carry"
            )));
        }
        if !overwrite {
            this.check_target().await.map_err(SwapError::Refused)?;
        }
        Ok(this)
    }

    fn source(&self) -> &Storage {
        &self.from.plugin().protocol().storage
    }

    fn target(&self) -> &Storage {
        &self.to.plugin().protocol().storage
    }

    async fn check_target(&self) -> Result<(), String> {
        let why = match self.turn.interrupted() {
            Some(carry) if carry.to == self.target().0 => {
                ", perhaps from a carry that was interrupted"
            }
            _ => "",
        };
        each_page(&self.to, &self.tidying("be looked through"), async |entries| {
            match entries.first() {
                None => Ok(()),
                Some(Entry { key, value }) => Err(format!(
                    "{} holds counts already ({key} is {value}){why}: reset them, or give them up \
                     with \"overwrite\" (tally swap --overwrite)",
                    self.target()
                )),
            }
        })
        .await
    }

    /// Gives up the counts in the new storage, if that was asked for. This can't be taken back, so nothing but
    /// what calls are held back for comes after it.
    pub async fn make_room(&self) -> Result<(), String> {
        if !self.overwrite {
            return Ok(());
        }
        let deadline = self.tidying("be emptied");
        each_page(&self.to, &deadline, async |entries| {
            self.given_up.set(self.given_up.get() || !entries.is_empty());
            reset(&self.to, entries, &deadline).await
        })
        .await
    }

    /// What has been given up, and where.
    pub fn given_up(&self) -> Option<String> {
        let target = self.target();
        self.given_up.get().then(|| format!("the counts in {target} were given up and are gone"))
    }

    /// Copies all counts and compares the totals. No call may be under way on either plugin.
    ///
    /// The deadline is looked at between two writes, and none is cut off by it: its bytes might still be
    /// on their way when the copies are taken back.
    pub async fn copy(&self, deadline: &Deadline) -> Result<Counters, String> {
        self.turn.copying()?;
        each_page(&self.from, deadline, async |entries| {
            for some in entries.chunks(ENTRIES_PER_PUT_MAX) {
                deadline.check()?;
                self.remember(some)?;
                self.to.put(some.to_vec()).await.map_err(|error| {
                    format!("the counts can't be written to {}: {error}", self.target())
                })?;
            }
            Ok(())
        })
        .await?;
        let copied = Counters::of(self.copied.borrow().values());
        let mut arrived = Counters::default();
        each_page(&self.to, deadline, async |entries| {
            arrived.add(Counters::of(entries.iter().map(|entry| &entry.value)));
            Ok(())
        })
        .await?;
        if arrived != copied {
            return Err(format!("{} holds {arrived} instead of {copied}", self.target()));
        }
        deadline.check()?;
        self.turn.moved()?;
        Ok(copied)
    }

    fn remember(&self, entries: &[Entry]) -> Result<(), String> {
        let mut copied = self.copied.borrow_mut();
        copied.extend(entries.iter().map(|entry| (entry.key.clone(), entry.value)));
        if COUNTERS_MAX < copied.len() {
            return Err(format!("{} holds more than {COUNTERS_MAX} counters", self.source()));
        }
        Ok(())
    }

    /// Takes back what was copied before the carry was given up.
    pub async fn undo(self) {
        if let Some(gone) = self.given_up() {
            tracing::warn!("the counts were not carried, and {gone}");
        }
        let taken_back = if self.copied.borrow().is_empty() {
            Ok(())
        } else {
            // What arrives later would stay, so the journal tells of it then.
            let arrived = writes_ended(&self.to).await;
            self.take_copies_from(&self.to).await.and(arrived)
        };
        let remembered = match &taken_back {
            Ok(()) => self.turn.undone(),
            // It may say that they have moved.
            Err(_) => self.turn.copying(),
        };
        if let Err(why) = taken_back.and(remembered) {
            tracing::warn!("a part of the counts stays in {}: {why}", self.target());
        }
    }

    /// Empties the old storage once the new one serves.
    pub async fn finish(self) {
        let cleared = match self.take_copies_from(&self.from).await {
            Ok(()) => self.turn.cleared(),
            Err(why) => Err(why),
        };
        if let Err(why) = cleared {
            tracing::warn!(
                "the counts have moved, but a part of them stays in {}: {why}",
                self.source()
            );
        }
    }

    /// Resets the counters that are as they were copied. Others have been counted on since, by somebody
    /// who shares the storage. What they add between the listing and the reset is lost.
    async fn take_copies_from(&self, pool: &Rc<Pool>) -> Result<(), String> {
        let deadline = self.tidying("be emptied");
        let mut changed = None;
        each_page(pool, &deadline, async |entries| {
            let (copies, others): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|entry| self.is_copy(entry));
            changed = changed.take().or_else(|| others.into_iter().next());
            reset(pool, copies, &deadline).await
        })
        .await?;
        match changed {
            None => Ok(()),
            Some(Entry { key, value }) => Err(format!(
                "somebody else counts there ({key} is {value}), and those counters are left alone"
            )),
        }
    }

    fn is_copy(&self, entry: &Entry) -> bool {
        self.copied.borrow().get(&entry.key) == Some(&entry.value)
    }

    fn tidying(&self, what: &str) -> Deadline {
        let missed = format!("it could not {what} within {TIDY_TIME_MAX:?}");
        Deadline::after(TIDY_TIME_MAX, missed)
    }
}

async fn reset(
    pool: &Rc<Pool>,
    mut entries: Vec<Entry>,
    deadline: &Deadline,
) -> Result<(), String> {
    entries.iter_mut().for_each(|entry| entry.value = 0);
    for some in entries.chunks(ENTRIES_PER_PUT_MAX) {
        deadline.check()?;
        if let Err(error) = pool.put(some.to_vec()).await {
            // Zeros that arrive later would overwrite what is counted there next.
            writes_ended(pool).await?;
            return Err(error.to_string());
        }
    }
    Ok(())
}

/// Waits for writes that nobody has waited for to their end.
async fn writes_ended(pool: &Pool) -> Result<(), String> {
    timeout(TIDY_TIME_MAX, pool.drained())
        .await
        .map_err(|_| format!("a write there has not ended within {TIDY_TIME_MAX:?}"))
}

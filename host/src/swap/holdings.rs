//! What a storage holds, seen through the plugin that counts in it.

use std::{
    fmt,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::{
    bindings::optional::exports::tally::counter::entries::Entry,
    keys::SCRATCH_KEY,
    plugin::{entries::ENTRIES_PER_PAGE_MAX, pool::Pool},
};

/// How long looking at what is left in a storage may take.
pub const LOOK_TIME_MAX: Duration = Duration::from_secs(10);

/// Some counters, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How many are other than 0.
    pub keys: u64,
    /// Their sum.
    pub total: i128,
}

impl Counters {
    /// These values.
    pub fn of<'a>(values: impl Iterator<Item = &'a i64>) -> Self {
        let mut all = Self::default();
        values.for_each(|value| all.add(Self { keys: 1, total: (*value).into() }));
        all
    }

    /// Adds others.
    pub fn add(&mut self, more: Self) {
        self.keys += more.keys;
        self.total += more.total;
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.keys == 1 { "" } else { "s" };
        write!(f, "{} counter{plural} with a total of {}", self.keys, self.total)
    }
}

/// The counts in one storage. What can't be listed may hold any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Where they are.
    pub storage: String,
    /// Which they are, or why nobody knows.
    pub counters: Result<Counters, String>,
}

impl Holdings {
    /// Looks at the storage in which `pool` counts, for no longer than `time_max`.
    pub async fn look(pool: &Rc<Pool>, time_max: Duration) -> Self {
        let storage = pool.plugin().protocol().storage.0.clone();
        let missed = format!("they could not be listed within {time_max:?}");
        let mut counters = Counters::default();
        let deadline = Deadline::after(time_max, missed);
        let listed = each_page(pool, &deadline, async |entries| {
            counters.add(Counters::of(entries.iter().map(|entry| &entry.value)));
            Ok(())
        })
        .await;
        Self { storage, counters: listed.map(|()| counters) }
    }

    /// Whether there surely are none.
    pub fn are_none(&self) -> bool {
        self.counters == Ok(Counters::default())
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.counters {
            Ok(counters) => write!(f, "{} holds {counters}", self.storage),
            Err(why) => write!(f, "which counters are in {} is not known ({why})", self.storage),
        }
    }
}

/// By when something must be done, and what to say if it is not.
pub struct Deadline {
    at: Instant,
    missed: String,
}

impl Deadline {
    /// In `time` from now.
    pub fn after(time: Duration, missed: String) -> Self {
        Self { at: Instant::now() + time, missed }
    }

    /// Whether there is time left.
    ///
    /// # Errors
    ///
    /// What to say if there is none.
    pub fn check(&self) -> Result<(), String> {
        if Instant::now() < self.at { Ok(()) } else { Err(self.missed.clone()) }
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// Lists all counters other than 0, page by page.
///
/// # Errors
///
/// Why they can't be listed, that the deadline was missed, or what `act` says.
pub async fn each_page(
    pool: &Rc<Pool>,
    deadline: &Deadline,
    mut act: impl AsyncFnMut(Vec<Entry>) -> Result<(), String>,
) -> Result<(), String> {
    if !pool.plugin().exports().lists() {
        return Err(format!("the plugin {} can't list its counters", pool.plugin().name()));
    }
    let mut cursor = None;
    loop {
        let page = timeout(deadline.left(), pool.list(cursor, ENTRIES_PER_PAGE_MAX)).await;
        let page = page.map_err(|_| deadline.missed.clone())?.map_err(|error| {
            format!("the counts in {} can't be listed: {error}", pool.plugin().protocol().storage)
        })?;
        let counts =
            page.entries.into_iter().filter(|entry| entry.value != 0 && entry.key != SCRATCH_KEY);
        act(counts.collect()).await?;
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
        deadline.check()?;
    }
}

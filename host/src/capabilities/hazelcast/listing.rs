//! The counters in the granted map, page by page: one partition after the other, and within each in the order of the keys.
//!
//! The cluster keeps a partition in no order, and moves its entries when it grows. So all of it is fetched, and a cursor is a
//! partition and the last key of the page: `7:key`.

use std::ops::Bound::{Excluded, Unbounded};

use tally_hazelcast::{Client, Partition};

use super::{fault::harmless, names::Names};
use crate::bindings::tally::hazelcast::{
    map::{Entry, Page},
    types::{Error, Fault},
};

/// The most entries on a page.
const ENTRIES_PER_PAGE_MAX: u32 = 1_000;

/// Partitions that are asked for at a time.
const PARTITIONS_AT_ONCE_MAX: i32 = 16;

/// The partition and the last key of the page before.
fn parse(cursor: &str) -> Option<(i32, String)> {
    let (partition, key) = cursor.split_once(':')?;
    let number: i32 = partition.parse().ok().filter(|number| 0 <= *number)?;
    // Nothing but the form in which it was returned.
    (number.to_string() == partition).then(|| (number, key.to_owned()))
}

/// The page that begins at `cursor`.
///
/// # Errors
///
/// `unavailable`, `invalid-cursor` and `refused`.
pub async fn page(
    client: &Client,
    names: &Names,
    cursor: Option<&str>,
    entries_max: u32,
) -> Result<Page, Error> {
    let mut filling = Filling::new(entries_max);
    if let Some(cursor) = cursor {
        let (partition, key) = parse(cursor).ok_or_else(no_cursor)?;
        (filling.partition, filling.after) = (partition, Some(key));
    }
    let mut at_once = 1;
    loop {
        let wanted = filling.partition..filling.partition.saturating_add(at_once);
        let found = client.partitions(names.map(), wanted.clone()).await.map_err(harmless)?;
        // The map has no such partition.
        if found.is_empty() && filling.after.is_some() {
            return Err(no_cursor());
        }
        for partition in &found {
            if let Some(next) = filling.add(partition, names) {
                return Ok(Page { entries: filling.entries, next: Some(next) });
            }
        }
        if filling.partition < wanted.end {
            return Ok(Page { entries: filling.entries, next: None });
        }
        at_once = filling.room_for(&found);
    }
}

fn no_cursor() -> Error {
    Error::new(Fault::InvalidCursor, "the cursor is none that a listing of the map has returned")
}

/// A page that is not full yet.
struct Filling {
    entries: Vec<Entry>,
    entries_max: usize,
    /// The next partition, and the last key of it that is on the page before.
    partition: i32,
    after: Option<String>,
}

impl Filling {
    fn new(entries_max: u32) -> Self {
        let entries_max = entries_max.clamp(1, ENTRIES_PER_PAGE_MAX) as usize;
        Self { entries: Vec::new(), entries_max, partition: 0, after: None }
    }

    /// Adds the counters of the next partition; returns the cursor of the next page once this one is full.
    fn add(&mut self, found: &Partition, names: &Names) -> Option<String> {
        let rest = self.after.take().map_or(Unbounded, Excluded);
        for (key, number) in found.range((rest, Unbounded)) {
            let Some(counter) = names.counter(key) else { continue };
            self.entries.push(Entry { key: counter.to_owned(), stored: (*number).into() });
            if self.entries.len() == self.entries_max {
                return Some(format!("{}:{key}", self.partition));
            }
        }
        self.partition += 1;
        None
    }

    /// How many partitions like these the page has room for, at least one: what is fetched in vain is fetched again for the
    /// next page.
    fn room_for(&self, found: &[Partition]) -> i32 {
        let largest = found.iter().map(Partition::len).max().unwrap_or_default().max(1);
        let room = (self.entries_max - self.entries.len()) / largest;
        i32::try_from(room)
            .map_or(PARTITIONS_AT_ONCE_MAX, |room| room.clamp(1, PARTITIONS_AT_ONCE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_partition_and_a_key_which_may_be_any() {
        for (cursor, partition, key) in [("270:a", 270, "a"), ("3::", 3, ":"), ("0:", 0, "")] {
            assert_eq!(parse(cursor), Some((partition, key.to_owned())));
        }
        for cursor in ["", "x", "7", "-1:a", ":a", "2147483648:a", " 1:a", "+1:a", "01:a"] {
            assert_eq!(parse(cursor), None, "{cursor}");
        }
    }
}

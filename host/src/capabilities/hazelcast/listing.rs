//! The counters in the granted map, page by page: one partition after the other, and within each in the order of the keys.
//!
//! The cluster keeps a partition in no order, and moves its entries when it grows. So all of it is fetched, and a cursor is a
//! partition and the last key of the page: `7` or `7:key`.

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

/// Where a page begins.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    partition: i32,
    /// The last key that was looked at.
    after: Option<String>,
}

impl Cursor {
    const BEGIN: Self = Self { partition: 0, after: None };

    fn parse(text: &str) -> Option<Self> {
        let (partition, after) = match text.split_once(':') {
            Some((partition, key)) => (partition, Some(key.to_owned())),
            None => (text, None),
        };
        Some(Self { partition: partition.parse().ok().filter(|number| 0 <= *number)?, after })
    }

    fn write(&self) -> String {
        match &self.after {
            Some(key) => format!("{}:{key}", self.partition),
            None => self.partition.to_string(),
        }
    }
}

/// The page that begins at `cursor`.
///
/// # Errors
///
/// `unavailable` and `refused`.
pub async fn page(
    client: &Client,
    names: &Names,
    cursor: Option<&str>,
    entries_max: u32,
) -> Result<Page, Error> {
    let cursor = cursor.map_or(Some(Cursor::BEGIN), Cursor::parse).ok_or_else(|| {
        Error::new(Fault::Refused, "the cursor is none that a listing of the map has returned")
    })?;
    let entries_max = entries_max.clamp(1, ENTRIES_PER_PAGE_MAX) as usize;
    let mut filling = Filling { entries: Vec::new(), entries_max, cursor };
    let mut at_once = 1;
    loop {
        let begin = filling.cursor.partition;
        let wanted = begin..begin.saturating_add(at_once);
        let found = client.partitions(names.map(), wanted.clone()).await.map_err(harmless)?;
        for partition in &found {
            if filling.add(partition, names) {
                let next = Some(filling.cursor.write());
                return Ok(Page { entries: filling.entries, next });
            }
        }
        if filling.cursor.partition < wanted.end {
            return Ok(Page { entries: filling.entries, next: None });
        }
        at_once = filling.room_for(&found);
    }
}

/// A page that is not full yet.
struct Filling {
    entries: Vec<Entry>,
    entries_max: usize,
    /// What was not looked at yet.
    cursor: Cursor,
}

impl Filling {
    /// Adds the counters of the next partition, and says whether the page is full.
    fn add(&mut self, found: &Partition, names: &Names) -> bool {
        let rest = self.cursor.after.take().map_or(Unbounded, Excluded);
        for (key, number) in found.range((rest, Unbounded)) {
            let Some(counter) = names.counter(key) else { continue };
            self.entries.push(Entry { key: counter.to_owned(), stored: (*number).into() });
            if self.entries.len() == self.entries_max {
                self.cursor.after = Some(key.clone());
                return true;
            }
        }
        self.cursor.partition += 1;
        false
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
    fn a_cursor_is_read_as_it_was_written() {
        for (text, partition, after) in
            [("0", 0, None), ("270:a", 270, Some("a")), ("3::", 3, Some(":")), ("3:", 3, Some(""))]
        {
            let cursor = Cursor { partition, after: after.map(str::to_owned) };
            assert_eq!(Cursor::parse(text), Some(cursor));
            assert_eq!(Cursor::parse(text).unwrap().write(), text);
        }
        for text in ["", "x", "-1", "-1:a", ":a", "2147483648", " 1"] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }
}

//! The entries of plugins that keep one counter in each cell of the shared memory.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use crate::{
    cells,
    entries::{Entry, Error, Page},
};

/// Lists the cells; a cursor is the host's own, as a decimal number.
///
/// # Errors
///
/// [`Error::InvalidCursor`] and [`Error::Unavailable`].
pub fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, Error> {
    // Nothing but the form in which it was returned.
    let parse = |cursor: &String| {
        cursor.parse().ok().filter(|start: &u64| 0 < *start && start.to_string() == *cursor)
    };
    let start = cursor.as_ref().map_or(Some(0), parse);
    let page = start
        .map(|start| cells::list(start, entries_max))
        .transpose()
        .map_err(crate::Error::from)?;
    let page = page.flatten().ok_or_else(|| Error::of_cursor(&cursor.unwrap_or_default()))?;
    let entries =
        page.cells.into_iter().map(|cell| Entry { key: cell.key, value: cell.value }).collect();
    Ok(Page { entries, next: page.next.map(|next| next.to_string()) })
}

/// Stores each value in its cell. What is 0 needs no cell, so its place is free for another key.
///
/// # Errors
///
/// Any of [`Error`].
pub fn put(entries: Vec<Entry>) -> Result<(), Error> {
    for Entry { key, value } in entries {
        let stored = if value == 0 { cells::clear(&key) } else { cells::store(&key, value) };
        stored.map_err(|error| Error::of_key(&key, error))?;
    }
    Ok(())
}

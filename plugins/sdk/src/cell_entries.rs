//! The entries of plugins that keep one counter in each cell of the shared memory.

use alloc::{
    format,
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
/// [`Error::Other`] when the cursor is anything else.
pub fn list(cursor: Option<String>, entries_max: u32) -> Result<Page, Error> {
    let start = cursor.map_or(Ok(0), |cursor| {
        cursor
            .parse()
            .map_err(|_| Error::Other(format!("\"{cursor}\" is no cursor of this plugin")))
    })?;
    let page = cells::list(start, entries_max);
    let entries =
        page.cells.into_iter().map(|cell| Entry { key: cell.key, value: cell.value }).collect();
    Ok(Page { entries, next: page.next.map(|next| next.to_string()) })
}

/// Stores each value in its cell.
///
/// # Errors
///
/// Any of [`Error`].
pub fn put(entries: Vec<Entry>) -> Result<(), Error> {
    for Entry { key, value } in entries {
        cells::store(&key, value).map_err(|error| Error::of_key(&key, error))?;
    }
    Ok(())
}

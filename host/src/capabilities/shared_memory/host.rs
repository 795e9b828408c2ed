//! The interface `tally:shared-memory/cells` on a region.

use super::{CellError, SharedMemoryCtx, region::Cells};
use crate::bindings::tally::shared_memory::cells::{Cell, Error, Host, Page};

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for SharedMemoryCtx {
    fn load(&mut self, key: String) -> Answer<i64> {
        Ok(self.region.load(&key).map_err(Error::from))
    }

    fn store(&mut self, key: String, value: i64) -> Answer<()> {
        Ok(self.region.store(&key, value).map_err(Error::from))
    }

    fn add(&mut self, key: String, delta: i64) -> Answer<i64> {
        Ok(self.region.add(&key, delta).map_err(Error::from))
    }

    fn compare_exchange(&mut self, key: String, expected: i64, new: i64) -> Answer<i64> {
        Ok(self.region.compare_exchange(&key, expected, new).map_err(Error::from))
    }

    fn clear(&mut self, key: String) -> Answer<()> {
        Ok(self.region.clear(&key).map_err(Error::from))
    }

    fn list(&mut self, start: u64, cells_max: u32) -> Answer<Option<Page>> {
        let listed = self.region.list(start, cells_max).map_err(Error::from);
        Ok(listed.map(|page| page.map(Page::from)))
    }
}

impl From<Cells> for Page {
    fn from((cells, next): Cells) -> Self {
        let cells = cells.into_iter().map(|(key, value)| Cell { key, value }).collect();
        Self { cells, next }
    }
}

impl From<CellError> for Error {
    fn from(error: CellError) -> Self {
        match error {
            CellError::Overflow => Error::Overflow,
            CellError::Full(capacity) => Error::Full(capacity),
            CellError::InvalidKey => Error::InvalidKey,
            CellError::TableLocked => Error::Unavailable(
                "another process holds the shared-memory region's key table; try again".into(),
            ),
            CellError::Unavailable(why) => Error::Unavailable(why),
            CellError::OutcomeUnknown(why) => Error::OutcomeUnknown(why),
        }
    }
}

//! Listing a region's cells, some at a time.

use std::sync::atomic::Ordering;

use super::{CellError, Region};

/// Slots that one call looks at, so that it holds its worker for about a millisecond.
pub const SLOTS_PER_LIST_MAX: usize = 16_384;
/// Cells that one call returns: at most about 300 KiB, which a guest must find room for.
pub const CELLS_PER_LIST_MAX: usize = 1_000;

/// Keys and their values, and where the next ones begin.
pub type Cells = (Vec<(String, i64)>, Option<u64>);

impl Region {
    /// At most `cells_max` keys and their values, from slot number `start` on, and the number of
    /// the slot with which to go on; none after the last slot. None at all where there is no slot `start`.
    ///
    /// A key stays in its slot until it is removed, so following the numbers from 0 shows each key exactly once.
    ///
    /// # Errors
    ///
    /// [`CellError::Unavailable`].
    pub fn list(&self, start: u64, cells_max: u32) -> Result<Option<Cells>, CellError> {
        self.read(|| Ok(self.page(start, cells_max)))
    }

    fn page(&self, start: u64, cells_max: u32) -> Option<Cells> {
        let slot_count = self.slot_mask + 1;
        let cells_max = usize::try_from(cells_max).unwrap_or(usize::MAX).min(CELLS_PER_LIST_MAX);
        let start = usize::try_from(start).ok().filter(|start| *start < slot_count)?;
        let end = start.saturating_add(SLOTS_PER_LIST_MAX).min(slot_count);
        let mut cells = Vec::new();
        for number in start..end {
            if cells.len() == cells_max {
                return Some((cells, Some(number as u64)));
            }
            cells.extend(self.listed(number));
        }
        Some((cells, (end < slot_count).then_some(end as u64)))
    }

    /// The key and the value in a slot; none where there is no key.
    fn listed(&self, number: usize) -> Option<(String, i64)> {
        let slot = self.slot(number);
        if slot.tag() == 0 {
            return None;
        }
        let cell = slot.enter()?;
        Some((cell.key()?, cell.value().load(Ordering::SeqCst).cast_signed()))
    }
}

//! A region: a table of named 64-bit cells in a file that several processes have mapped.
//!
//! Layout, in 64-bit words: a header of [`HEADER_WORDS`], then slots of [`SLOT_WORDS`] each, an open
//! hash table with linear probing. A key stays in its slot until it is removed, and finding it needs no lock. Adding and
//! removing one takes the file's lock; each is done by one last step, so a process that dies before leaves nothing.

mod list;
mod lock;
mod slot;
mod table;

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};

use rustix::fs::{FallocateFlags, OFlags};

use self::{lock::FileLock, slot::SLOT_WORDS, table::Key};
use super::mapped::{MappedWords, WORD_BYTES};
#[cfg(test)]
pub(super) use list::{CELLS_PER_LIST_MAX, SLOTS_PER_LIST_MAX};
pub(super) use table::RESERVED;

/// "TALLYRGN" as a little-endian word; written last, so that a half-made region is recognised.
const MAGIC: u64 = u64::from_le_bytes(*b"TALLYRGN");
/// Version of the layout.
const VERSION: u64 = 2;

const HEADER_WORDS: usize = 8;
const MAGIC_WORD: usize = 0;
const VERSION_WORD: usize = 1;
const CAPACITY_WORD: usize = 2;
const SEED_WORDS: [usize; 2] = [3, 4];
const KEYS_WORD: usize = 5;

/// Fewest and most keys that a region may be made for.
pub const CAPACITY_RANGE: std::ops::RangeInclusive<u32> = 1..=16_777_216;

/// How long opening a region waits for another process that is making it.
const OPEN_LOCK_WAIT: Duration = Duration::from_secs(2);

/// Why a step did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellError {
    /// The sum would leave the signed 64-bit range.
    Overflow,
    /// All places for keys are taken: this many, and the reserved ones.
    Full(u32),
    /// The key is not 1 to [`crate::keys::KEY_BYTES_MAX`] bytes long.
    InvalidKey,
    /// Another process holds the key table.
    TableLocked,
}

/// A mapped region.
pub struct Region {
    words: MappedWords,
    /// Held open for its lock, which protects the addition and removal of keys.
    file: File,
    /// The file's lock is one for the whole process, so its threads need one among themselves.
    adding: Mutex<()>,
    seed: [u64; 2],
    capacity: u32,
    /// Number of slots less one; the number is a power of two.
    slot_mask: usize,
}

impl Region {
    /// Opens the region in the file at `path`, or makes one with room for `capacity` keys.
    ///
    /// A region that exists keeps the capacity that it was made with. Its memory is set aside when
    /// it is made, so that no later write can run out of it.
    ///
    /// # Errors
    ///
    /// When the file can't be opened, locked, made or mapped, or is not a region; it is then
    /// unchanged. The message names the path.
    pub fn open(path: &Path, capacity: u32) -> anyhow::Result<Self> {
        Self::try_open(path, capacity).map_err(|error| {
            anyhow::anyhow!("can't use the shared-memory region {}: {error}", path.display())
        })
    }

    fn try_open(path: &Path, capacity: u32) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        let locked = FileLock::take(&file, OPEN_LOCK_WAIT)?
            .ok_or_else(|| io::Error::other("another process has it locked"))?;
        if is_unmade(&file)? {
            make(&file, capacity)?;
        }
        let header = MappedWords::new(&file, HEADER_WORDS)
            .map_err(|_| io::Error::other("it is not a Tally region: it is too short"))?;
        let word = |idx: usize| header[idx].load(Ordering::Acquire);
        if word(MAGIC_WORD) != MAGIC {
            return Err(io::Error::other("it is not a Tally region: its first bytes are others"));
        }
        if word(VERSION_WORD) != VERSION {
            let version = word(VERSION_WORD);
            return Err(io::Error::other(format!(
                "its layout is version {version}, not {VERSION}, so another release of Tally made it; choose another \
                 --shared-memory-name, or remove the file, which gives up the counts in it"
            )));
        }
        let capacity = u32::try_from(word(CAPACITY_WORD))
            .ok()
            .filter(|capacity| CAPACITY_RANGE.contains(capacity))
            .ok_or_else(|| io::Error::other("its header is damaged"))?;
        let seed = SEED_WORDS.map(word);
        let words = MappedWords::new(&file, HEADER_WORDS + slots(capacity) * SLOT_WORDS)
            .map_err(|error| io::Error::other(format!("its table can't be mapped: {error}")))?;
        let slot_mask = slots(capacity) - 1;
        drop(locked);
        let this = Self { words, file, adding: Mutex::new(()), seed, capacity, slot_mask };
        this.reserve().map_err(|_| io::Error::other("its table is damaged, or locked"))?;
        Ok(this)
    }

    /// Sets aside the places of the keys that a full region has, too. Whoever made it may have died before.
    fn reserve(&self) -> Result<(), CellError> {
        // Nothing is changed in a table that would then be refused.
        if !self.has_room_for_reserved() {
            return Err(CellError::Full(self.capacity));
        }
        RESERVED.iter().try_for_each(|key| self.find_or_add(&Key::new(key)?).map(drop))
    }

    /// How many keys the region has room for.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The value of a cell; 0 for one that was never written.
    ///
    /// # Errors
    ///
    /// [`CellError::InvalidKey`].
    pub fn load(&self, key: &str) -> Result<i64, CellError> {
        let cell = self.find(&Key::new(key)?);
        Ok(cell.map_or(0, |cell| cell.value().load(Ordering::SeqCst).cast_signed()))
    }

    /// Replaces the value of a cell.
    ///
    /// # Errors
    ///
    /// All but [`CellError::Overflow`].
    pub fn store(&self, key: &str, value: i64) -> Result<(), CellError> {
        let cell = self.find_or_add(&Key::new(key)?)?;
        cell.value().store(value.cast_unsigned(), Ordering::SeqCst);
        Ok(())
    }

    /// Adds to a cell in one step; returns the value after the addition.
    ///
    /// # Errors
    ///
    /// Any [`CellError`].
    pub fn add(&self, key: &str, delta: i64) -> Result<i64, CellError> {
        let cell = self.find_or_add(&Key::new(key)?)?;
        let cell = cell.value();
        let mut current = cell.load(Ordering::SeqCst);
        loop {
            let sum = current.cast_signed().checked_add(delta).ok_or(CellError::Overflow)?;
            let new = sum.cast_unsigned();
            match cell.compare_exchange_weak(current, new, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Ok(sum),
                Err(found) => current = found,
            }
        }
    }

    /// Replaces the value by `new` if it is `expected`; returns the value found.
    ///
    /// # Errors
    ///
    /// All but [`CellError::Overflow`].
    pub fn compare_exchange(&self, key: &str, expected: i64, new: i64) -> Result<i64, CellError> {
        let cell = self.find_or_add(&Key::new(key)?)?;
        let (expected, new) = (expected.cast_unsigned(), new.cast_unsigned());
        let outcome =
            cell.value().compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst);
        let (Ok(found) | Err(found)) = outcome;
        Ok(found.cast_signed())
    }

    /// Sets a cell to 0 and removes it, unless somebody uses it at that moment or it is reserved; then it
    /// stays. A cell that does not exist is not made.
    ///
    /// The 0 is stored whatever the value is: an addition that another host makes after the caller has read or listed
    /// the cell is lost. Hosts that share a region should not carry out of it while others count there.
    ///
    /// # Errors
    ///
    /// [`CellError::InvalidKey`], and [`CellError::TableLocked`], in which case the value is 0.
    pub fn clear(&self, key: &str) -> Result<(), CellError> {
        let key = Key::new(key)?;
        match self.find(&key) {
            Some(cell) => cell.value().store(0, Ordering::SeqCst),
            None => return Ok(()),
        }
        if key.is_reserved() { Ok(()) } else { self.remove_key(&key) }
    }
}

/// Twice as many slots as keys, so that searches stay short when the table is full, and never fewer than keys.
fn slots(capacity: u32) -> usize {
    let keys = capacity as usize;
    (keys * 2).max(keys + RESERVED.len()).next_power_of_two()
}

/// Whether the file is empty, or was left half-made by a process that died: its header is all zeros.
fn is_unmade(mut file: &File) -> io::Result<bool> {
    let mut header = Vec::new();
    file.by_ref().take((HEADER_WORDS * WORD_BYTES) as u64).read_to_end(&mut header)?;
    Ok(header.first_chunk::<WORD_BYTES>().is_none_or(|magic| *magic == [0; WORD_BYTES])
        && header.iter().all(|byte| *byte == 0))
}

fn make(file: &File, capacity: u32) -> io::Result<()> {
    let len = HEADER_WORDS + slots(capacity) * SLOT_WORDS;
    file.set_len(0)?;
    rustix::fs::fallocate(file, FallocateFlags::empty(), 0, (len * WORD_BYTES) as u64).map_err(
        |errno| {
            let why = io::Error::from(errno);
            io::Error::other(format!(
                "{} bytes can't be set aside for it: {why}; make room, or set \
                 --shared-memory-capacity lower or --shared-memory-dir elsewhere",
                len * WORD_BYTES
            ))
        },
    )?;
    let words = MappedWords::new(file, len)?;
    for word in SEED_WORDS {
        let mut random = [0; WORD_BYTES];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        words[word].store(u64::from_le_bytes(random), Ordering::Relaxed);
    }
    words[CAPACITY_WORD].store(u64::from(capacity), Ordering::Relaxed);
    words[VERSION_WORD].store(VERSION, Ordering::Relaxed);
    words[MAGIC_WORD].store(MAGIC, Ordering::Release);
    Ok(())
}

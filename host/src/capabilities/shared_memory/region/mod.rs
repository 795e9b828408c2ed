//! A region: a table of named 64-bit cells in a file that several processes have mapped.
//!
//! Layout, in 64-bit words: a header of [`HEADER_WORDS`], then slots of [`SLOT_WORDS`] each, an open
//! hash table with linear probing. A key stays in its slot until it is removed, and finding it needs no lock. Adding and
//! removing one takes the file's lock; each is done by one last step, so a process that dies before leaves nothing.

mod file;
mod list;
mod lock;
mod slot;
mod table;
mod watch;

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, Mutex, atomic::Ordering},
};

use self::{slot::SLOT_WORDS, table::Key, watch::Watch};
use super::mapped::{MappedWords, WORD_BYTES};
pub(super) use list::Cells;
#[cfg(test)]
pub(super) use list::{CELLS_PER_LIST_MAX, SLOTS_PER_LIST_MAX};
pub(super) use table::RESERVED;

/// "TALLYRGN" as a little-endian word.
const MAGIC: u64 = u64::from_le_bytes(*b"TALLYRGN");
/// Version of the layout.
const VERSION: u64 = 2;

const HEADER_WORDS: usize = 8;
const MAGIC_WORD: usize = 0;
const VERSION_WORD: usize = 1;
const CAPACITY_WORD: usize = 2;
const SEED_WORDS: [usize; 2] = [3, 4];
const KEYS_WORD: usize = 5;
/// The words at the beginning that are written once.
const FIXED_WORDS: usize = KEYS_WORD;

/// Fewest and most keys that a region may be made for.
pub const CAPACITY_RANGE: std::ops::RangeInclusive<u32> = 1..=16_777_216;

/// How often opening a region begins again because others have made it or removed it meanwhile.
const OPEN_TRIES_MAX: u32 = 16;

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
    /// The region can't be used any more, or not now, and the step was not begun.
    Unavailable(String),
    /// The region was lost during the step, which may have been done or not.
    OutcomeUnknown(String),
}

/// A mapped region.
pub struct Region {
    words: MappedWords,
    /// Has the file, whose lock protects the addition and removal of keys.
    watch: Arc<Watch>,
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
    /// A region that exists keeps the capacity that it was made with. One that is made appears whole: what is empty or
    /// half-made was damaged, and is refused as anything else that is no region.
    ///
    /// # Errors
    ///
    /// When the file can't be opened, made or mapped, is not a region, or others than its owner, as whom this
    /// process runs, can change it; it is then unchanged. Also when a region of this path was lost under this process.
    /// The message names the path.
    pub fn open(path: &Path, capacity: u32) -> anyhow::Result<Self> {
        Self::try_open(path, capacity).map_err(|error| {
            anyhow::anyhow!(
                "can't use the shared-memory region {} (--shared-memory-dir, --shared-memory-name): {error}",
                path.display()
            )
        })
    }

    fn try_open(path: &Path, capacity: u32) -> io::Result<Self> {
        let check_not_lost = || {
            let why = "it was lost while this host used it; restart the hosts that share it";
            if watch::was_lost(path) { Err(io::Error::other(why)) } else { Ok(()) }
        };
        for _ in 0..OPEN_TRIES_MAX {
            check_not_lost()?;
            if let Some(file) = file::open(path)? {
                return Self::of_file(path, file).inspect(|this| this.watch.register());
            }
            let new = file::make(path, words(capacity) as u64 * WORD_BYTES as u64)?;
            write_header(&new.file, capacity)?;
            let this = Self::of_file(path, new.file.try_clone()?)?;
            if new.link(path)? {
                // It may have been removed since it was found to be there.
                check_not_lost()?;
                this.watch.register();
                return Ok(this);
            }
        }
        Err(io::Error::other("it is made and removed again and again by others"))
    }

    /// The region in `file`, which is or will be at `path`.
    fn of_file(path: &Path, file: File) -> io::Result<Self> {
        let capacity = read_capacity(&file)?;
        let len = words(capacity);
        let bytes = (len * WORD_BYTES) as u64;
        let words = map(&file, len, || {
            format!(
                "it was truncated: it has fewer than the {bytes} bytes that its table takes; restore it, or remove it, which \
                 gives up the counts in it"
            )
        })?;
        file::set_aside(&file, bytes)?;
        let watch = Watch::new(path, file, bytes)?;
        let seed = SEED_WORDS.map(|idx| words[idx].load(Ordering::Acquire));
        let slot_mask = slots(capacity) - 1;
        let this = Self { words, watch, adding: Mutex::new(()), seed, capacity, slot_mask };
        this.reserve().map_err(|_| io::Error::other("its table is damaged, or locked"))?;
        Ok(this)
    }

    /// Sets aside the places of the keys that a full region has, too.
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
    /// [`CellError::InvalidKey`] and [`CellError::Unavailable`].
    pub fn load(&self, key: &str) -> Result<i64, CellError> {
        self.read(|| {
            let cell = self.find(&Key::new(key)?);
            Ok(cell.map_or(0, |cell| cell.value().load(Ordering::SeqCst).cast_signed()))
        })
    }

    /// Does a step that changes nothing.
    fn read<T>(&self, step: impl FnOnce() -> Result<T, CellError>) -> Result<T, CellError> {
        self.watch.check().map_err(CellError::Unavailable)?;
        let done = step();
        if self.words.is_lost() {
            return Err(CellError::Unavailable(self.watch.faulted()));
        }
        done
    }

    /// Does a step that changes a cell.
    fn write<T>(&self, step: impl FnOnce() -> Result<T, CellError>) -> Result<T, CellError> {
        self.watch.check().map_err(CellError::Unavailable)?;
        let done = step();
        let is_begun = !matches!(done, Err(CellError::InvalidKey | CellError::TableLocked));
        if is_begun && self.words.is_lost() {
            // What was changed before others met the end of the file may still be seen by hosts that have not.
            return Err(CellError::OutcomeUnknown(self.watch.faulted()));
        }
        done
    }

    /// Replaces the value of a cell.
    ///
    /// # Errors
    ///
    /// All but [`CellError::Overflow`].
    pub fn store(&self, key: &str, value: i64) -> Result<(), CellError> {
        self.write(|| {
            let cell = self.find_or_add(&Key::new(key)?)?;
            cell.value().store(value.cast_unsigned(), Ordering::SeqCst);
            Ok(())
        })
    }

    /// Adds to a cell in one step; returns the value after the addition.
    ///
    /// # Errors
    ///
    /// Any [`CellError`].
    pub fn add(&self, key: &str, delta: i64) -> Result<i64, CellError> {
        self.write(|| {
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
        })
    }

    /// Replaces the value by `new` if it is `expected`; returns the value found.
    ///
    /// # Errors
    ///
    /// All but [`CellError::Overflow`].
    pub fn compare_exchange(&self, key: &str, expected: i64, new: i64) -> Result<i64, CellError> {
        self.write(|| {
            let cell = self.find_or_add(&Key::new(key)?)?;
            let (expected, new) = (expected.cast_unsigned(), new.cast_unsigned());
            let outcome =
                cell.value().compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst);
            let (Ok(found) | Err(found)) = outcome;
            Ok(found.cast_signed())
        })
    }

    /// Sets a cell to 0 and removes it, unless somebody uses it at that moment or it is reserved; then it
    /// stays. A cell that does not exist is not made.
    ///
    /// The 0 is stored whatever the value is: an addition that another host makes after the caller has read or listed
    /// the cell is lost. Hosts that share a region should not carry out of it while others count there.
    ///
    /// # Errors
    ///
    /// [`CellError::InvalidKey`], [`CellError::TableLocked`], in which case the value is 0, and those of a region that
    /// was lost.
    pub fn clear(&self, key: &str) -> Result<(), CellError> {
        self.write(|| {
            let key = Key::new(key)?;
            match self.find(&key) {
                Some(cell) => cell.value().store(0, Ordering::SeqCst),
                None => return Ok(()),
            }
            if key.is_reserved() { Ok(()) } else { self.remove_key(&key) }
        })
    }
}

/// Twice as many slots as keys, so that searches stay short when the table is full, and never fewer than keys.
fn slots(capacity: u32) -> usize {
    let keys = capacity as usize;
    (keys * 2).max(keys + RESERVED.len()).next_power_of_two()
}

/// Words in the file of a region.
fn words(capacity: u32) -> usize {
    HEADER_WORDS + slots(capacity) * SLOT_WORDS
}

/// Maps the first `len` words of a file, or says that it is `too_short`.
fn map(file: &File, len: usize, too_short: impl FnOnce() -> String) -> io::Result<MappedWords> {
    MappedWords::new(file, len).map_err(|error| {
        io::Error::other(match error.kind() {
            io::ErrorKind::UnexpectedEof => too_short(),
            _ => format!("it can't be mapped: {error}"),
        })
    })
}

/// Checks the header of a region; returns its capacity.
fn read_capacity(file: &File) -> io::Result<u32> {
    let why = match file.metadata()?.len() {
        0 => {
            "it is empty; somebody else made it, or it was truncated: remove it, which gives up the counts that were in it"
        }
        _ => "it is not a Tally region: it is too short",
    };
    let header = map(file, HEADER_WORDS, || why.into())?;
    let word = |idx: usize| header[idx].load(Ordering::Acquire);
    if word(MAGIC_WORD) != MAGIC {
        return Err(io::Error::other(
            "it is not a Tally region: its first bytes are others; set --shared-memory-name to another, or remove the file",
        ));
    }
    if word(VERSION_WORD) != VERSION {
        let version = word(VERSION_WORD);
        return Err(io::Error::other(format!(
            "its layout is version {version}, not {VERSION}, so another release of Tally made it; set \
             --shared-memory-name to another, or remove the file, which gives up the counts in it"
        )));
    }
    u32::try_from(word(CAPACITY_WORD))
        .ok()
        .filter(|capacity| CAPACITY_RANGE.contains(capacity))
        .ok_or_else(|| io::Error::other("its header is damaged"))
}

fn write_header(file: &File, capacity: u32) -> io::Result<()> {
    let words = MappedWords::new(file, HEADER_WORDS)?;
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

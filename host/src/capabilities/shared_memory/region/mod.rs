//! A region: a table of named 64-bit cells in a file that several processes have mapped.
//!
//! Layout, in 64-bit words: a header of [`HEADER_WORDS`], then slots of [`SLOT_WORDS`] each, an open
//! hash table with linear probing. Keys are added and never removed, so that a slot, once found,
//! stays where it is, and reading needs no lock. Adding a key takes the file's lock; because the
//! slot's tag is written last, a process that dies in the middle leaves an empty slot behind.

mod list;

use std::{
    fs::{File, OpenOptions},
    hash::Hasher,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use siphasher::sip::SipHasher13;

use super::mapped::{MappedWords, WORD_BYTES};
use crate::keys;
#[cfg(test)]
pub(super) use list::{CELLS_PER_LIST_MAX, SLOTS_PER_LIST_MAX};

/// "TALLYRGN" as a little-endian word; written last, so that a half-made region is recognised.
const MAGIC: u64 = u64::from_le_bytes(*b"TALLYRGN");
/// Version of the layout.
const VERSION: u64 = 1;

const HEADER_WORDS: usize = 8;
const MAGIC_WORD: usize = 0;
const VERSION_WORD: usize = 1;
const CAPACITY_WORD: usize = 2;
const SEED_WORDS: [usize; 2] = [3, 4];
const KEYS_WORD: usize = 5;

/// A slot is five cache lines: tag, value, key length, key; the rest is unused.
const SLOT_WORDS: usize = 40;
const TAG_WORD: usize = 0;
const VALUE_WORD: usize = 1;
const KEY_LEN_WORD: usize = 2;
const KEY_WORD: usize = 3;
const _: () = assert!(KEY_WORD * WORD_BYTES + keys::KEY_BYTES_MAX <= SLOT_WORDS * WORD_BYTES);

/// Fewest and most keys that a region may be made for.
pub const CAPACITY_RANGE: std::ops::RangeInclusive<u32> = 1..=16_777_216;

/// How long a new key waits for another process that is adding one, which takes microseconds.
const TABLE_LOCK_WAIT: Duration = Duration::from_millis(10);
/// How long opening a region waits for another process that is making it.
const OPEN_LOCK_WAIT: Duration = Duration::from_secs(2);

/// Why a step did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellError {
    /// The sum would leave the signed 64-bit range.
    Overflow,
    /// All places for keys are taken: this many.
    Full(u32),
    /// The key is not 1 to [`keys::KEY_BYTES_MAX`] bytes long.
    InvalidKey,
    /// Another process holds the key table.
    TableLocked,
}

/// A mapped region.
pub struct Region {
    words: MappedWords,
    /// Held open for its lock, which protects the addition of keys.
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
                "its layout is version {version}, not {VERSION}"
            )));
        }
        let capacity = u32::try_from(word(CAPACITY_WORD))
            .ok()
            .filter(|capacity| CAPACITY_RANGE.contains(capacity))
            .ok_or_else(|| io::Error::other("its header is damaged"))?;
        let seed = SEED_WORDS.map(word);
        let words = MappedWords::new(&file, HEADER_WORDS + slots(capacity) * SLOT_WORDS)
            .map_err(|error| io::Error::other(format!("its table can't be mapped: {error}")))?;
        drop(locked);
        Ok(Self {
            words,
            file,
            adding: Mutex::new(()),
            seed,
            capacity,
            slot_mask: slots(capacity) - 1,
        })
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
        let key = Key::new(key)?;
        match self.find(&key) {
            Probe::Found(slot) => Ok(self.value(slot).load(Ordering::SeqCst).cast_signed()),
            Probe::Absent(_) | Probe::NoRoom => Ok(0),
        }
    }

    /// Replaces the value of a cell.
    ///
    /// # Errors
    ///
    /// All but [`CellError::Overflow`].
    pub fn store(&self, key: &str, value: i64) -> Result<(), CellError> {
        let slot = self.find_or_add(&Key::new(key)?)?;
        self.value(slot).store(value.cast_unsigned(), Ordering::SeqCst);
        Ok(())
    }

    /// Adds to a cell in one step; returns the value after the addition.
    ///
    /// # Errors
    ///
    /// Any [`CellError`].
    pub fn add(&self, key: &str, delta: i64) -> Result<i64, CellError> {
        let cell = self.value(self.find_or_add(&Key::new(key)?)?);
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
        let cell = self.value(self.find_or_add(&Key::new(key)?)?);
        let (expected, new) = (expected.cast_unsigned(), new.cast_unsigned());
        let outcome = cell.compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst);
        let (Ok(found) | Err(found)) = outcome;
        Ok(found.cast_signed())
    }

    fn value(&self, slot: usize) -> &AtomicU64 {
        &self.words[slot + VALUE_WORD]
    }

    fn find_or_add(&self, key: &Key) -> Result<usize, CellError> {
        match self.find(key) {
            Probe::Found(slot) => Ok(slot),
            Probe::Absent(_) | Probe::NoRoom => self.add_key(key),
        }
    }

    /// Looks for a key, without a lock.
    fn find(&self, key: &Key) -> Probe {
        let tag = self.tag(key);
        // The lowest bit of every tag is set, so it is no use for choosing a slot.
        let first = (tag >> 1) as usize;
        for step in 0..=self.slot_mask {
            let slot = HEADER_WORDS + (first.wrapping_add(step) & self.slot_mask) * SLOT_WORDS;
            match self.words[slot + TAG_WORD].load(Ordering::Acquire) {
                0 => return Probe::Absent(slot),
                found if found == tag && self.holds(slot, key) => return Probe::Found(slot),
                _ => {}
            }
        }
        Probe::NoRoom
    }

    fn holds(&self, slot: usize, key: &Key) -> bool {
        self.words[slot + KEY_LEN_WORD].load(Ordering::Relaxed) == key.len() as u64
            && key.words().enumerate().all(|(idx, word)| {
                self.words[slot + KEY_WORD + idx].load(Ordering::Relaxed) == word
            })
    }

    fn add_key(&self, key: &Key) -> Result<usize, CellError> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let _locked = FileLock::take(&self.file, TABLE_LOCK_WAIT)
            .ok()
            .flatten()
            .ok_or(CellError::TableLocked)?;
        let slot = match self.find(key) {
            Probe::Found(slot) => return Ok(slot),
            Probe::NoRoom => return Err(CellError::Full(self.capacity)),
            Probe::Absent(slot) => slot,
        };
        let keys = &self.words[KEYS_WORD];
        if keys.load(Ordering::Relaxed) >= u64::from(self.capacity) {
            return Err(CellError::Full(self.capacity));
        }
        self.words[slot + KEY_LEN_WORD].store(key.len() as u64, Ordering::Relaxed);
        for (idx, word) in key.words().enumerate() {
            self.words[slot + KEY_WORD + idx].store(word, Ordering::Relaxed);
        }
        self.value(slot).store(0, Ordering::Relaxed);
        // Publishes all of the above to those who look without a lock.
        self.words[slot + TAG_WORD].store(self.tag(key), Ordering::Release);
        keys.fetch_add(1, Ordering::Relaxed);
        Ok(slot)
    }

    /// A keyed hash, so that nobody can choose keys that all probe the same slots; never 0.
    fn tag(&self, key: &Key) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.seed[0], self.seed[1]);
        hasher.write(key.bytes());
        hasher.finish() | 1
    }
}

/// Where a search ended: at word offsets of slots.
enum Probe {
    Found(usize),
    /// The key is not in the table; it belongs into this empty slot.
    Absent(usize),
    NoRoom,
}

/// A key whose length was checked.
struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    fn new(key: &'a str) -> Result<Self, CellError> {
        keys::check(key).map_err(|_| CellError::InvalidKey)?;
        Ok(Self(key.as_bytes()))
    }

    fn bytes(&self) -> &[u8] {
        self.0
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    /// The key as words, the last one filled up with zeros.
    fn words(&self) -> impl Iterator<Item = u64> {
        self.0.chunks(WORD_BYTES).map(|chunk| {
            let mut word = [0; WORD_BYTES];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        })
    }
}

/// The lock on a region's file, released on drop and when the process dies.
struct FileLock<'a>(&'a File);

impl<'a> FileLock<'a> {
    /// Tries for up to `wait`; none when another process held the lock all the while.
    fn take(file: &'a File, wait: Duration) -> io::Result<Option<Self>> {
        let deadline = Instant::now() + wait;
        loop {
            match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self(file))),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::yield_now();
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for FileLock<'_> {
    fn drop(&mut self) {
        // Unlocking an open file that we locked can't fail; closing it would unlock it anyway.
        let _ = rustix::fs::flock(self.0, FlockOperation::Unlock);
    }
}

/// Twice as many slots as keys, so that searches stay short when the table is full.
fn slots(capacity: u32) -> usize {
    (capacity as usize * 2).next_power_of_two()
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

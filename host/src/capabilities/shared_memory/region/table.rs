//! The keys of a region: an open hash table with linear probing.

use std::{
    hash::Hasher,
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use siphasher::sip::SipHasher13;

use super::{
    CellError, HEADER_WORDS, KEYS_WORD, Region, WORD_BYTES,
    lock::FileLock,
    slot::{Cell, SLOT_WORDS, Slot},
};
use crate::keys;

/// How long a new key waits for another process that is adding or removing one, which takes microseconds.
const TABLE_LOCK_WAIT: Duration = Duration::from_millis(10);

/// Keys that have a place in each region, beside those that it has room for: a full region still counts what is behind
/// `POST /inc`, and plugins can still be tried.
pub const RESERVED: [&str; 2] = [keys::DEFAULT_KEY, keys::SCRATCH_KEY];

impl Region {
    /// The cell of a key, which is found without a lock; none if there is none.
    pub(super) fn find(&self, key: &Key) -> Option<Cell<'_>> {
        let tag = self.tag(key);
        for slot in self.probe(tag) {
            match slot.tag() {
                0 => return None,
                found if found == tag => {
                    let cell = slot.enter().filter(|cell| cell.is_of(key, tag));
                    if cell.is_some() {
                        return cell;
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// The cell of a key, which is added where there is none.
    pub(super) fn find_or_add(&self, key: &Key) -> Result<Cell<'_>, CellError> {
        match self.find(key) {
            Some(cell) => Ok(cell),
            None => {
                let _locked = self.lock()?;
                self.add_key(key)
            }
        }
    }

    /// Adds a key unless it is there; the caller holds the table's lock.
    pub(super) fn add_key(&self, key: &Key) -> Result<Cell<'_>, CellError> {
        if let Some(cell) = self.find(key) {
            return Ok(cell);
        }
        let full = CellError::Full(self.capacity());
        let tag = self.tag(key);
        // One of a key that was removed, or the empty one that ends the search for this key.
        let slot = self.probe(tag).find(|slot| slot.tag() == 0 || slot.is_removed());
        let slot = slot.ok_or(full.clone())?;
        if !key.is_reserved() {
            let keys = &self.words[KEYS_WORD];
            if u64::from(self.capacity()) <= keys.load(Ordering::Relaxed) {
                return Err(full);
            }
            keys.fetch_add(1, Ordering::Relaxed);
        }
        slot.fill(key, tag);
        // Nobody can have removed it, since the lock is held.
        slot.enter().ok_or(full)
    }

    /// Whether each reserved key is there, or has a place. Nothing is changed, not even who uses a slot.
    pub(super) fn has_room_for_reserved(&self) -> bool {
        let is_there = |key: &Key| {
            let tag = self.tag(key);
            let mut slots = self.probe(tag).take_while(|slot| slot.tag() != 0);
            slots.any(|slot| !slot.is_removed() && slot.is_of(key, tag))
        };
        let keys = RESERVED.iter().filter_map(|key| Key::new(key).ok());
        let missing = keys.filter(|key| !is_there(key)).count();
        let free = self.probe(0).filter(|slot| slot.tag() == 0 || slot.is_removed());
        free.take(missing).count() == missing
    }

    /// Removes a key whose value is 0. One that is in use, or has another value by now, stays.
    pub(super) fn remove_key(&self, key: &Key) -> Result<(), CellError> {
        let _locked = self.lock()?;
        let tag = self.tag(key);
        let slot = self.probe(tag).take_while(|slot| slot.tag() != 0).find(|slot| {
            slot.tag() == tag && slot.enter().is_some_and(|cell| cell.is_of(key, tag))
        });
        if slot.is_some_and(Slot::remove) {
            self.words[KEYS_WORD].fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// How many keys there are, without those that every region has.
    pub fn keys(&self) -> u64 {
        self.words[KEYS_WORD].load(Ordering::Relaxed)
    }

    pub(super) fn slot(&self, number: usize) -> Slot<'_> {
        Slot::new(&self.words[HEADER_WORDS + number * SLOT_WORDS..][..SLOT_WORDS])
    }

    /// The slots in which a key with this tag may be, in the order in which they are looked at.
    fn probe(&self, tag: u64) -> impl Iterator<Item = Slot<'_>> {
        // The lowest bit of every tag is set, so it is no use for choosing a slot.
        let first = (tag >> 1) as usize;
        (0..=self.slot_mask).map(move |step| self.slot(first.wrapping_add(step) & self.slot_mask))
    }

    fn lock(&self) -> Result<(MutexGuard<'_, ()>, FileLock<'_>), CellError> {
        let among_threads = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let locked = FileLock::take(self.watch.file(), TABLE_LOCK_WAIT).ok().flatten();
        Ok((among_threads, locked.ok_or(CellError::TableLocked)?))
    }

    /// A keyed hash, so that nobody can choose keys that all probe the same slots; never 0.
    fn tag(&self, key: &Key) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.seed[0], self.seed[1]);
        hasher.write(key.0);
        hasher.finish() | 1
    }
}

/// A key whose length was checked.
pub struct Key<'a>(&'a [u8]);

impl<'a> Key<'a> {
    /// # Errors
    ///
    /// [`CellError::InvalidKey`].
    pub fn new(key: &'a str) -> Result<Self, CellError> {
        keys::check(key).map_err(|_| CellError::InvalidKey)?;
        Ok(Self(key.as_bytes()))
    }

    /// Whether it has a place in each region.
    pub fn is_reserved(&self) -> bool {
        RESERVED.iter().any(|key| key.as_bytes() == self.0)
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The key as words, the last one filled up with zeros.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        self.0.chunks(WORD_BYTES).map(|chunk| {
            let mut word = [0; WORD_BYTES];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Barrier, thread, time::Instant};

    use super::*;

    const CHANGES: usize = 200_000;
    const ADDERS: i64 = 3;

    /// Repeats what was refused, and so not done, while another one that holds the table is not given the processor.
    fn insist<T>(mut step: impl FnMut() -> Result<T, CellError>) -> T {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match step() {
                Err(CellError::TableLocked) => {
                    assert!(Instant::now() < deadline, "it stays locked")
                }
                done => return done.unwrap(),
            }
        }
    }

    /// Each mapping stands for a process. There are places for two keys only, so one is soon taken by another.
    fn mapping(path: &Path) -> Region {
        Region::open(path, 2).unwrap()
    }

    #[test]
    fn nothing_is_lost_in_keys_that_are_removed_and_added_while_others_count_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("region");
        let start = Barrier::new(ADDERS as usize + 2);
        thread::scope(|scope| {
            for adder in 0..ADDERS {
                let (path, start) = (&path, &start);
                scope.spawn(move || {
                    let region = mapping(path);
                    start.wait();
                    for _ in 0..CHANGES {
                        let up = insist(|| region.add("a", 1));
                        assert!((1..=ADDERS).contains(&up), "adder {adder}: {up}");
                        let down = insist(|| region.add("a", -1));
                        assert!((0..ADDERS).contains(&down), "adder {adder}: {down}");
                    }
                });
            }
            // Takes places that are free for a moment, with values that the others would notice.
            scope.spawn(|| {
                let region = mapping(&path);
                start.wait();
                for idx in 0..CHANGES / 4 {
                    let key = format!("other-{}", idx % 7);
                    assert_eq!(insist(|| region.add(&key, 1_000)), 1_000);
                    assert_eq!(region.load(&key), Ok(1_000));
                    // It stays where somebody who looks for another key has just entered its slot.
                    while region.find(&Key::new(&key).unwrap()).is_some() {
                        insist(|| region.clear(&key));
                    }
                }
            });
            scope.spawn(|| {
                let region = mapping(&path);
                start.wait();
                for _ in 0..CHANGES {
                    insist(|| region.remove_key(&Key::new("a")?));
                }
            });
        });
        let region = mapping(&path);
        assert_eq!((region.load("a"), region.add("a", 1)), (Ok(0), Ok(1)));
        assert_eq!(region.keys(), 1);
    }

    #[test]
    fn a_key_in_use_or_with_a_value_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let region = mapping(&dir.path().join("region"));
        let key = Key::new("a").unwrap();
        region.add("a", 1).unwrap();
        region.remove_key(&key).unwrap();
        assert_eq!(region.load("a"), Ok(1));
        region.store("a", 0).unwrap();
        let user = region.find(&key).unwrap();
        region.remove_key(&key).unwrap();
        assert_eq!(region.keys(), 1);
        drop(user);
        region.remove_key(&key).unwrap();
        assert_eq!(region.keys(), 0);
    }
}

//! A slot of the table, and who is in it.
//!
//! Readers and writers take no lock, so a slot says itself whether its key was removed and how many are using its cell:
//! whoever uses it enters first and leaves afterwards, and it is removed only while nobody is inside. A process that
//! dies inside leaves a user behind for ever; the slot is then never removed, and otherwise as good as any.

use std::{
    hint,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{Key, WORD_BYTES};
use crate::keys::KEY_BYTES_MAX;

/// A slot is five cache lines. All that a call writes to is in the first; the rest behind the key is unused.
pub const SLOT_WORDS: usize = 40;
const TAG_WORD: usize = 0;
const VALUE_WORD: usize = 1;
const STATE_WORD: usize = 2;
const KEY_LEN_WORD: usize = 3;
const KEY_WORD: usize = 4;
const _: () = assert!(KEY_WORD * WORD_BYTES + KEY_BYTES_MAX <= SLOT_WORDS * WORD_BYTES);

/// One user, in the lowest bits of the state.
const USER: u64 = 1;
/// Set where the key was removed. What else the slot holds is then of no account.
const REMOVED: u64 = 1 << 31;
/// Users, and how many there have been in the upper half: takes one off the former and adds one to the latter.
const LEAVE: u64 = (1 << 32) - USER;
const USERS: u64 = REMOVED - 1;

/// How often a removal looks whether the users, who stay for some nanoseconds, have left.
const REMOVE_TRIES: u32 = 1_000;

/// A slot, as words that other processes have mapped too.
#[derive(Clone, Copy)]
pub struct Slot<'a>(&'a [AtomicU64]);

impl<'a> Slot<'a> {
    /// The slot in these [`SLOT_WORDS`].
    pub fn new(words: &'a [AtomicU64]) -> Self {
        Self(words)
    }

    /// The hash of its key; 0 where there has never been one.
    pub fn tag(self) -> u64 {
        self.0[TAG_WORD].load(Ordering::Acquire)
    }

    /// Whether its key was removed, so that another may take its place.
    pub fn is_removed(self) -> bool {
        self.state().load(Ordering::SeqCst) & REMOVED != 0
    }

    /// Begins to use the cell; none where the key was removed. The slot keeps its key until the return value goes.
    pub fn enter(self) -> Option<Cell<'a>> {
        let before = self.state().fetch_add(USER, Ordering::SeqCst);
        let cell = Cell(self);
        (before & REMOVED == 0).then_some(cell)
    }

    /// Puts a key with the value 0 into a slot without one. The caller holds the table's lock.
    ///
    /// The last step makes all others visible, so a process that dies before leaves a slot without a key.
    pub fn fill(self, key: &Key, tag: u64) {
        let is_new = self.tag() == 0;
        self.0[KEY_LEN_WORD].store(key.len() as u64, Ordering::Relaxed);
        for (idx, word) in key.words().enumerate() {
            self.0[KEY_WORD + idx].store(word, Ordering::Relaxed);
        }
        self.0[VALUE_WORD].store(0, Ordering::Relaxed);
        if is_new {
            self.state().store(0, Ordering::Relaxed);
            self.0[TAG_WORD].store(tag, Ordering::Release);
        } else {
            self.0[TAG_WORD].store(tag, Ordering::Relaxed);
            // Some may have entered and not yet left again, having seen that the key before was removed.
            self.state().fetch_and(!REMOVED, Ordering::SeqCst);
        }
    }

    /// Removes the key if its value is 0; returns whether it did. The caller holds the table's lock.
    ///
    /// The state changes with each user that comes or goes. It is the same at the end as before the value was looked
    /// at, so nobody has been inside meanwhile, and the value is still 0.
    pub fn remove(self) -> bool {
        for _ in 0..REMOVE_TRIES {
            let state = self.state().load(Ordering::SeqCst);
            if state & REMOVED != 0 || self.0[VALUE_WORD].load(Ordering::SeqCst) != 0 {
                return false;
            }
            let removed = state | REMOVED;
            if state & USERS == 0
                && self
                    .state()
                    .compare_exchange(state, removed, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok()
            {
                return true;
            }
            hint::spin_loop();
        }
        false
    }

    /// Whether what it holds is called `key`, whose hash is `tag`.
    pub fn is_of(self, key: &Key, tag: u64) -> bool {
        let words = self.0;
        self.tag() == tag
            && words[KEY_LEN_WORD].load(Ordering::Relaxed) == key.len() as u64
            && key
                .words()
                .enumerate()
                .all(|(idx, word)| words[KEY_WORD + idx].load(Ordering::Relaxed) == word)
    }

    fn state(self) -> &'a AtomicU64 {
        &self.0[STATE_WORD]
    }
}

/// The cell in a slot, in use.
pub struct Cell<'a>(Slot<'a>);

impl Cell<'_> {
    /// Its value.
    pub fn value(&self) -> &AtomicU64 {
        &self.0.0[VALUE_WORD]
    }

    /// Whether it is that of `key`: since the slot was found it may have got another one.
    pub fn is_of(&self, key: &Key, tag: u64) -> bool {
        self.0.is_of(key, tag)
    }

    /// Its key; none where another process has left something there that is none.
    pub fn key(&self) -> Option<String> {
        let words = self.0.0;
        let len = words[KEY_LEN_WORD].load(Ordering::Relaxed);
        let len = usize::try_from(len).ok().filter(|len| (1..=KEY_BYTES_MAX).contains(len))?;
        let words = &words[KEY_WORD..][..len.div_ceil(WORD_BYTES)];
        let mut bytes: Vec<u8> =
            words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        bytes.truncate(len);
        String::from_utf8(bytes).ok()
    }
}

impl Drop for Cell<'_> {
    fn drop(&mut self) {
        self.0.state().fetch_add(LEAVE, Ordering::SeqCst);
    }
}

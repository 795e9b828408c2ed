//! A file mapped into memory as a slice of atomic words: the host's only access to raw memory.

#![allow(unsafe_code, reason = "turning a mapping into a slice can't be done without")]

use std::{fs::File, io, ops::Deref, sync::atomic::AtomicU64};

use memmap2::{MmapOptions, MmapRaw};

use super::faults::Guarded;

/// Bytes in a word.
pub const WORD_BYTES: usize = size_of::<AtomicU64>();

/// Words of a file that any number of processes have mapped at the same time.
pub struct MappedWords {
    /// Dropped before the mapping.
    guarded: Guarded,
    map: MmapRaw,
    len: usize,
}

impl MappedWords {
    /// Maps the first `len` words of `file`, which must be at least that long.
    ///
    /// # Errors
    ///
    /// When the file is shorter, or the operating system refuses the mapping.
    pub fn new(file: &File, len: usize) -> io::Result<Self> {
        let bytes = len * WORD_BYTES;
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is too short"));
        }
        let map = MmapOptions::new().len(bytes).map_raw(file)?;
        let guarded = Guarded::new(map.as_ptr().addr(), bytes)?;
        Ok(Self { guarded, map, len })
    }

    /// Whether the file was shortened meanwhile, and an access met that. The words are then zeros that nobody else sees.
    pub fn is_lost(&self) -> bool {
        self.guarded.is_lost()
    }
}

impl Deref for MappedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is `len` words long and lives as long as `self`; it begins on a page,
        // so it is aligned. Everyone in this process touches it through these atomics only, and any
        // bits are a valid `AtomicU64`, whatever another process writes. Where a process shortens
        // the file under us, `faults` puts other memory in its place.
        unsafe { std::slice::from_raw_parts(self.map.as_mut_ptr().cast::<AtomicU64>(), self.len) }
    }
}

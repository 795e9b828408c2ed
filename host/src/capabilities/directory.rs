//! Capability `files`: the directory that is lent, and whether there is room in it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::{
    fs::{FallocateFlags, Mode, OFlags, StatVfsMountFlags},
    io::Errno,
};

use super::os_error::words;

/// What a look at the room takes for a moment, in bytes: a block of most file systems.
const ROOM_BYTES: u64 = 4096;

/// How long one look at the room is good for: less than the second between two looks of the host itself.
const ROOM_LOOK_AGE_MAX: Duration = Duration::from_millis(500);

/// How long one that was made to explain why a call failed is good for the next, where it has found room.
const EXPLAINING_LOOK_AGE_MAX: Duration = Duration::from_millis(50);

/// A directory that is made, if it is missing, when the first instance needs it, and never again: one that goes away later
/// has taken its files along, and these must not be taken for new ones.
pub struct LazyDirectory {
    path: PathBuf,
    is_found: Mutex<bool>,
    room: Mutex<Option<Look>>,
}

/// What a look at the room has found.
#[derive(Clone, Copy)]
struct Look {
    made: Instant,
    outcome: Result<(), Errno>,
    /// Whether it was made because a call failed.
    explains: bool,
}

impl LazyDirectory {
    /// The directory at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, is_found: Mutex::default(), room: Mutex::default() }
    }

    /// Where it is; it exists, or has existed.
    ///
    /// # Errors
    ///
    /// When it is missing and can't be made.
    pub fn get(&self) -> anyhow::Result<&Path> {
        let mut is_found = self.is_found.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_found {
            make(&self.path).with_context(|| {
                format!("can't make the directory {}; change --storage-path", self.path.display())
            })?;
            *is_found = true;
        }
        Ok(&self.path)
    }

    /// Whether a new file could be written at the last look, which is made again after `ROOM_LOOK_AGE_MAX`. This may
    /// wait for the disk.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check_room(&self) -> Result<(), String> {
        let looked = self.room(false, |look| look.made.elapsed() < ROOM_LOOK_AGE_MAX);
        looked.map_err(|errno| {
            format!("no new file can be written in {}: {}", self.path.display(), words(errno))
        })
    }

    /// As [`Self::check_room`], for calls that failed. Room that was there before is no explanation, but many calls may
    /// fail for another reason, and do not each look.
    ///
    /// # Errors
    ///
    /// Why no new file can be written.
    pub fn why_no_room(&self) -> Result<(), Errno> {
        self.room(true, |look| match look.outcome {
            Err(_) => look.made.elapsed() < ROOM_LOOK_AGE_MAX,
            Ok(()) => look.explains && look.made.elapsed() < EXPLAINING_LOOK_AGE_MAX,
        })
    }

    /// What the last look has found, if it is good enough, or else a new one.
    fn room(&self, explains: bool, is_good: impl Fn(&Look) -> bool) -> Result<(), Errno> {
        // Who comes while a look is under way, perhaps at a disk that hangs, does not wait for it.
        let mut room = match self.room.try_lock() {
            Ok(room) => room,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let look = room.filter(is_good).unwrap_or_else(|| Look {
            made: Instant::now(),
            outcome: self.look_for_room(),
            explains,
        });
        *room = Some(look);
        look.outcome
    }

    /// Whether a new file can be written now. This may wait for the disk.
    ///
    /// A file without a name is given a block. That also meets quotas, limits of the process and whatever else the numbers of
    /// `statvfs` do not tell; those decide where the file system has no such files.
    ///
    /// # Errors
    ///
    /// Why not.
    fn look_for_room(&self) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::TMPFILE;
        let tried = rustix::fs::open(&self.path, flags, Mode::RUSR | Mode::WUSR)
            .and_then(|file| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, ROOM_BYTES));
        match tried {
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => self.numbers_of_room(),
            tried => tried,
        }
    }

    fn numbers_of_room(&self) -> Result<(), Errno> {
        let numbers = rustix::fs::statvfs(&self.path)?;
        if numbers.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(Errno::ROFS);
        }
        // Some file systems do not count files.
        let has_files = numbers.f_files == 0 || 0 < numbers.f_favail;
        if 0 < numbers.f_bavail && has_files { Ok(()) } else { Err(Errno::NOSPC) }
    }
}

/// Makes what is missing on the way to `path` and flushes it, so that no loss of power takes the files in it along.
fn make(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.is_dir();
    let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            // Another host was faster.
            Err(_) if folder.is_dir() => {}
            made => made?,
        }
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_once_with_all_on_the_way_to_it() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let directory = LazyDirectory::new(path.clone());
        assert_eq!(directory.get().unwrap(), path);
        assert!(path.is_dir());
        fs::remove_dir(&path).unwrap();
        assert_eq!(directory.get().unwrap(), path);
        assert!(!path.exists(), "it was made again");
    }

    #[test]
    fn there_is_room_where_a_file_can_be_written_and_nothing_is_left_of_the_look() {
        let dir = tempfile::tempdir().unwrap();
        let directory = LazyDirectory::new(dir.path().to_path_buf());
        let looked = Instant::now();
        assert_eq!(directory.check_room(), Ok(()));
        assert_eq!(directory.numbers_of_room(), Ok(()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        drop(dir);
        assert_eq!(directory.look_for_room(), Err(Errno::NOENT));
        let room = directory.check_room();
        assert!(
            room.is_ok() || ROOM_LOOK_AGE_MAX <= looked.elapsed(),
            "a look is good for some time"
        );
    }

    #[test]
    fn why_there_is_no_room_is_said_in_words() {
        let directory = LazyDirectory::new("/proc/self".into());
        let why = directory.check_room().unwrap_err();
        assert!(why.starts_with("no new file can be written in /proc/self: "), "{why}");
        for (errno, expected) in [
            (Errno::NOSPC, "the disk is full (ENOSPC)"),
            (Errno::DQUOT, "the disk quota is used up (EDQUOT)"),
            (Errno::ROFS, "the file system is read-only (EROFS)"),
            (Errno::MFILE, "the process has too many open files (EMFILE)"),
            (Errno::NFILE, "the machine has too many open files (ENFILE)"),
        ] {
            assert_eq!(words(errno), expected);
        }
    }

    #[test]
    fn a_directory_that_can_not_be_made_is_named_with_the_setting() {
        let why = format!("{:#}", LazyDirectory::new("/dev/null/a".into()).get().unwrap_err());
        assert!(why.contains("/dev/null/a") && why.contains("--storage-path"), "{why}");
    }
}

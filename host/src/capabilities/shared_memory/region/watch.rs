//! Whether the file at a region's path is still the one that is mapped, and nobody else's.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    io::Errno,
    time::{ClockId, clock_gettime},
};

use super::{FIXED_WORDS, WORD_BYTES};
use crate::capabilities::{os_error::words, ownership};

/// How long the file counts as unchanged after a look at it, in milliseconds, to which a tick of the kernel's coarse clock
/// comes (1 to 10 ms). What is counted in a file after its removal is counted within that time.
const LOOK_MS: u64 = 10;

/// The regions that this process has mapped, by the absolute paths of their files.
static WATCHED: Mutex<Vec<(PathBuf, Weak<Watch>)>> = Mutex::new(Vec::new());

/// Regions that were lost under this process: one of the same name is not opened by it again, because it would begin at 0
/// and hide the loss.
static LOST: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What to do about a loss.
const RESTART: &str = "see what became of it, and restart the hosts that share it";
/// What to do where a damaged file is left.
const RESTORE: &str = "stop whoever uses it, remove it, which gives up what is left of them, or restore it, and restart the hosts that \
                       share it";

type Header = [u8; FIXED_WORDS * WORD_BYTES];

/// The file of a region, as it was when it was mapped.
pub struct Watch {
    path: PathBuf,
    file: File,
    device_and_inode: (u64, u64),
    bytes: u64,
    /// The part of its header that never changes.
    header: Header,
    looked_at_ms: AtomicU64,
    lost: OnceLock<String>,
}

impl Watch {
    /// Watches `file`, which is or will be at `path` and has at least `bytes`.
    ///
    /// # Errors
    ///
    /// When it can't be read.
    pub fn new(path: &Path, file: File, bytes: u64) -> io::Result<Arc<Self>> {
        let stat = rustix::fs::fstat(&file)?;
        Ok(Arc::new(Self {
            path: path.to_path_buf(),
            header: header(&file)?,
            file,
            device_and_inode: (stat.st_dev, stat.st_ino),
            bytes,
            looked_at_ms: AtomicU64::new(0),
            lost: OnceLock::new(),
        }))
    }

    /// The file, held open for its lock.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Has [`was_lost`] look at this one too; to be called when the file has its name.
    pub fn register(self: &Arc<Self>) {
        let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|(_, watch)| 0 < watch.strong_count());
        watched.push((absolute(&self.path), Arc::downgrade(self)));
    }

    /// Whether the file was the same at the last look, which is made again if it was more than [`LOOK_MS`] ago.
    ///
    /// # Errors
    ///
    /// What became of it. From then on that is the answer.
    pub fn check(&self) -> Result<(), String> {
        if let Some(why) = self.lost.get() {
            return Err(why.clone());
        }
        let now = now_ms();
        if now.saturating_sub(self.looked_at_ms.load(Ordering::Relaxed)) < LOOK_MS {
            return Ok(());
        }
        self.look()?;
        self.looked_at_ms.store(now, Ordering::Relaxed);
        Ok(())
    }

    /// Says why an access to the mapped file failed.
    pub fn faulted(&self) -> String {
        self.look().err().unwrap_or_else(|| {
            self.lose(
                "could not be read or written, as where memory or the disk is full or fails",
                &format!("mend that; then {RESTART}"),
            )
        })
    }

    #[cold]
    fn look(&self) -> Result<(), String> {
        let stat = match rustix::fs::lstat(&self.path) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                let what =
                    "was removed while it was used, and hosts that share it may have counted apart";
                return Err(self.lose(what, RESTART));
            }
            // It may be the same, so this is no loss, and looked at again.
            Err(errno) => {
                return Err(self.not_seen(&words(errno)));
            }
        };
        if (stat.st_dev, stat.st_ino) != self.device_and_inode {
            let what =
                "was replaced while it was used, and hosts that share it may have counted apart";
            return Err(self.lose(what, RESTART));
        }
        if u64::try_from(stat.st_size).is_ok_and(|bytes| bytes < self.bytes) {
            let what = "was truncated while it was used, and its counts are lost or incomplete";
            return Err(self.lose(what, RESTORE));
        }
        ownership::check(&stat).map_err(|why| {
            let what = "is no longer its owner's alone, and its counts may have been changed: ";
            self.lose(&format!("{what}{why}"), RESTART)
        })?;
        let header = header(&self.file).map_err(|error| self.not_seen(&error.to_string()))?;
        if header != self.header {
            let what = "was overwritten while it was used, and its counts are lost or others";
            return Err(self.lose(what, RESTORE));
        }
        Ok(())
    }

    fn not_seen(&self, why: &str) -> String {
        format!("can't look at the shared-memory region {}: {why}", self.path.display())
    }

    fn lose(&self, what: &str, what_to_do: &str) -> String {
        let why = self.lost.get_or_init(|| {
            LOST.lock().unwrap_or_else(PoisonError::into_inner).push(absolute(&self.path));
            format!("the shared-memory region {} {what}; {what_to_do}", self.path.display())
        });
        why.clone()
    }
}

/// Whether a region at `path` was lost under this process, also if nobody has used it since.
pub fn was_lost(path: &Path) -> bool {
    let path = absolute(path);
    let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // Only those are kept alive for the look that it is about.
    let same = watched.iter().filter(|(watched, _)| *watched == path);
    let same = same.filter_map(|(_, watch)| watch.upgrade());
    // What is found is noted below.
    same.for_each(|watch| drop(watch.look()));
    LOST.lock().unwrap_or_else(PoisonError::into_inner).contains(&path)
}

fn header(file: &File) -> io::Result<Header> {
    let mut header = [0; FIXED_WORDS * WORD_BYTES];
    file.read_exact_at(&mut header, 0)?;
    Ok(header)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// The time since some moment, by the clock that takes the fewest nanoseconds to read.
fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    // Neither is ever negative.
    now.tv_sec.cast_unsigned() * 1_000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

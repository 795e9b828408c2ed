//! Whether the file at a region's path is still the one that is mapped, and nobody else's.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::{
    fs::Stat,
    io::Errno,
    time::{ClockId, clock_gettime},
};

use crate::capabilities::{os_error::words, ownership};

/// How long the file counts as unchanged after a look at it, in milliseconds, to which a tick of the kernel's coarse clock
/// comes (1 to 10 ms). What is counted in a file after its removal is counted within that time.
const LOOK_MS: u64 = 10;

/// The regions that this process has mapped.
static WATCHED: Mutex<Vec<Weak<Watch>>> = Mutex::new(Vec::new());

/// Regions that were lost under this process: one of the same name is not opened by it again, because it would begin at 0
/// and hide the loss.
static LOST: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What to do about a loss.
const RESTART: &str = "see what became of it, and restart the hosts that share it";

/// The file of a region, as it was when it was mapped.
pub struct Watch {
    path: PathBuf,
    device_and_inode: (u64, u64),
    bytes: u64,
    looked_at_ms: AtomicU64,
    lost: OnceLock<String>,
}

impl Watch {
    /// Watches the file at `path`, which is `file` and has at least `bytes`.
    pub fn new(path: &Path, file: &Stat, bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_path_buf(),
            device_and_inode: (file.st_dev, file.st_ino),
            bytes,
            looked_at_ms: AtomicU64::new(0),
            lost: OnceLock::new(),
        })
    }

    /// Has [`was_lost`] look at this one too; to be called when the file has its name.
    pub fn register(self: &Arc<Self>) {
        let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|watch| 0 < watch.strong_count());
        watched.push(Arc::downgrade(self));
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

    /// Says that the file was truncated.
    pub fn truncated(&self) -> String {
        self.lose(
            "was truncated while it was used, and its counts are lost or incomplete",
            &format!(
                "remove it, which gives up what is left of them, or restore it; then {RESTART}"
            ),
        )
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
                return Err(format!(
                    "can't look at the shared-memory region {}: {}",
                    self.path.display(),
                    words(errno)
                ));
            }
        };
        if (stat.st_dev, stat.st_ino) != self.device_and_inode {
            let what =
                "was replaced while it was used, and hosts that share it may have counted apart";
            return Err(self.lose(what, RESTART));
        }
        if u64::try_from(stat.st_size).is_ok_and(|bytes| bytes < self.bytes) {
            return Err(self.truncated());
        }
        ownership::check(&stat).map_err(|why| {
            let what = "is no longer its owner's alone, and its counts may have been changed: ";
            self.lose(&format!("{what}{why}"), RESTART)
        })
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
    let same =
        watched.iter().filter_map(Weak::upgrade).filter(|watch| absolute(&watch.path) == path);
    // What is found is noted below.
    same.for_each(|watch| drop(watch.look()));
    LOST.lock().unwrap_or_else(PoisonError::into_inner).contains(&path)
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

//! Named locks on files, for the calls of one process and for several processes.
//!
//! Within the process a fair queue decides who is next, so that waiting costs nothing and nobody
//! starves. Only the head of the queue competes with other processes for the file's lock; where
//! that has to wait, a thread of its own waits in the kernel, so that no event loop is blocked.
//! Such a thread stays until the others let go, also when its caller no longer waits and has left the queue. The event loops
//! have few threads for all that blocks, so one waits for a lock at a time, whoever wants it.
//!
//! A name, its queue and what is known of its file last as long as somebody has the lock open, so they end with the last
//! instance of a generation.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};

use rustix::{fs::FlockOperation, io::Errno};
use tokio::{
    sync::{
        Mutex as AsyncMutex, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock,
    },
    task::{self, JoinHandle},
    time::{Instant, timeout_at},
};

use crate::{
    capabilities::{os_error::words, ownership},
    regular_file,
};

/// The longest lock name, in characters.
pub const NAME_CHARS_MAX: usize = 64;

/// The most locks that are open at a time in one scope; a plugin needs one or two.
const NAMES_MAX: usize = 64;

/// The name of the lock on the file of a scope that has one.
pub const FILE_LOCK: &str = "file";

/// How often a lock is taken again because its file was removed or replaced while it was taken.
const REPLACED_MAX: u32 = 16;

/// How a lock is held.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// Together with other shared holders.
    Shared,
    /// By one holder only.
    Exclusive,
}

/// Why a lock is not held.
#[derive(Debug)]
pub enum LockError {
    /// Others held it for the whole of the wait.
    TimedOut,
    /// The name is not 1 to 64 characters out of `a-z A-Z 0-9 _ -`.
    InvalidName,
    /// The lock is on the scope's file, which does not exist.
    NotFound,
    /// The lock file can't be opened or locked.
    Unavailable(String),
}

/// Where lock files are: `{directory}/{prefix}.{name}.lock`.
///
/// Whoever uses the same directory and prefix, in this process or another, shares the locks. The lock called
/// [`FILE_LOCK`] is on the scope's own file, if it has one, and is shared with whoever locks that.
pub struct LockScope {
    directory: PathBuf,
    prefix: String,
    file: Option<PathBuf>,
    queues: Mutex<HashMap<String, Weak<Queue>>>,
}

/// For each lock file, what is held for the one thread of this process that may wait for it in the kernel.
static WAITERS: Mutex<BTreeMap<PathBuf, Weak<AsyncMutex<()>>>> = Mutex::new(BTreeMap::new());

/// Those in this process who want one lock, for as long as one of them has it open.
struct Queue {
    /// Who competes for the file; several at once when they share it.
    turns: Arc<RwLock<()>>,
    /// Held for the one thread that may wait in the kernel, also for other scopes. Taken after a turn.
    thread: Arc<AsyncMutex<()>>,
    /// The lock file that was opened first, by device and inode. Another one in its place would not exclude those who
    /// have this one locked.
    lock_file: OnceLock<(u64, u64)>,
}

impl Queue {
    /// An empty queue for the lock file at `path`.
    fn new(path: &Path) -> Self {
        let mut waiters = WAITERS.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.retain(|_, waiter| waiter.strong_count() > 0);
        let known = waiters.get(path).and_then(Weak::upgrade);
        let thread = known.unwrap_or_else(|| {
            let thread = Arc::default();
            waiters.insert(path.to_path_buf(), Arc::downgrade(&thread));
            thread
        });
        Self { turns: Arc::default(), thread, lock_file: OnceLock::new() }
    }
}

impl LockScope {
    /// Locks in `directory`, which must exist by the time that the first one is opened.
    pub fn new(directory: PathBuf, prefix: String) -> Self {
        Self { directory, prefix, file: None, queues: Mutex::default() }
    }

    /// Locks beside the file called `name`, and one on the file itself.
    pub fn of_file(directory: PathBuf, name: String) -> Self {
        let file = Some(directory.join(&name));
        Self { file, ..Self::new(directory, name) }
    }

    /// Opens the lock called `name`, making its file where it does not exist; but not the scope's own file.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidName`] and [`LockError::Unavailable`].
    pub fn open(&self, name: &str) -> Result<Lock, LockError> {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(valid) {
            return Err(LockError::InvalidName);
        }
        let own = self.file.as_ref().filter(|_| name == FILE_LOCK);
        let is_made = own.is_none();
        let path = own
            .cloned()
            .unwrap_or_else(|| self.directory.join(format!("{}.{name}.lock", self.prefix)));
        let queue = self.queue(name, &path)?;
        let files = Arc::new(LockFiles { queue, path, is_made, spare: Mutex::default() });
        if is_made {
            files.put_back(files.open()?);
        }
        Ok(Lock { files })
    }

    /// The queue of the lock called `name`: the one that others have, or a new one.
    fn queue(&self, name: &str, path: &Path) -> Result<Arc<Queue>, LockError> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(name).and_then(Weak::upgrade) {
            return Ok(queue);
        }
        queues.retain(|_, queue| queue.strong_count() > 0);
        if queues.len() >= NAMES_MAX {
            return Err(LockError::Unavailable(format!(
                "the plugin has {NAMES_MAX} locks open, which is the most"
            )));
        }
        let queue = Arc::new(Queue::new(path));
        queues.insert(name.to_owned(), Arc::downgrade(&queue));
        Ok(queue)
    }
}

/// A named lock, free or held.
#[derive(Clone)]
pub struct Lock {
    files: Arc<LockFiles>,
}

impl Lock {
    /// Takes the lock if it is free; none if it is not.
    ///
    /// # Errors
    ///
    /// [`LockError::NotFound`] and [`LockError::Unavailable`].
    pub fn try_acquire(&self, mode: Mode) -> Result<Option<Guard>, LockError> {
        let Some(turn) = Turn::try_take(&self.files.queue, mode) else {
            return Ok(None);
        };
        Ok(self.files.try_lock(mode)?.map(|file| self.guard(file, Arc::new(turn))))
    }

    /// Takes the lock, waiting for up to `wait`.
    ///
    /// # Errors
    ///
    /// [`LockError::TimedOut`], [`LockError::NotFound`] and [`LockError::Unavailable`].
    pub async fn acquire(&self, mode: Mode, wait: Duration) -> Result<Guard, LockError> {
        let deadline = Instant::now() + wait;
        let queue = &self.files.queue;
        let turn = Arc::new(before(deadline, Turn::take(queue, mode)).await?);
        if let Some(file) = self.files.try_lock(mode)? {
            return Ok(self.guard(file, turn));
        }
        // Another process holds the file, or did until a moment ago.
        let thread = before(deadline, queue.thread.clone().lock_owned()).await?;
        if let Some(file) = self.files.try_lock(mode)? {
            return Ok(self.guard(file, turn));
        }
        let waiting = self.wait_in_kernel(mode, Arc::downgrade(&turn), thread);
        match before(deadline, waiting).await? {
            Ok(locked) => locked?.ok_or(LockError::TimedOut),
            Err(panic) => Err(LockError::Unavailable(panic.to_string())),
        }
    }

    /// Waits on a thread for as long as another process holds the file. That keeps the thread until then, but not the
    /// turn, which the caller takes along when it leaves; the lock then goes back at once.
    fn wait_in_kernel(
        &self,
        mode: Mode,
        turn: Weak<Turn>,
        thread: OwnedMutexGuard<()>,
    ) -> JoinHandle<Result<Option<Guard>, LockError>> {
        let this = self.clone();
        task::spawn_blocking(move || {
            let file = this.files.lock(mode)?;
            let guard = turn.upgrade().map(|turn| this.guard(file, turn));
            // Others who share the lock need not wait until it is free again.
            drop(thread);
            Ok(guard)
        })
    }

    fn guard(&self, file: LockFile, turn: Arc<Turn>) -> Guard {
        Guard { file: Some(file), files: self.files.clone(), _turn: turn }
    }
}

/// What `waited_for` brings, if it does so before the deadline.
async fn before<F: Future>(deadline: Instant, waited_for: F) -> Result<F::Output, LockError> {
    timeout_at(deadline, waited_for).await.map_err(|_| LockError::TimedOut)
}

/// A lock that is held. Dropping it releases the lock.
pub struct Guard {
    file: Option<LockFile>,
    files: Arc<LockFiles>,
    /// Given up after the file's lock, so that the next in the queue finds that free.
    _turn: Arc<Turn>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if rustix::fs::flock(&file.file, FlockOperation::Unlock).is_ok() {
            self.files.put_back(file);
        }
        // A file that can't be unlocked is closed here, which releases the lock too.
    }
}

/// The head of the queue within this process.
enum Turn {
    Shared { _permit: OwnedRwLockReadGuard<()> },
    Exclusive { _permit: OwnedRwLockWriteGuard<()> },
}

impl Turn {
    async fn take(queue: &Queue, mode: Mode) -> Self {
        match mode {
            Mode::Shared => Self::Shared { _permit: queue.turns.clone().read_owned().await },
            Mode::Exclusive => Self::Exclusive { _permit: queue.turns.clone().write_owned().await },
        }
    }

    fn try_take(queue: &Queue, mode: Mode) -> Option<Self> {
        Some(match mode {
            Mode::Shared => Self::Shared { _permit: queue.turns.clone().try_read_owned().ok()? },
            Mode::Exclusive => {
                Self::Exclusive { _permit: queue.turns.clone().try_write_owned().ok()? }
            }
        })
    }
}

/// An open file, and by what its identity is known.
struct LockFile {
    file: File,
    device_and_inode: (u64, u64),
}

/// Open files of one lock. Each holder needs one of its own, because a lock belongs to an open file;
/// one is kept between holders, because opening costs several times what locking does.
struct LockFiles {
    queue: Arc<Queue>,
    path: PathBuf,
    /// Whether the file is a lock file, which is made where it does not exist, and not the scope's own.
    is_made: bool,
    spare: Mutex<Option<LockFile>>,
}

impl LockFiles {
    /// Locks a file without waiting; none when another process holds it.
    fn try_lock(&self, mode: Mode) -> Result<Option<LockFile>, LockError> {
        self.lock_with(match mode {
            Mode::Shared => FlockOperation::NonBlockingLockShared,
            Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        })
    }

    /// Locks a file, blocking this thread for as long as another process holds it.
    fn lock(&self, mode: Mode) -> Result<LockFile, LockError> {
        let locked = self.lock_with(match mode {
            Mode::Shared => FlockOperation::LockShared,
            Mode::Exclusive => FlockOperation::LockExclusive,
        })?;
        locked.ok_or_else(|| self.unavailable("lock", Errno::WOULDBLOCK))
    }

    /// A file that was removed or replaced excludes nobody: who comes next locks the one that is there. A lock file that
    /// is another than before is refused instead.
    fn lock_with(&self, operation: FlockOperation) -> Result<Option<LockFile>, LockError> {
        for _ in 0..REPLACED_MAX {
            let spare = self.spare().take();
            let file = spare.map_or_else(|| self.open(), Ok)?;
            let locked = loop {
                match rustix::fs::flock(&file.file, operation) {
                    Err(Errno::INTR) => {}
                    outcome => break outcome,
                }
            };
            match locked {
                Ok(()) if self.is_there(&file)? => return Ok(Some(file)),
                Err(Errno::WOULDBLOCK) if self.is_there(&file)? => {
                    self.put_back(file);
                    return Ok(None);
                }
                Ok(()) | Err(Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(self.unavailable("lock", errno)),
            }
        }
        let path = self.path.display();
        Err(LockError::Unavailable(format!(
            "{path} is replaced again and again, so it can't be locked"
        )))
    }

    /// Whether the path leads to this file.
    fn is_there(&self, file: &LockFile) -> Result<bool, LockError> {
        match rustix::fs::lstat(&self.path) {
            Ok(stat) => Ok((stat.st_dev, stat.st_ino) == file.device_and_inode),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.unavailable("look at", errno)),
        }
    }

    fn open(&self) -> Result<LockFile, LockError> {
        let known = self.queue.lock_file.get();
        let file = match regular_file::open(
            &self.path,
            File::options()
                .read(true)
                .write(true)
                .create(self.is_made && known.is_none())
                .truncate(false)
                .mode(0o600),
        ) {
            Ok(file) => file,
            Err(error) => return Err(self.not_opened(&error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| self.unavailable("look at", errno))?;
        let device_and_inode = (stat.st_dev, stat.st_ino);
        if self.is_made {
            ownership::check(&stat).map_err(|why| self.unusable(&why))?;
            if *self.queue.lock_file.get_or_init(|| device_and_inode) != device_and_inode {
                return Err(self.replaced());
            }
        }
        Ok(LockFile { file, device_and_inode })
    }

    fn not_opened(&self, error: &io::Error) -> LockError {
        match Errno::from_io_error(error) {
            Some(Errno::NOENT) if self.queue.lock_file.get().is_some() => self.replaced(),
            Some(Errno::NOENT) if !self.is_made => LockError::NotFound,
            Some(errno) => self.unavailable("open", errno),
            None => self.unusable(&error.to_string()),
        }
    }

    /// Those who have the old file locked, and those who would lock the new one, would not exclude each other.
    fn replaced(&self) -> LockError {
        LockError::Unavailable(format!(
            "the lock file {} was deleted or replaced while it was used, so hosts that share it may have counted apart: \
             restart them",
            self.path.display()
        ))
    }

    fn unusable(&self, why: &str) -> LockError {
        LockError::Unavailable(format!("can't lock the file {}: {why}", self.path.display()))
    }

    fn put_back(&self, file: LockFile) {
        *self.spare() = Some(file);
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Option<LockFile>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unavailable(&self, action: &str, errno: Errno) -> LockError {
        let (path, why) = (self.path.display(), words(errno));
        LockError::Unavailable(format!("can't {action} the file {path}: {why}"))
    }
}

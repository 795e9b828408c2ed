//! What a lock promises. Two scopes on one directory stand for two processes: they share nothing
//! but the files.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::fs::{CWD, FlockOperation, Mode as RawMode, mkfifoat};
use tokio::{
    runtime::Builder,
    task::{JoinSet, spawn_blocking},
    time::timeout,
};

use super::{FILE_LOCK, Lock, LockError, LockScope, Mode, flock::Guard};

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(20);

fn scopes() -> (tempfile::TempDir, LockScope, LockScope) {
    let dir = tempfile::tempdir().unwrap();
    let scope = || LockScope::new(dir.path().to_path_buf(), "test".into());
    let (first, second) = (scope(), scope());
    (dir, first, second)
}

#[tokio::test]
async fn an_exclusive_holder_keeps_everybody_out_until_it_lets_go() {
    let (_dir, first, second) = scopes();
    let guard = first.open("a").unwrap().acquire(Mode::Exclusive, LONG).await.unwrap();
    for scope in [&first, &second] {
        for mode in [Mode::Shared, Mode::Exclusive] {
            let lock = scope.open("a").unwrap();
            assert!(lock.try_acquire(mode).unwrap().is_none());
        }
    }
    let waited = first.open("a").unwrap().acquire(Mode::Exclusive, SHORT).await;
    assert!(matches!(waited, Err(LockError::TimedOut)));
    assert!(
        second.open("b").unwrap().try_acquire(Mode::Exclusive).unwrap().is_some(),
        "another name"
    );
    drop(guard);
    assert!(second.open("a").unwrap().try_acquire(Mode::Exclusive).unwrap().is_some());
}

#[tokio::test]
async fn shared_holders_keep_out_only_exclusive_ones() {
    let (_dir, first, second) = scopes();
    let lock = first.open("a").unwrap();
    let one = lock.try_acquire(Mode::Shared).unwrap().unwrap();
    let two = lock.try_acquire(Mode::Shared).unwrap().unwrap();
    let three = second.open("a").unwrap().try_acquire(Mode::Shared).unwrap().unwrap();
    drop((one, three));
    let other = second.open("a").unwrap();
    assert!(other.try_acquire(Mode::Exclusive).unwrap().is_none(), "one shared holder is left");
    drop(two);
    assert!(other.try_acquire(Mode::Exclusive).unwrap().is_some());
}

#[tokio::test]
async fn a_waiter_gets_the_lock_when_another_process_lets_go() {
    let (_dir, first, second) = scopes();
    let guard = first.open("a").unwrap().try_acquire(Mode::Exclusive).unwrap();
    let lock = second.open("a").unwrap();
    let mut waiting = Box::pin(lock.acquire(Mode::Exclusive, LONG));
    let too_early = timeout(SHORT, waiting.as_mut()).await;
    assert!(too_early.is_err(), "the lock was taken while it was held");
    drop(guard);
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn a_waiter_that_gave_up_does_not_keep_the_lock() {
    let (_dir, first, second) = scopes();
    let guard = first.open("a").unwrap().try_acquire(Mode::Exclusive).unwrap();
    let lock = second.open("a").unwrap();
    assert!(matches!(lock.acquire(Mode::Exclusive, SHORT).await, Err(LockError::TimedOut)));
    drop(guard);
    assert!(lock.acquire(Mode::Exclusive, LONG).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_with_many_callers_each_exclude_one_another_and_all_get_their_turn() {
    let (_dir, first, second) = scopes();
    let inside = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for idx in 0..16 {
        let lock = if idx % 2 == 0 { &first } else { &second }.open("a").unwrap();
        let inside = inside.clone();
        callers.spawn(async move {
            for _ in 0..50 {
                let guard = lock.acquire(Mode::Exclusive, LONG).await.unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two are inside");
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(guard);
            }
        });
    }
    callers.join_all().await;
}

#[tokio::test]
async fn a_lock_whose_file_was_deleted_or_replaced_is_refused_until_nobody_has_it_open() {
    for is_replaced in [false, true] {
        let (dir, first, second) = scopes();
        let path = dir.path().join("test.a.lock");
        let locks = [&first, &second].map(|scope| scope.open("a").unwrap());
        drop(locks[1].try_acquire(Mode::Exclusive).unwrap().unwrap());
        let held = locks[0].try_acquire(Mode::Exclusive).unwrap().unwrap();
        let keep = fs::File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        if is_replaced {
            fs::write(&path, "").unwrap();
        }
        for scope in [&first, &second] {
            check_replaced(scope.open("a").map(drop));
        }
        check_replaced(locks[1].try_acquire(Mode::Shared).map(drop));
        check_replaced(locks[1].acquire(Mode::Exclusive, LONG).await.map(drop));
        drop(held);
        check_replaced(locks[0].try_acquire(Mode::Exclusive).map(drop));
        assert_eq!(path.exists(), is_replaced, "it was made again");
        // The next generation, when that before has ended.
        drop((locks, keep));
        let lock = first.open("a").unwrap();
        let _held = lock.try_acquire(Mode::Exclusive).unwrap().unwrap();
        assert!(second.open("a").unwrap().try_acquire(Mode::Exclusive).unwrap().is_none());
    }
}

fn check_replaced(outcome: Result<(), LockError>) {
    let Err(LockError::Unavailable(why)) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("test.a.lock was deleted or replaced while it was used"), "{why}");
}

#[test]
fn a_lock_file_that_others_prepared_is_refused() {
    type Prepare = fn(&Path);
    let prepared: [(Prepare, &str); 4] = [
        (|path| chown(path, Some(65_534), None).unwrap(), "it belongs to user 65534"),
        (
            |path| fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap(),
            "its mode is 0666",
        ),
        (
            |path| {
                fs::remove_file(path).unwrap();
                mkfifoat(CWD, path, RawMode::RUSR | RawMode::WUSR).unwrap();
            },
            "a named pipe",
        ),
        (
            |path| {
                fs::remove_file(path).unwrap();
                symlink("elsewhere", path).unwrap();
            },
            "a symbolic link",
        ),
    ];
    for (prepare, expected) in prepared {
        let (dir, scope, _) = scopes();
        let path = dir.path().join("test.a.lock");
        fs::write(&path, "").unwrap();
        prepare(&path);
        let Err(LockError::Unavailable(why)) = scope.open("a") else { panic!("it was opened") };
        assert!(why.contains(expected) && why.contains("test.a.lock"), "{why}");
    }
}

/// A scope with a file of its own, and the path of that.
fn scope_of_file() -> (tempfile::TempDir, LockScope, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let scope = LockScope::of_file(dir.path().to_path_buf(), "count.txt".into());
    let path = dir.path().join("count.txt");
    (dir, scope, path)
}

/// Locks a file as any other program does that knows nothing of scopes.
fn flock(path: &Path) -> Option<fs::File> {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok().map(|()| file)
}

#[tokio::test]
async fn the_lock_on_a_scopes_file_and_that_of_other_programs_exclude_one_another() {
    let (dir, scope, path) = scope_of_file();
    fs::write(&path, "1").unwrap();
    let lock = scope.open(FILE_LOCK).unwrap();
    let guard = lock.try_acquire(Mode::Exclusive).unwrap();
    assert!(guard.is_some() && flock(&path).is_none());
    drop(guard);
    let other = flock(&path).unwrap();
    assert!(lock.try_acquire(Mode::Exclusive).unwrap().is_none());
    assert!(matches!(lock.acquire(Mode::Shared, SHORT).await, Err(LockError::TimedOut)));
    assert!(scope.open("counter").unwrap().try_acquire(Mode::Exclusive).unwrap().is_some());
    drop(other);
    assert!(lock.acquire(Mode::Exclusive, LONG).await.is_ok());
    assert_eq!(fs::read_to_string(path).unwrap(), "1");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "the file, and that of \"counter\"");
}

#[tokio::test]
async fn a_scopes_file_is_not_made_by_locking_it() {
    let (_dir, scope, path) = scope_of_file();
    let lock = scope.open(FILE_LOCK).unwrap();
    assert!(matches!(lock.try_acquire(Mode::Shared), Err(LockError::NotFound)));
    assert!(matches!(lock.acquire(Mode::Exclusive, LONG).await, Err(LockError::NotFound)));
    assert!(!path.exists());
    fs::write(&path, "1").unwrap();
    drop(lock.try_acquire(Mode::Exclusive).unwrap().unwrap());
    fs::remove_file(&path).unwrap();
    assert!(matches!(lock.try_acquire(Mode::Exclusive), Err(LockError::NotFound)));
}

#[tokio::test]
async fn whoever_waited_for_a_file_that_was_replaced_locks_the_one_in_its_place() {
    let (dir, scope, path) = scope_of_file();
    fs::write(&path, "1").unwrap();
    let lock = scope.open(FILE_LOCK).unwrap();
    let old = flock(&path).unwrap();
    let mut waiting = Box::pin(lock.acquire(Mode::Exclusive, LONG));
    assert!(timeout(SHORT, waiting.as_mut()).await.is_err(), "it was taken while it was held");
    let new = dir.path().join("new");
    fs::write(&new, "2").unwrap();
    fs::rename(&new, &path).unwrap();
    drop(old);
    let _guard = waiting.await.unwrap();
    assert!(flock(&path).is_none(), "the new file is not locked");
}

#[tokio::test]
async fn nobody_waits_for_the_lock_of_a_file_that_is_no_longer_there() {
    let (_dir, scope, path) = scope_of_file();
    fs::write(&path, "1").unwrap();
    let lock = scope.open(FILE_LOCK).unwrap();
    drop(lock.try_acquire(Mode::Exclusive).unwrap());
    let _old = flock(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "2").unwrap();
    assert!(lock.try_acquire(Mode::Exclusive).unwrap().is_some());
}

/// Asks for a lock `CALLERS` times at once and waits until all have an answer.
async fn ask_at_once(lock: &Lock, mode: Mode, wait: Duration) -> Vec<Result<Guard, LockError>> {
    const CALLERS: usize = 16;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let lock = lock.clone();
        callers.spawn(async move { lock.acquire(mode, wait).await });
    }
    callers.join_all().await
}

#[test]
fn callers_that_gave_up_leave_a_thread_to_others_and_the_lock_when_it_is_free() {
    let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    runtime.unwrap().block_on(async {
        for mode in [Mode::Shared, Mode::Exclusive] {
            let (_dir, scope, path) = scope_of_file();
            fs::write(&path, "1").unwrap();
            let lock = scope.open(FILE_LOCK).unwrap();
            let other = flock(&path).unwrap();
            for outcome in ask_at_once(&lock, mode, SHORT).await {
                assert!(matches!(outcome, Err(LockError::TimedOut)), "{mode:?}");
            }
            let ran = timeout(LONG, spawn_blocking(|| ())).await;
            assert!(ran.is_ok(), "every thread waits for the lock: {mode:?}");
            drop(other);
            for mode in [Mode::Shared, Mode::Exclusive] {
                assert!(lock.acquire(mode, LONG).await.is_ok(), "{mode:?}");
            }
        }
    });
}

#[tokio::test]
async fn who_waits_behind_callers_that_gave_up_gets_the_lock_when_it_is_free() {
    for gave_up in [Mode::Shared, Mode::Exclusive] {
        for mode in [Mode::Shared, Mode::Exclusive] {
            let (_dir, first, second) = scopes();
            let guard = first.open("a").unwrap().try_acquire(Mode::Exclusive).unwrap();
            let lock = second.open("a").unwrap();
            ask_at_once(&lock, gave_up, SHORT).await;
            let mut waiting = Box::pin(lock.acquire(mode, LONG));
            assert!(timeout(SHORT, waiting.as_mut()).await.is_err(), "{gave_up:?}, {mode:?}");
            drop(guard);
            assert!(waiting.await.is_ok(), "{gave_up:?}, {mode:?}");
        }
    }
}

#[tokio::test]
async fn all_shared_callers_that_waited_for_another_process_hold_the_lock_together() {
    let (_dir, first, second) = scopes();
    let guard = first.open("a").unwrap().try_acquire(Mode::Exclusive).unwrap();
    let lock = second.open("a").unwrap();
    let mut waiting = Box::pin(ask_at_once(&lock, Mode::Shared, LONG));
    assert!(
        timeout(SHORT, waiting.as_mut()).await.is_err(),
        "the lock was taken while it was held"
    );
    drop(guard);
    assert!(waiting.await.iter().all(Result::is_ok));
}

#[test]
fn names_can_not_leave_the_directory_nor_grow_without_end() {
    let (_dir, scope, _) = scopes();
    for name in ["", "..", "a/b", "a.b", "é", &"x".repeat(65)] {
        assert!(matches!(scope.open(name), Err(LockError::InvalidName)), "{name}");
    }
    let mut open: Vec<Lock> = (0..64).map(|idx| scope.open(&idx.to_string()).unwrap()).collect();
    let Err(LockError::Unavailable(why)) = scope.open("one-more") else { panic!("it was opened") };
    assert!(why.contains("64 locks"), "{why}");
    assert!(scope.open("7").is_ok());
    // A name ends when nobody has it open.
    open.pop();
    assert!(scope.open("one-more").is_ok());
}

#[tokio::test]
async fn a_name_lasts_as_long_as_it_is_held() {
    let (_dir, scope, _) = scopes();
    let guard = scope.open("a").unwrap().try_acquire(Mode::Exclusive).unwrap();
    for idx in 0..100 {
        scope.open(&idx.to_string()).unwrap();
    }
    let lock = scope.open("a").unwrap();
    assert!(lock.try_acquire(Mode::Exclusive).unwrap().is_none());
    let mut waiting = Box::pin(lock.acquire(Mode::Exclusive, LONG));
    assert!(timeout(SHORT, waiting.as_mut()).await.is_err());
    drop(guard);
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn a_caller_that_gave_up_does_not_keep_readers_of_its_process_out() {
    let (_dir, first, second) = scopes();
    let _reader = first.open("a").unwrap().try_acquire(Mode::Shared).unwrap().unwrap();
    let lock = second.open("a").unwrap();
    assert!(matches!(lock.acquire(Mode::Exclusive, SHORT).await, Err(LockError::TimedOut)));
    assert!(lock.acquire(Mode::Shared, LONG).await.is_ok());
}

#[test]
fn a_lock_file_that_can_not_be_made_is_named() {
    let scope = LockScope::new("/nonexistent".into(), "test".into());
    let Err(LockError::Unavailable(why)) = scope.open("a") else { panic!("it was opened") };
    assert!(why.contains("/nonexistent/test.a.lock"), "{why}");
}

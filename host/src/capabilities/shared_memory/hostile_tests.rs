//! What a region does about others who prepare its file, or change it while it is used.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FallocateFlags, FileType, Mode};

use super::{CellError, Region};

const CAPACITY: u32 = 1_000;

/// Somebody else.
const NOBODY: u32 = 65_534;

fn region() -> (tempfile::TempDir, PathBuf, Region) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("region");
    let region = Region::open(&path, CAPACITY).unwrap();
    (dir, path, region)
}

fn refusal(path: &Path) -> String {
    let why = Region::open(path, CAPACITY).err().expect("it is refused").to_string();
    assert!(why.contains(path.to_str().unwrap()), "{why}");
    why
}

fn shorten(path: &Path, bytes: u64) {
    File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// The content of another region.
fn another() -> Vec<u8> {
    let (_dir, path, _region) = region();
    fs::read(path).unwrap()
}

/// Overwrites the beginning of what is there.
fn write(path: &Path, content: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all(content).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Waits until the region is refused; returns why.
fn why_unavailable(region: &Region) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match region.load("a") {
            Err(CellError::Unavailable(why)) => return why,
            other => assert!(Instant::now() < deadline, "{other:?}"),
        }
    }
}

#[test]
fn a_region_that_is_truncated_is_refused_from_then_on_and_others_go_on() {
    let (_beside_dir, _, beside) = region();
    type Step = fn(&Region) -> Result<(), CellError>;
    let steps: [(Step, bool); 6] = [
        (|region| region.load("a").map(drop), false),
        (|region| region.list(0, 9).map(drop), false),
        (|region| region.store("a", 1), true),
        (|region| region.add("a", 1).map(drop), true),
        (|region| region.compare_exchange("a", 5, 6).map(drop), true),
        (|region| region.clear("a"), true),
    ];
    for (idx, (step, changes)) in steps.into_iter().enumerate() {
        for bytes in [0, 4096] {
            let (_dir, path, region) = region();
            region.store("a", 5).unwrap();
            shorten(&path, bytes);
            // At once, or when the file is looked at again.
            let error = loop {
                match step(&region) {
                    Ok(()) => assert!(0 < bytes, "{idx} met the end of the file"),
                    Err(error) => break error,
                }
            };
            let why = match &error {
                CellError::Unavailable(why) => why,
                CellError::OutcomeUnknown(why) if changes => why,
                error => panic!("{idx}: {error:?}"),
            };
            assert!(why.contains("truncated") && why.contains("/region"), "{why}");
            for (step, _) in steps {
                assert_eq!(step(&region), Err(CellError::Unavailable(why.clone())));
            }
            assert!(refusal(&path).contains("restart the hosts"));
            assert_eq!(fs::metadata(&path).unwrap().len(), bytes, "it is not made again");
        }
        beside.add("b", 1).unwrap();
    }
    assert_eq!(beside.load("b"), Ok(6));
}

#[test]
fn a_region_that_is_not_the_file_at_its_path_or_can_be_changed_by_others_is_refused() {
    type Change = fn(&Path);
    let changes: [(Change, &str); 8] = [
        (|path| fs::remove_file(path).unwrap(), "was removed"),
        (|path| fs::rename(path, path.with_extension("old")).unwrap(), "was removed"),
        (
            |path| {
                fs::copy(path, path.with_extension("new")).unwrap();
                fs::rename(path.with_extension("new"), path).unwrap();
            },
            "was replaced",
        ),
        (|path| shorten(path, 300_000), "was truncated"),
        (|path| write(path, &[0; 4096]), "was overwritten"),
        (|path| write(path, &another()), "was overwritten"),
        (|path| set_mode(path, 0o620), "its mode is 0620"),
        (|path| chown(path, Some(NOBODY), None).unwrap(), "it belongs to user 65534"),
    ];
    for (change, expected) in changes {
        let (_dir, path, region) = region();
        region.store("a", 5).unwrap();
        change(&path);
        let why = why_unavailable(&region);
        for part in [expected, path.to_str().unwrap(), "restart the hosts"] {
            assert!(why.contains(part), "no {part} in {why}");
        }
        // Also when all is as it was: what happened meanwhile is unknown.
        let _ = fs::rename(path.with_extension("old"), &path);
        for _ in 0..2 {
            assert_eq!(region.add("a", 1), Err(CellError::Unavailable(why.clone())));
            thread::sleep(Duration::from_millis(30));
        }
        assert!(refusal(&path).contains("it was lost while this host used it"));
    }
}

#[test]
fn a_region_that_is_removed_is_not_made_again_beside_one_that_nobody_has_used_since() {
    let (_dir, path, region) = region();
    fs::remove_file(&path).unwrap();
    assert!(refusal(&path).contains("it was lost while this host used it"));
    drop(region);
    refusal(&path);
    assert!(!path.exists());
}

#[test]
fn memory_is_set_aside_for_the_holes_of_a_region_that_was_copied() {
    let (_dir, path, region) = region();
    region.store("a", 5).unwrap();
    drop(region);
    let blocks = || fs::metadata(&path).unwrap().blocks();
    let whole = blocks();
    let file = File::options().write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, hole, len / 2, len / 2).unwrap();
    assert!(blocks() < whole);
    Region::open(&path, CAPACITY).unwrap();
    assert_eq!(blocks(), whole);
}

#[test]
fn a_file_that_was_prepared_by_others_or_damaged_is_refused_and_unchanged() {
    type Prepare = fn(&Path);
    let whole = |path: &Path| drop(Region::open(path, CAPACITY).unwrap());
    let prepared: [(Prepare, &str); 8] = [
        (
            |path| chown(path, Some(NOBODY), None).unwrap(),
            "belongs to user 65534, and this host runs as",
        ),
        (|path| set_mode(path, 0o666), "its mode is 0666"),
        (|path| set_mode(path, 0o620), "its mode is 0620"),
        (|path| set_mode(path, 0o602), "chmod 600 it"),
        (|path| shorten(path, 0), "it is empty"),
        (|path| shorten(path, 8), "too short"),
        (|path| shorten(path, 4096), "it was truncated"),
        (
            |path| {
                shorten(path, 0);
                shorten(path, 1 << 20);
            },
            "its first bytes are others",
        ),
    ];
    for (prepare, expected) in prepared {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("region");
        whole(&path);
        prepare(&path);
        let content = fs::read(&path).unwrap();
        let why = refusal(&path);
        assert!(why.contains(expected), "no {expected} in {why}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    type Make = fn(&Path);
    let kinds: [Make; 4] = [
        |path| rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| symlink("elsewhere", path).unwrap(),
        |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
    ];
    for make in kinds {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("region");
        make(&path);
        refusal(&path);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_directory_in_which_everybody_can_replace_files_is_refused() {
    for (mode, is_refused) in
        [(0o700, false), (0o1777, false), (0o770, false), (0o777, true), (0o702, true)]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("region");
        drop(Region::open(&path, CAPACITY).unwrap());
        set_mode(dir.path(), mode);
        match Region::open(&path, CAPACITY) {
            Ok(_) => assert!(!is_refused, "{mode:o}"),
            Err(why) => assert!(is_refused && why.to_string().contains("its directory"), "{why}"),
        }
    }
}

#[test]
fn a_region_is_whole_as_soon_as_it_has_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("region");
    let (is_done, seen) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::SeqCst) {
                let Ok(content) = fs::read(&path) else { continue };
                assert!(content.starts_with(b"TALLYRGN"), "{} bytes", content.len());
                seen.fetch_add(1, Ordering::SeqCst);
            }
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut rounds = 0;
        while rounds < 300 || seen.load(Ordering::SeqCst) == 0 {
            drop(Region::open(&path, CAPACITY).unwrap());
            fs::remove_file(&path).unwrap();
            assert!(Instant::now() < deadline);
            rounds += 1;
        }
        is_done.store(true, Ordering::SeqCst);
    });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing else is left");
}

#[test]
fn hosts_that_start_at_once_share_the_region_that_one_of_them_makes() {
    const HOSTS: usize = 4;
    for _ in 0..50 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("region");
        let start = Barrier::new(HOSTS);
        let regions: Vec<Region> = thread::scope(|scope| {
            let open = || {
                start.wait();
                let region = Region::open(&path, CAPACITY).unwrap();
                region.add("count", 1).unwrap();
                region
            };
            let opening: Vec<_> = (0..HOSTS).map(|_| scope.spawn(open)).collect();
            opening.into_iter().map(|opened| opened.join().unwrap()).collect()
        });
        for region in regions {
            assert_eq!(region.load("count"), Ok(HOSTS as i64));
        }
    }
}

#[test]
fn a_new_region_is_its_makers_alone() {
    let (_dir, path, _region) = region();
    let metadata = fs::metadata(path).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert_eq!(metadata.nlink(), 1);
}

use std::{fs::Permissions, os::unix::fs::PermissionsExt, thread};

use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;

/// The smallest component: magic number, version, layer.
const WASM: &[u8] = b"\0asm\x0d\0\x01\0";

/// A cache with one entry, and its name.
fn cache(directory: &Path) -> (Engine, CompileCache, String) {
    let (engine, cache) = (Engine::default(), CompileCache::open(directory).unwrap());
    let name = compiled::name(&engine, WASM);
    assert!(cache.load(&engine, &name).is_none());
    cache.store(&name, &compiled::compile(&engine, WASM).unwrap()).unwrap();
    (engine, cache, name)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_stored_is_found_again_and_by_no_other_name() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, cache, name) = cache(dir.path());
    assert!(cache.load(&engine, &name).is_some());
    let other = compiled::name(&engine, b"other");
    assert!(cache.load(&engine, &other).is_none());
    fs::copy(dir.path().join(&name), dir.path().join(&other)).unwrap();
    assert!(cache.load(&engine, &other).is_none(), "an entry that was copied to another's name");
}

#[test]
fn a_directory_that_others_can_write_is_no_cache() {
    let dir = tempfile::tempdir().unwrap();
    for (mode, refused) in
        [(0o700, false), (0o755, false), (0o770, true), (0o707, true), (0o1777, true)]
    {
        set_mode(dir.path(), mode);
        let opened = CompileCache::open(dir.path()).map(drop).map_err(|error| error.to_string());
        match opened {
            Ok(()) => assert!(!refused, "{mode:o}"),
            Err(why) => assert!(refused && why.contains(&format!("{mode:o}")), "{mode:o}: {why}"),
        }
    }
    // Only root can give a directory away, and everybody else does not own the topmost one.
    let foreign = if geteuid().is_root() {
        std::os::unix::fs::chown(dir.path(), Some(65_534), None).unwrap();
        dir.path()
    } else {
        Path::new("/")
    };
    let why = CompileCache::open(foreign).map(drop).unwrap_err().to_string();
    assert!(why.contains("belongs to the user"), "{why}");
}

#[test]
fn an_entry_that_others_can_write_or_that_is_no_regular_file_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, cache, name) = cache(dir.path());
    let entry = dir.path().join(&name);
    let whole = fs::read(&entry).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    fs::write(&elsewhere, &whole).unwrap();
    for mode in [0o620, 0o602] {
        set_mode(&entry, mode);
        assert!(cache.load(&engine, &name).is_none(), "{mode:o}");
    }
    type Put = fn(&Path, &Path);
    let puts: [(&str, Put); 4] = [
        ("a link", |entry, elsewhere| std::os::unix::fs::symlink(elsewhere, entry).unwrap()),
        ("a device", |entry, _| std::os::unix::fs::symlink("/dev/zero", entry).unwrap()),
        ("a named pipe", |entry, _| mkfifoat(CWD, entry, Mode::RUSR | Mode::WUSR).unwrap()),
        ("a damaged file", |entry, _| fs::write(entry, "damaged").unwrap()),
    ];
    for (what, put) in puts {
        fs::remove_file(&entry).unwrap();
        put(&entry, &elsewhere);
        assert!(cache.load(&engine, &name).is_none(), "{what}");
        cache.store(&name, &whole).unwrap();
        assert!(cache.load(&engine, &name).is_some(), "after {what}");
    }
}

#[test]
fn the_oldest_entries_make_room_and_other_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, cache, name) = cache(dir.path());
    let compiled = fs::read(dir.path().join(name)).unwrap();
    fs::write(dir.path().join("another file"), "").unwrap();
    for idx in 0..=ENTRIES_MAX {
        let name = compiled::name(&engine, idx.to_string().as_bytes());
        cache.store(&name, &compiled).unwrap();
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), ENTRIES_MAX + 1);
    assert!(dir.path().join("another file").exists());
    // The one that is written next leaves no room for the others.
    let last = dir.path().join(compiled::name(&engine, b"last"));
    fs::File::create(&last).unwrap().set_len(BYTES_MAX).unwrap();
    cache.store(&compiled::name(&engine, b"next"), &compiled).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn hosts_that_store_at_once_do_not_disturb_each_other() {
    const STORED: usize = 500;
    let dir = tempfile::tempdir().unwrap();
    let (engine, cache, _) = cache(dir.path());
    // The more there are to look at, the longer ago it is that the last one was listed.
    for other in 0..ENTRIES_MAX as u8 {
        cache.store(&compiled::name(&engine, &[other]), b"compiled").unwrap();
    }
    thread::scope(|scope| {
        for host in 0..4 {
            let (cache, name) = (&cache, compiled::name(&engine, &[host]));
            scope.spawn(move || {
                for _ in 0..STORED {
                    cache.store(&name, b"compiled").unwrap();
                }
            });
        }
    });
}

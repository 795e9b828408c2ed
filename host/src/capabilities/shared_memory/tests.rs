//! What a region promises, to threads and to processes: each `Region` here is a mapping of its own.

use std::{collections::HashMap, fs, sync::Barrier, thread};

use proptest::prelude::*;

use super::{CellError, Region};

fn region(capacity: u32) -> (tempfile::TempDir, Region) {
    let dir = tempfile::tempdir().unwrap();
    let region = Region::open(&dir.path().join("region"), capacity).unwrap();
    (dir, region)
}

#[test]
fn values_outlive_the_mapping_and_are_seen_by_others() {
    let (dir, first) = region(8);
    let second = Region::open(&dir.path().join("region"), 8).unwrap();
    assert_eq!(first.add("a", 3), Ok(3));
    assert_eq!(second.add("a", 4), Ok(7));
    assert_eq!(first.load("a"), Ok(7));
    drop((first, second));
    assert_eq!(Region::open(&dir.path().join("region"), 8).unwrap().load("a"), Ok(7));
}

#[test]
fn a_full_region_says_so_and_keeps_counting_the_keys_it_has() {
    let (_dir, region) = region(2);
    assert_eq!(region.add("a", 1), Ok(1));
    assert_eq!(region.add("b", 1), Ok(1));
    assert_eq!(region.add("c", 1), Err(CellError::Full(2)));
    assert_eq!(region.load("c"), Ok(0));
    assert_eq!(region.add("b", 1), Ok(2));
}

#[test]
fn an_addition_past_either_end_changes_nothing() {
    let (_dir, region) = region(2);
    for (end, delta) in [(i64::MAX, 1), (i64::MIN, -1)] {
        region.store("a", end).unwrap();
        assert_eq!(region.add("a", delta), Err(CellError::Overflow));
        assert_eq!(region.load("a"), Ok(end));
    }
}

#[test]
fn compare_exchange_replaces_only_what_was_expected() {
    let (_dir, region) = region(2);
    assert_eq!(region.compare_exchange("a", 0, 5), Ok(0));
    assert_eq!(region.compare_exchange("a", 4, 9), Ok(5));
    assert_eq!(region.load("a"), Ok(5));
}

#[test]
fn keys_have_1_to_256_bytes() {
    let (_dir, region) = region(2);
    for (len, expected) in [
        (0, Err(CellError::InvalidKey)),
        (1, Ok(1)),
        (256, Ok(1)),
        (257, Err(CellError::InvalidKey)),
    ] {
        assert_eq!(region.add(&"k".repeat(len), 1), expected, "{len} bytes");
    }
}

#[test]
fn a_file_that_is_no_region_is_refused_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    for content in [&b"text"[..], &[1; 64], &[7; 100_000]] {
        let path = dir.path().join("file");
        fs::write(&path, content).unwrap();
        let message = Region::open(&path, 8).err().unwrap().to_string();
        assert!(message.contains("not a Tally region") && message.contains("/file"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_damaged_header_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (offset, expected) in [(8, "version"), (16, "damaged")] {
        let path = dir.path().join(offset.to_string());
        drop(Region::open(&path, 8).unwrap());
        let mut content = fs::read(&path).unwrap();
        content[offset..offset + 8].fill(0xff);
        fs::write(&path, content).unwrap();
        let message = Region::open(&path, 8).err().unwrap().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_region_that_was_left_half_made_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("region");
    fs::write(&path, [0; 4096]).unwrap();
    assert_eq!(Region::open(&path, 8).unwrap().add("a", 1), Ok(1));
}

#[test]
fn a_slot_whose_maker_died_before_the_tag_is_used_again() {
    let (dir, region) = region(1);
    let path = dir.path().join("region");
    let mut content = fs::read(&path).unwrap();
    // All but the tag of every slot: what a dying process may leave behind.
    for slot in content[64..].chunks_mut(320) {
        slot[8..].fill(0xaa);
    }
    fs::write(&path, content).unwrap();
    assert_eq!(region.load("a"), Ok(0));
    assert_eq!(region.add("a", 1), Ok(1));
}

/// Starts four threads at the same moment, each with a mapping of its own, as processes have.
fn at_once(capacity: u32, steps: impl Fn(&Region) + Sync) -> (tempfile::TempDir, Region) {
    let (dir, region) = region(capacity);
    let path = dir.path().join("region");
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mine = Region::open(&path, capacity).unwrap();
                start.wait();
                steps(&mine);
            });
        }
    });
    (dir, region)
}

#[test]
fn processes_that_add_to_one_key_lose_no_addition() {
    let (_dir, region) = at_once(1, |mine| {
        for _ in 0..20_000 {
            mine.add("key", 1).unwrap();
        }
    });
    assert_eq!(region.load("key"), Ok(80_000));
}

#[test]
fn processes_that_make_the_same_keys_at_the_same_time_lose_none() {
    let keys = || (0..5_000).map(|idx| format!("key-{idx}"));
    let (_dir, region) = at_once(5_000, |mine| {
        for key in keys() {
            mine.add(&key, 1).unwrap();
        }
    });
    for key in keys() {
        assert_eq!(region.load(&key), Ok(4), "{key}");
    }
    assert_eq!(region.add("one more", 1), Err(CellError::Full(5_000)), "each key was made once");
}

proptest! {
    #[test]
    fn a_region_behaves_as_a_map(steps in prop::collection::vec(("[abc]{1,3}", -5i64..5, any::<bool>()), 0..200)) {
        let (_dir, region) = region(64);
        let mut model: HashMap<String, i64> = HashMap::new();
        for (key, value, add) in steps {
            let cell = model.entry(key.clone()).or_default();
            if add {
                *cell += value;
                prop_assert_eq!(region.add(&key, value), Ok(*cell));
            } else {
                *cell = value;
                prop_assert_eq!(region.store(&key, value), Ok(()));
            }
        }
        for (key, value) in model {
            prop_assert_eq!(region.load(&key), Ok(value));
        }
    }
}

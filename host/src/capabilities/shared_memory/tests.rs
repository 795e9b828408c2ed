//! What a region promises, to threads and to processes: each `Region` here is a mapping of its own.

use std::{
    collections::HashMap,
    fs,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::{
    CellError, Region,
    region::{CELLS_PER_LIST_MAX, RESERVED, SLOTS_PER_LIST_MAX},
};

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
fn a_full_region_still_counts_what_is_behind_inc_and_has_plugins_tried() {
    for capacity in [1, 2, 3, 8] {
        let (_dir, region) = region(capacity);
        for idx in 0..capacity {
            region.add(&idx.to_string(), 1).unwrap();
        }
        assert_eq!(region.add("one more", 1), Err(CellError::Full(capacity)));
        for key in RESERVED {
            assert_eq!(region.add(key, 1), Ok(1), "{key}");
            region.clear(key).unwrap();
            assert_eq!(region.add(key, 2), Ok(2), "{key}");
        }
        assert_eq!(region.keys(), u64::from(capacity));
    }
}

#[test]
fn the_place_of_a_key_that_was_cleared_is_free_for_another() {
    let (dir, region) = region(2);
    let other = Region::open(&dir.path().join("region"), 2).unwrap();
    region.store("0", 7).unwrap();
    for idx in 0..100 {
        let (old, new) = (idx.to_string(), (idx + 1).to_string());
        assert_eq!(other.add(&new, 1), Ok(1), "{new}");
        assert_eq!(region.add("too many", 1), Err(CellError::Full(2)));
        region.clear(&old).unwrap();
        assert_eq!((other.load(&old), other.load(&new)), (Ok(0), Ok(1)));
        assert_eq!(list_all(&region, 9), [(new, 1)]);
    }
}

#[test]
fn clearing_makes_no_key() {
    let (_dir, region) = region(2);
    region.clear("a").unwrap();
    assert_eq!((list_all(&region, 9), region.keys()), (vec![], 0));
    assert_eq!(region.clear(""), Err(CellError::InvalidKey));
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
        fs::write(&path, &content).unwrap();
        let message = Region::open(&path, 8).err().unwrap().to_string();
        assert!(message.contains(expected), "{message}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_slot_whose_maker_died_before_the_tag_is_used_again() {
    let (dir, region) = region(1);
    let path = dir.path().join("region");
    let mut content = fs::read(&path).unwrap();
    // All but the tag of every slot: what a dying process may leave behind.
    for slot in content[64..].chunks_mut(320).filter(|slot| slot[..8] == [0; 8]) {
        slot[8..].fill(0xaa);
    }
    fs::write(&path, content).unwrap();
    assert_eq!(region.load("a"), Ok(0));
    assert_eq!(region.add("a", 1), Ok(1));
}

#[test]
fn a_slot_with_the_same_hash_and_another_key_is_not_taken_for_the_keys() {
    let (dir, region) = region(2);
    region.store("a", 5).unwrap();
    let path = dir.path().join("region");
    let mut content = fs::read(&path).unwrap();
    let is_that_of_a =
        |slot: &&mut [u8]| slot[24..40] == [1, 0, 0, 0, 0, 0, 0, 0, b'a', 0, 0, 0, 0, 0, 0, 0];
    // As where it was removed, and its place taken, by the time that a search gets there.
    content[64..].chunks_mut(320).find(is_that_of_a).unwrap()[32] = b'b';
    fs::write(&path, content).unwrap();
    assert_eq!((region.load("a"), region.add("a", 1)), (Ok(0), Ok(1)));
    assert_eq!(list_all(&region, 9).len(), 2);
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

/// Adds 1 to a key that may have to be made. That is refused, and so not counted, while another one that holds the table is
/// not given the processor.
fn add_one(region: &Region, key: &str, deadline: Instant) {
    while let Err(error) = region.add(key, 1) {
        assert_eq!(error, CellError::TableLocked);
        assert!(Instant::now() < deadline, "the table stays locked");
    }
}

#[test]
fn processes_that_add_to_one_key_lose_no_addition() {
    let (_dir, region) = at_once(1, |mine| {
        let deadline = Instant::now() + Duration::from_secs(30);
        for _ in 0..20_000 {
            add_one(mine, "key", deadline);
        }
    });
    assert_eq!(region.load("key"), Ok(80_000));
}

#[test]
fn processes_that_make_the_same_keys_at_the_same_time_lose_none() {
    let keys = || (0..5_000).map(|idx| format!("key-{idx}"));
    let (_dir, region) = at_once(5_000, |mine| {
        let deadline = Instant::now() + Duration::from_secs(30);
        for key in keys() {
            add_one(mine, &key, deadline);
        }
    });
    for key in keys() {
        assert_eq!(region.load(&key), Ok(4), "{key}");
    }
    assert_eq!(region.add("one more", 1), Err(CellError::Full(5_000)), "each key was made once");
}

/// All pages of a listing, each checked against the limits; without the keys that each region has.
fn list_all(region: &Region, cells_max: u32) -> Vec<(String, i64)> {
    let (mut cells, mut start) = (Vec::new(), 0);
    loop {
        let (page, next) = region.list(start, cells_max).unwrap().expect("a place in the region");
        assert!(page.len() <= CELLS_PER_LIST_MAX.min(cells_max as usize));
        cells.extend(page.into_iter().filter(|(key, _)| !RESERVED.contains(&key.as_str())));
        let Some(next) = next else { return cells };
        assert!(start < next && next - start <= SLOTS_PER_LIST_MAX as u64, "{start} to {next}");
        start = next;
    }
}

#[test]
fn a_listing_shows_each_key_once_with_its_value() {
    // More slots, and more keys, than one page has.
    let (_dir, region) = region(20_000);
    let mut expected: Vec<(String, i64)> =
        (0..5_000).map(|idx| (format!("key-{idx}"), idx - 9)).collect();
    expected.extend([
        ("k".into(), i64::MIN),
        ("k".repeat(256), i64::MAX),
        ("añ\u{1f980}".into(), 1),
        ("\u{1f980}".repeat(64), 2),
    ]);
    for (key, value) in &expected {
        region.store(key, *value).unwrap();
    }
    expected.sort();
    for cells_max in [1, 7, 1_000, u32::MAX] {
        let mut listed = list_all(&region, cells_max);
        listed.sort();
        assert_eq!(listed, expected, "{cells_max} at a time");
    }
}

#[test]
fn keys_that_are_there_all_the_while_are_listed_once_while_others_are_added() {
    let old = || (0..2_000).map(|idx| format!("old-{idx}"));
    let (_dir, region) = region(20_000);
    for key in old() {
        region.store(&key, 1).unwrap();
    }
    let start = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            for idx in 0..18_000 {
                region.store(&format!("new-{idx}"), 2).unwrap();
            }
        });
        start.wait();
        for _ in 0..20 {
            let mut seen: HashMap<String, u32> = HashMap::new();
            for (key, value) in list_all(&region, 100) {
                assert!(value == 1 || key.starts_with("new-"), "{key}: {value}");
                *seen.entry(key).or_default() += 1;
            }
            assert!(seen.values().all(|times| *times == 1));
            assert!(old().all(|key| seen.contains_key(&key)));
        }
    });
}

#[test]
fn a_listing_begins_nowhere_but_in_the_region() {
    let (_dir, region) = region(2);
    region.store("a", 5).unwrap();
    for start in [4, 5, 1 << 32, u64::MAX - 1, u64::MAX] {
        assert_eq!(region.list(start, u32::MAX), Ok(None), "{start}");
    }
    assert_eq!(region.list(0, 0), Ok(Some((vec![], Some(0)))));
}

#[test]
fn slots_that_another_process_damaged_are_not_listed() {
    let (dir, region) = region(2);
    region.store("a", 5).unwrap();
    let path = dir.path().join("region");
    let intact = fs::read(&path).unwrap();
    for (offset, damage) in [(24, 0), (24, 257), (24, u64::MAX), (32, u64::MAX)] {
        let mut content = intact.clone();
        for slot in content[64..].chunks_mut(320) {
            slot[offset..offset + 8].copy_from_slice(&damage.to_le_bytes());
        }
        fs::write(&path, content).unwrap();
        assert_eq!(region.list(0, 9), Ok(Some((vec![], None))), "{damage} at {offset}");
    }
    fs::write(&path, intact).unwrap();
    assert_eq!(list_all(&region, 9), [("a".into(), 5)]);
}

proptest! {
    #[test]
    fn a_region_behaves_as_a_map(steps in prop::collection::vec(("[abc]{1,3}", -5i64..5, 0..3), 0..200)) {
        let (_dir, region) = region(64);
        let mut model: HashMap<String, i64> = HashMap::new();
        for (key, value, step) in steps {
            let cell = model.entry(key.clone()).or_default();
            if step == 0 {
                *cell += value;
                prop_assert_eq!(region.add(&key, value), Ok(*cell));
            } else if step == 1 {
                *cell = value;
                prop_assert_eq!(region.store(&key, value), Ok(()));
            } else {
                model.remove(&key);
                prop_assert_eq!(region.clear(&key), Ok(()));
            }
            prop_assert_eq!(region.keys(), model.len() as u64);
        }
        let mut listed = list_all(&region, 7);
        let mut expected: Vec<_> = model.into_iter().collect();
        listed.sort();
        expected.sort();
        prop_assert_eq!(listed, expected);
    }
}

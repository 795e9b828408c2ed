//! Files in the place of a region that others have made or damaged: each is a region that works, or refused and left as it was.

use std::{fs, path::Path};

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{Region, region::RESERVED};

/// A region for 4 keys, of which 3 are there.
fn intact(path: &Path) -> Vec<u8> {
    let region = Region::open(path, 4).unwrap();
    for (value, key) in ["a", "b", "a key that fills several words"].iter().enumerate() {
        region.store(key, value as i64 - 1).unwrap();
    }
    drop(region);
    fs::read(path).unwrap()
}

/// Whatever a region can be asked for, which need not be done, but ends.
fn use_all(region: &Region) {
    let _ = (region.capacity(), region.keys());
    for key in ["a", "b", "c", "another", "", "count"].into_iter().chain(RESERVED) {
        let _ = region.load(key);
        let _ = region.add(key, i64::MAX);
        let _ = region.compare_exchange(key, 0, 7);
        let _ = region.clear(key);
        let _ = region.store(key, -1);
    }
    let mut start = Some(0);
    while let Some(place) = start {
        let (_, next) = region.list(place, 3).unwrap().unwrap_or_default();
        assert!(next.is_none_or(|next| place < next), "{place} to {next:?}");
        start = next;
    }
}

/// Whether there is a region in a file with this content, all of which can be used.
fn check(path: &Path, content: &[u8]) -> Result<bool, TestCaseError> {
    fs::write(path, content).unwrap();
    match Region::open(path, 4) {
        Ok(region) => {
            use_all(&region);
            Ok(true)
        }
        Err(error) => {
            let message = error.to_string();
            prop_assert!(message.contains(path.to_str().unwrap()), "{message}");
            prop_assert!(fs::read(path).unwrap() == content, "it was changed: {message}");
            Ok(false)
        }
    }
}

/// A word that says something in a header or a slot, or any.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        1..300_u64,
        Just(1 << 31),
        Just((1 << 31) - 1),
        Just(1 << 32),
        Just(u64::MAX),
        any::<u64>(),
    ]
}

#[test]
fn a_table_in_which_only_one_reserved_key_has_a_place_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("region");
    let mut content = intact(&path);
    for slot in content[64..].chunks_mut(320).skip(1) {
        slot.fill(0x77);
    }
    content[64..64 + 320].fill(0);
    assert!(!check(&path, &content).unwrap(), "it was taken for a region");
}

proptest! {
    #[test]
    fn a_damaged_region_works_or_is_refused_and_left_as_it_was(
        in_header in vec((0..8_usize, word()), 0..3),
        in_table in vec((any::<Index>(), word()), 0..12),
        length in prop::option::weighted(0.2, any::<Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("region");
        let mut content = intact(&path);
        let (words, _) = content.as_chunks_mut::<8>();
        for (idx, word) in in_header {
            words[idx] = word.to_le_bytes();
        }
        for (idx, word) in in_table {
            *idx.get_mut(words) = word.to_le_bytes();
        }
        if let Some(length) = length {
            content.truncate(length.index(content.len()));
        }
        check(&path, &content)?;
    }

    #[test]
    fn any_file_is_refused_as_a_region_and_left_as_it_was(
        content in prop_oneof![vec(any::<u8>(), 1..200), vec(0..2_u8, 1..100)]
    ) {
        // An empty file, and one that begins with as many zeros as a header has, is one that is to become a region.
        if content.iter().take(64).all(|byte| *byte == 0) {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        prop_assert!(!check(&dir.path().join("region"), &content)?, "it was taken for a region");
    }
}

//! Any record is read as it was written, and any file is a record or refused and kept.

use proptest::{collection::vec, option, prelude::*, sample::Index};

use super::*;

fn choice() -> impl Strategy<Value = Choice> {
    let path = option::of("\\PC{0,20}".prop_map(PathBuf::from));
    ("(?s).{0,20}", path, "(?s).{0,20}").prop_map(|(plugin, file, storage)| Choice {
        plugin,
        file,
        storage,
    })
}

fn record() -> impl Strategy<Value = Record> {
    let serving = (choice(), choice(), any::<u64>())
        .prop_map(|(serves, chosen, since_unix_ms)| Serving { serves, chosen, since_unix_ms });
    let state = prop::sample::select(&[State::Copying, State::Moved, State::Cleared][..]);
    let carry = ("(?s).{0,9}", "(?s).{0,9}", state, any::<u64>())
        .prop_map(|(from, to, state, at_unix_ms)| Carried { from, to, state, at_unix_ms });
    let text = || option::of("\\PC{0,9}");
    let left = ("(?s).{0,9}", option::of(any::<u64>()), text(), text(), any::<u64>()).prop_map(
        |(storage, keys, total, why_unknown, at_unix_ms)| Left {
            storage,
            keys,
            total,
            why_unknown,
            at_unix_ms,
        },
    );
    (serving, option::of(carry), option::of(left)).prop_map(|(serving, carry, left)| Record {
        serving,
        carry,
        left,
    })
}

/// Reads a journal with this content.
fn check(content: &[u8]) -> Result<Option<Record>, TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.journal.json");
    fs::write(&path, content).unwrap();
    let read = Journal::new(Some(dir.path()), "x", true).last();
    prop_assert!(fs::read(&path).unwrap() == content, "it was changed");
    match read {
        Ok(record) => {
            prop_assert!(record.is_some(), "it was passed over");
            Ok(record)
        }
        Err(error) => {
            let message = error.to_string();
            prop_assert!(message.contains(path.to_str().unwrap()), "{message}");
            Ok(None)
        }
    }
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(record in record()) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::new(Some(dir.path()), "x", true);
        journal.write(&record).unwrap();
        prop_assert_eq!(journal.last().unwrap(), Some(record));
    }

    #[test]
    fn a_damaged_record_is_refused_or_another_one_and_kept(
        record in record(),
        damage in vec((any::<Index>(), any::<u8>()), 0..4),
        length in option::weighted(0.3, any::<Index>()),
    ) {
        let mut content = serde_json::to_vec_pretty(&record).unwrap();
        for (idx, byte) in &damage {
            *idx.get_mut(&mut content) = *byte;
        }
        if let Some(length) = length {
            content.truncate(length.index(content.len()));
        }
        let read = check(&content)?;
        prop_assert!(length.is_none() || !damage.is_empty() || read.is_none(), "what was cut off is not missed");
    }

    #[test]
    fn any_file_is_refused_as_a_journal(content: Vec<u8>) {
        prop_assert_eq!(check(&content)?, None);
    }
}

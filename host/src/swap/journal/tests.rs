use super::*;
use crate::swap::holdings::Counters;

fn choice(plugin: &str, storage: &str) -> Choice {
    Choice { plugin: plugin.into(), file: None, storage: storage.into() }
}

fn serving(plugin: &str, storage: &str) -> Serving {
    Serving::from_now(choice(plugin, storage), choice("atomic", "memory"))
}

fn open(directory: &Path, resumes: bool) -> Arc<Journal> {
    Arc::new(Journal::new(Some(directory), "x", resumes))
}

/// The storage that is served after a restart, and the one where a carry has the counts.
fn counts_in(directory: &Path) -> Option<(String, Option<String>)> {
    let record = open(directory, true).last().unwrap()?;
    let carried = record.carry.as_ref().map(|carry| carry.counts_in().to_owned());
    Some((record.serving.serves.storage, carried))
}

#[test]
fn the_journal_says_after_a_restart_where_the_counts_are_and_who_serves_them() {
    let dir = tempfile::tempdir().unwrap();
    let turn = open(dir.path(), true).turn(serving("atomic", "memory"), serving("flock", "disk"));
    let turn = turn.unwrap();
    assert_eq!(counts_in(dir.path()), None);
    let both = |storage: &str| Some((storage.to_owned(), Some(storage.to_owned())));
    turn.copying().unwrap();
    assert_eq!(counts_in(dir.path()), both("memory"));
    turn.moved().unwrap();
    assert_eq!(counts_in(dir.path()), both("disk"));
    turn.cleared().unwrap();
    assert_eq!(counts_in(dir.path()), both("disk"));
    turn.undone().unwrap();
    assert_eq!(counts_in(dir.path()), None);

    turn.cleared().unwrap();
    let after = open(dir.path(), true).last().unwrap();
    let next = open(dir.path(), true).turn(serving("flock", "disk"), serving("update", "database"));
    let next = next.unwrap();
    next.undone().unwrap();
    next.copying().unwrap();
    next.undone().unwrap();
    assert_eq!(open(dir.path(), true).last().unwrap(), after);
}

#[test]
fn what_was_left_is_remembered_until_it_is_served_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), true);
    let [memory, disk, database] = ["memory", "disk", "database"].map(|it| serving("any", it));
    let left_in = || journal.last().unwrap().unwrap().left.map(|left| left.storage);
    let served = |old: &Serving, new: &Serving, left: Option<&Holdings>| {
        journal.turn(old.clone(), new.clone()).unwrap().served(left).unwrap();
    };
    let counters = Ok(Counters { keys: 1, total: i128::from(i64::MAX) * 2 });
    let in_memory = Holdings { storage: "memory".into(), counters };
    served(&memory, &disk, Some(&in_memory));
    assert_eq!(left_in().as_deref(), Some("memory"));
    served(&disk, &database, None);
    served(&database, &serving("other", "database"), None);
    assert_eq!(left_in().as_deref(), Some("memory"));
    served(&database, &memory, None);
    assert_eq!(left_in(), None);
}

#[test]
fn a_host_that_is_not_resumed_remembers_where_counts_went_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), false);
    let turn = journal.turn(serving("atomic", "memory"), serving("flock", "memory")).unwrap();
    turn.served(None).unwrap();
    assert_eq!(journal.last().unwrap(), None);
    let turn = journal.turn(serving("atomic", "memory"), serving("flock", "disk")).unwrap();
    turn.served(None).unwrap();
    assert_eq!(journal.last().unwrap().unwrap().serving.serves.storage, "disk");
}

#[test]
fn a_damaged_journal_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.journal.json");
    let other = r#"{"from":"a","to":"b","state":"moved","at_unix_ms":1}"#;
    for damaged in ["", "{", "{}", "[]", other] {
        fs::write(&path, damaged).unwrap();
        let journal = open(dir.path(), true);
        let error = journal.last().unwrap_err().to_string();
        assert!(error.contains("x.journal.json") && error.contains("repair"), "{error}");
        assert!(journal.turn(serving("a", "memory"), serving("b", "disk")).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
}

#[test]
fn without_a_place_for_the_journal_nothing_can_be_remembered() {
    let journal = Journal::new(None, "x", true);
    assert!(journal.check_writable().unwrap_err().contains("--state-dir"));
    let journal = Journal::new(Some(Path::new("/dev/null/x")), "x", true);
    assert!(journal.check_writable().unwrap_err().contains("/dev/null/x"));
}

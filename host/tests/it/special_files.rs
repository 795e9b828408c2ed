use std::{fs, os::unix::fs::symlink, path::Path};

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::support::{Sandbox, ask};

/// Puts something at a path where a file is expected. `elsewhere` is such a file.
type Put = fn(path: &Path, elsewhere: &Path);

/// What may be there, and the words by which it is refused.
const SPECIAL: [(&str, Put); 4] = [
    ("a named pipe", |path, _| mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap()),
    ("a directory", |path, _| fs::create_dir(path).unwrap()),
    ("a symbolic link", |path, _| symlink("/dev/zero", path).unwrap()),
    ("a symbolic link", |path, elsewhere| symlink(elsewhere, path).unwrap()),
];

#[test]
fn a_special_file_in_the_place_of_a_counter_costs_that_counter_an_error_and_no_other() {
    let sandbox = Sandbox::new();
    let keys = sandbox.path().join("count.txt.keys");
    fs::create_dir(&keys).unwrap();
    let elsewhere = keys.join("elsewhere.txt");
    fs::write(&elsewhere, format!("{:<20}\n", 7)).unwrap();
    let tally = sandbox.start(&["--plugin", "disk-flock", "--workers", "1"]);
    for (idx, (what, put)) in SPECIAL.into_iter().enumerate() {
        put(&keys.join(format!("{idx}.txt")), &elsewhere);
        for request in ["inc", "reset"] {
            let answer = ask(tally.address(), &format!("POST /counters/{idx}/{request}"));
            assert_eq!(answer.problem(), "storage-unavailable", "{answer:?}");
            assert!(answer.body.contains(what), "no {what}: {}", answer.body);
            assert!(answer.body.contains(&format!("count.txt.keys/{idx}.txt")), "{}", answer.body);
        }
        let good = ask(tally.address(), "POST /counters/good/inc");
        assert_eq!(good.count(), idx as i64 + 1, "after {what}");
    }
    // What lies under the name that a new file has at first is removed where it can be.
    for (idx, (what, put)) in SPECIAL.into_iter().enumerate() {
        put(&keys.join(format!("new{idx}.txt.tmp")), &elsewhere);
        let answer = ask(tally.address(), &format!("POST /counters/new{idx}/inc"));
        if what == "a directory" {
            assert_eq!(answer.problem(), "storage-unavailable", "{answer:?}");
            assert!(answer.body.contains("something that can't be removed is there"), "{answer:?}");
            assert!(answer.body.contains("new1.txt.tmp"), "{answer:?}");
        } else {
            assert_eq!(answer.count(), 1, "{what}");
        }
    }
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), format!("{:<20}\n", 7));
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
}

#[test]
fn a_special_file_in_the_place_of_the_default_counter_is_refused_and_other_counters_go_on() {
    for (what, put) in SPECIAL {
        for ending in ["", ".tmp"] {
            let sandbox = Sandbox::new();
            let elsewhere = sandbox.path().join("elsewhere.txt");
            fs::write(&elsewhere, format!("{:<20}\n", 7)).unwrap();
            let tally = sandbox.start(&["--plugin", "disk-flock", "--workers", "1"]);
            let mut path = sandbox.storage().into_os_string();
            path.push(ending);
            put(path.as_ref(), &elsewhere);
            let answer = ask(tally.address(), "POST /inc");
            assert!(matches!(answer.status, 200 | 500 | 503), "{what}{ending}: {answer:?}");
            assert_eq!(
                answer.status == 200,
                ending == ".tmp" && what != "a directory",
                "{what}: {answer:?}"
            );
            assert_eq!(ask(tally.address(), "POST /counters/a/inc").count(), 1, "beside {what}");
            assert_eq!(fs::read_to_string(&elsewhere).unwrap(), format!("{:<20}\n", 7));
        }
    }
}

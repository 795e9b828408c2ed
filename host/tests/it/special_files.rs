use std::{fs, os::unix::fs::symlink, path::Path};

use rustix::fs::{CWD, Mode, mkfifoat};
use tally_host::plugin::catalog::BUNDLED;

use crate::support::{
    Sandbox, ask, bundled, check_refused, overview, own_port, swap, upload, wait_until,
};

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
fn a_configuration_that_is_no_regular_file_is_refused_at_once() {
    let sandbox = Sandbox::new();
    let elsewhere = sandbox.path().join("elsewhere.toml");
    fs::write(&elsewhere, "workers = 1\n").unwrap();
    let large = sandbox.path().join("large.toml");
    fs::write(&large, " ".repeat((1 << 20) + 1)).unwrap();
    let mut refused = vec![("/dev/zero".into(), "a device"), (large, "1048576 bytes")];
    for (idx, (what, put)) in SPECIAL.into_iter().enumerate() {
        let path = sandbox.path().join(format!("{idx}.toml"));
        put(&path, &elsewhere);
        refused.push((path, what));
    }
    for (path, what) in refused {
        let output = sandbox.run(&["--config", path.to_str().unwrap()]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{what}: {stderr}");
        for part in [path.to_str().unwrap(), what] {
            assert!(stderr.contains(part) && stderr.lines().count() == 1, "no {part}: {stderr}");
        }
    }
    let tally = sandbox.start(&["--config", elsewhere.to_str().unwrap()]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
}

#[test]
fn a_plugin_that_is_no_regular_file_is_refused_and_keeps_no_other_waiting() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path().join("plugins");
    fs::create_dir(&directory).unwrap();
    let elsewhere = sandbox.path().join("elsewhere");
    fs::write(&elsewhere, bundled("shared-memory-atomic")).unwrap();
    for (idx, (_, put)) in SPECIAL.into_iter().enumerate() {
        // Before all bundled plugins and all files.
        put(&directory.join(format!("{idx}.wasm")), &elsewhere);
    }
    let grant: Vec<_> = (0..SPECIAL.len()).map(|idx| format!("{idx}=shared-memory")).collect();
    let grant = [&grant.join(","), ",good.wasm=shared-memory"].concat();
    let directory = directory.to_str().unwrap();
    let tally = sandbox.start(&["--plugin-dir", directory, "--grant", &grant]);
    wait_until("all plugins are loaded or refused", || {
        let plugins = overview(&tally)["plugins"].clone();
        let plugins = plugins.as_array().unwrap();
        plugins.len() == BUNDLED.len() + SPECIAL.len()
            && plugins.iter().all(|plugin| plugin["state"] != "loading")
    });
    for (idx, (what, _)) in SPECIAL.into_iter().enumerate() {
        check_refused(&swap(&tally, &idx.to_string()), "plugin-refused", what);
        check_refused(&swap(&tally, &format!("{directory}/{idx}.wasm")), "plugin-refused", what);
        let output = sandbox.run(&["--plugin", &format!("{directory}/{idx}.wasm")]);
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(what) && stderr.lines().count() == 1, "no {what}: {stderr}");
    }
    assert_eq!(upload(&tally, "good", bundled("shared-memory-atomic")).status, 200);
    assert_eq!(swap(&tally, "good").status, 200);
}

#[test]
fn a_record_that_is_no_regular_file_is_refused_at_the_start_and_by_a_swap() {
    let sandbox = Sandbox::new();
    let port = own_port();
    let state = sandbox.path().join("state");
    fs::create_dir(&state).unwrap();
    let record = state.join(format!("tally-{port}.journal.json"));
    let elsewhere = sandbox.path().join("elsewhere");
    fs::write(&elsewhere, "{}").unwrap();
    for (what, put) in SPECIAL {
        put(&record, &elsewhere);
        let output = sandbox.run(&["--port", &port]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{what}: {stderr}");
        assert!(stderr.contains(what) && stderr.contains("journal.json"), "no {what}: {stderr}");
        fs::remove_dir(&record).or_else(|_| fs::remove_file(&record)).unwrap();
    }
    // What lies beside it is in nobody's way.
    for (ending, (_, put)) in ["tmp", "probe"].into_iter().zip(SPECIAL) {
        put(&state.join(format!("tally-{port}.journal.{ending}")), &elsewhere);
    }
    let tally = sandbox.start(&["--port", &port]);
    assert_eq!(swap(&tally, "shared-memory-flock").status, 200);
    assert!(fs::read_to_string(&record).unwrap().contains("shared-memory-flock"));
}

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

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::support::Sandbox;

/// Fewer would mean that this looks in the wrong place.
const CLAIMS_MIN: usize = 30;

fn root() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("..")
}

fn document() -> String {
    fs::read_to_string(root().join("SECURITY.md")).unwrap()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names of all tests in the Rust files of a directory.
fn tests_in(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            tests_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let parts = text.split("test]\n").skip(1);
            let found = parts.filter_map(|after| after.split("fn ").nth(1)?.split('(').next());
            names.extend(found.map(String::from));
        }
    }
}

#[test]
fn each_claim_about_security_is_shown_by_tests_that_exist() {
    let mut tests = BTreeSet::new();
    for directory in ["host", "loadtest", "plugins"] {
        tests_in(&root().join(directory), &mut tests);
    }
    let document = document();
    let (mut claims, mut shows) = (0, false);
    for line in document.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        if !line.starts_with('|') {
            shows = false;
        } else if line.ends_with("| shown by |") {
            shows = true;
        } else if shows && !line.starts_with("|---") {
            let named: Vec<&str> = quoted(cells.last().unwrap()).collect();
            assert!(!named.is_empty(), "nothing shows this: {line}");
            for name in named {
                assert!(tests.contains(name), "there is no test {name}");
            }
            claims += 1;
        }
    }
    assert!(CLAIMS_MIN <= claims, "only {claims} claims");
}

#[test]
fn each_setting_that_the_page_about_security_names_exists() {
    let sandbox = Sandbox::new();
    let help = [&["--help"][..], &["swap", "--help"]]
        .map(|args| String::from_utf8(sandbox.run(args).stdout).unwrap());
    let document = document();
    let words = document.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let named: BTreeSet<&str> = words
        .filter(|word| word.starts_with("--") && word.len() > 3 && !word.starts_with("---"))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    for flag in named {
        let stands = |help: &String| {
            let mut words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            words.any(|word| word == flag)
        };
        assert!(help.iter().any(stands), "there is no setting {flag}");
    }
}

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::Output,
};

use clap::{Arg, ArgAction, CommandFactory};
use tally_host::config::{Cli, CliError};

use crate::support::Sandbox;

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";

/// No number, name or path of anything.
const VALUES: [&str; 4] = ["", "no such value", "1,2", "99999999999999999999999"];

/// All settings: flag and variable.
fn settings() -> Vec<(Arg, String, String)> {
    let setting = |arg: &Arg| {
        let name = arg.get_long().filter(|name| !["admin", "config"].contains(name))?.to_owned();
        let variable = arg.get_env()?.to_string_lossy().into_owned();
        Some((arg.clone(), name, variable))
    };
    Cli::command().get_arguments().filter_map(setting).collect()
}

/// Why the settings are refused; none if they are not.
fn refusal(args: &[&OsStr]) -> Option<String> {
    let args: Vec<OsString> = [OsStr::new("tally")].iter().chain(args).map(Into::into).collect();
    match Cli::load(&args) {
        Ok(_) => None,
        Err(CliError::Usage(error)) => Some(error.to_string()),
        Err(CliError::Information(text)) => panic!("{text}"),
    }
}

fn refusal_of_entry(file: &Path, entry: &str) -> Option<String> {
    fs::write(file, entry).unwrap();
    refusal(&[OsStr::new("--config"), file.as_os_str()])
}

fn takes_any_bytes(arg: &Arg) -> bool {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().any(|name| ["FILE", "DIR"].contains(&name.as_str()))
}

#[test]
fn whatever_is_refused_as_a_flag_or_an_entry_is_named() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("tally.toml");
    let mut refused = 0;
    for (arg, name, _) in settings() {
        let flag = format!("--{name}");
        let not_utf8 = [OsStr::new(&flag), OsStr::from_bytes(b"\xff")];
        let why = refusal(&not_utf8);
        assert_eq!(why.is_none(), takes_any_bytes(&arg), "{flag}: {why:?}");
        assert!(why.is_none_or(|why| why.contains(&flag)), "{flag}");
        for value in VALUES {
            let why = refusal(&[OsStr::new(&flag), OsStr::new(value)]);
            refused += usize::from(why.is_some());
            assert!(why.as_ref().is_none_or(|why| why.contains(&flag)), "{flag} {value}: {why:?}");
        }
        let entry = format!("\"{name}\"");
        let texts = VALUES.map(|value| format!("{name} = {value:?}"));
        let others = [
            "true",
            "1.5",
            "1979-05-27",
            "[]",
            "[[1]]",
            "[true]",
            "{ a = 1 }",
            "-1",
            "\"a\\u0000b\"",
        ];
        let others = others.map(|value| format!("{name} = {value}"));
        for entry_with_value in texts.iter().chain(&others) {
            let why = refusal_of_entry(&file, entry_with_value);
            refused += usize::from(why.is_some());
            assert!(
                why.as_ref().is_none_or(|why| why.contains(&entry)),
                "{entry_with_value}: {why:?}"
            );
        }
        if !matches!(arg.get_action(), ArgAction::Append) {
            for list in ["[]", "[1]", "[\"a\"]", "[1, 2]", "[\"a\", \"b\"]"] {
                let why = refusal_of_entry(&file, &format!("{name} = {list}")).unwrap();
                assert!(why.contains(&entry) && why.contains("list"), "{name} = {list}: {why}");
            }
            let twice = [&flag, "1", &flag, "1"].map(OsStr::new);
            let why = refusal(&twice).unwrap();
            assert!(why.contains(&flag), "{why}");
        }
    }
    assert!(300 < refused, "{refused} were refused");
}

#[test]
fn whatever_is_refused_as_a_variable_is_named() {
    let sandbox = Sandbox::new();
    let mut refused = 0;
    for (arg, name, variable) in settings() {
        let values = VALUES.iter().map(|value| OsStr::new(*value));
        for value in values.chain([OsStr::from_bytes(b"\xff")]) {
            let mut command = sandbox.command(&["rollback", "--admin", NOBODY]);
            command.env(&variable, value);
            let output = command.output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            let named = format!("environment variable {variable}");
            let accepted = told.contains(NOBODY);
            refused += usize::from(!accepted);
            assert!(accepted || told.contains(&named), "{variable}={value:?}: {told}");
            assert!(accepted || output.status.code() == Some(2), "{variable}={value:?}: {told}");
            assert!(
                !accepted || value.to_str().is_some() || takes_any_bytes(&arg),
                "{name}: {told}"
            );
        }
    }
    assert!(150 < refused, "{refused} were refused");
}

/// Exit status 2, and one sentence with `name`.
fn check_named(output: &Output, name: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{name}: {told}");
    assert!(told.starts_with("tally: ") && told.lines().count() == 1, "{name}: {told}");
    assert!(told.contains(name), "no {name} in {told}");
}

#[test]
fn what_is_refused_when_it_is_used_is_named_as_it_was_written() {
    let sandbox = Sandbox::new();
    let text = sandbox.path().join("text.wasm");
    fs::write(&text, "no component").unwrap();
    let file = sandbox.path().join("tally.toml");
    for (name, value) in [
        ("plugin", "shared-memory-atomik"),
        ("plugin", "nowhere.wasm"),
        ("plugin", text.to_str().unwrap()),
        ("plugin-dir", "/nowhere"),
        ("plugin-dir", "/dev/null"),
        ("storage-method", "dsk"),
        ("shared-memory-dir", "/nowhere"),
        ("shared-memory-dir", "/dev/null"),
        ("admin-token-file", "/nowhere"),
        ("admin-token-file", "/dev/null"),
        ("admin-token-file", "/"),
        ("admin-listen", "nowhere"),
        ("host", "no such host"),
        ("storage-path", "/dev/null/count.txt"),
    ] {
        let variable = name.replace('-', "_").to_uppercase();
        let command = |args: &[&str]| {
            let mut command = sandbox.command(args);
            command.env_remove(&variable);
            match name {
                "storage-method" => drop(command.env_remove("PLUGIN")),
                "storage-path" => drop(command.env("PLUGIN", "disk-flock")),
                _ => {}
            }
            command
        };
        let flag = format!("--{name}");
        check_named(&command(&[&flag, value]).output().unwrap(), &flag);
        let output = command(&[]).env(&variable, value).output().unwrap();
        check_named(&output, &format!("the environment variable {variable}"));
        fs::write(&file, format!("{name} = {value:?}\n")).unwrap();
        let output = command(&["--config", file.to_str().unwrap()]).output().unwrap();
        check_named(&output, &format!("\"{name}\" in the configuration file"));
    }
    for value in ["", "/nowhere", "/", text.to_str().unwrap()] {
        check_named(&sandbox.run(&["--config", value]), "--config");
        let output = sandbox.command(&[]).env("CONFIG", value).output().unwrap();
        check_named(&output, "the environment variable CONFIG");
    }
}

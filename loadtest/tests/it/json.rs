//! The results for programs.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::cli::{against, loadtest, text};
use crate::server::{Play, Server};
use crate::swaps::token_file;

/// A path in a directory that cargo gives this test, unique to `name`.
fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.json", std::process::id()))
}

#[test]
fn the_json_file_holds_the_result_in_place_of_an_older_one() {
    let server = Server::start(Play::LosesSome);
    let path = scratch("result");
    fs::write(&path, "an older and longer result ".repeat(1_000)).expect("a file");
    let output = against(&server, &["--json", path.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    let document: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("the file")).expect("JSON");
    fs::remove_file(&path).expect("the file");
    assert_eq!(document["version"], 1);
    assert_eq!(document["verdict"]["lost"], 10);
    assert_eq!(document["verdict"]["linearizable"], false);
    assert_eq!(document["run"]["clients"], 2);
    assert!(document["run"]["machine"]["kernel"].is_string());
}

#[test]
fn the_json_names_the_plugin_that_counted_or_says_why_it_can_not() {
    let path = scratch("plugin");
    let file = path.to_str().expect("UTF-8");
    let read = |output: Output| {
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let document: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).expect("the file")).expect("JSON");
        let run = &document["run"];
        [&run["plugin"], &run["why_plugin_unknown"]]
            .map(|it| it.as_str().unwrap_or("null").to_owned())
    };
    let named = Server::start(Play::NamesPlugin);
    assert_eq!(read(against(&named, &["--json", file])), ["x", "null"]);
    let [plugin, why] = read(against(&Server::start(Play::Right), &["--json", file]));
    assert_eq!(plugin, "null");
    assert!(why.ends_with("answered GET /readyz with 404 Not Found"), "{why}");
    let swapping = Server::start(Play::Swaps);
    let admin = format!("http://{}", swapping.address);
    let token = token_file("json");
    let swaps = ["--swap-every", "10ms", "--swap-between", "a,b", "--admin", &admin];
    let token = ["--admin-token-file", token.to_str().expect("UTF-8")];
    let swapped = against(&swapping, &[&["--json", file], &swaps[..], &token].concat());
    assert_eq!(read(swapped), ["null", "it was swapped during the run"]);
    let plugin = "shared-memory-atomic";
    let in_process = ["--plugin", plugin, "--n-calls-per-client", "10", "--json", file];
    assert_eq!(read(loadtest(&in_process, &[])), [plugin, "null"]);
    fs::remove_file(&path).expect("the file");
}

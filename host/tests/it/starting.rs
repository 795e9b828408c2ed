use std::{
    fs,
    net::TcpListener,
    process::Output,
    time::{Duration, Instant},
};

use crate::support::{Sandbox, Tally, ask, events, overview, unless_late, wait_until};

/// How long the plugins that are not served with may take to load.
const LOADED_WITHIN: Duration = Duration::from_secs(60);

/// Starts wrongly: exit status 2, and one sentence that holds all of `expected`.
fn check_refused(output: &Output, expected: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(output.stdout.is_empty(), "nothing was served");
    assert_eq!(message.lines().count(), 1, "one sentence: {message}");
    assert!(message.starts_with("tally: "), "{message}");
    for part in expected {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
}

#[test]
fn a_wrong_flag_is_refused_in_one_sentence() {
    let sandbox = Sandbox::new();
    for (args, expected) in [
        (
            &["--plugin", "shared-memory-atomik"][..],
            &["shared-memory-atomik", "did you mean \"shared-memory-atomic\"", "disk-flock"][..],
        ),
        (&["--plugin", "/nowhere/x.wasm"], &["/nowhere/x.wasm"]),
        (&["--port", "70000"], &["\"70000\"", "--port", "65535"]),
        (&["--workers", "0"], &["\"0\"", "--workers"]),
        (&["--workers", "many"], &["\"many\"", "--workers"]),
        (&["--log-format", "xml"], &["\"xml\"", "--log-format", "text, json, auto"]),
        (&["--no-such-flag"], &["--no-such-flag", "tally --help"]),
        (&["--grant", "x=everything"], &["everything", "shared-memory"]),
        (&["--plugin-config", "x"], &["NAME.KEY=VALUE"]),
        (
            &["--grant", "shared-memory-flok=log"],
            &[
                "\"shared-memory-flok\"",
                "--grant",
                "did you mean \"shared-memory-flock\"",
                "NAME.wasm",
            ],
        ),
        (&["--grant", "./mine.wasm=log"], &["\"./mine.wasm\"", "without its directory"]),
        (
            &["--plugin-config", "disk-flok.durability=none"],
            &["\"disk-flok\"", "--plugin-config", "did you mean \"disk-flock\""],
        ),
        (
            &["--plugin-config", "disk-flock.durabilty=none"],
            &["setting of disk-flock", "\"durabilty\"", "did you mean \"durability\""],
        ),
        (
            &["--plugin-config", "postgresql-serializable-update.retries=1"],
            &["do-retries, retries-max, retry-wait-max"],
        ),
        (
            &["--plugin-config", "shared-memory-atomic.retries=1"],
            &["shared-memory-atomic has no settings"],
        ),
        (&["--plugin-dir", "/nowhere"], &["/nowhere"]),
        (&["--shared-memory-name", "../x"], &["../x"]),
        (&["--shared-memory-dir", "/nowhere"], &["/nowhere/region"]),
        (&["--config", "/nowhere.toml"], &["/nowhere.toml"]),
        (
            &["--plugin", "disk-flock", "--storage-path", "/dev/null/count.txt"],
            &["/dev/null", "--storage-path"],
        ),
        (&["--plugin", "disk-flock", "--storage-path", "/"], &["--storage-path"]),
        (&["--host", "no.such.host.invalid"], &["no.such.host.invalid", "--host"]),
        (&["--hz-cluster-members", "somewhere"], &["\"somewhere\"", "HOST:PORT"]),
        (&["--hz-cluster-members", "a:5701,b:0"], &["\"b:0\"", "--hz-cluster-members", "65535"]),
        (&["--hz-cluster-name", ""], &["--hz-cluster-name"]),
        (&["--hz-map-name", ""], &["--hz-map-name", "64"]),
        (&["--hz-counter-key", ""], &["--hz-counter-key", "256"]),
        (&["--hz-atomic-long-name", "a@b"], &["\"a@b\"", "--hz-atomic-long-name", "CP group"]),
        (&["--hz-lock-lease", "1"], &["\"1\"", "--hz-lock-lease", "100"]),
        (&["--hz-lock-lease", "2000"], &["--hz-lock-lease", "--hz-invocation-time-max", "2000 ms"]),
        (&["--hz-invocation-time-max", "70000"], &["--hz-invocation-time-max", "60000"]),
        (&["--hz-cp-group-wait-max", "99"], &["--hz-cp-group-wait-max", "100"]),
        (&["--hz-calls-max", "0"], &["--hz-calls-max", "100000"]),
    ] {
        check_refused(&sandbox.run(args), expected);
    }
}

#[test]
fn a_wrong_variable_is_refused_by_its_name() {
    let sandbox = Sandbox::new();
    for (name, value, expected) in [
        ("PORT", "http", &["\"http\"", "environment variable PORT"][..]),
        ("WORKERS", "-1", &["\"-1\"", "environment variable WORKERS"]),
        ("CALL_CPU_MAX", "0", &["\"0\"", "environment variable CALL_CPU_MAX"]),
        ("HZ_CLUSTER_MEMBERS", "a", &["\"a\"", "environment variable HZ_CLUSTER_MEMBERS"]),
    ] {
        check_refused(&sandbox.command(&[]).env(name, value).output().unwrap(), expected);
    }
    let storage = sandbox.command(&[]).env_remove("PLUGIN").env("STORAGE_METHOD", "dsk").output();
    check_refused(&storage.unwrap(), &["\"dsk\"", "did you mean \"disk\"", "shared_memory"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let sandbox = Sandbox::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    check_refused(&sandbox.run(&["--port", &port]), &[&port, "in use", "--port"]);
}

fn plugin_that_is_ready(tally: &Tally) -> String {
    let mut plugin = None;
    wait_until("it is ready", || {
        plugin = ask(tally.address(), "GET /readyz").json()["plugin"].as_str().map(str::to_owned);
        plugin.is_some()
    });
    plugin.unwrap()
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("tally.toml");
    fs::write(&file, "plugin = \"shared-memory-flock\"\nrequest-body-max = 3\n").unwrap();
    let file = file.to_str().unwrap();
    let plugin_of = |args: &[&str], plugin: Option<&str>| {
        let mut command = sandbox.command(args);
        command.env_remove("PLUGIN");
        command.envs(plugin.map(|plugin| ("PLUGIN", plugin)));
        plugin_that_is_ready(&sandbox.start_command(command))
    };
    assert_eq!(plugin_of(&[], None), "disk-flock", "because a storage path is set");
    assert_eq!(plugin_of(&["--config", file], None), "shared-memory-flock");
    assert_eq!(
        plugin_of(&["--config", file], Some("shared-memory-no-lock")),
        "shared-memory-no-lock"
    );
    let both = ["--config", file, "--plugin", "shared-memory-atomic"];
    assert_eq!(plugin_of(&both, Some("shared-memory-no-lock")), "shared-memory-atomic");
}

#[test]
fn a_wrong_entry_in_the_file_is_refused_by_its_name() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("tally.toml");
    for (content, expected) in [
        ("prot = 80", &["\"prot\"", "did you mean \"port\""][..]),
        ("workers = 0", &["\"0\"", "\"workers\" in the configuration file"]),
        ("port = [", &["not TOML", "tally.toml"]),
        ("port = { a = 1 }", &["\"port\"", "tally.toml"]),
        ("hz-cluster-members = [\"a:1\", \"b\"]", &["\"b\"", "configuration file"]),
    ] {
        fs::write(&file, content).unwrap();
        let mut command = sandbox.command(&["--config", file.to_str().unwrap()]);
        command.env_remove("WORKERS");
        check_refused(&command.output().unwrap(), expected);
    }
}

#[test]
fn the_storage_method_picks_its_recommended_plugin() {
    let sandbox = Sandbox::new();
    for (method, plugin) in [("shared_memory", "shared-memory-atomic"), ("disk", "disk-flock")] {
        let mut command = sandbox.command(&["--storage-method", method]);
        command.env_remove("PLUGIN");
        assert_eq!(plugin_that_is_ready(&sandbox.start_command(command)), plugin);
    }
}

#[test]
fn a_plugin_that_can_not_be_loaded_is_logged_with_its_reason_and_harms_nobody() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path().join("broken.wasm"), "no wasm").unwrap();
    let tally = sandbox.start(&["--plugin-dir", "."]);
    let deadline = Instant::now() + LOADED_WITHIN;
    while !sandbox.stderr().contains("can't load the plugin broken: it is not WebAssembly") {
        assert!(Instant::now() < deadline, "{}", sandbox.stderr());
        assert_eq!(ask(tally.address(), "POST /inc").status, 200);
    }
}

#[test]
fn until_the_storage_was_asked_the_host_is_not_shown_as_ready() {
    let sandbox = Sandbox::new();
    // A database that never says a word, for which the first look waits.
    let database = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = database.local_addr().unwrap().port().to_string();
    let args = ["--plugin", "postgresql-inplace-update", "--db-host", "127.0.0.1", "--db-port"];
    let tally = sandbox.start(&[&args[..], &[&port]].concat());
    assert_eq!(overview(&tally)["ready"], false);
    let mut events = events(&tally);
    let not_asked = "\"why_not_ready\":\"the storage was not asked yet\"";
    let seen = events.read_until(not_asked);
    assert!(seen.contains("\"value\":null") && !seen.contains("\"ready\":true"), "{seen}");
    wait_until("the log says so", || sandbox.stderr().contains("not ready: "));
    assert!(!sandbox.stderr().contains("not asked yet"), "{}", sandbox.stderr());
}

#[test]
fn that_a_host_is_ready_is_not_logged_when_it_starts() {
    let log = unless_late(|| {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&["--plugin", "disk-flock"]);
        wait_until("the storage was asked", || overview(&tally)["ready"] == true);
        sandbox.stderr()
    });
    assert!(!log.contains("not ready") && !log.contains("ready again"), "{log}");
}

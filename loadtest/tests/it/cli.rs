//! The program: exit status, output, and what it refuses.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::server::{Play, Server};

/// Runs the program with a clean environment but for `env`.
pub(crate) fn loadtest(args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .env_clear()
        .envs(env.iter().copied())
        .args(args)
        .output()
        .expect("the program starts")
}

pub(crate) fn against(server: &Server, more: &[&str]) -> Output {
    let port = server.address.port().to_string();
    let mut args = vec!["--counter-host", "127.0.0.1", "--counter-port", &port];
    args.extend(["--n-clients", "2", "--n-calls-per-client", "50"]);
    args.extend(more);
    loadtest(&args, &[])
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn the_exit_status_says_whether_the_counts_are_right() {
    let cases = [
        (Play::Right, 0),
        (Play::NoValue, 0),
        (Play::LosesSome, 1),
        (Play::DoublesSome, 1),
        (Play::RefusesAll, 1),
    ];
    for (play, status) in cases {
        let server = Server::start(play);
        let output = against(&server, &[]);
        assert_eq!(output.status.code(), Some(status), "{play:?}\n{}", text(&output.stdout));
    }
}

#[test]
fn results_go_to_stdout_and_nothing_else_does() {
    let server = Server::start(Play::Right);
    let output = against(&server, &[]);
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with(
        "============================================================\nPERFORMANCE TEST RESULTS\n"
    ));
    assert!(stdout.contains("\nTotal calls made:            100\n"), "{stdout}");
    assert!(stdout.contains("\nFinal count:                 100\n"), "{stdout}");
    assert!(stdout.contains("\nVerdict:                     counts right\n"), "{stdout}");
}

#[test]
fn variables_stand_in_for_flags_and_flags_win() {
    let server = Server::start(Play::Right);
    let port = server.address.port().to_string();
    let env = [
        ("COUNTER_HOST", "127.0.0.1"),
        ("COUNTER_PORT", port.as_str()),
        ("COUNTER_TYPE", "web"),
        ("N_CLIENTS", "3"),
        ("N_CALLS_PER_CLIENT", "7"),
        ("NO_PROGRESS", "1"),
        ("KEY", ""),
        ("PLUGIN", ""),
        ("JSON", ""),
        ("SWAP_EVERY", ""),
        ("SWAP_BETWEEN", ""),
        ("ADMIN", "http://127.0.0.1:1"),
        ("ADMIN_TOKEN_FILE", ""),
        ("STATE_DIR", ""),
    ];
    let output = loadtest(&["--n-calls-per-client", "5"], &env);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\nTotal calls made:            15\n"));
}

#[test]
fn a_flag_for_a_server_wins_over_a_plugin_in_the_environment() {
    let server = Server::start(Play::Right);
    let port = server.address.port().to_string();
    let args =
        ["--counter-host", "127.0.0.1", "--counter-port", &port, "--n-calls-per-client", "5"];
    let output = loadtest(&args, &[("PLUGIN", "disk-flock")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn bad_usage_is_refused_with_a_sentence_before_any_traffic() {
    let cases: &[(&[&str], &str)] = &[
        (&["--n-clients", "0"], "--n-clients"),
        (&["--n-clients", "10001"], "--n-clients"),
        (&["--n-calls-per-client", "-1"], "-1"),
        (
            &["--n-clients", "10000", "--n-calls-per-client", "10001"],
            "more than 100000000 increments",
        ),
        (&["--counter-port", "0"], "--counter-port"),
        (&["--counter-port", "70000"], "--counter-port"),
        (&["--counter-host", "http://localhost"], "`http://localhost` is not a host"),
        (&["--counter-host", ""], "is not a host"),
        (&["--counter-type", "carrier-pigeon"], "possible values: web"),
        (&["--key", ""], "--key: a key has 1 to 256 bytes, but this one has 0"),
        (
            &["--plugin", "disk-flock", "--counter-host", "localhost"],
            "--counter-host cannot go with it",
        ),
        (&["--plugin", "disk-flock", "--counter-port", "1"], "--counter-port cannot go with it"),
        (&["--method", "lost_update"], "--counter-type postgresql"),
        (&["--do-retries", "true"], "--counter-type postgresql"),
        (
            &["--counter-type", "postgresql", "--method", "lost-update"],
            "possible values: lost_update",
        ),
        (
            &["--counter-type", "postgresql", "--method", "atomic"],
            "there is no --method atomic of --counter-type postgresql: it is one of hazelcast",
        ),
        (
            &["--counter-type", "hazelcast", "--method", "lost_update"],
            "there is no --method lost_update of --counter-type hazelcast",
        ),
        (&["--counter-type", "hazelcast", "--plugin", "x"], "--plugin cannot go with it"),
        (&["--counter-type", "postgresql", "--plugin", "x"], "--plugin cannot go with it"),
        (
            &["--counter-type", "postgresql", "--counter-port", "1"],
            "--counter-port cannot go with it",
        ),
        (&["--counter-type", "postgresql", "--do-retries", "perhaps"], "--do-retries"),
        (&["--swap-every", "100ms"], "--swap-every needs --swap-between"),
        (&["--swap-between", "a,b"], "--swap-between needs --swap-every"),
        (&["--swap-every", "100", "--swap-between", "a,b"], "`100` is not a time"),
        (&["--swap-every", "1ms", "--swap-between", "a,b"], "may be 10 ms to 3600 s"),
        (&["--swap-every", "100ms", "--swap-between", "a"], "`a` is not a list of plugins"),
        (
            &["--swap-every", "100ms", "--swap-between", "a,b", "--plugin", "disk-flock"],
            "cannot go with a plugin in this process",
        ),
        (
            &["--swap-every", "1s", "--swap-between", "a,b", "--counter-type", "postgresql"],
            "cannot go with a plugin in this process",
        ),
        (
            &["--swap-every", "1s", "--swap-between", "a,b", "--admin", "localhost:8081"],
            "--admin: `localhost:8081` is not the address of an admin listener",
        ),
        (
            &["--swap-every", "1s", "--swap-between", "a,b", "--admin-token-file", "/nowhere/x"],
            "--admin-token-file: can't read a token from /nowhere/x",
        ),
        (&["--admin", "http://localhost:1"], "--admin is only for swaps"),
        (&["--state-dir", "/nowhere"], "--state-dir is only for swaps"),
        (&["--no-such-flag"], "--no-such-flag"),
        (
            &["--json", "/no/such/directory/result.json"],
            "cannot write the results to `/no/such/directory/result.json`",
        ),
    ];
    let server = Server::start(Play::Right);
    let port = server.address.port().to_string();
    for (args, expected) in cases {
        let output = loadtest(args, &[("COUNTER_PORT", &port)]);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(expected), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn an_unreachable_target_exits_3_and_says_what_to_do() {
    let output = loadtest(&["--counter-host", "127.0.0.1", "--counter-port", "1"], &[]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("(connection refused): start the server with `tally`"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn the_help_names_every_flag_with_its_variable_and_exits_0() {
    let output = loadtest(&["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    let flags = [
        "counter-type",
        "method",
        "do-retries",
        "n-clients",
        "n-calls-per-client",
        "counter-host",
        "counter-port",
        "key",
        "plugin",
        "json",
        "no-progress",
        "swap-every",
        "swap-between",
        "admin",
        "admin-token-file",
        "state-dir",
    ];
    for flag in flags {
        let variable = flag.to_uppercase().replace('-', "_");
        assert!(help.contains(&format!("--{flag}")), "{flag}");
        assert!(help.contains(&format!("[env: {variable}=")), "{variable}");
    }
}

#[test]
fn an_interrupt_ends_the_run_early_and_what_was_done_is_judged() {
    let server = Server::start(Play::Right);
    let port = server.address.port().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["--counter-host", "127.0.0.1", "--counter-port", &port])
        .args(["--n-calls-per-client", "10000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");

    // The first line of progress shows that the load is under way.
    let mut progress = String::new();
    let stderr = child.stderr.take().expect("a pipe");
    BufReader::new(stderr).read_line(&mut progress).expect("a line");
    assert!(progress.contains("/100000000 calls"), "{progress}");
    kill_process(Pid::from_child(&child), Signal::INT).expect("a signal");

    let output = child.wait_with_output().expect("the program ends");
    let stdout = text(&output.stdout);
    assert!(stdout.contains("Note:                        interrupted: "), "{stdout}");
    assert!(stdout.contains("Verdict:                     counts right"), "{stdout}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn each_method_of_counting_in_a_database_is_driven_and_judged() {
    let server: Vec<(String, String)> =
        ["DB_HOST", "DB_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect();
    assert_eq!(
        server.len(),
        4,
        "this test needs PostgreSQL: run it by compose/with-postgresql cargo test"
    );
    let database = format!("loadtest_{}", std::process::id());
    let drive = |more: &[&str]| {
        let mut env: Vec<_> =
            server.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        env.push(("POSTGRES_DB", &database));
        let fixed = [
            "--counter-type",
            "postgresql",
            "--n-clients",
            "8",
            "--n-calls-per-client",
            "50",
            "--compile-cache",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
            "--db-checkout-wait-max",
            "20000",
            "--db-statement-time-max",
            "20000",
        ];
        loadtest(&[&fixed, more].concat(), &env)
    };
    for (args, status, expected) in [
        (&[][..], 0, "counts right"),
        (&["--method", "inplace_update"], 0, "Failed:                      0\n"),
        (&["--method", "row_level_locking"], 0, "Failed:                      0\n"),
        (&["--method", "optimistic_concurrency_control"], 0, "Failed:                      0\n"),
        (
            &[
                "--method",
                "serializable_update",
                "--do-retries",
                "true",
                // So that the last tries of a call come when the others have ended, however slow the disk is.
                "--plugin-config",
                "postgresql-serializable-update.retry-wait-max=60000",
                "--call-time-max",
                "120000",
            ],
            0,
            "Failed:                      0\n",
        ),
        // As Python writes it.
        (
            &["--method", "serializable_update", "--do-retries", "False"],
            0,
            "until the retry budget was used up",
        ),
        (&["--method", "lost_update"], 1, " lost"),
        (&["--db-port", "1"], 3, "Connection refused"),
    ] {
        let output = drive(args);
        let text = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}\n{text}");
        assert!(text.contains(expected), "{args:?}\n{text}");
    }
    let mut psql = Command::new("psql");
    psql.args(["--dbname", "postgres", "--command", &format!("DROP DATABASE {database}")]);
    assert!(psql.output().expect("psql").status.success());
}

#[test]
fn each_method_of_counting_in_hazelcast_is_driven_and_judged() {
    let [members, name] = ["HZ_CLUSTER_MEMBERS", "HZ_CLUSTER_NAME"].map(|name| {
        std::env::var(name)
            .expect("this test needs Hazelcast: run it by compose/with-hazelcast cargo test")
    });
    let map = format!("loadtest_{}", std::process::id());
    for (args, status, expected) in [
        (&[][..], 0, "counts right"),
        (&["--method", "pessimistic"], 0, "Failed:                      0\n"),
        (&["--method", "optimistic"], 0, "Failed:                      0\n"),
        (&["--method", "atomic"], 0, "Failed:                      0\n"),
        (&["--method", "no_lock"], 1, " lost"),
        (&["--hz-cluster-members", "127.0.0.1:1"], 3, "Connection refused"),
        (&["--hz-cluster-name", "another"], 3, "is not called another"),
    ] {
        let fixed = [
            "--counter-type",
            "hazelcast",
            "--n-clients",
            "8",
            "--n-calls-per-client",
            "50",
            "--compile-cache",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
        ];
        let env = [
            ("HZ_CLUSTER_MEMBERS", members.as_str()),
            ("HZ_CLUSTER_NAME", &name),
            ("HZ_MAP_NAME", &map),
            ("HZ_ATOMIC_LONG_NAME", &map),
            ("HZ_INVOCATION_TIME_MAX", "8000"),
            ("HZ_LOCK_LEASE", "60000"),
        ];
        let output = loadtest(&[&fixed, args].concat(), &env);
        let text = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}\n{text}");
        assert!(text.contains(expected), "{args:?}\n{text}");
    }
}

#[test]
fn a_plugin_is_driven_in_process_and_judged() {
    let cases = [
        ("shared-memory-atomic", 0, "counts right"),
        ("shared-memory-no-lock", 1, "lost"),
        ("shared-memory-atomik", 2, "did you mean \"shared-memory-atomic\""),
        ("/nowhere/x.wasm", 2, "/nowhere/x.wasm"),
    ];
    for (plugin, status, expected) in cases {
        let output = loadtest(&["--plugin", plugin, "--compile-cache", "off"], &[]);
        let text = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{plugin}\n{text}");
        assert!(text.contains(expected), "{plugin}\n{text}");
    }
}

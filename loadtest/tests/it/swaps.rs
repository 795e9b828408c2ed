//! Runs while the server swaps its plugin.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use tally_host::client::Endpoint;
use tally_loadtest::swaps::Token;
use tally_loadtest::{
    ExitStatus, Load, Progress, Report, RunError, Start, Stop, Swaps, run_with_swaps,
};

use crate::cli::{against, loadtest, text};
use crate::server::{Play, SLOW_MS, SLOW_SWAP_MS, Server, TOKEN};

const CLIENTS: usize = 2;

/// So many that a run of the plays that swap lasts for ten of the shortest intervals at the least.
const CALLS: u64 = 100;

const EVERY: Duration = Duration::from_millis(10);

/// A file with the token of the servers, unique to `name`.
pub(crate) fn token_file(name: &str) -> PathBuf {
    let file = format!("token-{name}-{}", std::process::id());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file);
    fs::write(&path, format!("{TOKEN}\n")).expect("a file");
    path
}

fn judge(server: &Server, every: Duration, token: Option<Token>) -> Result<Report, RunError> {
    let load =
        Load { clients: CLIENTS, calls_per_client: CALLS, start: Start::Reset, sole_writer: true };
    let swaps = Swaps {
        admin: Endpoint::parse(&format!("http://{}", server.address)).expect("an endpoint"),
        token,
        every,
        between: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
    };
    run_with_swaps(&server.target(), &load, &swaps, &Progress::silent(), &Stop::default())
}

fn token(name: &str) -> Option<Token> {
    Some(Token::read(&token_file(name)).expect("a token"))
}

#[test]
fn swaps_inside_the_traffic_are_made_in_turn_and_the_run_passes() {
    let server = Server::start(Play::Swaps);
    let report = judge(&server, EVERY, token("in-turn")).expect("the server answers");
    assert_eq!(report.exit_status(), ExitStatus::CountsRight, "{report}");
    assert_eq!(report.verdict.acknowledged, CLIENTS as u64 * CALLS);
    let swaps = report.swaps.expect("swaps were asked for");
    assert!(2 <= swaps.in_traffic, "{swaps:?}");
    assert_eq!((swaps.longest_pause_us(), swaps.failed.total()), (Some(swaps.made), 0));
    assert!(swaps.longest_swap_us.is_some_and(|us| 0.0 < us), "{swaps:?}");
    let counted = swaps.windows.with_swap.operations + swaps.windows.steady.operations;
    assert_eq!(counted, CLIENTS as u64 * CALLS);

    let asked = server.swaps();
    assert_eq!(asked.len() as u64, swaps.made);
    let turns = ["a", "b", "c"].map(|it| format!(r#"{{"plugin":"{it}"}}"#));
    assert!(asked.iter().eq(turns.iter().cycle().take(asked.len())), "{asked:?}");
}

#[test]
fn a_swap_that_takes_longer_than_the_interval_makes_the_next_one_late() {
    const { assert!(10 < SLOW_SWAP_MS && 2 * SLOW_SWAP_MS < CALLS * SLOW_MS) };
    let server = Server::start(Play::SwapsSlowly);
    let report = judge(&server, EVERY, token("slow")).expect("the server answers");
    assert_eq!(report.exit_status(), ExitStatus::CountsRight, "{report}");
    let swaps = report.swaps.expect("swaps were asked for");
    // All but the first one.
    assert_eq!(swaps.late + 1, swaps.made);
    assert!(swaps.longest_swap_us.is_some_and(|us| SLOW_SWAP_MS as f64 * 1e3 <= us), "{swaps:?}");
}

#[test]
fn refused_swaps_fail_the_run_with_their_reason_and_leave_the_counts_right() {
    let server = Server::start(Play::RefusesSwaps);
    let report = judge(&server, EVERY, token("refused")).expect("the server answers");
    assert_eq!(report.exit_status(), ExitStatus::VerdictFailed);
    assert!(report.verdict.right(), "{report}");
    let swaps = report.swaps.expect("swaps were asked for");
    let reasons: Vec<_> = swaps.failed.iter().collect();
    let asked = server.swaps().len() as u64;
    assert_eq!(reasons, [("409 Conflict: the old plugin does not drain", asked)]);
    assert_eq!((swaps.made, swaps.longest_pause_us(), swaps.void()), (0, None, true));
}

#[test]
fn without_an_admin_listener_or_the_token_no_increment_is_made() {
    let cases = [
        (Play::Right, token("no-admin"), "404 Not Found"),
        (Play::Swaps, None, "401 Unauthorized"),
    ];
    for (play, token, reason) in cases {
        let server = Server::start_at(play, 41);
        let error = judge(&server, EVERY, token).expect_err("no swap can be asked for");
        assert!(matches!(error, RunError::Unreachable(_)), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(server.swaps(), [""; 0]);
    }
}

#[test]
fn the_token_that_the_server_has_made_for_itself_is_found() {
    let server = Server::start(Play::Swaps);
    let port = server.address.port().to_string();
    let admin = format!("http://localhost:{port}");
    let state = tempfile::tempdir().expect("a directory");
    let run = || {
        let args = ["--swap-every", "10ms", "--swap-between", "a,b", "--admin", &admin];
        let state = ["--state-dir", state.path().to_str().expect("UTF-8")];
        against(&server, &[&args[..], &state].concat())
    };
    let without = run();
    assert_eq!(without.status.code(), Some(3));
    let advice = text(&without.stderr);
    assert!(advice.contains("401 Unauthorized") && advice.contains("user of the host"), "{advice}");
    // Its lock says that the host lives.
    let path = state.path().join(format!("admin-{}.token", server.address));
    fs::write(&path, TOKEN).expect("a file");
    let file = fs::File::open(path).expect("the file");
    file.lock().expect("nobody else has locked it");
    let with = run();
    assert_eq!(with.status.code(), Some(0), "{}", text(&with.stderr));
    assert!(!server.swaps().is_empty());
}

#[test]
fn a_run_that_is_too_short_for_a_swap_is_void() {
    let server = Server::start(Play::Swaps);
    let hour = Duration::from_secs(3_600);
    let report = judge(&server, hour, token("short")).expect("the server answers");
    assert_eq!(report.exit_status(), ExitStatus::VerdictFailed);
    assert!(report.summary().starts_with("VOID: no swap fell inside the traffic"), "{report}");
    assert_eq!(server.swaps(), [""; 0]);
}

/// Runs the program against `server`, with swaps.
fn program(server: &Server, admin: &str, every: &str) -> Output {
    let port = server.address.port().to_string();
    let calls = CALLS.to_string();
    let token = token_file(&format!("{port}-{every}"));
    let args = [
        ["--counter-host", "127.0.0.1"],
        ["--counter-port", &port],
        ["--n-clients", "2"],
        ["--n-calls-per-client", &calls],
        ["--swap-every", every],
        ["--swap-between", "a,b"],
        ["--admin", admin],
        ["--admin-token-file", token.to_str().expect("UTF-8")],
    ];
    loadtest(args.as_flattened(), &[])
}

#[test]
fn the_program_says_how_the_swaps_went_and_its_exit_status_tells_them_apart() {
    let cases = [
        (Play::Swaps, "10ms", 0, "Verdict:                     counts right\n"),
        (Play::RefusesSwaps, "10ms", 1, " x 409 Conflict: the old plugin does not drain\n"),
        (Play::Swaps, "3600s", 1, "Verdict:                     VOID: no swap fell inside"),
        (Play::Right, "10ms", 3, "with 404 Not Found: check --admin"),
    ];
    for (play, every, status, expected) in cases {
        let server = Server::start(play);
        let output = program(&server, &format!("http://{}", server.address), every);
        let text = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{play:?} {every}\n{text}");
        assert!(text.contains(expected), "{play:?} {every}\n{text}");
        assert_eq!(text.contains("\nSWAPS\n"), status != 3, "{text}");
    }
}

#[test]
fn an_admin_listener_that_is_not_there_is_told_from_a_server_that_is_not() {
    let server = Server::start(Play::Swaps);
    let output = program(&server, "unix:/nowhere/admin.sock", "10ms");
    assert_eq!(output.status.code(), Some(3));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("nothing answers at unix:/nowhere/admin.sock"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

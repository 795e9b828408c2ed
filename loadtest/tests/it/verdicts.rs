//! What a run concludes.

use std::time::Duration;

use tally_loadtest::{
    ExitStatus, Load, Progress, Report, RunError, Start, Stop, Target, WebTarget, run,
};

use crate::server::{Play, Server};

const CLIENTS: usize = 3;
const CALLS: u64 = 100;
const ALL: u64 = CLIENTS as u64 * CALLS;

fn load() -> Load {
    Load { clients: CLIENTS, calls_per_client: CALLS, start: Start::Reset, sole_writer: true }
}

fn judge(target: &WebTarget, load: &Load) -> Report {
    run(target, load, &Progress::silent(), &Stop::default()).expect("the server answers")
}

/// Acknowledged, final, lost, doubled, unknown, failed, linearizable.
type Figures = (u64, i64, u64, u64, u64, u64, Option<bool>);

fn figures(report: &Report) -> Figures {
    let verdict = &report.verdict;
    (
        verdict.acknowledged,
        verdict.final_count.expect("a final count"),
        verdict.lost.expect("judged"),
        verdict.doubled.expect("judged"),
        verdict.unknown,
        report.failed.total(),
        verdict.linearizable(),
    )
}

#[test]
fn every_kind_of_server_gets_the_verdict_it_deserves() {
    use ExitStatus::{CountsRight, VerdictFailed};
    let (all, tenth) = (ALL as i64, ALL / 10);
    let less = all - tenth as i64;
    let cases = [
        (Play::Right, (ALL, all, 0, 0, 0, 0, Some(true)), CountsRight),
        (Play::NoValue, (ALL, all, 0, 0, 0, 0, None), CountsRight),
        (Play::LosesSome, (ALL, less, tenth, 0, 0, 0, Some(false)), VerdictFailed),
        (Play::LosesSomeNoValue, (ALL, less, tenth, 0, 0, 0, None), VerdictFailed),
        (Play::DoublesSome, (ALL, all + tenth as i64, 0, tenth, 0, 0, Some(false)), VerdictFailed),
        (Play::RefusesSome, (ALL - tenth, less, 0, 0, 0, tenth, Some(true)), CountsRight),
        (Play::BreaksSome, (ALL - tenth, all, 0, 0, tenth, 0, Some(true)), CountsRight),
        (Play::FailsAfterSome, (ALL - tenth, all, 0, 0, tenth, 0, Some(true)), CountsRight),
        (Play::Closes, (ALL, all, 0, 0, 0, 0, Some(true)), CountsRight),
        (Play::RefusesAll, (0, 0, 0, 0, 0, ALL, None), VerdictFailed),
    ];
    for (play, expected, status) in cases {
        let server = Server::start_at(play, 41);
        let report = judge(&server.target(), &load());
        assert_eq!(figures(&report), expected, "{play:?}\n{report}");
        assert_eq!(report.exit_status(), status, "{play:?}\n{report}");
        assert_eq!(report.calls_made, ALL);
    }
}

#[test]
fn failures_are_counted_by_reason() {
    let server = Server::start(Play::RefusesSome);
    let report = judge(&server.target(), &load());
    assert_eq!(
        report.failed.iter().collect::<Vec<_>>(),
        [("503 Service Unavailable: overloaded", ALL / 10)]
    );

    let server = Server::start(Play::FailsAfterSome);
    let report = judge(&server.target(), &load());
    assert_eq!(
        report.unknown.iter().collect::<Vec<_>>(),
        [("500 Internal Server Error: trapped", ALL / 10)]
    );
}

#[test]
fn an_answer_that_never_comes_is_an_unknown_outcome_and_is_waited_for_only_so_long() {
    let server = Server::start(Play::HangsAfterSome);
    let load = Load { clients: 1, calls_per_client: 11, ..load() };
    let target = server.target().with_call_timeout(Duration::from_secs(1));
    let report = judge(&target, &load);
    assert_eq!(figures(&report), (10, 11, 0, 0, 1, 0, Some(true)), "{report}");
    assert_eq!(report.unknown.iter().collect::<Vec<_>>(), [("no answer within 1 s", 1)]);
}

#[test]
fn a_server_that_dies_stops_its_clients_and_leaves_the_verdict_open() {
    let server = Server::start(Play::DiesAfter(50));
    let report = judge(&server.target(), &load());
    assert_eq!(report.exit_status(), ExitStatus::Unreachable, "{report}");
    assert_eq!(report.verdict.lost, None);
    assert!(report.calls_made < ALL, "{report}");
    assert!(
        report.notes[0].contains("3 of 3 clients stopped after 10 failed connections in a row"),
        "{report}"
    );
}

#[test]
fn a_reset_that_does_nothing_fails_the_verdict_and_is_named() {
    let server = Server::start_at(Play::IgnoresReset, 5);
    let report = judge(&server.target(), &load());
    assert_eq!((report.verdict.start, report.verdict.lost), (5, Some(0)));
    assert_eq!(report.exit_status(), ExitStatus::VerdictFailed);
    assert!(report.notes[0].contains("after the acknowledged reset the count was 5"), "{report}");
}

#[test]
fn a_kept_count_is_judged_by_its_growth() {
    let server = Server::start_at(Play::Right, 1_000);
    let report = judge(&server.target(), &Load { start: Start::Keep, ..load() });
    assert_eq!(
        (report.verdict.start, report.verdict.final_count),
        (1_000, Some(1_000 + ALL as i64))
    );
    assert_eq!(report.exit_status(), ExitStatus::CountsRight, "{report}");
}

#[test]
fn two_runs_on_one_counter_are_each_judged_by_what_holds_whatever_the_other_does() {
    let server = Server::start(Play::Right);
    let shared = Load { start: Start::Keep, sole_writer: false, calls_per_client: 1_000, ..load() };
    let reports = std::thread::scope(|scope| {
        let runs = [(); 2].map(|()| scope.spawn(|| judge(&server.target(), &shared)));
        runs.map(|it| it.join().expect("a report"))
    });
    for report in &reports {
        assert_eq!(report.exit_status(), ExitStatus::CountsRight, "{report}");
        assert_eq!((report.verdict.linearizable(), report.verdict.doubled), (Some(true), None));
    }
    let last = reports.iter().filter_map(|it| it.verdict.final_count).max();
    assert_eq!(last, Some(2 * 3 * 1_000));
}

#[test]
fn two_runs_on_one_losing_counter_find_duplicates_all_the_same() {
    let server = Server::start(Play::LosesSome);
    let shared = Load { start: Start::Keep, sole_writer: false, ..load() };
    let report = judge(&server.target(), &shared);
    assert_eq!(report.verdict.linearizable(), Some(false));
    assert_eq!(report.verdict.lost, Some(ALL / 10));
}

#[test]
fn a_keyed_counter_is_driven_at_its_own_path() {
    let server = Server::start(Play::Right);
    let target =
        WebTarget::resolve("127.0.0.1", server.address.port(), Some("a b")).expect("an address");
    let report = judge(&target, &load());
    assert_eq!(report.exit_status(), ExitStatus::CountsRight, "{report}");
}

#[test]
fn a_run_that_is_stopped_is_judged_by_what_was_done() {
    let server = Server::start(Play::Right);
    let stop = Stop::default();
    stop.request();
    let report =
        run(&server.target(), &load(), &Progress::silent(), &stop).expect("the server answers");
    assert!(report.interrupted);
    assert_eq!(report.notes[0], format!("interrupted: 0 of {ALL} calls were made"));
    assert_eq!(report.exit_status(), ExitStatus::VerdictFailed);
}

#[test]
fn what_does_not_answer_is_unreachable_and_the_message_says_what_to_do() {
    let target = WebTarget::resolve("127.0.0.1", 1, None).expect("an address");
    let err =
        run(&target, &load(), &Progress::silent(), &Stop::default()).expect_err("nobody listens");
    assert!(matches!(err, RunError::Unreachable(_)));
    let expected = "nothing answers at http://127.0.0.1:1 (connection refused): start the server with `tally`, or set \
                    --counter-host and --counter-port";
    assert_eq!(err.to_string(), expected);

    let server = Server::start(Play::Unrelated);
    let err = run(&server.target(), &load(), &Progress::silent(), &Stop::default())
        .expect_err("no counter");
    let expected = format!(
        "{} answered POST /reset with 404 Not Found: check that a counter server listens there",
        server.target().name()
    );
    assert_eq!(err.to_string(), expected);
}

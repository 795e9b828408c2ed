use std::time::Duration;

use super::*;
use crate::history::{Kind, RUN_ITSELF};
use crate::swaps::swapper::Swap;

fn log(client: u32, operations: &[(u64, Kind, i64)]) -> ClientLog {
    let mut log = ClientLog::new(client, 0);
    for &(begin_us, kind, value) in operations {
        let (invoked_ns, returned_ns) = (begin_us * 1_000, begin_us * 1_000 + 50_000);
        log.operations.push(Operation { invoked_ns, returned_ns, value, client, kind });
        match kind {
            Kind::IncrementFailed => log.failed.add("503 Service Unavailable: overloaded"),
            Kind::IncrementUnknown => log.unknown.add("connection reset"),
            Kind::Increment | Kind::IncrementUnseen | Kind::Read => {}
        }
    }
    log
}

fn evidence(logs: Vec<ClientLog>, end: i64) -> Evidence {
    let (invoked_ns, returned_ns) = (500_000, 510_000);
    Evidence {
        target: "http://localhost:8080".to_owned(),
        plugin: Err("nobody was asked".to_owned()),
        load: Load { clients: 2, calls_per_client: 2, start: Start::Reset, sole_writer: true },
        start: 0,
        logs,
        swaps: None,
        final_read: Some(Operation {
            invoked_ns,
            returned_ns,
            value: end,
            client: RUN_ITSELF,
            kind: Kind::Read,
        }),
        final_read_error: None,
        interrupted: false,
    }
}

/// Three increments in 400 µs, and one refused.
pub(crate) fn sound_report() -> Report {
    summarise(evidence(sound_logs(), 3))
}

fn sound_logs() -> Vec<ClientLog> {
    let first = log(0, &[(0, Kind::Increment, 1), (350, Kind::Increment, 3)]);
    let second = log(1, &[(10, Kind::Increment, 2), (120, Kind::IncrementFailed, 0)]);
    vec![first, second]
}

/// Begin, end and pause of a swap, in microseconds.
type MadeUs = (u64, u64, u64);

/// The sound run, with swaps that succeeded and others that failed.
pub(crate) fn swapped_report(made: &[MadeUs], failed: &[&str]) -> Report {
    let swap = |&(begin_us, end_us, paused_us)| Swap {
        begin_ns: begin_us * 1_000,
        end_ns: end_us * 1_000,
        paused_us,
    };
    let mut swaps = SwapLog {
        every: Duration::from_millis(100),
        between: vec!["a".to_owned(), "b".to_owned()],
        made: made.iter().map(swap).collect(),
        failed: Reasons::default(),
        late: 1,
    };
    for reason in failed {
        swaps.failed.add(reason);
    }
    summarise(Evidence { swaps: Some(swaps), ..evidence(sound_logs(), 3) })
}

/// Two answers of one value, one unknown, a client that gave up, and no final count.
pub(crate) fn broken_report() -> Report {
    let first = log(0, &[(0, Kind::Increment, 1), (350, Kind::IncrementUnknown, 0)]);
    let mut second = log(1, &[(10, Kind::Increment, 1)]);
    second.stopped = Some("stopped after 10 failed connections in a row".to_owned());
    let mut evidence = evidence(vec![first, second], 0);
    evidence.final_read = None;
    evidence.final_read_error = Some("nothing answers".to_owned());
    summarise(evidence)
}

#[test]
fn the_text_of_a_sound_run_is_the_original_block_then_latency_then_verdict() {
    let expected = "\
============================================================
PERFORMANCE TEST RESULTS
============================================================
Number of clients:           2
Calls per client:            2
Total calls made:            3
Total time (seconds):        0.00
Requests per second (RPS):   7500.00
Final count:                 3
============================================================
LATENCY (microseconds)
============================================================
p50:                         50.0
p90:                         50.0
p99:                         50.0
p99.9:                       50.0
max:                         50.0
============================================================
VERDICT
============================================================
Acknowledged:                3
Final:                       3
Lost:                        0
Doubled:                     0
Unknown:                     0
Failed:                      1
                             1 x 503 Service Unavailable: overloaded
Linearizable:                yes (4 operations checked)
Verdict:                     counts right
============================================================
";
    assert_eq!(sound_report().to_string(), expected);
}

#[test]
fn swaps_have_a_section_of_their_own_between_latency_and_verdict() {
    let expected = "\
max:                         50.0
============================================================
SWAPS
============================================================
Swaps made:                  2
Swaps failed:                1
                             1 x 409 Conflict: a swap is under way
Swaps inside the traffic:    2
Swaps that began late:       1
Longest pause:               45 µs
Longest swap:                300.0 µs
p99.9 with a swap:           50.0 µs (3 operations, windows of 10 ms)
p99.9 without, steady:       no operations
Ratio of the two:            too few operations, each needs 1000
============================================================
VERDICT
";
    let failed = ["409 Conflict: a swap is under way"];
    let text = swapped_report(&[(20, 320, 45), (330, 380, 12)], &failed).to_string();
    assert!(text.contains(expected), "{text}");
    let row = "Verdict:                     counts right; 1 of 3 swaps failed\n";
    assert!(text.contains(row), "{text}");
}

#[test]
fn a_run_passes_only_with_a_whole_swap_inside_its_traffic_and_none_that_failed() {
    const VOID: &str = "VOID: no swap fell inside the traffic, so nothing is proven of swaps";
    let all_failed = format!("{VOID} (counts right; 2 of 2 swaps failed)");
    let void = format!("{VOID} (counts right)");
    // The traffic lasts from 0 to 400 µs.
    let cases: &[(&[MadeUs], &[&str], ExitStatus, &str)] = &[
        (&[(0, 400, 0)], &[], ExitStatus::CountsRight, "counts right"),
        (&[(20, 30, 0), (390, 401, 0)], &[], ExitStatus::CountsRight, "counts right"),
        (&[(20, 30, 0)], &["no"], ExitStatus::VerdictFailed, "counts right; 1 of 2 swaps failed"),
        (&[(390, 401, 0)], &[], ExitStatus::VerdictFailed, &void),
        (&[], &[], ExitStatus::VerdictFailed, &void),
        (&[], &["no", "never"], ExitStatus::VerdictFailed, &all_failed),
    ];
    for (made, failed, status, summary) in cases {
        let report = swapped_report(made, failed);
        assert_eq!((report.exit_status(), report.summary().as_str()), (*status, *summary));
        assert!(report.verdict.right(), "{report}");
    }
}

#[test]
fn swaps_do_not_hide_that_the_counts_are_wrong_or_unknown() {
    let swapped = swapped_report(&[(20, 30, 0)], &[]).swaps;
    let wrong = summarise(evidence(sound_logs(), 2));
    let wrong = Report { swaps: swapped.clone(), ..wrong };
    assert_eq!(wrong.summary(), "WRONG: 1 lost, not linearizable");
    assert_eq!(wrong.exit_status(), ExitStatus::VerdictFailed);
    let unknown = Report { swaps: swapped, ..broken_report() };
    assert_eq!(unknown.exit_status(), ExitStatus::Unreachable);
}

#[test]
fn the_verdict_of_a_broken_run_names_what_is_wrong_and_what_is_not_known() {
    let expected = "\
VERDICT
============================================================
Acknowledged:                2
Final:                       not known
Lost:                        not known
Doubled:                     not known
Unknown:                     1
                             1 x connection reset
Failed:                      0
Linearizable:                no
First violation:             two increments were answered 1: client 1 (0.000 µs to 50.000 µs) and client 2 (10.000 µs to 60.000 µs)
Note:                        1 of 2 clients stopped after 10 failed connections in a row; 3 of 4 calls were made
Note:                        the final count could not be read: nothing answers
Verdict:                     not known, because the final count could not be read
============================================================
";
    let text = broken_report().to_string();
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn the_exit_status_tells_wrong_counts_from_unknown_ones() {
    let increment = |value| vec![log(0, &[(0, Kind::Increment, value)])];
    let cases = [
        (sound_report(), ExitStatus::CountsRight, 0),
        (summarise(evidence(increment(1), 0)), ExitStatus::VerdictFailed, 1),
        (summarise(evidence(Vec::new(), 0)), ExitStatus::VerdictFailed, 1),
        (broken_report(), ExitStatus::Unreachable, 3),
    ];
    for (report, status, code) in cases {
        assert_eq!((report.exit_status(), report.exit_status().code()), (status, code), "{report}");
    }
}

#[test]
fn a_run_without_an_acknowledged_increment_says_that_nothing_is_proven() {
    let report = summarise(evidence(vec![log(0, &[(0, Kind::IncrementFailed, 0)])], 0));
    assert_eq!((report.rps, report.latency_us), (0.0, None));
    assert!(
        report.to_string().contains("WRONG: no increment was acknowledged, so nothing is proven"),
        "{report}"
    );
}

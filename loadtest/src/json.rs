//! The result of a run, for programs.
//!
//! The wire structs stand here alone, so that a change inside does not change the format by accident. Fields may be
//! added within version 1; a field that is removed or changes its meaning makes a new version.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::latency::LatencyUs;
use crate::machine::Machine;
use crate::reasons::Reasons;
use crate::report::Report;
use crate::swaps::report::SwapReport;
use crate::swaps::windows::{Side, WINDOW_MS};
use crate::verdict::Linearizability;

/// Version of the format.
const VERSION: u32 = 1;

/// The report as one JSON object, with a line end.
///
/// # Errors
///
/// When the report cannot be written as JSON, which would be a bug.
pub fn to_json(report: &Report, machine: Machine) -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(&Document::of(report, machine))?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    /// Acknowledged increments per second.
    rps: f64,
    /// Null when no increment was acknowledged.
    latency_us: Option<LatencyUs>,
    verdict: VerdictObject,
    /// Whether the counts are right, and the swaps if any were asked for, as the exit status 0 says.
    right: bool,
    /// Increments that surely were not applied.
    failed: ReasonsObject<'a>,
    /// Why the outcome of increments is unknown; their number is in the verdict as well.
    unknown: ReasonsObject<'a>,
    /// Null when no swaps were asked for.
    swaps: Option<SwapsObject<'a>>,
    /// What a reader has to know to read the figures, as sentences.
    notes: Vec<&'a str>,
    run: RunObject<'a>,
}

#[derive(Serialize)]
struct VerdictObject {
    acknowledged: u64,
    /// Null when it could not be read; lost and doubled are then null too.
    r#final: Option<i64>,
    lost: Option<u64>,
    /// Null also when others wrote to the counter.
    doubled: Option<u64>,
    unknown: u64,
    /// Null when it could not be judged; `notes` say why.
    linearizable: Option<bool>,
    /// The first violation as a sentence, or null.
    violation: Option<String>,
}

#[derive(Serialize)]
struct ReasonsObject<'a> {
    total: u64,
    reasons: BTreeMap<&'a str, u64>,
}

#[derive(Serialize)]
struct SwapsObject<'a> {
    /// The interval that was asked for.
    every_ms: u64,
    /// The plugins that were swapped in, in turn.
    between: &'a [String],
    /// Swaps that succeeded.
    made: u64,
    failed: ReasonsObject<'a>,
    /// Swaps that began late, because the one before took longer than the interval.
    late: u64,
    /// Successful swaps that began and ended inside the traffic.
    in_traffic: u64,
    /// Whether there was none of them, so that the run proves nothing of swaps.
    void: bool,
    /// Null when no swap succeeded.
    longest_pause_us: Option<u64>,
    /// Null when no swap succeeded.
    longest_swap_us: Option<f64>,
    windows: WindowsObject,
}

/// Acknowledged increments by whether a swap touched a window in which they were under way.
#[derive(Serialize)]
struct WindowsObject {
    window_ms: u64,
    with_swap: SideObject,
    steady: SideObject,
    /// The percentile with a swap over the steady one; null when either side has too few increments.
    ratio: Option<f64>,
}

#[derive(Serialize)]
struct SideObject {
    operations: u64,
    /// Null when there is no operation.
    p99_9_us: Option<f64>,
}

#[derive(Serialize)]
struct RunObject<'a> {
    target: &'a str,
    /// The plugin that counted from the beginning to the end. Null when that is not known.
    plugin: Option<&'a str>,
    /// Why it is not known, or null.
    why_plugin_unknown: Option<&'a str>,
    clients: usize,
    calls_per_client: u64,
    /// Increments that were tried.
    calls_made: u64,
    /// The count before the first of them.
    start: i64,
    seconds: f64,
    interrupted: bool,
    machine: Machine,
}

impl<'a> Document<'a> {
    fn of(report: &'a Report, machine: Machine) -> Document<'a> {
        let verdict = &report.verdict;
        let mut notes: Vec<_> = report.notes.iter().map(String::as_str).collect();
        if let Linearizability::NotJudged { reason } = verdict.linearizability {
            notes.push(reason);
        }
        Document {
            version: VERSION,
            rps: report.rps,
            latency_us: report.latency_us,
            verdict: VerdictObject {
                acknowledged: verdict.acknowledged,
                r#final: verdict.final_count,
                lost: verdict.lost,
                doubled: verdict.doubled,
                unknown: verdict.unknown,
                linearizable: verdict.linearizable(),
                violation: verdict.violation().map(ToString::to_string),
            },
            right: report.passed(),
            failed: ReasonsObject::of(&report.failed),
            unknown: ReasonsObject::of(&report.unknown),
            swaps: report.swaps.as_ref().map(SwapsObject::of),
            notes,
            run: RunObject {
                target: &report.target,
                plugin: report.plugin.as_deref().ok(),
                why_plugin_unknown: report.plugin.as_deref().err().map(String::as_str),
                clients: report.load.clients,
                calls_per_client: report.load.calls_per_client,
                calls_made: report.calls_made,
                start: verdict.start,
                seconds: report.seconds,
                interrupted: report.interrupted,
                machine,
            },
        }
    }
}

impl<'a> SwapsObject<'a> {
    fn of(swaps: &'a SwapReport) -> SwapsObject<'a> {
        SwapsObject {
            every_ms: u64::try_from(swaps.every.as_millis()).unwrap_or(u64::MAX),
            between: &swaps.between,
            made: swaps.made,
            failed: ReasonsObject::of(&swaps.failed),
            late: swaps.late,
            in_traffic: swaps.in_traffic,
            void: swaps.void(),
            longest_pause_us: swaps.longest_pause_us(),
            longest_swap_us: swaps.longest_swap_us,
            windows: WindowsObject {
                window_ms: WINDOW_MS,
                with_swap: SideObject::of(swaps.windows.with_swap),
                steady: SideObject::of(swaps.windows.steady),
                ratio: swaps.windows.ratio(),
            },
        }
    }
}

impl SideObject {
    fn of(side: Side) -> SideObject {
        SideObject { operations: side.operations, p99_9_us: side.p99_9_us }
    }
}

impl<'a> ReasonsObject<'a> {
    fn of(reasons: &'a Reasons) -> ReasonsObject<'a> {
        ReasonsObject { total: reasons.total(), reasons: reasons.iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::report::tests::{broken_report, sound_report, swapped_report};

    fn machine() -> Machine {
        let cpu = Some("Fast CPU".to_owned());
        Machine { cpu, cores: Some(2), memory_bytes: Some(4096), kernel: Some("6.1".to_owned()) }
    }

    fn written(report: &Report) -> Value {
        serde_json::from_str(&to_json(report, machine()).expect("a document")).expect("JSON")
    }

    #[test]
    fn a_sound_run_has_every_field_of_version_1() {
        let expected = json!({
            "version": 1,
            "rps": 3.0 / 0.000_4,
            "latency_us": {"p50": 50.0, "p90": 50.0, "p99": 50.0, "p99_9": 50.0, "max": 50.0},
            "verdict": {
                "acknowledged": 3, "final": 3, "lost": 0, "doubled": 0, "unknown": 0,
                "linearizable": true, "violation": null,
            },
            "right": true,
            "failed": {"total": 1, "reasons": {"503 Service Unavailable: overloaded": 1}},
            "unknown": {"total": 0, "reasons": {}},
            "swaps": null,
            "notes": [],
            "run": {
                "target": "http://localhost:8080", "plugin": null,
                "why_plugin_unknown": "nobody was asked", "clients": 2, "calls_per_client": 2,
                "calls_made": 4, "start": 0, "seconds": 0.0004, "interrupted": false,
                "machine": {"cpu": "Fast CPU", "cores": 2, "memory_bytes": 4096, "kernel": "6.1"},
            },
        });
        assert_eq!(written(&sound_report()), expected);
    }

    #[test]
    fn the_swaps_of_a_run_are_an_object_and_decide_whether_it_is_right() {
        let document = written(&swapped_report(&[(20, 320, 45), (330, 380, 12)], &[]));
        let expected = json!({
            "every_ms": 100, "between": ["a", "b"], "made": 2,
            "failed": {"total": 0, "reasons": {}}, "late": 1, "in_traffic": 2, "void": false,
            "longest_pause_us": 45, "longest_swap_us": 300.0,
            "windows": {
                "window_ms": 10, "with_swap": {"operations": 3, "p99_9_us": 50.0},
                "steady": {"operations": 0, "p99_9_us": null}, "ratio": null,
            },
        });
        assert_eq!((&document["swaps"], &document["right"]), (&expected, &json!(true)));

        let document = written(&swapped_report(&[], &["409 Conflict"]));
        let swaps = &document["swaps"];
        assert_eq!((&swaps["void"], &document["right"]), (&json!(true), &json!(false)));
        assert_eq!(swaps["failed"], json!({"total": 1, "reasons": {"409 Conflict": 1}}));
        assert_eq!(swaps["longest_pause_us"], Value::Null);
        assert_eq!(document["verdict"]["lost"], json!(0));
    }

    #[test]
    fn what_is_not_known_is_null_and_a_violation_is_a_sentence() {
        let document = written(&broken_report());
        let verdict = &document["verdict"];
        assert_eq!(verdict["linearizable"], json!(false));
        assert!(verdict["violation"].as_str().is_some_and(|it| it.starts_with("two increments")));
        assert_eq!(document["right"], json!(false));
        assert_eq!((&verdict["final"], &verdict["lost"]), (&Value::Null, &Value::Null));
        assert!(document["notes"][1].as_str().is_some_and(|it| it.contains("could not be read")));
    }
}

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
    /// Whether the counts are right, as the exit status 0 says.
    right: bool,
    /// Increments that surely were not applied.
    failed: ReasonsObject<'a>,
    /// Why the outcome of increments is unknown; their number is in the verdict as well.
    unknown: ReasonsObject<'a>,
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
struct RunObject<'a> {
    target: &'a str,
    plugin: Option<&'a str>,
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
            right: verdict.right(),
            failed: ReasonsObject::of(&report.failed),
            unknown: ReasonsObject::of(&report.unknown),
            notes,
            run: RunObject {
                target: &report.target,
                plugin: report.plugin.as_deref(),
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

impl<'a> ReasonsObject<'a> {
    fn of(reasons: &'a Reasons) -> ReasonsObject<'a> {
        ReasonsObject { total: reasons.total(), reasons: reasons.iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::report::tests::{broken_report, sound_report};

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
            "notes": [],
            "run": {
                "target": "http://localhost:8080", "plugin": null, "clients": 2, "calls_per_client": 2,
                "calls_made": 4, "start": 0, "seconds": 0.0004, "interrupted": false,
                "machine": {"cpu": "Fast CPU", "cores": 2, "memory_bytes": 4096, "kernel": "6.1"},
            },
        });
        assert_eq!(written(&sound_report()), expected);
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

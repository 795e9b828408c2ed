//! The result of a run, for people.

use std::fmt;
use std::process::ExitCode;

use crate::history::Operation;
use crate::latency::LatencyUs;
use crate::reasons::Reasons;
use crate::run::{ClientLog, Load, Start};
use crate::swaps::report::SwapReport;
use crate::swaps::swapper::SwapLog;
use crate::verdict::{Counts, Linearizability, Verdict};

/// Everything that is known after a run. Its `Display` is the text that the program prints.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was driven.
    pub target: String,
    /// The plugin that counted, or why that is not known.
    pub plugin: Result<String, String>,
    /// The load that was asked for.
    pub load: Load,
    /// Increments that were tried; fewer than asked for when clients stopped early.
    pub calls_made: u64,
    /// From the release of the clients to the last answer, in seconds.
    pub seconds: f64,
    /// Acknowledged increments per second.
    pub rps: f64,
    /// `None` when no increment was acknowledged.
    pub latency_us: Option<LatencyUs>,
    /// Are the counts right?
    pub verdict: Verdict,
    /// Increments that surely were not applied, per reason. They do not make a verdict wrong.
    pub failed: Reasons,
    /// Increments of unknown outcome, per reason.
    pub unknown: Reasons,
    /// The swaps that were made meanwhile; `None` when none were asked for.
    pub swaps: Option<SwapReport>,
    /// Whether the run was told to stop.
    pub interrupted: bool,
    /// What a reader has to know to read the figures, one sentence each.
    pub notes: Vec<String>,
}

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: the counts are right, and the swaps, where any were asked for, were made.
    CountsRight,
    /// 1: the counts are wrong, or nothing is proven, or a swap failed.
    VerdictFailed,
    /// 2: the command line asks for something that cannot be done.
    Usage,
    /// 3: the target cannot be reached, or could not be any more when the final count was to be read.
    Unreachable,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> ExitCode {
        ExitCode::from(status.code())
    }
}

impl ExitStatus {
    /// The status as the number that a shell sees.
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::CountsRight => 0,
            ExitStatus::VerdictFailed => 1,
            ExitStatus::Usage => 2,
            ExitStatus::Unreachable => 3,
        }
    }
}

impl Report {
    /// Whether the counts are right and, where swaps were asked for, none failed and one fell inside the traffic.
    pub fn passed(&self) -> bool {
        self.verdict.right() && self.swaps.as_ref().is_none_or(SwapReport::passed)
    }

    /// The verdict in one line.
    pub fn summary(&self) -> String {
        let counts = self.verdict.summary();
        match &self.swaps {
            Some(swaps) => swaps.summary(counts),
            None => counts,
        }
    }

    /// The status with which a program that made this run should end.
    pub fn exit_status(&self) -> ExitStatus {
        if self.verdict.final_count.is_none() {
            ExitStatus::Unreachable
        } else if self.passed() {
            ExitStatus::CountsRight
        } else {
            ExitStatus::VerdictFailed
        }
    }
}

/// What a run leaves behind.
pub(crate) struct Evidence {
    pub(crate) target: String,
    pub(crate) plugin: Result<String, String>,
    pub(crate) load: Load,
    /// The count before the load.
    pub(crate) start: i64,
    pub(crate) logs: Vec<ClientLog>,
    pub(crate) swaps: Option<SwapLog>,
    pub(crate) final_read: Option<Operation>,
    pub(crate) final_read_error: Option<String>,
    pub(crate) interrupted: bool,
}

/// Draws the conclusions.
pub(crate) fn summarise(mut evidence: Evidence) -> Report {
    let mut failed = Reasons::default();
    let mut unknown = Reasons::default();
    for log in &evidence.logs {
        failed.merge(&log.failed);
        unknown.merge(&log.unknown);
    }
    let swaps = evidence.swaps.take();
    let operations = || evidence.logs.iter().flat_map(|it| &it.operations);
    let calls_made = operations().count() as u64;
    let latency_us = LatencyUs::of(operations());
    let swaps = swaps.map(|it| SwapReport::of(it, operations()));
    let seconds = operations().map(|it| it.returned_ns).max().unwrap_or(0) as f64 / 1e9;
    let mut notes = notes(&evidence, calls_made);

    let load = evidence.load;
    let counts = Counts {
        start: evidence.start,
        reset: load.start == Start::Reset,
        sole_writer: load.sole_writer,
        final_read: evidence.final_read,
    };
    let verdict = Verdict::of(gather(evidence.logs, calls_made as usize), &counts);
    if verdict.reset_ignored {
        notes.push(format!(
            "after the acknowledged reset the count was {}: the reset does not work, or somebody else is counting",
            verdict.start
        ));
    }
    let rps = if 0.0 < seconds { verdict.acknowledged as f64 / seconds } else { 0.0 };
    let (target, plugin, interrupted) = (evidence.target, evidence.plugin, evidence.interrupted);
    Report {
        target,
        plugin,
        load,
        calls_made,
        seconds,
        rps,
        latency_us,
        verdict,
        failed,
        unknown,
        swaps,
        interrupted,
        notes,
    }
}

/// One history out of many, each freed once it is copied: at the largest load a second copy of all would be gigabytes.
fn gather(logs: Vec<ClientLog>, n_operations: usize) -> Vec<Operation> {
    let mut history = Vec::with_capacity(n_operations + 1);
    for log in logs {
        history.extend_from_slice(&log.operations);
    }
    history
}

fn notes(evidence: &Evidence, calls_made: u64) -> Vec<String> {
    let mut notes = Vec::new();
    let planned = evidence.load.clients as u64 * evidence.load.calls_per_client;
    if evidence.interrupted {
        notes.push(format!("interrupted: {calls_made} of {planned} calls were made"));
    }
    let mut stopped = evidence.logs.iter().filter_map(|it| it.stopped.as_deref());
    if let Some(reason) = stopped.next() {
        let n_stopped = 1 + stopped.count();
        let clients = evidence.load.clients;
        notes.push(format!(
            "{n_stopped} of {clients} clients {reason}; {calls_made} of {planned} calls were made"
        ));
    }
    if let Some(reason) = &evidence.final_read_error {
        notes.push(format!("the final count could not be read: {reason}"));
    }
    if !evidence.load.sole_writer {
        notes.push(
            "others write to this counter: doubled updates and missing values are not judged, and lost is a lower bound"
                .to_owned(),
        );
    }
    notes
}

pub(crate) const RULE: &str = "============================================================";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_results(f)?;
        self.write_latency(f)?;
        if let Some(swaps) = &self.swaps {
            swaps.write(f)?;
        }
        self.write_verdict(f)
    }
}

impl Report {
    /// The block that the original tester prints, to the letter: scripts read it.
    fn write_results(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{RULE}\nPERFORMANCE TEST RESULTS\n{RULE}")?;
        row(f, "Number of clients:", self.load.clients)?;
        row(f, "Calls per client:", self.load.calls_per_client)?;
        row(f, "Total calls made:", self.verdict.acknowledged)?;
        row(f, "Total time (seconds):", format_args!("{:.2}", self.seconds))?;
        row(f, "Requests per second (RPS):", format_args!("{:.2}", self.rps))?;
        row(f, "Final count:", known(self.verdict.final_count))?;
        writeln!(f, "{RULE}")
    }

    fn write_latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "LATENCY (microseconds)\n{RULE}")?;
        match self.latency_us {
            None => writeln!(f, "no increment was acknowledged")?,
            Some(LatencyUs { p50, p90, p99, p99_9, max }) => {
                for (name, us) in
                    [("p50:", p50), ("p90:", p90), ("p99:", p99), ("p99.9:", p99_9), ("max:", max)]
                {
                    row(f, name, format_args!("{us:.1}"))?;
                }
            }
        }
        writeln!(f, "{RULE}")
    }

    fn write_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = &self.verdict;
        writeln!(f, "VERDICT\n{RULE}")?;
        row(f, "Acknowledged:", verdict.acknowledged)?;
        row(f, "Final:", known(verdict.final_count))?;
        row(f, "Lost:", known(verdict.lost))?;
        row(f, "Doubled:", known(verdict.doubled))?;
        row(f, "Unknown:", verdict.unknown)?;
        write_reasons(f, &self.unknown)?;
        row(f, "Failed:", self.failed.total())?;
        write_reasons(f, &self.failed)?;
        match &verdict.linearizability {
            Linearizability::Yes { operations } => {
                row(f, "Linearizable:", format_args!("yes ({operations} operations checked)"))?;
            }
            Linearizability::No(violation) => {
                row(f, "Linearizable:", "no")?;
                row(f, "First violation:", violation)?;
            }
            Linearizability::NotJudged { reason } => {
                row(f, "Linearizable:", format_args!("not judged: {reason}"))?;
            }
        }
        for note in &self.notes {
            row(f, "Note:", note)?;
        }
        row(f, "Verdict:", self.summary())?;
        writeln!(f, "{RULE}")
    }
}

pub(crate) fn write_reasons(f: &mut fmt::Formatter<'_>, reasons: &Reasons) -> fmt::Result {
    for (reason, count) in reasons.iter() {
        row(f, "", format_args!("{count} x {reason}"))?;
    }
    Ok(())
}

pub(crate) fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:<29}{value}")
}

fn known(number: Option<impl fmt::Display>) -> String {
    number.map_or_else(|| "not known".to_owned(), |it| it.to_string())
}

#[cfg(test)]
pub(crate) mod tests;

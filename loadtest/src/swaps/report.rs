//! What is known of the swaps after a run.

use std::fmt;
use std::time::Duration;

use super::swapper::SwapLog;
use super::windows::{COMPARED_MIN, Side, WINDOW_MS, Windows};
use crate::history::Operation;
use crate::reasons::Reasons;
use crate::report::{RULE, row, write_reasons};

/// The swaps of a run, and what they did to its calls.
#[derive(Clone, Debug, PartialEq)]
pub struct SwapReport {
    /// The interval that was asked for.
    pub every: Duration,
    /// The plugins that were swapped in, in turn.
    pub between: Vec<String>,
    /// Swaps that succeeded.
    pub made: u64,
    /// Swaps that failed, per reason.
    pub failed: Reasons,
    /// Swaps that began late, because the one before took longer than the interval.
    pub late: u64,
    /// Successful swaps that began after the first operation had begun and ended before the last one returned.
    pub in_traffic: u64,
    /// How long each swap held calls back, in microseconds, as the server says; in the order of time.
    pub pauses_us: Vec<u64>,
    /// Longest time from asking for a swap to its answer, in microseconds; `None` without a swap.
    pub longest_swap_us: Option<f64>,
    /// How slow calls were with a swap, and without.
    pub windows: Windows,
}

impl SwapReport {
    pub(crate) fn of<'a>(
        log: SwapLog,
        operations: impl Iterator<Item = &'a Operation> + Clone,
    ) -> SwapReport {
        let first_ns = operations.clone().map(|it| it.invoked_ns).min().unwrap_or(u64::MAX);
        let last_ns = operations.clone().map(|it| it.returned_ns).max().unwrap_or(0);
        let inside = log.made.iter().filter(|it| first_ns <= it.begin_ns && it.end_ns <= last_ns);
        let longest_ns = log.made.iter().map(|it| it.end_ns - it.begin_ns).max();
        SwapReport {
            in_traffic: inside.count() as u64,
            made: log.made.len() as u64,
            pauses_us: log.made.iter().map(|it| it.paused_us).collect(),
            longest_swap_us: longest_ns.map(|it| it as f64 / 1_000.0),
            windows: Windows::of(&log.made, operations),
            every: log.every,
            between: log.between,
            failed: log.failed,
            late: log.late,
        }
    }

    /// Longest time for which a swap held calls back, in microseconds; `None` without a swap.
    pub fn longest_pause_us(&self) -> Option<u64> {
        self.pauses_us.iter().copied().max()
    }

    /// Whether the run shows nothing about swaps, because no successful one fell inside its traffic.
    pub fn void(&self) -> bool {
        self.in_traffic == 0
    }

    /// Whether no swap failed, and at least one fell inside the traffic.
    pub fn passed(&self) -> bool {
        !self.void() && self.failed.total() == 0
    }

    /// The verdict on the counts in one line, with what the swaps add to it.
    pub(crate) fn summary(&self, counts: String) -> String {
        let failed = self.failed.total();
        let both = match failed {
            0 => counts,
            _ => format!("{counts}; {failed} of {} swaps failed", failed + self.made),
        };
        if self.void() {
            return format!(
                "VOID: no swap fell inside the traffic, so nothing is proven of swaps ({both})"
            );
        }
        both
    }

    pub(crate) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = "no swap was made";
        writeln!(f, "SWAPS\n{RULE}")?;
        row(f, "Swaps made:", self.made)?;
        row(f, "Swaps failed:", self.failed.total())?;
        write_reasons(f, &self.failed)?;
        row(f, "Swaps inside the traffic:", self.in_traffic)?;
        row(f, "Swaps that began late:", self.late)?;
        let pause = self.longest_pause_us().map(|us| format!("{us} µs"));
        row(f, "Longest pause:", pause.as_deref().unwrap_or(unknown))?;
        let longest = self.longest_swap_us.map(|us| format!("{us:.1} µs"));
        row(f, "Longest swap:", longest.as_deref().unwrap_or(unknown))?;
        row(f, "p99.9 with a swap:", side(&self.windows.with_swap))?;
        row(f, "p99.9 without, steady:", side(&self.windows.steady))?;
        match self.windows.ratio() {
            Some(ratio) => row(f, "Ratio of the two:", format_args!("{ratio:.2}"))?,
            None => row(
                f,
                "Ratio of the two:",
                format_args!("too few operations, each needs {COMPARED_MIN}"),
            )?,
        }
        writeln!(f, "{RULE}")
    }
}

fn side(side: &Side) -> String {
    let operations = side.operations;
    match side.p99_9_us {
        Some(us) => format!("{us:.1} µs ({operations} operations, windows of {WINDOW_MS} ms)"),
        None => "no operations".to_owned(),
    }
}

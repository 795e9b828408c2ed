//! How far the run is: a bar on a terminal, plain lines elsewhere. Always on stderr.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two updates of the bar, in milliseconds.
const BAR_PERIOD_MS: u64 = 100;

/// Time between two plain lines, in milliseconds.
const LINE_PERIOD_MS: u64 = 1_000;

/// Without colours, and so the same with and without NO_COLOR.
const BAR_TEMPLATE: &str =
    "[{elapsed_precise}] {bar:40} {human_pos}/{human_len} calls {per_sec} eta {eta}";

/// Where and how progress is shown.
#[derive(Clone, Copy, Debug)]
pub struct Progress(Display);

#[derive(Clone, Copy, Debug)]
enum Display {
    Silent,
    Bar,
    Lines,
}

impl Progress {
    /// Shows nothing.
    pub fn silent() -> Progress {
        Progress(Display::Silent)
    }

    /// A bar if stderr is a terminal, otherwise a line per second.
    pub fn stderr() -> Progress {
        Progress(if stderr().is_terminal() { Display::Bar } else { Display::Lines })
    }

    /// Begins to show a run of `calls` calls.
    pub(crate) fn begin(self, calls: u64) -> Meter {
        let bar = match self.0 {
            Display::Silent => None,
            Display::Lines => Some(Shown::Lines { calls, previous: (0, Duration::ZERO) }),
            Display::Bar => {
                let bar = ProgressBar::new(calls);
                if let Ok(style) = ProgressStyle::with_template(BAR_TEMPLATE) {
                    bar.set_style(style);
                }
                Some(Shown::Bar(bar))
            }
        };
        Meter(bar)
    }
}

/// The progress display of one run.
pub(crate) struct Meter(Option<Shown>);

enum Shown {
    Bar(ProgressBar),
    Lines {
        calls: u64,
        /// Calls and time at the last line.
        previous: (u64, Duration),
    },
}

impl Meter {
    /// How often [`Meter::show`] is worth calling.
    pub(crate) fn period(&self) -> Duration {
        Duration::from_millis(match self.0 {
            Some(Shown::Bar(_)) => BAR_PERIOD_MS,
            Some(Shown::Lines { .. }) | None => LINE_PERIOD_MS,
        })
    }

    /// Shows that `made` calls were made in `elapsed`.
    pub(crate) fn show(&mut self, made: u64, elapsed: Duration) {
        match &mut self.0 {
            Some(Shown::Bar(bar)) => bar.set_position(made),
            Some(Shown::Lines { calls, previous }) => {
                if let Some(line) = line(made, elapsed, *calls, *previous) {
                    // Nothing can be done about a closed stderr, and the run is worth finishing without it.
                    let _ = writeln!(stderr(), "{line}");
                    *previous = (made, elapsed);
                }
            }
            None => {}
        }
    }

    /// Takes the bar away, so that the results stand alone.
    pub(crate) fn end(&mut self) {
        if let Some(Shown::Bar(bar)) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The plain line for a moment of the run; `None` within the first second, which says nothing yet.
fn line(made: u64, elapsed: Duration, calls: u64, previous: (u64, Duration)) -> Option<String> {
    let (previous_made, previous_elapsed) = previous;
    let since = elapsed.saturating_sub(previous_elapsed).as_secs_f64();
    if elapsed.as_secs() == 0 || since <= 0.0 {
        return None;
    }
    let rate = made.saturating_sub(previous_made) as f64 / since;
    Some(format!("{}s {made}/{calls} calls {rate:.0} calls/s", elapsed.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_shows_the_rate_since_the_one_before() {
        let at = Duration::from_secs(3);
        let before = (80_000, Duration::from_secs(2));
        assert_eq!(
            line(120_213, at, 1_000_000, before).as_deref(),
            Some("3s 120213/1000000 calls 40213 calls/s")
        );
        assert_eq!(line(5, Duration::from_millis(10), 10, (0, Duration::ZERO)), None);
    }
}

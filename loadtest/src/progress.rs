//! How far the run is: a bar on a terminal, plain lines elsewhere. Always on stderr.

use std::fmt;
use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Time between two updates of the bar, in milliseconds.
const BAR_PERIOD_MS: u64 = 100;

/// Time between two plain lines, in milliseconds.
const LINE_PERIOD_MS: u64 = 1_000;

/// Without colours, and so the same with and without NO_COLOR. The numbers of the largest run take 45 columns, and the bar
/// takes the others.
const BAR_TEMPLATE: &str = "{elapsed} {wide_bar} {percent}% {human_pos} calls {rate}/s eta {eta}";

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
            Display::Bar => Some(Shown::Bar(bar(calls, ProgressDrawTarget::stderr()))),
        };
        Meter(bar)
    }
}

/// A bar for `calls` calls.
fn bar(calls: u64, target: ProgressDrawTarget) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(calls), target);
    if let Ok(style) = ProgressStyle::with_template(BAR_TEMPLATE) {
        bar.set_style(style.with_key("rate", write_rate));
    }
    bar
}

/// Calls per second, as a whole number.
fn write_rate(state: &ProgressState, out: &mut dyn fmt::Write) {
    // The text that it is written to takes everything.
    let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
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
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use crate::cli::CALLS_MAX;

    use super::*;

    /// Columns of a narrow terminal.
    const COLUMNS: u16 = 50;

    /// Keeps what is written to a terminal.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<String>>);

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            COLUMNS
        }
        fn move_cursor_up(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _n: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().expect("no panic").push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().expect("no panic").clear();
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_bar_of_the_largest_run_fits_a_narrow_terminal_and_shows_whole_numbers() {
        let paper = Paper::default();
        let bar = bar(CALLS_MAX, ProgressDrawTarget::term_like(Box::new(paper.clone())));
        for made in [0, 1, CALLS_MAX / 3, CALLS_MAX - 1] {
            bar.set_position(made);
            bar.force_draw();
            let shown = paper.0.lock().expect("no panic").trim_end().to_owned();
            assert!(shown.contains(&HumanCount(made).to_string()), "{made}: {shown}");
            assert!(shown.contains(" calls ") && shown.contains("/s eta "), "{shown}");
            assert!(shown.chars().count() <= usize::from(COLUMNS), "{shown}");
            assert!(!shown.contains('.'), "{shown}");
        }
    }

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

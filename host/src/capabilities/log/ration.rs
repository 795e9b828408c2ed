//! How many lines may be written in a second.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long lines are counted before the ration is fresh again.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts the lines of all threads.
pub struct Ration {
    lines_per_second_max: u32,
    window: Mutex<Window>,
}

struct Window {
    began: Instant,
    lines: u32,
    dropped: u64,
}

/// What is to be done with a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Log it, after saying how many lines were dropped before it.
    Log {
        /// So many.
        dropped_before: u64,
    },
    /// Drop it.
    Drop,
}

impl Ration {
    /// Allows `lines_per_second_max` lines in a second.
    pub fn new(lines_per_second_max: u32) -> Self {
        let window = Window { began: Instant::now(), lines: 0, dropped: 0 };
        Self { lines_per_second_max, window: Mutex::new(window) }
    }

    /// What is to be done with a line that comes now.
    pub fn judge(&self) -> Verdict {
        self.judge_at(Instant::now())
    }

    fn judge_at(&self, now: Instant) -> Verdict {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped_before = 0;
        if now.duration_since(window.began) >= WINDOW {
            dropped_before = window.dropped;
            *window = Window { began: now, lines: 0, dropped: 0 };
        }
        if window.lines < self.lines_per_second_max {
            window.lines += 1;
            Verdict::Log { dropped_before }
        } else {
            window.dropped += 1;
            Verdict::Drop
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_ration_are_counted_and_dropped() {
        let ration = Ration::new(2);
        let start = ration.window.lock().unwrap().began;
        let at = |ms| ration.judge_at(start + Duration::from_millis(ms));
        let logged = |dropped_before| Verdict::Log { dropped_before };
        assert_eq!([at(0), at(1)], [logged(0), logged(0)]);
        assert_eq!([at(2), at(999)], [Verdict::Drop, Verdict::Drop]);
        assert_eq!(
            [at(1000), at(1001)],
            [logged(2), logged(0)],
            "a fresh ration, and the count once"
        );
    }
}

//! Turns at computing on one thread, between which its event loop looks for input: a plugin that computes all the
//! time would else keep everything from being answered that does not need it, such as the health of the host.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::{sync::Semaphore, task};

use super::engine::ticks;

/// A call that has computed for as long is a long one.
const LONG: Duration = Duration::from_millis(20);

/// How many ticks after a long call others are expected: 10 s.
const LONG_EXPECTED_TICKS: u64 = 2_000;

/// The turns of the calls of one plugin on one thread.
pub struct Turns {
    /// The tick in which the event loop has looked for input last, as far as is known.
    looked: AtomicU64,
    /// The tick until which long calls are expected.
    long_until: AtomicU64,
    /// Whoever waits for the event loop; the others wait behind.
    next: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { looked: AtomicU64::new(0), long_until: AtomicU64::new(0), next: Semaphore::new(1) }
    }
}

impl Turns {
    /// Whether the event loop has looked for input within this tick, so that a call may compute at once.
    pub fn is_free(&self) -> bool {
        self.looked.load(Relaxed) == ticks()
    }

    /// Waits for a turn. Those who wait have theirs in the order in which they came, and once a tick has passed, each
    /// of them after another look for input: so at most one computes for long between two looks.
    pub async fn take(&self) {
        if self.is_free() {
            return;
        }
        let _next = self.next.acquire().await.expect("the semaphore is never closed");
        if !self.is_free() {
            // tokio's own yield lets the event loop look for input before this goes on; a plain one
            // only lets other tasks run that are ready already.
            task::yield_now().await;
            self.looked.store(ticks(), Relaxed);
        }
    }

    /// Notes for how long a call has computed.
    pub fn note(&self, computed: Duration) {
        if LONG <= computed {
            self.long_until.store(ticks() + LONG_EXPECTED_TICKS, Relaxed);
        }
    }

    /// Whether there was a long call of late.
    pub fn expect_long_calls(&self) -> bool {
        ticks() < self.long_until.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tokio::{runtime, task::LocalSet};

    use super::{
        super::engine::{TICK, advance},
        *,
    };

    #[test]
    fn the_event_loop_looks_for_input_between_two_calls_that_compute_for_long_and_no_more_often() {
        // Ticks that each call computes for, and the looks that there are at least beside ten of them.
        for (ticks, looks_min, looks_max) in [(1, 10, 12), (0, 0, 3)] {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let looks = Rc::new(Cell::new(0));
            let turns = Rc::new(Turns::default());
            LocalSet::new().block_on(&runtime, async {
                let looking = task::spawn_local({
                    let looks = looks.clone();
                    async move {
                        loop {
                            task::yield_now().await;
                            looks.set(looks.get() + 1);
                        }
                    }
                });
                let calls = [(); 10].map(|()| {
                    let turns = turns.clone();
                    task::spawn_local(async move {
                        turns.take().await;
                        advance(ticks);
                    })
                });
                for call in calls {
                    call.await.unwrap();
                }
                looking.abort();
            });
            let looks = looks.get();
            assert!((looks_min..=looks_max).contains(&looks), "{looks} looks, {ticks} ticks");
        }
    }

    #[test]
    fn long_calls_are_expected_after_one_and_not_after_others() {
        let turns = Turns::default();
        turns.note(LONG - TICK);
        assert!(!turns.expect_long_calls());
        turns.note(LONG);
        assert!(turns.expect_long_calls());
        advance(LONG_EXPECTED_TICKS);
        assert!(!turns.expect_long_calls());
    }
}

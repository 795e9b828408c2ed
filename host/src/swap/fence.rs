//! The part of a swap in which calls are held back, and what a forced one does when they do not end.

use std::{fmt, rc::Rc, time::Duration};

use tokio::time::timeout;

use super::{
    error::SwapError,
    handover::{FORCED_TIME_MIN, Handover},
    holdings::{Counters, Deadline},
    probe::PROBE_TIME_MAX,
    tick,
};
use crate::plugin::{
    dispatch::{Step, Threads},
    pool::{BREAK_OFF_TIME_MAX, Pool},
};

/// What the last work of a plugin has at least, when the calls before have used up the pause of a forced swap.
const LAST_WORK_TIME_MIN: Duration = Duration::from_secs(1);

/// What a forced swap has cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forced {
    /// Calls that were broken off; whether they counted is unknown.
    pub broken_off: usize,
    /// Why the last work of the old plugin was not done, with which what it had not saved is lost.
    pub lost: Option<String>,
}

impl Forced {
    /// Whether it would have been the same without force.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// `error`, and what was broken off before it.
    fn before(&self, error: SwapError) -> SwapError {
        if self.is_nothing() {
            return error;
        }
        let with = |why| format!("{why}; before that, {self}");
        match error {
            SwapError::Refused(why) => SwapError::Refused(with(why)),
            SwapError::NotNow(why) => SwapError::NotNow(with(why)),
            SwapError::CarryOrLeave(why) => SwapError::CarryOrLeave(with(why)),
            other => other,
        }
    }
}

impl fmt::Display for Forced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.broken_off {
            1 => f.write_str("1 call was broken off")?,
            calls => write!(f, "{calls} calls were broken off")?,
        }
        match &self.lost {
            Some(why) => write!(f, "; what the old plugin had not saved is lost: {why}"),
            None => Ok(()),
        }
    }
}

/// What is needed to hold calls back.
pub struct Fence<'a> {
    /// The threads that call the plugin.
    pub threads: &'a Threads,
    /// The pool of the old plugin on this thread.
    pub old: &'a Rc<Pool>,
    /// What is done meanwhile.
    pub handover: &'a Handover,
    /// For how long.
    pub pause_max: Duration,
}

impl Fence<'_> {
    /// Closes the gate on all threads, lets the old plugin do its last work, and hands the counts over. The gate
    /// stays closed.
    pub async fn hold_back(&self) -> Result<Option<Counters>, SwapError> {
        let too_long = self.too_long();
        let deadline = Deadline::after(self.pause_max, too_long.clone());
        let closed = async {
            let (_, closed) = self.threads.all(Step::Close(self.pause_max)).await;
            closed.map_err(SwapError::Refused)?;
            tick(self.old).await.map_err(|why| {
                SwapError::Refused(format!(
                    "{why}: --force (\"force\":true) swaps all the same, and loses what the plugin has not saved"
                ))
            })
        };
        timeout(self.pause_max, closed).await.unwrap_or_else(|_| {
            Err(SwapError::NotNow(format!(
                "{too_long}: --force (\"force\":true) breaks off calls that do not end"
            )))
        })?;
        self.handover.make(&deadline).await
    }

    /// As [`Self::hold_back`], but breaks off what takes too long, and notes it in `forced`.
    pub async fn force(&self, forced: &mut Forced) -> Result<Option<Counters>, SwapError> {
        let deadline = Deadline::after(self.pause_max, String::new());
        // The gate opens by itself only if this can't open it.
        let held_max = self.pause_max + 2 * (FORCED_TIME_MIN + BREAK_OFF_TIME_MAX) + PROBE_TIME_MAX;
        let made = async {
            match timeout(self.pause_max, self.threads.all(Step::Close(held_max))).await {
                Ok((_, closed)) => closed.map_err(SwapError::Refused)?,
                Err(_) => self.break_off(forced).await?,
            }
            self.last_work(deadline.left().max(LAST_WORK_TIME_MIN), forced).await?;
            self.handover.try_again().await?;
            let time_max = deadline.left().max(FORCED_TIME_MIN);
            self.handover.make(&Deadline::after(time_max, self.too_long())).await
        };
        let made = made.await;
        made.map_err(|error| forced.before(error))
    }

    /// Lets the old plugin do its last work, and goes on without it if that fails or does not end.
    async fn last_work(&self, time_max: Duration, forced: &mut Forced) -> Result<(), SwapError> {
        forced.lost = match timeout(time_max, tick(self.old)).await {
            Ok(done) => done.err(),
            Err(_) => {
                self.break_off(forced).await?;
                let (name, ms) = (self.old.plugin().name(), time_max.as_millis());
                Some(format!("the work of {name} at an interval was broken off after {ms} ms"))
            }
        };
        Ok(())
    }

    async fn break_off(&self, forced: &mut Forced) -> Result<(), SwapError> {
        let (calls, ended) = self.threads.all(Step::BreakOff).await;
        forced.broken_off += calls;
        ended.map_err(SwapError::NotNow)
    }

    fn too_long(&self) -> String {
        format!(
            "calls would have been held back for longer than --swap-pause-max ({} ms), so {}",
            self.pause_max.as_millis(),
            self.handover.changed()
        )
    }
}

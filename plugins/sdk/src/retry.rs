//! Bounded retries with exponential backoff.

use core::time::Duration;

use crate::{Error, settings::setting, wasi::clocks::monotonic_clock};

/// What a plugin may wait in all: less than the host's default for a call (10 s), so that who gives up says so (a
/// conflict, nothing was changed) before the host has to say that the outcome is unknown.
pub const WAIT_MAX: Duration = Duration::from_secs(8);

/// How often a step is tried again, and how long to wait in between.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    /// Retries after the first attempt; 0 means one attempt only.
    pub retries_max: u32,
    /// Wait before the first retry; it doubles from one retry to the next.
    pub delay_first: Duration,
    /// The longest wait, before jitter.
    pub delay_max: Duration,
    /// All waits together, before jitter; a retry that would need more is not made.
    pub wait_max: Duration,
}

impl RetryBudget {
    /// This budget with the plugin's settings `do-retries` (`true` or `false`), `retries-max` (a whole number) and
    /// `retry-wait-max` (in ms) applied to it.
    ///
    /// # Errors
    ///
    /// [`Error::Other`] when one of them is something else.
    pub fn with_settings(self) -> Result<Self, Error> {
        let retries_max = setting("retries-max", "a whole number")?.unwrap_or(self.retries_max);
        let do_retries = setting("do-retries", "true or false")?.unwrap_or(true);
        let wait_max = setting("retry-wait-max", "a whole number of ms")?;
        Ok(Self {
            retries_max: if do_retries { retries_max } else { 0 },
            wait_max: wait_max.map_or(self.wait_max, Duration::from_millis),
            ..self
        })
    }

    /// The wait before retry number `retry`, counted from 0, without jitter:
    /// `delay_first` · 2^`retry`, at most `delay_max`.
    pub fn delay(&self, retry: u32) -> Duration {
        let factor = 1u32.checked_shl(retry).unwrap_or(u32::MAX);
        self.delay_first.saturating_mul(factor).min(self.delay_max)
    }
}

/// Runs `step` until it returns a value, at most `budget.retries_max` times more.
///
/// `step` returns none when somebody was in the way. Up to 10 % of jitter is added to each wait,
/// so that two callers that met once do not meet again at the same moment.
///
/// # Errors
///
/// [`Error::Conflict`] when the budget is used up; an error of `step` at once.
pub fn retry<T>(
    budget: &RetryBudget,
    step: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    retry_with(budget, step, |delay| {
        let nanoseconds = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let jitter = monotonic_clock::now() % (nanoseconds / 10).max(1);
        monotonic_clock::subscribe_duration(nanoseconds.saturating_add(jitter)).block();
    })
}

fn retry_with<T>(
    budget: &RetryBudget,
    mut step: impl FnMut() -> Result<Option<T>, Error>,
    mut sleep: impl FnMut(Duration),
) -> Result<T, Error> {
    let mut waited = Duration::ZERO;
    for retry in 0..=budget.retries_max {
        if let Some(value) = step()? {
            return Ok(value);
        }
        let delay = budget.delay(retry);
        waited = waited.saturating_add(delay);
        if budget.retries_max <= retry || budget.wait_max < waited {
            break;
        }
        sleep(delay);
    }
    Err(Error::Conflict)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: RetryBudget = RetryBudget {
        retries_max: 4,
        delay_first: Duration::from_millis(10),
        delay_max: Duration::from_millis(50),
        wait_max: Duration::from_secs(1),
    };

    #[test]
    fn delays_double_up_to_the_longest() {
        let delays: Vec<u128> = (0..5).map(|retry| BUDGET.delay(retry).as_millis()).collect();
        assert_eq!(delays, [10, 20, 40, 50, 50]);
        assert_eq!(BUDGET.delay(u32::MAX), BUDGET.delay_max, "no overflow");
    }

    #[test]
    fn success_ends_the_retries() {
        let (mut attempts, mut slept) = (0, Vec::new());
        let result = retry_with(
            &BUDGET,
            || {
                attempts += 1;
                Ok((attempts == 3).then_some("done"))
            },
            |delay| slept.push(delay.as_millis()),
        );
        assert_eq!((result.ok(), attempts, slept), (Some("done"), 3, vec![10, 20]));
    }

    #[test]
    fn a_used_up_budget_is_a_conflict() {
        let (mut attempts, mut sleeps) = (0, 0);
        let result: Result<(), Error> = retry_with(
            &BUDGET,
            || {
                attempts += 1;
                Ok(None)
            },
            |_| sleeps += 1,
        );
        assert!(matches!(result, Err(Error::Conflict)));
        assert_eq!(
            (attempts, sleeps),
            (5, 4),
            "one attempt and four retries, no sleep after the last"
        );
    }

    #[test]
    fn waits_that_would_be_too_long_in_all_are_not_begun() {
        for (wait_max_ms, expected) in [(0, vec![]), (69, vec![10, 20]), (70, vec![10, 20, 40])] {
            let budget = RetryBudget { wait_max: Duration::from_millis(wait_max_ms), ..BUDGET };
            let mut slept = Vec::new();
            let result: Result<(), Error> =
                retry_with(&budget, || Ok(None), |delay| slept.push(delay.as_millis()));
            assert!(matches!(result, Err(Error::Conflict)));
            assert_eq!(slept, expected);
        }
    }

    #[test]
    fn an_error_is_not_retried() {
        let mut attempts = 0;
        let result: Result<(), Error> = retry_with(
            &BUDGET,
            || {
                attempts += 1;
                Err(Error::Overflow)
            },
            |_| {},
        );
        assert!(matches!(result, Err(Error::Overflow)));
        assert_eq!(attempts, 1);
    }
}

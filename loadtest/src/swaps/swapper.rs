//! Asks for one swap after the other.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::bail;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use tally_host::client::{Answer, ClientError, TOKEN_ADVICE};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Swaps, Token};
use crate::reasons::Reasons;
use crate::run::nanoseconds;

/// Longest wait for the first answer of the admin listener, in seconds.
const CHECK_TIME_S_MAX: u64 = 5;

/// Longest wait for one swap, in seconds: the old plugin may have to finish its calls first.
const SWAP_TIME_S_MAX: u64 = 60;

const OK: u16 = 200;

const UNAUTHORIZED: u16 = 401;

/// One swap that was made. Times are those of the run's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Swap {
    /// Before it was asked for.
    pub(crate) begin_ns: u64,
    /// After it was answered.
    pub(crate) end_ns: u64,
    /// How long calls were held back, as the server says.
    pub(crate) paused_us: u64,
}

/// Everything about the swaps of one run.
#[derive(Clone, Debug)]
pub(crate) struct SwapLog {
    pub(crate) every: Duration,
    pub(crate) between: Vec<String>,
    /// Those that succeeded, in the order of time.
    pub(crate) made: Vec<Swap>,
    /// Why others failed.
    pub(crate) failed: Reasons,
    /// Swaps, made or failed, that began late because the one before took too long.
    pub(crate) late: u64,
}

impl SwapLog {
    pub(crate) fn new(swaps: &Swaps) -> SwapLog {
        let (every, between) = (swaps.every, swaps.between.clone());
        SwapLog { every, between, made: Vec::new(), failed: Reasons::default(), late: 0 }
    }
}

/// The part of the answer to a swap that matters here.
#[derive(Deserialize)]
struct Swapped {
    paused_us: u64,
}

impl Swaps {
    /// Shows that the admin listener answers, without changing anything.
    pub(crate) async fn check(&self) -> anyhow::Result<()> {
        let (path, admin) = ("/admin/plugins", &self.admin);
        let time_max = Duration::from_secs(CHECK_TIME_S_MAX);
        let answer = match self.admin.request(Method::GET, path, None, self.token(), time_max).await
        {
            Ok(answer) => answer,
            Err(err) => bail!("no swap can be asked for, because {err} (--admin)"),
        };
        if answer.status != OK {
            let advice = if answer.status == UNAUTHORIZED { TOKEN_ADVICE } else { "check --admin" };
            let reason = answer.reason();
            bail!(
                "no swap can be asked for, because {admin} answered GET {path} with {reason}: {advice}"
            );
        }
        Ok(())
    }

    /// Makes swaps until `ended` says that the load has ended. One that is under way then is waited for, so that the
    /// final count is not read in the middle of it.
    pub(crate) async fn make(&self, origin: Instant, ended: oneshot::Receiver<()>) -> SwapLog {
        let mut ended = pin!(ended);
        let mut log = SwapLog::new(self);
        let mut due = self.every;
        let mut late = false;
        for plugin in self.between.iter().cycle() {
            let wait = due.saturating_sub(origin.elapsed());
            if timeout(wait, &mut ended).await.is_ok() {
                break;
            }
            log.late += u64::from(late);
            let begin = origin.elapsed();
            let swapped = self.swap_to(plugin).await;
            let end = origin.elapsed();
            match swapped {
                Ok(paused_us) => log.made.push(Swap {
                    begin_ns: nanoseconds(begin),
                    end_ns: nanoseconds(end),
                    paused_us,
                }),
                Err(reason) => log.failed.add(&reason),
            }
            due = due.saturating_add(self.every);
            late = due < end;
            // The time that was lost is not caught up with swaps in quick succession.
            due = due.max(end);
        }
        log
    }

    /// Makes one swap and returns how long it held calls back, in microseconds, or why it failed.
    async fn swap_to(&self, plugin: &str) -> Result<u64, String> {
        let body = json!({ "plugin": plugin });
        let time_max = Duration::from_secs(SWAP_TIME_S_MAX);
        let asked =
            self.admin.request(Method::PUT, "/admin/plugin", Some(&body), self.token(), time_max);
        outcome(asked.await)
    }

    fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }
}

fn outcome(answered: Result<Answer, ClientError>) -> Result<u64, String> {
    let answer = answered.map_err(|err| err.to_string())?;
    if answer.status != OK {
        return Err(answer.reason());
    }
    match serde_json::from_str::<Swapped>(&answer.body) {
        Ok(swapped) => Ok(swapped.paused_us),
        Err(_) => Err("200 OK without `paused_us`, as no swap is answered".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_speaks_of_a_swap_is_one() {
        let whole = r#"{"generation":2,"plugin":"a","fenced":true,"paused_us":7,"drained_us":9}"#;
        let refused = r#"{"title":"Conflict","status":409,"detail":"a swap is under way"}"#;
        let cases = [
            (200, whole, Ok(7)),
            (200, "{}", Err("200 OK without `paused_us`, as no swap is answered")),
            (200, "ok", Err("200 OK without `paused_us`, as no swap is answered")),
            (202, whole, Err("202 Accepted")),
            (404, "", Err("404 Not Found")),
            (409, refused, Err("409 Conflict: a swap is under way")),
        ];
        for (status, body, expected) in cases {
            let answer = Answer { status, body: body.to_owned() };
            assert_eq!(outcome(Ok(answer)), expected.map_err(str::to_owned), "{status} {body}");
        }
        let broken = ClientError::Unanswered("it did not answer".to_owned());
        assert_eq!(outcome(Err(broken)), Err("it did not answer".to_owned()));
    }
}

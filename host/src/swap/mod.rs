//! Exchanging the active plugin while requests are served.
//!
//! Whatever asks for it, a swap takes the same way, and until the last step but one the old generation
//! serves as if nothing happened:
//!
//! 1. find the plugin, read and compile it, check its imports against its grants ([`candidate`])
//! 2. instantiate it and call it on a scratch key (`probe`)
//! 3. make a pool with an instance on each thread
//! 4. if the old plugin and the new one may not count at the same moment: hold calls back until those
//!    under way have ended, and carry the counts if that was asked for (`carry`)
//! 5. publish: each thread serves with the new plugin
//! 6. let the calls of the old plugin end, and drop what it was lent

pub mod candidate;
mod carry;
mod choice;
pub mod directory;
pub mod error;
pub mod fence;
mod handover;
pub mod holdings;
pub mod journal;
mod probe;
pub mod request;
pub mod settings;
pub mod start;
pub mod status;

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::time::timeout;

use self::{
    candidate::{Candidate, Candidates},
    error::SwapError,
    fence::{Fence, Forced},
    handover::{Handover, Wish},
    holdings::{Counters, Holdings},
    journal::{Journal, Serving},
    request::{Change, Done, Request, Requests, Swapped, Terms},
    settings::SwapSettings,
    status::{Attempt, Status},
};
use crate::{
    plugin::{
        dispatch::{Dispatcher, Step, Threads},
        generation::{Choice, Generation, Trigger},
        pool::Pool,
    },
    telemetry::spans,
};

/// How long all threads may take to make an instance each.
const PREPARE_TIME_MAX: Duration = Duration::from_secs(5);

/// Makes swaps, one at a time. It belongs to the thread of its dispatcher.
pub struct Swapper {
    /// Its bounds.
    pub settings: SwapSettings,
    /// Where new plugins come from.
    pub candidates: Candidates,
    /// The threads that call the plugin.
    pub threads: Threads,
    /// One of them: the thread on which swaps are made.
    pub dispatcher: Rc<Dispatcher>,
    /// Where it tells what the swaps have come to.
    pub status: Arc<Status>,
    /// Where it remembers who serves, and where the counts are.
    pub journal: Arc<Journal>,
}

impl Swapper {
    /// Makes the swaps that are asked for, until nobody can ask any more.
    pub async fn run(self, mut requests: Requests) {
        while let Some(Request { change, terms, trigger, reply }) = requests.recv().await {
            let from = self.status.active().plugin.name().to_owned();
            let make = self.make(change, terms, trigger);
            let outcome = spans::cover_swap(&from, trigger, make).await;
            // Whoever asked may have left; the swap is made all the same.
            let _ = reply.send(outcome);
        }
    }

    async fn make(
        &self,
        change: Change,
        terms: Terms,
        trigger: Trigger,
    ) -> Result<Done, SwapError> {
        let active = self.status.active();
        let wanted = change.to_string();
        let found = self.candidates.find(change, &self.status).await;
        let (plugin, outcome) = match found {
            Ok(None) => {
                spans::swap_ended(&wanted, Ok("unchanged"));
                return Ok(Done::Unchanged);
            }
            Ok(Some(candidate)) => {
                let name = candidate.plugin.name().to_owned();
                (name, self.exchange(&active, candidate, terms, trigger).await)
            }
            Err(error) => (wanted, Err(error)),
        };
        let from = active.plugin.name().to_owned();
        match &outcome {
            Ok(swapped) => log(swapped, &from, trigger),
            Err(error) => {
                tracing::warn!(plugin, from, %trigger, "not swapped, {from} goes on: {error}");
            }
        }
        spans::swap_ended(&plugin, outcome.as_ref().map(|_| "swapped"));
        let at = SystemTime::now();
        self.status.ended(Attempt { at, trigger, from, plugin, outcome: outcome.clone() });
        outcome.map(|swapped| Done::Swapped(Box::new(swapped)))
    }

    async fn exchange(
        &self,
        active: &Arc<Generation>,
        candidate: Candidate,
        terms: Terms,
        trigger: Trigger,
    ) -> Result<Swapped, SwapError> {
        let old = self.dispatcher.pool();
        // With the connections of this thread, where they lead to the same place.
        let new = Pool::after(candidate.plugin.clone(), &old);
        let from = (old.clone(), Serving::of(active));
        let serves = Choice::of(&candidate.plugin);
        let to = (new, Serving::from_now(serves, candidate.chosen.clone()));
        let (counts, overwrite, force) = (terms.counts_after(active), terms.overwrite, terms.force);
        let wish = Wish { counts, overwrite, force, trigger };
        let handover = Handover::prepare(from, to, &self.journal, wish).await?;
        let (from, to) = (active.plugin.protocol(), candidate.plugin.protocol());
        // The last work of a plugin is part of its counts, and must be done before others count.
        let fenced = !handover.keeps()
            || old.plugin().exports().ticks()
            || !from.may_overlap(to)
            || !handover.is_tried();
        let mut began = Instant::now();
        let prepared = async {
            self.make_ready(&candidate).await?;
            handover.make_room().await
        };
        let mut outcome = prepared.await.map(|()| None);
        let mut forced = Forced::default();
        if outcome.is_ok() && fenced {
            began = Instant::now();
            let pause_max = terms.pause_max.unwrap_or(self.settings.pause_max());
            let (threads, handover) = (&self.threads, &handover);
            let fence = Fence { threads, old: &old, handover, pause_max };
            outcome = if force { fence.force(&mut forced).await } else { fence.hold_back().await };
        }
        let carried = match outcome {
            Ok(carried) => carried,
            Err(error) => {
                // It fails only when the host is stopping.
                let _ = self.threads.all(Step::Abandon).await;
                handover.undo().await;
                return Err(error);
            }
        };
        let next = Generation {
            number: active.number + 1,
            plugin: candidate.plugin,
            setup: candidate.setup,
            read: candidate.read,
            chosen: candidate.chosen,
            since: SystemTime::now(),
            trigger,
            carried: carried.is_some(),
        };
        let (generation, plugin) = (next.number, next.plugin.name().to_owned());
        self.status.published(Arc::new(next));
        let published = Instant::now();
        let publish = Step::Publish { drain_max: self.settings.drain_max(), force };
        let (calls, ended) = self.threads.all(publish).await;
        forced.broken_off += calls;
        // A thread that has ended, because the host is stopping, serves nobody.
        if let Err(why) = ended {
            tracing::warn!("the plugin before goes on: {why}");
        }
        let (paused, drained) = (began.elapsed(), published.elapsed());
        let left = handover.finish().await;
        // Such as a listing that did not end.
        if force {
            let (calls, ended) = old.break_off().await;
            forced.broken_off += calls;
            if let Err(why) = ended {
                tracing::warn!("the plugin before goes on: {why}");
            }
        }
        let paused = if fenced { paused } else { Duration::ZERO };
        let forced = force.then_some(forced);
        Ok(Swapped { generation, plugin, fenced, paused, drained, carried, left, forced })
    }

    /// Makes a pool and an instance on each thread.
    async fn make_ready(&self, candidate: &Candidate) -> Result<(), SwapError> {
        let steps = self.threads.all(Step::Prepare(candidate.plugin.clone()));
        let too_late =
            || Err(format!("an instance was not made within {PREPARE_TIME_MAX:?} on each thread"));
        let made = timeout(PREPARE_TIME_MAX, steps).await;
        made.map_or_else(|_| too_late(), |(_, made)| made).map_err(SwapError::Refused)
    }
}

/// The last work of a plugin before what it was lent goes.
pub async fn tick(pool: &Rc<Pool>) -> Result<(), String> {
    if !pool.plugin().exports().ticks() {
        return Ok(());
    }
    let name = pool.plugin().name();
    pool.tick().await.map_err(|error| format!("the work of {name} at an interval failed: {error}"))
}

/// Says in the log what was swapped, carried and left.
fn log(swapped: &Swapped, from: &str, trigger: Trigger) {
    let Swapped { plugin, generation, fenced, carried, left, forced, .. } = swapped;
    let counted = warn_of(left.as_ref(), from, plugin);
    if let Some(forced) = forced.as_ref().filter(|forced| !forced.is_nothing()) {
        tracing::warn!(plugin, from, "the swap was forced: {forced}");
    }
    // Totals as texts: not all readers of JSON can hold a number of 128 bits.
    tracing::info!(
        plugin, from, generation, fenced,
        paused_us = swapped.paused.as_micros() as u64,
        drained_us = swapped.drained.as_micros() as u64,
        carried_keys = carried.map(|carried| carried.keys),
        carried_total = carried.map(|carried| carried.total.to_string()),
        left_in = left.as_ref().map(|left| left.storage.as_str()),
        left_keys = counted.map(|counted| counted.keys),
        left_total = counted.map(|counted| counted.total.to_string()),
        broken_off = forced.as_ref().map(|forced| forced.broken_off),
        %trigger, "swapped"
    );
}

/// Says in the log where a start has found other settings, and what became of the counts.
fn log_begun(from: &str, plugin: &str, carried: Option<Counters>, left: Option<&Holdings>) {
    warn_of(left, from, plugin);
    tracing::info!(
        plugin,
        from,
        carried_keys = carried.map(|carried| carried.keys),
        carried_total = carried.map(|carried| carried.total.to_string()),
        "the settings choose another storage than before"
    );
}

fn warn_of(left: Option<&Holdings>, from: &str, plugin: &str) -> Option<Counters> {
    let left = left?;
    let counted = left.counters.as_ref().ok().copied();
    tracing::warn!(
        plugin,
        from,
        storage = left.storage,
        keys = counted.map(|counted| counted.keys),
        total = counted.map(|counted| counted.total.to_string()),
        "counts were left: {left}"
    );
    counted
}

//! What happens, as server-sent events: a sample each second, and each attempt to swap.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::{
    sync::{Semaphore, broadcast},
    time::{MissedTickBehavior, interval},
};

use super::{
    Admin, Shared,
    swaps::{CarriedShown, ForcedShown, LeftShown},
};
use crate::{http::problem::Problem, swap::status::Attempt, utc::unix_ms};

/// Time between two samples.
const PERIOD: Duration = Duration::from_secs(1);

/// Samples that are kept for those who come later.
const SAMPLES_MAX: usize = 300;

/// Samples that one watcher may be behind.
const UNREAD_MAX: usize = 64;

/// Watchers at a time.
const WATCHERS_MAX: usize = 16;

/// One look at the host.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    at_unix_ms: u64,
    value: Option<i64>,
    rate: f64,
    /// Of the plugin's calls.
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    /// Of the requests of the main listener.
    request_p50_us: Option<u64>,
    request_p99_us: Option<u64>,
    errors: u64,
    generation: u64,
    plugin: String,
    ready: bool,
    why_not_ready: Option<String>,
}

/// An attempt to swap, as the dashboard shows it.
#[derive(Serialize)]
struct Swap<'a> {
    at_unix_ms: u64,
    generation: u64,
    plugin: &'a str,
    from: &'a str,
    trigger: &'static str,
    ok: bool,
    reason: Option<String>,
    paused_us: u64,
    carried: Option<CarriedShown>,
    left: Option<LeftShown>,
    #[serde(flatten)]
    forced: ForcedShown,
}

/// The samples so far, and those to come.
pub struct Feed {
    samples: Mutex<VecDeque<Arc<Sample>>>,
    live: broadcast::Sender<Arc<Sample>>,
    watchers: Arc<Semaphore>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            samples: Mutex::default(),
            live: broadcast::Sender::new(UNREAD_MAX),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
        }
    }
}

impl Feed {
    fn push(&self, sample: Sample) {
        let sample = Arc::new(sample);
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(sample.clone());
        if SAMPLES_MAX < samples.len() {
            samples.pop_front();
        }
        // Nobody may be watching.
        let _ = self.live.send(sample);
    }

    /// The samples so far and a receiver of those that follow, with none between them.
    fn watch(&self) -> (Vec<Arc<Sample>>, broadcast::Receiver<Arc<Sample>>) {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        (samples.iter().cloned().collect(), self.live.subscribe())
    }
}

/// Looks each second, for ever.
pub async fn sample_each_second(admin: Arc<Admin>, feed: Arc<Feed>) {
    let mut interval = interval(PERIOD);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked_last = Instant::now();
    loop {
        interval.tick().await;
        let time = looked_last.elapsed();
        looked_last = Instant::now();
        feed.push(sample(&admin, time));
    }
}

fn sample(admin: &Admin, time: Duration) -> Sample {
    let window = admin.metrics.take_window();
    let active = admin.status.active();
    let why_not_ready = admin.why_not_ready();
    Sample {
        at_unix_ms: unix_ms(SystemTime::now()),
        rate: window.increments as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE),
        p50_us: quantile(&window.calls_us, 0.5),
        p99_us: quantile(&window.calls_us, 0.99),
        request_p50_us: quantile(&window.requests_us, 0.5),
        request_p99_us: quantile(&window.requests_us, 0.99),
        errors: window.errors,
        generation: active.number,
        plugin: active.plugin.name().to_owned(),
        ready: why_not_ready.is_none(),
        value: admin.looked.borrow().as_ref().ok().copied(),
        why_not_ready,
    }
}

fn quantile(times_us: &Histogram<u64>, quantile: f64) -> Option<u64> {
    (!times_us.is_empty()).then(|| times_us.value_at_quantile(quantile))
}

/// `GET /admin/events`: what was, then what happens.
pub async fn stream(
    State(mut shared): State<Shared>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let watcher = shared.feed.watchers.clone().try_acquire_owned();
    let watcher = watcher.map_err(|_| Problem::too_many_watchers(WATCHERS_MAX))?;
    let (samples, live_samples) = shared.feed.watch();
    let (attempts, live_attempts) = shared.admin.status.watch();
    let past = samples
        .iter()
        .map(|sample| event("sample", sample.as_ref()))
        .chain(attempts.iter().map(|attempt| swap_event(attempt)));
    let past: Vec<Event> = past.collect();
    let samples = each(live_samples).map(|sample| event("sample", sample.as_ref()));
    let attempts = each(live_attempts).map(|attempt| swap_event(&attempt));
    let events = stream::iter(past).chain(stream::select(samples, attempts));
    let events = events.map(move |event| {
        // Held as long as the stream is.
        let _ = &watcher;
        Ok(event)
    });
    // It would hold up the end of the host.
    let events = events.take_until(async move { shared.stopped.changed().await });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// What is received until nobody sends any more. A watcher that was too slow goes on with what is left.
fn each<T: Clone>(receiver: broadcast::Receiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receiver, async |mut receiver| {
        loop {
            match receiver.recv().await {
                Ok(item) => return Some((item, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}

fn swap_event(attempt: &Attempt) -> Event {
    let swapped = attempt.outcome.as_ref().ok();
    let swap = Swap {
        at_unix_ms: unix_ms(attempt.at),
        generation: swapped.map_or(0, |swapped| swapped.generation),
        plugin: &attempt.plugin,
        from: &attempt.from,
        trigger: attempt.trigger.name(),
        ok: swapped.is_some(),
        reason: attempt.outcome.as_ref().err().map(ToString::to_string),
        paused_us: swapped.map_or(0, |swapped| micros(swapped.paused)),
        carried: swapped.and_then(|swapped| swapped.carried).map(CarriedShown::from),
        left: swapped.and_then(|swapped| swapped.left.as_ref()).map(LeftShown::from),
        forced: swapped.and_then(|swapped| swapped.forced.as_ref()).into(),
    };
    event("swap", &swap)
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().event(name);
    event.json_data(data).expect("texts and numbers are always JSON")
}

/// As whole µs.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

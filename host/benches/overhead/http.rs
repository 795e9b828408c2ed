//! `POST /inc` through a plugin, against the same server with a native atomic in its place.

use std::{
    fs,
    net::TcpListener,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use tally_host::{
    bindings::optional::exports::tally::counter::entries::Page,
    config::Config,
    http::{self, Counter},
    metrics::Metrics,
    plugin::{
        call::{CallError, Operation},
        catalog::Catalog,
        compiler::Compiler,
        dispatch::{Dispatcher, Threads},
        setup::{self, Defaults},
    },
    shutdown::Stopping,
    worker::{Served, counter::PluginCounter, server::Server},
};
use tally_loadtest::{Load, Progress, Start, Stop, WebTarget, run as drive};

use crate::statistics::Sample;

/// Pairs of measurements; a median wants an odd number.
const ROUNDS: usize = 9;
const CLIENTS: usize = 32;
const CALLS_PER_CLIENT: u64 = 3_000;

pub fn run(config: &Config) {
    println!(
        "POST /inc, {CLIENTS} connections, {ROUNDS} alternating rounds of {} requests,",
        CLIENTS as u64 * CALLS_PER_CLIENT
    );
    println!("median (lowest to highest); the load client shares the machine's cores:\n");
    println!("| workers | counter | requests per second | server's CPU per request, µs |");
    println!("|---|---|---|---|");
    for workers in [1, 2] {
        compare(config, workers);
    }
}

fn compare(config: &Config, workers: usize) {
    let catalog = Catalog::new(None).expect("the bundled plugins are known");
    let known = catalog.find("shared-memory-atomic").expect("it is bundled");
    let loader = setup::loader(
        Compiler::InThisProcess,
        &config.plugins,
        &config.plugin_limits,
        Defaults::of_port(0, None),
        workers,
    )
    .expect("the engine can be made");
    let plugin = loader.load(&known).expect("a bundled plugin loads");
    let native = Native::default();
    let (mut of_native, mut of_plugin) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let native = native.clone();
        let served = |_| {
            let (native, metrics) = (native.clone(), Metrics::new(None).of_worker());
            move || Served { router: http::router(native), metrics: Rc::new(metrics) }
        };
        of_native.push(round(config, (0..workers).map(served).collect()));
        let (_threads, seats) = Threads::new(&plugin, workers);
        let served = |seat| {
            let metrics = Metrics::new(None).of_worker();
            move || {
                let (dispatcher, metrics) = (Dispatcher::start(seat), Rc::new(metrics));
                let counter = PluginCounter::new(dispatcher, Stopping::default(), metrics.clone());
                Served { router: http::router(counter), metrics }
            }
        };
        of_plugin.push(round(config, seats.into_iter().map(served).collect()));
    }
    let sample =
        |rounds: &[Round], of: fn(&Round) -> f64| Sample::new(rounds.iter().map(of).collect());
    for (name, rounds) in [("native atomic", &of_native), ("shared-memory-atomic", &of_plugin)] {
        let (rate, cpu) =
            (sample(rounds, |round| round.rate), sample(rounds, |round| round.cpu_us));
        println!("| {workers} | {name} | {} | {cpu} |", rate.show(0));
    }
    let ratios = |of: fn(&Round, &Round) -> f64| {
        Sample::new(
            of_native.iter().zip(&of_plugin).map(|(native, plugin)| of(native, plugin)).collect(),
        )
    };
    let rate = ratios(|native, plugin| plugin.rate / native.rate);
    let cpu = ratios(|native, plugin| native.cpu_us / plugin.cpu_us);
    println!("| {workers} | ratio, plugin to native | {rate} | {cpu} |");
}

struct Round {
    /// Requests per second.
    rate: f64,
    /// CPU time of the worker threads per request, in µs.
    cpu_us: f64,
}

fn round<F>(config: &Config, make_served: Vec<F>) -> Round
where
    F: FnOnce() -> Served + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server =
        Server::start(listener, &config.server_limits, make_served).expect("the server starts");
    let target = WebTarget::resolve("127.0.0.1", server.address().port(), None).expect("loopback");
    let load = Load {
        clients: CLIENTS,
        calls_per_client: CALLS_PER_CLIENT,
        start: Start::Reset,
        sole_writer: true,
    };
    let report = drive(&target, &load, &Progress::silent(), &Stop::default()).expect("it answers");
    assert!(report.verdict.right(), "{report}");
    let cpu_us = workers_cpu_ns() as f64 / 1_000.0 / report.verdict.acknowledged as f64;
    server.drain();
    Round { rate: report.rps, cpu_us }
}

/// CPU time of all worker threads of this process, in ns; the threads of earlier rounds are gone.
fn workers_cpu_ns() -> u64 {
    let threads = fs::read_dir("/proc/self/task").expect("Linux");
    let of_thread = |path: std::path::PathBuf| {
        let name = fs::read_to_string(path.join("comm")).ok()?;
        let times = fs::read_to_string(path.join("schedstat")).ok()?;
        name.starts_with("worker-").then(|| times.split(' ').next()?.parse::<u64>().ok())?
    };
    threads.filter_map(|thread| of_thread(thread.ok()?.path())).sum()
}

/// What a counter costs without a plugin.
#[derive(Clone, Default)]
struct Native {
    count: Arc<AtomicI64>,
}

impl Counter for Native {
    async fn call(&self, operation: Operation, _key: &str) -> Result<i64, CallError> {
        Ok(match operation {
            Operation::Increment(delta) => self.count.fetch_add(delta, Ordering::SeqCst) + delta,
            Operation::Get => self.count.load(Ordering::SeqCst),
            Operation::Reset => {
                self.count.store(0, Ordering::SeqCst);
                0
            }
        })
    }

    async fn list(&self, _cursor: Option<String>, _max: u32) -> Result<Page, CallError> {
        Err(CallError::NotExported("entries"))
    }

    async fn look(&self) -> Result<i64, String> {
        Ok(self.count.load(Ordering::SeqCst))
    }

    fn plugin(&self) -> String {
        "native".into()
    }

    fn is_held_back(&self) -> bool {
        false
    }

    fn is_stopping(&self) -> bool {
        false
    }
}

//! One warm call of each plugin, on one thread, without contention.

use std::{
    hint::black_box,
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use tally_host::{
    config::Config,
    keys::DEFAULT_KEY,
    plugin::{
        call::Operation,
        catalog::{Catalog, KnownPlugin},
        compiler::Compiler,
        pool::Pool,
        setup::{self, Defaults},
    },
};
use tokio::task::LocalSet;

use crate::statistics::Sample;

/// Measurements of each plugin; a median wants an odd number.
const RUNS: usize = 7;
/// How long one measurement takes at least.
const RUN_TIME: Duration = Duration::from_millis(300);
/// Calls between two looks at the clock.
const BATCH: u32 = 100;

pub fn run(config: &Config) {
    println!("One warm call on one thread, median (lowest to highest) of {RUNS} runs:\n");
    println!("| counter | ns per increment |");
    println!("|---|---|");
    let native = AtomicI64::new(0);
    report("native atomic", || {
        black_box(native.fetch_add(black_box(1), Ordering::SeqCst));
    });
    let catalog = Catalog::new(None).expect("the bundled plugins are known");
    let loader = setup::loader(
        Compiler::InThisProcess,
        &config.plugins,
        &config.plugin_limits,
        Defaults::of_port(0, None),
        1,
    )
    .expect("the engine can be made");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    // A database or a cluster would be measured, not the call.
    let with_server = ["postgresql-", "hazelcast-"];
    let without_server =
        |known: &&KnownPlugin| !with_server.iter().any(|storage| known.name.starts_with(storage));
    for known in catalog.plugins().iter().filter(without_server) {
        let pool = Pool::new(loader.load(known).expect("a bundled plugin loads"));
        // As the server does it: one entry into the event loop, many calls.
        let nanoseconds = (0..RUNS)
            .map(|_| {
                local.block_on(&runtime, async {
                    let (began, mut calls) = (Instant::now(), 0);
                    while began.elapsed() < RUN_TIME {
                        for _ in 0..BATCH {
                            pool.call(Operation::Increment(1), DEFAULT_KEY).await.unwrap();
                        }
                        calls += BATCH;
                    }
                    began.elapsed().as_nanos() as f64 / f64::from(calls)
                })
            })
            .collect();
        println!("| {} | {} |", known.name, Sample::new(nanoseconds).show(0));
    }
    println!();
}

fn report(name: &str, mut call: impl FnMut()) {
    let nanoseconds = (0..RUNS)
        .map(|_| {
            let (began, mut calls) = (Instant::now(), 0);
            while began.elapsed() < RUN_TIME {
                for _ in 0..BATCH {
                    call();
                }
                calls += BATCH;
            }
            began.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .collect();
    println!("| {name} | {} |", Sample::new(nanoseconds).show(0));
}

//! A thousand swaps in quick succession under load: is every request counted, and does the memory grow?

use std::{env, time::Duration};

use crate::{Broken, host::Host, statistics::Sample};

/// Swaps per pair; `TALLY_BENCH_SWAPS` is for those who look for slow leaks.
const SWAPS: u64 = 1_000;
/// After these every lazily made thing has been made.
const WARM_UP_SWAPS: u64 = 50;
const EVERY: Duration = Duration::from_millis(10);
const CLIENTS: usize = 64;
const BUILDS_GRANTED: &str =
    "build_1.wasm=shared-memory+file-lock+clocks,build_2.wasm=shared-memory+file-lock+clocks";
/// How much slower than asked for swaps may be before the run is given up.
const SLOWNESS_MAX: u32 = 30;

pub fn run(broken: &mut Broken) {
    let swaps = env::var("TALLY_BENCH_SWAPS").map_or(SWAPS, |it| it.parse().expect("a number"));
    println!(
        "{swaps} swaps in turn, one every {} ms where the one before has ended, under {CLIENTS} clients:\n",
        EVERY.as_millis()
    );
    println!(
        "| between | workers | swaps per second | increments | failed, unknown, lost, doubled | pause, median / p99 / max, ms | MiB after {WARM_UP_SWAPS} swaps | MiB at the end | ratio |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let (atomic, flock, no_lock) =
        ("shared-memory-atomic", "shared-memory-flock", "shared-memory-no-lock");
    let mut measure = |between, workers, of: &dyn Fn(&Host) -> Vec<String>| {
        let args = ["--workers", workers, "--grant", BUILDS_GRANTED];
        let host = Host::start(&args);
        measure(broken, &host, (between, workers), &of(&host), swaps);
    };
    measure("atomic, flock", "2", &|_| [flock, atomic].map(str::to_owned).into());
    // Calls of the warning example never overlap on a single worker, so it counts exactly there.
    measure("atomic, flock, no-lock", "1", &|_| [flock, no_lock, atomic].map(str::to_owned).into());
    for (between, plugin) in [("two builds of flock", flock), ("two builds of atomic", atomic)] {
        measure(between, "2", &|host| [1, 2].map(|mark| host.another_build(plugin, mark)).into());
    }
    println!();
}

fn measure(
    broken: &mut Broken,
    host: &Host,
    (between, workers): (&str, &str),
    plugins: &[String],
    swaps: u64,
) {
    let plan = host.swaps(plugins, EVERY);
    let (report, [early, late]) = host.load(CLIENTS, Some(&plan), || {
        [WARM_UP_SWAPS, swaps].map(|count| {
            host.wait_for_swaps(count, EVERY * SLOWNESS_MAX * count as u32);
            host.resident_mib()
        })
    });
    broken.unless_exact(between, &report);
    let (verdict, made) = (&report.verdict, report.swaps.as_ref().expect("there were swaps"));
    broken.unless(swaps <= made.in_traffic, || format!("{between}: {} swaps", made.in_traffic));
    let pauses = Sample::new(made.pauses_us.iter().map(|us| *us as f64 / 1_000.0).collect());
    let count = |of: Option<u64>| of.map_or("?".into(), |it| it.to_string());
    println!(
        "| {between} | {workers} | {:.0} | {} | {}, {}, {}, {} | {:.2} / {:.2} / {:.2} | {early:.1} | {late:.1} | {:.3} |",
        made.made as f64 / report.seconds,
        verdict.acknowledged,
        report.failed.total(),
        verdict.unknown,
        count(verdict.lost),
        count(verdict.doubled),
        pauses.median(),
        pauses.quantile(0.99),
        pauses.quantile(1.0),
        late / early,
    );
}

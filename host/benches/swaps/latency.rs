//! How much slower the slowest answers near a swap are than those far from any, in the same run.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use tally_host::client::Endpoint;
use tally_loadtest::swaps::windows::WINDOW_MS;

use crate::{Broken, host::Host, statistics::Sample};

/// Runs of each pair; a median wants an odd number.
const RUNS: usize = 5;
/// A little more than 20 s of load.
const RUN_TIME: Duration = Duration::from_millis(20_500);
const EVERY: Duration = Duration::from_millis(100);
const CLIENTS: usize = 64;

pub fn run(broken: &mut Broken) {
    println!(
        "p99.9 of the increments under way in windows of {WINDOW_MS} ms with a swap, against that of the others in the same run; a swap \
         every {} ms, {CLIENTS} clients, 2 workers, {RUNS} runs of {} s, median (lowest to highest):\n",
        EVERY.as_millis(),
        RUN_TIME.as_secs()
    );
    println!(
        "| between | pause, median / max, ms | near a swap, ms | steady, ms | ratio | increments near a swap |"
    );
    println!("|---|---|---|---|---|---|");
    let (atomic, flock) = ("shared-memory-atomic", "shared-memory-flock");
    let nobody = swaps_nothing();
    for (between, real, plugins) in [
        ("atomic, flock", true, [flock, atomic]),
        ("flock, flock", true, [flock, flock]),
        ("flock, nothing is swapped", false, [flock, flock]),
        ("atomic, atomic", true, [atomic, atomic]),
        ("atomic, nothing is swapped", false, [atomic, atomic]),
    ] {
        let [mut near, mut steady, mut ratios, mut share, mut pauses] =
            [(); 5].map(|()| Vec::new());
        for _ in 0..RUNS {
            let host = Host::start(&["--workers", "2", "--plugin", plugins[1]]);
            let mut swaps = host.swaps(&plugins, EVERY);
            if !real {
                swaps.admin = nobody.clone();
            }
            let (report, ()) = host.load(CLIENTS, Some(&swaps), || thread::sleep(RUN_TIME));
            broken.unless_exact(between, &report);
            let made = report.swaps.expect("there were swaps");
            pauses.extend(made.pauses_us.iter().map(|us| *us as f64 / 1_000.0));
            let windows = made.windows;
            let Some(ratio) = windows.ratio() else {
                broken.unless(false, || format!("{between}: too few increments: {windows:?}"));
                return;
            };
            let (with_swap, others) = (windows.with_swap, windows.steady);
            near.extend(with_swap.p99_9_us.map(|us| us / 1_000.0));
            steady.extend(others.p99_9_us.map(|us| us / 1_000.0));
            ratios.push(ratio);
            let all = with_swap.operations + others.operations;
            share.push(100.0 * with_swap.operations as f64 / all as f64);
        }
        let pauses = Sample::new(pauses);
        println!(
            "| {between} | {:.1} / {:.1} | {} | {} | {} | {:.0} % |",
            pauses.median(),
            pauses.quantile(1.0),
            Sample::new(near),
            Sample::new(steady),
            Sample::new(ratios),
            Sample::new(share).median(),
        );
    }
    println!();
}

/// Answers as a host does that has swapped, and does nothing. An increment that takes long is more easily near a swap
/// than a short one, whatever made it slow; what is measured with this is due to that alone.
fn swaps_nothing() -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"paused_us\":0}";
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut request, mut length) = (BufReader::new(&stream), 0);
            for line in request.by_ref().lines().map_while(Result::ok) {
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().unwrap_or(0);
                } else if line.is_empty() {
                    break;
                }
            }
            let _ = request.read_exact(&mut vec![0; length]);
            let _ = stream.write_all(answer);
        }
    });
    Endpoint::parse(&url).expect("a URL")
}

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use tokio::sync::{Semaphore, watch};

use super::{Served, thread::Worker};
use crate::{
    config::Cli,
    metrics::{Metrics, WorkerMetrics},
};

const WAIT_MAX: Duration = Duration::from_secs(30);
const ROUNDS: usize = 8;

async fn panics() {
    panic!("as the test wants it");
}

fn panicking(metrics: WorkerMetrics) -> Served {
    let router = Router::new().route("/", get(panics));
    Served { router: router.fallback(async || "served"), metrics: Rc::new(metrics) }
}

#[test]
fn a_connection_that_panics_frees_its_places_and_costs_the_worker_nothing_else() {
    let limits = Cli::load(&["tally".into()]).unwrap().config.server_limits;
    let (drain, draining) = watch::channel(false);
    let metrics = Metrics::new(None).of_worker();
    let (worker, thread) = Worker::start(0, limits, draining, || panicking(metrics)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let slots = Arc::new(Semaphore::new(2 * ROUNDS));
    let ask = |path: &str| {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(WAIT_MAX)).unwrap();
        let served = listener.accept().unwrap().0;
        served.set_nonblocking(true).unwrap();
        worker.serve(served, slots.clone().try_acquire_owned().unwrap());
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    };
    for _ in 0..ROUNDS {
        assert_eq!(ask("/"), "", "it panicked instead of answering");
        assert!(ask("/other").ends_with("served"));
    }
    let deadline = Instant::now() + WAIT_MAX;
    while worker.connections() != 0 || slots.available_permits() != 2 * ROUNDS {
        assert!(Instant::now() < deadline, "{} places are not free", worker.connections());
        std::thread::yield_now();
    }
    drain.send_replace(true);
    drop(worker);
    thread.join().unwrap();
}

use std::{
    env, fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, SystemTime},
};

use axum::{Router, routing::post};
use tally_host::{
    config::{Cli, Config},
    control::{Control, Work},
    metrics::Metrics,
    panics,
    plugin::{
        catalog::Catalog,
        dispatch::Threads,
        engine,
        generation::{Choice, Generation, Trigger},
        setup::{self, Defaults, Setup},
    },
    swap::{Swapper, request::SwapHandle, status::Status},
    telemetry,
    worker::{Served, server::Server},
};
use tokio::sync::watch;

use crate::support::{Connection, Sandbox, wait_until};

/// Where this is set, a test is the process that is to end, and works in the directory that it names.
const DIRECTORY: &str = "TALLY_TEST_DIRECTORY";
const TEXT: &str = "as the test wants it";

#[test]
fn a_worker_that_panics_ends_the_process_and_loses_nothing_acknowledged() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        serve_until_a_worker_panics(Path::new(&directory));
    }
    let sandbox = Sandbox::new();
    let child = this_test_again(
        "panics::a_worker_that_panics_ends_the_process_and_loses_nothing_acknowledged",
        &sandbox,
    );
    let file = sandbox.path().join("address");
    wait_until("it serves", || file.exists());
    let mut connection = Connection::open(fs::read_to_string(file).unwrap().parse().unwrap());
    for _ in 0..100 {
        connection.write(b"POST /inc HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        assert_eq!(connection.answer().unwrap().status, 200);
    }
    connection.write(b"POST /die HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    check_ended(child, &sandbox, "worker-1");
    assert_eq!(fs::read(sandbox.path().join("counted")).unwrap().len(), 100);
}

#[test]
fn a_control_thread_that_panics_ends_the_process() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        let _control = start_a_control_thread_that_panics(&Path::new(&directory).join("region"));
        park();
    }
    let sandbox = Sandbox::new();
    let child = this_test_again("panics::a_control_thread_that_panics_ends_the_process", &sandbox);
    check_ended(child, &sandbox, "control");
}

/// Killed when the test is over, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn this_test_again(name: &str, sandbox: &Sandbox) -> Killed {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", name, "--nocapture"])
        .env(DIRECTORY, sandbox.path())
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LOG")
        .stdout(Stdio::null())
        .stderr(fs::File::create(sandbox.path().join("stderr")).unwrap());
    Killed(command.spawn().unwrap())
}

/// It has one line to say, and an exit status of its own.
fn check_ended(mut child: Killed, sandbox: &Sandbox, thread: &str) {
    wait_until("it ends", || child.0.try_wait().unwrap().is_some());
    let status = child.0.wait().unwrap();
    let stderr = sandbox.stderr();
    assert_eq!(status.code(), Some(panics::EXIT_STATUS.into()), "{stderr}");
    let lines: Vec<_> = stderr.lines().collect();
    assert!(lines.len() == 1 && lines[0].contains("ERROR"), "{stderr}");
    assert!(lines[0].contains(&format!("the thread {thread} panicked at ")), "{stderr}");
    assert!(lines[0].contains(TEXT) && lines[0].contains("ends with status 3"), "{stderr}");
}

fn settings(more: &[&str]) -> Config {
    let args = ["tally", "--log-format", "text"].iter().chain(more).map(Into::into);
    let config = Cli::load(&args.collect::<Vec<_>>()).unwrap().config;
    telemetry::start(&config.telemetry).unwrap();
    panics::install_hook();
    config
}

fn park() -> ! {
    loop {
        thread::park();
    }
}

/// Each increment is a byte in a file before it is acknowledged.
fn serve_until_a_worker_panics(directory: &Path) -> ! {
    let config = settings(&[]);
    let (die, dying) = mpsc::channel();
    let counted = directory.join("counted");
    let metrics = Metrics::new(None);
    let of_first = metrics.of_worker();
    let first = move || {
        let increment = async move || {
            let mut file = fs::File::options().create(true).append(true).open(counted).unwrap();
            file.write_all(b"+").unwrap();
        };
        let router = Router::new()
            .route("/inc", post(increment))
            .route("/die", post(async move || die.send(()).unwrap()));
        Served { router, metrics: Rc::new(of_first) }
    };
    // The only connection goes to the first one, which has as few.
    let second = move || -> Served {
        dying.recv().unwrap();
        panic!("{TEXT}")
    };
    let workers: Vec<Box<dyn FnOnce() -> Served + Send>> = vec![Box::new(first), Box::new(second)];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _server = Server::start(listener, &config.server_limits, workers).inspect(|server| {
        let written = directory.join("written");
        fs::write(&written, server.address().to_string()).unwrap();
        fs::rename(written, directory.join("address")).unwrap();
    });
    park()
}

fn start_a_control_thread_that_panics(region: &PathBuf) -> Control {
    fs::create_dir(region).unwrap();
    let args =
        ["--plugin", "shared-memory-atomic", "--shared-memory-dir", region.to_str().unwrap()];
    let config = settings(&[&args[..], &["--compile-cache", env!("CARGO_TARGET_TMPDIR")]].concat());
    let (plugins, limits) = (&config.plugins, &config.plugin_limits);
    let engine = engine::new().unwrap();
    let defaults = Defaults::of_port(1, None);
    let setup = Arc::new(Setup::new(&engine, plugins, limits, defaults, 1, None));
    let plugin =
        setup.load(&setup::choose(&Catalog::new(None).unwrap(), plugins).unwrap()).unwrap();
    let (_, mut seats) = Threads::new(&plugin, 1);
    let since = SystemTime::now();
    let first = Generation {
        number: 1,
        chosen: Choice::of(&plugin),
        plugin,
        read: setup.clone(),
        setup,
        since,
        trigger: Trigger::Start,
        carried: false,
    };
    Control::start(Work {
        seat: seats.remove(0),
        make_swapper: |_| -> Swapper { panic!("{TEXT}") },
        swaps: SwapHandle::new(),
        status: Arc::new(Status::new(Arc::new(first))),
        tick_interval: Duration::from_secs(1),
        admin: None,
        looked: watch::channel(Ok(0)).0,
    })
    .unwrap()
}

use std::{
    env, fs,
    io::{self, Write},
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
    capabilities::shared_memory::Region,
    config::{Cli, Config},
    control::{Control, Work},
    metrics::Metrics,
    panics,
    plugin::{
        catalog::Catalog,
        compiler::Compiler,
        dispatch::{Dispatcher, Threads},
        engine,
        generation::{Choice, Generation, Trigger},
        loader::Plugin,
        setup::{self, Defaults, Setup},
    },
    readiness,
    serve::Host,
    swap::{
        Swapper,
        request::{Change, SwapHandle, Terms},
        status::Status,
    },
    telemetry,
    worker::{Served, server::Server},
};
use tokio::{
    runtime,
    sync::watch,
    task::{LocalSet, spawn_local},
};

use crate::support::{COMPILE_CACHE, Connection, Sandbox, wait_until};

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

#[test]
fn a_call_that_panics_on_the_control_thread_costs_nothing_else() {
    if let Some(directory) = env::var_os(DIRECTORY) {
        return call_what_panics_on_the_control_thread(Path::new(&directory));
    }
    let sandbox = Sandbox::new();
    let mut child = this_test_again(
        "panics::a_call_that_panics_on_the_control_thread_costs_nothing_else",
        &sandbox,
    );
    wait_until("it ends", || child.0.try_wait().unwrap().is_some());
    let (status, stderr) = (child.0.wait().unwrap(), sandbox.stderr());
    assert!(status.success(), "{status}: {stderr}");
    assert!(stderr.contains("the thread control panicked at "), "{stderr}");
    assert!(stderr.contains("is given up, and nothing else"), "{stderr}");
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
    let config = read_settings(more);
    telemetry::start(&config.telemetry).unwrap();
    panics::install_hook();
    config
}

fn read_settings(more: &[&str]) -> Config {
    let args = ["tally", "--log-format", "text"].iter().chain(more).map(Into::into);
    Cli::load(&args.collect::<Vec<_>>()).unwrap().config
}

fn load(config: &Config) -> (Arc<Setup>, Arc<Plugin>) {
    let (plugins, limits) = (&config.plugins, &config.plugin_limits);
    let engine = engine::new().unwrap();
    let defaults = Defaults::of_port(1, None);
    let setup =
        Arc::new(Setup::new(&engine, Compiler::InThisProcess, plugins, limits, defaults, 1, None));
    let known = setup::choose(&Catalog::new(None).unwrap(), plugins).unwrap();
    let plugin = setup.load(&known).unwrap();
    (setup, plugin)
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
    let config = settings(&[&args[..], &["--compile-cache", COMPILE_CACHE]].concat());
    let (setup, plugin) = load(&config);
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

/// What the host says of a region that was made with another capacity, when the first instance needs it.
const NOTICE: &str = "keeps the capacity";

/// Standard error, which breaks when it is to show [`NOTICE`]: a call panics that makes the first instance.
struct Breaking;

impl Write for Breaking {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        // A line at which this broke stands before the next one.
        assert!(!text.lines().last().is_some_and(|line| line.contains(NOTICE)), "{TEXT}");
        io::stderr().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn call_what_panics_on_the_control_thread(directory: &Path) {
    tracing_subscriber::fmt().with_ansi(false).with_writer(|| Breaking).init();
    panics::install_hook();
    let region = directory.join("region");
    Region::open(&region, 1_000).unwrap();
    let place = directory.to_str().unwrap();
    let file = directory.join("count.txt");
    let settings = |plugin| {
        let memory = ["--shared-memory-dir", place, "--shared-memory-name", "region"];
        let capacity = ["--shared-memory-capacity", "2000", "--state-dir", place];
        let file = ["--storage-path", file.to_str().unwrap(), "--plugin", plugin];
        let free = ["--host", "127.0.0.1", "--port", "0", "--admin-listen", "off"];
        let cache = ["--compile-cache", COMPILE_CACHE];
        read_settings(&[&memory[..], &capacity, &file, &free, &cache].concat())
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        check_that_a_trial_that_panics_is_a_refusal(&settings("disk-flock")).await;
        check_that_a_look_that_panics_says_not_ready(&settings("shared-memory-atomic")).await;
    });
}

async fn check_that_a_trial_that_panics_is_a_refusal(config: &Config) {
    let host = Host::start(config, Compiler::InThisProcess).unwrap();
    let change = Change::Plugin("shared-memory-atomic".into());
    let swapped = host.swaps().swap(change, Terms::default(), Trigger::Api).await;
    let why = swapped.expect_err("it is not swapped").to_string();
    assert!(why.contains("shared-memory-atomic") && why.contains("the host panicked"), "{why}");
    assert_eq!(host.plugin(), "disk-flock");
}

async fn check_that_a_look_that_panics_says_not_ready(config: &Config) {
    let (_, plugin) = load(config);
    let (_threads, mut seats) = Threads::new(&plugin, 1);
    let (looked, mut last_look) = watch::channel(Ok(0));
    let looking = readiness::report_changes(Dispatcher::start(seats.remove(0)), looked);
    spawn_local(panics::essential(looking));
    last_look.changed().await.unwrap();
    let why = last_look.borrow().clone().unwrap_err();
    assert!(why.contains("the host panicked"), "{why}");
}

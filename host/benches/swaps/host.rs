//! The program, serving, and what is asked of it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use hyper::Method;
use serde_json::{Value, json};
use tally_host::{
    client::{Endpoint, Token},
    plugin::catalog,
};
use tally_loadtest::{Load, Progress, Report, Start, Stop, Swaps, WebTarget, run, run_with_swaps};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long the start may take: with an empty compile cache the plugins are compiled first.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// How long one answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// More than can be made in any of the runs, which end by the clock or by the number of swaps.
const CALLS_MAX: u64 = 1_000_000;

/// A host; ended when it is dropped.
pub struct Host {
    process: Child,
    memory: TempDir,
    /// Where a write that is waited for costs what it costs.
    _disk: TempDir,
    address: SocketAddr,
    admin_address: SocketAddr,
    counters: Endpoint,
    admin: Endpoint,
    token: Token,
    token_file: PathBuf,
    runtime: Runtime,
}

impl Host {
    pub fn start(args: &[&str]) -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").expect("a directory in shared memory");
        let disk = tempfile::tempdir().expect("a directory on disk");
        let log = memory.path().join("log");
        let mut process = Command::new(env!("CARGO_BIN_EXE_tally"))
            .args(["--host", "127.0.0.1", "--port", "0", "--log-format", "text"])
            .args(args)
            .env("PLUGIN", "shared-memory-atomic")
            .env("ADMIN_LISTEN", "127.0.0.1:0")
            .env("STATE_DIR", disk.path())
            .env("STORAGE_PATH", disk.path().join("count.txt"))
            .env("SHARED_MEMORY_DIR", memory.path())
            .env("SHARED_MEMORY_NAME", "region")
            .env("COMPILE_CACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"))
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("shared memory can be written"))
            .spawn()
            .expect("the program starts");
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|it| sender.send(it))
        });
        let address = || {
            let line = lines.recv_timeout(START_TIME_MAX).unwrap_or_default();
            line.split("http://").nth(1)?.split(' ').next()?.parse::<SocketAddr>().ok()
        };
        let (Some(address), Some(admin)) = (address(), address()) else {
            let _ = process.kill();
            panic!("no host: {}", fs::read_to_string(&log).unwrap_or_default());
        };
        let token_file = disk.path().join(format!("admin-{admin}.token"));
        let endpoint = |address| Endpoint::parse(&format!("http://{address}")).expect("a URL");
        Self {
            process,
            memory,
            _disk: disk,
            address,
            admin_address: admin,
            counters: endpoint(address),
            admin: endpoint(admin),
            token: Token::read(&token_file).expect("the host has made one"),
            token_file,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its admin listener is.
    pub fn admin(&self) -> SocketAddr {
        self.admin_address
    }

    /// The header by which its admin listener knows who asks.
    pub fn authorization(&self) -> String {
        let token = fs::read_to_string(&self.token_file).expect("the host has made one");
        format!("authorization: Bearer {}\r\n", token.trim())
    }

    /// Asks for a swap; returns the status and the text of the answer.
    pub fn swap(&self, body: &Value) -> (u16, String) {
        let path = "/admin/plugin";
        let asking =
            self.admin.request(Method::PUT, path, Some(body), Some(&self.token), ANSWER_TIME_MAX);
        let answer = self.runtime.block_on(asking).expect("the host answers");
        (answer.status, answer.body)
    }

    /// Another build of a bundled plugin: its component with a custom section, which means nothing.
    pub fn another_build(&self, plugin: &str, mark: u8) -> String {
        let bundled = catalog::BUNDLED.iter().find(|bundled| bundled.name == plugin);
        // Section 0, its size, the length of its name, the name, and the content.
        let section = [0, 3, 1, b'x', mark];
        let wasm = [bundled.expect("it is bundled").wasm, &section].concat();
        let path = self.memory.path().join(format!("build_{mark}.wasm"));
        fs::write(&path, wasm).expect("shared memory can be written");
        path.display().to_string()
    }

    /// Swaps to each of `between` in turn.
    pub fn swaps(&self, between: &[impl ToString], every: Duration) -> Swaps {
        let between = between.iter().map(ToString::to_string).collect();
        Swaps { admin: self.admin.clone(), token: Some(self.token.clone()), every, between }
    }

    /// Puts increments of `clients` on the default counter, from 0 and for as long as `meanwhile` takes.
    pub fn load<T>(
        &self,
        clients: usize,
        swaps: Option<&Swaps>,
        meanwhile: impl FnOnce() -> T,
    ) -> (Report, T) {
        let (host, port) = (self.address.ip().to_string(), self.address.port());
        let target = WebTarget::resolve(&host, port, None).expect("loopback");
        let load =
            Load { clients, calls_per_client: CALLS_MAX, start: Start::Reset, sole_writer: true };
        let (stop, silent) = (Stop::default(), Progress::silent());
        thread::scope(|scope| {
            let running = scope.spawn(|| match swaps {
                Some(swaps) => run_with_swaps(&target, &load, swaps, &silent, &stop),
                None => run(&target, &load, &silent, &stop),
            });
            let stop_at_the_end = StopOnDrop(&stop);
            let seen = meanwhile();
            drop(stop_at_the_end);
            let report = running.join().expect("the load client does not panic");
            (report.expect("the host answers"), seen)
        })
    }

    /// Swaps to `plugin` with all counts, and returns the pause in ms and what was carried.
    pub fn carry(&self, plugin: &str) -> (f64, Value) {
        let body = json!({ "plugin": plugin, "carry": true });
        let mut answer = self.ask(&self.admin, Method::PUT, "/admin/plugin", Some(&body));
        let pause_us = answer["paused_us"].as_f64().expect("a swap says it");
        (pause_us / 1_000.0, answer["carried"].take())
    }

    /// Changes a counter.
    pub fn post(&self, path: &str) {
        self.ask(&self.counters, Method::POST, path, None);
    }

    /// Waits until `count` swaps were made since the start.
    pub fn wait_for_swaps(&self, count: u64, time_max: Duration) {
        let deadline = Instant::now() + time_max;
        while self.ask(&self.admin, Method::GET, "/admin/plugins", None)["swaps"].as_u64()
            < Some(count)
        {
            assert!(Instant::now() < deadline, "no {count} swaps within {time_max:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Memory of the process that is in RAM, in MiB.
    pub fn resident_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let kib = status.expect("it runs").lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok()
        });
        kib.expect("proc_pid_status(5)") / 1024.0
    }

    fn ask(&self, whom: &Endpoint, method: Method, path: &str, body: Option<&Value>) -> Value {
        let asking = whom.request(method, path, body, Some(&self.token), ANSWER_TIME_MAX);
        let answer = self.runtime.block_on(asking).expect("the host answers");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Also ends the load when what goes on meanwhile fails.
struct StopOnDrop<'a>(&'a Stop);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.request();
    }
}

//! One host process and the directory that it works in.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Child, Command, ExitStatus, Output, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// How long a process may take to end once it was asked to.
const END_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a program may take that is not to serve: with an empty compile cache it compiles all plugins.
const RUN_TIME_MAX: Duration = Duration::from_secs(120);

/// A directory for regions, locks and files, removed at the end. Hosts in one share their storage.
pub struct Sandbox {
    directory: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A sandbox in `directory`.
    pub fn within(directory: &Path) -> Self {
        Self { directory: tempfile::tempdir_in(directory).unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The file of the disk plugin.
    pub fn storage(&self) -> PathBuf {
        self.path().join("count.txt")
    }

    /// Starts a host on a free port.
    pub fn start(&self, args: &[&str]) -> Tally {
        self.start_command(self.command(args))
    }

    /// Starts a host by a command of [`Self::command`].
    pub fn start_command(&self, mut command: Command) -> Tally {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(fs::File::create(self.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().transpose().unwrap().unwrap_or_default();
        let serving = line();
        let Some(address) = address_in(&serving, "address") else {
            child.wait().unwrap();
            panic!("the host did not start: {serving}{}", self.stderr());
        };
        // Without an admin listener there is no second line, and JSON has all in one.
        let args: Vec<_> = command.get_args().collect();
        let silent = args.windows(2).any(|pair| pair == ["--admin-listen", "off"]);
        let admin = match serving.starts_with('{') {
            true => address_in(&serving, "admin"),
            false if silent => None,
            false => address_in(&line(), "admin"),
        };
        Tally { address, admin, serving: words_in(serving), child }
    }

    /// Runs the program to its end. One that serves instead of refusing to is killed.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let (ended, end) = mpsc::channel::<()>();
        thread::spawn(move || {
            if end.recv_timeout(RUN_TIME_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
                // It fails only when the program has just ended.
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(ended);
        output
    }

    /// What the host that was started last has logged so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.path().join("stderr")).unwrap()
    }

    /// The program with settings that keep it inside the sandbox; `args` come last and win.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tally"));
        command
            .env_clear()
            .current_dir(self.path())
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .env("WORKERS", "2")
            .env("ADMIN_LISTEN", "127.0.0.1:0")
            .env("STATE_DIR", self.path().join("state"))
            .env("SHARED_MEMORY_DIR", self.path())
            .env("SHARED_MEMORY_NAME", "region")
            .env("STORAGE_PATH", self.storage())
            .env("COMPILE_CACHE", env!("CARGO_TARGET_TMPDIR"))
            .env("PLUGIN", "shared-memory-atomic")
            .env("LOG_FORMAT", "text")
            .args(args);
        command
    }
}

/// The address in a line for people, or in the field of one in JSON.
fn address_in(line: &str, field: &str) -> Option<SocketAddr> {
    let json = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
    let text = json[field].as_str().unwrap_or(line);
    text.split("http://").nth(1)?.split(' ').next()?.parse().ok()
}

/// What a host serves with, from its first line.
fn words_in(line: String) -> String {
    match serde_json::from_str::<serde_json::Value>(&line) {
        Ok(json) => format!("with {}", json["serving"].as_str().unwrap_or_default()),
        Err(_) => line,
    }
}

/// A port that no other test takes. It lies below those that the system hands out, and those of `compose/with-*`.
pub fn own_port() -> String {
    const PORTS: u32 = 10_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = process::id() * 64 + TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + number % PORTS).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port.to_string();
        }
    }
}

/// A host that serves; killed when it is dropped.
pub struct Tally {
    child: Child,
    serving: String,
    address: SocketAddr,
    admin: Option<SocketAddr>,
}

impl Tally {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The line in which it said with what it serves.
    pub fn serving(&self) -> &str {
        &self.serving
    }

    /// Whether it has read whatever was sent to it so far: nothing lies in the sockets of its main listener.
    pub fn has_read_all(&self) -> bool {
        // Of each socket: number, local and remote address, state, and the queues for sending and receiving.
        let port = format!(":{:04X}", self.address.port());
        let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", self.child.id())).unwrap();
        sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).all(|socket| {
            let unread = !socket[4].ends_with(":00000000");
            let unsent = !socket[4].starts_with("00000000:");
            let (local, remote) = (socket[1].ends_with(&port), socket[2].ends_with(&port));
            !(local && unread || remote && unsent)
        })
    }

    /// Its admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("it listens on TCP")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Limits what it may use; returns the limit before.
    pub fn limit(&self, resource: Resource, limit: Rlimit) -> Rlimit {
        prlimit(Some(self.pid()), resource, limit).unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).unwrap()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + END_TIME_MAX;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the host did not end within {END_TIME_MAX:?}");
    }

    /// Kills it while others still use this.
    pub fn kill_now(&self) {
        self.signal(Signal::KILL);
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

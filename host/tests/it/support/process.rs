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
use tally_host::client::Token;

/// How long a process may take to end once it was asked to.
const END_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a program may take that is not to serve: with an empty compile cache it compiles all plugins.
const RUN_TIME_MAX: Duration = Duration::from_secs(120);

/// The compile cache of all tests; who makes it is the only one who can write to it.
pub const COMPILE_CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");

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
        let is_json = serving.starts_with('{');
        let admin = match is_json {
            true => address_in(&serving, "admin"),
            false if silent => None,
            false => address_in(&line(), "admin"),
        };
        let token_file = admin.and_then(|admin| token_file(&command, admin));
        let made =
            token_file.as_ref().is_some_and(|file| file.extension() == Some("token".as_ref()));
        let dashboard = made.then(|| url_in(if is_json { serving.clone() } else { line() }));
        Tally { address, admin, token_file, dashboard, serving: words_in(serving), child }
    }

    /// Runs the program to its end. One that serves instead of refusing to is killed.
    pub fn run(&self, args: &[&str]) -> Output {
        self.run_command(self.command(args))
    }

    /// As [`Self::run`], by a command of [`Self::command`].
    pub fn run_command(&self, mut command: Command) -> Output {
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
            .env("COMPILE_CACHE", COMPILE_CACHE)
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

/// The address of the dashboard, from the line for people that tells it or from the one in JSON.
fn url_in(line: String) -> String {
    let json = serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default();
    let url = json["dashboard"].as_str().or_else(|| line.strip_prefix("tally: open "));
    url.unwrap_or_else(|| panic!("no dashboard in {line}")).to_owned()
}

/// Where the token of the host that `command` has started is, if it wants one: the file that it was told, or the one that
/// it has made for the listener at `admin`.
fn token_file(command: &Command, admin: SocketAddr) -> Option<PathBuf> {
    let file = setting(command, "--admin-token-file", "ADMIN_TOKEN_FILE").or_else(|| {
        let state = setting(command, "--state-dir", "STATE_DIR")?;
        Some(state.join(format!("admin-{admin}.token")))
    });
    file.filter(|file| file.exists())
}

/// What the flag, or otherwise the variable, of a command says.
fn setting(command: &Command, flag: &str, variable: &str) -> Option<PathBuf> {
    let mut args = command.get_args();
    let typed = args.find(|arg| *arg == flag).and_then(|_| args.next());
    let set = || command.get_envs().find(|(name, _)| *name == variable)?.1;
    typed.or_else(set).map(PathBuf::from)
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

/// The parent of a process; none where there is no such process.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything, are the state and the parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A host that serves; killed when it is dropped.
pub struct Tally {
    child: Child,
    serving: String,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    dashboard: Option<String>,
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

    /// The address that it told for a browser, with the token that it has made.
    pub fn dashboard(&self) -> &str {
        self.dashboard.as_deref().expect("it has made a token")
    }

    /// The token of its admin listener, if it wants one.
    pub fn token(&self) -> Option<Token> {
        self.token_file.as_deref().map(|file| Token::read(file).unwrap())
    }

    /// The same as a line of a request's head; empty if it wants none.
    pub fn authorization(&self) -> String {
        let text = self.token_file.as_deref().map(|file| fs::read_to_string(file).unwrap());
        text.map_or_else(String::new, |text| format!("authorization: Bearer {}\r\n", text.trim()))
    }

    /// The first lines of a request to its admin listener, with all that the listener wants.
    pub fn admin_head(&self, request: &str) -> String {
        format!("{request} HTTP/1.1\r\nhost: {}\r\n{}", self.admin(), self.authorization())
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    /// Limits what it may use; returns the limit before.
    pub fn limit(&self, resource: Resource, limit: Rlimit) -> Rlimit {
        prlimit(Some(self.process()), resource, limit).unwrap()
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed()).unwrap()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processes that it has started and that have not ended, or that it has not taken notice of.
    pub fn children(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").unwrap();
        let pids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        pids.filter(|pid| parent(*pid) == Some(self.pid())).collect()
    }

    /// A line of what the kernel says of its memory, in KiB.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
        value.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
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

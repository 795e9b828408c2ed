use std::{
    fs,
    os::unix::net::UnixDatagram,
    process::Output,
    time::{Duration, Instant},
};

use rustix::{fs::FlockOperation, process::Signal};
use serde_json::json;

use crate::support::{Connection, Sandbox, Tally, ask, events, overview, own_port, wait_until};

const INC: &[u8] = b"POST /inc HTTP/1.1\r\nhost: x\r\n\r\n";

/// How long the supervisor of a test waits for word.
const WORD_TIME_MAX: Duration = Duration::from_secs(30);

#[test]
fn while_it_will_stop_it_is_not_ready_and_still_answers() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--drain-delay", "15000"]);
    let mut kept = Connection::open(tally.address());
    let mut inc = |count| {
        kept.write(INC).unwrap();
        let answer = kept.answer().expect("the connection is kept");
        assert_eq!(answer.count(), count);
        assert!(!answer.head.contains("connection: close"), "{answer:?}");
    };
    inc(1);
    tally.signal(Signal::TERM);
    wait_until("it is not ready", || ask(tally.address(), "GET /readyz").status == 503);
    let unready = ask(tally.address(), "GET /readyz");
    assert_eq!(unready.problem(), "not-ready");
    assert!(unready.body.contains("the host is stopping"), "{unready:?}");
    inc(2);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 3);
    assert_eq!(ask(tally.address(), "GET /livez").status, 200);
    // The admin listener says the same.
    let why = json!("the host is stopping");
    let shown = overview(&tally);
    assert_eq!((&shown["ready"], &shown["why_not_ready"]), (&json!(false), &why), "{shown}");
    let admin = format!("http://{}", tally.admin());
    let health = sandbox.run(&["health", "--admin", &admin]);
    assert_eq!(health.status.code(), Some(1), "{health:?}");
    assert!(String::from_utf8_lossy(&health.stderr).contains("stopping"), "{health:?}");
    let mut events = events(&tally);
    events.read_until(&format!("\"ready\":false,\"why_not_ready\":{why}"));
    assert_eq!(tally.wait().code(), Some(0));
    assert!(kept.answer().is_none(), "closed at the end");
}

#[test]
fn a_swap_that_takes_long_does_not_hold_up_the_end() {
    let sandbox = Sandbox::new();
    let never = ["--swap-pause-max", "600000", "--call-time-max", "600000"];
    let tally = sandbox
        .start(&[&["--plugin", "disk-flock", "--drain-time-max", "500"], &never[..]].concat());
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let known = |tally: &Tally, field: &str| {
        let overview = overview(tally);
        assert_eq!(overview["failures"], json!([]));
        let mut plugins = overview["plugins"].as_array().unwrap().iter();
        plugins.find(|known| known["name"] == "shared-memory-atomic").unwrap()[field].clone()
    };
    wait_until("the new plugin is loaded", || known(&tally, "state") == "ready");
    let file = fs::File::open(sandbox.storage()).unwrap();
    rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
    // A call that does not end, for which a swap that carries counts has to wait.
    let mut call = Connection::open(tally.address());
    call.write(INC).unwrap();
    let mut swap = Connection::open(tally.admin());
    let body = json!({ "plugin": "shared-memory-atomic", "carry": true }).to_string();
    let (head, length) = (tally.admin_head("PUT /admin/plugin"), body.len());
    let head = format!("{head}content-type: application/json\r\ncontent-length: {length}");
    swap.write(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    wait_until("the new plugin is prepared", || known(&tally, "instances") != 0);
    let began = Instant::now();
    tally.signal(Signal::TERM);
    assert_eq!(tally.wait().code(), Some(0));
    // What the host had begun to ask of the plugin itself is waited for, 10 s at most, beside twice --drain-time-max.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let answer = String::from_utf8(swap.read_to_end().unwrap_or_default()).unwrap();
    assert!(!answer.contains("200 OK"), "it was not made: {answer}");
}

/// Stands for systemd.
struct Supervisor(UnixDatagram);

impl Supervisor {
    fn within(sandbox: &Sandbox) -> Self {
        let socket = UnixDatagram::bind(sandbox.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(WORD_TIME_MAX)).unwrap();
        Self(socket)
    }

    /// What it is told next.
    fn word(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes).expect("the host says how it is");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    fn was_told_nothing(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        self.0.recv(&mut [0]).is_err()
    }
}

#[test]
fn the_supervisor_is_told_of_the_start_of_reloads_and_of_the_end() {
    let sandbox = Sandbox::new();
    let supervisor = Supervisor::within(&sandbox);
    let socket = sandbox.path().join("notify");
    let mut wrong = sandbox.command(&["--plugin", "nothing"]);
    assert_eq!(wrong.env("NOTIFY_SOCKET", &socket).output().unwrap().status.code(), Some(2));
    assert!(supervisor.was_told_nothing());

    supervisor.0.set_nonblocking(false).unwrap();
    let mut command = sandbox.command(&[]);
    command.env("NOTIFY_SOCKET", &socket);
    let tally = sandbox.start_command(command);
    assert_eq!(supervisor.word(), "READY=1\n");
    assert_eq!(ask(tally.address(), "GET /readyz").status, 200);

    tally.signal(Signal::HUP);
    let word = supervisor.word();
    let usec = word.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&word);
    assert!(usec.trim_end().parse::<u64>().unwrap() > 0);
    assert_eq!(supervisor.word(), "READY=1\n");

    tally.signal(Signal::TERM);
    assert_eq!(supervisor.word(), "STOPPING=1\n");
    assert_eq!(tally.wait().code(), Some(0));
    assert!(supervisor.was_told_nothing());
}

#[test]
fn the_watchdog_hears_from_the_host_twice_in_its_time() {
    let sandbox = Sandbox::new();
    let supervisor = Supervisor::within(&sandbox);
    let mut command = sandbox.command(&[]);
    command.env("NOTIFY_SOCKET", sandbox.path().join("notify")).env("WATCHDOG_USEC", "1000000");
    let _tally = sandbox.start_command(command);
    let mut heard = Vec::new();
    while heard.len() < 5 {
        match supervisor.word().as_str() {
            "WATCHDOG=1\n" => heard.push(Instant::now()),
            word => assert_eq!(word, "READY=1\n"),
        }
    }
    let each = (heard[4] - heard[0]) / 4;
    let expected = Duration::from_millis(250)..Duration::from_millis(900);
    assert!(expected.contains(&each), "every {each:?}");
}

/// A host on the disk whose reload waits, because its swap carries counts from a file that is locked.
fn reloading(sandbox: &Sandbox, supervisor: &Supervisor) -> (Tally, fs::File) {
    let file = sandbox.path().join("tally.toml");
    fs::write(&file, "plugin = \"disk-flock\"").unwrap();
    let mut command = sandbox.command(&["--config", file.to_str().unwrap()]);
    command.args(["--swap-pause-max", "600000", "--drain-time-max", "500"]);
    command.env_remove("PLUGIN").env("NOTIFY_SOCKET", sandbox.path().join("notify"));
    let tally = sandbox.start_command(command);
    assert_eq!(supervisor.word(), "READY=1\n");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let counter = fs::File::open(sandbox.storage()).unwrap();
    rustix::fs::flock(&counter, FlockOperation::LockExclusive).unwrap();
    let settings = "plugin = \"shared-memory-atomic\"\non-storage-change = \"carry\"";
    fs::write(&file, settings).unwrap();
    tally.signal(Signal::HUP);
    assert!(supervisor.word().starts_with("RELOADING=1\n"));
    (tally, counter)
}

#[test]
fn a_signal_to_stop_is_heard_while_a_reload_waits_for_its_swap() {
    let sandbox = Sandbox::new();
    let supervisor = Supervisor::within(&sandbox);
    let (tally, counter) = reloading(&sandbox, &supervisor);
    tally.signal(Signal::TERM);
    assert_eq!(supervisor.word(), "STOPPING=1\n");
    drop(counter);
    assert_eq!(tally.wait().code(), Some(0));
}

#[test]
fn a_reload_that_is_asked_for_during_another_follows_it() {
    let sandbox = Sandbox::new();
    let supervisor = Supervisor::within(&sandbox);
    let (tally, counter) = reloading(&sandbox, &supervisor);
    tally.signal(Signal::HUP);
    drop(counter);
    assert_eq!(supervisor.word(), "READY=1\n");
    assert!(supervisor.word().starts_with("RELOADING=1\n"));
    assert_eq!(supervisor.word(), "READY=1\n");
}

/// Runs `tally health` for a host at `port`.
fn health(sandbox: &Sandbox, host: &str, port: u16) -> Output {
    let mut command = sandbox.command(&["health"]);
    command.env("HOST", host).env("PORT", port.to_string()).output().unwrap()
}

fn check(output: &Output, status: i32, expected: &str) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert!(message.contains(expected), "no {expected:?} in {message}");
    assert_eq!(message.lines().count(), usize::from(status != 0), "{message}");
}

#[test]
fn health_says_whether_the_host_of_these_settings_is_ready_and_if_not_why() {
    let sandbox = Sandbox::new();
    // Nobody else may take it when the host is gone.
    let tally = sandbox.start(&["--host", "0.0.0.0", "--port", &own_port()]);
    let port = tally.address().port();
    for host in ["0.0.0.0", "127.0.0.1", "localhost"] {
        check(&health(&sandbox, host, port), 0, "");
    }
    tally.kill();
    check(
        &health(&sandbox, "0.0.0.0", port),
        1,
        &format!("nothing answers at http://127.0.0.1:{port}"),
    );
    check(&health(&sandbox, "127.0.0.1", 0), 2, "the environment variable PORT");

    let mut command = sandbox.command(&["--plugin", "postgresql-inplace-update"]);
    command.env("DB_HOST", "127.0.0.1").env("DB_PORT", "1");
    let tally = sandbox.start_command(command);
    check(&health(&sandbox, "127.0.0.1", tally.address().port()), 1, "127.0.0.1, port 1");
}

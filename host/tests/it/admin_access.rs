//! Who gets at the admin listener: everybody on the machine can connect.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::Output,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{Connection, Sandbox, overview, send};

/// How long a swap may take beside any number of connections without the token. It takes some 50 ms; where it had to wait
/// for their places, it took 10 s and more.
const SWAP_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a connection without the token may stay, which is 5 s beside a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(25);

/// Starts wrongly: exit status 2, and one sentence that holds all of `expected`.
fn check_refused(output: &Output, expected: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert_eq!(message.lines().count(), 1, "one sentence: {message}");
    for part in expected {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
}

#[test]
fn a_host_makes_a_token_at_each_start_tells_it_and_does_nothing_without_it() {
    let sandbox = Sandbox::new();
    let mut before = String::new();
    for format in ["text", "json"] {
        let tally = sandbox.start(&["--log-format", format]);
        let (admin, state) = (tally.admin(), sandbox.path().join("state"));
        let file = state.join(format!("admin-{admin}.token"));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
        let token = fs::read_to_string(&file).unwrap().trim().to_owned();
        assert_eq!(tally.dashboard(), format!("http://{admin}/#token={token}"));
        assert!(token.len() == 64 && token != before, "{token}");

        for (request, status) in [
            ("GET /", 200),
            ("GET /api", 200),
            ("GET /openapi.json", 200),
            ("GET /metrics", 401),
            ("GET /admin/plugins", 401),
            ("GET /admin/events", 401),
            ("POST /admin/increment", 401),
            ("PUT /admin/plugin", 401),
        ] {
            for wrong in ["", &format!("authorization: Bearer {}\r\n", "0".repeat(64))] {
                let head = format!("{request} HTTP/1.1\r\nhost: {admin}\r\n{wrong}");
                let answer = send(admin, format!("{head}connection: close\r\n\r\n"));
                assert_eq!(answer.status, status, "{request} {wrong}");
            }
        }
        assert_eq!(overview(&tally)["swaps"], 0);
        tally.signal(Signal::TERM);
        assert_eq!(tally.wait().code(), Some(0));
        assert!(!file.exists(), "it ends with the host");
        before = token;
    }
}

#[test]
fn commands_find_the_token_of_the_host_that_they_ask_and_of_no_other() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let port = tally.admin().port();
    let run = |args: &[&str]| {
        let output = sandbox.run(args);
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    for admin in [format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}")] {
        for command in [&["swap", "shared-memory-flock"][..], &["rollback"], &["health"]] {
            let (status, text) = run(&[command, &["--admin", &admin]].concat());
            assert_eq!(status, Some(0), "{command:?} {admin}: {text}");
        }
    }
    let listen = format!("127.0.0.1:{port}");
    assert_eq!(run(&["rollback", "--admin-listen", &listen]).0, Some(0));
    // One that listens everywhere is asked on the loopback.
    let everywhere = sandbox.start(&["--admin-listen", "0.0.0.0:0"]);
    let everywhere_port = everywhere.admin().port();
    assert!(everywhere.dashboard().starts_with(&format!("http://127.0.0.1:{everywhere_port}/#")));
    let listen = format!("0.0.0.0:{everywhere_port}");
    assert_eq!(run(&["swap", "shared-memory-flock", "--admin-listen", &listen]).0, Some(0));

    // Another user has another state directory, and may be told a token that is wrong.
    let wrong = sandbox.path().join("wrong");
    fs::write(&wrong, "0".repeat(64)).unwrap();
    let admin = format!("http://127.0.0.1:{port}");
    for more in [["--state-dir", "/nowhere"], ["--admin-token-file", wrong.to_str().unwrap()]] {
        for command in [&["swap", "shared-memory-atomic"][..], &["rollback"], &["health"]] {
            let (status, text) = run(&[command, &["--admin", &admin], &more].concat());
            assert_eq!((status, text.lines().count()), (Some(1), 1), "{text}");
            for part in
                [&admin, "wants its token", "user of the host", "--state-dir", "--admin-token-file"]
            {
                assert!(text.contains(part), "no {part:?} in {text}");
            }
        }
    }
}

#[test]
fn a_host_that_can_not_listen_leaves_the_token_of_the_one_that_does_alone() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let listen = tally.admin().to_string();
    check_refused(&sandbox.run(&["--admin-listen", &listen]), &[&listen, "in use"]);
    // One that ends for another reason takes away its own.
    let path = ["--plugin", "disk-flock", "--storage-path", "/dev/null/count.txt"];
    check_refused(&sandbox.run(&path), &["/dev/null"]);
    let files = fs::read_dir(sandbox.path().join("state")).unwrap().flatten();
    let tokens = files.filter(|file| file.file_name().to_string_lossy().starts_with("admin-"));
    assert_eq!(tokens.count(), 1);
    assert_eq!(overview(&tally)["swaps"], 0);
}

#[test]
fn where_no_token_can_be_kept_a_sentence_says_what_else_to_do() {
    let sandbox = Sandbox::new();
    let open = sandbox.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    for (state, reason) in [
        (Some("/dev/null/state"), "/dev/null/state"),
        (open.to_str(), "chmod go-w"),
        (None, "no home directory"),
    ] {
        let mut command = sandbox.command(&[]);
        command.env_remove("STATE_DIR").envs(state.map(|state| ("STATE_DIR", state)));
        let named = if state.is_some() { "STATE_DIR" } else { "--state-dir" };
        let instead = [named, "--admin-token-file", "--admin-token off", reason];
        check_refused(&sandbox.run_command(command), &instead);
    }
    let file = sandbox.path().join("token");
    fs::write(&file, "0123456789abcdef").unwrap();
    let both = ["--admin-token-file", file.to_str().unwrap(), "--admin-token", "off"];
    check_refused(&sandbox.run(&both), &["--admin-token off", "--admin-token-file"]);
    // Somebody may take it for the token itself, which is not to be seen in a log.
    let mut secret = sandbox.command(&[]);
    secret.env("ADMIN_TOKEN", "open sesame");
    let secret = sandbox.run_command(secret);
    check_refused(&secret, &["the environment variable ADMIN_TOKEN", "new, off"]);
    assert!(!String::from_utf8_lossy(&secret.stderr).contains("sesame"), "{secret:?}");
    check_refused(&sandbox.run(&["--admin-token-file", "/dev/zero"]), &["/dev/zero", "a device"]);
    // None of these needs a place to keep one.
    for args in [&["--admin-token", "off"][..], &both[..2], &["--admin-listen", "off"]] {
        let mut command = sandbox.command(args);
        command.env("STATE_DIR", &open);
        let tally = sandbox.start_command(command);
        if args[0] != "--admin-listen" {
            assert_eq!(overview(&tally)["swaps"], 0, "{args:?}");
        }
    }
}

#[test]
fn a_foreign_page_can_do_nothing_even_where_no_token_is_wanted() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--admin-token", "off"]);
    let admin = tally.admin();
    let body = r#"{"plugin":"shared-memory-flock"}"#;
    let length = body.len();
    for (headers, status) in [
        ("content-type: text/plain", 415),
        ("content-type: application/x-www-form-urlencoded", 415),
        ("x: y", 415),
        ("content-type: application/json\r\nsec-fetch-site: cross-site", 403),
        ("content-type: application/json\r\nsec-fetch-site: same-site", 403),
        ("content-type: application/json\r\norigin: http://evil.example", 403),
        ("content-type: application/json\r\nsec-fetch-site: same-origin", 200),
    ] {
        let head = format!("PUT /admin/plugin HTTP/1.1\r\nhost: {admin}\r\n{headers}\r\n");
        let head = format!("{head}connection: close\r\ncontent-length: {length}\r\n\r\n");
        let answer = send(admin, head + body);
        assert_eq!(answer.status, status, "{headers}: {answer:?}");
        assert!(status == 200 || answer.problem().len() > 9);
    }
    assert_eq!(overview(&tally)["swaps"], 1);
}

/// How those behave who have no token.
struct Crowd {
    count: usize,
    /// What each sends first.
    greeting: &'static [u8],
    /// What it sends again and again.
    more: &'static [u8],
}

const IDLE: Crowd = Crowd { count: 300, greeting: b"", more: b"" };
const SLOW_HEADS: Crowd = Crowd {
    count: 200,
    greeting: b"GET /admin/plugins HTTP/1.1\r\nhost: localhost\r\nx: ",
    more: b"y",
};
const PAGE: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const PAGES: Crowd = Crowd { count: 16, greeting: PAGE, more: PAGE };

impl Crowd {
    /// Keeps connections open, and opens another for each that is closed, until `stop`. Says when they have all tried.
    fn press(&self, address: SocketAddr, stop: &AtomicBool, tried: &mpsc::Sender<()>) {
        let mut streams: Vec<Option<TcpStream>> = (0..self.count).map(|_| None).collect();
        while !stop.load(Ordering::Relaxed) {
            for stream in &mut streams {
                if !stream.as_mut().is_some_and(|stream| self.goes_on(stream)) {
                    *stream = self.connect(address);
                }
            }
            let _ = tried.send(());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn connect(&self, address: SocketAddr) -> Option<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        stream.set_nonblocking(true).ok()?;
        stream.write_all(self.greeting).ok()?;
        Some(stream)
    }

    fn goes_on(&self, stream: &mut TcpStream) -> bool {
        let waits = |kind| matches!(kind, Err(ErrorKind::WouldBlock));
        let mut bytes = [0; 64 * 1024];
        let mut read = stream.read(&mut bytes).map_err(|error| error.kind());
        while read.is_ok_and(|length| 0 < length) {
            read = stream.read(&mut bytes).map_err(|error| error.kind());
        }
        let written = stream.write(self.more).map_err(|error| error.kind());
        waits(read) && (written.is_ok() || waits(written))
    }

    fn check_closed(&self, address: SocketAddr) {
        let mut stream = self.connect(address).unwrap();
        let began = Instant::now();
        while self.goes_on(&mut stream) {
            let sent = String::from_utf8_lossy(self.greeting);
            assert!(began.elapsed() < CLOSED_WITHIN, "{sent:?} is not closed");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Also ends the crowds when what goes on beside them fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn whoever_has_the_token_gets_in_beside_any_number_without_it() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let (address, admin) = (tally.admin(), format!("http://{}", tally.admin()));
    for crowds in [&[IDLE][..], &[SLOW_HEADS], &[PAGES], &[IDLE, SLOW_HEADS, PAGES]] {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let stop_at_the_end = StopOnDrop(&stop);
            for crowd in crowds {
                let (tell, tried) = mpsc::channel();
                let stop = &stop;
                scope.spawn(move || crowd.press(address, stop, &tell));
                tried.recv().unwrap();
            }
            for plugin in ["shared-memory-flock", "shared-memory-atomic"].repeat(3) {
                let began = Instant::now();
                let output = sandbox.run(&["swap", plugin, "--admin", &admin]);
                assert_eq!(output.status.code(), Some(0), "{output:?}");
                assert!(began.elapsed() < SWAP_TIME_MAX, "{:?}", began.elapsed());
            }
            drop(stop_at_the_end);
        });
    }
}

#[test]
fn a_connection_without_the_token_is_closed_soon_whatever_it_does() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let mut known = Connection::open(tally.admin());
    let ask = tally.admin_head("GET /admin/plugins") + "\r\n";
    let body = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n";
    let refused = b"GET /admin/plugins HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let strangers: [(&[u8], &[u8]); 6] = [
        (b"", b""),
        (b"GET /admin/pl", b""),
        (body, b""),
        (SLOW_HEADS.greeting, SLOW_HEADS.more),
        (PAGE, PAGE),
        (refused, refused),
    ];
    thread::scope(|scope| {
        let watching = strangers.map(|(greeting, more)| {
            let address = tally.admin();
            scope.spawn(move || Crowd { count: 1, greeting, more }.check_closed(address))
        });
        while !watching.iter().all(|thread| thread.is_finished()) {
            known.write(ask.as_bytes()).unwrap();
            assert_eq!(known.answer().expect("it has shown the token").status, 200);
            thread::sleep(Duration::from_millis(100));
        }
    });
}

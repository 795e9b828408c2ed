use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Output,
};

use crate::support::{
    Sandbox, ask, ask_admin, bundled, events, overview, send, swap, upload, wait_until,
};

const TOKEN: &str = "0123456789abcdef";

fn atomic() -> &'static [u8] {
    bundled("shared-memory-atomic")
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn nothing_administrative_is_on_the_main_listener() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    for request in [
        "GET /admin/plugins",
        "PUT /admin/plugin",
        "POST /admin/rollback",
        "GET /metrics",
        "GET /admin/events",
        "GET /",
        "POST /admin/increment",
    ] {
        assert_eq!(ask(tally.address(), request).status, 404, "{request}");
    }
}

#[test]
fn a_foreign_host_or_origin_is_refused() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    for (headers, code) in [
        ("host: evil.example", "foreign-host"),
        ("host: localhost\r\norigin: http://evil.example", "foreign-origin"),
        ("host: localhost\r\nhost: localhost", "missing-host"),
    ] {
        let body = r#"{"plugin":"shared-memory-flock"}"#;
        let request = format!(
            "PUT /admin/plugin HTTP/1.1\r\n{headers}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(send(tally.admin(), request).problem(), code, "{headers}");
    }
    assert_eq!(overview(&tally)["swaps"], 0);
}

#[test]
fn only_an_upload_may_be_large() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let answer = ask_admin(&tally, "PUT /admin/plugin", &" ".repeat(64 * 1024 + 1));
    assert_eq!((answer.status, answer.problem().as_str()), (413, "body-too-large"));
}

#[test]
fn where_a_token_is_wanted_nothing_happens_without_it() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let tally = sandbox.start(&["--admin-token-file", file.to_str().unwrap()]);
    let host = tally.admin();
    let with = |authorization: &str| {
        let body = r#"{"plugin":"shared-memory-flock"}"#;
        let length = body.len();
        send(
            host,
            format!(
                "PUT /admin/plugin HTTP/1.1\r\nhost: {host}\r\n{authorization}connection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            ),
        )
    };
    for authorization in
        ["", "authorization: Bearer 0123456789abcdeX\r\n", "authorization: Bearer\r\n"]
    {
        let answer = with(authorization);
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthorized"));
        assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
    }
    assert_eq!(with(&format!("authorization: Bearer {TOKEN}\r\n")).json()["generation"], 2);
    let output = sandbox.run(&[
        "rollback",
        "--admin",
        &format!("http://{host}"),
        "--admin-token-file",
        file.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_listener_that_others_could_reach_wants_a_token() {
    let sandbox = Sandbox::new();
    let message = |output: Output| {
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let open = message(sandbox.run(&["--admin-listen", "0.0.0.0:0", "--admin-token", "off"]));
    assert!(open.contains("--admin-token off") && open.contains("--admin-token-file"), "{open}");
    let file = sandbox.path().join("token");
    fs::write(&file, "short").unwrap();
    let short = message(sandbox.run(&["--admin-token-file", file.to_str().unwrap()]));
    assert!(short.contains("16") && !short.contains("short\""), "{short}");
    for wrong in ["nonsense", "127.0.0.1:99999", "unix:/nowhere/admin.sock"] {
        let refused = message(sandbox.run(&["--admin-listen", wrong]));
        assert!(refused.contains("--admin-listen"), "{refused}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let sandbox = Sandbox::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = sandbox.run(&["--admin-listen", &address]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains(&address) && message.contains("in use"), "{message}");
}

#[test]
fn a_unix_socket_is_open_to_its_owner_only() {
    let sandbox = Sandbox::new();
    let path = sandbox.path().join("admin.sock");
    let listen = format!("unix:{}", path.display());
    for _ in 0..2 {
        // The second host finds the socket that the first one left when it was killed.
        let tally = sandbox.start(&["--admin-listen", &listen]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut stream = UnixStream::connect(&path).unwrap();
        stream
            .write_all(
                b"GET /admin/plugins HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
            )
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let output = sandbox.run(&["swap", "shared-memory-flock", "--admin", &listen]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        // While it is there, nobody else takes its place.
        assert_eq!(sandbox.run(&["--admin-listen", &listen]).status.code(), Some(2));
        tally.kill();
    }
}

#[test]
fn an_upload_is_checked_before_it_is_written() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path().join("plugins");
    fs::create_dir(&directory).unwrap();
    let tally = sandbox.start(&[
        "--plugin-dir",
        directory.to_str().unwrap(),
        "--grant",
        "mine.wasm=shared-memory",
        "--plugin-file-max",
        "1",
    ]);
    let large = vec![0; 1024 * 1024 + 1];
    for (name, wasm, status, code) in [
        ("mine", &b"hello"[..], 422, "plugin-refused"),
        ("ungranted", atomic(), 422, "plugin-refused"),
        ("mine", &large, 413, "body-too-large"),
        ("..%2Fmine", atomic(), 400, "bad-request"),
        ("..", atomic(), 400, "bad-request"),
        (&"x".repeat(65), atomic(), 400, "bad-request"),
        ("mine.wasm", atomic(), 400, "bad-request"),
        ("%2Ftmp%2Fmine", atomic(), 400, "bad-request"),
        ("disk-flock", atomic(), 422, "plugin-refused"),
    ] {
        let answer = upload(&tally, name, wasm);
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{name}");
        assert_eq!(names_in(&directory), Vec::<String>::new(), "{name}");
    }
    assert_eq!(upload(&tally, "mine", atomic()).status, 200);
    assert_eq!(names_in(&directory), ["mine.wasm"]);
    assert_eq!(fs::read(directory.join("mine.wasm")).unwrap(), atomic());
    assert_eq!(swap(&tally, "mine").json()["plugin"], "mine");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
}

#[test]
fn without_a_plugin_directory_nothing_is_uploaded() {
    let sandbox = Sandbox::new();
    let answer = upload(&sandbox.start(&[]), "mine", atomic());
    assert_eq!(answer.problem(), "bad-request");
    assert!(answer.body.contains("--plugin-dir"), "{answer:?}");
}

#[test]
fn every_route_is_described_and_answers() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let answer = ask_admin(&tally, "GET /openapi.json", "");
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{document}");
    let mut described = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if !["get", "put", "post"].contains(&method.as_str()) || path == "/admin/events" {
                continue;
            }
            let request = format!(
                "{} {}",
                method.to_uppercase(),
                path.replace("{key}", "a").replace("{name}", "a")
            );
            let is_admin = operation["tags"].to_string().contains("dmin");
            let answer = if is_admin {
                ask_admin(&tally, &request, "")
            } else {
                ask(tally.address(), &request)
            };
            assert!(![404, 405].contains(&answer.status), "{request}: {answer:?}");
            let status = answer.status.to_string();
            let responses = operation["responses"].as_object().unwrap();
            let known = responses
                .keys()
                .any(|key| *key == status || (key.ends_with("XX") && key[..1] == status[..1]));
            assert!(known, "{request} answered {status}, which is not described");
            described += 1;
        }
    }
    assert_eq!(described, 18, "routes come and go together with their description");
}

#[test]
fn events_begin_with_what_was_and_go_on_with_what_happens() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    assert_eq!(swap(&tally, "shared-memory-flock").status, 200);
    let mut events = events(&tally);
    let mut seen = events.read_until("\"plugin\":\"shared-memory-flock\"");
    assert!(seen.contains("text/event-stream") && seen.contains("event: swap"), "{seen}");
    assert_eq!(swap(&tally, "shared-memory-atomic").status, 200);
    events.read_until("\"from\":\"shared-memory-flock\"");
    assert_eq!(ask_admin(&tally, "POST /admin/increment", "").count(), 1);
    seen = events.read_until("\"value\":1,");
    assert!(seen.contains("event: sample"), "{seen}");
}

#[test]
fn as_many_may_watch_as_there_are_places_and_one_that_leaves_makes_room() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let watch = || {
        let mut events = events(&tally);
        events.read_until("\r\n\r\n").contains("200 OK").then_some(events)
    };
    let watching = [(); 16].map(|()| watch().expect("a place"));
    assert!(watch().is_none());
    // The others are served all the same.
    assert_eq!(swap(&tally, "shared-memory-flock").status, 200);
    drop(watching);
    wait_until("there is room again", || watch().is_some());
}

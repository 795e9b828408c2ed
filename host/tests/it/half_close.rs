use std::time::{Duration, Instant};

use crate::support::{Answer, Connection, Sandbox, ask, ask_admin};

const INC: &str = "POST /inc HTTP/1.1\r\nhost: x\r\n\r\n";

/// Well below the time that an idle connection may stay open.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// Sends `bytes` and says that no more will come; whatever is answered until the host closes the connection.
fn send_all(address: std::net::SocketAddr, bytes: &str) -> Vec<Answer> {
    let began = Instant::now();
    let mut connection = Connection::open(address);
    connection.write(bytes.as_bytes()).unwrap();
    connection.end_sending();
    let answers = std::iter::from_fn(|| connection.answer()).collect();
    assert!(began.elapsed() < CLOSED_WITHIN, "{bytes:?} took {:?}", began.elapsed());
    answers
}

#[test]
fn who_stops_sending_after_a_request_is_answered() {
    for (plugin, times) in [("shared-memory-atomic", 500), ("disk-flock", 200)] {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&["--plugin", plugin]);
        for count in 1..=times {
            let answers = send_all(tally.address(), INC);
            let counts: Vec<_> = answers.iter().map(Answer::count).collect();
            assert_eq!(counts, [count], "{plugin}");
        }
        assert_eq!(ask(tally.address(), "GET /count").count(), times, "{plugin}");
    }
}

#[test]
fn who_stops_sending_after_many_requests_is_answered_them_all() {
    for plugin in ["shared-memory-atomic", "disk-flock"] {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&["--plugin", plugin]);
        let address = tally.address();
        for round in 0..20 {
            let answers = send_all(address, &INC.repeat(40));
            let counts: Vec<_> = answers.iter().map(Answer::count).collect();
            assert_eq!(counts, (40 * round + 1..=40 * (round + 1)).collect::<Vec<_>>(), "{plugin}");
        }
        let with_body =
            "POST /counters/a/inc HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\n{\"by\":5}";
        let answers = send_all(address, &with_body.repeat(2));
        assert_eq!(answers.iter().map(Answer::count).collect::<Vec<_>>(), [5, 10], "{plugin}");
    }
}

#[test]
fn who_stops_in_the_middle_of_a_request_counts_nothing_and_keeps_nothing_open() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let address = tally.address();
    for (sent, answered) in [
        (String::new(), &[][..]),
        ("\r\n".to_owned(), &[]),
        (INC[..INC.len() - 1].to_owned(), &[]),
        (format!("{INC}{}", &INC[..20]), &[200]),
        (
            "POST /counters/count/inc HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\n{\"by\""
                .to_owned(),
            &[400],
        ),
        ("POST /inc HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), &[400]),
    ] {
        let answers = send_all(address, &sent);
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, answered, "{sent:?}");
    }
    assert_eq!(ask(address, "GET /count").count(), 1, "that of the one whole request");
}

#[test]
fn the_admin_listener_answers_who_stops_sending() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--plugin", "disk-flock"]);
    let admin = tally.admin();
    let inc = tally.admin_head("POST /admin/increment") + "\r\n";
    for count in 1..=100 {
        let answers = send_all(admin, &inc);
        assert_eq!(answers.iter().map(Answer::count).collect::<Vec<_>>(), [count]);
    }
    assert!(send_all(admin, &inc[..30]).is_empty());
    let body = r#"{"plugin":"shared-memory-atomic","leave_counts":true}"#;
    let head = tally.admin_head("PUT /admin/plugin") + "content-type: application/json\r\n";
    let swap = send_all(admin, &format!("{head}content-length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(swap[0].json()["plugin"], "shared-memory-atomic");
    assert_eq!(ask_admin(&tally, "POST /admin/increment", "").status, 200);
}

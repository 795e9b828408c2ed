use crate::support::{Connection, Sandbox, Tally, ask_admin, overview};

/// Sends `METHOD /path` with `body`, if it is one, and returns `STATUS` and the count, or `STATUS CODE`.
fn ask(tally: &Tally, request: &str, body: Option<&str>) -> String {
    let mut connection = Connection::open(tally.address());
    let mut message =
        format!("{request} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
    if let Some(body) = body {
        message += &format!("content-length: {}\r\n", body.len());
    }
    message += "\r\n";
    connection.write((message + body.unwrap_or_default()).as_bytes()).unwrap();
    let answer = connection.answer().expect("an answer");
    match answer.status {
        200 => format!("200 {}", answer.json()["count"]),
        status => format!("{status} {}", answer.problem()),
    }
}

#[test]
fn what_the_original_clients_may_send_is_taken() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let counts = |request, body| ask(&tally, request, body);
    for (request, body, answer) in [
        ("POST /inc", None, "200 1"),
        ("POST /inc", Some(""), "200 2"),
        ("POST /inc", Some("{}"), "200 3"),
        ("POST /inc", Some(" { }\r\n"), "200 4"),
        ("POST /inc?", None, "200 5"),
        ("GET /count", Some("{}"), "200 5"),
        ("POST /reset", Some("{}"), "200 null"),
        ("GET /count?", None, "200 0"),
        ("POST /counters/a/inc", Some("{}"), "200 1"),
        ("POST /counters/a/inc?", Some(""), "200 2"),
        ("POST /counters/a/inc?by=3", None, "200 5"),
        ("POST /counters/a/inc?by=3", Some("{}"), "200 8"),
        ("POST /counters/a/inc", Some(" {\"by\": -3}\n"), "200 5"),
        ("POST /counters/a/inc?%62y=5", None, "200 10"),
        ("GET /counters/%61", Some(""), "200 10"),
        ("POST /counters/a/reset", Some("{}"), "200 null"),
    ] {
        assert_eq!(counts(request, body), answer, "{request} {body:?}");
    }
}

#[test]
fn what_is_not_understood_is_refused_and_changes_nothing() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    assert_eq!(ask(&tally, "POST /inc", None), "200 1");
    for request in [
        "POST /inc",
        "POST /reset",
        "GET /count",
        "GET /counters/count",
        "POST /counters/count/reset",
    ] {
        for query in ["by=5", "by=1", "by=", "by", "x=1", "=", "_=123", "%", "a=%zz"] {
            let answer = ask(&tally, &format!("{request}?{query}"), None);
            assert_eq!(answer, "400 bad-request", "{request}?{query}");
        }
        for body in [
            "{\"by\":5}",
            "{\"by\":null}",
            "[]",
            "[5]",
            "null",
            "5",
            "\"\"",
            " ",
            "{",
            "{}{}",
            "by=5",
        ] {
            assert_eq!(ask(&tally, request, Some(body)), "400 bad-request", "{request} {body}");
        }
    }
    let inc = "POST /counters/count/inc";
    for body in [
        "[5]",
        "[]",
        "[null]",
        "null",
        "5",
        "true",
        "\"5\"",
        " ",
        "\u{feff}{}",
        "{",
        "{}{}",
        "by=5",
        "{\"by\":null}",
        "{\"by\":\"5\"}",
        "{\"by\":5.0}",
        "{\"by\":5.5}",
        "{\"by\":5e0}",
        "{\"by\":[5]}",
        "{\"by\":{}}",
        "{\"by\":true}",
        "{\"by\":9223372036854775808}",
        "{\"by\":5,\"by\":5}",
        "{\"by\":5,\"to\":5}",
        "{\"By\":5}",
        "{\"by\":5}x",
        "{\"by\":+5}",
        "{\"by\":05}",
    ] {
        assert_eq!(ask(&tally, inc, Some(body)), "400 bad-request", "{body}");
    }
    for query in [
        "by",
        "by=",
        "by=null",
        "by=5.0",
        "by=5%20",
        "by=+5",
        "by=x",
        "by=5&by=5",
        "by=5&by=",
        "by=5&x=1",
        "BY=5",
        "by=%zz",
        "by=%",
        "by=5%",
        "by%=5",
        "%=5",
        "to=5",
        "5",
    ] {
        assert_eq!(ask(&tally, &format!("{inc}?{query}"), None), "400 bad-request", "{query}");
    }
    assert_eq!(ask(&tally, &format!("{inc}?by=5"), Some("{\"by\":5}")), "400 bad-request");
    for query in ["limit=%", "cursor=%zz", "cursor=1&cursor=2", "cursor=%e", "limit=", "page=1"] {
        assert_eq!(
            ask(&tally, &format!("GET /counters?{query}"), None),
            "400 bad-request",
            "{query}"
        );
    }
    assert_eq!(ask(&tally, "GET /counters", Some("{\"limit\":1}")), "400 bad-request");
    for key in ["%", "%zz", "a%", "%2", "%%", "a%2gb", "%25%", "%FF", "%C3"] {
        for request in ["GET /counters/KEY", "POST /counters/KEY/inc", "POST /counters/KEY/reset"] {
            let request = request.replace("KEY", key);
            assert_eq!(ask(&tally, &request, None), "400 invalid-key", "{request}");
        }
    }
    let listed = crate::support::ask(tally.address(), "GET /counters").json();
    assert_eq!(listed["counters"], serde_json::json!([{ "key": "count", "count": 1 }]));
}

#[test]
fn what_is_not_understood_on_the_admin_listener_is_refused_and_changes_nothing() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let by_name = r#"{"plugin":"shared-memory-flock"}"#;
    for (request, body) in [
        ("POST /admin/increment?by=5", ""),
        ("POST /admin/increment", "{\"by\":5}"),
        ("POST /admin/increment", "[5]"),
        ("PUT /admin/plugin?carry=true", by_name),
        ("PUT /admin/plugin", "[\"shared-memory-flock\"]"),
        ("PUT /admin/plugin", ""),
        ("POST /admin/rollback?carry=true", ""),
        ("POST /admin/rollback", "[]"),
        ("POST /admin/rollback", "null"),
        ("PUT /admin/plugins/x?overwrite", ""),
        ("PUT /admin/plugins/%FF", ""),
        ("GET /admin/plugins?all", ""),
        ("GET /admin/events?since=1", ""),
    ] {
        let answer = ask_admin(&tally, request, body);
        assert_eq!((answer.status, answer.problem().as_str()), (400, "bad-request"), "{request}");
    }
    assert_eq!(overview(&tally)["swaps"], 0);
    assert_eq!(ask_admin(&tally, "POST /admin/increment", "{}").count(), 1);
    assert_eq!(ask_admin(&tally, "PUT /admin/plugin?", by_name).status, 200);
}

#[test]
fn a_body_that_breaks_off_is_not_called_too_large() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let large = format!("10001\r\n{}\r\n0\r\n\r\n", " ".repeat(0x10001));
    for (body, expected) in
        [("no size\r\n", (400, "body-broken")), (large.as_str(), (413, "body-too-large"))]
    {
        let mut connection = Connection::open(tally.admin());
        let head = tally.admin_head("PUT /admin/plugin") + "content-type: application/json\r\n";
        let request = format!("{head}transfer-encoding: chunked\r\n\r\n{body}");
        connection.write(request.as_bytes()).unwrap();
        let answer = connection.answer().unwrap();
        assert_eq!((answer.status, answer.problem().as_str()), expected);
    }
}

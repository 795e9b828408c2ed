use std::{
    collections::BTreeSet,
    env,
    io::Write,
    process::{Command, Stdio},
};

use crate::support::{
    Answer, Sandbox, Tally, ask, ask_admin, check_refused, guest, overview, send, swap, wait_until,
};

const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page for one who accepts `accept`; for one who does not say, if that is empty.
fn page(tally: &Tally, accept: &str) -> Answer {
    let accept = if accept.is_empty() { String::new() } else { format!("accept: {accept}\r\n") };
    let head = tally.admin_head("GET /metrics");
    send(tally.admin(), format!("{head}{accept}connection: close\r\n\r\n"))
}

/// The value of one sample, which must be there once.
fn sample(page: &Answer, name: &str) -> u64 {
    let values: Vec<_> =
        page.body.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect();
    assert_eq!(values.len(), 1, "{name} in {}", page.body);
    values[0].parse().unwrap()
}

/// A host with something in each family, and names that have to be escaped.
fn busy_host(sandbox: &Sandbox) -> Tally {
    std::fs::copy(guest("guest-hostile"), sandbox.path().join("a \"b\".wasm")).unwrap();
    let grants = "a \"b\"=shared-memory+file-lock+clocks+log";
    let args = ["--plugin", "shared-memory-flock", "--plugin-dir", ".", "--grant", grants];
    let tally = sandbox.start(&args);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    assert_eq!(ask(tally.address(), "POST /counters/a%2Fb/inc").count(), 1);
    assert_eq!(ask(tally.address(), "GET /nowhere").status, 404);
    let answer = swap(&tally, "a \"b\"");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(ask(tally.address(), "POST /counters/panic/inc").problem(), "plugin-trapped");
    assert_eq!(swap(&tally, "shared-memory-atomic").status, 200);
    check_refused(&swap(&tally, "nothing"), "unknown-plugin", "nothing");
    wait_until("all plugins are loaded", || {
        let overview = overview(&tally);
        overview["plugins"].as_array().unwrap().iter().all(|plugin| plugin["state"] != "loading")
    });
    tally
}

#[test]
fn the_metrics_say_what_happened() {
    let sandbox = Sandbox::new();
    let tally = busy_host(&sandbox);
    let page = page(&tally, "");
    for (name, value) in [
        ("tally_http_requests_total{route=\"/inc\",status=\"200\"}", 1),
        ("tally_http_requests_total{route=\"/counters/{key}/inc\",status=\"200\"}", 1),
        ("tally_http_requests_total{route=\"other\",status=\"404\"}", 1),
        ("tally_plugin_call_seconds_count{plugin=\"shared-memory-flock\",outcome=\"ok\"}", 2),
        ("tally_plugin_traps_total{plugin=\"a \\\"b\\\"\",reason=\"panic\"}", 1),
        ("tally_plugin_swaps_total{result=\"ok\"}", 2),
        ("tally_plugin_swaps_total{result=\"failed\"}", 1),
        ("tally_generation{plugin=\"shared-memory-atomic\"}", 3),
        ("tally_build_info{version=\"0.1.0\"}", 1),
    ] {
        assert_eq!(sample(&page, name), value, "{name}");
    }
    // Two for the requests, and more for the plugin's trial.
    assert!(sample(&page, "tally_lock_hold_seconds_count{plugin=\"shared-memory-flock\"}") >= 2);
}

#[test]
fn listings_and_the_increments_of_the_dashboard_are_metered_like_all_calls() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    assert_eq!(ask(tally.address(), "GET /counters").status, 200);
    let calls = "tally_plugin_call_seconds_count{plugin=\"shared-memory-atomic\",outcome=\"ok\"}";
    assert_eq!(sample(&page(&tally, ""), calls), 1);
    assert_eq!(ask_admin(&tally, "POST /admin/increment", "").count(), 1);
    assert_eq!(sample(&page(&tally, ""), calls), 2);
}

#[test]
fn each_gets_the_format_that_it_asks_for() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let both = "application/openmetrics-text;q=0.4\r\naccept: text/plain;q=0.6";
    for (accept, content_type) in [
        ("", CLASSIC),
        ("*/*", CLASSIC),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", OPEN_METRICS),
        (both, CLASSIC),
    ] {
        let page = page(&tally, accept);
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.head.contains(&format!("content-type: {content_type}\r\n")), "{page:?}");
        assert!(page.head.contains("vary: accept\r\n"), "{page:?}");
        let is_open_metrics = page.body.ends_with("# EOF\n");
        assert_eq!(is_open_metrics, content_type == OPEN_METRICS, "{page:?}");
    }
}

#[test]
fn the_reference_parsers_read_the_same_in_both_formats() {
    let sandbox = Sandbox::new();
    let tally = busy_host(&sandbox);
    let open_metrics = parsed("openmetrics", &page(&tally, OPEN_METRICS));
    let classic = parsed("classic", &page(&tally, CLASSIC));
    let is_family = |line: &&String| line.starts_with("family ");
    let samples = |lines: &[String]| -> BTreeSet<String> {
        lines.iter().filter(|line| !is_family(line)).cloned().collect()
    };
    let differences: Vec<_> =
        samples(&open_metrics).symmetric_difference(&samples(&classic)).cloned().collect();
    assert_eq!(differences, [""; 0]);
    let families: Vec<_> = open_metrics.iter().filter(is_family).collect();
    assert_eq!(
        families,
        [
            "family tally_build info ",
            "family tally_generation gauge ",
            "family tally_http_requests counter ",
            "family tally_lock_hold_seconds histogram seconds",
            "family tally_lock_wait_seconds histogram seconds",
            "family tally_plugin_call_seconds histogram seconds",
            "family tally_plugin_instances gauge ",
            "family tally_plugin_memory_bytes gauge bytes",
            "family tally_plugin_swaps counter ",
            "family tally_plugin_traps counter ",
            "family tally_process_resident_memory_bytes gauge bytes",
        ]
    );
}

#[test]
fn promtool_finds_nothing_to_say() {
    let sandbox = Sandbox::new();
    let tally = busy_host(&sandbox);
    let said =
        told(Command::new(needed("PROMTOOL")).args(["check", "metrics"]), &page(&tally, CLASSIC));
    assert!(said.is_empty(), "{said}");
}

/// What Prometheus' library for Python finds in a page, in order.
fn parsed(format: &str, page: &Answer) -> Vec<String> {
    let reader = include_str!("metrics_reference.py");
    let python = needed("TOOLS_PYTHON");
    let said = told(Command::new(python).args(["-I", "-c", reader, format]), page);
    let mut lines: Vec<_> = said.lines().map(String::from).collect();
    lines.sort();
    lines
}

/// What a program that is given a page says; it must succeed.
fn told(program: &mut Command, page: &Answer) -> String {
    let piped = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = piped.spawn().unwrap();
    running.stdin.take().unwrap().write_all(page.body.as_bytes()).unwrap();
    let ended = running.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(ended.status.success(), "{said}\n{}", page.body);
    said
}

fn needed(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run the tests through compose/with-services")
    })
}

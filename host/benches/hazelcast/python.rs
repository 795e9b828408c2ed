//! The baseline: Hazelcast's own client for Python, with a thread for each client.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// The program that the tests of our client use, too.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/hazelcast/tests/official/client.py");

/// More than can be made in any of the runs, which end by the clock.
const TIMES_MAX: u64 = 1_000_000;

/// Increments per second.
pub fn run(method: &str, clients: usize, time: Duration) -> f64 {
    let python = env::var_os("TOOLS_PYTHON").expect("it was looked at before");
    let mut process = Command::new(python)
        .arg(PROGRAM)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("compose/with-python-tools brings it");
    let mut requests = process.stdin.take().expect("it is piped");
    let mut answers = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    let mut ask = |request: Value| -> Value {
        writeln!(requests, "{request}").expect("it reads");
        let answer = answers.next().expect("it answers").expect("a line");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer.get("error").is_none(), "{request}: {answer}");
        answer["value"].clone()
    };
    let (map, key, name) = ("python", "count", "python");
    ask(json!({ "do": "put", "map": map, "key": key, "value": 0 }));
    // Connects, and learns whose key it is.
    let increment = |times, begin| {
        json!({
            "do": "increment", "method": method, "map": map, "key": key, "name": name,
            "threads": clients, "times": times, "begin": begin,
        })
    };
    ask(increment(100, false));
    ask(increment(TIMES_MAX, true));
    thread::sleep(time);
    let result = ask(json!({ "do": "finish" }));
    let number = |field: &str| result[field].as_f64().expect("a number");
    let rate = number("made") / number("seconds");
    drop(requests);
    process.wait().expect("it ends with its input");
    rate
}

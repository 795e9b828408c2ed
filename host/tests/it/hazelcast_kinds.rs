use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tally_hazelcast::Number;

use crate::support::{Hazelcast, Sandbox, ask, carry, load_beside_others, wait_until};

const OPTIMISTIC: &str = "hazelcast-optimistic";
/// Those that share a map.
const ON_MAP: [&str; 3] = ["hazelcast-pessimistic", OPTIMISTIC, "hazelcast-no-lock"];

#[test]
fn an_integer_stays_one_in_each_method_until_it_is_too_wide() {
    for plugin in ON_MAP {
        let (cluster, sandbox) = (Hazelcast::shared(), Sandbox::new());
        let tally = cluster.start(&sandbox, &["--plugin", plugin]);
        cluster.put(Number::Integer(i32::MAX - 1));
        let long = i64::from(i32::MAX) + 1;
        for stored in [Number::Integer(i32::MAX), Number::Long(long), Number::Long(long + 1)] {
            assert_eq!(ask(tally.address(), "POST /inc").count(), stored.value(), "{plugin}");
            assert_eq!(cluster.stored(), Some(stored), "{plugin}");
        }
        for before in [Number::Integer(5), Number::Long(5)] {
            cluster.put(before);
            assert_eq!(ask(tally.address(), "POST /reset").status, 200, "{plugin}");
            assert_eq!(cluster.stored(), Some(before.with(0)), "{plugin}");
        }
        // A carry puts 0 there, as an entry.
        cluster.put(Number::Integer(5));
        carry(&tally, "shared-memory-atomic");
        assert_eq!(cluster.stored(), Some(Number::Integer(0)), "{plugin}");
    }
}

#[test]
fn what_is_new_is_a_long_in_each_method() {
    for plugin in ON_MAP {
        let (cluster, sandbox) = (Hazelcast::shared(), Sandbox::new());
        let tally = cluster.start(&sandbox, &["--plugin", plugin]);
        for (request, stored) in [("POST /inc", 1), ("POST /reset", 0)] {
            assert_eq!(ask(tally.address(), request).status, 200, "{plugin}");
            assert_eq!(cluster.stored(), Some(Number::Long(stored)), "{plugin}");
        }
    }
}

#[test]
fn optimistic_increments_of_the_official_client_beside_ours_are_all_counted() {
    const CLIENTS: usize = 4;
    const CALLS: u64 = 100;
    let (cluster, sandbox) = (Hazelcast::shared(), Sandbox::new());
    let tally = cluster.start(&sandbox, &["--plugin", OPTIMISTIC]);
    cluster.put(Number::Integer(0));
    let count = || ask(tally.address(), "GET /count").count();
    let official = Official::begin(cluster.map());
    wait_until("the other client is at it", || 0 < count());
    let report = load_beside_others(&tally, CLIENTS, CALLS);
    let before = count();
    wait_until("the other client goes on", || before < count());
    let made = official.finish();
    assert!(report.verdict.right(), "{report}");
    let made = made + i64::try_from(report.verdict.acknowledged).unwrap();
    assert_eq!(cluster.stored(), Some(Number::Integer(0).with(made)), "{report}");
}

/// The client for Python, which increments as the original does: what it writes is an Integer, and it compares bytes.
struct Official(Child);

impl Official {
    fn begin(map: &str) -> Self {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("hazelcast/tests/official/client.py");
        let python = env::var("TOOLS_PYTHON").expect(
            "this test needs the client for Python: run it by compose/with-services cargo test",
        );
        let program = Command::new(python)
            // Apart from the variables and packages of whoever runs this.
            .arg("-I")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let official = Self(program);
        official.write(&json!({
            "do": "increment", "method": "optimistic", "begin": true, "map": map, "key": "count",
            "kind": "integer", "threads": 2, "times": 1_000_000,
        }));
        official
    }

    fn write(&self, request: &Value) {
        writeln!(self.0.stdin.as_ref().unwrap(), "{request}").unwrap();
    }

    /// How many increments it has made.
    fn finish(mut self) -> i64 {
        self.write(&json!({"do": "finish"}));
        // The answers to both requests. It gives itself 40 s for each.
        let answers = BufReader::new(self.0.stdout.take().unwrap()).lines().take(2);
        let answers: Vec<Value> =
            answers.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        answers[1]["value"]["made"].as_i64().unwrap_or_else(|| panic!("{answers:?}"))
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

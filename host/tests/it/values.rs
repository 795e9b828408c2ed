use crate::support::{Sandbox, ask};

const PLUGINS: [&str; 4] =
    ["shared-memory-atomic", "shared-memory-flock", "shared-memory-no-lock", "disk-flock"];

#[test]
fn an_increment_past_either_end_is_refused_and_changes_nothing() {
    for plugin in PLUGINS {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&["--plugin", plugin]);
        for (key, end, step) in [("max", i64::MAX, 1), ("min", i64::MIN, -1)] {
            let add = |by: i64| ask(tally.address(), &format!("POST /counters/{key}/inc?by={by}"));
            assert_eq!(add(end).count(), end, "{plugin}");
            assert_eq!(
                (add(step).status, add(step).problem()),
                (409, "overflow".into()),
                "{plugin}"
            );
            assert_eq!(
                ask(tally.address(), &format!("GET /counters/{key}")).count(),
                end,
                "{plugin}"
            );
            assert_eq!(add(-step).count(), end - step, "{plugin}");
        }
    }
}

#[test]
fn a_key_may_be_any_text_of_256_bytes_on_every_plugin() {
    for plugin in PLUGINS {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&["--plugin", plugin]);
        let longest = "%2F".repeat(256);
        for (idx, key) in [longest.as_str(), "..", "%00", "count.txt", "a", "%F0%9F%A6%80"]
            .into_iter()
            .enumerate()
        {
            let by = idx as i64 + 1;
            let answer = ask(tally.address(), &format!("POST /counters/{key}/inc?by={by}"));
            assert_eq!(answer.count(), by, "{plugin} {key}");
        }
        assert_eq!(ask(tally.address(), "GET /count").count(), 0, "{plugin}");
    }
}

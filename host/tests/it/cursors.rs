use crate::support::{Database, Hazelcast, Sandbox, Tally, ask, guest, overview, wait_until};

/// No plugin has ever returned any of these.
const NEVER: [&str; 8] = ["", "%00", "%FF", "%F0%9F", "a%00b", "-1", "+1", "LONG"];

/// What becomes of each listing that begins at one of `cursors`.
fn check(tally: &Tally, plugin: &str, cursors: &[&str]) {
    for cursor in NEVER.iter().chain(cursors) {
        let cursor = cursor.replace("LONG", &"k".repeat(3_000)).replace('+', "%2B");
        let answer = ask(tally.address(), &format!("GET /counters?cursor={cursor}"));
        // Bytes that are no text become U+FFFD, which is no part of any cursor either.
        let outcome = (answer.status, answer.problem());
        assert_eq!(outcome, (400, "invalid-cursor".into()), "{plugin}: {cursor:?}");
    }
    let ready = ask(tally.address(), "GET /readyz");
    assert_eq!(ready.status, 200, "{plugin}: {ready:?}");
    for key in 0..3 {
        assert_eq!(ask(tally.address(), &format!("POST /counters/{key}/inc")).status, 200);
    }
    let page = ask(tally.address(), "GET /counters?limit=1").json();
    let next = page["next"].as_str().unwrap().replace('%', "%25").replace('+', "%2B");
    assert_eq!(ask(tally.address(), &format!("GET /counters?cursor={next}")).status, 200);
}

/// How many instances of `plugin` there are.
fn instances(tally: &Tally, plugin: &str) -> u64 {
    let overview = overview(tally);
    let mut plugins = overview["plugins"].as_array().unwrap().iter();
    plugins.find(|known| known["name"] == plugin).unwrap()["instances"].as_u64().unwrap()
}

#[test]
fn the_instance_that_refused_a_cursor_serves_on() {
    // They are called in different ways.
    for plugin in ["shared-memory-atomic", "disk-flock"] {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&["--plugin", plugin, "--workers", "1"]);
        assert_eq!(ask(tally.address(), "GET /count").count(), 0);
        // The other thread has one that looks whether the host is ready.
        wait_until("it was looked at", || overview(&tally)["ready"] == true);
        assert_eq!(ask(tally.address(), "GET /counters").status, 200);
        let before = instances(&tally, plugin);
        assert_eq!(ask(tally.address(), "GET /counters?cursor=x").problem(), "invalid-cursor");
        assert_eq!(instances(&tally, plugin), before, "{plugin}");
    }
}

#[test]
fn a_listing_of_a_plugin_that_does_not_list_costs_no_instance() {
    let sandbox = Sandbox::new();
    let silent = guest("guest-hostile");
    let grant = ["--grant", "guest_hostile=shared-memory+file-lock+clocks+log"];
    let args = ["--plugin", silent.to_str().unwrap(), "--workers", "1"];
    let tally = sandbox.start(&[&args[..], &grant].concat());
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    wait_until("it was looked at", || overview(&tally)["ready"] == true);
    assert_eq!(ask(tally.address(), "GET /counters").problem(), "not-listable");
    assert_eq!(instances(&tally, "guest_hostile"), 2);
}

#[test]
fn what_is_no_cursor_of_cells_or_files_is_refused() {
    for (plugin, cursors) in [
        (
            "shared-memory-atomic",
            &[
                "0",
                "01",
                "x",
                "1.0",
                "1%20",
                "16384",
                "18446744073709551615",
                "18446744073709551616",
            ][..],
        ),
        ("shared-memory-flock", &["0", "x"]),
        ("shared-memory-no-lock", &["0", "x"]),
        (
            "disk-flock",
            &[
                "x",
                "count.txt.keys",
                "count.txt.keys/",
                "count.txt.keys/a",
                "../count.txt",
                "/etc/passwd",
                "count.txt.keys/a/b.txt",
            ],
        ),
    ] {
        let sandbox = Sandbox::new();
        check(&sandbox.start(&["--plugin", plugin]), plugin, cursors);
    }
}

#[test]
fn what_is_no_cursor_of_a_map_is_refused() {
    for plugin in ["hazelcast-pessimistic", "hazelcast-optimistic", "hazelcast-no-lock"] {
        let (sandbox, cluster) = (Sandbox::new(), Hazelcast::shared());
        let tally = cluster.start(&sandbox, &["--plugin", plugin]);
        check(
            &tally,
            plugin,
            &["x", "7", ":a", "-1:a", "01:a", "271:a", "2147483647:a", "2147483648:a"],
        );
    }
}

#[test]
fn what_is_no_cursor_of_a_table_is_refused() {
    for plugin in ["postgresql-inplace-update", "postgresql-serializable-update"] {
        let texts = Database::new();
        let sandbox = Sandbox::new();
        let tally = texts.start(&sandbox, &["--plugin", plugin]);
        for cursor in ["%00", "", "a%00", &"k".repeat(257)] {
            let answer = ask(tally.address(), &format!("GET /counters?cursor={cursor}"));
            assert_eq!(
                (answer.status, answer.problem()),
                (400, "invalid-cursor".into()),
                "{plugin}: {cursor:?}"
            );
        }
        // Any other text is a place in the order of keys.
        assert_eq!(ask(tally.address(), "GET /counters?cursor=x").status, 200);

        let integers = Database::new();
        integers.create();
        integers.psql("CREATE TABLE user_counter (user_id integer PRIMARY KEY, counter integer, version integer)");
        let tally = integers.start_unready(&sandbox, &["--plugin", plugin]);
        for cursor in ["x", "", "1.5", "01", "%2B1", "1%20", "2147483648", "9223372036854775808"] {
            let answer = ask(tally.address(), &format!("GET /counters?cursor={cursor}"));
            assert_eq!(
                (answer.status, answer.problem()),
                (400, "invalid-cursor".into()),
                "{plugin}: {cursor:?}"
            );
        }
        assert_eq!(ask(tally.address(), "GET /counters?cursor=-7").status, 200);
    }
}

use std::time::{Duration, Instant};

use crate::support::{
    Sandbox, Tally, ask, check_refused, guest, overview, own_port, swap_and_leave,
};

const PLUGINS: [&str; 4] =
    ["hazelcast-atomic", "hazelcast-no-lock", "hazelcast-optimistic", "hazelcast-pessimistic"];

/// How soon clients must be told that the cluster is down.
const TOLD_WITHIN: Duration = Duration::from_secs(3);

/// An address at which nothing listens.
fn nobody() -> String {
    format!("127.0.0.1:{}", own_port())
}

/// A host whose cluster can't be reached.
fn start(sandbox: &Sandbox, args: &[&str]) -> Tally {
    let mut command = sandbox.command(args);
    command.env("HZ_CLUSTER_MEMBERS", nobody());
    sandbox.start_command(command)
}

#[test]
fn the_host_starts_without_its_cluster_and_says_so_to_clients() {
    for plugin in PLUGINS {
        let sandbox = Sandbox::new();
        let tally = start(&sandbox, &["--plugin", plugin]);
        let began = Instant::now();
        let ready = ask(tally.address(), "GET /readyz");
        assert_eq!((ready.status, ready.problem().as_str()), (503, "not-ready"), "{plugin}");
        for request in ["POST /inc", "GET /count", "POST /reset", "POST /counters/a/inc"] {
            let refused = ask(tally.address(), request);
            let told = (refused.status, refused.problem());
            assert_eq!(told, (503, "storage-unavailable".into()), "{plugin}: {}", refused.body);
            assert!(refused.head.contains("retry-after: "), "{}", refused.head);
        }
        assert_eq!(ask(tally.address(), "GET /livez").status, 200, "{plugin}");
        assert!(began.elapsed() < TOLD_WITHIN, "{plugin}: {:?}", began.elapsed());
    }
}

#[test]
fn the_storage_method_hazelcast_is_the_pessimistic_one() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["--storage-method", "hazelcast"]);
    command.env_remove("PLUGIN").env("HZ_CLUSTER_MEMBERS", nobody());
    let tally = sandbox.start_command(command);
    assert_eq!(overview(&tally)["active"]["plugin"], "hazelcast-pessimistic");
}

#[test]
fn a_swap_to_a_cluster_that_is_down_is_refused_and_the_old_plugin_goes_on() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, &[]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    for plugin in PLUGINS {
        let answer = swap_and_leave(&tally, plugin);
        check_refused(&answer, "plugin-refused", "failed when it was tried on the counter");
    }
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
}

#[test]
fn the_key_of_the_default_counter_in_the_map_is_no_other_counters() {
    let sandbox = Sandbox::new();
    let args = ["--plugin", "hazelcast-optimistic", "--hz-counter-key", "hits"];
    let tally = start(&sandbox, &args);
    // Refused before anything is sent to the cluster that is down.
    let answer = ask(tally.address(), "POST /counters/hits/inc");
    assert_eq!(answer.status, 400);
    check_refused(&answer, "invalid-key", "--hz-counter-key");
    assert_eq!(ask(tally.address(), "POST /counters/count/inc").status, 503);
}

#[test]
fn the_map_and_the_atomic_numbers_are_granted_each_for_itself() {
    let sandbox = Sandbox::new();
    let file = guest("guest-hostile-hazelcast");
    let refused = |grants: &str| {
        let output = sandbox.run(&["--plugin", file.to_str().unwrap(), "--grant", grants]);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let plugin = "guest_hostile_hazelcast";
    for grants in ["clocks", "clocks+hazelcast-atomic-long", "clocks+sql"] {
        let why = refused(&format!("{plugin}={grants}"));
        let advice = format!("--grant {plugin}.wasm=hazelcast-map+clocks");
        assert!(why.contains("tally:hazelcast/map@1.0.0") && why.contains(&advice), "{why}");
    }
    // The types that both share need no grant.
    let grant = format!("{plugin}=clocks+hazelcast-map");
    let tally = start(&sandbox, &["--plugin", file.to_str().unwrap(), "--grant", &grant]);
    assert_eq!(ask(tally.address(), "POST /inc").problem(), "storage-unavailable");
    // What is no key is refused before it is sent.
    for key in ["no-key", "long-key"] {
        let answer = ask(tally.address(), &format!("POST /counters/{key}/inc"));
        assert_eq!(answer.problem(), "invalid-key", "{key}: {}", answer.body);
    }
}

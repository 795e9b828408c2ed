use tally_loadtest::Report;

use crate::support::{Sandbox, load, load_beside_others, load_in_process};

/// The original's four scenarios, as numbers of clients.
const CLIENTS: [usize; 4] = [1, 2, 5, 10];

#[test]
fn the_exact_plugins_lose_nothing_with_any_number_of_clients() {
    for (plugin, calls) in
        [("shared-memory-atomic", 10_000), ("shared-memory-flock", 10_000), ("disk-flock", 1_000)]
    {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&["--plugin", plugin]);
        for clients in CLIENTS {
            let report = load(&tally, clients, calls);
            assert!(report.verdict.right(), "{plugin}, {clients} clients: {report}");
            assert_eq!(report.verdict.acknowledged, clients as u64 * calls, "{plugin}: {report}");
        }
    }
}

#[test]
fn in_process_the_exact_plugins_lose_nothing_and_the_warning_example_is_caught() {
    for (plugin, calls) in
        [("shared-memory-atomic", 10_000), ("shared-memory-flock", 10_000), ("disk-flock", 1_000)]
    {
        for clients in CLIENTS {
            let report = load_in_process(plugin, &[], clients, calls);
            assert!(report.verdict.right(), "{plugin}, {clients} clients: {report}");
            assert_eq!(report.verdict.acknowledged, clients as u64 * calls, "{plugin}: {report}");
        }
    }
    let warning = |clients| load_in_process("shared-memory-no-lock", &[], clients, 10_000);
    let alone = warning(1);
    assert!(alone.verdict.right(), "nobody is in the way of a single client: {alone}");
    for clients in &CLIENTS[1..] {
        check_caught(|| warning(*clients));
    }
}

#[test]
fn the_warning_example_is_caught_losing_increments() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--plugin", "shared-memory-no-lock"]);
    check_caught(|| load(&tally, 10, 10_000));
}

/// Loads until increments are lost, which takes clients that are on two cores at once.
fn check_caught(load: impl Fn() -> Report) {
    const LOADS_MAX: usize = 100;
    let caught = (0..LOADS_MAX).map(|_| load()).find(|report| report.verdict.lost != Some(0));
    let report = caught.expect("increments are lost");
    assert!(!report.verdict.right(), "{report}");
    let lost = report.verdict.lost.expect("the final count was read");
    assert!(lost > 0 && report.to_string().contains(&lost.to_string()), "{report}");
}

#[test]
fn two_hosts_on_one_storage_count_exactly() {
    for (plugin, calls) in
        [("shared-memory-atomic", 5_000), ("shared-memory-flock", 5_000), ("disk-flock", 500)]
    {
        let sandbox = Sandbox::new();
        let hosts = [(); 2].map(|()| sandbox.start(&["--plugin", plugin]));
        let reports = std::thread::scope(|scope| {
            let runs =
                hosts.each_ref().map(|host| scope.spawn(|| load_beside_others(host, 4, calls)));
            runs.map(|run| run.join().unwrap())
        });
        let acknowledged: u64 = reports.iter().map(|report| report.verdict.acknowledged).sum();
        let count = crate::support::ask(hosts[0].address(), "GET /count").count();
        assert_eq!((acknowledged, count), (8 * calls, 8 * calls as i64), "{plugin}");
        for report in reports {
            assert!(report.verdict.right(), "{plugin}: {report}");
        }
    }
}

#[test]
fn counts_outlive_the_host_and_the_method_can_be_exchanged() {
    let sandbox = Sandbox::new();
    let methods = ["shared-memory-atomic", "shared-memory-flock", "shared-memory-no-lock"];
    for (idx, plugin) in methods.into_iter().enumerate() {
        let tally = sandbox.start(&["--plugin", plugin]);
        assert_eq!(crate::support::ask(tally.address(), "POST /inc").count(), idx as i64 + 1);
    }
}

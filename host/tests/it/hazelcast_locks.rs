use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Hazelcast, Sandbox, Tally, ask, guest, wait_until, wait_within};

fn start_hostile(cluster: &Hazelcast, sandbox: &Sandbox, more: &[&str]) -> Tally {
    let guest = guest("guest-hostile-hazelcast");
    let grant = "guest_hostile_hazelcast=hazelcast-map+clocks";
    let args = ["--plugin", guest.to_str().unwrap(), "--grant", grant, "--workers", "1"];
    cluster.start(sandbox, &[&args, more].concat())
}

fn increment(tally: &Tally, key: &str) -> crate::support::Answer {
    ask(tally.address(), &format!("POST /counters/{key}/inc"))
}

#[test]
fn a_plugin_that_misbehaves_with_a_lock_does_not_keep_it() {
    let (cluster, sandboxes) = (Hazelcast::shared(), [Sandbox::new(), Sandbox::new()]);
    // The lease is too long to be what ends a lock.
    let [tally, hasty] =
        [("20000", &sandboxes[0]), ("3000", &sandboxes[1])].map(|(ms, sandbox)| {
            let args = ["--call-time-max", ms, "--hz-lock-lease", "600000"];
            start_hostile(&cluster, sandbox, &args)
        });
    for (key, status, code) in [
        ("leave-held", 500, "plugin-trapped"),
        ("leave-held-and-fail", 500, "plugin-trapped"),
        ("panic", 500, "plugin-trapped"),
        ("second-lock", 500, "storage-error"),
        ("second-lock-of-the-key", 500, "storage-error"),
        ("no-key", 400, "invalid-key"),
        ("long-key", 400, "invalid-key"),
        ("sleep", 504, "call-timed-out"),
    ] {
        let count = || ask(tally.address(), "GET /counters/locked").count();
        let before = count();
        let is_cut = code == "call-timed-out";
        let answer = increment(if is_cut { &hasty } else { &tally }, key);
        let told = (answer.status, answer.problem());
        assert_eq!(told, (status, code.into()), "{key}: {}", answer.body);
        assert_eq!(count(), before, "{key}");
        // A call that is cut off is so after ten times its time.
        let let_go = if is_cut { Duration::from_secs(60) } else { Duration::from_secs(30) };
        wait_within(let_go, key, || increment(&tally, "well").status == 200);
    }
    assert_eq!(increment(&tally, "drop").status, 200);
    assert_eq!(increment(&tally, "write-beside").status, 200);
    // No such number can be stored, so it is never the same.
    assert_eq!(increment(&tally, "wide-integer").count(), 0);
}

#[test]
fn nothing_is_written_under_a_lock_that_has_ended_and_who_held_it_is_told() {
    let (cluster, sandbox) = (Hazelcast::shared(), Sandbox::new());
    // Long enough for a write on a busy machine, and shorter than the plugin waits.
    let lease = ["--hz-lock-lease", "7000", "--hz-invocation-time-max", "3000"];
    let args = [&lease[..], &["--call-time-max", "60000"]].concat();
    let tally = start_hostile(&cluster, &sandbox, &args);
    assert_eq!(increment(&tally, "well").count(), 1);
    for (key, code, written) in
        [("late-write", "storage-unavailable", 0), ("late-release", "outcome-unknown", 1)]
    {
        let before = ask(tally.address(), "GET /counters/locked").count();
        let told = increment(&tally, key);
        assert_eq!(told.problem(), code, "{key}: {}", told.body);
        let count = ask(tally.address(), "GET /counters/locked").count();
        assert_eq!(count, before + written, "{key}");
    }
}

#[test]
fn others_go_on_within_the_lease_when_the_holder_of_a_lock_dies() {
    const LEASE: Duration = Duration::from_secs(5);
    let (cluster, sandboxes) = (Hazelcast::shared(), [Sandbox::new(), Sandbox::new()]);
    let lease = LEASE.as_millis().to_string();
    let args = ["--hz-lock-lease", &lease, "--hz-invocation-time-max", "2000"];
    let args = [&args[..], &["--call-time-max", "60000", "--lock-wait-max"]].concat();
    let start = |sandbox, wait| start_hostile(&cluster, sandbox, &[&args[..], &[wait]].concat());
    // The other one has to be refused while the lock is held; this one has to get it.
    let (holder, other) = (start(&sandboxes[0], "3000"), start(&sandboxes[1], "100"));
    assert_eq!(increment(&other, "well").count(), 1);
    std::thread::scope(|scope| {
        let sleeping = scope.spawn(|| {
            let mut client = crate::support::Connection::open(holder.address());
            client.write(b"POST /counters/sleep/inc HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            client.answer().is_none()
        });
        wait_until("the lock is held", || increment(&other, "well").problem_if_any() == "conflict");
        let died = Instant::now();
        holder.signal(Signal::KILL);
        wait_until("the other goes on", || increment(&other, "well").status == 200);
        assert!(died.elapsed() < 2 * LEASE, "{:?}", died.elapsed());
        assert!(sleeping.join().unwrap(), "the host is dead");
    });
}

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use rustix::{
    fs::{CWD, Mode, mkfifoat},
    process::Signal,
};

use crate::support::{
    Answer, Connection, Sandbox, Tally, ask, check_refused, overview, swap, swap_and_leave,
    wait_until,
};

/// More than the host takes to notice what became of a region: 10 ms and a tick of the kernel's clock.
const NOTICED_AFTER: Duration = Duration::from_millis(50);

/// How often a host is killed while it makes a region.
const KILLS: u64 = 30;

fn region(sandbox: &Sandbox) -> PathBuf {
    sandbox.path().join("region")
}

fn truncate(path: &Path, bytes: u64) {
    File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

fn inc(tally: &Tally) -> Answer {
    ask(tally.address(), "POST /inc")
}

#[test]
fn a_host_whose_region_is_truncated_under_load_lives_and_says_so() {
    for bytes in [0, 4096] {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&[]);
        let (acknowledged, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            for client in 0..4 {
                let (tally, acknowledged) = (&tally, &acknowledged);
                let (refused, is_done) = (&refused, &is_done);
                scope.spawn(move || {
                    let mut connection = Connection::open(tally.address());
                    for call in 0.. {
                        if is_done.load(Ordering::SeqCst) {
                            break;
                        }
                        let key = format!("{client}-{}", call % 500);
                        let request =
                            format!("POST /counters/{key}/inc HTTP/1.1\r\nhost: x\r\n\r\n");
                        connection.write(request.as_bytes()).unwrap();
                        let answer = connection.answer().expect("the host lives");
                        match answer.problem_if_any().as_str() {
                            "" => acknowledged.fetch_add(1, Ordering::SeqCst),
                            "storage-unavailable" => refused.fetch_add(1, Ordering::SeqCst),
                            // At the moment of the loss.
                            "outcome-unknown" => 0,
                            code => panic!("{code}: {answer:?}"),
                        };
                    }
                });
            }
            wait_until("increments are made", || 1_000 < acknowledged.load(Ordering::SeqCst));
            truncate(&region(&sandbox), bytes);
            wait_until("increments are refused", || 100 < refused.load(Ordering::SeqCst));
            is_done.store(true, Ordering::SeqCst);
        });
        let why = "was truncated while it was used";
        wait_until("the log says so", || sandbox.stderr().contains(why));
        check_lost(&sandbox, &tally, why);
        assert_eq!(fs::metadata(region(&sandbox)).unwrap().len(), bytes);
    }
}

/// Checks that a host says that its region was lost, and that all else goes on: what does not need the region, and the
/// next host.
fn check_lost(sandbox: &Sandbox, tally: &Tally, why: &str) {
    let path = region(sandbox).display().to_string();
    for request in ["POST /inc", "GET /count", "POST /reset", "GET /counters"] {
        let answer = ask(tally.address(), request);
        check_refused(&answer, "storage-unavailable", why);
        check_refused(&answer, "storage-unavailable", &path);
        check_refused(&answer, "storage-unavailable", "restart the hosts that share it");
    }
    check_refused(&ask(tally.address(), "GET /readyz"), "not-ready", why);
    assert_eq!(ask(tally.address(), "GET /livez").status, 200);
    check_refused(&swap(tally, "shared-memory-flock"), "plugin-refused", why);
    let answer = swap_and_leave(tally, "disk-flock");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(inc(tally).count(), 1);
    wait_until("it is ready", || ask(tally.address(), "GET /readyz").status == 200);
    // Nothing begins at 0 in its place.
    let answer = swap_and_leave(tally, "shared-memory-atomic");
    check_refused(&answer, "plugin-refused", why);
    assert_eq!(overview(tally)["active"]["plugin"], "disk-flock");
}

#[test]
fn hosts_whose_region_is_removed_or_replaced_do_not_count_apart() {
    type Change = fn(&Path);
    let changes: [(Change, &str); 2] = [
        (|path| fs::remove_file(path).unwrap(), "was removed while it was used"),
        (
            |path| {
                fs::copy(path, path.with_extension("new")).unwrap();
                fs::rename(path.with_extension("new"), path).unwrap();
            },
            "was replaced while it was used",
        ),
    ];
    for (change, why) in changes {
        let sandbox = Sandbox::new();
        let hosts = [(); 2].map(|()| sandbox.start(&[]));
        assert_eq!(inc(&hosts[0]).count(), 1);
        assert_eq!(inc(&hosts[1]).count(), 2);
        change(&region(&sandbox));
        thread::sleep(NOTICED_AFTER);
        for _ in 0..3 {
            for host in &hosts {
                check_refused(&inc(host), "storage-unavailable", why);
            }
        }
        // The next one begins the file of what the hosts say anew.
        wait_until("the log says so", || sandbox.stderr().contains(why));
        // One that starts takes what is there, and the others stay where they are.
        let next = sandbox.start(&[]);
        let count = inc(&next).count();
        assert_eq!(inc(&next).count(), count + 1);
        check_refused(&inc(&hosts[0]), "storage-unavailable", why);
        drop(next);
        check_lost(&sandbox, &hosts[1], why);
    }
}

#[test]
fn a_reload_does_not_begin_at_0_in_the_place_of_a_region_that_was_removed() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("tally.toml");
    let set_capacity = |keys: u32| fs::write(&file, format!("shared-memory-capacity = {keys}"));
    set_capacity(100).unwrap();
    let tally = sandbox.start(&["--config", file.to_str().unwrap()]);
    assert_eq!(inc(&tally).count(), 1);
    // Before anybody has used it since.
    fs::remove_file(region(&sandbox)).unwrap();
    set_capacity(200).unwrap();
    tally.signal(Signal::HUP);
    let why = "it was lost while this host used it";
    wait_until("the reload is refused", || sandbox.stderr().contains(why));
    check_refused(&inc(&tally), "storage-unavailable", "was removed while it was used");
    assert!(!region(&sandbox).exists());
}

#[test]
fn a_region_that_others_can_change_is_refused_at_the_start_and_while_it_is_used() {
    type Change = fn(&Path);
    let changes: [(Change, &str); 3] = [
        (
            |path| fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap(),
            "its mode is 0666",
        ),
        (
            |path| fs::set_permissions(path, fs::Permissions::from_mode(0o660)).unwrap(),
            "its mode is 0660",
        ),
        (|path| chown(path, Some(65_534), None).unwrap(), "it belongs to user 65534"),
    ];
    for (change, why) in changes {
        let sandbox = Sandbox::new();
        let tally = sandbox.start(&[]);
        assert_eq!(inc(&tally).count(), 1);
        change(&region(&sandbox));
        thread::sleep(NOTICED_AFTER);
        check_refused(&inc(&tally), "storage-unavailable", why);
        drop(tally);
        let output = sandbox.run(&[]);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(why) && said.contains("/region"), "{said}");
    }
}

#[test]
fn a_host_that_is_killed_while_it_makes_a_region_leaves_a_whole_one_or_none() {
    for kill in 0..KILLS {
        let sandbox = Sandbox::new();
        // Large enough that making it takes its time.
        let args = ["--shared-memory-capacity", "100000", "--admin-listen", "off"];
        let mut child = sandbox.command(&args).spawn().unwrap();
        thread::sleep(Duration::from_micros(kill * 7_919 % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let names: Vec<_> =
            fs::read_dir(sandbox.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let is_expected = |name: &std::ffi::OsString| name == "region" || name == "state";
        assert!(names.iter().all(is_expected), "{names:?}");
        if region(&sandbox).exists() {
            let tally = sandbox.start(&[]);
            assert_eq!(inc(&tally).count(), 1);
        }
    }
}

#[test]
fn a_pipe_in_the_place_of_the_region_is_refused_and_not_waited_for() {
    let sandbox = Sandbox::new();
    mkfifoat(CWD, region(&sandbox), Mode::RUSR | Mode::WUSR).unwrap();
    let output = sandbox.run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("a named pipe, not a regular file") && why.contains("/region"), "{why}");
}

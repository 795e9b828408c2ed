use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, Mode, mkfifoat};

use crate::support::{
    Connection, Sandbox, ask, carry, check_refused, guest, overview, swap, swap_and_leave,
    wait_until,
};

/// How often the host is killed. Each time at another moment of its increments.
const KILLS: u64 = 300;
/// How soon after a crash the host must serve again.
const READY_WITHIN: Duration = Duration::from_secs(1);

const INC: &[u8] = b"POST /inc HTTP/1.1\r\nhost: x\r\n\r\n";

#[test]
fn the_file_is_a_number_that_people_can_read() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--plugin", "disk-flock"]);
    for request in ["POST /inc", "POST /counters/user:7/inc?by=-12"] {
        assert_eq!(ask(tally.address(), request).status, 200);
    }
    assert_eq!(fs::read_to_string(sandbox.storage()).unwrap(), format!("{:<20}\n", 1));
    let keyed = sandbox.path().join("count.txt.keys/user%3A7.txt");
    assert_eq!(fs::read_to_string(keyed).unwrap(), format!("{:<20}\n", -12));
}

#[test]
fn a_number_that_was_put_there_by_hand_is_counted_on() {
    for content in ["41", "41\n", "  41  \n"] {
        let sandbox = Sandbox::new();
        fs::write(sandbox.storage(), content).unwrap();
        let tally = sandbox.start(&["--plugin", "disk-flock"]);
        assert_eq!(ask(tally.address(), "POST /inc").count(), 42, "{content:?}");
        assert_eq!(fs::read_to_string(sandbox.storage()).unwrap(), format!("{:<20}\n", 42));
    }
}

/// How often the other program counts.
const FOREIGN_INCREMENTS: i64 = 300;

#[test]
fn a_program_that_locks_the_file_and_hosts_that_count_in_it_lose_nothing_of_each_other() {
    let sandbox = Sandbox::new();
    // Put there by hand, so the hosts find that it is no record of theirs each time the other one has written.
    fs::write(sandbox.storage(), "0\n").unwrap();
    let hosts = [(); 2].map(|()| sandbox.start(&["--plugin", "disk-flock"]));
    let foreign = Command::new("sh")
        .args(["-euc", FOREIGN_COUNTER, "sh", &FOREIGN_INCREMENTS.to_string()])
        .arg(sandbox.storage())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let is_done = AtomicBool::new(false);
    let acknowledged = AtomicI64::new(0);
    let counted = thread::scope(|scope| {
        for host in &hosts {
            let (acknowledged, is_done) = (&acknowledged, &is_done);
            scope.spawn(move || {
                while !is_done.load(Ordering::SeqCst) {
                    let answer = ask(host.address(), "POST /inc");
                    assert_eq!(answer.status, 200, "{answer:?}");
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let output = foreign.wait_with_output();
        is_done.store(true, Ordering::SeqCst);
        output.unwrap().stdout.len() as i64
    });
    assert_eq!(counted, FOREIGN_INCREMENTS);
    let acknowledged = acknowledged.into_inner();
    assert!(acknowledged > FOREIGN_INCREMENTS / 10, "only {acknowledged} increments were made");
    assert_eq!(ask(hosts[0].address(), "GET /count").count(), acknowledged + counted);
}

/// Counts as the original does: locks the file, reads it, empties it, writes it. Says `.` for each increment.
const FOREIGN_COUNTER: &str = r#"
for _ in $(seq "$1"); do
    flock "$2" sh -euc 'count=$(cat "$1"); echo $((count + 1)) > "$1"' sh "$2"
    printf .
done
"#;

/// Locks a file until it is dropped, as other programs do.
fn lock(path: &Path) -> File {
    let file = File::open(path).unwrap();
    file.lock().unwrap();
    file
}

/// Whether anybody waits in the kernel for the lock on a file.
fn is_waited_for(file: &File) -> bool {
    let inode = format!(":{} ", file.metadata().unwrap().ino());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&inode))
}

#[test]
fn while_another_program_locks_the_file_other_keys_count_and_the_plugin_can_be_left() {
    // More than the threads of a worker, and of the control thread, that can wait for files.
    const READERS: usize = 16;
    const READS: usize = 10;
    const LISTINGS: usize = 12;
    let sandbox = Sandbox::new();
    fs::write(sandbox.storage(), "1").unwrap();
    let args = ["--plugin", "disk-flock", "--workers", "1", "--lock-wait-max", "20"];
    let tally = sandbox.start(&args);
    let _held = lock(&sandbox.storage());
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                for _ in 0..READS {
                    assert_eq!(ask(tally.address(), "GET /count").problem(), "conflict");
                }
            });
        }
    });
    assert_eq!(ask(tally.address(), "POST /counters/a/inc").count(), 1);
    for _ in 0..LISTINGS {
        // The counts can't be looked at.
        check_refused(&swap(&tally, "shared-memory-atomic"), "carry-or-leave", "");
    }
    let left = swap_and_leave(&tally, "shared-memory-atomic");
    assert_eq!(left.status, 200, "{left:?}");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
}

#[test]
fn other_keys_count_while_a_listing_waits_for_the_file() {
    const INCREMENTS: usize = 30;
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--plugin", "disk-flock", "--workers", "1"]);
    for request in ["POST /inc", "POST /counters/a/inc"] {
        assert_eq!(ask(tally.address(), request).count(), 1);
    }
    // Again where the machine was so slow that the listing gave up first.
    wait_until("other keys count while a listing waits", || {
        let held = lock(&sandbox.storage());
        thread::scope(|scope| {
            let listing = scope.spawn(|| ask(tally.address(), "GET /counters"));
            for _ in 0..INCREMENTS {
                assert_eq!(ask(tally.address(), "POST /counters/a/inc").status, 200);
            }
            let still_waits = !listing.is_finished();
            drop(held);
            listing.join().unwrap();
            still_waits
        })
    });
}

#[test]
fn a_listing_never_holds_the_locks_of_the_file_and_of_the_other_keys_at_once() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--plugin", "disk-flock"]);
    for request in ["POST /inc", "POST /counters/a/inc"] {
        assert_eq!(ask(tally.address(), request).count(), 1);
    }
    let others_held = lock(&sandbox.path().join("count.txt.counter.lock"));
    thread::scope(|scope| {
        let listing = scope.spawn(|| ask(tally.address(), "GET /counters"));
        wait_until("the listing waits for the other keys", || is_waited_for(&others_held));
        let _held = lock(&sandbox.storage());
        drop(others_held);
        let listed = listing.join().unwrap();
        assert_eq!(listed.status, 200, "{listed:?}");
    });
}

#[test]
fn a_file_that_was_put_in_the_place_of_the_old_one_is_counted_on() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--plugin", "disk-flock"]);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    let new = sandbox.path().join("new");
    fs::write(&new, "41").unwrap();
    fs::rename(&new, sandbox.storage()).unwrap();
    assert_eq!(ask(tally.address(), "POST /inc").count(), 42);
    fs::remove_file(sandbox.storage()).unwrap();
    assert_eq!(ask(tally.address(), "GET /count").count(), 0);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
}

#[test]
fn hosts_whose_lock_file_is_deleted_or_replaced_refuse_to_count_apart() {
    for is_replaced in [false, true] {
        let sandbox = Sandbox::new();
        let hosts = [(); 2].map(|()| sandbox.start(&["--plugin", "disk-flock"]));
        let lock = sandbox.path().join("count.txt.counter.lock");
        let acknowledged = AtomicI64::new(0);
        thread::scope(|scope| {
            for host in &hosts {
                scope.spawn(|| {
                    let mut refused = None;
                    wait_until("increments are refused", || {
                        for _ in 0..100 {
                            let answer = ask(host.address(), "POST /counters/a/inc");
                            if answer.status != 200 {
                                refused = Some(answer);
                                return true;
                            }
                            acknowledged.fetch_add(1, Ordering::SeqCst);
                        }
                        false
                    });
                    let refused = refused.unwrap();
                    check_refused(&refused, "storage-unavailable", "restart them");
                    check_refused(&refused, "storage-unavailable", lock.to_str().unwrap());
                });
            }
            wait_until("increments are made", || 100 < acknowledged.load(Ordering::SeqCst));
            fs::remove_file(&lock).unwrap();
            if is_replaced {
                fs::write(&lock, "").unwrap();
            }
        });
        assert_eq!(lock.exists(), is_replaced);
        drop(hosts);
        let again = sandbox.start(&["--plugin", "disk-flock"]);
        let counted = ask(again.address(), "GET /counters/a").count();
        assert_eq!(counted, acknowledged.into_inner());
    }
}

#[test]
fn a_pipe_in_the_place_of_a_lock_file_is_refused_and_not_waited_for() {
    let sandbox = Sandbox::new();
    let lock = sandbox.path().join("count.txt.counter.lock");
    mkfifoat(CWD, &lock, Mode::RUSR | Mode::WUSR).unwrap();
    let tally = sandbox.start(&["--plugin", "disk-flock"]);
    let answer = ask(tally.address(), "POST /counters/a/inc");
    check_refused(&answer, "storage-unavailable", "a named pipe, not a regular file");
}

#[test]
fn without_a_path_the_file_is_in_the_state_directory_by_the_port() {
    let sandbox = Sandbox::new();
    for path in [None, Some(" \n")] {
        let mut command = sandbox.command(&["--plugin", "disk-flock"]);
        command.env_remove("STORAGE_PATH").envs(path.map(|path| ("STORAGE_PATH", path)));
        let tally = sandbox.start_command(command);
        assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
        let file = format!("state/tally-{}/count.txt", tally.address().port());
        let content = fs::read_to_string(sandbox.path().join(file)).unwrap();
        assert_eq!(content, format!("{:<20}\n", 1));
    }
}

#[test]
fn without_a_path_another_plugin_serves_and_the_disk_plugin_is_ready() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&[]);
    command.env_remove("PLUGIN").env("STORAGE_PATH", "  ");
    let tally = sandbox.start_command(command);
    assert_eq!(overview(&tally)["active"]["plugin"], "shared-memory-atomic");
    let known = |name: &str| {
        let plugins = overview(&tally)["plugins"].as_array().unwrap().clone();
        plugins.into_iter().find(|plugin| plugin["name"] == name).unwrap()
    };
    wait_until("the disk plugin is loaded", || known("disk-flock")["state"] != "loading");
    assert_eq!(known("disk-flock")["state"], "ready", "{}", sandbox.stderr());
    assert!(!sandbox.stderr().contains("can't load"), "{}", sandbox.stderr());
    assert_eq!(carry(&tally, "disk-flock")["plugin"], "disk-flock");
}

#[test]
fn the_path_is_stripped_of_blanks_and_its_directory_is_made() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("a/b/count.txt");
    let mut command = sandbox.command(&[]);
    command.env_remove("PLUGIN").env("STORAGE_PATH", format!(" {}\n", file.display()));
    let tally = sandbox.start_command(command);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    assert_eq!(fs::read_to_string(file).unwrap(), format!("{:<20}\n", 1));
    // One that goes away has taken counts along; nothing begins at 0 in its place.
    fs::remove_dir_all(sandbox.path().join("a")).unwrap();
    let answer = ask(tally.address(), "POST /inc");
    assert_eq!(answer.status, 503, "{answer:?}");
}

#[test]
fn a_file_that_holds_no_counter_is_refused_and_never_touched() {
    let digits = "1".repeat(40);
    for content in ["", "hello", &digits, "42\0", "4 2", "9223372036854775808"] {
        let sandbox = Sandbox::new();
        fs::write(sandbox.storage(), content).unwrap();
        let tally = sandbox.start(&["--plugin", "disk-flock"]);
        for request in ["POST /inc", "GET /count", "POST /reset"] {
            let answer = ask(tally.address(), request);
            assert_eq!((answer.status, answer.problem().as_str()), (500, "storage-error"));
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains(sandbox.storage().to_str().unwrap()), "{detail}");
            assert!(
                detail.contains(&content.escape_default().to_string().replace("\\u{0}", "\\x00")),
                "{detail}"
            );
        }
        assert_eq!(fs::read_to_string(sandbox.storage()).unwrap(), content);
    }
}

#[test]
fn a_folder_that_can_not_be_written_is_unavailable_and_named() {
    let sandbox = Sandbox::new();
    // A directory where the counter's file should be.
    fs::create_dir(sandbox.storage()).unwrap();
    let tally = sandbox.start(&["--plugin", "disk-flock"]);
    let answer = ask(tally.address(), "POST /inc");
    assert_eq!((answer.status, answer.problem().as_str()), (503, "storage-unavailable"));
    assert!(answer.body.contains("count.txt"), "{}", answer.body);
}

#[test]
fn a_wrong_setting_of_the_plugin_is_named() {
    let sandbox = Sandbox::new();
    let args = ["--plugin", "disk-flock", "--plugin-config", "disk-flock.durability=sometimes"];
    let tally = sandbox.start(&args);
    let answer = ask(tally.address(), "GET /readyz");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("sometimes") && answer.body.contains("durability"));
}

#[test]
fn an_answered_value_is_on_the_disk_unless_durability_is_none() {
    for (durability, flushed) in [("each", true), ("none", false)] {
        // Not in a temporary directory, which may be in memory.
        let sandbox = Sandbox::within(env!("CARGO_TARGET_TMPDIR").as_ref());
        let setting = format!("disk-flock.durability={durability}");
        let tally = sandbox.start(&["--plugin", "disk-flock", "--plugin-config", &setting]);
        // The first makes the file, the second overwrites it.
        for increments in 1..=2 {
            for _ in 0..increments {
                assert_eq!(ask(tally.address(), "POST /inc").status, 200);
            }
            let unwritten = unwritten_bytes(&sandbox.storage());
            assert_eq!(unwritten == 0, flushed, "{durability}: {unwritten} bytes");
            fs::remove_file(sandbox.storage()).unwrap();
        }
    }
}

/// Empties a file; the kernel counts what it had not written to the disk yet.
fn unwritten_bytes(file: &Path) -> u64 {
    let cancelled = || -> u64 {
        let io = fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("cancelled_write_bytes: "));
        line.unwrap().parse().unwrap()
    };
    let before = cancelled();
    fs::File::options().write(true).open(file).unwrap().set_len(0).unwrap();
    cancelled() - before
}

#[test]
fn no_acknowledged_increment_is_lost_when_the_host_is_killed_at_any_moment() {
    let sandbox = Sandbox::new();
    let mut acknowledged = 0;
    let mut ready_after = Vec::new();
    for kill in 0..KILLS {
        let last = count_until_killed(&sandbox, &["--plugin", "disk-flock"], kill);
        ready_after.push(last.ready_after);
        let found = fs::read_to_string(sandbox.storage()).unwrap();
        let found: i64 =
            found.trim().parse().unwrap_or_else(|_| panic!("the file holds {found:?}"));
        // One increment for each client may have been counted without its answer arriving.
        let unanswered = CLIENTS as i64;
        assert!(
            (last.acknowledged..=last.acknowledged + unanswered).contains(&found),
            "kill {kill}: {} were acknowledged, the file holds {found}",
            last.acknowledged
        );
        acknowledged = found;
    }
    assert!(acknowledged > KILLS as i64, "only {acknowledged} increments were made");
    // All but the first are after a crash; a few may have had to wait for a busy machine.
    ready_after.sort();
    let median = ready_after[ready_after.len() / 2];
    assert!(median < READY_WITHIN, "ready after {median:?}");
}

#[test]
fn the_crash_test_catches_a_plugin_that_empties_the_file_before_it_writes() {
    let guest = guest("guest-disk-truncate");
    let grant = "guest_disk_truncate=file-lock+files+config";
    let args = ["--plugin", guest.to_str().unwrap(), "--grant", grant];
    let sandbox = Sandbox::new();
    let caught = (0..KILLS).any(|kill| {
        fs::write(sandbox.storage(), "0").unwrap();
        let last = count_until_killed(&sandbox, &args, kill);
        let found = fs::read_to_string(sandbox.storage()).unwrap();
        found.parse::<i64>().map_or(true, |found| found < last.acknowledged)
    });
    assert!(caught, "{KILLS} kills lost nothing");
}

const CLIENTS: usize = 2;

struct Killed {
    /// The largest value that a client was answered with.
    acknowledged: i64,
    ready_after: Duration,
}

/// Starts a host, lets clients count, and kills it at a moment that `seed` chooses.
fn count_until_killed(sandbox: &Sandbox, args: &[&str], seed: u64) -> Killed {
    let began = Instant::now();
    let tally = sandbox.start(args);
    wait_until("it is ready", || ask(tally.address(), "GET /readyz").status == 200);
    let ready_after = began.elapsed();
    let connections = [(); CLIENTS].map(|()| Connection::open(tally.address()));
    let acknowledged = AtomicI64::new(0);
    thread::scope(|scope| {
        for mut connection in connections {
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                while connection.write(INC).is_ok()
                    && let Some(answer) = connection.answer()
                {
                    acknowledged.fetch_max(answer.count(), Ordering::SeqCst);
                }
            });
        }
        while acknowledged.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        // Spread over the phases of an increment, which takes some hundred microseconds.
        thread::sleep(Duration::from_micros(seed * 7919 % 4_000));
        tally.kill();
    });
    Killed { acknowledged: acknowledged.into_inner(), ready_after }
}

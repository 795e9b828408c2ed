use std::{fs, path::Path, process::Command};

use rustix::process::{Resource, Rlimit, getrlimit};

use crate::support::{Answer, Connection, Sandbox, Tally, ask, check_refused, swap, wait_until};

/// A file system of some KiB, in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k,mode=700", "tally-test"]).arg(directory.path());
        let mounted = mount.output().unwrap();
        assert!(mounted.status.success(), "this test needs the right to mount: {mounted:?}");
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let content = vec![b'x'; 1 << 20];
        fs::write(self.path().join("filler"), content).unwrap_err();
    }

    fn free(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }

    fn remount(&self, option: &str) {
        let option = format!("remount,{option}");
        let done = Command::new("mount").args(["-o", &option]).arg(self.path()).status().unwrap();
        assert!(done.success());
    }

    /// A host that counts on it.
    fn start(&self, sandbox: &Sandbox) -> Tally {
        let path = self.path().join("count.txt");
        sandbox.start(&["--plugin", "disk-flock", "--storage-path", path.to_str().unwrap()])
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a host that is being killed may still use it.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Waits until the host is not ready for this reason, in the words of all who are asked.
fn wait_until_not_ready(sandbox: &Sandbox, tally: &Tally, why: &str) {
    let ready = || ask(tally.address(), "GET /readyz");
    wait_until("the host is not ready", || ready().status == 503);
    check_refused(&ready(), "not-ready", why);
    wait_until("the log says so", || sandbox.stderr().contains(why));
    let (host, port) = (tally.address().ip().to_string(), tally.address().port().to_string());
    let health = sandbox.run(&["health", "--host", &host, "--port", &port]);
    assert_eq!(health.status.code(), Some(1), "{health:?}");
    let said = String::from_utf8_lossy(&health.stderr) + String::from_utf8_lossy(&health.stdout);
    assert!(said.contains(why), "{said}");
}

fn wait_until_ready(tally: &Tally) {
    wait_until("the host is ready", || ask(tally.address(), "GET /readyz").status == 200);
}

#[test]
fn a_full_disk_is_not_ready_before_an_increment_has_to_fail_and_says_so() {
    let disk = SmallDisk::mount();
    let sandbox = Sandbox::new();
    let tally = disk.start(&sandbox);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    wait_until_ready(&tally);
    disk.fill();
    let full = "the disk is full (ENOSPC)";
    wait_until_not_ready(&sandbox, &tally, full);
    let answer = ask(tally.address(), "POST /counters/new/inc");
    check_refused(&answer, "storage-full", full);
    assert!(!answer.body.contains("insufficient-space"), "{answer:?}");
    // What is there is counted on.
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
    disk.free();
    wait_until_ready(&tally);
    assert_eq!(ask(tally.address(), "POST /counters/new/inc").count(), 1);
}

#[test]
fn a_disk_that_becomes_read_only_is_not_ready_and_says_so() {
    let disk = SmallDisk::mount();
    let sandbox = Sandbox::new();
    let tally = disk.start(&sandbox);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    // One that files are open on for writing can't be remounted: the lock's file.
    drop(tally);
    disk.remount("ro");
    let read_only = "the file system is read-only (EROFS)";
    let tally = disk.start(&sandbox);
    wait_until_not_ready(&sandbox, &tally, read_only);
    for request in ["POST /inc", "POST /counters/new/inc"] {
        check_refused(&ask(tally.address(), request), "storage-unavailable", read_only);
    }
    disk.remount("rw");
    wait_until_ready(&tally);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
}

#[test]
fn a_region_for_which_there_is_no_room_is_refused_with_the_reason_and_leaves_nothing() {
    let disk = SmallDisk::mount();
    let directory = disk.path().to_str().unwrap();
    let output = Sandbox::new().run(&["--shared-memory-dir", directory]);
    assert_eq!(output.status.code(), Some(2));
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    for part in ["the disk is full (ENOSPC)", "--shared-memory-capacity", directory] {
        assert!(why.contains(part), "no {part} in {why}");
    }
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
}

#[test]
fn a_swap_to_a_full_disk_is_refused_with_the_reason() {
    let disk = SmallDisk::mount();
    disk.fill();
    let sandbox = Sandbox::new();
    let path = disk.path().join("count.txt");
    let tally = sandbox.start(&["--storage-path", path.to_str().unwrap()]);
    check_refused(&swap(&tally, "disk-flock"), "plugin-refused", "the disk is full (ENOSPC)");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
}

#[test]
fn a_host_without_file_descriptors_is_not_ready_and_says_so() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&["--plugin", "disk-flock"]);
    // A new connection would need one.
    let mut connection = Connection::open(tally.address());
    let mut ask = |request: &str| -> Answer {
        let request = format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n");
        connection.write(request.as_bytes()).unwrap();
        connection.answer().unwrap()
    };
    assert_eq!(ask("POST /inc").count(), 1);
    wait_until("the host is ready", || ask("GET /readyz").status == 200);
    let none = Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) };
    let before = tally.limit(Resource::Nofile, none);
    let too_many = "the process has too many open files (EMFILE)";
    wait_until("the host is not ready", || ask("GET /readyz").status == 503);
    check_refused(&ask("GET /readyz"), "not-ready", too_many);
    for request in ["POST /inc", "GET /count", "POST /counters/new/inc"] {
        check_refused(&ask(request), "storage-unavailable", too_many);
    }
    tally.limit(Resource::Nofile, before);
    wait_until("the host is ready", || ask("GET /readyz").status == 200);
    assert_eq!(ask("POST /inc").count(), 2);
}

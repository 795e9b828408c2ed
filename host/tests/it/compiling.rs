use std::{
    ffi::OsString,
    fs::{self, DirEntry},
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::support::{
    Answer, Sandbox, Tally, another_build, bomb, bundled, check_refused, overview, swap, upload,
    wait_until, wait_within,
};

/// How long a host with a bomb in its directory may take until it has refused it.
const REFUSED_WITHIN: Duration = Duration::from_secs(60);

/// A component of some 100 KiB that keeps the compiler for minutes and takes gigabytes.
fn time_bomb() -> Vec<u8> {
    bomb(bundled("shared-memory-atomic"), 2_000, 7_000)
}

/// A host that compiles for at most so many ms and MiB, with an empty directory for plugins.
fn start(sandbox: &Sandbox, ms: &str, mib: &str) -> Tally {
    let directory = sandbox.path().join("plugins");
    fs::create_dir(&directory).unwrap();
    sandbox.start(&[
        "--plugin-dir",
        directory.to_str().unwrap(),
        "--compile-time-max",
        ms,
        "--compile-memory-max",
        mib,
        "--grant",
        "good.wasm=shared-memory",
        "--grant",
        "bomb.wasm=shared-memory",
    ])
}

fn upload_bomb(tally: &Tally) -> Answer {
    upload(tally, "bomb", &time_bomb())
}

/// Waits until a plugin is being compiled, and returns the process that does it.
fn wait_for_compiler(tally: &Tally) -> u32 {
    wait_until("a plugin is being compiled", || !tally.children().is_empty());
    tally.children()[0]
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The numbers of the open files of a process, and what they lead to.
fn files(pid: u32) -> impl Iterator<Item = (OsString, PathBuf)> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let lead_to = |file: DirEntry| Some((file.file_name(), fs::read_link(file.path()).ok()?));
    files.filter_map(move |file| lead_to(file.unwrap()))
}

/// How many files a process has open, aside from connections, which the host closes after the client did.
fn count_files(pid: u32) -> usize {
    files(pid).filter(|(_, path)| !path.to_string_lossy().starts_with("socket:")).count()
}

fn is_settled(tally: &Tally) -> bool {
    let plugins = overview(tally)["plugins"].clone();
    plugins.as_array().unwrap().iter().all(|plugin| plugin["state"] != "loading")
}

#[test]
fn a_plugin_that_takes_too_long_to_compile_is_given_up_and_the_next_compiles_at_once() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, "10000", "65536");
    wait_until("the bundled plugins are loaded", || is_settled(&tally));
    let (files_before, kib_before) = (count_files(tally.pid()), tally.memory_kib("VmRSS:"));
    thread::scope(|scope| {
        let refused = scope.spawn(|| upload_bomb(&tally));
        let compiler = wait_for_compiler(&tally);
        // Whoever started the test may have left some open in all processes.
        let left: Vec<_> = files(process::id()).collect();
        let of_its_own =
            |(number, _): &(OsString, PathBuf)| ["0", "1", "2"].contains(&number.to_str().unwrap());
        // Until it has become the compiler it is a copy of the host, and then it opens libraries for a moment.
        wait_until("it has a short environment and no files of the host", || {
            let environment = fs::read(format!("/proc/{compiler}/environ")).unwrap();
            environment.starts_with(b"RAYON_NUM_THREADS=")
                && environment.len() < 25
                && files(compiler).filter(|file| !left.contains(file)).all(|file| of_its_own(&file))
        });
        let busy = upload(&tally, "good", &another_build("shared-memory-atomic", 1));
        check_refused(&busy, "not-now", "still busy with an earlier plugin");
        let refused = refused.join().unwrap();
        check_refused(&refused, "plugin-refused", "--compile-time-max (10000 ms)");
        assert!(!is_alive(compiler), "it compiles on");
    });
    let good = upload(&tally, "good", &another_build("shared-memory-atomic", 1));
    assert_eq!(good.status, 200, "{good:?}");
    wait_until("all processes have ended", || tally.children().is_empty());
    wait_until("no more files are open than before", || count_files(tally.pid()) <= files_before);
    let kib_after = tally.memory_kib("VmRSS:");
    assert!(kib_after < kib_before + 64 * 1024, "{kib_before} KiB became {kib_after} KiB");
}

#[test]
fn a_plugin_that_takes_too_much_memory_to_compile_is_refused_wherever_it_comes_from() {
    let sandbox = Sandbox::new();
    let tally = start(&sandbox, "120000", "256");
    check_refused(&upload_bomb(&tally), "plugin-refused", "--compile-memory-max (256 MiB)");
    let file = sandbox.path().join("plugins/bomb.wasm");
    fs::write(&file, time_bomb()).unwrap();
    let refused = || {
        let failures = overview(&tally)["failures"].clone();
        failures.as_array().unwrap().iter().any(|failure| {
            let is_said = |part| failure["reason"].as_str().unwrap().contains(part);
            is_said("bomb") && is_said("--compile-memory-max (256 MiB)")
        })
    };
    wait_within(REFUSED_WITHIN, "the one in the directory is refused", refused);
    check_refused(&swap(&tally, file.to_str().unwrap()), "plugin-refused", "--compile-memory-max");
    assert!(tally.memory_kib("VmHWM:") < 256 * 1024, "the host itself took the memory");
    drop(tally);
    // So does one that is chosen, or known, when nobody has uploaded it.
    let grant = ["--grant", "bomb.wasm=shared-memory", "--compile-memory-max", "256"];
    let chosen = ["--plugin", file.to_str().unwrap()];
    let output = sandbox.run(&[&chosen[..], &grant].concat());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--compile-memory-max (256 MiB)"), "{stderr}");
    let output = sandbox.run(&[&["plugins"], &chosen[..], &grant].concat());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("--compile-memory-max (256 MiB)"), "{stdout}");
}

#[test]
fn no_compiler_outlives_its_host_however_that_ends() {
    for signal in [Signal::KILL, Signal::TERM, Signal::ABORT] {
        let sandbox = Sandbox::new();
        let tally = start(&sandbox, "600000", "65536");
        wait_until("the bundled plugins are loaded", || is_settled(&tally));
        // Its answer never comes.
        let (head, wasm) = (tally.admin_head("PUT /admin/plugins/bomb"), time_bomb());
        let mut connection = crate::support::Connection::open(tally.admin());
        let head = format!("{head}content-type: application/wasm\r\n");
        let head = format!("{head}content-length: {}\r\n\r\n", wasm.len());
        connection.write(&[head.as_bytes(), &wasm].concat()).unwrap();
        let compiler = wait_for_compiler(&tally);
        tally.signal(signal);
        tally.wait();
        wait_until("the compiler has ended", || !is_alive(compiler));
    }
}

use std::{fs, path::Path, time::Duration};

use rustix::process::Signal;

use crate::support::{
    Database, Sandbox, Tally, another_build, ask, ask_admin, bundled, check_refused, guest,
    load_while, overview, renamed, slow_to_compile, swap, swap_and_leave, wait_until, wait_within,
};

fn write(path: &Path, content: &[u8]) {
    let temporary = path.with_extension("new");
    fs::write(&temporary, content).unwrap();
    fs::rename(temporary, path).unwrap();
}

fn active(tally: &Tally) -> String {
    overview(tally)["active"]["plugin"].as_str().unwrap().to_owned()
}

fn is_ready(tally: &Tally, name: &str) -> bool {
    let overview = overview(tally);
    let plugins = overview["plugins"].as_array().unwrap();
    plugins.iter().any(|plugin| plugin["name"] == name && plugin["state"] == "ready")
}

#[test]
fn each_bad_plugin_is_refused_with_its_own_reason_and_no_request_fails() {
    let sandbox = Sandbox::new();
    let (wasm, hostile) = (bundled("shared-memory-atomic"), guest("guest-hostile"));
    let first_call = fs::read(guest("guest-first-call")).unwrap();
    let bad: [(&str, Vec<u8>, &[&str]); 12] = [
        ("not_wasm", b"hello".to_vec(), &["it is not WebAssembly"]),
        ("empty", Vec::new(), &["it is not WebAssembly"]),
        ("core_module", b"\0asm\x01\0\0\0".to_vec(), &["core WebAssembly module", "wasm32-wasip2"]),
        (
            "wrong_world",
            b"\0asm\x0d\0\x01\0".to_vec(),
            &["does not export the interface tally:counter/counter@1.0.0"],
        ),
        (
            "older_contract",
            renamed(wasm, "counter/counter@1.0.0", "counter/counter@0.9.0"),
            &[
                "it exports tally:counter/counter@0.9.0",
                "this host calls tally:counter/counter@1.0.0",
            ],
        ),
        (
            "older_capability",
            renamed(wasm, "shared-memory/cells@1.0.0", "shared-memory/cells@0.9.0"),
            &[
                "it imports tally:shared-memory/cells@0.9.0",
                "offers tally:shared-memory/cells@1.0.0",
            ],
        ),
        ("missing_export", renamed(wasm, "increment", "incroment"), &["has no function increment"]),
        (
            "not_granted",
            fs::read(hostile).unwrap(),
            &[
                "tally:shared-memory/cells@1.0.0",
                "not granted",
                "--grant not_granted.wasm=shared-memory+file-lock+clocks+log",
            ],
        ),
        ("first_trap", first_call.clone(), &["increment", "it panicked"]),
        ("first_loop", first_call, &["increment", "--call-cpu-max"]),
        ("truncated", wasm[..wasm.len() / 2].to_vec(), &["it is damaged"]),
        ("too_large", wasm.to_vec(), &["larger than --plugin-file-max (64 MiB)"]),
    ];
    let granted = "older_contract.wasm=shared-memory,older_capability.wasm=shared-memory,\
                   missing_export.wasm=shared-memory,first_trap.wasm=shared-memory+config,\
                   first_loop.wasm=shared-memory+config,truncated.wasm=shared-memory";
    let settings = "first_trap.wasm.mode=trap,first_loop.wasm.mode=loop";
    let tally = sandbox.start(&["--grant", granted, "--plugin-config", settings]);
    let report = load_while(&tally, 8, || {
        for (name, content, expected) in &bad {
            let path = sandbox.path().join(format!("{name}.wasm"));
            fs::write(&path, content).unwrap();
            if *name == "too_large" {
                // Not a byte of it takes room on the disk.
                fs::File::options().write(true).open(&path).unwrap().set_len(100 << 20).unwrap();
            }
            let answer = swap(&tally, path.to_str().unwrap());
            assert_eq!(
                (answer.status, answer.problem().as_str()),
                (422, "plugin-refused"),
                "{name}"
            );
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            for part in *expected {
                assert!(detail.contains(part), "{name}: no {part:?} in {detail}");
            }
            assert!(detail.contains(name), "{name}: {detail}");
        }
    });
    assert!(report.verdict.right() && report.failed.total() == 0, "{report}");
    let overview = overview(&tally);
    assert_eq!(overview["active"]["generation"], 1);
    assert_eq!(overview["failures"].as_array().unwrap().len(), bad.len());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_refused() {
    let sandbox = Sandbox::new();
    let path = sandbox.path().join("restless.wasm");
    let tally = sandbox.start(&["--grant", "restless.wasm=shared-memory"]);
    // Large enough that reading it takes longer than the next write to it takes to come.
    let mut wasm = bundled("shared-memory-atomic").to_vec();
    let filler = 32 * 1024 * 1024;
    wasm.push(0);
    // The size of a section is a number in LEB128, of the name's length, the name and the filler.
    let mut size: usize = filler + 2;
    while size > 0x7f {
        wasm.push((size & 0x7f) as u8 | 0x80);
        size >>= 7;
    }
    wasm.extend([size as u8, 1, b'x']);
    wasm.resize(wasm.len() + filler, 0);
    fs::write(&path, &wasm).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::{io::Write, sync::atomic::Ordering};
            let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            while !stop.load(Ordering::Relaxed) {
                file.write_all(&wasm[..8]).unwrap();
                std::io::Seek::rewind(&mut file).unwrap();
            }
        });
        let answer = swap(&tally, path.to_str().unwrap());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        answer
    });
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(refused.body.contains("changed while it was read"), "{refused:?}");
    // Left alone it is taken.
    assert_eq!(swap(&tally, path.to_str().unwrap()).status, 200);
}

#[test]
fn a_wrong_name_gets_the_known_ones_and_a_path_must_be_plain() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    for (plugin, status, code, part) in [
        ("shared-memory-flok", 404, "unknown-plugin", "did you mean \"shared-memory-flock\"?"),
        ("", 404, "unknown-plugin", "known are"),
        ("../disk-flock", 400, "bad-request", "absolute path"),
        ("/tmp/../etc/x.wasm", 400, "bad-request", "\"..\""),
        ("x/y.wasm", 400, "bad-request", "absolute path"),
        ("x.wasm", 400, "bad-request", "absolute path"),
        ("/nowhere/x.wasm", 404, "unknown-plugin", "/nowhere/x.wasm"),
        ("/etc/passwd", 404, "unknown-plugin", "/etc/passwd"),
    ] {
        let answer = swap(&tally, plugin);
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{plugin}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(part), "{answer:?}");
    }
    for body in ["", "{", "[]", "{}", r#"{"plugin":1}"#, r#"{"plugin":"disk-flock","cary":true}"#] {
        let answer = ask_admin(&tally, "PUT /admin/plugin", body);
        assert_eq!((answer.status, answer.problem().as_str()), (400, "bad-request"), "{body}");
    }
    assert_eq!(overview(&tally)["swaps"], 0);
}

#[test]
fn the_command_swaps_and_rolls_back_and_says_what_happened() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let admin = format!("http://{}", tally.admin());
    let run = |args: &[&str]| {
        let output = sandbox.run(&[args, &["--admin", &admin]].concat());
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (status, text) = run(&["swap", "shared-memory-flock"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("generation 2 serves with shared-memory-flock"), "{text}");
    assert_eq!(active(&tally), "shared-memory-flock");

    let (status, text) = run(&["rollback"]);
    assert_eq!(status, Some(0), "{text}");
    assert_eq!(active(&tally), "shared-memory-atomic");

    let (status, text) = run(&["swap", "shared-memory-flok"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.starts_with("tally: not swapped: unknown plugin"), "{text}");

    // The host may have been started elsewhere, so a path is made absolute.
    fs::write(sandbox.path().join("mine.wasm"), b"hello").unwrap();
    let (status, text) = run(&["swap", "mine.wasm"]);
    assert_eq!(status, Some(1));
    assert!(text.contains("can't load the plugin mine: it is not WebAssembly"), "{text}");

    let output = sandbox.run(&["swap", "disk-flock", "--admin", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("nothing answers at http://127.0.0.1:1"), "{text}");
}

#[test]
fn without_a_generation_before_there_is_nothing_to_roll_back() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    let answer = ask_admin(&tally, "POST /admin/rollback", "");
    assert_eq!((answer.status, answer.problem().as_str()), (409, "nothing-to-roll-back"));
}

#[test]
fn a_signal_applies_changed_settings_and_wrong_ones_change_nothing() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("tally.toml");
    fs::write(&file, "plugin = \"shared-memory-flock\"").unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let mut command = sandbox.command(&config);
    command.env_remove("PLUGIN");
    let tally = sandbox.start_command(command);
    assert_eq!(active(&tally), "shared-memory-flock");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);

    let reload = |content: &str| {
        fs::write(&file, content).unwrap();
        tally.signal(Signal::HUP);
    };
    let logged = |text: &str| {
        wait_until(text, || sandbox.stderr().contains(text));
    };
    let leave = "on-storage-change = \"leave\"";
    reload(&format!(
        "{leave}\nplugin = \"disk-flock\"\nplugin-config = [\"disk-flock.durability=none\"]"
    ));
    logged("swapped");
    assert_eq!(active(&tally), "disk-flock");
    assert_eq!(overview(&tally)["active"]["trigger"], "reload");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    // The same plugin with another setting is a swap too.
    reload("plugin = \"disk-flock\"");
    wait_until("a swap", || overview(&tally)["swaps"] == 2);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);

    tally.signal(Signal::HUP);
    logged("the settings are those of before");
    reload("plugin = \"disk-flok\"");
    logged("did you mean \"disk-flock\"?");
    reload("plugin = \"disk-flock\"\ngrant = [\"disk-flook=log\"]");
    logged("disk-flock goes on: unknown plugin in --grant \"disk-flook\"");
    reload("plugin = \"disk-flock\"\nplugin-config = [\"disk-flock.durabilty=none\"]");
    logged("disk-flock goes on: unknown setting of disk-flock \"durabilty\"");
    reload("plugin = ");
    logged("the settings are wrong");
    reload("plugin = \"disk-flock\"\ndrain-time-max = 7");
    logged("a change of the limits on clients takes effect when the host is started again");
    assert_eq!(overview(&tally)["swaps"], 2);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 3);

    // What somebody has swapped to since stays, as long as the settings do.
    reload("plugin = \"disk-flock\"");
    assert_eq!(swap_and_leave(&tally, "shared-memory-atomic").status, 200);
    let said = || sandbox.stderr().matches("the settings are those of before").count();
    let before = said();
    tally.signal(Signal::HUP);
    wait_until("the settings are read", || said() > before);
    assert_eq!(active(&tally), "shared-memory-atomic");
}

#[test]
fn a_changed_file_in_the_plugin_directory_is_swapped_in_by_its_content() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path().join("plugins");
    fs::create_dir(&directory).unwrap();
    let file = directory.join("mine.wasm");
    fs::write(&file, bundled("shared-memory-atomic")).unwrap();
    let tally = sandbox.start(&[
        "--plugin-dir",
        directory.to_str().unwrap(),
        "--plugin",
        "mine",
        "--grant",
        "mine=shared-memory,other.wasm=shared-memory",
    ]);
    let digest = || overview(&tally)["active"]["digest"].clone();
    let first = digest();

    // Another time stamp and the same content is no reason.
    write(&file, bundled("shared-memory-atomic"));
    // A new file is known, and reported in the order in which they come.
    write(&directory.join("other.wasm"), bundled("shared-memory-atomic"));
    wait_until("the new file is ready", || is_ready(&tally, "other"));
    assert_eq!((digest(), overview(&tally)["swaps"].as_u64()), (first.clone(), Some(0)));

    // Other content of the same size with the old time stamp is one.
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    let other = renamed(bundled("shared-memory-atomic"), "wit-component", "wit-c0mponent");
    // In place, so that it is the same file by all but its content and the time of its last change.
    fs::write(&file, &other).unwrap();
    fs::File::open(&file).unwrap().set_modified(before).unwrap();
    wait_until("the other content serves", || digest() != first);
    assert_eq!(overview(&tally)["active"]["trigger"], "directory");

    // Half a file is not, and says so.
    let second = digest();
    write(&file, &another_build("shared-memory-atomic", 1)[..1000]);
    wait_until("half a file is refused", || {
        overview(&tally)["failures"][0]["reason"].as_str().is_some_and(|why| why.contains("mine"))
    });
    assert_eq!((digest(), overview(&tally)["swaps"].as_u64()), (second, Some(1)));

    // A plugin that was ready stays so with the content that it had.
    write(&directory.join("other.wasm"), &bundled("shared-memory-atomic")[..1000]);
    wait_until("half a file of the other plugin is refused", || {
        overview(&tally)["failures"][0]["reason"].as_str().is_some_and(|why| why.contains("other"))
    });
    assert!(is_ready(&tally, "other"));
    assert_eq!(ask(tally.address(), "POST /inc").status, 200);
}

/// How long the bundled plugins may take to load where none is in a cache.
const LOADED_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_plugin_that_takes_too_long_to_compile_is_refused_and_no_request_waits_for_it() {
    let sandbox = Sandbox::new();
    let path = sandbox.path().join("slow.wasm");
    fs::write(&path, slow_to_compile(bundled("postgresql-serializable-update"))).unwrap();
    let start = |compile_time_max| {
        let cache = sandbox.path().join("cache");
        let tally = sandbox.start(&[
            "--compile-time-max",
            compile_time_max,
            "--compile-cache",
            cache.to_str().unwrap(),
            "--grant",
            "slow.wasm=sql+clocks+config",
        ]);
        let is_loaded = || is_ready(&tally, "shared-memory-flock");
        wait_within(LOADED_WITHIN, "the plugin is loaded", is_loaded);
        tally
    };
    drop(start("600000"));
    // What was compiled before is in the cache.
    let tally = start("100");
    let report = load_while(&tally, 4, || {
        for _ in 0..2 {
            let answer = swap(&tally, path.to_str().unwrap());
            check_refused(&answer, "plugin-refused", "--compile-time-max (100 ms)");
        }
        // A known plugin needs no compiler.
        assert_eq!(swap(&tally, "shared-memory-flock").status, 200);
    });
    assert!(report.verdict.right() && report.failed.total() == 0, "{report}");
}

#[test]
fn a_plugin_that_is_loaded_needs_no_compiler_when_it_is_swapped_in() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path().join("plugins");
    fs::create_dir(&directory).unwrap();
    let slow = slow_to_compile(bundled("shared-memory-flock"));
    fs::write(directory.join("slow.wasm"), slow).unwrap();
    let cache = sandbox.path().join("cache");
    let start = |compile_time_max| {
        sandbox.start(&[
            "--plugin",
            "slow",
            "--compile-time-max",
            compile_time_max,
            "--compile-cache",
            cache.to_str().unwrap(),
            "--plugin-dir",
            directory.to_str().unwrap(),
            "--grant",
            "slow=shared-memory+file-lock+clocks",
        ])
    };
    drop(start("600000"));
    // It is loaded from the cache, and could not be compiled any more.
    let tally = start("100");
    fs::remove_dir_all(&cache).unwrap();
    let answer = swap(&tally, "slow");
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_plugin_that_does_not_answer_when_it_is_tried_is_refused() {
    let (sandbox, database) = (Sandbox::new(), Database::new());
    let times = ["--db-statement-time-max", "60000", "--call-time-max", "60000"];
    let method = "postgresql-inplace-update";
    let tally = database.start(&sandbox, &[&times[..], &["--plugin", method]].concat());
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    database.psql("INSERT INTO user_counter VALUES ('tally-probe', 0, 0) ON CONFLICT DO NOTHING");
    let held = database.hold_row_of("tally-probe");
    let answer = swap(&tally, "postgresql-row-level-locking");
    assert_eq!(answer.problem(), "plugin-refused");
    assert!(answer.body.contains("no answer within 5s"), "{answer:?}");
    assert_eq!(active(&tally), method);
    drop(held);
}

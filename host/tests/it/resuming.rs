use std::{fs, path::PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Sandbox, Tally, another_build_in, ask, ask_admin, carry, check_refused, guest, overview,
    own_port, swap, swap_and_leave, wait_until,
};

/// A host with a port of its own, which is started again and again.
struct Place {
    sandbox: Sandbox,
    port: String,
}

impl Place {
    fn new() -> Self {
        Self { sandbox: Sandbox::new(), port: own_port() }
    }

    fn start(&self, args: &[&str]) -> Tally {
        self.sandbox.start(&[&["--port", &self.port], args].concat())
    }

    /// Starts wrongly: the one sentence.
    fn refused(&self, args: &[&str]) -> String {
        let output = self.sandbox.run(&[&["--port", &self.port], args].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(output.stdout.is_empty(), "nothing was served");
        // Lines of the log may be before it.
        let sentence = message.lines().last().unwrap().to_owned();
        assert!(sentence.starts_with("tally: "), "{message}");
        sentence
    }

    fn journal(&self) -> PathBuf {
        self.sandbox.path().join("state").join(format!("tally-{}.journal.json", self.port))
    }

    /// A host that was swapped to the disk with 8 counted, and was killed.
    fn carried() -> Self {
        let place = Self::new();
        let tally = place.start(&[]);
        assert_eq!(ask(tally.address(), "POST /counters/count/inc?by=8").count(), 8);
        carry(&tally, "disk-flock");
        tally.kill();
        place
    }
}

fn active(tally: &Tally) -> String {
    overview(tally)["active"]["plugin"].as_str().unwrap().to_owned()
}

fn inc(tally: &Tally) -> i64 {
    ask(tally.address(), "POST /inc").count()
}

#[test]
fn after_a_carry_a_host_goes_on_where_the_counts_are_and_says_so() {
    let place = Place::carried();
    for count in [9, 10] {
        let tally = place.start(&[]);
        assert_eq!((active(&tally).as_str(), inc(&tally)), ("disk-flock", count));
        let line = tally.serving();
        for part in
            ["with disk-flock (swapped to on ", " GMT; the settings say shared-memory-atomic)"]
        {
            assert!(line.contains(part), "no {part:?} in {line}");
        }
        tally.signal(Signal::TERM);
        assert_eq!(tally.wait().code(), Some(0));
    }
    // A reload without a change is none.
    let tally = place.start(&[]);
    tally.signal(Signal::HUP);
    wait_until("it is read", || place.sandbox.stderr().contains("those of before"));
    assert_eq!(active(&tally), "disk-flock");
    // The way back is remembered as well, and then there is nothing to tell.
    carry(&tally, "shared-memory-atomic");
    tally.kill();
    let tally = place.start(&[]);
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-atomic", 11));
    assert!(tally.serving().ends_with("with shared-memory-atomic"), "{}", tally.serving());
}

#[test]
fn every_swap_is_remembered_and_so_are_rollbacks_and_reloads() {
    let place = Place::new();
    let file = place.sandbox.path().join("tally.toml");
    fs::write(&file, "plugin = \"shared-memory-atomic\"").unwrap();
    let start = || {
        let args = ["--port", &place.port, "--config", file.to_str().unwrap()];
        let mut command = place.sandbox.command(&args);
        command.env_remove("PLUGIN");
        place.sandbox.start_command(command)
    };
    let tally = start();
    assert_eq!(inc(&tally), 1);
    assert_eq!(swap(&tally, "shared-memory-flock").status, 200);
    tally.kill();
    let tally = start();
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-flock", 2));
    assert_eq!(swap(&tally, "shared-memory-no-lock").status, 200);
    assert_eq!(ask_admin(&tally, "POST /admin/rollback", "").status, 200);
    tally.kill();
    let tally = start();
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-flock", 3));
    // What the settings choose anew is what is gone on with.
    fs::write(&file, "plugin = \"shared-memory-no-lock\"").unwrap();
    tally.signal(Signal::HUP);
    wait_until("a swap", || active(&tally) == "shared-memory-no-lock");
    wait_until("it is logged", || place.sandbox.stderr().contains("swapped"));
    tally.kill();
    let tally = start();
    assert!(tally.serving().ends_with("with shared-memory-no-lock"), "{}", tally.serving());
    assert_eq!(inc(&tally), 4);
    // Within the storage where the counts are a changed setting is followed.
    assert_eq!(swap(&tally, "shared-memory-atomic").status, 200);
    tally.kill();
    fs::write(&file, "plugin = \"shared-memory-flock\"").unwrap();
    let tally = start();
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-flock", 5));
    tally.kill();
    let tally = start();
    assert!(tally.serving().ends_with("with shared-memory-flock"), "{}", tally.serving());
    // A way back from what the settings have chosen stays too, until they choose another.
    fs::write(&file, "plugin = \"shared-memory-no-lock\"").unwrap();
    tally.signal(Signal::HUP);
    wait_until("a swap", || active(&tally) == "shared-memory-no-lock");
    assert_eq!(ask_admin(&tally, "POST /admin/rollback", "").status, 200);
    tally.signal(Signal::HUP);
    wait_until("it is read", || place.sandbox.stderr().contains("those of before"));
    assert_eq!(overview(&tally)["swaps"], 2);
    tally.kill();
    let tally = start();
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-flock", 6));
    assert!(tally.serving().contains("the settings say shared-memory-no-lock"));
}

#[test]
fn a_plugin_from_a_file_is_gone_on_with_and_missed_where_it_is_gone_or_not_granted_any_more() {
    let place = Place::new();
    let build = another_build_in(place.sandbox.path(), "shared-memory-flock", 1);
    let grant = ["--grant", "build_1.wasm=shared-memory+file-lock+clocks"];
    let tally = place.start(&grant);
    assert_eq!(swap(&tally, build.to_str().unwrap()).status, 200);
    assert_eq!(inc(&tally), 1);
    tally.kill();
    let tally = place.start(&grant);
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("build_1", 2));
    tally.kill();
    let ungranted = place.refused(&[]);
    fs::rename(&build, build.with_extension("gone")).unwrap();
    let gone = place.refused(&grant);
    for (sentence, why) in [(ungranted, "--grant build_1.wasm="), (gone, "there is no plugin file")]
    {
        for part in ["was swapped to build_1", "shared-memory region", "--resume off", why] {
            assert!(sentence.contains(part), "no {part:?} in {sentence}");
        }
    }
    fs::rename(build.with_extension("gone"), &build).unwrap();
    assert_eq!(inc(&place.start(&grant)), 3);
}

#[test]
fn where_the_settings_choose_another_storage_than_at_the_swap_it_must_be_said_what_becomes_of_the_counts()
 {
    let place = Place::carried();
    let other = ["--plugin", "shared-memory-flock"];
    let sentence = place.refused(&other);
    for part in [
        "holds 1 counter with a total of 8, but",
        "shared-memory-flock counts in the shared-memory region",
        "--on-storage-change carry",
        "--on-storage-change leave",
        "--resume off",
    ] {
        assert!(sentence.contains(part), "no {part:?} in {sentence}");
    }
    // The refusal has changed nothing.
    let tally = place.start(&[]);
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("disk-flock", 9));
    tally.kill();

    let tally = place.start(&[&other[..], &["--on-storage-change", "carry"]].concat());
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-flock", 10));
    assert!(tally.serving().ends_with("with shared-memory-flock"), "{}", tally.serving());
    assert_eq!(overview(&tally)["carry"]["state"], "cleared");
    assert_eq!(fs::read_to_string(place.sandbox.storage()).unwrap().trim(), "0");
    tally.kill();
    // The setting says nothing where nothing has changed.
    let tally = place.start(&[&other[..], &["--on-storage-change", "leave"]].concat());
    assert_eq!(inc(&tally), 11);
    tally.kill();

    let tally = place.start(&["--plugin", "disk-flock", "--on-storage-change", "leave"]);
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("disk-flock", 1));
    let left = &overview(&tally)["left"];
    assert_eq!((&left["keys"], &left["total"]), (&1.into(), &"11".into()), "{left}");
    assert!(left["storage"].as_str().unwrap().contains("region"), "{left}");
    assert!(left["at_unix_ms"].is_u64() && left["why_unknown"].is_null(), "{left}");
    assert!(place.sandbox.stderr().contains("counts were left"), "{}", place.sandbox.stderr());
    tally.kill();
    // That is remembered, until they are counted on.
    let tally = place.start(&["--plugin", "disk-flock"]);
    assert_eq!(&overview(&tally)["left"]["total"], "11");
    assert_eq!(swap_and_leave(&tally, "shared-memory-atomic").status, 200);
    assert_eq!(&overview(&tally)["left"]["total"], "1");
}

#[test]
fn settings_that_choose_the_storage_where_the_counts_are_are_followed_and_an_empty_one_is_left() {
    let place = Place::carried();
    let tally = place.start(&["--plugin", "disk-flock"]);
    assert!(tally.serving().ends_with("with disk-flock"), "{}", tally.serving());
    assert_eq!(inc(&tally), 9);
    tally.kill();
    // The settings of the swap are others now.
    assert!(place.refused(&[]).contains("--on-storage-change carry"));
    let tally = place.start(&["--plugin", "disk-flock"]);
    assert_eq!(ask(tally.address(), "POST /reset").status, 200);
    tally.kill();
    let tally = place.start(&[]);
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-atomic", 1));
}

#[test]
fn counts_to_which_the_settings_lead_no_more_can_only_be_left() {
    let place = Place::carried();
    let elsewhere = place.sandbox.path().join("elsewhere.txt");
    let elsewhere = ["--storage-path", elsewhere.to_str().unwrap()];
    for more in [&[][..], &["--on-storage-change", "carry"]] {
        let sentence = place.refused(&[&elsewhere[..], more].concat());
        for part in
            ["count.txt, where", "elsewhere.txt", "--on-storage-change leave", "--resume off"]
        {
            assert!(sentence.contains(part), "no {part:?} in {sentence}");
        }
    }
    let tally = place.start(&[&elsewhere[..], &["--on-storage-change", "leave"]].concat());
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-atomic", 1));
    let left = &overview(&tally)["left"];
    assert!(left["keys"].is_null() && left["storage"].as_str().unwrap().contains("count.txt"));
    assert!(left["why_unknown"].as_str().unwrap().contains("elsewhere.txt"), "{left}");
    assert_eq!(fs::read_to_string(place.sandbox.storage()).unwrap().trim(), "8");
}

#[test]
fn counts_that_can_not_be_listed_can_only_be_left_at_a_start() {
    let place = Place::new();
    let silent = guest("guest-first-call");
    let grant = ["--grant", "guest_first_call.wasm=shared-memory+config"];
    let disk = ["--plugin", "disk-flock"];
    let tally = place.start(&[&disk[..], &grant].concat());
    assert_eq!(swap(&tally, silent.to_str().unwrap()).status, 200);
    assert_eq!(inc(&tally), 1);
    tally.kill();
    let elsewhere = [&disk[..], &grant, &["--storage-path", "elsewhere.txt"]].concat();
    let sentence = place.refused(&elsewhere);
    assert!(sentence.contains("can't take them along, so say --on-storage-change leave"));
    let tally = place.start(&[&elsewhere[..], &["--on-storage-change", "leave"]].concat());
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("disk-flock", 1));
}

#[test]
fn resume_off_begins_as_the_settings_say_tells_where_the_counts_are_and_forgets() {
    let place = Place::carried();
    let tally = place.start(&["--resume", "off"]);
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-atomic", 1));
    let log = place.sandbox.stderr();
    let warned = log.lines().find(|line| line.contains("and the counts are in the file"));
    assert!(warned.is_some_and(|line| line.contains("WARN")), "{log}");
    assert!(!place.journal().exists());
    tally.kill();
    let tally = place.start(&[]);
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-atomic", 2));
}

#[test]
fn a_start_that_is_refused_forgets_nothing() {
    let place = Place::carried();
    let before = fs::read_to_string(place.journal()).unwrap();
    // What is no directory holds no region.
    let file = place.sandbox.storage();
    let nowhere = ["--shared-memory-dir", file.to_str().unwrap()];
    for more in [["--resume", "off"], ["--on-storage-change", "leave"]] {
        let sentence = place.refused(&[nowhere, more].concat());
        assert!(sentence.contains("can't start the plugin shared-memory-atomic"), "{sentence}");
        assert_eq!(fs::read_to_string(place.journal()).unwrap(), before, "{more:?}");
    }
    let tally = place.start(&[]);
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("disk-flock", 9));
}

#[test]
fn a_reload_without_a_change_takes_no_rollback_back() {
    let place = Place::new();
    let file = place.sandbox.path().join("tally.toml");
    let set = |storage: &str| {
        let path = place.sandbox.path().join(storage);
        let settings = format!("storage-path = {path:?}\non-storage-change = \"leave\"\n");
        fs::write(&file, settings).unwrap();
    };
    set("a.txt");
    let args =
        ["--plugin", "disk-flock", "--port", &place.port, "--config", file.to_str().unwrap()];
    let mut command = place.sandbox.command(&args);
    command.env_remove("STORAGE_PATH");
    let tally = place.sandbox.start_command(command);
    assert_eq!(inc(&tally), 1);
    set("b.txt");
    tally.signal(Signal::HUP);
    wait_until("a swap", || overview(&tally)["swaps"] == 1);
    assert_eq!(ask(tally.address(), "POST /counters/count/inc?by=5").count(), 5);
    let rollback = ask_admin(&tally, "POST /admin/rollback", r#"{"leave_counts":true}"#);
    assert_eq!((rollback.status, inc(&tally)), (200, 2));
    tally.signal(Signal::HUP);
    wait_until("it is read", || place.sandbox.stderr().contains("those of before"));
    assert_eq!((&overview(&tally)["swaps"], inc(&tally)), (&2.into(), 3));
}

#[test]
fn hosts_on_free_ports_that_share_a_region_leave_the_memory_of_others_alone() {
    let place = Place::carried();
    let before = fs::read_to_string(place.journal()).unwrap();
    let region = format!("tally-{}", place.port);
    let other = place.sandbox.start(&["--shared-memory-name", &region]);
    assert_eq!(inc(&other), 1);
    assert_eq!(swap_and_leave(&other, "disk-flock").status, 200);
    assert_eq!(fs::read_to_string(place.journal()).unwrap(), before);
}

#[test]
fn a_damaged_memory_is_refused_and_kept() {
    let place = Place::carried();
    fs::write(place.journal(), "damaged").unwrap();
    for args in [&[][..], &["--resume", "off"], &["--plugin", "disk-flock"]] {
        let sentence = place.refused(args);
        assert!(sentence.contains("repair it or move it away"), "{sentence}");
        assert_eq!(fs::read_to_string(place.journal()).unwrap(), "damaged");
    }
}

#[test]
fn what_could_not_be_remembered_is_no_swap_to_another_storage() {
    let place = Place::new();
    // The token would be where nothing can be found later.
    let tally = place.start(&["--admin-token", "off"]);
    assert_eq!(inc(&tally), 1);
    // A directory in its place can't be replaced, whoever runs this.
    fs::create_dir_all(place.journal().join("in-the-way")).unwrap();
    let leaving = swap_and_leave(&tally, "disk-flock");
    check_refused(&leaving, "plugin-refused", "which says where the counts are");
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-atomic", 2));
    // Within one storage no count is at risk.
    assert_eq!(swap(&tally, "shared-memory-flock").status, 200);
    let told = "this swap was made, and is not remembered";
    wait_until(told, || place.sandbox.stderr().contains(told));
    fs::remove_dir_all(place.journal()).unwrap();
    let directory = place.journal().parent().unwrap().to_owned();
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, "").unwrap();
    check_refused(&swap_and_leave(&tally, "disk-flock"), "plugin-refused", "can't write");
    assert_eq!((active(&tally).as_str(), inc(&tally)), ("shared-memory-flock", 3));
}

#[test]
fn a_host_on_a_free_port_goes_on_with_nothing_and_says_where_the_counts_are() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[]);
    assert_eq!(inc(&tally), 1);
    carry(&tally, "disk-flock");
    assert_eq!(overview(&tally)["left"], Value::Null);
    tally.kill();
    let tally = sandbox.start(&[]);
    assert_eq!(active(&tally), "shared-memory-atomic");
    assert!(sandbox.stderr().contains("and the counts are in the file"), "{}", sandbox.stderr());
}

use crate::support::{Sandbox, Tally, ask, check_refused, overview, swap, swap_and_carry};

const SMALL: [&str; 2] = ["--shared-memory-capacity", "2"];

/// Makes two new keys, for which there is room, and shows that there is none for a third.
fn fill(tally: &Tally, keys: [&str; 3]) {
    let inc = |key: &str| ask(tally.address(), &format!("POST /counters/{key}/inc"));
    for key in &keys[..2] {
        assert_eq!(inc(key).status, 200, "{key}");
    }
    let answer = inc(keys[2]);
    check_refused(&answer, "storage-full", "--shared-memory-capacity");
    assert_eq!(answer.status, 507);
    assert!(!answer.head.to_lowercase().contains("retry-after"), "{}", answer.head);
    assert_eq!(ask(tally.address(), &format!("GET /counters/{}", keys[2])).count(), 0);
}

#[test]
fn a_full_region_refuses_new_keys_and_goes_on_with_all_else() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&SMALL);
    fill(&tally, ["a", "b", "c"]);
    assert_eq!(ask(tally.address(), "POST /counters/b/inc").count(), 2);
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);
    assert_eq!(ask(tally.address(), "GET /readyz").status, 200);
    for plugin in ["shared-memory-flock", "shared-memory-no-lock", "shared-memory-atomic"] {
        let answer = swap(&tally, plugin);
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = ask(tally.address(), "POST /counters/c/inc");
        check_refused(&answer, "storage-full", "--shared-memory-capacity");
    }
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
    assert_eq!(swap_and_carry(&tally, "disk-flock").status, 200);
    assert_eq!(ask(tally.address(), "POST /counters/c/inc").count(), 1);
    assert_eq!(ask(tally.address(), "GET /counters/b").count(), 2);
}

#[test]
fn a_carry_that_was_undone_for_want_of_room_leaves_no_keys_in_the_region() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[&["--plugin", "disk-flock"][..], &SMALL].concat());
    for key in ["a", "b", "c"] {
        assert_eq!(ask(tally.address(), &format!("POST /counters/{key}/inc")).status, 200);
    }
    let answer = swap_and_carry(&tally, "shared-memory-atomic");
    check_refused(&answer, "plugin-refused", "--shared-memory-capacity");
    assert_eq!(overview(&tally)["active"]["plugin"], "disk-flock");
    let counts = ["a", "b", "c"].map(|key| format!("GET /counters/{key}"));
    assert_eq!(counts.map(|get| ask(tally.address(), &get).count()), [1; 3]);
    let beside = sandbox.start(&SMALL);
    fill(&beside, ["d", "e", "f"]);
}

#[test]
fn a_region_of_an_earlier_layout_is_refused_and_unchanged() {
    let sandbox = Sandbox::new();
    drop(sandbox.start(&[]));
    let path = sandbox.path().join("region");
    let mut content = std::fs::read(&path).unwrap();
    content[8..16].copy_from_slice(&1u64.to_le_bytes());
    std::fs::write(&path, &content).unwrap();
    let output = sandbox.run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(why.contains("version 1") && why.contains("SHARED_MEMORY_NAME"), "{why}");
    assert_eq!(std::fs::read(&path).unwrap(), content);
}

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use serde_json::json;

use crate::{
    hostile::{ALL, Hostile},
    support::{Sandbox, Tally, ask, ask_admin, guest, overview, wait_until},
};

/// Clients that make the guest misbehave, of which each waits for its answer.
const CLIENTS: usize = 3;

/// Short, so that what computes without end does not take long, though a call in whose middle others get the processor
/// for a while goes on; and ticks come often.
const LIMITS: [&str; 6] =
    ["--call-cpu-max", "15", "--call-time-max", "1000", "--tick-interval", "20"];

/// The one that takes its place.
const AFTER: &str = "shared-memory-atomic";

/// A host that serves with it, and clients that make it misbehave for as long as `meanwhile` takes.
fn beside(hostile: &Hostile, meanwhile: impl FnOnce(&Tally)) {
    let sandbox = Sandbox::new();
    let path = guest(hostile.guest);
    let flags = hostile.flags(path.to_str().unwrap());
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(LIMITS).collect();
    let tally = sandbox.start(&flags);
    if let Some(before) = hostile.before {
        assert_eq!(ask(tally.address(), before).status, 200);
    }
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let is_over = OnDrop(&is_over);
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !is_over.0.load(Ordering::SeqCst) {
                    ask(tally.address(), hostile.request);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        wait_until(&format!("it misbehaves: {}", hostile.name()), || {
            CLIENTS <= answered.load(Ordering::SeqCst)
        });
        meanwhile(&tally);
        drop(is_over);
    });
}

/// Also ends the clients when what goes on meanwhile fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Beside each guest of this name others are served, and another plugin takes its place.
fn check(guest: &str) {
    let neighbour_sandbox = Sandbox::new();
    let neighbour = neighbour_sandbox.start(&[]);
    let mut counted = 0;
    for hostile in ALL.iter().filter(|hostile| hostile.guest == guest) {
        let name = hostile.name();
        beside(hostile, |tally| {
            for (request, status) in [("GET /livez", 200), ("GET /nowhere", 404)] {
                assert_eq!(ask(tally.address(), request).status, status, "{name}: {request}");
            }
            counted += 1;
            assert_eq!(ask(neighbour.address(), "POST /inc").count(), counted, "{name}");
            // One tick of computing is little on a busy machine.
            let mut well = 0;
            wait_until(&format!("a call that does well is served: {name}"), || {
                let answer = ask(tally.address(), "POST /counters/well/inc");
                well = if answer.status == 200 { answer.count() } else { 0 };
                well > 0
            });
            assert_eq!(overview(tally)["active"]["plugin"], hostile.guest.replace('-', "_"));
            let mut body = json!({ "plugin": AFTER });
            if hostile.is_forced {
                body["force"] = true.into();
            }
            let swapped = ask_admin(tally, "PUT /admin/plugin", &body.to_string());
            assert_eq!(swapped.status, 200, "{name}: {swapped:?}");
            let next = ask(tally.address(), "POST /counters/well/inc").count();
            assert_eq!(next, well + 1, "{name}");
        });
    }
    assert!(0 < counted, "no guest is called {guest}");
}

#[test]
fn others_are_served_beside_each_guest_whose_calls_wait_and_it_can_be_exchanged() {
    check("guest-hostile");
}

#[test]
fn others_are_served_beside_each_guest_whose_calls_never_wait_and_it_can_be_exchanged() {
    check("guest-hostile-prompt");
}

#[test]
fn others_are_served_beside_each_guest_that_lists_and_ticks_and_it_can_be_exchanged() {
    check("guest-unruly");
}

//! What plugins can do to those beside them: each way that we know of, for tests and benchmarks.

/// One way to misbehave.
#[derive(Clone, Copy, Debug)]
pub struct Hostile {
    /// The guest that does it.
    pub guest: &'static str,
    /// What the guest is granted.
    pub grants: &'static str,
    /// What is sent to the host once, if anything, before it does it.
    pub before: Option<&'static str>,
    /// What makes it do it, again and again.
    pub request: &'static str,
    /// Whether another plugin takes its place only by force: it never comes to an end, or can't end in good order.
    pub is_forced: bool,
}

/// Its calls may wait.
const WAITING: Hostile = Hostile {
    guest: "guest-hostile",
    grants: "shared-memory+file-lock+clocks+log",
    before: None,
    request: "",
    is_forced: false,
};
/// Its calls never wait.
const PROMPT: Hostile =
    Hostile { guest: "guest-hostile-prompt", grants: "shared-memory", ..WAITING };
/// It lists and ticks, as it is told before.
const UNRULY: Hostile =
    Hostile { guest: "guest-unruly", grants: "shared-memory+file-lock+clocks", ..WAITING };

const fn doing(kind: Hostile, request: &'static str) -> Hostile {
    Hostile { request, ..kind }
}

const fn without_end(kind: Hostile, request: &'static str) -> Hostile {
    Hostile { request, is_forced: true, ..kind }
}

const fn listing(before: &'static str) -> Hostile {
    Hostile { before: Some(before), request: "GET /counters?limit=1000", ..UNRULY }
}

/// Its last work does not end in good order, so it is given up by force.
const fn ticking(before: &'static str) -> Hostile {
    Hostile { before: Some(before), request: "POST /counters/any/inc", is_forced: true, ..UNRULY }
}

/// All of them.
pub const ALL: [Hostile; 37] = [
    doing(WAITING, "POST /counters/loop/inc"),
    doing(PROMPT, "POST /counters/loop/inc"),
    doing(WAITING, "GET /counters/loop"),
    doing(WAITING, "POST /counters/recurse/inc"),
    doing(PROMPT, "POST /counters/recurse/inc"),
    doing(WAITING, "POST /counters/deep/inc"),
    doing(PROMPT, "POST /counters/deep/inc"),
    doing(WAITING, "POST /counters/grow/inc"),
    doing(PROMPT, "POST /counters/grow/inc"),
    doing(WAITING, "POST /counters/near-limit/inc"),
    doing(PROMPT, "POST /counters/near-limit/inc"),
    doing(WAITING, "POST /counters/fill/inc"),
    doing(PROMPT, "POST /counters/fill/inc"),
    doing(WAITING, "POST /counters/panic/inc"),
    doing(PROMPT, "POST /counters/panic/inc"),
    doing(WAITING, "POST /counters/panic-at-length/inc"),
    doing(WAITING, "POST /counters/host-calls/inc"),
    doing(WAITING, "POST /counters/hold-and-panic/inc"),
    doing(WAITING, "POST /counters/hold/inc"),
    doing(WAITING, "POST /counters/locks/inc"),
    doing(WAITING, "POST /counters/hoard/inc"),
    doing(WAITING, "POST /counters/timers/inc"),
    without_end(WAITING, "POST /counters/sleep/inc?by=3600000000000"),
    doing(WAITING, "POST /counters/nap/inc"),
    doing(WAITING, "POST /counters/shout/inc"),
    doing(WAITING, "POST /counters/error/inc"),
    Hostile { is_forced: true, ..listing("POST /counters/list/inc?by=2") },
    listing("POST /counters/list/inc?by=3"),
    listing("POST /counters/list/inc?by=20"),
    listing("POST /counters/list/inc?by=21"),
    listing("POST /counters/list/inc?by=22"),
    listing("POST /counters/list/inc?by=23"),
    Hostile { is_forced: true, ..listing("POST /counters/list/inc?by=1") },
    ticking("POST /counters/tick/inc?by=1"),
    ticking("POST /counters/tick/inc?by=2"),
    ticking("POST /counters/tick/inc?by=3"),
    ticking("POST /counters/tick/inc?by=10"),
];

impl Hostile {
    /// What it does, in a word or two.
    pub fn name(&self) -> String {
        let kind = self.guest.trim_start_matches("guest-");
        let asked = self.before.unwrap_or(self.request);
        let what = asked.trim_start_matches("POST ").replace("/counters/", "").replace("/inc", "");
        format!("{kind}: {what}")
    }

    /// The flags with which a host serves with it, whose component lies at `path`.
    pub fn flags(&self, path: &str) -> Vec<String> {
        let grant = format!("{}={}", self.guest.replace('-', "_"), self.grants);
        ["--plugin", path, "--grant", &grant].map(String::from).into()
    }
}

//! The dashboard as an operator sees it, in a real browser.

use std::{fs, path::Path, time::Duration};

use crate::support::{Browser, Sandbox, Tally, ask, carry, guest, overview, own_port, wait_until};

/// How long the page may take to show something.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

const ADMIN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

/// A page that is connected and lists the plugins.
fn dashboard(tally: &Tally) -> Browser {
    let browser = Browser::start();
    browser.open(tally.dashboard());
    wait_until_live(&browser);
    browser
}

/// The page without the token.
fn page(tally: &Tally) -> String {
    format!("http://{}/", tally.admin())
}

fn wait_until_live(browser: &Browser) {
    let live = "return document.querySelector('#connection[data-state=connected]') \
                && document.querySelector('#plugins li[aria-current]') \
                && document.querySelector('#value').dataset.value";
    browser.wait_for(live, SHOWN_WITHIN);
}

/// Waits until an element has a text in it.
fn wait_for_text(browser: &Browser, css: &str, text: &str) {
    let script =
        format!("return (document.querySelector({css:?})?.textContent ?? '').includes({text:?})");
    browser.wait_for(&script, SHOWN_WITHIN);
}

fn wait_for_value(browser: &Browser, value: &str) {
    let script = format!("return document.querySelector('#value').dataset.value === {value:?}");
    browser.wait_for(&script, SHOWN_WITHIN);
}

fn click_swap(browser: &Browser, plugin: &str) {
    let button = format!("li[data-plugin='{plugin}'] button.swap");
    click(browser, &button);
}

/// Clicks a button once it is one: while a swap is under way, those of the page do nothing.
fn click(browser: &Browser, button: &str) {
    let enabled = format!(
        "return document.querySelector({button:?})?.matches(':enabled[aria-disabled=false]')"
    );
    browser.wait_for(&enabled, SHOWN_WITHIN);
    browser.find(button).click();
}

/// Answers the question that the page asks.
fn choose(browser: &Browser, value: &str) {
    let button = format!("dialog[open] button[value='{value}']");
    browser.wait_for(&format!("return document.querySelector({button:?})"), SHOWN_WITHIN);
    browser.find(&button).click();
    browser.wait_for("return !document.querySelector('dialog[open]')", SHOWN_WITHIN);
}

#[test]
fn a_swap_that_only_force_can_make_is_offered_with_what_it_costs() {
    let sandbox = Sandbox::new();
    let guest = guest("guest-unruly");
    let args = ["--plugin", guest.to_str().unwrap(), "--tick-interval", "3600000"];
    let grant = ["--grant", "guest_unruly=shared-memory+file-lock+clocks"];
    let tally = sandbox.start(&[&args[..], &grant, &ADMIN].concat());
    // Its work fails, so it is not swapped out.
    assert_eq!(ask(tally.address(), "POST /counters/tick/inc?by=10").count(), 10);
    let browser = dashboard(&tally);
    click_swap(&browser, "shared-memory-flock");
    choose(&browser, "force");
    wait_for_text(&browser, "#plugin", "shared-memory-flock");
    wait_for_text(&browser, "#message", "what was not saved is lost");
    wait_for_text(&browser, "#swaps", "what was not saved is lost");
    assert_eq!(counting_plugin(&tally), "shared-memory-flock");
}

fn counting_plugin(tally: &Tally) -> String {
    ask(tally.address(), "GET /readyz").json()["plugin"].as_str().unwrap().to_owned()
}

#[test]
fn a_swap_clicked_on_the_dashboard_is_made_and_marked() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&ADMIN);
    let browser = dashboard(&tally);
    assert_eq!(browser.find("#plugin").text(), "shared-memory-atomic");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 1);

    click_swap(&browser, "shared-memory-flock");
    wait_for_text(&browser, "#plugin", "shared-memory-flock");
    assert_eq!(counting_plugin(&tally), "shared-memory-flock");
    let generation = browser.find("#generation").text();
    let marker = format!(
        "return document.querySelector('.swap-marker[data-generation=\"{generation}\"]')?.textContent"
    );
    let label = browser.wait_for(&marker, SHOWN_WITHIN);
    assert_eq!(label, format!("{generation} shared-memory-flock"));
    wait_for_text(&browser, "#message", &format!("as generation {generation}"));
    wait_for_text(&browser, "li[data-plugin=shared-memory-flock] button.swap:disabled", "Active");

    click(&browser, "#rollback");
    wait_for_text(&browser, "#plugin", "shared-memory-atomic");
    browser.wait_for("return document.querySelectorAll('.swap-marker').length === 2", SHOWN_WITHIN);
    assert_eq!(counting_plugin(&tally), "shared-memory-atomic");
    assert_eq!(ask(tally.address(), "POST /inc").count(), 2);
    // For people to look at.
    browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard.png"));
}

#[test]
fn a_swap_made_elsewhere_is_shown() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&ADMIN);
    let (one, other) = (dashboard(&tally), dashboard(&tally));
    click_swap(&one, "shared-memory-flock");
    wait_for_text(&other, "#plugin", "shared-memory-flock");
    wait_for_text(&other, "#swaps", "shared-memory-flock");
    // What was before a page is opened is on it, too.
    let late = dashboard(&tally);
    late.wait_for("return document.querySelector('.swap-marker')", SHOWN_WITHIN);
}

#[test]
fn the_increment_button_and_its_key_count() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&ADMIN);
    let browser = dashboard(&tally);
    browser.find("#increment").click();
    wait_for_value(&browser, "1");
    browser.keys("ii");
    wait_for_value(&browser, "3");
    assert_eq!(ask(tally.address(), "GET /count").count(), 3);
    // Counts from elsewhere are shown as well.
    assert_eq!(ask(tally.address(), "POST /inc").count(), 4);
    wait_for_value(&browser, "4");
}

#[test]
fn the_largest_values_are_shown_digit_by_digit() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&ADMIN);
    let by = "POST /counters/count/inc?by=9223372036854775800";
    assert_eq!(ask(tally.address(), by).status, 200);
    let browser = dashboard(&tally);
    browser.keys("i");
    wait_for_value(&browser, "9223372036854775801");
}

#[test]
fn a_failed_swap_is_shown_with_its_reason() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path().join("broken.wasm"), "no wasm").unwrap();
    let tally = sandbox.start(&[&ADMIN[..], &["--plugin-dir", "."]].concat());
    let browser = dashboard(&tally);
    wait_for_text(&browser, "li[data-plugin=broken] .state", "refused");
    click_swap(&browser, "broken");
    wait_for_text(&browser, "#message[data-kind=error]", "not WebAssembly");
    wait_for_text(&browser, "#failures", "broken");
    wait_for_text(&browser, "#failures", "not WebAssembly");
    assert_eq!(browser.find("#plugin").text(), "shared-memory-atomic");
    assert_eq!(counting_plugin(&tally), "shared-memory-atomic");
    browser.keys("i");
    wait_for_value(&browser, "1");
}

#[test]
fn requests_and_the_calls_of_the_plugin_are_timed_apart() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&ADMIN);
    let browser = dashboard(&tally);
    let timed = "return ['request-p50', 'request-p99', 'p50', 'p99'] \
                 .every(id => /\\d [µm]?s$/.test(document.getElementById(id).textContent))";
    wait_until("both are timed", || {
        assert_eq!(ask(tally.address(), "POST /inc").status, 200);
        browser.execute(timed) == true
    });
    let names = browser.find("#tiles").text();
    for name in ["Request, p50", "Plugin call, p50"] {
        assert!(names.contains(name), "{names}");
    }
}

#[test]
fn a_plugin_that_may_lose_increments_serves_only_after_a_question() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&ADMIN);
    let browser = dashboard(&tally);
    click_swap(&browser, "shared-memory-no-lock");
    wait_for_text(&browser, "dialog[open]", "increments may be lost");
    // The key of the page does nothing behind the question.
    browser.keys("i");
    choose(&browser, "");
    assert_eq!(overview(&tally)["swaps"], 0);
    assert_eq!(ask(tally.address(), "GET /count").count(), 0);

    click_swap(&browser, "shared-memory-no-lock");
    choose(&browser, "swap");
    wait_for_text(&browser, "#plugin", "shared-memory-no-lock");
    click_swap(&browser, "shared-memory-atomic");
    wait_for_text(&browser, "#plugin", "shared-memory-atomic");
    // Nor does one go back to it without.
    click(&browser, "#rollback");
    wait_for_text(&browser, "dialog[open]", "increments may be lost");
}

#[test]
fn where_counts_would_be_left_behind_one_chooses_and_is_told_what_became_of_them() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&[&ADMIN[..], &["--storage-path", "count.txt"]].concat());
    assert_eq!(ask(tally.address(), "POST /counters/count/inc?by=3").status, 200);
    let browser = dashboard(&tally);
    click_swap(&browser, "disk-flock");
    wait_for_text(&browser, "dialog[open]", "a total of 3");
    choose(&browser, "");
    assert_eq!(overview(&tally)["swaps"], 0);

    click_swap(&browser, "disk-flock");
    choose(&browser, "carry");
    // It is told, is no warning, and goes after some seconds.
    wait_for_text(&browser, ".note:not(.caution)", "The counts were carried from");
    wait_for_text(&browser, "#plugin", "disk-flock");
    wait_for_value(&browser, "3");
    wait_for_text(&browser, "#message", "1 counter of 3 carried");
    wait_for_text(&browser, "#swaps", "1 counter of 3 carried");
    browser.wait_for("return !document.querySelector('.note')", SHOWN_WITHIN);

    click_swap(&browser, "shared-memory-atomic");
    choose(&browser, "leave_counts");
    wait_for_text(&browser, "#plugin", "shared-memory-atomic");
    wait_for_value(&browser, "0");
    let left = "1 counter of 3 left in";
    for place in ["#message", "#swaps", ".note.caution"] {
        wait_for_text(&browser, place, left);
    }
    browser.find(".note button").click();
    browser.wait_for("return !document.querySelector('.note')", SHOWN_WITHIN);

    // Going back leaves nothing here, so nothing is asked.
    click(&browser, "#rollback");
    wait_for_value(&browser, "3");
}

#[test]
fn a_plugin_whose_storage_was_never_reached_is_not_called_ready() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(
        &[&ADMIN[..], &["--storage-path", "count.txt", "--plugin", "shared-memory-atomic"]]
            .concat(),
    );
    let browser = dashboard(&tally);
    let state = |plugin: &str| format!("li[data-plugin={plugin}] .state");
    wait_for_text(&browser, &state("disk-flock"), "storage not reached yet");
    // The same storage as that of the plugin that serves.
    wait_for_text(&browser, &state("shared-memory-flock"), "ready");
    assert_eq!(carry(&tally, "disk-flock")["plugin"], "disk-flock");
    wait_for_text(&browser, &state("disk-flock"), "ready");
}

#[test]
fn the_chart_stays_in_sight_while_one_swaps() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&ADMIN);
    let browser = dashboard(&tally);
    for (width, height) in [(1280, 800), (1024, 600), (768, 1024), (390, 844), (844, 390)] {
        browser.resize(width, height);
        let covered = browser.execute(
            "const middle = node => { \
                 const box = node.getBoundingClientRect(); \
                 return [box.left + box.width / 2, box.top + box.height / 2]; \
             }; \
             const seen = node => node.contains(document.elementFromPoint(...middle(node))); \
             const chart = document.querySelector('#chart'); \
             return [...document.querySelectorAll('button.swap')].filter(button => { \
                 button.scrollIntoView({ block: 'center', behavior: 'instant' }); \
                 const box = chart.getBoundingClientRect(); \
                 const whole = box.top >= 0 && box.bottom <= window.innerHeight; \
                 return !whole || !seen(chart) || !seen(button); \
             }).map(button => button.getAttribute('aria-label'))",
        );
        assert_eq!(covered, serde_json::json!([]), "{width} × {height}");
    }
}

#[test]
fn on_a_phone_the_page_is_short_and_plugins_unfold() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&ADMIN);
    let browser = dashboard(&tally);
    browser.resize(390, 844);
    let loaded = "return ![...document.querySelectorAll('.state')].some(state => state.textContent === 'loading')";
    browser.wait_for(loaded, SHOWN_WITHIN);
    let height = browser.execute("return document.documentElement.scrollHeight");
    assert!(height.as_u64().unwrap() < 2500, "{height} pixels");
    let imports = "return document.querySelector('li[data-plugin=shared-memory-atomic] dl').checkVisibility()";
    assert_eq!(browser.execute(imports), false);
    browser.find("li[data-plugin=shared-memory-atomic] summary").click();
    browser.wait_for(imports, SHOWN_WITHIN);
    wait_for_text(&browser, "li[data-plugin=shared-memory-atomic] dl", "tally:shared-memory/");
}

#[test]
fn the_page_asks_for_the_token_when_one_is_needed() {
    let token = "0123456789abcdef0123456789abcdef";
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let tally =
        sandbox.start(&[&ADMIN[..], &["--admin-token-file", file.to_str().unwrap()]].concat());
    let browser = Browser::start();
    browser.open(&page(&tally));
    let asked = "return !document.querySelector('#token-form').hidden \
                 && document.activeElement.id === 'token'";
    browser.wait_for(asked, SHOWN_WITHIN);
    browser.find("#token").keys("wrong\n");
    wait_for_text(&browser, "#message", "not accepted");
    browser.wait_for(asked, SHOWN_WITHIN);
    browser.find("#token").keys(&format!("{token}\n"));
    wait_until_live(&browser);
    browser.keys("i");
    wait_for_value(&browser, "1");
    // It is kept for this tab.
    browser.open(&page(&tally));
    wait_until_live(&browser);
}

#[test]
fn the_page_says_that_the_server_is_gone_and_finds_it_again() {
    let sandbox = Sandbox::new();
    // Nobody else may take it when the host is gone.
    let admin = format!("127.0.0.1:{}", own_port());
    let token = sandbox.path().join("token");
    fs::write(&token, "0123456789abcdef").unwrap();
    let given = ["--admin-listen", &admin, "--admin-token-file", token.to_str().unwrap()];
    let tally = sandbox.start(&given);
    let browser = Browser::start();
    browser.open(&format!("{}#token=0123456789abcdef", page(&tally)));
    wait_until_live(&browser);
    tally.kill();
    wait_for_text(&browser, "#connection[data-state=disconnected]", "disconnected");
    assert_eq!(browser.find("#ready").text(), "unknown");
    // As where the last sample has come just before the end.
    browser.execute("receive('sample', JSON.stringify(samples.at(-1)))");
    browser.wait_for("return !redrawn", SHOWN_WITHIN);
    assert_eq!(browser.find("#ready").text(), "unknown");
    let tally = sandbox.start(&given);
    wait_until_live(&browser);

    // One that has made another token since tells where the page is with that one.
    tally.kill();
    let tally = sandbox.start(&given[..2]);
    wait_for_text(&browser, "#message", "not accepted");
    browser.open(tally.dashboard());
    wait_until_live(&browser);
}

#[test]
fn the_token_in_the_address_that_the_host_prints_is_taken_and_goes_out_of_sight() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&ADMIN);
    let browser = dashboard(&tally);
    assert_eq!(browser.execute("return location.href"), page(&tally));
    assert_eq!(
        browser.execute("return history.length"),
        2,
        "the browser's first page, and this one"
    );
    for request in browser.requests() {
        assert!(!request.contains("token="), "{request}");
    }
    // It is kept for this tab, and for no other.
    browser.open(&page(&tally));
    wait_until_live(&browser);
    let other = Browser::start();
    other.open(&page(&tally));
    other.wait_for("return !document.querySelector('#token-form').hidden", SHOWN_WITHIN);
}

#[test]
fn a_narrow_window_needs_no_sideways_scrolling_and_keys_reach_everything() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&ADMIN);
    let browser = dashboard(&tally);
    browser.resize(380, 800);
    let fits = "return document.documentElement.scrollWidth <= 380";
    browser.wait_for(fits, SHOWN_WITHIN);

    let reached = "window.reached ??= new Set(); window.reached.add(document.activeElement); \
                   return window.reached.size";
    // Tab, once for each thing that can be reached and a few more times.
    let reachable = browser.execute(
        "return document.querySelectorAll('a[href], button:enabled, input, summary, [tabindex=\"0\"]').length",
    );
    for _ in 0..reachable.as_u64().unwrap() + 2 {
        browser.keys("\u{e004}");
        browser.execute(reached);
    }
    let missed = browser.execute(
        "return [...document.querySelectorAll('a[href], button:enabled, input, summary, [tabindex=\"0\"]')] \
         .filter(node => node.checkVisibility() && !window.reached.has(node)).map(node => node.outerHTML)",
    );
    assert_eq!(missed, serde_json::json!([]));
}

#[test]
fn nothing_is_fetched_from_elsewhere_and_nothing_is_logged_as_an_error() {
    let sandbox = Sandbox::new();
    let tally = sandbox.start(&ADMIN);
    let browser = dashboard(&tally);
    browser.keys("i");
    wait_for_value(&browser, "1");
    click_swap(&browser, "shared-memory-flock");
    wait_for_text(&browser, "#plugin", "shared-memory-flock");
    browser.open(&format!("{}api", page(&tally)));
    wait_for_text(&browser, "main", "/admin/plugins");

    let requests = browser.requests();
    let home = page(&tally);
    assert!(requests.contains(&home), "{requests:?}");
    for request in &requests {
        assert!(request.starts_with(&home) || request.starts_with("data:"), "{request}");
    }
    let console = browser.console();
    assert!(console.is_empty(), "{console:#?}");
}

//! The dashboard as an operator sees it, in a real browser.

use std::{fs, path::Path, time::Duration};

use crate::support::{Browser, Sandbox, Tally, ask};

/// How long the page may take to show something.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

const ADMIN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

/// A page that is connected and lists the plugins.
fn dashboard(tally: &Tally) -> Browser {
    let browser = Browser::start();
    browser.open(&page(tally));
    wait_until_live(&browser);
    browser
}

fn page(tally: &Tally) -> String {
    format!("http://{}/", tally.admin())
}

fn wait_until_live(browser: &Browser) {
    let live = "return document.querySelector('#connection[data-state=connected]') \
                && document.querySelector('#plugins tbody tr[aria-current]') \
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
    let button = format!("#plugins tr[data-plugin='{plugin}'] button.swap");
    let enabled = format!("return document.querySelector({button:?})?.disabled === false");
    browser.wait_for(&enabled, SHOWN_WITHIN);
    browser.find(&button).click();
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
    wait_for_text(&browser, "tr[data-plugin=shared-memory-flock] button.swap:disabled", "Active");

    browser.find("#rollback").click();
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
    wait_for_text(&browser, "tr[data-plugin=broken] td[data-label=State]", "refused");
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
    let tally = sandbox.start(&ADMIN);
    let admin = tally.admin().to_string();
    let browser = dashboard(&tally);
    tally.kill();
    wait_for_text(&browser, "#connection[data-state=disconnected]", "disconnected");
    assert_eq!(browser.find("#ready").text(), "unknown");
    let _tally = sandbox.start(&["--admin-listen", &admin]);
    wait_until_live(&browser);
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
        "return document.querySelectorAll('a[href], button:enabled, input, [tabindex=\"0\"]').length",
    );
    for _ in 0..reachable.as_u64().unwrap() + 2 {
        browser.keys("\u{e004}");
        browser.execute(reached);
    }
    let missed = browser.execute(
        "return [...document.querySelectorAll('a[href], button:enabled, input, [tabindex=\"0\"]')] \
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

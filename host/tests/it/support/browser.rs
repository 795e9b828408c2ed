//! A browser that tests lead by hand: WebDriver, as far as the tests need it.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// How long the driver may take for one command; starting a browser on a busy machine is the longest.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(60);

/// How long to wait before a script is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// How a reference to an element is marked in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Headless, and silent towards everything but the page. Drawing needs neither a GPU nor much of /dev/shm.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with one page and a profile of its own, closed when it is dropped.
/// If the test has failed by then, what the page looked like is kept.
pub struct Browser {
    driver: SocketAddr,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// On the driver that `compose/with-chromium` starts.
    pub fn start() -> Self {
        let url = env::var("WEBDRIVER_URL").unwrap_or_else(|_| {
            panic!("this test needs a browser: run the tests through compose/with-chromium")
        });
        let driver = url.trim_start_matches("http://").trim_end_matches('/').parse();
        let driver = driver.unwrap_or_else(|_| panic!("WEBDRIVER_URL is no address: {url}"));
        let profile = tempfile::tempdir().unwrap();
        let mut flags: Vec<_> = FLAGS.map(String::from).into();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let session = exchange(driver, "POST", "/session", &capabilities);
        let session = session["sessionId"].as_str().unwrap().to_owned();
        Self { driver, session, _profile: profile }
    }

    /// Goes to a page and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// The first element that matches.
    pub fn find(&self, css: &str) -> Element<'_> {
        let found = self.post("element", &json!({"using": "css selector", "value": css}));
        Element { browser: self, id: found[ELEMENT].as_str().unwrap().to_owned() }
    }

    /// Presses and releases keys on whatever has the focus.
    pub fn keys(&self, text: &str) {
        let keys = text.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()}))
        });
        let keys: Vec<_> = keys.collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": keys}]});
        self.post("actions", &actions);
    }

    /// Runs the body of a function in the page and returns what it returned.
    pub fn execute(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Runs a script again and again until it returns something true, and returns that.
    pub fn wait_for(&self, script: &str, bound: Duration) -> Value {
        let deadline = Instant::now() + bound;
        loop {
            let value = self.execute(script);
            if !matches!(&value, Value::Null | Value::Bool(false)) && value != 0 && value != "" {
                return value;
            }
            if Instant::now() > deadline {
                let page = self.execute("return document.body.innerText");
                let page = page.as_str().unwrap_or_default();
                panic!("not within {bound:?}: {script}\nthe page:\n{page}");
            }
            thread::sleep(ASK_AGAIN_AFTER);
        }
    }

    /// Lets the page believe that its window has this size.
    pub fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Gives a command of the DevTools protocol to the page.
    pub fn devtools(&self, command: &str, params: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({"cmd": command, "params": params}))
    }

    /// What was written to the console, uncaught errors and refused requests included, since this was last asked.
    pub fn console(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({"type": "browser"}));
        let entry = |entry: &Value| format!("{} {}", entry["level"], entry["message"]);
        entries.as_array().unwrap().iter().map(entry).collect()
    }

    /// The addresses of all requests that the page has begun, since this was last asked.
    /// Those for the browser's own parts are left out; its first page makes some.
    pub fn requests(&self) -> Vec<String> {
        let entries = self.post("se/log", &json!({"type": "performance"}));
        let request = |entry: &Value| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let event = &event["message"];
            let begun = event["method"] == "Network.requestWillBeSent";
            let url = event["params"]["request"]["url"].as_str()?;
            (begun && !url.starts_with("chrome://")).then(|| url.to_owned())
        };
        entries.as_array().unwrap().iter().filter_map(request).collect()
    }

    /// Writes a picture of the window to a PNG file.
    pub fn screenshot(&self, path: &Path) {
        let picture = exchange(self.driver, "GET", &self.path("screenshot"), &Value::Null);
        std::fs::write(path, from_base64(picture.as_str().unwrap())).unwrap();
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        exchange(self.driver, "POST", &self.path(command), body)
    }

    fn path(&self, command: &str) -> String {
        format!("/session/{}/{command}", self.session)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if thread::panicking() {
            let name = thread::current().name().unwrap_or("test").replace("::", "-");
            let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
            let picture = try_exchange(self.driver, "GET", &self.path("screenshot"), &Value::Null);
            if let Ok(Value::String(picture)) = picture {
                let written = std::fs::write(&path, from_base64(&picture));
                eprintln!("what the page looked like: {} ({written:?})", path.display());
            }
        }
        // A test that failed should say its own reason.
        let path = format!("/session/{}", self.session);
        let _ = try_exchange(self.driver, "DELETE", &path, &Value::Null);
    }
}

/// Something on a page.
pub struct Element<'a> {
    browser: &'a Browser,
    id: String,
}

impl Element<'_> {
    /// Scrolls to it and clicks as a user does: it must be visible and not covered.
    pub fn click(&self) {
        // The driver would leave it where it is if a part of it is in sight, also below something that covers it.
        let script = "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})";
        let this = json!({ ELEMENT: self.id });
        self.browser.post("execute/sync", &json!({"script": script, "args": [this]}));
        self.post("click", &json!({}));
    }

    /// The text that is visible in it.
    pub fn text(&self) -> String {
        let path = self.browser.path(&format!("element/{}/text", self.id));
        let text = exchange(self.browser.driver, "GET", &path, &Value::Null);
        text.as_str().unwrap().to_owned()
    }

    /// Focuses it and types.
    pub fn keys(&self, text: &str) {
        self.post("value", &json!({ "text": text }));
    }

    fn post(&self, command: &str, body: &Value) {
        self.browser.post(&format!("element/{}/{command}", self.id), body);
    }
}

/// One command on a connection of its own; a refusal fails the test.
fn exchange(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Value {
    try_exchange(driver, method, path, body)
        .unwrap_or_else(|why| panic!("{method} {path} {body}: {why}"))
}

fn try_exchange(
    driver: SocketAddr,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<Value, String> {
    let (status, answer) = request(driver, method, path, body)
        .map_err(|error| format!("the driver did not answer: {error}"))?;
    let mut answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
    let value = answer["value"].take();
    if status == 200 { Ok(value) } else { Err(format!("{}: {}", value["error"], value["message"])) }
}

/// The driver keeps connections open whatever it is asked, so an answer ends with its length.
fn request(
    driver: SocketAddr,
    method: &str,
    path: &str,
    body: &Value,
) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&driver, COMMAND_TIME_MAX)?;
    stream.set_read_timeout(Some(COMMAND_TIME_MAX))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {driver}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes())?;

    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap_or(0);
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut answer = vec![0; length];
    reader.read_exact(&mut answer)?;
    Ok((status, answer))
}

/// Pictures come as text; what is not of its alphabet is skipped.
fn from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut bits_count) = (0_u32, 0);
    for letter in text.bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(six);
        bits_count += 6;
        if bits_count >= 8 {
            bits_count -= 8;
            bytes.push((bits >> bits_count & 0xff) as u8);
        }
    }
    bytes
}

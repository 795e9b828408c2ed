use std::{
    env, fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::Sandbox;

/// What the operator of a host is asked for.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Cases on both listeners together, at least; there are about a fifth more.
const CASES_MIN: u32 = 500;

/// Random cases for each operation, at most, beside those that its description leads to.
const RANDOM_CASES_MAX: &str = "20";

/// How long an answer may take, in seconds: a swap tries the plugin first.
const ANSWER_TIME_MAX: &str = "20";

/// What schemathesis did on one listener.
struct Checked {
    operations: u32,
    cases: u32,
}

#[test]
fn what_the_description_of_the_api_says_is_so() {
    let sandbox = Sandbox::new();
    let plugins = sandbox.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    let token = sandbox.path().join("token");
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&token);
    file.as_mut().unwrap().write_all(TOKEN.as_bytes()).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let args = ["--plugin-dir", &path(&plugins), "--admin-token-file", &path(&token)];
    let tally = sandbox.start(&args);
    let admin = tally.admin();
    let main = check(&sandbox, admin, "main listener", tally.address());
    let operators = check(&sandbox, admin, "admin listener", admin);
    assert_eq!(main.operations + operators.operations, described());
    let cases = main.cases + operators.cases;
    assert!(CASES_MIN <= cases, "{cases} cases");
}

/// How many operations the description has.
fn described() -> u32 {
    let description = include_str!("../../src/admin/assets/openapi.json");
    let description: serde_json::Value = serde_json::from_str(description).unwrap();
    let paths = description["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().keys());
    let operations = operations.filter(|name| ["get", "post", "put"].contains(&name.as_str()));
    u32::try_from(operations.count()).unwrap()
}

/// Has schemathesis send what the description allows, and what it does not, to the operations with this tag.
///
/// The same requests are made each time. An event stream is read for as long as schemathesis likes, some seconds at most.
fn check(sandbox: &Sandbox, described_at: SocketAddr, tag: &str, address: SocketAddr) -> Checked {
    let python = env::var_os("TOOLS_PYTHON");
    let python = python
        .expect("this test needs tools in Python: run it by compose/with-python-tools cargo test");
    let settings = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/schemathesis");
    let output = Command::new(python)
        .env_clear()
        .env("SCHEMATHESIS_HOOKS", settings.join("hooks.py"))
        .current_dir(sandbox.path())
        .args(["-I", "-B", "-m", "schemathesis.cli", "--config-file"])
        .arg(settings.join("config.toml"))
        .args(["run", &format!("http://{described_at}/openapi.json")])
        .args(["--url", &format!("http://{address}"), "--include-tag", tag])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        .args(["--max-examples", RANDOM_CASES_MAX, "--request-timeout", ANSWER_TIME_MAX])
        .args(["--generation-deterministic", "--continue-on-failure", "--no-color"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let line = |part: &str| {
        let found = told.lines().find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("no {part:?} in {told}"))
    };
    let numbers = |line: &str| -> Vec<u32> {
        line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
    };
    let operations = numbers(line(" selected / "))[0];
    Checked { operations, cases: numbers(line(" generated, "))[0] }
}

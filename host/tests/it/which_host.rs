use std::{fs, net::SocketAddr, path::PathBuf, process::Output};

use rustix::process::Signal;

use crate::support::{Sandbox, Tally, ask, wait_until};

/// Environment variables with their values.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// Two hosts, of which the other one is where nobody means to go.
struct Pair {
    sandbox: Sandbox,
    meant: Tally,
    other: Tally,
    token: PathBuf,
}

impl Pair {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        let token = sandbox.path().join("token");
        fs::write(&token, "0123456789abcdef").unwrap();
        let other = sandbox.start(&[]);
        let meant = sandbox.start(&["--admin-token-file", token.to_str().unwrap()]);
        Self { sandbox, meant, other, token }
    }

    /// Writes the settings of the host that is meant, as its configuration file would have them.
    fn file(&self, name: &str, entries: &[(&str, String)]) -> String {
        let path = self.sandbox.path().join(name);
        let token = ("admin-token-file", self.token.display().to_string());
        let lines = entries.iter().chain([&token]).map(|(key, value)| format!("{key} = {value:?}"));
        fs::write(&path, lines.collect::<Vec<_>>().join("\n")).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str], variables: Variables) -> Output {
        let mut command = self.sandbox.command(args);
        for variable in ["ADMIN_LISTEN", "HOST", "PORT"] {
            command.env_remove(variable);
        }
        command.envs(variables.iter().copied()).output().unwrap()
    }

    /// Swaps to and fro, and finds that the host that is meant did so.
    fn check_swapped(&self, args: &[&str], variables: Variables) {
        let plugin = match plugin_of(self.meant.address()).as_str() {
            "shared-memory-atomic" => "shared-memory-flock",
            _ => "shared-memory-atomic",
        };
        let args: Vec<&str> =
            args.iter().map(|arg| if *arg == "PLUGIN" { plugin } else { arg }).collect();
        let output = self.run(&args, variables);
        assert_eq!(output.status.code(), Some(0), "{args:?} {variables:?}: {output:?}");
        assert_eq!(plugin_of(self.meant.address()), plugin, "{args:?} {variables:?}");
        assert_eq!(plugin_of(self.other.address()), "shared-memory-atomic", "{args:?}");
    }
}

fn plugin_of(address: SocketAddr) -> String {
    ask(address, "GET /readyz").json()["plugin"].as_str().unwrap().to_owned()
}

fn check_refused(output: &Output, expected: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    for part in expected {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
}

#[test]
fn of_two_hosts_the_one_is_swapped_that_the_settings_name() {
    let pair = Pair::start();
    let [meant, other] = [&pair.meant, &pair.other].map(|host| host.admin().to_string());
    let [meant_url, other_url] = [&meant, &other].map(|address| format!("http://{address}"));
    let anywhere = format!("0.0.0.0:{}", pair.meant.admin().port());
    let file = pair.file("meant.toml", &[("admin-listen", anywhere)]);
    let file_of_other = pair.file("other.toml", &[("admin-listen", other.clone())]);
    let token = pair.token.to_str().unwrap();

    // As the host's own configuration file says, with the token that it names.
    pair.check_swapped(&["swap", "PLUGIN", "--config", &file], &[]);
    pair.check_swapped(&["--config", &file, "swap", "PLUGIN"], &[]);
    pair.check_swapped(&["rollback", "--config", &file], &[]);
    pair.check_swapped(&["swap", "PLUGIN"], &[("CONFIG", &file)]);
    // Variables win over the file.
    let by_listen = [("ADMIN_LISTEN", meant.as_str()), ("CONFIG", &file_of_other)];
    pair.check_swapped(&["swap", "PLUGIN"], &by_listen);
    let both = [("ADMIN", meant_url.as_str()), ("ADMIN_LISTEN", &other), ("CONFIG", &file)];
    pair.check_swapped(&["swap", "PLUGIN"], &both);
    // Flags win over variables, also over the one that says it more closely.
    let misleading = [("ADMIN", other_url.as_str()), ("ADMIN_LISTEN", &other)];
    let listen = ["swap", "PLUGIN", "--admin-listen", &meant, "--admin-token-file", token];
    pair.check_swapped(&listen, &misleading);
    let before = ["--admin-listen", &meant, "--admin-token-file", token, "swap", "PLUGIN"];
    pair.check_swapped(&before, &misleading);
    let by_admin = ["--admin", &meant_url, "swap", "PLUGIN", "--config", &file];
    pair.check_swapped(&by_admin, &misleading);
    let closest = [&by_admin[..], &["--admin-listen", &other]].concat();
    pair.check_swapped(&closest, &misleading);
    // Of two files the one behind the command's name wins, as of two flags of any other kind.
    let (equals, equals_of_other) =
        (format!("--config={file}"), format!("--config={file_of_other}"));
    for before in [&["--config", &file_of_other][..], &[&equals_of_other]] {
        for behind in [&["--config", &file][..], &[&equals]] {
            let args = [before, &["swap", "PLUGIN"], behind].concat();
            pair.check_swapped(&args, &[("CONFIG", &file_of_other)]);
        }
    }
    let twice = ["swap", "x", "--config", &file, "--config", &file];
    check_refused(&pair.run(&twice, &[]), &["--config", "multiple times"]);
}

#[test]
fn what_the_variable_admin_says_concerns_only_who_needs_it() {
    for value in ["alice", ""] {
        let sandbox = Sandbox::new();
        let mut serving = sandbox.command(&[]);
        serving.env("ADMIN", value);
        let tally = sandbox.start_command(serving);
        tally.signal(Signal::HUP);
        wait_until("the settings are read anew", || {
            sandbox.stderr().contains("the settings are those of before")
        });
        let port = tally.address().port().to_string();
        for args in [&["plugins"][..], &["health", "--port", &port]] {
            let output = sandbox.command(args).env("ADMIN", value).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        }
    }
    let pair = Pair::start();
    let listen = pair.meant.admin().to_string();
    let file = pair.file("meant.toml", &[("admin-listen", listen.clone())]);
    // Where nothing is in it, it was not meant to be set.
    pair.check_swapped(&["swap", "PLUGIN"], &[("ADMIN", ""), ("CONFIG", &file)]);
    let alice = [("ADMIN", "alice"), ("CONFIG", file.as_str())];
    pair.check_swapped(&["swap", "PLUGIN", "--admin-listen", &listen], &alice);
    let how = "http://HOST:PORT or unix:PATH";
    let by_variable = pair.run(&["swap", "x"], &alice);
    check_refused(&by_variable, &["\"alice\" is no value for the environment variable ADMIN", how]);
    for (value, said) in
        [("bob", "\"bob\" is no value for --admin:"), ("", "\"\" is no value for --admin:")]
    {
        check_refused(&pair.run(&["swap", "x", "--admin", value], &alice), &[said, how]);
        check_refused(&pair.run(&["health", "--admin", value], &alice), &[said, how]);
    }
}

#[test]
fn health_asks_the_host_that_the_settings_name() {
    let pair = Pair::start();
    let port = pair.meant.address().port().to_string();
    let admin = format!("http://{}", pair.meant.admin());
    let file = pair.file("meant.toml", &[("port", port.clone()), ("host", "0.0.0.0".into())]);
    let admin_file = pair.file("admin.toml", &[("port", "1".into())]);
    let wrong = [("PORT", "1")];
    let cases: [(&[&str], Variables); 6] = [
        (&["health", "--config", &file], &[]),
        (&["health"], &[("CONFIG", &file)]),
        (&["health", "--port", &port], &wrong),
        (&["--port", &port, "health"], &wrong),
        (&["health", "--admin", &admin, "--config", &admin_file], &wrong),
        (&["health", "--admin-listen", &admin[7..], "--config", &admin_file], &wrong),
    ];
    for (args, variables) in cases {
        let output = pair.run(args, variables);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
    }
    // A variable for other commands does not change where it asks.
    let output = pair.run(&["health", "--port", "1"], &[("ADMIN", &admin)]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("http://127.0.0.1:1"), "{output:?}");
    // Without the token the admin listener does not say how the host is.
    let output = pair.run(&["health", "--admin", &admin], &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn where_the_host_can_not_be_known_a_sentence_says_so() {
    let sandbox = Sandbox::new();
    for (listen, expected) in [
        ("off", &["\"off\"", "can't be asked"][..]),
        ("127.0.0.1:0", &["\"127.0.0.1:0\"", "--admin"]),
        ("nonsense", &["\"nonsense\"", "ADDRESS:PORT"]),
        ("127.0.0.1:port", &["\"127.0.0.1:port\"", "ADDRESS:PORT"]),
        ("unix:", &["unix:"]),
    ] {
        check_refused(&sandbox.run(&["swap", "x", "--admin-listen", listen]), expected);
        check_refused(&sandbox.run(&["health", "--admin-listen", listen]), expected);
    }
}

#[test]
fn a_flag_that_a_command_does_not_use_is_refused_before_and_after_its_name() {
    let sandbox = Sandbox::new();
    for (command, flag, value, expected) in [
        (&["swap", "./x.wasm"][..], "--grant", "x=log", "where the host is started"),
        (&["swap", "x"], "--plugin-config", "x.y=z", "\"plugin-config\" in the host's"),
        (&["swap", "x"], "--log-format", "text", "SIGHUP"),
        (&["swap", "x"], "--port", "1", "--admin, --admin-listen or --config"),
        (&["rollback"], "--workers", "1", "where the host is started"),
        (&["health"], "--grant", "x=log", "--port or --admin"),
        (&["plugins"], "--port", "1", "lists plugins"),
    ] {
        let sentence = format!("tally {} does not take {flag}", command[0]);
        for args in [[command, &[flag, value]].concat(), [&[flag, value], command].concat()] {
            check_refused(&sandbox.run(&args), &[&sentence, expected]);
        }
    }
    check_refused(&sandbox.run(&["--admin", "http://127.0.0.1:1"]), &["--admin-listen"]);
}

#[test]
fn the_help_of_a_command_lists_what_it_uses_and_nothing_else() {
    let sandbox = Sandbox::new();
    let admin = ["admin", "admin-listen", "admin-token-file", "config", "help", "state-dir"];
    let of_swap =
        [&admin[..], &["carry", "force", "leave-counts", "overwrite", "swap-pause-max"]].concat();
    let of_health = [&admin[..], &["host", "port"]].concat();
    for (command, uses) in [("swap", &of_swap), ("rollback", &of_swap), ("health", &of_health)] {
        let output = sandbox.run(&[command, "--help"]);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        // What is said of them is further in.
        let lines = text.lines().filter(|line| !line.starts_with("        "));
        let lines = lines.filter(|line| line.trim_start().starts_with('-'));
        let flags = lines.filter_map(|line| line.split("--").nth(1)?.split(' ').next());
        let mut listed: Vec<&str> = flags.collect();
        listed.sort_unstable();
        let mut uses = uses.to_owned();
        uses.sort_unstable();
        assert_eq!(listed, uses, "{text}");
    }
    let output = sandbox.run(&["plugins", "--help"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("--plugin-dir") && !text.contains("--postgres-db"), "{text}");
}

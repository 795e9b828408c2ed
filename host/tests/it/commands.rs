use crate::support::{Sandbox, bundled, guest, renamed};

#[test]
fn the_help_never_shows_a_password() {
    let sandbox = Sandbox::new();
    let config = sandbox.path().join("tally.toml");
    std::fs::write(&config, "postgres-password = \"open sesame\"").unwrap();
    let mut command = sandbox.command(&["--help", "--config", config.to_str().unwrap()]);
    let output = command.env("POSTGRES_PASSWORD", "open sesame").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("--postgres-password") && !help.contains("sesame"), "{help}");
}

#[test]
fn plugins_lists_what_each_promises_imports_and_was_granted() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(&["plugins"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let atomic = paragraph(&text, "shared-memory-atomic");
    for part in [
        "storage    shared memory",
        "guarantee  exact",
        "imports    tally:shared-memory/cells@1.0.0",
        "granted    shared-memory",
    ] {
        assert!(atomic.contains(part), "no {part:?} in {atomic}");
    }
    assert!(atomic.contains("tally:panic/report@1.0.0"));
    assert_eq!(atomic.matches('@').count(), 2, "it imports nothing else");
    assert!(paragraph(&text, "shared-memory-no-lock").contains("may lose increments"));
    let region = sandbox.path().join("region");
    assert!(!region.exists(), "listing makes no region");
}

#[test]
fn plugins_says_what_less_durability_means() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(&["plugins", "--plugin-config", "disk-flock.durability=none"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(paragraph(&text, "disk-flock").contains("a loss of power is not"), "{text}");
}

#[test]
fn a_plugin_file_is_listed_and_refused_until_it_is_granted_what_it_imports() {
    let sandbox = Sandbox::new();
    std::fs::copy(guest("guest-hostile"), sandbox.path().join("mine.wasm")).unwrap();
    std::fs::write(sandbox.path().join("module.wasm"), b"\0asm\x01\0\0\0").unwrap();
    std::fs::write(sandbox.path().join("empty.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    std::fs::write(sandbox.path().join("text.wasm"), b"(component)").unwrap();
    // What Tally does not offer is told first, since no grant would help.
    let mut foreign = renamed(bundled("shared-memory-flock"), "tally:file-lock", "tally:door-lock");
    foreign = renamed(&foreign, "wasi:clocks", "wasi:stones");
    std::fs::write(sandbox.path().join("foreign.wasm"), foreign).unwrap();
    let list = |grants: &str| {
        let output = sandbox.run(&["plugins", "--plugin-dir", ".", "--grant", grants]);
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let without = list("other.wasm=log");
    for (plugin, reason) in [
        ("mine", "--grant mine.wasm=shared-memory+file-lock+clocks+log"),
        ("module", "core WebAssembly module"),
        ("foreign", "it imports tally:door-lock/locks@1.0.0, wasi:stones/"),
        ("foreign", "which Tally does not offer; and tally:shared-memory/"),
        ("foreign", "--grant foreign.wasm=shared-memory"),
        ("empty", "does not export the interface tally:counter/counter@1.0.0"),
        ("text", "not WebAssembly"),
    ] {
        let listed = paragraph(&without, plugin);
        assert!(listed.contains(reason), "no {reason:?} in {listed}");
    }
    let with = list("mine=shared-memory+file-lock+clocks+log");
    assert!(!paragraph(&with, "mine").contains("refused"), "{with}");
}

#[test]
fn a_plugin_that_could_never_be_called_is_refused_when_it_is_loaded() {
    let sandbox = Sandbox::new();
    // `entries-max` is of the type s32 instead of u32.
    let other = renamed(bundled("shared-memory-atomic"), "entries-maxy", "entries-maxz");
    std::fs::write(sandbox.path().join("other.wasm"), other).unwrap();
    let reason = "its tally:counter/entries@1.0.0 has another list: expected `u32` found `s32`";
    check_listed_and_refused(&sandbox, "other", &["--grant", "other=shared-memory"], reason);
    let greedy = bundled("shared-memory-atomic");
    std::fs::write(sandbox.path().join("greedy.wasm"), greedy).unwrap();
    let args = ["--grant", "greedy=shared-memory", "--plugin-memory-max", "1"];
    let reason = "it asked for 1.1 MiB of memory, more than --plugin-memory-max (1 MiB)";
    check_listed_and_refused(&sandbox, "greedy", &args, reason);
}

/// `tally plugins` shows the reason, and a host does not start with it.
fn check_listed_and_refused(sandbox: &Sandbox, plugin: &str, args: &[&str], reason: &str) {
    let file = format!("{plugin}.wasm");
    let args = [&["--plugin", &file], args].concat();
    let output = sandbox.run(&[&args[..], &["plugins"]].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let listed = paragraph(&text, plugin);
    assert!(listed.contains(reason), "{listed}");
    let output = sandbox.run(&args);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains(reason), "{message}");
}

#[test]
fn help_names_every_setting_with_its_variable() {
    let sandbox = Sandbox::new();
    let output = sandbox.run(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let flags = text.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let names: Vec<&str> = flags.filter_map(|line| line.split([' ', '=']).next()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let variable = match name {
            "otlp-endpoint" => "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
            name => name.to_uppercase().replace('-', "_"),
        };
        assert!(text.contains(&format!("[env: {variable}")), "--{name} has no variable");
    }
}

/// The lines about one plugin.
fn paragraph<'a>(text: &'a str, plugin: &str) -> &'a str {
    let found = text.split("\n\n").find(|part| part.lines().next() == Some(plugin));
    found.unwrap_or_else(|| panic!("no {plugin} in {text}"))
}

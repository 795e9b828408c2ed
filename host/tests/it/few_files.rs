use std::process::Command;

use crate::support::{Connection, Sandbox, ask, load};

/// A host that may have `files` files open.
fn limited(sandbox: &Sandbox, files: u64) -> Command {
    let direct = sandbox.command(&[]);
    let mut command = Command::new("sh");
    let limit = format!("ulimit -n {files} && exec \"$0\"");
    command.args(["-c", &limit]).arg(direct.get_program());
    command.env_clear().current_dir(sandbox.path());
    command.envs(direct.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("WORKERS", "2").env("PLUGIN", "disk-flock");
    command
}

#[test]
fn a_host_that_may_open_too_few_files_does_not_start_and_one_that_may_open_enough_serves_many() {
    // Those of the host, 192 connections to the admin listener, four for each of its three threads, and 64 connections.
    const FILES_MIN: u64 = 256 + 192 + 3 * 4 + 64;
    for files in [64, 257, FILES_MIN - 1] {
        let sandbox = Sandbox::new();
        let output = limited(&sandbox, files).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        let parts = [
            &format!("{files} files open"),
            &format!("at least {FILES_MIN}"),
            "ulimit -n",
            "LimitNOFILE",
        ];
        assert!(
            parts.iter().all(|part| told.contains(*part)) && told.lines().count() == 1,
            "{told}"
        );
    }
    let sandbox = Sandbox::new();
    let tally = sandbox.start_command(limited(&sandbox, FILES_MIN));
    assert!(sandbox.stderr().contains("at most 64 connections"), "{}", sandbox.stderr());
    let open = || Connection::open(tally.address());
    let idle: Vec<_> = (0..32).map(|_| open()).collect();
    let report = load(&tally, 24, 100);
    assert!(report.verdict.right(), "{report}");
    assert_eq!(ask(tally.address(), "POST /inc").status, 200);
    drop(idle);
}

//! Tally, without and with its HTTP server.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tally_host::{config::Cli, plugin::compiler::Compiler};
use tally_loadtest::{Load, PluginTarget, Progress, Report, Start, Stop, Target, WebTarget, run};

/// More than can be made in any of the runs, which end by the clock.
const CALLS_MAX: u64 = 1_000_000;

/// Increments without a server: the load client calls the plugin.
pub fn in_process(plugin: &str, clients: usize, time: Duration) -> Report {
    let cli = Cli::load(&["tally", "--plugin", plugin].map(OsString::from));
    let config = cli.unwrap_or_else(|error| panic!("{error:?}")).config;
    let target =
        PluginTarget::load(&config.plugins, &config.plugin_limits, None, Compiler::InThisProcess)
            .expect("a bundled plugin loads");
    drive(&target, clients, time)
}

/// Increments by requests to the program.
pub fn over_http(plugin: &str, clients: usize, time: Duration) -> Report {
    let server = Server::start(plugin);
    let target = WebTarget::resolve("127.0.0.1", server.port, None).expect("loopback");
    drive(&target, clients, time)
}

/// The rate of a run in which nothing went wrong.
pub fn exact_rate(report: &Report) -> f64 {
    assert!(report.verdict.right(), "{report}");
    assert_eq!(report.failed.total() + report.verdict.unknown, 0, "{report}");
    report.rps
}

fn drive<T: Target>(target: &T, clients: usize, time: Duration) -> Report {
    let load =
        Load { clients, calls_per_client: CALLS_MAX, start: Start::Reset, sole_writer: true };
    let stop = Stop::default();
    thread::scope(|scope| {
        let running = scope.spawn(|| run(target, &load, &Progress::silent(), &stop));
        thread::sleep(time);
        stop.request();
        running.join().expect("the load client does not panic").expect("it answers")
    })
}

/// The program, serving; ended when it is dropped.
pub struct Server {
    process: Child,
    pub port: u16,
}

impl Server {
    pub fn start(plugin: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tally"))
            .args(["--host", "127.0.0.1", "--port", "0", "--plugin", plugin])
            .args(["--log-format", "text"])
            // The tables go to the same terminal.
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("it says where it serves");
        let port =
            line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        Self { process, port: port.expect("it says its port") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

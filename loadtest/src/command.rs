//! The program around a run: arguments in, results and exit status out.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Write, stderr, stdout};
use std::path::Path;
use std::{process, thread};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tally_host::plugin::compiler::Compiler;
use tokio::signal::unix::{SignalKind, signal};

use crate::json::to_json;
use crate::machine::Machine;
use crate::options::{Options, TargetOptions};
use crate::progress::Progress;
use crate::report::{ExitStatus, Report};
use crate::run::{RunError, Stop, run, run_with_swaps};
use crate::target::Target;
use crate::target::plugin::PluginTarget;
use crate::target::web::WebTarget;

/// Exit status after a second interrupt, as a shell reports a program that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Why there is no report.
enum Failure {
    Usage(anyhow::Error),
    Run(RunError),
}

/// Does what the command line says, and returns how the process should end.
pub fn execute(args: impl Iterator<Item = OsString>) -> ExitStatus {
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(err) => {
            let help = !err.use_stderr();
            // Nothing can be done about a closed terminal.
            let _ = err.print();
            return if help { ExitStatus::CountsRight } else { ExitStatus::Usage };
        }
    };
    match measure(&options) {
        Ok(status) => status,
        Err(Failure::Usage(err)) => fail(&format!("{err:#}"), ExitStatus::Usage),
        Err(Failure::Run(err @ RunError::Unreachable(_))) => {
            fail(&err.to_string(), ExitStatus::Unreachable)
        }
        Err(Failure::Run(err @ RunError::Internal(_))) => {
            fail(&err.to_string(), ExitStatus::VerdictFailed)
        }
    }
}

fn measure(options: &Options) -> Result<ExitStatus, Failure> {
    // Opened before the run: a path that cannot be written must not cost the results of an hour. And emptied, because the
    // results of an earlier run must not be taken for those of a run that failed.
    let json = options.json.as_deref().map(create).transpose().map_err(Failure::Usage)?;
    let report = drive(options)?;

    // A reader that has seen enough may have closed the pipe; the exit status is still worth something.
    let _ = write!(stdout(), "{report}");
    if let Some(mut file) = json
        && let Err(err) = write_json(&report, &mut file)
    {
        return Ok(fail(&format!("{err:#}"), ExitStatus::VerdictFailed));
    }
    if report.exit_status() == ExitStatus::Unreachable {
        return Ok(fail("the target cannot be reached any more", ExitStatus::Unreachable));
    }
    Ok(report.exit_status())
}

/// Makes the target that the options name, and runs the load on it.
fn drive(options: &Options) -> Result<Report, Failure> {
    match &options.target {
        TargetOptions::Web { host, port } => {
            raise_open_files_limit();
            let target = WebTarget::resolve(host, *port, options.key.as_deref())
                .map_err(|err| Failure::Run(RunError::Unreachable(err)))?;
            load(&target, options)
        }
        TargetOptions::Plugin(plugin) => {
            let key = options.key.as_deref();
            let target = PluginTarget::load(&plugin.settings, &plugin.limits, key, Compiler::Child)
                .map_err(Failure::Usage)?;
            load(&target, options)
        }
    }
}

fn load<T: Target>(target: &T, options: &Options) -> Result<Report, Failure> {
    let progress = if options.progress { Progress::stderr() } else { Progress::silent() };
    let stop = Stop::default();
    stop_on_signal(stop.clone());
    match &options.swaps {
        None => run(target, &options.load, &progress, &stop),
        Some(swaps) => run_with_swaps(target, &options.load, swaps, &progress, &stop),
    }
    .map_err(Failure::Run)
}

fn create(path: &Path) -> anyhow::Result<File> {
    File::create(path)
        .with_context(|| format!("cannot write the results to `{}` (--json)", path.display()))
}

fn write_json(report: &Report, file: &mut File) -> anyhow::Result<()> {
    let text = to_json(report, Machine::here())?;
    file.write_all(text.as_bytes()).context("cannot write the results as JSON")
}

fn fail(sentence: &str, status: ExitStatus) -> ExitStatus {
    let _ = writeln!(stderr(), "error: {sentence}");
    status
}

/// The first SIGINT or SIGTERM ends the load early, and its results are printed; the second ends the process.
///
/// It is done on a thread of its own, since no other one is sure to be free when the signal comes.
fn stop_on_signal(stop: Stop) {
    let wait = move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut interrupts = signal(SignalKind::interrupt())?;
            let mut terminations = signal(SignalKind::terminate())?;
            loop {
                tokio::select! {
                    _ = interrupts.recv() => {}
                    _ = terminations.recv() => {}
                }
                if stop.requested() {
                    process::exit(EXIT_INTERRUPTED);
                }
                stop.request();
                let _ = writeln!(
                    stderr(),
                    "stopping after the calls under way; interrupt again to quit at once"
                );
            }
        })
    };
    // Without it an interrupt ends the process at once, as it does any other program.
    let _ = thread::Builder::new().name("signals".to_owned()).spawn(wait);
}

/// Each client needs an open file, and the usual soft limit of 1,024 is there only for programs that use `select`.
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    // When it is refused and too low, connecting fails with a message that says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

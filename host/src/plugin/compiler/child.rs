//! The child process: it limits itself, compiles what it reads, writes the result, and ends.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    process::ExitCode,
};

use anyhow::{Context, bail};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit,
};
use wasmtime::Engine;

use crate::plugin::{compiled, engine};

/// The argument by which a program is asked to be the compiler. It is followed by those of [`Limits`].
const ARGUMENT: &str = "--compile-standard-input";

/// Exit status when the component does not compile; the reason was written then.
pub(super) const REFUSED: u8 = 1;

/// What the child may take, and whose it is.
pub(super) struct Limits {
    /// Process id of the parent.
    pub parent: u32,
    /// Memory for data, in bytes.
    pub memory_bytes: u64,
    /// Computing time of all its threads together, in seconds.
    pub cpu_seconds: u64,
}

impl Limits {
    /// The arguments that ask for them.
    pub fn to_args(&self) -> [String; 4] {
        let Self { parent, memory_bytes, cpu_seconds } = self;
        [ARGUMENT.into(), parent.to_string(), memory_bytes.to_string(), cpu_seconds.to_string()]
    }

    /// Those that the arguments behind [`ARGUMENT`] ask for.
    fn from_args(args: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut numbers = args.map_while(|arg| arg.to_str()?.parse().ok());
        let mut next = || numbers.next();
        let (parent, memory_bytes, cpu_seconds) = (next()?, next()?, next()?);
        Some(Self { parent: u32::try_from(parent).ok()?, memory_bytes, cpu_seconds })
    }

    /// Has the kernel keep this process within the limits and kill it when the parent's thread ends.
    fn enforce(&self) -> anyhow::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let parent = Pid::from_raw(self.parent.cast_signed());
        if getppid() != parent {
            bail!("the program that wanted it compiled has ended");
        }
        // Where memory runs short, this process is the one to go. That it can't be said is no reason not to compile.
        let _ = fs::write("/proc/self/oom_score_adj", "1000");
        // What is asked for beyond the private writable memory of a process is refused. The address space (RLIMIT_AS)
        // would be no measure: allocators and threads reserve far more of it than they use.
        limit(Resource::Data, self.memory_bytes, self.memory_bytes)?;
        // The first second beyond it ends the process by a signal that says why.
        limit(Resource::Cpu, self.cpu_seconds, self.cpu_seconds + 1)?;
        // No dump, not even to a program that the kernel would start for it: only 1 keeps it from that, see core(5).
        limit(Resource::Core, 1, 1)?;
        limit(Resource::Fsize, 0, 0)
    }
}

fn limit(resource: Resource, current: u64, maximum: u64) -> anyhow::Result<()> {
    setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
        .with_context(|| format!("can't limit {resource:?} to {current}"))
}

/// Compiles a plugin, if this process was started for nothing else. It is the first thing in the `main` of a program that
/// compiles in [`super::Compiler::Child`].
pub fn compile_if_asked() -> Option<ExitCode> {
    let mut args = env::args_os().skip(1);
    if args.next()? != ARGUMENT {
        return None;
    }
    let (answer, status) = match compile(args) {
        Ok(compiled) => (compiled, ExitCode::SUCCESS),
        Err(error) => (format!("{error:#}").into_bytes(), ExitCode::from(REFUSED)),
    };
    // It fails when the parent has gone, and nobody wants to know.
    let written = io::stdout().write_all(&answer).and_then(|()| io::stdout().flush());
    Some(written.map_or(ExitCode::FAILURE, |()| status))
}

fn compile(args: impl Iterator<Item = OsString>) -> anyhow::Result<Vec<u8>> {
    let limits = Limits::from_args(args).context("this is for the program to ask itself")?;
    limits.enforce()?;
    let mut wasm = Vec::new();
    io::stdin().read_to_end(&mut wasm)?;
    compiled::compile(&Engine::new(&engine::config())?, &wasm)
}

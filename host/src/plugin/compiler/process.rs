//! The parent's side of the child process: starts it, waits for its result, and sees that nothing of it stays.

use std::{
    fs::File,
    io::{self, PipeReader, Read, Seek, Write},
    num::NonZero,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{self, Child, Command, ExitStatus, Stdio},
    thread::available_parallelism,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    io::Errno,
    process::Signal,
};

use super::child::{Limits, REFUSED};
use crate::plugin::limits::PluginLimits;

/// This program, also when its file has been replaced meanwhile.
const PROGRAM: &str = "/proc/self/exe";

/// Most threads that compile one plugin: each of them needs memory.
const THREADS_MAX: usize = 4;

/// Bytes of the result that are read at a time.
const PART_BYTES: usize = 64 * 1024;

/// Most bytes that are told of why something does not compile.
const REASON_BYTES_MAX: usize = 1000;

/// What an allocation that fails makes a program say before it ends.
const OUT_OF_MEMORY: &[u8] = b"memory allocation of ";

/// How the child came to its end.
enum End {
    /// By itself, or by a limit that the kernel keeps.
    Itself(Vec<u8>),
    /// It was killed because its result was larger than all the memory that it may have.
    TooLarge,
    /// It was killed because the time was over.
    TooLate,
}

/// Compiles `wasm` in a child process.
///
/// This waits for the result, no longer than `limits` allow. When it returns there is no child any more.
///
/// # Errors
///
/// Why it does not compile, or which limit it passed and which setting raises that.
pub(super) fn compile(wasm: &[u8], limits: &PluginLimits) -> anyhow::Result<Vec<u8>> {
    let deadline = Instant::now() + limits.compile_time();
    let (result, mut child) = start(wasm, limits).context("can't start the compiler")?;
    let end = read(result, deadline, limits.compile_memory_bytes());
    let status = child.end().context("can't wait for the compiler")?;
    judge(end.context("can't read what the compiler writes")?, status, limits)
}

/// What the child has compiled, or why it has not.
fn judge(end: End, status: ExitStatus, limits: &PluginLimits) -> anyhow::Result<Vec<u8>> {
    let too_late =
        format!("it was not compiled within --compile-time-max ({} ms)", limits.compile_time_max);
    let too_large = format!(
        "compiling it takes more memory than --compile-memory-max ({} MiB)",
        limits.compile_memory_max
    );
    let said = match end {
        End::Itself(said) if status.success() => return Ok(said),
        End::Itself(said) => said,
        End::TooLarge => bail!(too_large),
        End::TooLate => bail!(too_late),
    };
    let is_by = |signal: Signal| status.signal() == Some(signal.as_raw());
    let reason = String::from_utf8_lossy(&said[..said.len().min(REASON_BYTES_MAX)]);
    ensure!(status.code() != Some(REFUSED.into()), "{reason}");
    ensure!(!is_by(Signal::XCPU), too_late);
    ensure!(!is_by(Signal::ABORT) || !said.starts_with(OUT_OF_MEMORY), too_large);
    ensure!(
        !is_by(Signal::KILL),
        "its compiler was killed from outside: the machine may be short of memory"
    );
    bail!("its compiler crashed ({status}): {}", reason.trim().replace('\n', "; "))
}

/// A process that is killed, and taken notice of, at the latest when this is dropped.
struct Running(Child);

impl Running {
    /// Kills it, if it has not ended, and says how it ended.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // It fails only where nothing is left to be killed. A process that is ending ends as it would have.
        let _ = self.0.kill();
        self.0.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It fails when that was done.
        let _ = self.end();
    }
}

/// Starts the child with `wasm` as its standard input, and returns where its output can be read.
fn start(wasm: &[u8], limits: &PluginLimits) -> io::Result<(PipeReader, Running)> {
    // A file instead of a pipe, so that nothing waits for a child that does not read.
    let mut input = File::from(memfd_create("component", MemfdFlags::CLOEXEC)?);
    input.write_all(wasm)?;
    input.rewind()?;
    let (output, written) = io::pipe()?;
    let threads = available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    let cpu_time = limits.compile_time() * u32::try_from(threads).unwrap_or(1);
    let limits = Limits {
        parent: process::id(),
        memory_bytes: limits.compile_memory_bytes(),
        // The deadline comes first, unless this process is stopped and can't keep it.
        cpu_seconds: cpu_time.as_secs() + 1,
    };
    let child = Command::new(PROGRAM)
        .arg0("tally-compiler")
        .args(limits.to_args())
        .env_clear()
        .env("RAYON_NUM_THREADS", threads.to_string())
        .current_dir("/")
        // A terminal's interrupt is for the program that may still need the result.
        .process_group(0)
        .stdin(Stdio::from(input))
        .stderr(Stdio::from(written.try_clone()?))
        .stdout(Stdio::from(written))
        .spawn()?;
    Ok((output, Running(child)))
}

/// Reads until the child has closed its output.
fn read(mut output: PipeReader, deadline: Instant, bytes_max: u64) -> io::Result<End> {
    let mut said = Vec::new();
    let mut part = vec![0; PART_BYTES];
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest == Duration::ZERO {
            return Ok(End::TooLate);
        }
        let wait = Timespec::try_from(rest).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => continue,
            polled => polled?,
        };
        let count = output.read(&mut part)?;
        if count == 0 {
            return Ok(End::Itself(said));
        }
        said.extend_from_slice(&part[..count]);
        if said.len() as u64 > bytes_max {
            return Ok(End::TooLarge);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command as Clap, FromArgMatches};

    use super::*;

    #[test]
    fn however_the_compiler_ends_one_sentence_says_why_and_which_setting_helps() {
        let limits = PluginLimits::augment_args(Clap::new("x"));
        let limits = PluginLimits::from_arg_matches(&limits.get_matches_from(["x"])).unwrap();
        let said = |text: &str| End::Itself(text.into());
        let exited = |code| ExitStatus::from_raw(code << 8);
        let killed = |signal: Signal| ExitStatus::from_raw(signal.as_raw());
        let memory = "--compile-memory-max (1024 MiB)";
        let time = "--compile-time-max (30000 ms)";
        for (end, status, why) in [
            (said("it does not compile: x"), exited(REFUSED.into()), "it does not compile: x"),
            (said("memory allocation of 9 bytes failed\n"), killed(Signal::ABORT), memory),
            (End::TooLarge, killed(Signal::KILL), memory),
            (End::TooLate, killed(Signal::KILL), time),
            (said(""), killed(Signal::XCPU), time),
            (said("x"), killed(Signal::KILL), "from outside"),
            (
                said("\nthread main has overflowed its stack\n"),
                killed(Signal::ABORT),
                "crashed (signal: 6",
            ),
            (
                said("thread panicked:\nx"),
                exited(101),
                "crashed (exit status: 101): thread panicked:; x",
            ),
            (said(&"x".repeat(5000)), killed(Signal::SEGV), "xxx"),
        ] {
            let said = judge(end, status, &limits).unwrap_err().to_string();
            assert!(said.contains(why) && said.len() < 1100, "no {why} in {said}");
            assert!(!said.contains('\n'), "{said}");
        }
        assert_eq!(judge(said("code"), exited(0), &limits).unwrap(), b"code");
    }
}

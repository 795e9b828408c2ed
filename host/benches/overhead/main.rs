//! What plugins cost, against baselines measured in the same run.
//!
//! `cargo bench` prints the tables that stand in the README.

mod calls;
mod http;
#[path = "../shared/statistics.rs"]
mod statistics;

use std::{ffi::OsString, path::Path};

use tally_host::config::{Cli, CliError, Config};

fn main() {
    let scratch = tempfile::tempdir_in("/dev/shm").expect("a directory in shared memory");
    let disk = tempfile::tempdir().expect("a directory on disk");
    let config = config(scratch.path(), disk.path());
    calls::run(&config);
    http::run(&config);
}

/// The default settings, with the storage in scratch directories.
fn config(shared_memory: &Path, disk: &Path) -> Config {
    let args = [
        OsString::from("tally"),
        "--shared-memory-dir".into(),
        shared_memory.into(),
        "--shared-memory-name".into(),
        "region".into(),
        "--storage-path".into(),
        disk.join("count.txt").into(),
    ];
    match Cli::load(&args) {
        Ok(cli) => cli.config,
        Err(CliError::Usage(error)) => panic!("{error}"),
        Err(CliError::Information(text)) => panic!("{text}"),
    }
}

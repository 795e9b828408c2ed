//! The `loadtest` binary: everything it does is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tally_loadtest::command::execute(std::env::args_os()).into()
}

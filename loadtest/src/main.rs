//! The `loadtest` binary: everything it does is in the library, where tests reach it.

use std::process::ExitCode;

use tally_host::plugin::compiler;

fn main() -> ExitCode {
    if let Some(status) = compiler::compile_if_asked() {
        return status;
    }
    tally_loadtest::command::execute(std::env::args_os()).into()
}

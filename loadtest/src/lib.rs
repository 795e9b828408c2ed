//! A load client that proves whether increments were lost.
//!
//! # Layout
//!
//! A run is a straight line through these modules:
//!
//! * [`cli`] → [`options`]: what was typed, and what it means.
//! * [`command`]: the program around a run; it alone prints and chooses the exit status.
//! * [`target`]: what is driven. `target/web` is a counter server over HTTP, `target/plugin.rs` a plugin in this process.
//! * [`run()`]: connects the clients, resets, releases them together, reads back.
//! * [`swaps`]: swaps of the server's plugin while it runs.
//! * [`history`]: every operation with its two times; [`reasons`]: why some failed.
//! * [`checker`]: is the history linearizable? Exact, in O(n log n).
//! * [`latency`], [`verdict`]: what the histories say.
//! * [`report`], [`json`]: the same result for people and for programs.
//!
//! # From another crate's tests
//!
//! ```no_run
//! use tally_loadtest::{Load, Progress, Start, Stop, WebTarget, run};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let target = WebTarget::resolve("localhost", 8080, None)?;
//! let load = Load { clients: 10, calls_per_client: 1_000, start: Start::Reset, sole_writer: true };
//! let report = run(&target, &load, &Progress::silent(), &Stop::default())?;
//! assert!(report.verdict.right(), "{report}");
//! # Ok(())
//! # }
//! ```

pub mod cli;
pub mod options;

pub mod command;

pub mod target;

pub mod run;

pub mod swaps;

pub mod history;
pub mod reasons;

pub mod checker;
pub mod latency;
pub mod verdict;

pub mod json;
pub mod machine;
pub mod progress;
pub mod report;

pub use crate::progress::Progress;
pub use crate::report::{ExitStatus, Report};
pub use crate::run::{Load, RunError, Start, Stop, run, run_with_swaps};
pub use crate::swaps::Swaps;
pub use crate::target::plugin::PluginTarget;
pub use crate::target::web::WebTarget;
pub use crate::target::{Client, Outcome, Target};
pub use crate::verdict::Verdict;

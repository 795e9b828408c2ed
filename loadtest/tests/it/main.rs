//! The load client against servers that play every part a counter can play.
//!
//! * `server`: a hand-written counter server on a port of its own, with faults on demand.
//! * `verdicts`: what a run through the library concludes about each of them.
//! * `connections`: what a client does when its connection goes away.
//! * `swaps`: runs while the server swaps its plugin.
//! * `cli`: the program itself, its exit status and what it prints.
//! * `json`: the file that it writes for programs.

mod cli;
mod connections;
mod json;
mod server;
mod swaps;
mod verdicts;

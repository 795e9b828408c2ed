//! The load client against servers that play every part a counter can play.
//!
//! * `server`: a hand-written counter server on a port of its own, with faults on demand.
//! * `verdicts`: what a run through the library concludes about each of them.
//! * `connections`: what a client does when its connection goes away.
//! * `cli`: the program itself, its exit status and what it prints.

mod cli;
mod connections;
mod server;
mod verdicts;

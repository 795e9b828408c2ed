//! What no plugin should do, for the guests of the tests.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::vec::Vec;
use core::hint::black_box;

/// Does what `key` names, and does not come back; returns if it names nothing of the kind.
pub fn misbehave(key: &str) {
    match key {
        "loop" => loop {
            black_box(());
        },
        "recurse" => {
            recurse(0);
        }
        "grow" => grow(),
        "panic" => panic!("as it was asked to"),
        "panic-at-length" => panic!("{}", "ä\n".repeat(100_000)),
        _ => {}
    }
}

/// Calls itself until the stack ends.
fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX { 0 } else { black_box(recurse(depth + 1)) }
}

/// Asks for memory and never gives it back.
fn grow() {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(black_box(Vec::with_capacity(1 << 20)));
    }
}

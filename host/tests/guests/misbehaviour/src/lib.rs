//! What no plugin should do, for the guests of the tests.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::{vec, vec::Vec};
use core::hint::black_box;

/// Memory that fits into what an instance may have, and nothing beside it.
const LARGE_BYTES: usize = 13 << 20;

/// Calls that fit into the stack.
const DEPTH: u64 = 5_000;

/// Does what `key` names, and does not come back but for `deep` and `near-limit`; returns if it names nothing of the kind.
pub fn misbehave(key: &str) {
    match key {
        "loop" => loop {
            black_box(());
        },
        "recurse" => {
            recurse(0, u64::MAX);
        }
        // Again and again to where the stack almost ends.
        "deep" => {
            for _ in 0..100 {
                recurse(0, DEPTH);
            }
        }
        "grow" => grow(),
        "near-limit" => drop(black_box(vec![1_u8; LARGE_BYTES])),
        "fill" => fill(),
        "panic" => panic!("as it was asked to"),
        "panic-at-length" => panic!("{}", "ä\n".repeat(100_000)),
        _ => {}
    }
}

/// Calls itself until the stack ends, or `depth` is `end`.
fn recurse(depth: u64, end: u64) -> u64 {
    if black_box(depth) == end { 0 } else { black_box(recurse(depth + 1, end)) }
}

/// Asks for memory and never gives it back.
fn grow() {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(black_box(Vec::with_capacity(1 << 20)));
    }
}

/// Writes over all of its memory by single instructions, which nothing interrupts.
fn fill() {
    let mut large = vec![0; LARGE_BYTES];
    let mut byte = 0_u8;
    loop {
        byte = byte.wrapping_add(1);
        black_box(&mut large).fill(byte);
    }
}

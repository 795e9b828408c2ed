//! What `std` would bring to a component: an allocator, a panic handler, the comparison of texts,
//! and the function through which the host places strings in the guest's memory.

#![allow(unsafe_code, reason = "the canonical ABI hands over raw memory")]

use alloc::alloc::{Layout, alloc, realloc};
use core::{
    fmt::{self, Write},
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::bindings::tally::panic::report;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

// Ordering texts calls `memcmp`, which the target has in its C library. The linker takes from a library only what is
// called, so no import comes with it.
#[link(name = "c")]
unsafe extern "C" {}

/// Bytes of a panic's message that the host is told. They lie on the stack: there may be no memory left.
const MESSAGE_BYTES_MAX: usize = 1024;

/// A panic is a trap: the host logs why, drops the instance and answers its caller with an error.
#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    static PANICKING: AtomicBool = AtomicBool::new(false);
    // A message that panics itself is not begun again.
    if !PANICKING.swap(true, Relaxed) {
        let mut message = Message { bytes: [0; MESSAGE_BYTES_MAX], len: 0 };
        let _ = write!(message, "{}", info.message());
        if let Some(location) = info.location() {
            let _ = write!(message, ", at {location}");
        }
        report::panicked(message.text());
    }
    core::arch::wasm32::unreachable()
}

/// A text that is cut where it becomes too long.
struct Message {
    bytes: [u8; MESSAGE_BYTES_MAX],
    len: usize,
}

impl Message {
    fn text(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let text = &text[..text.floor_char_boundary(MESSAGE_BYTES_MAX - self.len)];
        self.bytes[self.len..][..text.len()].copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// The canonical ABI's allocation function, which comes with `std` on this target.
///
/// # Safety
///
/// As for `realloc`: `old` is null or was returned by this function for `old_size` and `align`.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_size: usize,
    align: usize,
    new_size: usize,
) -> *mut u8 {
    // SAFETY: the host passes a power of two as `align` and asks for at least one byte;
    // for `old` it keeps the promise above.
    let new = unsafe {
        if old_size == 0 {
            alloc(Layout::from_size_align_unchecked(new_size, align))
        } else {
            realloc(old, Layout::from_size_align_unchecked(old_size, align), new_size)
        }
    };
    if new.is_null() {
        core::arch::wasm32::unreachable();
    }
    new
}

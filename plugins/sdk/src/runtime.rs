//! What `std` would bring to a component: an allocator, a panic handler, the comparison of texts,
//! and the function through which the host places strings in the guest's memory.

#![allow(unsafe_code, reason = "the canonical ABI hands over raw memory")]

use alloc::alloc::{Layout, alloc, realloc};

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

// Ordering texts calls `memcmp`, which the target has in its C library. The linker takes from a library only what is
// called, so no import comes with it.
#[link(name = "c")]
unsafe extern "C" {}

/// A panic is a trap: the host drops the instance and answers its caller with an error.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    core::arch::wasm32::unreachable()
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

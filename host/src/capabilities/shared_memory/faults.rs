//! What becomes of a mapping whose file another process shortens: an access beyond the file's new end raises SIGBUS,
//! which would end the host.
//!
//! A handler puts memory of this process in the place of the mapping, so that the access can be repeated, and notes that
//! the mapping is lost. Wayland's compositors do the same with the memory that their clients share with them (`sigbus_handler`
//! in <https://gitlab.freedesktop.org/wayland/wayland/-/blob/main/src/wayland-shm.c>), and systemd with its journals
//! (<https://github.com/systemd/systemd/blob/main/src/basic/sigbus.c>). All other faults go to whom they went to before.

#![allow(unsafe_code, reason = "handling a signal and exchanging a mapping can't be done without")]

use std::{
    ffi::{c_int, c_void},
    io, mem, ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicPtr, Ordering},
    },
};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// The most mappings that one process has at a time; each generation of plugins has one or two.
const MAPPINGS_MAX: usize = 256;

/// The mappings, as the handler finds them: without a lock.
static MAPPINGS: [AtomicPtr<Mapping>; MAPPINGS_MAX] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MAPPINGS_MAX];

/// What was done about SIGBUS before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// The address space of a mapped file.
#[derive(Debug)]
struct Mapping {
    start: usize,
    bytes: usize,
    is_lost: AtomicBool,
}

/// A mapping that outlives the shortening of its file. Dropped before the memory is unmapped.
#[derive(Debug)]
pub struct Guarded(&'static Mapping);

impl Guarded {
    /// Guards `bytes` from the address `start` on, which the caller has mapped and does not unmap before this goes.
    ///
    /// # Errors
    ///
    /// When the handler can't be installed, or [`MAPPINGS_MAX`] others are guarded.
    pub fn new(start: usize, bytes: usize) -> io::Result<Self> {
        install()?;
        // Never freed, some 32 bytes for each region that is opened: a handler may be looking at it.
        let mapping =
            Box::leak(Box::new(Mapping { start, bytes, is_lost: AtomicBool::new(false) }));
        let free = MAPPINGS.iter().find(|place| {
            let (none, new) = (ptr::null_mut(), ptr::from_mut(mapping));
            place.compare_exchange(none, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
        });
        match free {
            Some(_) => Ok(Self(mapping)),
            None => Err(io::Error::other(format!(
                "this process has {MAPPINGS_MAX} others mapped, which is the most"
            ))),
        }
    }

    /// Whether the file was shortened, so that what is read is not what is in it, and what is written is lost.
    pub fn is_lost(&self) -> bool {
        self.0.is_lost.load(Ordering::Acquire)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let this = ptr::from_ref(self.0).cast_mut();
        for place in &MAPPINGS {
            // It is in one of them; the others stay as they are.
            let _ =
                place.compare_exchange(this, ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

/// Installs the handler, once for the process.
fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let failed = || Err(io::Error::last_os_error().raw_os_error().unwrap_or_default());
        // SAFETY: all zeros are a valid `sigaction`, and asking for the present one changes nothing.
        let before = unsafe {
            let mut before: libc::sigaction = mem::zeroed();
            if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
                return failed();
            }
            before
        };
        // Before the handler may need it.
        BEFORE.get_or_init(|| before);
        // SAFETY: the handler has the signature that SA_SIGINFO asks for. It only does what a handler may: it reads atomics
        // and makes system calls. It runs on the alternate stack, which Rust's threads have, because that of a suspended
        // call may be small.
        let done = unsafe {
            let mut ours: libc::sigaction = mem::zeroed();
            ours.sa_sigaction = (handle as *const ()).addr();
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut ours.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut())
        };
        if done == 0 { Ok(()) } else { failed() }
    });
    installed.map_err(io::Error::from_raw_os_error)
}

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands over a valid one. Only one of a fault, which has a positive code, has an address.
    let fault = unsafe { (*info).si_code > 0 }.then(|| unsafe { (*info).si_addr() }.addr());
    if !fault.is_some_and(replace_mapping_at) {
        pass_on(signal, info, context);
    }
}

/// Puts zeros in the place of the guarded mapping in which `address` lies; returns whether it could.
fn replace_mapping_at(address: usize) -> bool {
    for place in &MAPPINGS {
        // SAFETY: a mapping in the table is never freed.
        let Some(mapping) = (unsafe { place.load(Ordering::Acquire).as_ref() }) else { continue };
        if !(mapping.start..mapping.start + mapping.bytes).contains(&address) {
            continue;
        }
        mapping.is_lost.store(true, Ordering::Release);
        let (start, access) = (ptr::without_provenance_mut(mapping.start), ProtFlags::READ);
        let kind = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: whoever faulted has the mapping still, so the address space belongs to it and to nothing else, and all
        // access to it is by atomics, for which zeros are as good as what others may write. The system call
        // is made directly, so that `errno` stays as it is.
        return unsafe { mmap_anonymous(start, mapping.bytes, access | ProtFlags::WRITE, kind) }
            .is_ok();
    }
    false
}

/// Does what would be done without this handler.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(before) = BEFORE.get() else { return };
    let handler = before.sa_sigaction;
    // SAFETY: what was installed before has the signature that its flags tell. Where there was none, the signal gets its default
    // action back, and comes again by itself when the access is repeated. One that somebody sent does not, so it is sent again:
    // Rust's own handler would put the default action in the place of ours, and let the process go on without it.
    unsafe {
        if (*info).si_code <= 0 {
            if handler != libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        } else if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
            libc::sigaction(signal, before, ptr::null_mut());
        } else if before.sa_flags & libc::SA_SIGINFO != 0 {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            mem::transmute::<usize, Handler>(handler)(signal, info, context);
        } else {
            mem::transmute::<usize, extern "C" fn(c_int)>(handler)(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set for the process that is to end, to how it is to.
    const END: &str = "TALLY_TEST_END";

    #[test]
    fn a_fault_that_is_not_in_a_guarded_mapping_ends_the_process_as_before() {
        match std::env::var(END).as_deref() {
            Ok("fault") => return fault_outside(),
            Ok(_) => return send_signal(),
            Err(_) => {}
        }
        use std::os::unix::process::ExitStatusExt;
        for end in ["fault", "sent"] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["a_fault_that_is_not_in_a_guarded_mapping", "--nocapture"])
                .env(END, end)
                .output()
                .unwrap();
            assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{end}: {output:?}");
        }
    }

    /// Sends itself the signal of a fault, as anybody of the same user could.
    fn send_signal() {
        let guarded = Guarded::new(usize::MAX - 4096, 4096).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::BUS)
            .unwrap();
        unreachable!("it goes on beside {guarded:?}");
    }

    /// Reads beyond the end of a mapped file that nobody guards.
    fn fault_outside() {
        let guarded = Guarded::new(usize::MAX - 4096, 4096).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let map = memmap2::MmapOptions::new().len(4096).map_raw(&file).unwrap();
        file.set_len(0).unwrap();
        // SAFETY: the address is mapped; that the access faults is what is tested.
        let read = unsafe { ptr::read_volatile(map.as_ptr()) };
        unreachable!("read {read} beside {guarded:?}");
    }
}

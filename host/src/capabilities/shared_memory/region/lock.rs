//! The lock on a region's file.

use std::{
    fs::File,
    io, thread,
    time::{Duration, Instant},
};

use rustix::fs::FlockOperation;

/// The lock, released on drop and when the process dies.
pub struct FileLock<'a>(&'a File);

impl<'a> FileLock<'a> {
    /// Tries for up to `wait`; none when another process held the lock all the while.
    pub fn take(file: &'a File, wait: Duration) -> io::Result<Option<Self>> {
        let deadline = Instant::now() + wait;
        loop {
            match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Self(file))),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::yield_now();
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for FileLock<'_> {
    fn drop(&mut self) {
        // Unlocking an open file that we locked can't fail; closing it would unlock it anyway.
        let _ = rustix::fs::flock(self.0, FlockOperation::Unlock);
    }
}

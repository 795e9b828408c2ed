//! Errors of the operating system, in words that say what to look at.

use rustix::io::Errno;

/// What `errno` means, for people.
pub fn words(errno: Errno) -> String {
    match errno {
        Errno::NOSPC => "the disk is full (ENOSPC)".into(),
        Errno::DQUOT => "the disk quota is used up (EDQUOT)".into(),
        Errno::ROFS => "the file system is read-only (EROFS)".into(),
        Errno::MFILE => "the process has too many open files (EMFILE)".into(),
        Errno::NFILE => "the machine has too many open files (ENFILE)".into(),
        errno => std::io::Error::from(errno).to_string(),
    }
}

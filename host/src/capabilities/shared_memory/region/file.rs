//! A region's file: found and checked, or made so that it appears whole or not at all.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags},
    io::Errno,
};

use crate::{
    capabilities::{os_error::words, ownership},
    regular_file,
};

/// The file at `path`; none where there is nothing.
///
/// # Errors
///
/// When it can't be opened, is no file, or somebody else can change it.
pub fn open(path: &Path) -> io::Result<Option<File>> {
    check_directory(directory(path))?;
    let file = match regular_file::open(path, File::options().read(true).write(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Errno::from_io_error(&error).map_or(error, in_words)),
    };
    let stat = rustix::fs::fstat(&file)?;
    ownership::check(&stat).map_err(io::Error::other)?;
    Ok(Some(file))
}

/// A new file that has no name yet, with memory for `bytes` set aside, so that no later write can run out of it: that
/// would be a SIGBUS. It goes away with the process unless it is given a name.
///
/// # Errors
///
/// When there is no room, or the directory can't be written to.
pub fn make(path: &Path, bytes: u64) -> io::Result<Unnamed> {
    let file = Unnamed::new(path)?;
    rustix::fs::fallocate(&file.file, FallocateFlags::empty(), 0, bytes).map_err(|errno| {
        let why = words(errno);
        io::Error::other(format!(
            "{bytes} bytes can't be set aside for it: {why}; make room, or set --shared-memory-capacity lower or \
             --shared-memory-dir elsewhere"
        ))
    })?;
    Ok(file)
}

/// Sets memory aside for the `bytes` of a file that has as many already, but may have holes: it was copied, for example.
///
/// # Errors
///
/// When there is no room.
pub fn set_aside(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes) {
        // Without holes nothing would have been done.
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(io::Error::other(format!(
            "{bytes} bytes can't be set aside for it: {}; make room, or set --shared-memory-dir elsewhere",
            words(errno)
        ))),
    }
}

/// A file that others do not find yet.
pub struct Unnamed {
    pub file: File,
    /// Where the file system has no files without a name: the one it has until then. Only there does a process that is killed
    /// meanwhile leave it behind.
    temporary: Option<PathBuf>,
}

impl Unnamed {
    fn new(path: &Path) -> io::Result<Self> {
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let this = match rustix::fs::open(directory(path), flags | OFlags::TMPFILE, mode) {
            Ok(file) => Self { file: file.into(), temporary: None },
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let mut random = [0; 8];
                rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
                let mut temporary = path.as_os_str().to_owned();
                temporary.push(format!(".{:x}.new", u64::from_ne_bytes(random)));
                let file =
                    rustix::fs::open(&temporary, flags | OFlags::CREATE | OFlags::EXCL, mode)
                        .map_err(in_words)?;
                Self { file: file.into(), temporary: Some(temporary.into()) }
            }
            Err(errno) => return Err(in_words(errno)),
        };
        // A directory may have an access control list that gives more.
        rustix::fs::fchmod(&this.file, mode)?;
        Ok(this)
    }

    /// Gives the file its name; returns false where there is one of that name.
    ///
    /// # Errors
    ///
    /// When the directory can't be written to.
    pub fn link(&self, path: &Path) -> io::Result<bool> {
        use std::os::fd::AsRawFd;
        let unnamed = || PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        let from = self.temporary.clone().unwrap_or_else(unnamed);
        match rustix::fs::linkat(CWD, &from, CWD, path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(in_words(errno)),
        }
    }
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // One that stays is in nobody's way.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

/// Where a file is.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Refuses a directory in which everybody can replace every file. A group is trusted: many users have one of their own, which
/// may write wherever they may.
fn check_directory(directory: &Path) -> io::Result<()> {
    let mode = Mode::from_raw_mode(rustix::fs::stat(directory)?.st_mode);
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        return Err(io::Error::other(format!(
            "everybody can replace the files in its directory, whose mode is {:04o}: chmod o-w or +t that, or set \
             --shared-memory-dir elsewhere",
            mode.as_raw_mode()
        )));
    }
    Ok(())
}

fn in_words(errno: Errno) -> io::Error {
    io::Error::other(words(errno))
}

//! The granted directory, as much of it as counters need. Tests put files that fail in its place.

use alloc::vec::Vec;

use tally_plugin::wasi::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};

pub use tally_plugin::wasi::filesystem::types::ErrorCode;

/// A directory; all paths are within it.
pub trait Directory {
    type File: File;
    /// Opens a file that exists, to read and write. A link is not followed, so that no path leads to another key's file.
    fn open(&self, path: &str) -> Result<Self::File, ErrorCode>;
    /// Makes a file where there is nothing.
    fn create(&self, path: &str) -> Result<Self::File, ErrorCode>;
    /// Gives a file another name, where there is nothing of that name.
    fn link(&self, from: &str, to: &str) -> Result<(), ErrorCode>;
    /// Renames a file, in the place of what has that name.
    fn rename(&self, from: &str, to: &str) -> Result<(), ErrorCode>;
    /// Takes a name away.
    fn remove(&self, path: &str) -> Result<(), ErrorCode>;
    fn make_folder(&self, path: &str) -> Result<(), ErrorCode>;
    /// Has the names in a folder written to the disk.
    fn flush_folder(&self, path: &str) -> Result<(), ErrorCode>;
}

/// An open file. Fewer bytes may be read or written than asked for.
pub trait File {
    fn read(&self, bytes_max: usize, offset: usize) -> Result<Vec<u8>, ErrorCode>;
    fn write(&self, bytes: &[u8], offset: usize) -> Result<usize, ErrorCode>;
    /// Has the content written to the disk.
    fn flush(&self) -> Result<(), ErrorCode>;
}

impl Directory for Descriptor {
    type File = Descriptor;

    fn open(&self, path: &str) -> Result<Descriptor, ErrorCode> {
        let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
        self.open_at(PathFlags::empty(), path, OpenFlags::empty(), flags)
    }

    fn create(&self, path: &str) -> Result<Descriptor, ErrorCode> {
        let flags = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
        self.open_at(PathFlags::empty(), path, flags, DescriptorFlags::WRITE)
    }

    fn link(&self, from: &str, to: &str) -> Result<(), ErrorCode> {
        self.link_at(PathFlags::empty(), from, self, to)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), ErrorCode> {
        self.rename_at(from, self, to)
    }

    fn remove(&self, path: &str) -> Result<(), ErrorCode> {
        self.unlink_file_at(path)
    }

    fn make_folder(&self, path: &str) -> Result<(), ErrorCode> {
        self.create_directory_at(path)
    }

    fn flush_folder(&self, path: &str) -> Result<(), ErrorCode> {
        let flags = DescriptorFlags::READ;
        self.open_at(PathFlags::empty(), path, OpenFlags::DIRECTORY, flags)?.sync()
    }
}

impl File for Descriptor {
    fn read(&self, bytes_max: usize, offset: usize) -> Result<Vec<u8>, ErrorCode> {
        Ok(Descriptor::read(self, bytes_max as u64, offset as u64)?.0)
    }

    fn write(&self, bytes: &[u8], offset: usize) -> Result<usize, ErrorCode> {
        Ok(Descriptor::write(self, bytes, offset as u64)? as usize)
    }

    fn flush(&self) -> Result<(), ErrorCode> {
        self.sync_data()
    }
}

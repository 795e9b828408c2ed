//! Finding the counter files.

use alloc::{collections::BTreeSet, format, string::String};

use tally_plugin::{
    DEFAULT_KEY, Error, Vec,
    entries::{self, Entry, Page},
    locks::Mode,
    wasi::filesystem::types::{
        DescriptorFlags, DescriptorType, DirectoryEntry, ErrorCode, OpenFlags, PathFlags,
    },
};

use crate::{path, storage::Storage};

/// Entries in one page: each costs three calls of the host, of which a call may make 10,000 by default.
const ENTRIES_PER_PAGE_MAX: u32 = 1_000;

/// Values that are read under the lock at a time: increments wait for no more of them.
const VALUES_PER_LOCK_MAX: usize = 50;

/// The paths of some of the counter files: the first ones after the cursor.
struct Found<'a> {
    after: Option<&'a str>,
    paths_max: usize,
    paths: BTreeSet<String>,
}

impl Found<'_> {
    fn add(&mut self, path: String) {
        if self.after.is_some_and(|after| path.as_str() <= after) {
            return;
        }
        self.paths.insert(path);
        if self.paths_max < self.paths.len() {
            self.paths.pop_last();
        }
    }
}

impl Storage {
    /// The counters in the order of their files' paths; a cursor is the last path of the page before.
    ///
    /// Folders can't be read from the middle, so each page reads the names of all files. Names need no lock: a file of
    /// ours appears whole, and stays.
    pub fn list(&self, cursor: Option<&str>, entries_max: u32) -> Result<Page, entries::Error> {
        if let Some(cursor) = cursor.filter(|path| path::to_key(&self.file, path).is_none()) {
            return Err(entries::Error::of_cursor(cursor));
        }
        let paths_max = entries_max.min(ENTRIES_PER_PAGE_MAX) as usize;
        let mut found = Found { after: cursor, paths_max, paths: BTreeSet::new() };
        found.add(self.file.clone());
        self.find_in(&path::keys_folder(&self.file), &mut found)?;

        let mut entries = Vec::new();
        // Before the lock on the others is taken: another program may hold this one for long.
        if found.paths.contains(&self.file) {
            let _guard = self.hold(DEFAULT_KEY, Mode::Shared)?;
            entries.push(Entry { key: DEFAULT_KEY.into(), value: self.listed(&self.file)? });
        }
        let others: Vec<_> = found.paths.iter().filter(|path| **path != self.file).collect();
        for paths in others.chunks(VALUES_PER_LOCK_MAX) {
            let _guard = self.hold_counters(Mode::Shared)?;
            for path in paths {
                if let Some(key) = path::to_key(&self.file, path) {
                    entries.push(Entry { value: self.listed(path)?, key });
                }
            }
        }
        let is_last = found.paths.len() < paths_max;
        Ok(Page { entries, next: found.paths.pop_last().filter(|_| !is_last) })
    }

    /// The value of a counter whose file was found; 0 if it is gone, or if the default counter has none. The caller holds
    /// its lock.
    fn listed(&self, path: &str) -> Result<i64, Error> {
        Ok(self.files.open(path)?.map_or(0, |file| file.value()))
    }

    fn find_in(&self, folder: &str, found: &mut Found) -> Result<(), Error> {
        let flags = DescriptorFlags::READ;
        let follow = PathFlags::SYMLINK_FOLLOW;
        let files = match self.files.directory.open_at(follow, folder, OpenFlags::DIRECTORY, flags)
        {
            Err(ErrorCode::NoEntry) => return Ok(()),
            opened => opened.and_then(|folder| folder.read_directory()),
        };
        let files = files.map_err(|code| self.files.failed("open", folder, code))?;
        loop {
            match files.read_directory_entry() {
                Ok(Some(DirectoryEntry { type_, name })) => {
                    let path = format!("{folder}/{name}");
                    if type_ != DescriptorType::Directory {
                        if path::to_key(&self.file, &path).is_some() {
                            found.add(path);
                        }
                    } else if path::is_keys_segment(&name) {
                        self.find_in(&path, found)?;
                    }
                }
                Ok(None) => return Ok(()),
                // Not ours: our names are ASCII, and nobody removes a file of ours but for a temporary one.
                Err(ErrorCode::IllegalByteSequence | ErrorCode::NoEntry) => {}
                Err(code) => return Err(self.files.failed("read", folder, code)),
            }
        }
    }
}

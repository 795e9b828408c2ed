//! Capability `files`: the directory that is lent.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use anyhow::Context;

/// A directory that is made, if it is missing, when the first instance needs it, and never again: one that goes away later
/// has taken its files along, and these must not be taken for new ones.
pub struct LazyDirectory {
    path: PathBuf,
    is_found: Mutex<bool>,
}

impl LazyDirectory {
    /// The directory at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path, is_found: Mutex::default() }
    }

    /// Where it is; it exists, or has existed.
    ///
    /// # Errors
    ///
    /// When it is missing and can't be made.
    pub fn get(&self) -> anyhow::Result<&Path> {
        let mut is_found = self.is_found.lock().unwrap_or_else(PoisonError::into_inner);
        if !*is_found {
            make(&self.path).with_context(|| {
                format!("can't make the directory {}; change --storage-path", self.path.display())
            })?;
            *is_found = true;
        }
        Ok(&self.path)
    }
}

/// Makes what is missing on the way to `path` and flushes it, so that no loss of power takes the files in it along.
fn make(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.is_dir();
    let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            // Another host was faster.
            Err(_) if folder.is_dir() => {}
            made => made?,
        }
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_once_with_all_on_the_way_to_it() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let directory = LazyDirectory::new(path.clone());
        assert_eq!(directory.get().unwrap(), path);
        assert!(path.is_dir());
        fs::remove_dir(&path).unwrap();
        assert_eq!(directory.get().unwrap(), path);
        assert!(!path.exists(), "it was made again");
    }

    #[test]
    fn a_directory_that_can_not_be_made_is_named_with_the_setting() {
        let why = format!("{:#}", LazyDirectory::new("/dev/null/a".into()).get().unwrap_err());
        assert!(why.contains("/dev/null/a") && why.contains("--storage-path"), "{why}");
    }
}

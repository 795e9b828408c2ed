//! Watches the plugin directory for files that are new or have other content.
//!
//! The directory is looked at at an interval, which works on every file system. A file is read when it
//! looks changed and has been left alone for a whole interval, so that one that is still being written is
//! not taken; whether it has changed is decided by its content.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{task, time::sleep};

use super::request::{Change, SwapHandle};
use crate::plugin::{catalog, generation::Trigger};

/// Time between two looks.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// What tells by a glance whether a file may have changed: size, inode and time of the last change.
/// The time of the last modification can be set back.
type Glance = (u64, u64, i64, i64);

/// A directory that is watched.
pub struct Watch {
    directory: PathBuf,
    known: Known,
}

impl Watch {
    /// Takes the first look. Whoever reads files after this misses no change of them.
    pub fn begin(directory: PathBuf) -> Self {
        let mut known = Known::default();
        known.changed(glance_at(&directory), Known::ALL);
        Self { directory, known }
    }

    /// Asks for a swap whenever a file has changed since the first look, until nobody makes swaps any more.
    pub async fn go_on(mut self, swaps: SwapHandle) {
        loop {
            sleep(INTERVAL).await;
            let now = glance(self.directory.clone()).await;
            for path in self.known.changed(now, Known::SETTLED) {
                // How it went is in the log.
                let _ = swaps.swap(Change::File(path), false, Trigger::Directory).await;
            }
        }
    }
}

async fn glance(directory: PathBuf) -> HashMap<PathBuf, Glance> {
    task::spawn_blocking(move || glance_at(&directory)).await.unwrap_or_default()
}

fn glance_at(directory: &Path) -> HashMap<PathBuf, Glance> {
    let files = catalog::wasm_files(directory).unwrap_or_default();
    let glances = files.into_iter().filter_map(|path| {
        let file = fs::metadata(&path).ok()?;
        Some((path, (file.len(), file.ino(), file.ctime(), file.ctime_nsec())))
    });
    glances.collect()
}

/// The files as they were seen, and as they were when they were last reported.
#[derive(Default)]
struct Known {
    seen: HashMap<PathBuf, Glance>,
    reported: HashMap<PathBuf, Glance>,
}

impl Known {
    /// Also files that look other than at the last look.
    const ALL: bool = true;
    /// Only files that look as they did at the last look.
    const SETTLED: bool = false;

    /// The files that look other than when they were reported last, or never were.
    fn changed(&mut self, now: HashMap<PathBuf, Glance>, all: bool) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for (path, glance) in &now {
            let settled = all || self.seen.get(path) == Some(glance);
            if settled && self.reported.get(path) != Some(glance) {
                self.reported.insert(path.clone(), *glance);
                changed.push(path.clone());
            }
        }
        // A file that is removed and comes back is new.
        self.reported.retain(|path, _| now.contains_key(path));
        self.seen = now;
        changed.sort();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_reported_once_when_it_has_been_left_alone_for_an_interval() {
        let look = |files: &[(&str, u64)]| {
            files.iter().map(|(path, size)| (PathBuf::from(path), (*size, 1, 1, 1))).collect()
        };
        let mut known = Known::default();
        known.changed(look(&[("old", 1)]), Known::ALL);
        for (now, reported) in [
            (vec![("old", 1)], vec![]),
            (vec![("old", 1), ("new", 1)], vec![]),
            (vec![("old", 1), ("new", 2)], vec![]),
            (vec![("old", 1), ("new", 2)], vec!["new"]),
            (vec![("old", 1), ("new", 2)], vec![]),
            (vec![("old", 2), ("new", 2)], vec![]),
            (vec![("old", 2), ("new", 2)], vec!["old"]),
            (vec![("new", 2)], vec![]),
            (vec![("old", 2), ("new", 2)], vec![]),
            (vec![("old", 2), ("new", 2)], vec!["old"]),
        ] {
            let paths: Vec<_> = reported.iter().map(PathBuf::from).collect();
            assert_eq!(known.changed(look(&now), Known::SETTLED), paths, "{now:?}");
        }
    }

    #[test]
    fn what_changes_between_the_first_look_and_the_next_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let files = ["changed", "new", "old"]
            .map(|name| directory.path().join(name).with_extension("wasm"));
        let [changed, new, old] = &files;
        fs::write(changed, "1").unwrap();
        fs::write(old, "1").unwrap();
        let mut watch = Watch::begin(directory.path().into());
        fs::write(changed, "23").unwrap();
        fs::write(new, "1").unwrap();
        let mut look = || watch.known.changed(glance_at(directory.path()), Known::SETTLED);
        assert_eq!(look(), Vec::<PathBuf>::new());
        assert_eq!(look(), [changed.clone(), new.clone()]);
    }
}

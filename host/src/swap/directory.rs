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
    sync::Arc,
    time::Duration,
};

use tokio::{task, time::sleep};

use super::{
    error::SwapError,
    request::{Change, SwapHandle, Terms},
    status::Status,
};
use crate::plugin::{catalog, generation::Trigger};

/// Time between two looks.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// Longest time until the next look after swaps that could not be made just then, and may have held calls back. Each time
/// it is twice as long as before.
const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// What tells by a glance whether a file may have changed: size, inode and time of the last change.
/// The time of the last modification can be set back.
type Glance = (u64, u64, i64, i64);

/// Asks for a swap whenever a file in the plugin directory has changed, for ever. Which directory that is, is
/// a setting of the generation that serves.
pub async fn watch(status: Arc<Status>, swaps: SwapHandle) {
    let mut known = Known::default();
    let mut interval = INTERVAL;
    loop {
        let mut is_retried = false;
        let directory = status.active().setup.settings().0.plugin_dir.clone();
        if let Some(directory) = &directory {
            let files = glance(directory.clone()).await;
            // All files are new at first: one may have changed since it was read for the start.
            for path in known.changed(files) {
                let change = Change::File(path.clone());
                let swap = swaps.swap_in_turn(change, Terms::default(), Trigger::Directory);
                // How it went is in the log.
                if let Err(SwapError::NotNow(_)) = swap.await {
                    known.forget(&path);
                    is_retried = true;
                }
            }
        }
        interval = interval_after(interval, is_retried);
        sleep(interval).await;
    }
}

fn interval_after(before: Duration, is_retried: bool) -> Duration {
    if is_retried { (before * 2).min(RETRY_INTERVAL_MAX) } else { INTERVAL }
}

async fn glance(directory: PathBuf) -> HashMap<PathBuf, Glance> {
    task::spawn_blocking(move || glance_at(&directory)).await.unwrap_or_default()
}

fn glance_at(directory: &Path) -> HashMap<PathBuf, Glance> {
    let files = catalog::wasm_files(directory).unwrap_or_default();
    let glances = files.into_iter().filter_map(|path| {
        let file = fs::symlink_metadata(&path).ok()?;
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
    /// Has a file reported again at the next look.
    fn forget(&mut self, path: &Path) {
        self.reported.remove(path);
    }

    /// The files that look other than when they were reported last, or never were, and as they did at the last look.
    fn changed(&mut self, now: HashMap<PathBuf, Glance>) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for (path, glance) in &now {
            let settled = self.seen.get(path) == Some(glance);
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
        for (now, reported) in [
            (vec![("old", 1)], vec![]),
            (vec![("old", 1)], vec!["old"]),
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
            assert_eq!(known.changed(look(&now)), paths, "{now:?}");
        }
        known.forget(Path::new("old"));
        assert_eq!(known.changed(look(&[("old", 2), ("new", 2)])), [PathBuf::from("old")]);
    }

    #[test]
    fn swaps_that_can_not_be_made_just_then_are_tried_less_and_less_often() {
        let mut interval = INTERVAL;
        let tried = (0..9).map(|_| {
            interval = interval_after(interval, true);
            interval.as_secs()
        });
        assert_eq!(tried.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(interval_after(interval, false), INTERVAL);
    }
}

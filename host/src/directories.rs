//! Where a program may keep files of its own, by the XDG base directory specification.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The state directory: the one that is `given`, or `$XDG_STATE_HOME/tally`, or `~/.local/state/tally`.
pub fn of_state(given: Option<&Path>) -> Option<PathBuf> {
    given.map(PathBuf::from).or_else(|| of_user("XDG_STATE_HOME", Path::new(".local/state")))
}

/// `tally` in the directory that `variable` names, or in `below_home` of the user's home.
pub fn of_user(variable: &str, below_home: &Path) -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let parent = absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))?;
    Some(parent.join("tally"))
}

//! Where a program may keep files of its own, by the XDG base directory specification.

use std::{
    env,
    path::{Path, PathBuf},
};

/// `tally` in the directory that `variable` names, or in `below_home` of the user's home.
pub fn of_user(variable: &str, below_home: &Path) -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let parent = absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))?;
    Some(parent.join("tally"))
}

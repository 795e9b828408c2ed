//! Who may change the files by which hosts share something.

use rustix::{
    fs::{Mode, Stat},
    process::geteuid,
};

/// Refuses a file that somebody else can change: he could change counts, or keep hosts from excluding each other.
///
/// # Errors
///
/// Why it is not used, and what to do, as the end of a sentence about the file.
pub fn check(file: &Stat) -> Result<(), String> {
    let (owner, ours) = (file.st_uid, geteuid().as_raw());
    if owner != ours {
        return Err(format!(
            "it belongs to user {owner}, and this host runs as user {ours}: remove it if it is not meant to be there, or \
             run the hosts that share it as one user"
        ));
    }
    let mode = Mode::from_raw_mode(file.st_mode);
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        return Err(format!(
            "its mode is {:04o}, so others than its owner can change it: remove it if they may have, or chmod 600 it",
            mode.as_raw_mode()
        ));
    }
    Ok(())
}

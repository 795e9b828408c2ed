//! The token that a host makes for itself at its start, in a file of its state directory that only its user can read.
//!
//! The file is named after the address on which the host listens, and locked for as long as the host lives: what a
//! host that was killed has left behind is no token any more.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

use super::Token;
use crate::{regular_file, whole_file};

/// What to do where there can't be a file for it.
const INSTEAD: &str =
    "set --state-dir to a directory of your own, or --admin-token-file, or --admin-token off";

/// The token of this process; its file is removed when this is dropped.
pub struct MadeToken {
    token: Token,
    path: PathBuf,
    /// By which it is locked.
    _file: File,
}

impl MadeToken {
    /// Makes a token for the host that has bound `address`, and replaces the file of the one before.
    ///
    /// # Errors
    ///
    /// A sentence, when the file can't be written into `state_dir`, or others could write there too.
    pub fn make(state_dir: Option<&Path>, address: SocketAddr) -> anyhow::Result<Self> {
        let why = "the token of the admin listener can't be kept";
        let directory = state_dir
            .with_context(|| format!("{why}, because there is no home directory: {INSTEAD}"))?;
        let shown = directory.display();
        prepare(directory).with_context(|| format!("{why} in {shown} ({INSTEAD})"))?;
        let (token, path) = (Token::random()?, file_of(directory, address));
        let file = write(&path, &token).with_context(|| format!("{why} in {shown} ({INSTEAD})"))?;
        Ok(Self { token, path, _file: file })
    }

    /// What requests must bring.
    pub fn token(&self) -> &Token {
        &self.token
    }
}

impl Drop for MadeToken {
    fn drop(&mut self) {
        // Hosts on other machines, or in other containers, may have the same directory and address.
        if Token::read(&self.path).is_ok_and(|token| token == self.token) {
            // What stays is no token, once the lock has ended.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The token that a living host has made for `address`, or for all addresses of the loopback if that is one of them;
/// none if there is no file for it that this user can read.
///
/// # Errors
///
/// When the file holds something else.
pub fn find(state_dir: &Path, address: SocketAddr) -> anyhow::Result<Option<Token>> {
    let all: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Another address may be that of another machine, which the token is not for.
    let all = address.ip().is_loopback().then(|| SocketAddr::new(all, address.port()));
    for bound in [Some(address), all].into_iter().flatten() {
        let path = file_of(state_dir, bound);
        let file = regular_file::open(&path, OpenOptions::new().read(true)).ok();
        if let Some(file) = file.filter(is_held) {
            return Token::read_from(file, &path).map(Some);
        }
    }
    Ok(None)
}

fn file_of(state_dir: &Path, address: SocketAddr) -> PathBuf {
    state_dir.join(format!("admin-{address}.token"))
}

/// Whether the host that has written the file lives.
fn is_held(file: &File) -> bool {
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Makes the directory, if it is not there, and sees that nobody else can put files into it.
fn prepare(directory: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let found = fs::metadata(directory)?;
    let user = rustix::process::geteuid().as_raw();
    ensure!(found.uid() == user, "it belongs to the user {}, not to {user}", found.uid());
    ensure!(
        found.mode() & 0o022 == 0,
        "other users may write there: chmod go-w {} forbids it",
        directory.display()
    );
    Ok(())
}

/// Puts a locked file in its place in one step, so that nobody reads half of it.
fn write(path: &Path, token: &Token) -> io::Result<File> {
    let temporary = whole_file::temporary(path)?;
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.lock()?;
        writeln!(file, "{}", token.reveal())?;
        fs::rename(&temporary, path)?;
        Ok(file)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_is_found_by_the_addresses_at_which_its_host_answers_and_by_no_other() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/state");
        for (bound, asked, found) in [
            ("127.0.0.1:8081", "127.0.0.1:8081", true),
            ("127.0.0.1:8081", "127.0.0.1:8082", false),
            ("127.0.0.1:8081", "127.0.0.2:8081", false),
            ("127.0.0.1:8081", "[::1]:8081", false),
            ("[::1]:8081", "[::1]:8081", true),
            ("0.0.0.0:8081", "127.0.0.1:8081", true),
            ("0.0.0.0:8081", "127.0.0.2:8081", true),
            ("[::]:8081", "[::1]:8081", true),
            ("10.0.0.5:8081", "10.0.0.5:8081", true),
            // Which may be another machine.
            ("0.0.0.0:8081", "10.0.0.5:8081", false),
            ("[::]:8081", "[fd00::1]:8081", false),
        ] {
            let made = MadeToken::make(Some(&dir), address(bound)).unwrap();
            let token = find(&dir, address(asked)).unwrap();
            assert_eq!(token.is_some(), found, "{bound} {asked}");
            assert!(token.is_none_or(|token| token == *made.token()));
            drop(made);
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "it is removed");
        }
        assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn each_token_is_another_one_and_only_its_user_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let address = address("127.0.0.1:8081");
        let path = file_of(dir.path(), address);
        // What a host that was killed has left, for all to read.
        fs::write(&path, "0123456789abcdef").unwrap();
        assert_eq!(find(dir.path(), address).unwrap(), None);
        let first = MadeToken::make(Some(dir.path()), address).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.trim().len() == 64 && text.trim().bytes().all(|it| it.is_ascii_hexdigit()));
        // As a host in another container would.
        let second = MadeToken::make(Some(dir.path()), address).unwrap();
        assert!(first.token() != second.token());
        drop(first);
        assert_eq!(find(dir.path(), address).unwrap().as_ref(), Some(second.token()));
    }

    #[test]
    fn where_others_can_write_or_nothing_can_be_no_token_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        let make = |directory: Option<&Path>, reason: &str| {
            let refused = MadeToken::make(directory, address("127.0.0.1:8081")).err().unwrap();
            let sentence = format!("{refused:#}");
            for part in [reason, "--state-dir", "--admin-token-file", "--admin-token off"] {
                assert!(sentence.contains(part), "no {part:?} in {sentence}");
            }
        };
        for mode in [0o770, 0o702, 0o777, 0o1777] {
            fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
            make(Some(&open), "chmod go-w");
            assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
        }
        make(None, "no home directory");
        make(Some(Path::new("/dev/null/state")), "/dev/null/state");
        make(Some(Path::new("/proc")), "/proc");
    }
}

//! Remembers across the end of the process in which storage the counts of the last carry are.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::plugin::storage::Storage;

/// How far a carry has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The counts are in the old storage; the new one may hold a part of them.
    Copying,
    /// The counts are in the new storage; the old one may hold copies of them.
    Moved,
    /// The counts are in the new storage, and the old one is empty.
    Cleared,
}

/// The last carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The old storage.
    pub from: String,
    /// The new storage.
    pub to: String,
    /// How far it has come.
    pub state: State,
    /// When it came there, in ms since 1970.
    pub at_unix_ms: u64,
}

impl Record {
    /// Where the counts are.
    pub fn counts_in(&self) -> &str {
        match self.state {
            State::Copying => &self.from,
            State::Moved | State::Cleared => &self.to,
        }
    }
}

/// The file that holds the record of the last carry. It is read whenever it is asked for: another host with
/// the same region may have written it.
pub struct Journal {
    path: Option<PathBuf>,
}

impl Journal {
    /// The journal `{name}.carry.json` in `directory`, which is made when it is first written. Without a
    /// directory nothing can be carried.
    pub fn new(directory: Option<&Path>, name: &str) -> Self {
        Self { path: directory.map(|directory| directory.join(format!("{name}.carry.json"))) }
    }

    /// The last carry.
    ///
    /// # Errors
    ///
    /// When the file can't be read: what it says must not be lost.
    pub fn last(&self) -> anyhow::Result<Option<Record>> {
        let Some(path) = &self.path else { return Ok(None) };
        let content = match fs::read(path) {
            // What can't exist says nothing; it is told when something is to be carried.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            content => content.map_err(|error| error.to_string()),
        };
        let record = content
            .and_then(|json| serde_json::from_slice(&json).map_err(|error| error.to_string()));
        record.map(Some).map_err(|why| {
            anyhow::anyhow!(
                "can't read {}, which says where counts were carried to: {why}; \
                 repair it or move it away",
                path.display()
            )
        })
    }

    /// Says in the log where the counts are, at the start of a host that serves from `storage`.
    ///
    /// # Errors
    ///
    /// As for [`Self::last`].
    pub fn tell(&self, storage: &Storage) -> anyhow::Result<()> {
        let Some(record) = self.last()? else { return Ok(()) };
        let (from, to, counts_in) = (&record.from, &record.to, record.counts_in());
        match record.state {
            State::Copying => tracing::warn!(
                "a carry from {from} to {to} was interrupted: the counts are in {counts_in}"
            ),
            State::Moved => tracing::warn!(
                "a carry from {from} to {to} was interrupted after the counts had moved: they are in {counts_in}"
            ),
            State::Cleared => {
                tracing::info!("the last carry moved the counts from {from} to {to}");
            }
        }
        if counts_in != storage.0 {
            tracing::warn!("this host serves from {storage}, and the counts are in {counts_in}");
        }
        Ok(())
    }

    /// Whether a record could be written.
    ///
    /// # Errors
    ///
    /// Why not, and what to do.
    pub fn check_writable(&self) -> Result<(), String> {
        let path = self.path()?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let probe = path.with_extension("probe");
        fs::create_dir_all(directory)
            .and_then(|()| File::create(&probe))
            .and_then(|_| fs::remove_file(&probe))
            .map_err(|error| self.cant_write(&error))
    }

    /// Remembers how far a carry has come.
    ///
    /// # Errors
    ///
    /// When it can't be written for good. [`Self::last`] says what there is.
    pub fn record(&self, from: &Storage, to: &Storage, state: State) -> Result<(), String> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = Record {
            from: from.0.clone(),
            to: to.0.clone(),
            state,
            at_unix_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
        };
        self.write(&record)
    }

    /// Forgets the last carry, which left nothing behind.
    ///
    /// # Errors
    ///
    /// When the file can't be removed.
    pub fn forget(&self) -> Result<(), String> {
        fs::remove_file(self.path()?).map_err(|error| self.cant_write(&error))
    }

    /// Replaces the file as a whole; when this returns, the record survives the loss of power.
    fn write(&self, record: &Record) -> Result<(), String> {
        let path = self.path()?;
        let write = || -> io::Result<()> {
            let temporary = path.with_extension("tmp");
            let mut file = File::create(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(record)?)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| self.cant_write(&error))
    }

    fn path(&self) -> Result<&Path, String> {
        self.path.as_deref().ok_or_else(|| {
            "there is no directory to remember a carry in: set --state-dir".to_owned()
        })
    }

    fn cant_write(&self, error: &io::Error) -> String {
        let path = self.path.as_deref().unwrap_or(Path::new("")).display();
        format!(
            "can't write {path}, which says where counts were carried to: {error}; set --state-dir"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_says_after_a_restart_where_the_counts_are() {
        let dir = tempfile::tempdir().unwrap();
        let (memory, disk) = (Storage("memory".into()), Storage("disk".into()));
        let open = || Journal::new(Some(dir.path()), "x");
        assert_eq!(open().last().unwrap(), None);
        for (state, counts_in) in
            [(State::Copying, "memory"), (State::Moved, "disk"), (State::Cleared, "disk")]
        {
            open().record(&memory, &disk, state).unwrap();
            let record = open().last().unwrap().unwrap();
            assert_eq!((record.state, record.counts_in()), (state, counts_in));
        }
        open().forget().unwrap();
        assert_eq!(open().last().unwrap(), None);
    }

    #[test]
    fn a_damaged_journal_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.carry.json");
        for damaged in
            ["", "{", "{}", "[]", r#"{"from":"a","to":"b","state":"lost","at_unix_ms":1}"#]
        {
            fs::write(&path, damaged).unwrap();
            let error = Journal::new(Some(dir.path()), "x").last().unwrap_err().to_string();
            assert!(error.contains("x.carry.json") && error.contains("repair"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
    }

    #[test]
    fn without_a_place_for_the_journal_nothing_can_be_carried() {
        let journal = Journal::new(None, "x");
        assert!(journal.check_writable().unwrap_err().contains("--state-dir"));
        let journal = Journal::new(Some(Path::new("/dev/null/x")), "x");
        assert!(journal.check_writable().unwrap_err().contains("/dev/null/x"));
    }
}

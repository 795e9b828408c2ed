//! Remembers across the end of the process who served, in which storage the counts are, and what was left.
//!
//! It is one record in one file, which is replaced as a whole: a host that is killed at any moment finds
//! there either what was before a swap or what was after it.

use std::{
    cell::Cell,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::holdings::Holdings;
use crate::{
    plugin::generation::{Choice, Generation},
    regular_file,
    utc::unix_ms,
    whole_file,
};

/// The longest record that is read, in bytes.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Who serves. The counts are there.
    pub serving: Serving,
    /// The last carry.
    pub carry: Option<Carried>,
    /// The counts that were left last.
    pub left: Option<Left>,
}

/// Who serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// The plugin that counts.
    pub serves: Choice,
    /// What the settings chose meanwhile.
    pub chosen: Choice,
    /// Since when, in ms since 1970.
    pub since_unix_ms: u64,
}

impl Serving {
    /// From now on.
    pub fn from_now(serves: Choice, chosen: Choice) -> Self {
        Self { serves, chosen, since_unix_ms: now_unix_ms() }
    }

    /// This generation.
    pub fn of(generation: &Generation) -> Self {
        let (serves, chosen) = (Choice::of(&generation.plugin), generation.chosen.clone());
        Self { serves, chosen, since_unix_ms: unix_ms(generation.since) }
    }
}

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

/// A carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carried {
    /// The old storage.
    pub from: String,
    /// The new storage.
    pub to: String,
    /// How far it has come.
    pub state: State,
    /// When it came there, in ms since 1970.
    pub at_unix_ms: u64,
}

impl Carried {
    /// Where it has the counts.
    pub fn counts_in(&self) -> &str {
        match self.state {
            State::Copying => &self.from,
            State::Moved | State::Cleared => &self.to,
        }
    }
}

/// Counts that were left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// Where they are.
    pub storage: String,
    /// How many are other than 0, if that is known.
    pub keys: Option<u64>,
    /// Their sum.
    pub total: Option<String>,
    /// Why it is not known.
    pub why_unknown: Option<String>,
    /// When, in ms since 1970.
    pub at_unix_ms: u64,
}

impl Left {
    fn now(holdings: &Holdings) -> Self {
        let counters = holdings.counters.as_ref();
        Self {
            storage: holdings.storage.clone(),
            keys: counters.ok().map(|counters| counters.keys),
            total: counters.ok().map(|counters| counters.total.to_string()),
            why_unknown: counters.err().cloned(),
            at_unix_ms: now_unix_ms(),
        }
    }
}

/// The file that holds the record. It is read whenever it is asked for: it may have been repaired, or written
/// by another host that shares it.
pub struct Journal {
    path: Option<PathBuf>,
    /// Whether the next host finds it again. One whose port is a free one has another name each time.
    pub resumes: bool,
}

impl Journal {
    /// The journal `{name}.journal.json` in `directory`, which is made when it is first written.
    pub fn new(directory: Option<&Path>, name: &str, resumes: bool) -> Self {
        let path = directory.map(|directory| directory.join(format!("{name}.journal.json")));
        Self { path, resumes }
    }

    /// What is remembered.
    ///
    /// # Errors
    ///
    /// When the file can't be read: what it says must not be lost.
    pub fn last(&self) -> anyhow::Result<Option<Record>> {
        let Some(path) = &self.path else { return Ok(None) };
        let content = match regular_file::read(path, RECORD_BYTES_MAX) {
            // What can't exist says nothing; it is told when something is to be remembered.
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
                "can't read {}, which says where the counts are: {why}; repair it or move it away",
                path.display()
            )
        })
    }

    /// Begins to remember that `new` takes the place of `old`. Nothing is written yet.
    ///
    /// # Errors
    ///
    /// As for [`Self::last`].
    pub fn turn(self: &Arc<Self>, old: Serving, new: Serving) -> Result<Turn, String> {
        let before = self.last().map_err(|error| error.to_string())?;
        Ok(Turn { journal: self.clone(), before, old, new, written: Cell::new(false) })
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
            .and_then(|()| whole_file::replace(&probe, b""))
            .and_then(|()| fs::remove_file(&probe))
            .map_err(|error| self.cant_write(&error))
    }

    /// Forgets everything.
    ///
    /// # Errors
    ///
    /// When the file can't be removed.
    pub fn forget(&self) -> Result<(), String> {
        let removed = self.path().map(fs::remove_file)?;
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|error| self.cant_write(&error)),
        }
    }

    /// Replaces the file as a whole; when this returns, the record survives the loss of power.
    fn write(&self, record: &Record) -> Result<(), String> {
        let path = self.path()?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let write = || -> io::Result<()> {
            fs::create_dir_all(directory)?;
            whole_file::replace(path, &serde_json::to_vec_pretty(record)?)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|error| self.cant_write(&error))
    }

    fn path(&self) -> Result<&Path, String> {
        self.path.as_deref().ok_or_else(|| {
            "there is no directory to remember in where the counts are: set --state-dir".to_owned()
        })
    }

    fn cant_write(&self, error: &io::Error) -> String {
        let path = self.path.as_deref().unwrap_or(Path::new("")).display();
        format!("can't write {path}, which says where the counts are: {error}; set --state-dir")
    }
}

/// One change of who serves, as the journal sees it.
pub struct Turn {
    journal: Arc<Journal>,
    before: Option<Record>,
    old: Serving,
    new: Serving,
    written: Cell<bool>,
}

impl Turn {
    /// The carry before, where that was interrupted.
    pub fn interrupted(&self) -> Option<&Carried> {
        let carry = self.before.as_ref()?.carry.as_ref()?;
        (carry.state == State::Copying).then_some(carry)
    }

    /// The counts begin to be copied, and are still where they were.
    ///
    /// # Errors
    ///
    /// When it can't be written for good. [`Journal::last`] says what there is.
    pub fn copying(&self) -> Result<(), String> {
        let before = self.before.as_ref().map(|before| &before.serving);
        let as_before = before.filter(|before| before.serves == self.old.serves);
        let serving = as_before.unwrap_or(&self.old).clone();
        let left = self.before.as_ref().and_then(|before| before.left.clone());
        self.write(&Record { serving, carry: Some(self.carry(State::Copying)), left })
    }

    /// The counts are in the new storage.
    ///
    /// # Errors
    ///
    /// As for [`Self::copying`].
    pub fn moved(&self) -> Result<(), String> {
        self.write(&self.record(Some(self.carry(State::Moved)), None))
    }

    /// They are nowhere else any more.
    ///
    /// # Errors
    ///
    /// As for [`Self::copying`].
    pub fn cleared(&self) -> Result<(), String> {
        self.write(&self.record(Some(self.carry(State::Cleared)), None))
    }

    /// The new plugin serves, or is about to, and these counts were left.
    ///
    /// # Errors
    ///
    /// As for [`Self::copying`].
    pub fn served(&self, left: Option<&Holdings>) -> Result<(), String> {
        let same_storage = self.old.serves.storage == self.new.serves.storage;
        if same_storage && !self.journal.resumes {
            return Ok(());
        }
        let before = self.before.as_ref().and_then(|before| before.carry.clone());
        self.write(&self.record(before.filter(|_| same_storage), left))
    }

    /// The old plugin goes on, as if nothing had been.
    ///
    /// # Errors
    ///
    /// As for [`Self::copying`].
    pub fn undone(&self) -> Result<(), String> {
        match &self.before {
            _ if !self.written.get() => Ok(()),
            Some(before) => self.journal.write(before),
            None => self.journal.forget(),
        }
    }

    /// The new plugin serves. What was left before stays so until it is served again.
    fn record(&self, carry: Option<Carried>, left: Option<&Holdings>) -> Record {
        let left_before = self.before.as_ref().and_then(|before| before.left.clone());
        let left_before = left_before.filter(|left| left.storage != self.new.serves.storage);
        let left = left.map(Left::now).or(left_before);
        Record { serving: self.new.clone(), carry, left }
    }

    fn carry(&self, state: State) -> Carried {
        let (from, to) = (self.old.serves.storage.clone(), self.new.serves.storage.clone());
        Carried { from, to, state, at_unix_ms: now_unix_ms() }
    }

    fn write(&self, record: &Record) -> Result<(), String> {
        self.written.set(true);
        self.journal.write(record)
    }
}

fn now_unix_ms() -> u64 {
    unix_ms(SystemTime::now())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

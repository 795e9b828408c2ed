//! What went wrong, and whether anything was changed.

use std::fmt;

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::bindings::tally::sql::database::{Error, Fault};

/// Where in a transaction a failure struck, which decides what it left behind.
#[derive(Clone, Copy)]
pub enum Phase {
    /// In a statement that commits by itself.
    OwnTransaction,
    /// Before the end of a transaction was asked for: the database rolls it back.
    Open,
    /// While the transaction was being committed.
    Commit,
}

/// Why a statement has no answer.
#[derive(Debug)]
pub enum Failure {
    /// The database reported an error, has undone the statement, and goes on serving this connection.
    Reported(Report),
    /// The connection ended or can't be trusted any more; what became of the statement is not known from it.
    Broken(Report),
    /// The statement was run, but its answer is not one that can be passed on; the rest of it was not read.
    Unreadable(String),
}

/// What is said of a failure.
#[derive(Debug)]
pub struct Report {
    /// The database's code, if it is the database that says it.
    sqlstate: Option<String>,
    message: String,
    /// Whether it is only that the statement was prepared for tables that have changed since.
    outdated: bool,
}

impl Failure {
    /// The connection can't be used, for a reason that the database did not report.
    pub fn broken(message: String) -> Self {
        Self::Broken(Report { sqlstate: None, message, outdated: false })
    }

    /// Whether other connections may be in the same state.
    pub fn is_of_the_way(&self) -> bool {
        matches!(self, Self::Broken(_))
    }

    /// Whether the connection can serve the next statement.
    pub fn leaves_the_connection_usable(&self) -> bool {
        match self {
            Self::Reported(report) => !report.outdated,
            Self::Broken(_) | Self::Unreadable(_) => false,
        }
    }

    /// Whether the statement was not begun because what is prepared on this connection no longer fits, as after a table was
    /// dropped and made again. It has changed nothing, and can be prepared again.
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::Reported(Report { outdated: true, .. }))
    }

    /// What it means for the transaction.
    pub fn in_phase(self, phase: Phase) -> Error {
        let lost = |in_transaction| match phase {
            Phase::Open => in_transaction,
            Phase::OwnTransaction | Phase::Commit => Fault::OutcomeUnknown,
        };
        let (fault, Report { sqlstate, message, .. }) = match self {
            // Somebody changed the table in between; the next attempt prepares its statements anew.
            Self::Reported(report) if report.outdated => (Fault::Conflict, report),
            Self::Reported(report) => {
                (fault_of(report.sqlstate.as_deref().unwrap_or_default()), report)
            }
            Self::Broken(report) => (lost(Fault::Unavailable), report),
            Self::Unreadable(message) => {
                return Error { fault: lost(Fault::Refused), sqlstate: None, message };
            }
        };
        Error { fault, sqlstate, message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Reported(Report { message, .. })
        | Self::Broken(Report { message, .. })
        | Self::Unreadable(message)) = self;
        f.write_str(message)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let Some(reported) = database_error(&error) else {
            return Self::broken(match error {
                sqlx::Error::Io(error) => format!("the connection broke: {error}"),
                error => error.to_string(),
            });
        };
        let report = Report {
            sqlstate: Some(reported.code().to_owned()),
            message: reported.message().to_owned(),
            outdated: is_outdated(reported),
        };
        // After anything worse than an error the database closes the connection, perhaps just after it committed.
        if reported.severity() == PgSeverity::Error && !leaves_the_outcome_open(reported.code()) {
            Self::Reported(report)
        } else {
            Self::Broken(report)
        }
    }
}

/// A statement that was prepared before a table changed, of which PostgreSQL says "cached plan must not change result type",
/// or that a pooler or somebody's DISCARD has forgotten. The first one's code stands for everything that PostgreSQL can't do,
/// so its name in the source tells it apart.
fn is_outdated(reported: &PgDatabaseError) -> bool {
    match reported.code() {
        "0A000" => reported.routine() == Some("RevalidateCachedQuery"),
        code => code == "26000",
    }
}

/// The codes by which a database, or a pooler in front of it, says that it does not know: connections that failed, and
/// statements of which it is unknown whether they were completed.
fn leaves_the_outcome_open(sqlstate: &str) -> bool {
    sqlstate.starts_with("08") || sqlstate == "40003"
}

pub fn is_sqlstate(error: &sqlx::Error, sqlstate: &str) -> bool {
    database_error(error).is_some_and(|error| error.code() == sqlstate)
}

fn database_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

/// The classes and codes of <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn fault_of(sqlstate: &str) -> Fault {
    match (sqlstate.get(..2).unwrap_or_default(), sqlstate) {
        // Serialisation failures and deadlocks.
        ("40", _) => Fault::Conflict,
        // Resources such as memory and disk space, and an operator at work.
        ("53" | "57" | "58", _) => Fault::Unavailable,
        // A lock that was not free in time; a server that only reads, as after a failover.
        (_, "55P03" | "25006") => Fault::Unavailable,
        _ => Fault::Refused,
    }
}

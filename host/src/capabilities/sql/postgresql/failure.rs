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
    /// The database reported an error and goes on serving this connection.
    Reported {
        /// The error's code.
        sqlstate: String,
        /// What the database says.
        message: String,
    },
    /// The connection ended or can't be understood any more; what became of the statement is not known from it.
    Broken {
        /// The code of the error with which the database closed the connection, if it did.
        sqlstate: Option<String>,
        /// What happened.
        message: String,
    },
}

impl Failure {
    pub fn broken(message: impl Into<String>) -> Self {
        Self::Broken { sqlstate: None, message: message.into() }
    }

    pub fn broke_the_connection(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }

    /// Whether the statements that were prepared on this connection are of no more use, as after a change of the
    /// table.
    pub fn outdated_the_connection(&self) -> bool {
        matches!(self, Self::Reported { sqlstate, .. } if ["0A000", "26000"].contains(&sqlstate.as_str()))
    }

    /// What it means for the transaction.
    pub fn in_phase(self, phase: Phase) -> Error {
        match self {
            // What the database reports it has undone.
            Self::Reported { sqlstate, message } => {
                Error { fault: fault_of(&sqlstate), sqlstate: Some(sqlstate), message }
            }
            Self::Broken { sqlstate, message } => {
                let fault = match phase {
                    Phase::Open => Fault::Unavailable,
                    Phase::OwnTransaction | Phase::Commit => Fault::OutcomeUnknown,
                };
                Error { fault, sqlstate, message }
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Reported { message, .. } | Self::Broken { message, .. }) = self;
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
        let (sqlstate, message) = (reported.code().to_owned(), reported.message().to_owned());
        match reported.severity() {
            // After these the database closes the connection. The transaction may have been committed just before.
            PgSeverity::Fatal | PgSeverity::Panic => {
                Self::Broken { sqlstate: Some(sqlstate), message }
            }
            _ => Self::Reported { sqlstate, message },
        }
    }
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
        // Connections, resources such as memory and disk space, and an operator at work.
        ("08" | "53" | "57" | "58", _) => Fault::Unavailable,
        // A lock that was not free in time; a server that only reads, as after a failover.
        (_, "55P03" | "25006") => Fault::Unavailable,
        _ => Fault::Refused,
    }
}

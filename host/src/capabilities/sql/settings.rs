//! Which database is lent, and within which limits.

use std::{fmt, path::PathBuf, time::Duration};

use clap::{
    Args, ValueEnum,
    builder::{
        NonEmptyStringValueParser, OsStringValueParser, StringValueParser, TypedValueParser,
    },
    value_parser,
};

use crate::keys::{self, DEFAULT_KEY};

/// The row that users count in elsewhere, where rows belong to users and the first one has the number 1.
const DEFAULT_ROW: &str = "1";

/// The PostgreSQL database, and the limits on its use.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "PostgreSQL")]
pub struct DatabaseSettings {
    /// Host name or address of PostgreSQL, or the directory of its Unix socket.
    #[arg(long, env, value_name = "HOST", default_value = "localhost", value_parser = NonEmptyStringValueParser::new())]
    pub db_host: String,

    /// Port of PostgreSQL (1 to 65535).
    #[arg(long, env, value_name = "PORT", default_value_t = 5432, value_parser = value_parser!(u16).range(1..))]
    pub db_port: u16,

    /// Database; it is created when it does not exist.
    #[arg(long, env, value_name = "NAME", default_value = "counter_db", value_parser = NonEmptyStringValueParser::new())]
    pub postgres_db: String,

    /// User to log in as.
    #[arg(long, env, value_name = "NAME", default_value = "postgres", value_parser = NonEmptyStringValueParser::new())]
    pub postgres_user: String,

    /// Password of that user [default: postgres]; better set as a variable or in a file, since flags
    /// are visible to other users of the machine.
    #[arg(long, env, value_name = "PASSWORD", default_value = "postgres", hide_default_value = true, hide_env_values = true, value_parser = StringValueParser::new().map(Secret))]
    pub postgres_password: Secret,

    /// Row (user_id) of the default counter in the table user_counter; other counters are in the rows
    /// of their own keys.
    #[arg(long, env, global = true, value_name = "KEY", default_value = DEFAULT_ROW, value_parser = parse_key)]
    pub db_counter_key: String,

    /// Encryption of the connections.
    #[arg(long, env, value_name = "MODE", value_enum, default_value_t = Tls::Prefer)]
    pub db_tls: Tls,

    /// File with certificates (PEM) of authorities that --db-tls verify-full trusts beside the
    /// system's.
    #[arg(long, env, value_name = "FILE", default_value = "", hide_default_value = true, value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub db_tls_root_cert: PathBuf,

    /// Connections to the database that all workers together may open (1 to 10000), spread evenly over them, at
    /// least one each. The control thread may open as many as one worker, beside these; the server must allow them
    /// all (its max_connections).
    #[arg(long, env, value_name = "COUNT", default_value_t = 64, value_parser = value_parser!(u32).range(1..=10_000))]
    pub db_connections_max: u32,

    /// Longest wait for a connection that is free or can be opened, in ms (1 to 60000).
    #[arg(long, env, value_name = "MS", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=60_000))]
    pub db_checkout_wait_max: u32,

    /// Time that one statement may take, its waiting for row locks included, in ms (10 to 600000).
    #[arg(long, env, value_name = "MS", default_value_t = 2_000, value_parser = value_parser!(u32).range(10..=600_000))]
    pub db_statement_time_max: u32,
}

impl DatabaseSettings {
    /// Which database it is, in words; two that hold the default counter in different rows differ.
    pub fn place(&self) -> String {
        let Self {
            postgres_db: database, db_host: host, db_port: port, db_counter_key: row, ..
        } = self;
        let place = format!("the database {database} of PostgreSQL at {host}, port {port}");
        if row == DEFAULT_ROW {
            return place;
        }
        format!("{place}, with the counter {DEFAULT_KEY} in the row {row}")
    }

    /// [`Self::db_checkout_wait_max`] as a duration.
    pub fn checkout_wait(&self) -> Duration {
        Duration::from_millis(self.db_checkout_wait_max.into())
    }

    /// [`Self::db_statement_time_max`] as a duration.
    pub fn statement_time(&self) -> Duration {
        Duration::from_millis(self.db_statement_time_max.into())
    }
}

fn parse_key(key: &str) -> Result<String, String> {
    keys::check(key).map(|()| key.to_owned())
}

/// When connections are encrypted, and what is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// Never
    Disable,
    /// If the server offers it; who the server is is not checked
    Prefer,
    /// Always; who the server is is not checked
    Require,
    /// Always, and the server's certificate must be valid for --db-host
    VerifyFull,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one who is to be convinced.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hidden")
    }
}

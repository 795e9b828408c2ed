//! The backend on PostgreSQL: who is connected, what may be asked, and what a failure means.

mod connector;
mod failure;
mod former_row;
mod health;
mod statement;
mod transaction;

use std::{sync::Arc, time::Duration};

use deadpool::managed::{Pool, QueueMode};
use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};

pub use transaction::Transaction;

use super::{DatabaseSettings, Tls};
use crate::{
    bindings::tally::sql::database::{Answer, Error, Isolation, Value},
    capabilities::log::{Ration, Verdict},
};
use connector::{Checkout, Connector};
use failure::{Failure, Phase};
use health::Health;

/// Prepared statements that one connection keeps; beyond it the one that was used least recently is
/// forgotten.
const PREPARED_STATEMENTS_MAX: usize = 100;

/// Statements that are logged in a second, for each thread.
const LOGGED_PER_SECOND_MAX: u32 = 10;

/// Characters of a statement that are logged.
const LOGGED_CHARS_MAX: usize = 200;

/// A database that can be lent. Nothing is connected until a statement is run.
pub struct Database {
    settings: DatabaseSettings,
    options: PgConnectOptions,
    connections_per_thread: usize,
    health: Arc<Health>,
}

impl Database {
    /// The database of `settings`, for a host that serves with `threads` threads.
    pub fn new(settings: &DatabaseSettings, threads: usize) -> Self {
        let statement_time = settings.db_statement_time_max.to_string();
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&settings.db_host)
            .port(settings.db_port)
            .database(&settings.postgres_db)
            .username(&settings.postgres_user)
            .password(settings.postgres_password.reveal())
            .application_name("tally")
            .ssl_mode(ssl_mode(settings.db_tls))
            .statement_cache_capacity(PREPARED_STATEMENTS_MAX)
            .disable_statement_logging()
            // The server's own bounds hold even when this process is suspended.
            .options([
                ("statement_timeout", &statement_time),
                ("idle_in_transaction_session_timeout", &statement_time),
            ]);
        if !settings.db_tls_root_cert.as_os_str().is_empty() {
            options = options.ssl_root_cert(&settings.db_tls_root_cert);
        }
        let connections_per_thread = (settings.db_connections_max as usize / threads.max(1)).max(1);
        Self { settings: settings.clone(), options, connections_per_thread, health: Arc::default() }
    }

    /// A pool of connections for the calling thread, whose event loop they belong to.
    pub fn connections(&self) -> Connections {
        let connector = Connector::new(&self.settings, &self.options, self.health.clone());
        let pool = Pool::builder(connector)
            .max_size(self.connections_per_thread)
            // So that few connections are idle for long.
            .queue_mode(QueueMode::Lifo)
            .build()
            .expect("a pool without time-outs of its own needs no runtime");
        let made = Arc::new(Ration::new(LOGGED_PER_SECOND_MAX));
        Connections { pool, statement_time_max: self.settings.statement_time(), made }
    }
}

fn ssl_mode(tls: Tls) -> PgSslMode {
    match tls {
        Tls::Disable => PgSslMode::Disable,
        Tls::Prefer => PgSslMode::Prefer,
        Tls::Require => PgSslMode::Require,
        Tls::VerifyFull => PgSslMode::VerifyFull,
    }
}

/// The connections of one thread. Cloning it is cheap and opens none.
#[derive(Clone)]
pub struct Connections {
    pool: Pool<Connector>,
    statement_time_max: Duration,
    /// Lines about what plugins have made.
    made: Arc<Ration>,
}

impl Connections {
    /// Runs one statement in a transaction of its own. One that is outdated has changed nothing, and is prepared again, once.
    ///
    /// # Errors
    ///
    /// Any fault.
    pub async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Answer, Error> {
        statement::check(&statement, &parameters)?;
        let mut checkout = Checkout::new(&self.pool).await?;
        let time_max = self.statement_time_max;
        let mut answer = statement::run(&mut checkout, &statement, &parameters, time_max).await;
        if answer.as_ref().is_err_and(Failure::is_outdated) {
            if let Err(failure) = statement::forget_prepared(&mut checkout, time_max).await {
                return checkout.settle(Err(failure), Phase::Open);
            }
            answer = statement::run(&mut checkout, &statement, &parameters, time_max).await;
        }
        let answer = checkout.settle(answer, Phase::OwnTransaction)?;
        if statement::creates(&statement) && self.made.judge() != Verdict::Drop {
            let statement: String = statement.chars().take(LOGGED_CHARS_MAX).collect();
            tracing::info!("a plugin made something in the database: {statement:?}");
        }
        Ok(answer)
    }

    /// Begins a transaction.
    ///
    /// # Errors
    ///
    /// `unavailable`.
    pub async fn begin(&self, isolation: Isolation) -> Result<Transaction, Error> {
        let checkout = Checkout::new(&self.pool).await?;
        Transaction::begin(checkout, isolation, self.statement_time_max).await
    }

    /// How many there can be.
    #[cfg(test)]
    pub fn max(&self) -> usize {
        self.pool.status().max_size
    }
}

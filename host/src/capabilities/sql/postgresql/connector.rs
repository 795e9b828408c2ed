//! Opens connections, lends them one by one, and closes those that can't be used again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::timeout;

use super::{
    failure::{Failure, Phase, is_sqlstate},
    former_row,
    health::Health,
};
use crate::{
    bindings::tally::sql::database::{Error, Fault},
    capabilities::sql::DatabaseSettings,
};

/// The database that always exists, to create others from.
const MAINTENANCE_DATABASE: &str = "postgres";

/// A connection that was not used for longer than this is asked whether it is still alive: what is sent on a dead one has
/// an unknown outcome. Under load connections are used again sooner, and save the round trip.
const TRUSTED_MAX: Duration = Duration::from_millis(20);

/// How long that may take, after which the next connection is looked at, or a new one opened.
const PING_WAIT_MAX: Duration = Duration::from_millis(250);

/// How long the server may take to create the database, in ms.
const CREATE_DATABASE_TIME_MAX_MS: &str = "60000";

// https://www.postgresql.org/docs/current/errcodes-appendix.html
const INVALID_CATALOG_NAME: &str = "3D000";
const DUPLICATE_DATABASE: &str = "42P04";
const UNIQUE_VIOLATION: &str = "23505";

/// Opens connections and looks after those that are idle.
pub struct Connector {
    settings: DatabaseSettings,
    options: PgConnectOptions,
    health: Arc<Health>,
}

/// An open connection.
pub struct Connected {
    connection: PgConnection,
    used_last: Instant,
    health: Arc<Health>,
}

impl Connector {
    pub fn new(
        settings: &DatabaseSettings,
        options: &PgConnectOptions,
        health: Arc<Health>,
    ) -> Self {
        Self { settings: settings.clone(), options: options.clone(), health }
    }

    /// Opens a connection, for which the database is created if there is none.
    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        match self.options.connect().await {
            Err(error) if is_sqlstate(&error, INVALID_CATALOG_NAME) => {}
            outcome => return outcome,
        }
        // One at a time: callers come and go while the server still creates what the first one asked for.
        let _creating = self.health.creating.lock().await;
        match self.options.connect().await {
            Err(error) if is_sqlstate(&error, INVALID_CATALOG_NAME) => {
                self.create_database().await?;
                self.options.connect().await
            }
            outcome => outcome,
        }
    }

    async fn create_database(&self) -> Result<(), sqlx::Error> {
        let name = self.options.get_database().unwrap_or_default();
        let maintenance = self.options.clone().database(MAINTENANCE_DATABASE);
        // It takes longer than a statement on a counter should.
        let mut maintenance = maintenance
            .options([("statement_timeout", CREATE_DATABASE_TIME_MAX_MS)])
            .connect()
            .await?;
        let statement = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        let created = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut maintenance).await;
        // Whether the server hears of it does not matter.
        let _ = maintenance.close().await;
        match created {
            // Another host was faster.
            Err(error)
                if is_sqlstate(&error, DUPLICATE_DATABASE)
                    || is_sqlstate(&error, UNIQUE_VIOLATION) =>
            {
                Ok(())
            }
            created => created.map(|_| tracing::info!("created the database \"{name}\"")),
        }
    }

    fn unavailable(&self, why: &str) -> Error {
        Error {
            fault: Fault::Unavailable,
            sqlstate: None,
            message: format!("can't reach {}: {why}", self.settings.place()),
        }
    }
}

impl Manager for Connector {
    type Type = Connected;
    /// Why there is no connection.
    type Error = String;

    async fn create(&self) -> Result<Connected, String> {
        if let Some(why) = self.health.still_refused() {
            return Err(why);
        }
        match self.connect().await {
            Ok(mut connection) => {
                self.health.accepted();
                let mut told = self.health.former_row_told.lock().await;
                if !*told {
                    former_row::tell(&mut connection, &self.settings).await;
                    *told = true;
                }
                drop(told);
                let health = self.health.clone();
                Ok(Connected { connection, used_last: Instant::now(), health })
            }
            Err(error) => {
                let why = match error {
                    sqlx::Error::Io(error) => error.to_string(),
                    error => Failure::from(error).to_string(),
                };
                self.health.refused(&why);
                Err(why)
            }
        }
    }

    /// Makes sure that an idle connection is alive, where there is reason to doubt it.
    async fn recycle(&self, idle: &mut Connected, _: &Metrics) -> RecycleResult<String> {
        let doubtful =
            TRUSTED_MAX < idle.used_last.elapsed() || self.health.broke_since(idle.used_last);
        if doubtful {
            let alive = timeout(PING_WAIT_MAX, idle.connection.ping()).await;
            alive
                .map_err(|_| RecycleError::message("no answer"))?
                .map_err(|error| RecycleError::Backend(error.to_string()))?;
        }
        Ok(())
    }
}

/// A connection in use. It becomes idle when it is [released](Self::release), and is closed when it is dropped before:
/// nobody else may find it in the middle of something.
pub struct Checkout(Option<Object<Connector>>);

impl Checkout {
    /// Takes an idle connection or opens one, waiting for no longer than the settings allow.
    pub async fn new(pool: &Pool<Connector>) -> Result<Self, Error> {
        let connector = pool.manager();
        let wait_max = connector.settings.checkout_wait();
        match timeout(wait_max, pool.get()).await {
            Ok(Ok(object)) => Ok(Self(Some(object))),
            Ok(Err(PoolError::Backend(why))) => Err(connector.unavailable(&why)),
            Ok(Err(error)) => Err(connector.unavailable(&error.to_string())),
            Err(_) => {
                let waited = wait_max.as_millis();
                Err(connector.unavailable(&format!(
                    "no connection was free or could be opened within {waited} ms (--db-checkout-wait-max)"
                )))
            }
        }
    }

    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connected().connection
    }

    /// Passes on how the last statement on this connection went, and makes the connection idle if it can still be
    /// used.
    pub fn settle<T>(mut self, outcome: Result<T, Failure>, phase: Phase) -> Result<T, Error> {
        let outcome = outcome.map_err(|failure| self.judge(failure, phase));
        self.release();
        outcome
    }

    /// Makes the connection idle, unless it was closed.
    pub fn release(mut self) {
        if let Some(mut object) = self.0.take() {
            object.used_last = Instant::now();
        }
    }

    /// What a failure means; a broken connection is closed.
    pub fn judge(&mut self, failure: Failure, phase: Phase) -> Error {
        if failure.is_of_the_way() {
            self.connected().health.broke();
        }
        if !failure.leaves_the_connection_usable() {
            self.close();
        }
        failure.in_phase(phase)
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_none()
    }

    fn connected(&mut self) -> &mut Connected {
        self.0.as_mut().expect("a connection in use was not closed")
    }

    /// Closes the connection. The server rolls back what is open on it.
    fn close(&mut self) {
        self.0.take().map(Object::take);
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        self.close();
    }
}

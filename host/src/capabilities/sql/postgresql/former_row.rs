//! The row in which Tally kept the default counter before it had a setting for that.

use sqlx::{Connection, PgConnection};

use crate::{capabilities::sql::DatabaseSettings, keys::DEFAULT_KEY};

/// Only a table with texts can have it, and a statement that does not fit the table would be an error in the server's log.
const IS_POSSIBLE: &str = "SELECT EXISTS (SELECT 1 FROM pg_attribute \
     WHERE attrelid = to_regclass('user_counter') AND attname = 'user_id' AND atttypid IN ('text'::regtype, 'varchar'::regtype))";
const READ: &str = "SELECT counter::bigint FROM user_counter WHERE user_id = $1 AND counter <> 0";

/// Says in the log if the row `count` holds a count though no counter is in it, so that nobody misses it.
pub async fn tell(connection: &mut PgConnection, settings: &DatabaseSettings) {
    let row = &settings.db_counter_key;
    if row == DEFAULT_KEY {
        return;
    }
    match read(connection).await {
        Ok(Some(count)) => tracing::warn!(
            "the row {DEFAULT_KEY} of the table user_counter in {} holds {count}, and no counter is in it: the counter \
             {DEFAULT_KEY} is in the row {row} (--db-counter-key); set --db-counter-key {DEFAULT_KEY} to go on with that \
             count, or delete that row",
            settings.place()
        ),
        Ok(None) => {}
        Err(error) => tracing::debug!("whether there is a row {DEFAULT_KEY} is not known: {error}"),
    }
}

async fn read(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    if !sqlx::query_scalar(IS_POSSIBLE).fetch_one(&mut *connection).await? {
        return Ok(None);
    }
    let count = sqlx::query_scalar(READ).bind(DEFAULT_KEY).fetch_optional(&mut *connection).await;
    // A plugin's statements find the connection as if it were new.
    connection.clear_cached_statements().await?;
    count
}

//! One statement on one connection: parameters in, rows out, within limits.

use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::{
    Arguments, AssertSqlSafe, Column, Connection, Either, Executor, Row, TypeInfo, ValueRef,
    postgres::{PgArguments, PgRow, PgValueRef},
};
use tokio::time::timeout;

use super::{connector::Checkout, failure::Failure};
use crate::bindings::tally::sql::database::{Answer, Error, Fault, Value};

/// Bytes of one statement.
const STATEMENT_BYTES_MAX: usize = 16 * 1024;
/// Parameters of one statement.
const PARAMETERS_MAX: usize = 100;
/// Rows of one answer.
const ROWS_MAX: usize = 1000;
/// Bytes of one text, in a parameter or in a row.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all values of one answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How much longer than the server this process waits for the server's answer that the time is up.
const TIME_UP_WAIT: Duration = Duration::from_secs(1);

/// First words of statements that begin or end transactions, which is for the host to do (CALL and DO can commit, too), or
/// that change what the connection is for whoever uses it next. <https://www.postgresql.org/docs/current/sql-commands.html>
const RESERVED_WORDS: [&str; 20] = [
    "ABORT",
    "BEGIN",
    "CALL",
    "COMMIT",
    "COPY",
    "DEALLOCATE",
    "DECLARE",
    "DISCARD",
    "DO",
    "END",
    "LISTEN",
    "LOAD",
    "PREPARE",
    "RELEASE",
    "RESET",
    "ROLLBACK",
    "SAVEPOINT",
    "SET",
    "START",
    "UNLISTEN",
];

/// Refuses what is too large, and what is the host's business, before anything is sent.
pub fn check(statement: &str, parameters: &[Value]) -> Result<(), Error> {
    let refused = |message: String| Err(Error { fault: Fault::Refused, sqlstate: None, message });
    if STATEMENT_BYTES_MAX < statement.len() {
        return refused(format!("a statement has at most {STATEMENT_BYTES_MAX} bytes"));
    }
    match first_word(statement) {
        "" => return refused("a statement begins with its first word".into()),
        word if RESERVED_WORDS.iter().any(|reserved| reserved.eq_ignore_ascii_case(word)) => {
            return refused(format!(
                "a plugin can't run {word}: transactions and connections are the host's"
            ));
        }
        _ => {}
    }
    if PARAMETERS_MAX < parameters.len() {
        return refused(format!("a statement has at most {PARAMETERS_MAX} parameters"));
    }
    let text_bytes = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
    if parameters.iter().any(|value| TEXT_BYTES_MAX < text_bytes(value)) {
        return refused(format!("a text has at most {TEXT_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Whether it makes a table or the like. After that counters may begin at 0.
pub fn creates(statement: &str) -> bool {
    first_word(statement).eq_ignore_ascii_case("CREATE")
}

/// The letters at the beginning; none where anything else stands there, such as a comment.
fn first_word(statement: &str) -> &str {
    let statement = statement.trim_ascii_start();
    let end = statement.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(statement.len());
    &statement[..end]
}

/// Runs a statement that was [checked](check), to the very end of its answer: a statement that commits by itself is
/// committed only after its rows and its completion were sent.
pub async fn run(
    checkout: &mut Checkout,
    statement: &str,
    parameters: &[Value],
    time_max: Duration,
) -> Result<Answer, Failure> {
    let statement = with_signature(statement, parameters);
    let query = sqlx::query_with(AssertSqlSafe(statement), arguments(parameters)?);
    within(time_max, async {
        let mut parts = checkout.connection().fetch_many(query);
        let (mut answer, mut bytes) = (Answer { rows: Vec::new(), affected: 0 }, 0);
        while let Some(part) = parts.try_next().await? {
            match part {
                Either::Left(completed) => answer.affected += completed.rows_affected(),
                Either::Right(row) => {
                    bytes += row_bytes(&row)?;
                    if ROWS_MAX <= answer.rows.len() || ANSWER_BYTES_MAX < bytes {
                        return Err(Failure::Unreadable(format!(
                            "the answer has more than {ROWS_MAX} rows or {ANSWER_BYTES_MAX} bytes"
                        )));
                    }
                    answer.rows.push(values(&row)?);
                }
            }
        }
        Ok(answer)
    })
    .await
}

/// Runs one of the statements that begin and end transactions.
pub async fn control(
    checkout: &mut Checkout,
    statement: &'static str,
    time_max: Duration,
) -> Result<(), Failure> {
    within(time_max, async {
        sqlx::raw_sql(statement).execute(checkout.connection()).await?;
        Ok(())
    })
    .await
}

/// Forgets what is prepared on the connection, so that it is prepared anew when it is run next.
pub async fn forget_prepared(checkout: &mut Checkout, time_max: Duration) -> Result<(), Failure> {
    within(time_max, async { Ok(checkout.connection().clear_cached_statements().await?) }).await
}

/// The server enforces the same limit and says so, unless it is out of reach.
async fn within<T>(
    time_max: Duration,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let wait = time_max + TIME_UP_WAIT;
    timeout(wait, step).await.unwrap_or_else(|_| {
        let waited = time_max.as_millis();
        Err(Failure::broken(format!(
            "the database did not answer within {waited} ms (--db-statement-time-max)"
        )))
    })
}

/// The statement with a comment that tells its parameters' types. sqlx finds prepared statements by their text alone, and
/// would send the bytes of one type as those of another.
fn with_signature(statement: &str, parameters: &[Value]) -> String {
    let mut statement = format!("{statement}\n--");
    statement.extend(parameters.iter().map(|parameter| match parameter {
        Value::Boolean(_) => 'b',
        Value::Integer(_) => 'i',
        Value::Real(_) => 'r',
        Value::Text(_) | Value::Null => 't',
    }));
    statement
}

fn arguments(parameters: &[Value]) -> Result<PgArguments, Failure> {
    let mut arguments = PgArguments::default();
    for parameter in parameters {
        match parameter {
            Value::Null => arguments.add(None::<String>),
            Value::Boolean(value) => arguments.add(value),
            Value::Integer(value) => arguments.add(value),
            Value::Real(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value.as_str()),
        }
        .map_err(|error| Failure::broken(format!("a parameter can't be encoded: {error}")))?;
    }
    Ok(arguments)
}

/// How much memory a row takes, its empty values too.
fn row_bytes(row: &PgRow) -> Result<usize, Failure> {
    let value_bytes = |column| {
        let value = row.try_get_raw(column)?;
        let contents = if value.is_null() { 0 } else { value.as_bytes().map_or(0, <[u8]>::len) };
        Ok(contents + size_of::<Value>())
    };
    (0..row.len()).map(value_bytes).sum()
}

fn values(row: &PgRow) -> Result<Vec<Value>, Failure> {
    (0..row.len()).map(|column| value(row, column)).collect()
}

fn value(row: &PgRow, column: usize) -> Result<Value, Failure> {
    let raw: PgValueRef<'_> = row.try_get_raw(column)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    Ok(match row.column(column).type_info().name() {
        "BOOL" => Value::Boolean(row.try_get(column)?),
        "INT2" => Value::Integer(row.try_get::<i16, _>(column)?.into()),
        "INT4" => Value::Integer(row.try_get::<i32, _>(column)?.into()),
        "INT8" => Value::Integer(row.try_get(column)?),
        "FLOAT4" => Value::Real(row.try_get::<f32, _>(column)?.into()),
        "FLOAT8" => Value::Real(row.try_get(column)?),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" => Value::Text(text(row.try_get(column)?)?),
        other => {
            return Err(Failure::Unreadable(format!(
                "column {} has the type {other}, which is not among the values of tally:sql: cast it",
                column + 1
            )));
        }
    })
}

fn text(text: String) -> Result<String, Failure> {
    if TEXT_BYTES_MAX < text.len() {
        return Err(Failure::Unreadable(format!(
            "a text in the answer has more than {TEXT_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}

//! Adds to a row in a transaction, and then does what no plugin should, depending on the key.
//!
//! Needs the grants `sql`, `clocks` and `config`.

#![cfg_attr(target_arch = "wasm32", no_std)]

use core::mem;

use tally_plugin::{
    Counter, Error, String, Vec,
    database::{Isolation, Transaction, Value, execute},
    export, user_counter,
    wasi::clocks::monotonic_clock,
};

const ADD: &str = "UPDATE user_counter SET counter = counter + $1 WHERE user_id = 'row'";

struct HostileSql;

impl Counter for HostileSql {
    fn increment(key: String, delta: i64) -> Result<i64, Error> {
        user_counter::read("row")?;
        let transaction = Transaction::begin(Isolation::ReadCommitted)?;
        let answer = transaction.execute(ADD, &[Value::Integer(delta)])?;
        match key.as_str() {
            "leave-open" => {
                mem::forget(transaction);
                return Ok(1);
            }
            "panic" => panic!(),
            // Ends when the host cuts the call off.
            "sleep" => loop {
                monotonic_clock::subscribe_duration(3_600_000_000_000).block();
            },
            "huge-parameter" => {
                let huge = String::from_utf8(Vec::from([b'x'; 1024]).repeat(10 * 1024));
                let parameter = Value::Text(huge.unwrap_or_default());
                transaction.execute("SELECT $1", &[parameter])?;
            }
            // Within what a call may hand over, but not within what a parameter may have.
            "large-parameter" => {
                let parameter = Value::Text("x".repeat(100 * 1024));
                transaction.execute("SELECT $1", &[parameter])?;
            }
            "second-transaction" => {
                Transaction::begin(Isolation::ReadCommitted)?;
            }
            "second-connection" => {
                execute("SELECT 1", &[])?;
            }
            _ => {}
        }
        Transaction::commit(transaction)?;
        Ok(answer.affected as i64)
    }

    fn get(key: String) -> Result<i64, Error> {
        user_counter::read(&key)
    }

    fn reset(key: String) -> Result<(), Error> {
        user_counter::reset(&key)
    }
}

export!(HostileSql);

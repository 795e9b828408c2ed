//! The interface `tally:sql/database` on PostgreSQL.

use wasmtime::component::Resource;

use super::{SqlCtxView, Transaction};
use crate::bindings::tally::sql::database::{
    self, Error, Fault, Host, HostTransaction, Isolation, Value,
};

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for SqlCtxView<'_> {
    async fn execute(
        &mut self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<database::Answer> {
        if self.ctx.in_transaction {
            return Ok(Err(second_connection()));
        }
        Ok(self.ctx.connections.execute(statement, parameters).await)
    }
}

impl HostTransaction for SqlCtxView<'_> {
    async fn begin(&mut self, isolation: Isolation) -> Answer<Resource<Transaction>> {
        if self.ctx.in_transaction {
            return Ok(Err(second_connection()));
        }
        match self.ctx.connections.begin(isolation).await {
            Ok(transaction) => {
                let transaction = self.table.push(transaction)?;
                self.ctx.in_transaction = true;
                Ok(Ok(transaction))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    async fn execute(
        &mut self,
        transaction: Resource<Transaction>,
        statement: String,
        parameters: Vec<Value>,
    ) -> Answer<database::Answer> {
        Ok(self.table.get_mut(&transaction)?.execute(statement, parameters).await)
    }

    async fn commit(&mut self, transaction: Resource<Transaction>) -> Answer<()> {
        let transaction = self.table.delete(transaction)?;
        self.ctx.in_transaction = false;
        Ok(transaction.commit().await)
    }

    async fn drop(&mut self, transaction: Resource<Transaction>) -> wasmtime::Result<()> {
        let transaction = self.table.delete(transaction)?;
        self.ctx.in_transaction = false;
        transaction.roll_back().await;
        Ok(())
    }
}

/// With two connections for each call, calls could wait for each other's second one for ever.
fn second_connection() -> Error {
    Error {
        fault: Fault::Refused,
        sqlstate: None,
        message: "a transaction of this instance is open: run the statement in it, or end it first"
            .into(),
    }
}

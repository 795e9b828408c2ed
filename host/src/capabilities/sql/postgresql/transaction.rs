//! Transactions of several statements.

use std::time::Duration;

use super::{
    connector::Checkout,
    failure::{Failure, Phase},
    statement,
};
use crate::bindings::tally::sql::database::{Answer, Error, Fault, Isolation, Value};

/// An open transaction. Dropping it closes its connection, which makes the database roll it back;
/// [`Self::roll_back`] does that without giving up the connection.
pub struct Transaction {
    checkout: Checkout,
    isolation: Isolation,
    statement_time_max: Duration,
    /// Whether a statement has been answered.
    begun: bool,
    /// Whether a statement failed, after which PostgreSQL answers COMMIT with success but rolls back.
    failed: bool,
}

impl Transaction {
    pub(super) async fn begin(
        checkout: Checkout,
        isolation: Isolation,
        statement_time_max: Duration,
    ) -> Result<Self, Error> {
        let checkout = control(checkout, begin(isolation), statement_time_max, Phase::Open).await?;
        Ok(Self { checkout, isolation, statement_time_max, begun: false, failed: false })
    }

    /// Runs one statement. Where the first one is outdated, the transaction is begun again, once: nobody has seen anything
    /// of it yet.
    ///
    /// # Errors
    ///
    /// `conflict`, `unavailable` and `refused`. The transaction can then only be rolled back.
    pub async fn execute(
        &mut self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<Answer, Error> {
        if self.failed {
            return Err(failed_before());
        }
        // Set for as long as the outcome is open, so that a call that is cut off counts as failed.
        self.failed = true;
        statement::check(&statement, &parameters)?;
        let time_max = self.statement_time_max;
        let mut answer =
            statement::run(&mut self.checkout, &statement, &parameters, time_max).await;
        if !self.begun && answer.as_ref().is_err_and(Failure::is_outdated) {
            answer = match self.begin_again().await {
                Ok(()) => {
                    statement::run(&mut self.checkout, &statement, &parameters, time_max).await
                }
                Err(failure) => Err(failure),
            };
        }
        let answer = answer.map_err(|failure| self.checkout.judge(failure, Phase::Open))?;
        (self.begun, self.failed) = (true, false);
        Ok(answer)
    }

    async fn begin_again(&mut self) -> Result<(), Failure> {
        let time_max = self.statement_time_max;
        statement::control(&mut self.checkout, "ROLLBACK", time_max).await?;
        statement::forget_prepared(&mut self.checkout, time_max).await?;
        statement::control(&mut self.checkout, begin(self.isolation), time_max).await
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// Any fault.
    pub async fn commit(self) -> Result<(), Error> {
        if self.failed {
            self.roll_back().await;
            return Err(failed_before());
        }
        control(self.checkout, "COMMIT", self.statement_time_max, Phase::Commit).await?.release();
        Ok(())
    }

    /// Rolls back. Where even that fails, the connection is closed, to the same effect.
    pub async fn roll_back(self) {
        if self.checkout.is_closed() {
            return;
        }
        match control(self.checkout, "ROLLBACK", self.statement_time_max, Phase::Open).await {
            Ok(checkout) => checkout.release(),
            Err(error) => {
                tracing::debug!("a transaction ended with its connection: {}", error.message);
            }
        }
    }
}

fn begin(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "BEGIN ISOLATION LEVEL READ COMMITTED",
        Isolation::RepeatableRead => "BEGIN ISOLATION LEVEL REPEATABLE READ",
        Isolation::Serializable => "BEGIN ISOLATION LEVEL SERIALIZABLE",
    }
}

/// Runs one of the statements that begin and end transactions, and gives the connection back if it succeeds.
async fn control(
    mut checkout: Checkout,
    statement: &'static str,
    time_max: Duration,
    phase: Phase,
) -> Result<Checkout, Error> {
    match statement::control(&mut checkout, statement, time_max).await {
        Ok(()) => Ok(checkout),
        Err(failure) => {
            let error = checkout.judge(failure, phase);
            // A conflict has ended the transaction. After anything else it may still be open, and is closed with its
            // connection.
            if error.fault == Fault::Conflict {
                checkout.release();
            }
            Err(error)
        }
    }
}

fn failed_before() -> Error {
    Error {
        fault: Fault::Refused,
        sqlstate: None,
        message: "a statement of this transaction failed, so all of it is rolled back".into(),
    }
}

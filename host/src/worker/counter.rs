//! The active plugin as the HTTP handlers of one thread see it.

use std::{rc::Rc, time::Instant};

use send_wrapper::SendWrapper;

use crate::{
    bindings::optional::exports::tally::counter::entries::Page,
    http::Counter,
    metrics::{Asked, WorkerMetrics},
    plugin::{
        call::{CallError, Operation},
        dispatch::Dispatcher,
        pool::Pool,
    },
    shutdown::Stopping,
};

/// The thread's own way to the active plugin.
///
/// axum wants handlers that could move to another thread. These never do, which the wrapper checks.
#[derive(Clone)]
pub struct PluginCounter {
    dispatcher: SendWrapper<Rc<Dispatcher>>,
    stopping: Stopping,
    metrics: SendWrapper<Rc<WorkerMetrics>>,
}

impl PluginCounter {
    /// A counter for the calling thread, to which `dispatcher` and `metrics` belong.
    pub fn new(dispatcher: Rc<Dispatcher>, stopping: Stopping, metrics: Rc<WorkerMetrics>) -> Self {
        let (dispatcher, metrics) = (SendWrapper::new(dispatcher), SendWrapper::new(metrics));
        Self { dispatcher, stopping, metrics }
    }

    async fn metered<T>(
        &self,
        asked: Asked,
        call: impl AsyncFnOnce(&Rc<Pool>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let began = Instant::now();
        let passed = self.dispatcher.pass().await;
        // The pool that is asked, also when another one is published meanwhile.
        let pool = self.dispatcher.pool();
        let outcome = match passed {
            Ok(()) => call(&pool).await,
            Err(error) => Err(error),
        };
        self.metrics.called(pool.plugin().name(), asked, began.elapsed(), &outcome);
        outcome
    }
}

impl Counter for PluginCounter {
    fn call(
        &self,
        operation: Operation,
        key: &str,
    ) -> impl Future<Output = Result<i64, CallError>> + Send {
        let asked = match operation {
            Operation::Increment(_) => Asked::Increment,
            _ => Asked::Other,
        };
        SendWrapper::new(
            self.metered(asked, async move |pool: &Rc<Pool>| pool.call(operation, key).await),
        )
    }

    fn list(
        &self,
        cursor: Option<String>,
        entries_max: u32,
    ) -> impl Future<Output = Result<Page, CallError>> + Send {
        SendWrapper::new(self.metered(Asked::Other, async move |pool: &Rc<Pool>| {
            pool.list(cursor, entries_max).await
        }))
    }

    fn check_room(&self) -> impl Future<Output = Result<(), String>> + Send {
        let pool = self.dispatcher.pool();
        SendWrapper::new(async move { pool.check_room().await })
    }

    fn plugin(&self) -> String {
        self.dispatcher.pool().plugin().name().to_owned()
    }

    fn is_held_back(&self) -> bool {
        self.dispatcher.holds_back()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.has_begun()
    }
}

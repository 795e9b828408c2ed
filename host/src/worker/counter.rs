//! The active plugin as the HTTP handlers of one thread see it.

use std::{rc::Rc, time::Instant};

use send_wrapper::SendWrapper;

use crate::{
    bindings::optional::exports::tally::counter::entries::Page,
    http::Counter,
    metrics::WorkerMetrics,
    plugin::{
        call::{CallError, Operation},
        dispatch::Dispatcher,
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
}

impl Counter for PluginCounter {
    fn call(
        &self,
        operation: Operation,
        key: &str,
    ) -> impl Future<Output = Result<i64, CallError>> + Send {
        let dispatcher = &*self.dispatcher;
        let metrics = &*self.metrics;
        SendWrapper::new(async move {
            let began = Instant::now();
            let passed = dispatcher.pass().await;
            // When the call ends, another plugin may be the active one.
            let pool = dispatcher.pool();
            let outcome = match passed {
                Ok(()) => pool.call(operation, key).await,
                Err(error) => Err(error),
            };
            metrics.called(pool.plugin().name(), began.elapsed(), &outcome);
            outcome
        })
    }

    fn list(
        &self,
        cursor: Option<String>,
        entries_max: u32,
    ) -> impl Future<Output = Result<Page, CallError>> + Send {
        let dispatcher = &*self.dispatcher;
        SendWrapper::new(async move { dispatcher.list(cursor, entries_max).await })
    }

    fn plugin(&self) -> String {
        self.dispatcher.pool().plugin().name().to_owned()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.has_begun()
    }
}

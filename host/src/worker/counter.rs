//! A plugin as the HTTP handlers of one worker see it.

use std::{rc::Rc, sync::Arc};

use send_wrapper::SendWrapper;

use crate::{
    http::Counter,
    plugin::{
        call::{CallError, Operation},
        loader::Plugin,
        pool::Pool,
    },
};

/// The worker's own pool of instances.
///
/// axum wants handlers that could move to another thread. These never do, which the wrapper checks.
#[derive(Clone)]
pub struct PluginCounter {
    pool: SendWrapper<Rc<Pool>>,
}

impl PluginCounter {
    /// A counter for the calling thread.
    pub fn new(plugin: Arc<Plugin>) -> Self {
        Self { pool: SendWrapper::new(Pool::new(plugin)) }
    }
}

impl Counter for PluginCounter {
    fn call(
        &self,
        operation: Operation,
        key: &str,
    ) -> impl Future<Output = Result<i64, CallError>> + Send {
        let pool = &*self.pool;
        SendWrapper::new(async move { pool.call(operation, key).await })
    }

    fn plugin(&self) -> &str {
        self.pool.plugin().name()
    }
}

//! Capability `sql`: statements and transactions on one database.

mod host;
mod postgresql;
mod settings;
#[cfg(test)]
mod tests;

use wasmtime::component::{HasData, Linker, ResourceTable};

pub use postgresql::{Connections, Database, Transaction};
pub use settings::{DatabaseSettings, Tls};

/// What one plugin instance needs of this capability.
pub struct SqlCtx {
    connections: Connections,
    in_transaction: bool,
}

impl SqlCtx {
    /// Lends `connections`, one at a time.
    pub fn new(connections: Connections) -> Self {
        Self { connections, in_transaction: false }
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.in_transaction
    }
}

/// The context together with the table that owns the plugin's transaction.
pub struct SqlCtxView<'a> {
    pub(crate) ctx: &'a mut SqlCtx,
    pub(crate) table: &'a mut ResourceTable,
}

struct Sql;

impl HasData for Sql {
    type Data<'a> = SqlCtxView<'a>;
}

/// Links the interface; `get` finds the context in the store's state.
///
/// # Errors
///
/// When the interface is linked already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> SqlCtxView<'_>,
) -> wasmtime::Result<()> {
    crate::bindings::tally::sql::database::add_to_linker::<T, Sql>(linker, get)
}

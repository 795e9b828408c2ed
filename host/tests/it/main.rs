//! The host as its users meet it: real processes, real sockets, real plugins.

/// Starts and asks hosts.
mod support;

/// The commands other than serving.
mod commands;
/// The dashboard in a browser.
mod dashboard;
/// The disk plugin: bad files, crashes, several hosts.
mod disk;
/// Which requests there are, and what becomes of bad ones.
mod endpoints;
/// Plugins that misbehave.
mod hostile_plugins;
/// The PostgreSQL plugins: each method under load, and what becomes of their transactions and tables.
mod postgresql;
/// A database that goes away, and comes back.
mod postgresql_outages;
/// Every plugin under load, over HTTP: right, or caught.
mod scenarios;
/// Clients that are slow on purpose.
mod slow_clients;
/// What the program says when it is started wrongly, and where settings come from.
mod starting;
/// The end of the process.
mod stopping;
/// The limits of values.
mod values;

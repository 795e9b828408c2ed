//! The host as its users meet it: real processes, real sockets, real plugins.

/// What plugins can do to those beside them.
#[path = "../hostile/mod.rs"]
mod hostile;
/// Starts and asks hosts.
mod support;

/// The admin listener: who is let in, and what it shows.
mod admin;
mod admin_access;
/// Counts that move from one storage to another.
mod carrying;
/// Carries that fail, are given up, or are cut short by the end of the host.
mod carrying_failures;
/// The commands other than serving.
mod commands;
/// What compiling a hostile plugin costs, and what stays of it.
mod compiling;
/// Cursors of listings that are none.
mod cursors;
/// The dashboard in a browser.
mod dashboard;
/// The disk plugin: bad files, crashes, several hosts.
mod disk;
/// Which requests there are, and what becomes of bad ones.
mod endpoints;
/// Hosts that may open few files.
mod few_files;
/// Swaps that break off what does not end.
mod forced_swaps;
/// A disk without room, or that can't be written to, and a host without file descriptors.
mod full_disk;
/// A region without room for more keys.
mod full_region;
/// Clients that stop sending before they have their answers.
mod half_close;
/// The Hazelcast plugins: each method under load.
mod hazelcast;
/// The Hazelcast plugins without their cluster.
mod hazelcast_down;
/// Numbers in the map that other clients have written, and what they are stored as.
mod hazelcast_kinds;
/// Locks of plugins that misbehave, are late, or die with them.
mod hazelcast_locks;
/// A cluster that has no CP Subsystem, comes late, or loses its members.
mod hazelcast_outages;
/// Those beside plugins that misbehave, and the way back from these.
mod hostile_neighbours;
/// Plugins that misbehave.
mod hostile_plugins;
/// Requests that are as the RFCs say, and such as are not.
mod http_probes;
/// What may come with a request, and what may not.
mod inputs;
/// Counts that are left in the old storage, and only when somebody said so.
mod leaving;
/// How the host comes and goes, in the eyes of those who watch over it.
mod lifecycle;
/// The lines of the log.
mod logs;
/// A region that is truncated, removed, replaced or opened to others while hosts use it.
mod lost_region;
/// What Prometheus is told, and in which format.
mod metrics;
/// Plugins made out of tree, by the recipe of `plugins/README.md`.
mod own_plugins;
/// Threads that panic.
mod panics;
/// Work of plugins at an interval.
mod periodic;
/// The PostgreSQL plugins: each method under load, and what becomes of their transactions.
mod postgresql;
/// A database that goes away, and comes back.
mod postgresql_outages;
/// Swaps between methods that may overlap.
mod postgresql_swaps;
/// Tables that others have made, replace and drop, and the row of the default counter.
mod postgresql_tables;
/// Values of settings that are refused, and how they are named.
mod refused_settings;
/// Hosts that go on where they ended.
mod resuming;
/// Every plugin under load, over HTTP: right, or caught.
mod scenarios;
/// The description of the API, held against a host by schemathesis.
mod schemathesis;
/// What SECURITY.md names.
mod security;
/// Clients that are slow on purpose.
mod slow_clients;
/// Plugins that take longer than anybody waits for them.
mod slow_plugins;
/// Files that are none: named pipes, devices, directories and links.
mod special_files;
/// What the program says when it is started wrongly, and where settings come from.
mod starting;
/// The end of the process.
mod stopping;
/// What can't be swapped to, and the other ways to ask for a swap.
mod swap_triggers;
/// Swaps while requests are served.
mod swaps;
/// What plugins say, at any length and as often as they like.
mod texts_of_plugins;
/// Traces that are exported.
#[cfg(feature = "otlp")]
mod traces;
/// The limits of values.
mod values;
/// Which host the commands speak to, and what they refuse.
mod which_host;

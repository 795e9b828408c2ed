//! What a panic costs: a connection, a call or a compilation, each of which is a task of its own, or the process, where the
//! host can't do without what panicked.
//!
//! The process then ends before anything is unwound. Unwinding a worker would cut off its calls between two steps and let go
//! of their locks, so that a write that is still on its way could overwrite what others count meanwhile.

use std::{
    cell::Cell,
    env,
    future::poll_fn,
    panic::{self, PanicHookInfo},
    pin::pin,
    process,
    task::Poll,
    thread,
};

use tokio::task::JoinSet;

/// Exit status of a host that lost a thread or a task which it can't do without.
pub const EXIT_STATUS: u8 = 3;

thread_local! {
    /// Whether what this thread does at the moment is something that the host can't do without.
    static IS_ESSENTIAL: Cell<bool> = const { Cell::new(false) };
}

/// Has each panic of this process logged in one sentence, and those of [`essential`] futures end it.
///
/// With `RUST_BACKTRACE` in the environment Rust's own message is printed as well.
pub fn install_hook() {
    let rusts_own = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if env::var_os("RUST_BACKTRACE").is_some() {
            rusts_own(info);
        }
        let what = describe(info);
        if IS_ESSENTIAL.get() {
            tracing::error!(
                "{what}; the host can't go on without it, and ends with status {EXIT_STATUS}"
            );
            process::exit(EXIT_STATUS.into());
        }
        tracing::error!("{what}; the connection, call or task is given up, and nothing else");
    }));
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let place = info.location().map_or(String::new(), |place| format!(" at {place}"));
    // Texts of assertions have several lines.
    let why = info.payload_as_str().unwrap_or("no text").replace('\n', " ");
    format!("the thread {thread} panicked{place}: {why}")
}

/// Runs `future` as a task of its own, so that a panic in it costs whoever waits for it no more than the answer. It is given
/// up where this is. It belongs to a [`LocalSet`](tokio::task::LocalSet) or a local runtime.
///
/// # Errors
///
/// That it panicked, in a sentence.
pub async fn contained<T: 'static>(
    future: impl Future<Output = T> + 'static,
) -> Result<T, &'static str> {
    let mut task = JoinSet::new();
    task.spawn_local(future);
    match task.join_next().await {
        Some(Ok(answer)) => Ok(answer),
        _ => Err("the host panicked, and its log says why"),
    }
}

/// `future` as one that the host can't do without.
pub async fn essential<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let before = IS_ESSENTIAL.replace(true);
        let outcome: Poll<F::Output> = future.as_mut().poll(cx);
        IS_ESSENTIAL.set(before);
        outcome
    })
    .await
}

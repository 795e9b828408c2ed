//! Capability `log`: what a plugin writes to its standard output and error becomes lines of the
//! host's log, tagged with the plugin's name, cut and rationed.

mod ration;
#[cfg(test)]
mod tests;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{self, AsyncWrite};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

pub use ration::{Ration, Verdict};

/// The longest line, in bytes; what goes beyond is left out.
pub const LINE_BYTES_MAX: usize = 8 * 1024;

/// The log of one plugin: all its instances write to it.
pub struct PluginLog {
    plugin: String,
    ration: Ration,
}

impl PluginLog {
    /// A log that takes `lines_per_second_max` lines in a second, counts the rest and drops it.
    pub fn new(plugin: String, lines_per_second_max: u32) -> Arc<Self> {
        Arc::new(Self { plugin, ration: Ration::new(lines_per_second_max) })
    }

    fn line(&self, stream: &'static str, line: &[u8]) {
        let plugin = self.plugin.as_str();
        if let Verdict::Log { dropped_before } = self.ration.judge() {
            if dropped_before > 0 {
                tracing::warn!(
                    plugin,
                    "{dropped_before} lines of this plugin's output were dropped"
                );
            }
            tracing::info!(plugin, stream, "{}", String::from_utf8_lossy(line).escape_debug());
        }
    }
}

/// One of the two output streams of a plugin instance.
pub struct LogStream {
    log: Arc<PluginLog>,
    stream: &'static str,
}

impl LogStream {
    /// The stream called `stream` in the log.
    pub fn new(log: Arc<PluginLog>, stream: &'static str) -> Self {
        Self { log, stream }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(LineWriter { log: self.log.clone(), stream: self.stream, line: Vec::new() })
    }
}

/// Cuts what is written into lines. It never has to wait.
struct LineWriter {
    log: Arc<PluginLog>,
    stream: &'static str,
    /// The line so far, at most [`LINE_BYTES_MAX`] of it.
    line: Vec<u8>,
}

impl LineWriter {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let room = LINE_BYTES_MAX - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        self.log.line(self.stream, &self.line);
        self.line.clear();
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }
}

//! The admin listener: a TCP port or a Unix socket, served by the thread that makes swaps.

use std::{
    convert::Infallible,
    fmt, fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::FileTypeExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use axum::{
    Router,
    http::{HeaderValue, Version, header},
};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use rustix::fs::Mode;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net,
    sync::{Semaphore, watch},
    task::spawn_local,
    time::{sleep, timeout},
};
use tower::Service;

use super::{guard::Guard, settings::AdminSettings};
use crate::http::{
    framing::Checked,
    lingering::{Lingering, Unread},
};

/// Open connections; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;

/// Size of a request's head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Time for the head of a request to arrive.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// Wait after a failed accept, which is mostly for want of files, until others have been closed.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// How long requests that have been received may take when the host stops.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The admin listener before it serves.
pub struct AdminListener {
    address: AdminAddress,
    socket: Socket,
    guard: Arc<Guard>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AdminListener {
    /// Listens where the settings say; none if that is nowhere. `upload_bytes_max` is the size of an
    /// uploaded plugin.
    ///
    /// # Errors
    ///
    /// When others listen there, or it would be open to everybody.
    pub fn bind(settings: &AdminSettings, upload_bytes_max: usize) -> anyhow::Result<Option<Self>> {
        let wanted = settings.admin_listen.as_str();
        if wanted == "off" {
            return Ok(None);
        }
        let token = settings.token()?;
        let (address, socket) = match wanted.strip_prefix("unix:") {
            Some(path) => {
                let listener = bind_unix(Path::new(path))
                    .with_context(|| format!("can't listen on {path} (--admin-listen)"))?;
                (AdminAddress::Unix(path.into()), Socket::Unix(listener))
            }
            None => {
                let listener = bind_tcp(wanted, token.is_some())?;
                (AdminAddress::Tcp(listener.local_addr()?), Socket::Tcp(listener))
            }
        };
        let guard =
            Arc::new(Guard::new(token.as_ref(), settings.admin_host.clone(), upload_bytes_max));
        Ok(Some(Self { address, socket, guard }))
    }

    /// Where it listens.
    pub fn address(&self) -> &AdminAddress {
        &self.address
    }

    /// Serves `router` to those whom the guard lets in, until nobody holds the other end of `stopped`,
    /// and then answers what has been received.
    pub async fn serve(self, router: Router, mut stopped: watch::Receiver<()>) {
        let router = self.guard.protect(router);
        let open = GracefulShutdown::new();
        let accepting = async {
            match self.socket {
                Socket::Tcp(listener) => {
                    let listener = net::TcpListener::from_std(listener)?;
                    accept_all(async || Ok(listener.accept().await?.0), router, &open).await
                }
                Socket::Unix(listener) => {
                    let listener = net::UnixListener::from_std(listener)?;
                    accept_all(async || Ok(listener.accept().await?.0), router, &open).await
                }
            }
        };
        let stopped = stopped.changed();
        tokio::pin!(stopped);
        tokio::select! {
            // It only ever fails: nothing is sent.
            _ = &mut stopped => {}
            Err(error) = accepting => {
                tracing::error!("the admin listener ended: {error}");
                let _ = stopped.await;
            }
        }
        if timeout(DRAIN_TIME_MAX, open.shutdown()).await.is_err() {
            tracing::warn!(
                "admin requests took longer than {DRAIN_TIME_MAX:?} to end, and were cut off"
            );
        }
    }
}

fn bind_tcp(wanted: &str, has_token: bool) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(wanted).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "the admin address {wanted} is in use: stop the program that listens there, or set --admin-listen"
        ),
        io::ErrorKind::InvalidInput => anyhow::anyhow!(
            "\"{wanted}\" is no value for --admin-listen: write ADDRESS:PORT, unix:PATH, or off"
        ),
        _ => anyhow::anyhow!("can't listen on {wanted}: {error}; set --admin-listen"),
    })?;
    ensure!(
        has_token || listener.local_addr()?.ip().is_loopback(),
        "the admin listener at {wanted} could be reached from other machines: set --admin-token-file, \
         or --admin-listen to an address of the loopback"
    );
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A socket that only its owner can connect to.
fn bind_unix(path: &Path) -> anyhow::Result<UnixListener> {
    if let Ok(file) = fs::symlink_metadata(path) {
        ensure!(file.file_type().is_socket(), "there is a file that is not a socket");
        if UnixStream::connect(path).is_ok() {
            bail!("another program listens there");
        }
        // What a host that was killed has left behind.
        fs::remove_file(path)?;
    }
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK,
        None,
    )?;
    // The file that bind makes has the socket's own mode, so nobody else ever finds it open.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

async fn accept_all<S>(
    accept: impl AsyncFn() -> io::Result<S>,
    router: Router,
    open: &GracefulShutdown,
) -> io::Result<Infallible>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
        match accept().await {
            Ok(stream) => {
                let (router, watcher) = (router.clone(), open.watcher());
                spawn_local(async move {
                    let _slot = slot;
                    serve_one(stream, router, watcher).await;
                });
            }
            Err(error) => {
                tracing::warn!("can't accept an admin connection: {error}");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

async fn serve_one<S>(stream: S, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let unread = Unread::default();
    let stream = Lingering::new(stream, unread.clone());
    let stream = Checked::new(stream, HEAD_BYTES_MAX, unread.clone(), |_| ());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (mut router, unread) = (router.clone(), unread.clone());
        async move {
            let has_body = !request.body().is_end_stream();
            let is_only = request.version() == Version::HTTP_10;
            // A router is always ready.
            let Ok(mut response) = router.call(request).await;
            // A body that was refused is not read to its end.
            if is_only || has_body && response.status().is_client_error() {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            unread.answered(has_body, response.status());
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        // A client may say that it has sent its last request before it reads the answer.
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // An error is the client's doing, and the client has been told, if it still listens.
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!("an admin connection ended early: {error}");
    }
}

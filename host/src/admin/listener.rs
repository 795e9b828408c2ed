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
    rc::Rc,
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
    sync::watch,
    task::{spawn_local, yield_now},
    time::{sleep, timeout},
};

use super::{
    guard::Guard,
    places::{Place, Places},
    settings::{AdminSettings, AdminToken, reachable},
};
use crate::{
    client::MadeToken,
    http::{
        framing::Checked,
        lingering::{Lingering, Unread},
    },
};

/// Size of a request's head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Time for the head of a request to arrive. Without the token there is less ([`Places`]).
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
    guard: Guard,
    /// Its file is there as long as this.
    made: Option<MadeToken>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AdminListener {
    /// Listens where the settings say; none if that is nowhere. `upload_bytes_max` is the size of an
    /// uploaded plugin. A token that is made is kept in `state_dir`.
    ///
    /// # Errors
    ///
    /// When others listen there, it would be open to everybody, or a token can't be kept.
    pub fn bind(
        settings: &AdminSettings,
        upload_bytes_max: usize,
        state_dir: Option<&Path>,
    ) -> anyhow::Result<Option<Self>> {
        let wanted = settings.admin_listen.as_str();
        if wanted == "off" {
            return Ok(None);
        }
        let given = settings.given_token()?;
        let (address, socket) = match wanted.strip_prefix("unix:") {
            Some(path) => {
                let listener = bind_unix(Path::new(path))
                    .with_context(|| format!("can't listen on {path} (--admin-listen)"))?;
                (AdminAddress::Unix(path.into()), Socket::Unix(listener))
            }
            None => {
                let listener = bind_tcp(wanted, settings.admin_token == AdminToken::Off)?;
                (AdminAddress::Tcp(listener.local_addr()?), Socket::Tcp(listener))
            }
        };
        // Only now, so that a host that can't listen leaves the token of the one that does alone.
        let made = match (&given, &address, settings.admin_token) {
            (None, AdminAddress::Tcp(address), AdminToken::New) => {
                Some(MadeToken::make(state_dir, *address)?)
            }
            _ => None,
        };
        let token = given.as_ref().or(made.as_ref().map(MadeToken::token));
        let guard = Guard::new(token, settings.admin_host.clone(), upload_bytes_max);
        Ok(Some(Self { address, socket, guard, made }))
    }

    /// Where a browser opens the dashboard, with the token if the host has made it: behind `#`, so that the browser
    /// sends it to nobody.
    pub fn dashboard(&self) -> Option<String> {
        let (AdminAddress::Tcp(address), Some(made)) = (&self.address, &self.made) else {
            return None;
        };
        let (host, port) = (reachable(&address.ip().to_string()), address.port());
        Some(format!("http://{host}:{port}/#token={}", made.token().reveal()))
    }

    /// Where it listens.
    pub fn address(&self) -> &AdminAddress {
        &self.address
    }

    /// Serves `router` to those whom the guard lets in, until nobody holds the other end of `stopped`,
    /// and then answers what has been received.
    pub async fn serve(self, router: Router, mut stopped: watch::Receiver<()>) {
        let service = Service { router, guard: Rc::new(self.guard) };
        let open = GracefulShutdown::new();
        let accepting = async {
            match self.socket {
                Socket::Tcp(listener) => {
                    let listener = net::TcpListener::from_std(listener)?;
                    accept_all(async || Ok(listener.accept().await?.0), &service, &open).await
                }
                Socket::Unix(listener) => {
                    let listener = net::UnixListener::from_std(listener)?;
                    accept_all(async || Ok(listener.accept().await?.0), &service, &open).await
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

fn bind_tcp(wanted: &str, is_open: bool) -> anyhow::Result<TcpListener> {
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
        !is_open || listener.local_addr()?.ip().is_loopback(),
        "the admin listener at {wanted} could be used from other machines: do without --admin-token off, set \
         --admin-token-file, or set --admin-listen to an address of the loopback"
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

/// What answers, on each connection.
#[derive(Clone)]
struct Service {
    router: Router,
    guard: Rc<Guard>,
}

async fn accept_all<S>(
    accept: impl AsyncFn() -> io::Result<S>,
    service: &Service,
    open: &GracefulShutdown,
) -> io::Result<Infallible>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let places = Places::default();
    loop {
        match accept().await {
            Ok(stream) => {
                spawn_local(serve_one(stream, service.clone(), places.take(), open.watcher()));
                // Else many that come at once would make it give way before it is read from.
                yield_now().await;
            }
            Err(error) => {
                tracing::warn!("can't accept an admin connection: {error}");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

async fn serve_one<S>(stream: S, service: Service, place: Place, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let unread = Unread::default();
    let stream = Lingering::new(stream, unread.clone());
    let stream = Checked::new(stream, HEAD_BYTES_MAX, unread.clone(), |_| ());
    let answer = service_fn(|request: hyper::Request<Incoming>| {
        let (service, place, unread) = (service.clone(), &place, unread.clone());
        async move {
            let has_body = !request.body().is_end_stream();
            let is_only = request.version() == Version::HTTP_10;
            let mut response = service.guard.answer(request, place, service.router).await;
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
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::select! {
        // An error is the client's doing, and the client has been told, if it still listens.
        ended = watcher.watch(connection) => {
            if let Err(error) = ended {
                tracing::debug!("an admin connection ended early: {error}");
            }
        }
        () = place.is_over() => tracing::debug!("an admin connection without the token was closed"),
    }
}

//! Clients beside which others ask for what does not go through the plugin.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{host::Host, statistics::Sample};

/// How long is measured.
pub const PROBE_TIME: Duration = Duration::from_secs(5);
/// How often each thing is asked for.
pub const PACE: Duration = Duration::from_millis(20);
/// How long a client that misbehaves waits for an answer, before it leaves and asks again.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked for, and where.
pub const PROBES: [(&str, Where); 4] = [
    ("/livez", Where::Main("GET /livez")),
    ("404", Where::Main("GET /nowhere")),
    ("overview", Where::Admin("GET /admin/plugins")),
    ("another host", Where::Other("POST /inc")),
];

/// Which listener is asked for what.
#[derive(Clone, Copy)]
pub enum Where {
    /// The main one of the host that serves with the guest.
    Main(&'static str),
    /// The admin listener of that host.
    Admin(&'static str),
    /// The main one of the other host.
    Other(&'static str),
}

/// How long the answers took, in ms, to each of [`PROBES`].
pub struct Probed([Vec<f64>; PROBES.len()]);

impl Probed {
    /// Asks for all of them for [`PROBE_TIME`], each on a connection of its own.
    pub fn take(host: &Host, other: &Host) -> Self {
        thread::scope(|scope| {
            let asking = PROBES.map(|(_, what)| {
                let (address, request, header) = match what {
                    Where::Main(request) => (host.address(), request, String::new()),
                    Where::Admin(request) => (host.admin(), request, host.authorization()),
                    Where::Other(request) => (other.address(), request, String::new()),
                };
                scope.spawn(move || sample(address, request, &header))
            });
            Self(asking.map(|asking| asking.join().expect("a probe does not panic")))
        })
    }

    /// The p99 of each, in ms.
    pub fn p99_ms(&self) -> [f64; PROBES.len()] {
        self.0.each_ref().map(|times| Sample::new(times.clone()).quantile(0.99))
    }
}

/// Each time is taken from when it was to be asked for, so that one slow answer does not hide the next.
fn sample(address: SocketAddr, request: &str, header: &str) -> Vec<f64> {
    let mut client = Client::open(address).expect("the host listens");
    let (began, mut times, mut due) = (Instant::now(), Vec::new(), Duration::ZERO);
    while due < PROBE_TIME {
        thread::sleep(due.saturating_sub(began.elapsed()));
        client.ask(request, header).expect("the host answers");
        times.push((began.elapsed() - due).as_secs_f64() * 1_000.0);
        due += PACE;
    }
    times
}

/// Asks once, on the main listener.
pub fn ask_once(host: &Host, request: &str) {
    let asked = Client::open(host.address()).and_then(|mut client| client.ask(request, ""));
    asked.expect("the host answers");
}

/// Has `clients` ask for the same thing, one time after the other, for as long as `meanwhile` takes.
pub fn beside<T>(host: &Host, clients: usize, request: &str, meanwhile: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let Ok(mut client) = Client::open(host.address()) else { continue };
                    // It is left where no answer comes.
                    while client.ask(request, "").is_ok() && !is_over.load(Ordering::Relaxed) {}
                }
            });
        }
        let seen = meanwhile();
        is_over.store(true, Ordering::Relaxed);
        seen
    })
}

/// A connection that is kept.
struct Client(TcpStream);

impl Client {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Waits for the whole of an answer, whatever it says.
    fn ask(&mut self, request: &str, header: &str) -> io::Result<()> {
        write!(self.0, "{request} HTTP/1.1\r\nhost: localhost\r\n{header}\r\n")?;
        let mut received = Vec::new();
        let mut missing = 1;
        while missing > 0 {
            let mut bytes = [0; 64 * 1024];
            let length = self.0.read(&mut bytes)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received.extend_from_slice(&bytes[..length]);
            missing = length_of(&received).map_or(1, |whole| whole.saturating_sub(received.len()));
        }
        Ok(())
    }
}

/// How long the answer is that begins so; none if that is not known yet.
fn length_of(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&received[..head]).ok()?.to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    Some(head + length.and_then(|length| length.parse::<usize>().ok()).unwrap_or_default())
}

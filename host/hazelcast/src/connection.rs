//! One connection to one member, on which any number of calls are under way.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

use crate::{
    pace::Pace,
    protocol::{
        failure::Failure,
        frame::{Decoder, Malformed, Message, Request},
        requests,
        responses::{self, Greeting, Welcome},
    },
};

/// How long a member may take to accept a connection and its client.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// Time between two looks at whether the member is alive; one that has said nothing since the last is pinged.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(1);

/// Looks that find the same silence, after which the member counts as gone. Longer than the pauses of a collector of
/// garbage, shorter than what a user would wait.
const SILENT_HEARTBEATS_MAX: u64 = 5;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// What the first bytes of a connection say: that the binary protocol for clients follows, in version 2.
const PROTOCOL: &[u8; 3] = b"CP2";

/// What a connection reports by itself.
pub enum Event {
    /// The member told about its cluster.
    View(Uuid, Message),
    /// The connection to this member ended, and why.
    Closed(Uuid, String),
}

/// An open connection.
pub struct Connection {
    greeting: Greeting,
    address: String,
    calls: Mutex<Calls>,
    /// There is something to write.
    wake: Notify,
    /// Nobody needs the connection any more.
    leave: Notify,
    /// Messages received.
    received: AtomicU64,
    pace: Pace,
}

/// What is under way. Bounded by the bound on calls of whoever uses the connection.
#[derive(Default)]
struct Calls {
    /// To be written.
    out: BytesMut,
    pending: HashMap<i64, oneshot::Sender<Message>>,
    last: i64,
    /// Why the connection is to be closed.
    leaving: Option<String>,
    /// Why there can be no more.
    closed: Option<String>,
}

/// Why a call got no answer.
#[derive(Debug)]
pub enum Broken {
    /// It was not sent.
    Before(String),
    /// Nobody knows whether it was made.
    Meanwhile(String),
}

impl Connection {
    /// Connects to the member at `address`, as `client`, and tells `events` what happens from then on.
    ///
    /// # Errors
    ///
    /// Why that is not possible.
    pub async fn open(
        address: String,
        cluster_name: &str,
        client: Uuid,
        events: mpsc::Sender<Event>,
    ) -> Result<Arc<Self>, String> {
        let greeted = timeout(CONNECT_TIME_MAX, greet(&address, cluster_name, client));
        let (stream, decoder, rest, greeting) = greeted.await.unwrap_or_else(|_| {
            Err(format!("{address} did not accept a client within {CONNECT_TIME_MAX:?}"))
        })?;
        let connection = Arc::new(Self {
            greeting,
            address,
            calls: Mutex::default(),
            wake: Notify::new(),
            leave: Notify::new(),
            received: AtomicU64::new(0),
            pace: Pace::default(),
        });
        let (reader, writer) = stream.into_split();
        let input = Input { reader, decoder, received: rest };
        tokio::spawn(connection.clone().run(input, writer, events));
        Ok(connection)
    }

    /// Who the other end is.
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// How long it takes to have the CP members agree.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Where the other end is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether calls can be made.
    pub fn is_open(&self) -> bool {
        self.calls().closed.is_none()
    }

    /// Ends the connection. Calls that are under way break, and are told why.
    pub fn close(&self, why: String) {
        self.calls().leaving = Some(why);
        self.leave.notify_one();
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    ///
    /// When the connection breaks first.
    pub async fn call(&self, request: &Request) -> Result<Message, Broken> {
        let (answer, answered) = oneshot::channel();
        let correlation = {
            let mut calls = self.calls();
            if let Some(why) = &calls.closed {
                return Err(Broken::Before(why.clone()));
            }
            calls.last += 1;
            let correlation = calls.last;
            calls.pending.insert(correlation, answer);
            request.write(correlation, &mut calls.out);
            correlation
        };
        self.wake.notify_one();
        let _pending = Pending { connection: self, correlation };
        answered.await.map_err(|_| {
            let why = self.calls().closed.clone().unwrap_or_default();
            Broken::Meanwhile(why)
        })
    }

    /// Sends a request to which nobody waits for an answer.
    fn post(&self, request: &Request) {
        // Correlation ids of calls are positive.
        request.write(0, &mut self.calls().out);
        self.wake.notify_one();
    }

    async fn run(
        self: Arc<Self>,
        input: Input,
        writer: OwnedWriteHalf,
        events: mpsc::Sender<Event>,
    ) {
        let member = self.greeting.member;
        let why = tokio::select! {
            Err(why) = self.read(input, &events) => why,
            Err(error) = self.write(writer) => format!("the connection to {} broke: {error}", self.address),
            () = self.watch() => format!("{} was silent for too long", self.address),
            () = self.leave.notified() => self.calls().leaving.take().unwrap_or_default(),
            // Nobody could use it any more.
            () = events.closed() => "the client is gone".to_owned(),
        };
        {
            let mut calls = self.calls();
            calls.closed = Some(why.clone());
            // Whoever waits for an answer learns that there will be none.
            calls.pending.clear();
            calls.out = BytesMut::new();
        }
        // Nobody may be listening any more.
        let _ = events.send(Event::Closed(member, why)).await;
    }

    async fn read(&self, mut input: Input, events: &mpsc::Sender<Event>) -> Result<Never, String> {
        loop {
            let message = input
                .next()
                .await
                .map_err(|error| format!("the connection to {} broke: {error}", self.address))?;
            self.received.fetch_add(1, Ordering::Relaxed);
            if message.is_event() {
                // Nobody may be listening any more.
                let _ = events.send(Event::View(self.greeting.member, message)).await;
            } else if let Some(answer) = self.calls().pending.remove(&message.correlation()) {
                // Whoever asked may have left.
                let _ = answer.send(message);
            }
        }
    }

    async fn write(&self, mut writer: OwnedWriteHalf) -> io::Result<Never> {
        loop {
            let mut out = std::mem::take(&mut self.calls().out);
            if out.is_empty() {
                self.wake.notified().await;
            } else {
                writer.write_all_buf(&mut out).await?;
            }
        }
    }

    /// Returns when the member has been silent for too long.
    async fn watch(&self) {
        let (mut heard, mut silent) = (0, 0);
        let mut heartbeat = interval(HEARTBEAT_PERIOD);
        // When this process stood still, that is not the member's silence.
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while silent < SILENT_HEARTBEATS_MAX {
            heartbeat.tick().await;
            let received = self.received.load(Ordering::Relaxed);
            if received == heard {
                silent += 1;
                self.post(&requests::ping());
            } else {
                (heard, silent) = (received, 0);
            }
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a loop returns that ends only by an error.
enum Never {}

/// A call that is under way; forgotten when nobody waits for it any more.
struct Pending<'a> {
    connection: &'a Connection,
    correlation: i64,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.connection.calls().pending.remove(&self.correlation);
    }
}

/// What comes from the member.
struct Input {
    reader: OwnedReadHalf,
    decoder: Decoder,
    received: BytesMut,
}

impl Input {
    async fn next(&mut self) -> io::Result<Message> {
        next(&mut self.reader, &mut self.decoder, &mut self.received).await
    }
}

async fn next(
    reader: &mut (impl AsyncReadExt + Unpin),
    decoder: &mut Decoder,
    received: &mut BytesMut,
) -> io::Result<Message> {
    loop {
        if let Some(message) = decoder.next(received).map_err(io::Error::other)? {
            return Ok(message);
        }
        received.reserve(READ_BYTES);
        if reader.read_buf(received).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the member has closed it"));
        }
    }
}

async fn greet(
    address: &str,
    cluster_name: &str,
    client: Uuid,
) -> Result<(TcpStream, Decoder, BytesMut, Greeting), String> {
    let (mut decoder, mut received) = (Decoder::default(), BytesMut::new());
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut out = BytesMut::from(&PROTOCOL[..]);
        requests::authentication(cluster_name, client).write(1, &mut out);
        stream.write_all(&out).await?;
        let answer = next(&mut stream, &mut decoder, &mut received).await?;
        io::Result::Ok((stream, answer))
    };
    let (stream, answer) = talk.await.map_err(|error| format!("{address}: {error}"))?;
    let not_understood = |malformed: Malformed| format!("{address}: {malformed}");
    if let Some(failure) = Failure::of(&answer).map_err(not_understood)? {
        return Err(format!("{address}: {}", failure.text));
    }
    match responses::authentication(&answer).map_err(not_understood)? {
        Welcome::Authenticated(greeting) => Ok((stream, decoder, received, greeting)),
        Welcome::WrongCredentials => Err(format!(
            "{address}: the member's cluster is not called {cluster_name}, or wants a password"
        )),
        Welcome::NotAllowed => Err(format!("{address}: the member lets no such client in")),
    }
}

//! A member that plays a part.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tally_hazelcast::{Client, Error, Settings};

const AUTHENTICATION: i32 = 0x00_0100;
const ADD_CLUSTER_VIEW_LISTENER: i32 = 0x00_0300;
const PING: i32 = 0x00_0B00;
const TRY_LOCK: i32 = 0x01_1100;
pub const UNLOCK: i32 = 0x01_1300;
const PUT_IF_ABSENT: i32 = 0x01_0E00;
pub const GET: i32 = 0x01_0200;
pub const SET: i32 = 0x01_0F00;
pub const REPLACE_IF_SAME: i32 = 0x01_0500;
pub const FETCH: i32 = 0x01_3800;
pub const ADD_AND_GET: i32 = 0x09_0300;
pub const GET_ATOMIC: i32 = 0x09_0500;
pub const CREATE_CP_GROUP: i32 = 0x1E_0100;
pub const CP_MEMBERS: i32 = 0x20_1900;

const AUTHENTICATED: &str = "4400000000c001010000010000000000000000000033332222111111115555555555554444010f01000000ccccbbbbaaaaaaaaeeeeeeeeeeeedddd00ffffffffffffffff0600000000100a0000000000656400000f00000000003132372e302e302e310600000000080b0000000000352e332e38060000000004060000000004060000000010060000000008060000000010060000000008060000000020";
const LISTENING: &str = "1300000000e001030000000000000000000000";
const ALIVE: &str = "1300000000e0010b0000000000000000000000";
const NOTHING: &str = "1300000000c001020100000000000000000000060000000024";
const STORED: &str = "1300000000e0010f0100000000000000000000";
const LOCKED: &str = "1400000000e00111010000000000000000000001";
const UNLOCKED: &str = "1300000000e001130100000000000000000000";
const GROUP: &str = "1300000000c001011e00000000000000000000060000000010160000000000000000000000000022080000000000000d000000000064656661756c74060000000028";
const ONE: &str = "1b00000000e0010309000000000000000000000100000000000000";
const ZERO: &str = "1b00000000e0010509000000000000000000000000000000000000";
/// "a" is 1 and "b" 2, and there are more.
pub const FETCHED: &str = "1300000000c0013801000000000000000000000e0000000000050000001000000006000000001013000000000000000000fffffff5000000016116000000000000000000fffffff8000000000000000113000000000000000000fffffff5000000016216000000000000000000fffffff80000000000000002060000000028";
/// "b" is 3 and "c" 4, and there are no more.
pub const FETCHED_LAST: &str = "1300000000c0013801000000000000000000000e0000000000ffffffff1000000006000000001013000000000000000000fffffff5000000016216000000000000000000fffffff8000000000000000313000000000000000000fffffff5000000016316000000000000000000fffffff80000000000000004060000000028";
const CP_MEMBER: &str = "1300000000c00119200000000000000000000028000000002000000000000000000000000000000000010000000000000000000000000000000001";

/// What the member does when it is asked for something.
#[derive(Clone)]
pub enum Reply {
    /// A message, in hexadecimal, whose correlation id is put in.
    Answer(String),
    /// Nothing at all.
    Silence,
    /// The end of the connection.
    Close,
    /// Any bytes.
    Bytes(Vec<u8>),
}

/// An error with this code and text.
pub fn failure(code: u8, text: &str) -> Reply {
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let length = 6 + text.len();
    let (begin, end) = ("060000000010", "060000000008");
    let frames = [
        // The list of errors, and the first one.
        begin,
        begin,
        &format!("0a0000000000{code:02x}000000"),
        // Its class and its text.
        &format!("180000000000{}", hex("HazelcastException")),
        &format!("{length:02x}0000000000{}", hex(text)),
        // The stack trace.
        begin,
        end,
        end,
        "060000000028",
    ];
    Reply::Answer(format!("1300000000c000000000000000000000000000{}", frames.concat()))
}

pub fn answer(hex: &str) -> Reply {
    Reply::Answer(hex.to_owned())
}

/// By the type of a request, and how many of this type there were before.
type Part = dyn Fn(i32, usize) -> Reply + Send + Sync;

pub struct Member {
    address: String,
    asked: Arc<Mutex<Vec<i32>>>,
}

impl Member {
    /// Plays `part` in all that is no formality. All members belong to one cluster.
    pub fn start(part: impl Fn(i32, usize) -> Reply + Send + Sync + 'static) -> Self {
        static MEMBERS: AtomicUsize = AtomicUsize::new(0);
        let id = format!("{:08x}", MEMBERS.fetch_add(1, Ordering::Relaxed));
        let authenticated = AUTHENTICATED.replace("33332222", &id);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (asked, part) =
            (Arc::<Mutex<Vec<i32>>>::default(), Arc::<Part>::from(Box::new(part) as Box<Part>));
        let of_members = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, part) = (of_members.clone(), part.clone());
                let authenticated = authenticated.clone();
                // It ends when the client leaves.
                thread::spawn(move || serve(&stream.unwrap(), &authenticated, &asked, &*part));
            }
        });
        Self { address, asked }
    }

    pub fn client(&self, invocation_time_max: Duration) -> Client {
        self.client_beside(&[], invocation_time_max)
    }

    /// A client of this member and others.
    pub fn client_beside(&self, others: &[&Self], invocation_time_max: Duration) -> Client {
        let members = [&[self], others].concat();
        let members = members.iter().map(|member| member.address.clone()).collect();
        Client::new(Settings { members, invocation_time_max, ..self.settings() })
    }

    /// Those of a patient client of this member.
    pub fn settings(&self) -> Settings {
        Settings {
            members: vec![self.address.clone()],
            cluster_name: "dev".into(),
            invocation_time_max: LONG,
            cp_group_wait_max: LONG,
            calls_max: 10,
        }
    }

    /// A client that is connected already, so that the time for a call is for nothing else.
    pub async fn connected(&self, invocation_time_max: Duration) -> Client {
        let client = self.client(invocation_time_max);
        until_done(async || client.put_if_absent("m", "connected", 1).await).await;
        client
    }

    /// How often it was asked for something of this type.
    pub fn asked(&self, kind: i32) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| **asked == kind).count()
    }
}

fn serve(
    mut stream: &TcpStream,
    authenticated: &str,
    asked: &Mutex<Vec<i32>>,
    part: &Part,
) -> io::Result<()> {
    let mut protocol = [0; 3];
    stream.read_exact(&mut protocol)?;
    assert_eq!(&protocol, b"CP2");
    loop {
        let (kind, correlation) = request(stream)?;
        let before = {
            let mut asked = asked.lock().unwrap();
            asked.push(kind);
            asked.iter().filter(|asked| **asked == kind).count() - 1
        };
        let reply = match part(kind, before) {
            Reply::Answer(hex) if hex.is_empty() => match kind {
                AUTHENTICATION => answer(authenticated),
                ADD_CLUSTER_VIEW_LISTENER => answer(LISTENING),
                PING => answer(ALIVE),
                CREATE_CP_GROUP => answer(GROUP),
                CP_MEMBERS => answer(CP_MEMBER),
                ADD_AND_GET => answer(ONE),
                GET_ATOMIC => answer(ZERO),
                SET => answer(STORED),
                GET => answer(NOTHING),
                PUT_IF_ABSENT => answer(NOTHING),
                TRY_LOCK => answer(LOCKED),
                UNLOCK => answer(UNLOCKED),
                _ => panic!("nobody has said what to answer to {kind:x}"),
            },
            reply => reply,
        };
        match reply {
            Reply::Answer(hex) => {
                let mut message = bytes(&hex);
                message[10..18].copy_from_slice(&correlation.to_le_bytes());
                stream.write_all(&message)?;
            }
            Reply::Bytes(bytes) => stream.write_all(&bytes)?,
            Reply::Silence => {}
            Reply::Close => return Ok(()),
        }
    }
}

/// What is always answered the same.
pub fn formality() -> Reply {
    answer("")
}

fn request(mut stream: &TcpStream) -> io::Result<(i32, i64)> {
    let mut first = None;
    loop {
        let mut header = [0; 6];
        stream.read_exact(&mut header)?;
        let length = i32::from_le_bytes(header[..4].try_into().unwrap());
        let mut content = vec![0; usize::try_from(length).unwrap() - 6];
        stream.read_exact(&mut content)?;
        let first = first.get_or_insert_with(|| {
            let kind = i32::from_le_bytes(content[..4].try_into().unwrap());
            (kind, i64::from_le_bytes(content[4..12].try_into().unwrap()))
        });
        if header[5] & 0x20 != 0 {
            return Ok(*first);
        }
    }
}

pub fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// For calls whose time is to pass, and yet enough for an answer on a busy machine.
pub const SHORT: Duration = Duration::from_millis(600);
pub const LONG: Duration = Duration::from_secs(20);

/// Makes a call again until the member can be reached.
pub async fn until_done<T>(call: impl AsyncFn() -> Result<T, Error>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        match call().await {
            Ok(done) => return done,
            Err(Error::Unavailable(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

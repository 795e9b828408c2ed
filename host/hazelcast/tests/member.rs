//! Against a member that plays a part, for what no real one does when it is wanted.

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

use tally_hazelcast::{Client, Error, Number, Settings};

const AUTHENTICATION: i32 = 0x00_0100;
const ADD_CLUSTER_VIEW_LISTENER: i32 = 0x00_0300;
const PING: i32 = 0x00_0B00;
const TRY_LOCK: i32 = 0x01_1100;
const UNLOCK: i32 = 0x01_1300;
const PUT_IF_ABSENT: i32 = 0x01_0E00;
const GET: i32 = 0x01_0200;
const SET: i32 = 0x01_0F00;
const REPLACE_IF_SAME: i32 = 0x01_0500;
const FETCH: i32 = 0x01_3800;
const ADD_AND_GET: i32 = 0x09_0300;
const GET_ATOMIC: i32 = 0x09_0500;
const CREATE_CP_GROUP: i32 = 0x1E_0100;
const CP_MEMBERS: i32 = 0x20_1900;

const AUTHENTICATED: &str = "4400000000c001010000010000000000000000000033332222111111115555555555554444010f01000000ccccbbbbaaaaaaaaeeeeeeeeeeeedddd00ffffffffffffffff0600000000100a0000000000656400000f00000000003132372e302e302e310600000000080b0000000000352e332e38060000000004060000000004060000000010060000000008060000000010060000000008060000000020";
const LISTENING: &str = "1300000000e001030000000000000000000000";
const ALIVE: &str = "1300000000e0010b0000000000000000000000";
const NOTHING: &str = "1300000000c001020100000000000000000000060000000024";
const STORED: &str = "1300000000e0010f0100000000000000000000";
const LOCKED: &str = "1400000000e00111010000000000000000000001";
const UNLOCKED: &str = "1300000000e001130100000000000000000000";
const GROUP: &str = "1300000000c001011e00000000000000000000060000000010160000000000000000000000000022080000000000000d000000000064656661756c74060000000028";
const ONE: &str = "1b00000000e0010309000000000000000000000100000000000000";
/// "a" is 1 and "b" 2, and there are more.
const FETCHED: &str = "1300000000c0013801000000000000000000000e0000000000050000001000000006000000001013000000000000000000fffffff5000000016116000000000000000000fffffff8000000000000000113000000000000000000fffffff5000000016216000000000000000000fffffff80000000000000002060000000028";
/// "b" is 3 and "c" 4, and there are no more.
const FETCHED_LAST: &str = "1300000000c0013801000000000000000000000e0000000000ffffffff1000000006000000001013000000000000000000fffffff5000000016216000000000000000000fffffff8000000000000000313000000000000000000fffffff5000000016316000000000000000000fffffff80000000000000004060000000028";
const CP_MEMBER: &str = "1300000000c00119200000000000000000000028000000002000000000000000000000000000000000010000000000000000000000000000000001";

/// What the member does when it is asked for something.
#[derive(Clone)]
enum Reply {
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
fn failure(code: u8, text: &str) -> Reply {
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

fn answer(hex: &str) -> Reply {
    Reply::Answer(hex.to_owned())
}

/// By the type of a request, and how many of this type there were before.
type Part = dyn Fn(i32, usize) -> Reply + Send + Sync;

struct Member {
    address: String,
    asked: Arc<Mutex<Vec<i32>>>,
}

impl Member {
    /// Plays `part` in all that is no formality. All members belong to one cluster.
    fn start(part: impl Fn(i32, usize) -> Reply + Send + Sync + 'static) -> Self {
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

    fn client(&self, invocation_time_max: Duration) -> Client {
        self.client_beside(&[], invocation_time_max)
    }

    /// A client of this member and others.
    fn client_beside(&self, others: &[&Self], invocation_time_max: Duration) -> Client {
        let members = [&[self], others].concat();
        Client::new(Settings {
            members: members.iter().map(|member| member.address.clone()).collect(),
            cluster_name: "dev".into(),
            invocation_time_max,
            calls_max: 10,
        })
    }

    /// A client that is connected already, so that the time for a call is for nothing else.
    async fn connected(&self, invocation_time_max: Duration) -> Client {
        let client = self.client(invocation_time_max);
        until_done(async || client.put_if_absent("m", "connected", 1).await).await;
        client
    }

    /// How often it was asked for something of this type.
    fn asked(&self, kind: i32) -> usize {
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
fn formality() -> Reply {
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

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

const LONG: Duration = Duration::from_secs(20);

/// Makes a call again until the member can be reached.
async fn until_done<T>(call: impl AsyncFn() -> Result<T, Error>) -> T {
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

#[tokio::test]
async fn a_change_during_which_the_connection_breaks_is_told_and_never_made_again() {
    let member = Member::start(|kind, before| match kind {
        ADD_AND_GET if before == 0 => Reply::Close,
        _ => formality(),
    });
    let client = member.client(LONG);
    let outcome = client.add_and_get("n", 1).await;
    assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{outcome:?}");
    assert_eq!(member.asked(ADD_AND_GET), 1);
    // It comes back by itself, and is not reachable in between.
    assert_eq!(until_done(async || client.add_and_get("n", 1).await).await, 1);
    assert_eq!(member.asked(ADD_AND_GET), 2);
}

#[tokio::test]
async fn what_may_have_been_done_before_an_error_is_told_and_never_made_again() {
    // Undefined, HazelcastInstanceNotActive, MemberLeft, OperationTimeout, RetryableIO, TargetDisconnected,
    // IndeterminateOperationState
    for code in [0, 19, 33, 38, 47, 52, 80] {
        let member = Member::start(move |kind, _| match kind {
            ADD_AND_GET => failure(code, "why"),
            _ => formality(),
        });
        let outcome = member.client(LONG).add_and_get("n", 1).await;
        assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{code}: {outcome:?}");
        assert_eq!(member.asked(ADD_AND_GET), 1, "{code}");
    }
}

#[tokio::test]
async fn what_was_put_off_is_made_again_and_what_was_refused_is_not() {
    // TargetNotMember
    let member = Member::start(|kind, before| match kind {
        ADD_AND_GET if before < 3 => failure(53, "why"),
        _ => formality(),
    });
    assert_eq!(member.client(LONG).add_and_get("n", 1).await, Ok(1));
    assert_eq!(member.asked(ADD_AND_GET), 4);
    // UnsupportedOperation
    let member = Member::start(|kind, _| match kind {
        ADD_AND_GET => failure(61, "why"),
        _ => formality(),
    });
    let outcome = member.client(LONG).add_and_get("n", 1).await;
    assert!(matches!(outcome, Err(Error::Refused(_))), "{outcome:?}");
    assert_eq!(member.asked(ADD_AND_GET), 1);
}

#[tokio::test]
async fn what_changes_nothing_is_made_again_as_long_as_there_is_time() {
    // MemberLeft
    let member = Member::start(|kind, before| match kind {
        GET if before < 2 => failure(33, "why"),
        _ => formality(),
    });
    assert_eq!(member.client(LONG).get("m", "k").await, Ok(None));
    assert_eq!(member.asked(GET), 3);
}

#[tokio::test]
async fn a_partition_is_fetched_to_its_end_and_no_key_of_it_is_listed_twice() {
    let member = Member::start(|kind, before| match (kind, before) {
        (FETCH, 0) => answer(FETCHED),
        (FETCH, _) => answer(FETCHED_LAST),
        _ => formality(),
    });
    let client = member.client(LONG);
    let found = client.partitions("m", 270..280).await.unwrap();
    let expected = [("a", 1), ("b", 3), ("c", 4)];
    let expected = expected.map(|(key, value)| (key.to_owned(), Number::Long(value)));
    // There are 271.
    assert_eq!(found, [expected.into()]);
    assert_eq!(client.partitions("m", 271..272).await, Ok(Vec::new()));
    assert_eq!(member.asked(FETCH), 2);
}

#[tokio::test]
async fn a_partition_without_an_end_is_left() {
    let member = Member::start(|kind, _| match kind {
        FETCH => answer(FETCHED),
        _ => formality(),
    });
    let outcome = member.client(LONG).partitions("m", 0..1).await;
    assert!(
        matches!(&outcome, Err(Error::Refused(why)) if why.contains("too many")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn atomic_calls_go_to_the_member_that_makes_them_fastest() {
    const CALLS: usize = 300;
    let slow = Member::start(|kind, _| {
        if kind == ADD_AND_GET {
            thread::sleep(Duration::from_millis(20));
        }
        formality()
    });
    let leader = Member::start(|_, _| formality());
    let client = slow.client_beside(&[&leader], LONG);
    for _ in 0..CALLS {
        assert_eq!(client.add_and_get("n", 1).await, Ok(1));
    }
    let asked = [&slow, &leader].map(|member| member.asked(ADD_AND_GET));
    assert_eq!(asked[0] + asked[1], CALLS);
    // The other one is tried again and again, and the leader may be slow for once.
    assert!((1..CALLS / 4).contains(&asked[0]), "{asked:?}");
}

#[tokio::test]
async fn a_member_that_refuses_at_once_is_not_taken_for_the_fastest() {
    const CALLS: usize = 300;
    // ServiceNotFound
    let refusing = Member::start(|kind, _| match kind {
        ADD_AND_GET => failure(75, "why"),
        _ => formality(),
    });
    let leader = Member::start(|kind, _| {
        if kind == ADD_AND_GET {
            thread::sleep(Duration::from_millis(5));
        }
        formality()
    });
    let client = refusing.client_beside(&[&leader], LONG);
    // Afterwards both are connected.
    let deadline = Instant::now() + LONG;
    while leader.asked(ADD_AND_GET) == 0 {
        assert!(Instant::now() < deadline, "the leader is never asked");
        let _ = client.add_and_get("n", 1).await;
    }
    let before = refusing.asked(ADD_AND_GET);
    for _ in 0..CALLS {
        let outcome = client.add_and_get("n", 1).await;
        assert!(matches!(outcome, Ok(1) | Err(Error::Refused(_))), "{outcome:?}");
    }
    let refused = refusing.asked(ADD_AND_GET) - before;
    assert!((1..CALLS / 4).contains(&refused), "{refused}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_not_waited_for() {
    let member = Member::start(|kind, _| match kind {
        GET | SET => Reply::Silence,
        _ => formality(),
    });
    let client = member.connected(Duration::from_millis(500)).await;
    let read = client.get("m", "k").await;
    assert!(matches!(&read, Err(Error::Unavailable(why)) if why.contains("500 ms")), "{read:?}");
    let written = client.put("m", "k", 1).await;
    assert!(
        matches!(&written, Err(Error::OutcomeUnknown(why)) if why.contains("500 ms")),
        "{written:?}"
    );
    assert_eq!((member.asked(GET), member.asked(SET)), (1, 1));
}

#[tokio::test]
async fn a_member_that_says_nothing_any_more_is_left() {
    let deaf = Arc::new(AtomicUsize::new(0));
    let is_deaf = deaf.clone();
    let member = Member::start(move |kind, _| match (kind, is_deaf.load(Ordering::SeqCst)) {
        (SET, _) | (_, 1) => {
            is_deaf.store(1, Ordering::SeqCst);
            Reply::Silence
        }
        _ => formality(),
    });
    let client = member.client(LONG);
    let outcome = client.put("m", "k", 1).await;
    let silent = matches!(&outcome, Err(Error::OutcomeUnknown(why)) if why.contains("silent"));
    assert!(silent, "{outcome:?}");
    deaf.store(0, Ordering::SeqCst);
    assert_eq!(until_done(async || client.get("m", "k").await).await, None);
}

#[tokio::test]
async fn a_member_that_talks_nonsense_is_left_and_tried_again() {
    for nonsense in [
        vec![0xff; 100],
        // A frame of 1 GiB.
        vec![0, 0, 0, 0x40, 0, 0xc0],
        // A fragment.
        bytes("1300000000800000000000000000000000000000"),
    ] {
        let shown = format!("{nonsense:x?}");
        let member = Member::start(move |kind, before| match kind {
            SET if before == 0 => Reply::Bytes(nonsense.clone()),
            _ => formality(),
        });
        let client = member.client(LONG);
        let outcome = client.put("m", "k", 1).await;
        assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{shown}: {outcome:?}");
        until_done(async || client.put("m", "k", 1).await).await;
    }
}

#[tokio::test]
async fn a_cluster_without_cp_is_refused_with_the_setting_that_turns_it_on() {
    let member = Member::start(|kind, _| match kind {
        CP_MEMBERS => failure(18, "CP Subsystem is not enabled!"),
        _ => formality(),
    });
    let client = member.client(LONG);
    for outcome in [client.check_cp().await, client.add_and_get("n", 1).await.map(drop)] {
        let refused =
            matches!(&outcome, Err(Error::Refused(why)) if why.contains("cp-member-count"));
        assert!(refused, "{outcome:?}");
    }
    assert_eq!((member.asked(ADD_AND_GET), member.asked(GET_ATOMIC)), (0, 0));
}

#[tokio::test]
async fn a_lock_under_which_a_put_may_be_on_its_way_is_left_to_its_lease() {
    let member = Member::start(|kind, before| match kind {
        SET if before == 0 => Reply::Silence,
        _ => formality(),
    });
    let client = member.connected(Duration::from_millis(500)).await;
    for in_doubt in [true, false] {
        let lock = client.try_lock("m", "k", LONG, LONG).await.unwrap();
        let mut lock = lock.expect("the member grants all");
        let outcome = lock.put(1).await;
        if in_doubt {
            assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{outcome:?}");
            for again in
                [lock.put(2).await, lock.replace_if_same(Number::Long(1), 2).await.map(drop)]
            {
                assert!(matches!(again, Err(Error::Refused(_))), "{again:?}");
            }
            drop(lock);
        } else {
            assert_eq!(outcome, Ok(()));
            assert_eq!(lock.release().await, Ok(()));
        }
    }
    // Only the second one.
    assert_eq!((member.asked(SET), member.asked(UNLOCK)), (2, 1));
    assert_eq!(member.asked(REPLACE_IF_SAME), 0);
}

#[tokio::test]
async fn a_lock_under_which_a_comparing_write_may_be_on_its_way_is_released() {
    let member = Member::start(|kind, _| match kind {
        REPLACE_IF_SAME => Reply::Silence,
        _ => formality(),
    });
    let client = member.connected(Duration::from_millis(500)).await;
    let lock = client.try_lock("m", "k", LONG, LONG).await.unwrap();
    let mut lock = lock.expect("the member grants all");
    let outcome = lock.replace_if_same(Number::Long(1), 2).await;
    assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{outcome:?}");
    assert_eq!(lock.release().await, Ok(()));
    assert_eq!(member.asked(UNLOCK), 1);
}

#[tokio::test]
async fn a_release_that_may_not_have_been_made_is_made_again() {
    // MemberLeft
    let member = Member::start(|kind, before| match kind {
        UNLOCK if before == 0 => failure(33, "why"),
        _ => formality(),
    });
    let client = member.client(LONG);
    let lock = client.try_lock("m", "k", LONG, LONG).await.unwrap();
    assert_eq!(lock.expect("the member grants all").release().await, Ok(()));
    assert_eq!(member.asked(UNLOCK), 2);
}

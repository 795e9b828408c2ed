//! Beside Hazelcast's own client for Python, on the cluster that `compose/with-hazelcast` starts: what one does the other
//! must see.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    ops::Range,
    path::Path,
    process::{self, Child, ChildStdin, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tally_hazelcast::{Client, Error, Number, Partition, Settings};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

/// Who increments at once, of each client.
const CALLERS: usize = 4;
/// How often each of ours does. Those of the other client do so for as long.
const CALLS: usize = 50;
/// More than the other client can make in that time.
const OFFICIAL_CALLS_MAX: u64 = 1_000_000;

/// What is counted from, where nothing depends on it.
const LONG_0: Number = Number::Long(0);

/// Any, in a map of which it is the only one.
const KEY: &str = "k";

/// Long enough for a lock that is free.
const SHORT: Duration = Duration::from_millis(50);
const LEASE: Duration = Duration::from_secs(30);
const WAIT: Duration = Duration::from_secs(30);
/// Longer than `client.py` gives itself.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// Where a key ends within a block of its hash matters, and how long its characters are.
const KEYS: [&str; 11] = [
    "",
    "a",
    "ab",
    "abc",
    "abcd",
    "\0",
    "h\u{e9}\u{e9}",
    "\u{65e5}\u{672c}\u{8a9e}",
    "\u{1f600}",
    "a\u{1f600}\u{1f468}\u{200d}\u{1f469}",
    "a key that is a good deal longer than any that somebody would choose for a counter, with all its words",
];

const LONGS: [i64; 8] = [
    0,
    -1,
    i64::MAX,
    i64::MIN,
    i32::MAX as i64,
    i32::MIN as i64,
    i32::MAX as i64 + 1,
    0x0102_0304_0506_0708,
];

const INTEGERS: [i32; 6] = [0, 1, -1, i32::MAX, i32::MIN, 0x0102_0304];

#[tokio::test]
async fn what_one_writes_the_other_reads_whatever_the_key() {
    let (ours, mut official) = (client(), Official::start());
    let map = "keys";
    let many = (0..50).map(|index| format!("user:{index}"));
    for (index, key) in KEYS.map(str::to_owned).into_iter().chain(many).enumerate() {
        let value = index as i64;
        let get = json!({"do": "get", "map": map, "key": key});
        assert_eq!(ours.put(map, &key, Number::Long(value)).await, Ok(()), "{key:?}");
        assert_eq!(official.ask(get).await, Ok(json!(value)), "{key:?}");
        let put = json!({"do": "put", "map": map, "key": key, "value": -value});
        assert_eq!(official.ask(put).await, Ok(json!(value)), "{key:?}");
        assert_eq!(ours.get(map, &key).await, Ok(Some(Number::Long(-value))), "{key:?}");
    }
}

#[tokio::test]
async fn what_one_writes_the_other_reads_whatever_the_number() {
    let (ours, mut official) = (client(), Official::start());
    let (map, key) = ("numbers of both", KEY);
    for value in LONGS {
        let put = json!({"do": "put", "map": map, "key": key, "value": value});
        official.ask(put).await.unwrap();
        assert_eq!(ours.get(map, key).await, Ok(Some(Number::Long(value))));
        assert_eq!(ours.put(map, key, Number::Long(!value)).await, Ok(()));
        let read = official.ask(json!({"do": "get", "map": map, "key": key})).await;
        assert_eq!(read, Ok(json!(!value)));
    }
    for value in INTEGERS {
        let put = json!({"do": "put", "map": map, "key": key, "value": value, "kind": "integer"});
        official.ask(put).await.unwrap();
        assert_eq!(ours.get(map, key).await, Ok(Some(Number::Integer(value))));
    }
}

#[tokio::test]
async fn what_one_has_stored_the_other_does_not_put_again() {
    let (ours, mut official) = (client(), Official::start());
    let map = &of_this_run("absent");
    let put = |key, value, kind| json!({"do": "put_if_absent", "map": map, "key": key, "value": value, "kind": kind});
    assert_eq!(ours.put_if_absent(map, "ours", 1).await, Ok(None));
    assert_eq!(official.ask(put("ours", 2, "long")).await, Ok(json!(1)));
    for (key, kind, stored) in
        [("long", "long", Number::Long(3)), ("integer", "integer", Number::Integer(3))]
    {
        assert_eq!(official.ask(put(key, 3, kind)).await, Ok(Value::Null));
        assert_eq!(ours.put_if_absent(map, key, 4).await, Ok(Some(stored)));
        assert_eq!(ours.get(map, key).await, Ok(Some(stored)));
    }
}

/// More partitions than there are.
const ALL: Range<i32> = 0..i32::MAX;

#[tokio::test]
async fn what_one_has_stored_under_a_text_the_other_lists() {
    let (ours, mut official) = (client(), Official::start());
    let map = &of_this_run("listed");
    let mut put = async |key: Value, value: Value, kind| {
        let put = json!({"do": "put", "map": map, "key": key, "value": value, "kind": kind});
        official.ask(put).await.unwrap();
    };
    put(json!("long"), json!(5), "long").await;
    put(json!("integer"), json!(5), "integer").await;
    put(json!(7), json!(5), "long").await;
    assert_eq!(ours.put(map, "ours", Number::Long(6)).await, Ok(()));
    let listed = ours.partitions(map, ALL).await.unwrap();
    assert_eq!(listed.len(), 271);
    let expected =
        [("integer", Number::Integer(5)), ("long", Number::Long(5)), ("ours", Number::Long(6))];
    let expected = Partition::from(expected.map(|(key, number)| (key.to_owned(), number)));
    assert_eq!(listed.into_iter().flatten().collect::<Partition>(), expected);

    put(json!("text"), json!("five"), "long").await;
    let refused = ours.partitions(map, ALL).await;
    assert!(
        matches!(&refused, Err(Error::Refused(why)) if why.contains("\"text\"")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn replacing_tells_an_integer_from_a_long_of_the_same_value() {
    let (ours, mut official) = (client(), Official::start());
    let (map, key) = ("kinds", KEY);

    for (kind, stored, other) in [
        ("integer", Number::Integer(5), Number::Long(5)),
        ("long", Number::Long(5), Number::Integer(5)),
    ] {
        let put = json!({"do": "put", "map": map, "key": key, "value": 5, "kind": kind});
        official.ask(put).await.unwrap();
        assert_eq!(ours.replace_if_same(map, key, other, 6).await, Ok(false), "{kind}");
        assert_eq!(ours.get(map, key).await, Ok(Some(stored)));
        assert_eq!(ours.replace_if_same(map, key, stored, 6).await, Ok(true), "{kind}");
        assert_eq!(ours.get(map, key).await, Ok(Some(stored.with(6))));
        // It is of the same kind to the other client, too.
        let other = if kind == "long" { "integer" } else { "long" };
        for (kind, replaced) in [(other, false), (kind, true)] {
            let replace = json!({
                "do": "replace_if_same", "map": map, "key": key,
                "expected": 6, "value": 7, "kind": kind,
            });
            assert_eq!(official.ask(replace).await, Ok(json!(replaced)), "{kind}");
        }
        assert_eq!(ours.get(map, key).await, Ok(Some(stored.with(7))));
    }
}

#[tokio::test]
async fn an_integer_that_grows_beyond_32_bits_is_a_long_to_both() {
    let (ours, mut official) = (client(), Official::start());
    let map = &of_this_run("wide");
    for (key, end, step) in [("most", i32::MAX, 1), ("least", i32::MIN, -1)] {
        let put = json!({"do": "put", "map": map, "key": key, "value": end, "kind": "integer"});
        official.ask(put).await.unwrap();
        let (end, beyond) = (Number::Integer(end), i64::from(end) + step);
        assert_eq!(ours.replace_if_same(map, key, end, beyond).await, Ok(true));
        assert_eq!(ours.get(map, key).await, Ok(Some(Number::Long(beyond))));
        let replace = json!({
            "do": "replace_if_same", "map": map, "key": key,
            "expected": beyond, "value": beyond + step, "kind": "long",
        });
        assert_eq!(official.ask(replace).await, Ok(json!(true)));
    }
}

#[tokio::test]
async fn an_atomic_long_is_the_same_for_both() {
    let (ours, mut official) = (client(), Official::start());
    for name in ["a", "of both", "\u{1f600} h\u{e9}"] {
        for value in LONGS {
            let set = json!({"do": "atomic_set", "name": name, "value": value});
            official.ask(set).await.unwrap();
            assert_eq!(ours.get_atomic(name).await, Ok(value), "{name}");
            assert_eq!(ours.get_and_set(name, !value).await, Ok(value), "{name}");
            let get = json!({"do": "atomic_get", "name": name});
            assert_eq!(official.ask(get).await, Ok(json!(!value)), "{name}");
            let add = json!({"do": "atomic_add_and_get", "name": name, "value": -3});
            let added = (!value).wrapping_sub(3);
            assert_eq!(official.ask(add).await, Ok(json!(added)), "{name}");
            assert_eq!(ours.add_and_get(name, 5).await, Ok(added.wrapping_add(5)), "{name}");
        }
    }
}

#[tokio::test]
async fn a_lock_that_the_official_client_holds_keeps_us_out() {
    let (ours, mut official) = (client(), Official::start());
    let (map, key) = (&of_this_run("held by the official"), KEY);
    let lock = json!({"do": "lock", "map": map, "key": key});
    let unlock = json!({"do": "unlock", "map": map, "key": key});
    assert_eq!(ours.put(map, key, Number::Long(1)).await, Ok(()));

    official.ask(lock.clone()).await.unwrap();
    assert!(ours.try_lock(map, key, SHORT, LEASE).await.unwrap().is_none());
    let (locked, unlocked) =
        tokio::join!(ours.try_lock(map, key, WAIT, LEASE), official.ask(unlock.clone()));
    assert_eq!(unlocked, Ok(Value::Null));
    assert_eq!(locked.unwrap().expect("it was released").release().await, Ok(()));

    official.ask(lock).await.unwrap();
    let release = async {
        // The owner of the key takes our calls in turn: at this one, it has taken the one that puts.
        assert_eq!(ours.get(map, key).await, Ok(Some(Number::Long(1))));
        official.ask(unlock).await
    };
    let (put, unlocked) = tokio::join!(biased; ours.put(map, key, Number::Long(2)), release);
    assert_eq!((put, unlocked), (Ok(()), Ok(Value::Null)));
    assert_eq!(ours.get(map, key).await, Ok(Some(Number::Long(2))));
}

#[tokio::test]
async fn a_lock_that_we_hold_keeps_the_official_client_out() {
    let (ours, mut official) = (client(), Official::start());
    let (map, key) = (&of_this_run("held by us"), KEY);
    let get = json!({"do": "get", "map": map, "key": key});
    let try_lock =
        |timeout_s| json!({"do": "try_lock", "map": map, "key": key, "timeout_s": timeout_s});
    let unlock = json!({"do": "unlock", "map": map, "key": key});
    assert_eq!(ours.put(map, key, Number::Long(1)).await, Ok(()));

    let mut held = ours.try_lock(map, key, WAIT, LEASE).await.unwrap().expect("it is free");
    assert_eq!(official.ask(try_lock(SHORT.as_secs_f64())).await, Ok(json!(false)));
    let refused = official.ask(unlock.clone()).await.unwrap_err();
    assert!(refused.contains("IllegalMonitorState"), "{refused}");

    let put = json!({"do": "put", "map": map, "key": key, "value": 3, "begin": true});
    official.ask(put).await.unwrap();
    // The owner of the key takes the calls of a client in turn: at this one, it has taken the one that puts.
    assert_eq!(official.ask(get.clone()).await, Ok(json!(1)));
    assert_eq!(held.put(Number::Long(2)).await, Ok(()));
    assert_eq!(held.release().await, Ok(()));
    assert_eq!(official.finish().await, Ok(json!(2)));
    assert_eq!(official.ask(get).await, Ok(json!(3)));

    assert_eq!(official.ask(try_lock(WAIT.as_secs_f64())).await, Ok(json!(true)));
    assert!(ours.try_lock(map, key, SHORT, LEASE).await.unwrap().is_none());
    assert_eq!(official.ask(unlock).await, Ok(Value::Null));
    let held = ours.try_lock(map, key, WAIT, LEASE).await.unwrap();
    assert_eq!(held.expect("it was released").release().await, Ok(()));
}

#[tokio::test]
async fn increments_of_both_under_locks_are_all_counted() {
    let (made, counted) = Method::Pessimistic.contend(LONG_0).await;
    assert_eq!(counted, made);
}

#[tokio::test]
async fn increments_of_both_that_replace_what_was_read_are_all_counted() {
    // That client writes an Integer where it is told nothing else.
    for first in [LONG_0, Number::Integer(0)] {
        let (made, counted) = Method::Optimistic.contend(first).await;
        assert_eq!(counted, made, "{first:?}");
        let stored = client().get(&Method::Optimistic.target(), KEY).await;
        assert_eq!(stored, Ok(Some(first.with(made))));
    }
}

#[tokio::test]
async fn increments_of_both_of_an_atomic_long_are_all_counted() {
    let (made, counted) = Method::Atomic.contend(LONG_0).await;
    assert_eq!(counted, made);
}

/// The control: the tests above would see an increment that is lost.
#[tokio::test]
async fn increments_of_both_without_a_lock_are_lost() {
    let (made, counted) = Method::NoLock.contend(LONG_0).await;
    assert!(counted < made, "{counted} of {made}");
}

/// How to increment, by its name in `client.py`.
#[derive(Clone, Copy, Debug)]
enum Method {
    NoLock,
    Pessimistic,
    Optimistic,
    Atomic,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::NoLock => "no_lock",
            Self::Pessimistic => "pessimistic",
            Self::Optimistic => "optimistic",
            Self::Atomic => "atomic",
        }
    }

    /// The map, or the atomic long, that is incremented.
    fn target(self) -> String {
        of_this_run(self.name())
    }

    /// Increments by both clients at once of what is `first` in a map: how many were made, and how many were counted.
    async fn contend(self, first: Number) -> (i64, i64) {
        let (ours, mut official) = (client(), Official::start());
        let target = &self.target();
        if !matches!(self, Self::Atomic) {
            assert_eq!(ours.put(target, KEY, first).await, Ok(()));
        }
        let begin = json!({
            "do": "increment", "method": self.name(), "begin": true,
            "map": target, "key": KEY, "name": target,
            "kind": if first == LONG_0 { "long" } else { "integer" },
            "threads": CALLERS, "times": OFFICIAL_CALLS_MAX,
        });
        official.ask(begin).await.unwrap();
        // The other client is at it before the first of ours, and until after the last.
        let begun = async { while self.counted(&ours).await == 0 {} };
        timeout(ANSWER_TIME_MAX, begun).await.expect("the other client begins");
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let ours = ours.clone();
            callers.spawn(async move {
                for _ in 0..CALLS {
                    self.increment(&ours).await.unwrap();
                }
            });
        }
        let made = async { while callers.join_next().await.transpose().unwrap().is_some() {} };
        timeout(ANSWER_TIME_MAX, made).await.expect("ours come to an end");
        let finished = official.finish().await.unwrap();
        let official_made = finished["made"].as_i64().unwrap();
        (official_made + (CALLERS * CALLS) as i64, self.counted(&ours).await)
    }

    async fn increment(self, ours: &Client) -> Result<(), Error> {
        let (map, key) = (&self.target(), KEY);
        match self {
            Self::NoLock => {
                let found = self.counted(ours).await;
                ours.put(map, key, Number::Long(found + 1)).await
            }
            Self::Pessimistic => {
                let lock = ours.try_lock(map, key, WAIT, LEASE).await?;
                let mut lock = lock.expect("nobody holds it for so long");
                lock.put(Number::Long(self.counted(ours).await + 1)).await?;
                lock.release().await
            }
            Self::Optimistic => loop {
                let found = ours.get(map, key).await?.expect("it was put there");
                if ours.replace_if_same(map, key, found, found.value() + 1).await? {
                    break Ok(());
                }
            },
            Self::Atomic => ours.add_and_get(map, 1).await.map(drop),
        }
    }

    async fn counted(self, ours: &Client) -> i64 {
        let target = &self.target();
        match self {
            Self::Atomic => ours.get_atomic(target).await.unwrap(),
            _ => ours.get(target, KEY).await.unwrap().map_or(0, Number::value),
        }
    }
}

/// A name that no run before has used: it may have left a number or a lock there.
fn of_this_run(name: &str) -> String {
    format!("{name} {}", process::id())
}

fn needed(name: &str) -> String {
    let why = "this test needs Hazelcast and its client for Python: run it by compose/with-services cargo test";
    env::var(name).unwrap_or_else(|_| panic!("{why}"))
}

fn client() -> Client {
    Client::new(Settings {
        members: needed("HZ_CLUSTER_MEMBERS").split(',').map(str::to_owned).collect(),
        cluster_name: needed("HZ_CLUSTER_NAME"),
        // The machine is busy with other tests, and no time is measured here.
        invocation_time_max: Duration::from_secs(10),
        cp_group_wait_max: Duration::from_secs(30),
        calls_max: 1000,
    })
}

/// The other client: `client.py`, which ends with this.
struct Official {
    program: Child,
    requests: ChildStdin,
    answers: mpsc::UnboundedReceiver<String>,
}

impl Official {
    fn start() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official/client.py");
        let mut program = Command::new(needed("TOOLS_PYTHON"))
            // Apart from the variables and packages of whoever runs this.
            .arg("-I")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("TOOLS_PYTHON has a Python");
        let requests = program.stdin.take().unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let (sender, answers) = mpsc::unbounded_channel();
        // Until the program ends.
        thread::spawn(move || lines.map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { program, requests, answers }
    }

    /// The value of the answer, or the error in it.
    async fn ask(&mut self, request: Value) -> Result<Value, String> {
        writeln!(self.requests, "{request}").expect("client.py runs");
        let answer = timeout(ANSWER_TIME_MAX, self.answers.recv()).await;
        let answer = answer.expect("client.py answers in time").expect("client.py runs");
        let mut answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
        match answer["error"].take() {
            Value::Null => Ok(answer["value"].take()),
            error => Err(error.as_str().expect("an error is text").to_owned()),
        }
    }

    /// The result of what was begun.
    async fn finish(&mut self) -> Result<Value, String> {
        self.ask(json!({"do": "finish"})).await
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

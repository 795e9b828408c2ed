//! Bytes as the official clients and members write them, and bytes as nobody should.

use bytes::BytesMut;
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    data::{self, Number},
    failure::{Failure, Meaning},
    frame::{Decoder, MESSAGE_BYTES_MAX, Malformed, Message, Request},
    requests::{self, AtomicLongCall, Entry, EntryCall, Pointer, RaftGroup},
    responses::{self, Fetched, Greeting, View, Welcome},
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> BytesMut {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn written(request: &Request) -> String {
    let mut out = BytesMut::new();
    request.write(1, &mut out);
    hex(&out)
}

/// The only message in some bytes.
fn message(hex: &str) -> Message {
    let mut received = bytes(hex);
    let message = Decoder::default().next(&mut received).unwrap().expect("it is whole");
    assert!(received.is_empty());
    message
}

/// Written by the official Python client 5.7.0, but for the lock with a wait and the fetching of entries, which were written
/// from their layouts: map "m", key "counter", thread 7, from 5 to 6.
#[test]
fn requests_are_the_bytes_that_other_clients_send() {
    let entry = Entry::new("m", "counter");
    let partition = entry.partition(271);
    let (thread, value, expected) = (7, Number::Long(6), Number::Long(5));
    let entry_call = |call: EntryCall| call.request(&entry, partition);
    let group = RaftGroup { name: "default".into(), seed: 0, id: 2 };
    let atomic_call = |call: AtomicLongCall| call.request(&group, "counter");
    for (request, expected) in [
        (requests::add_cluster_view_listener(), "1600000000e0000300000100000000000000ffffffff"),
        (requests::ping(), "1600000000e0000b00000100000000000000ffffffff"),
        (
            entry_call(EntryCall::Get { thread }),
            "1e00000000c00002010001000000000000000300000007000000000000000700000000006d19000000002000000000fffffff500000007636f756e746572",
        ),
        (
            entry_call(EntryCall::Set { thread, value: expected }),
            "2600000000c0000f01000100000000000000030000000700000000000000ffffffffffffffff0700000000006d19000000000000000000fffffff500000007636f756e74657216000000002000000000fffffff80000000000000005",
        ),
        (
            entry_call(EntryCall::PutIfAbsent { thread, value: expected }),
            "2600000000c0000e01000100000000000000030000000700000000000000ffffffffffffffff0700000000006d19000000000000000000fffffff500000007636f756e74657216000000002000000000fffffff80000000000000005",
        ),
        (
            entry_call(EntryCall::ReplaceIfSame { thread, expected, value }),
            "1e00000000c00005010001000000000000000300000007000000000000000700000000006d19000000000000000000fffffff500000007636f756e74657216000000000000000000fffffff8000000000000000516000000002000000000fffffff80000000000000006",
        ),
        (
            entry_call(EntryCall::Unlock { thread, reference: 4 }),
            "2600000000c000130100010000000000000003000000070000000000000004000000000000000700000000006d19000000002000000000fffffff500000007636f756e746572",
        ),
        (
            requests::fetch("m", 7, &[Pointer::BEGIN], 1_000),
            "1a00000000c000380100010000000000000007000000e80300000700000000006d0e0000000020ffffff7fffffffff",
        ),
        (
            requests::create_cp_group("counter"),
            "1600000000c000011e000100000000000000ffffffff0d0000000020636f756e746572",
        ),
        (
            atomic_call(AtomicLongCall::AddAndGet { delta: 1 }),
            "1e00000000c0000309000100000000000000ffffffff0100000000000000060000000010160000000000000000000000000002000000000000000d000000000064656661756c740600000000080d0000000020636f756e746572",
        ),
        (
            atomic_call(AtomicLongCall::Get),
            "1600000000c0000509000100000000000000ffffffff060000000010160000000000000000000000000002000000000000000d000000000064656661756c740600000000080d0000000020636f756e746572",
        ),
        (
            atomic_call(AtomicLongCall::GetAndSet { value: 0 }),
            "1e00000000c0000709000100000000000000ffffffff0000000000000000060000000010160000000000000000000000000002000000000000000d000000000064656661756c740600000000080d0000000020636f756e746572",
        ),
    ] {
        assert_eq!(written(&request), expected);
    }
}

#[test]
fn a_member_is_told_who_logs_in() {
    let client = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
    // As far as the version and the names, which are ours.
    let expected = "2800000000c0000100000100000000000000ffffffff007766554433221100ffeeddccbbaa998801\
                    09000000000064657606000000000406000000000409000000000054";
    let authentication = written(&requests::authentication("dev", client));
    assert!(authentication.starts_with(expected), "{authentication}");
    // No labels.
    assert!(authentication.ends_with("060000000010060000000028"), "{authentication}");
}

const AUTHENTICATED: &str = "4400000000c001010000010000000000000000000033332222111111115555555555554444010f01000000ccccbbbbaaaaaaaaeeeeeeeeeeeedddd00ffffffffffffffff0600000000100a0000000000656400000f00000000003132372e302e302e310600000000080b0000000000352e332e38060000000004060000000004060000000010060000000008060000000010060000000008060000000020";
const MEMBERS: &str = "1a00000000c2020300000200000000000000ffffffff010000000600000000100600000000101800000000000033332222111111115555555555554444000600000000100a0000000000656400000f00000000003132372e302e302e31060000000008060000000010060000000008060000000010090000000000050308060000000008060000000010060000000008060000000008060000000028";
const GROUP: &str = "1300000000c001011e00050000000000000000060000000010160000000000000000000000000022080000000000000d000000000064656661756c74060000000028";
const NULL: &str = "1300000000c001020100060000000000000000060000000024";
const ZERO: &str =
    "1300000000c0010201000b000000000000000016000000002000000000fffffff80000000000000000";
const STORED: &str = "1300000000e0010f0100080000000000000000";
const FETCHED: &str = "1300000000c0013801000000000000000000001600000000000400000008000000ffffffff1000000006000000001013000000000000000000fffffff5000000016116000000000000000000fffffff8000000000000000513000000000000000000fffffff5000000016216000000000000000000fffffff80000000000000006060000000028";
const ADDED: &str = "1b00000000e0010309009724000000000000000100000000000000";
const NOT_OWNER: &str = "1300000000c000000000b827000000000000000600000000100600000000100a00000000001a0000002c00000000006a6176612e6c616e672e496c6c6567616c4d6f6e69746f725374617465457863657074696f6e3e000000000043757272656e7420746872656164206973206e6f74206f776e6572206f6620746865206c6f636b21202d3e203c6e6f742d6c6f636b65643e0600000000100600000000100a00000000002a000000090000000000782e5909000000000072756e0c0000000000592e6a617661060000000008060000000008060000000008060000000028";

/// Accepted by the official Python client, so their layout is right.
#[test]
fn answers_are_read_as_other_clients_read_them() {
    let member = Uuid::from_u128(0x1111_1111_2222_3333_4444_5555_5555_5555);
    let cluster = Uuid::from_u128(0xaaaa_aaaa_bbbb_cccc_dddd_eeee_eeee_eeee);
    let greeting = Greeting { member, cluster, partitions: 271 };
    assert_eq!(
        responses::authentication(&message(AUTHENTICATED)),
        Ok(Welcome::Authenticated(greeting))
    );
    let members = View::Members(vec![(member, "127.0.0.1:25701".into())]);
    assert_eq!(responses::view(&message(MEMBERS)), Ok((1, members)));
    let group = RaftGroup { name: "default".into(), seed: 0, id: 2082 };
    assert_eq!(responses::raft_group(&message(GROUP)), Ok(group));
    assert_eq!(responses::data(&message(NULL)), Ok(None));
    let zero = message(ZERO);
    let zero = responses::data(&zero).unwrap().map(Number::from_data);
    assert_eq!(zero, Some(Ok(Number::Long(0))));
    assert_eq!(message(STORED).correlation(), 8);
    assert_eq!(message(ADDED).fixed().i64(), Ok(1));
    for (answer, expected) in [
        ("1400000000e001050100d3120000000000000001", true),
        ("1400000000e001050100d4120000000000000000", false),
    ] {
        assert_eq!(message(answer).fixed().bool(), Ok(expected));
    }
}

#[test]
fn entries_come_with_where_the_next_ones_are() {
    let message = message(FETCHED);
    let Fetched { pointers, entries } = responses::fetched(&message).unwrap();
    assert_eq!(pointers, [Pointer { index: 4, size: 8 }, Pointer { index: -1, size: 16 }]);
    assert!(!pointers[0].is_end() && pointers[1].is_end());
    let read = |(key, value)| (data::text(key), Number::from_data(value));
    let entries: Vec<_> = entries.into_iter().map(read).collect();
    let entry = |key: &str, value| (Some(key.to_owned()), Ok(Number::Long(value)));
    assert_eq!(entries, [entry("a", 5), entry("b", 6)]);
}

#[test]
fn only_an_exception_of_no_special_kind_says_that_there_is_no_cp() {
    let meaning = |code, text: &str| Failure { code, text: text.into() }.meaning();
    let off = "HazelcastException: CP Subsystem is not enabled!";
    assert_eq!(meaning(18, off), Meaning::CpOff);
    // The name of a counter may be anything.
    assert_eq!(meaning(80, off), Meaning::Unknown);
    let named = "HazelcastException: no CP Subsystem is not enabled";
    assert_eq!(meaning(18, named), Meaning::Unknown);
}

/// Made of the layout: two members, one of which owns nothing.
#[test]
fn the_owners_of_partitions_come_after_what_they_own() {
    let uuid = |last: &str| format!("00{}{last}00000000000000", "00".repeat(8));
    let view = [
        "1a00000000c2030300000200000000000000ffffffff07000000",
        "060000000010",
        "0e0000000000",
        "00000000",
        "02000000",
        "060000000000",
        "060000000008",
        "280000000020",
        &uuid("01"),
        &uuid("02"),
    ]
    .concat();
    let owned = vec![(Uuid::from_u128(1), vec![0, 2]), (Uuid::from_u128(2), vec![])];
    assert_eq!(responses::view(&message(&view)), Ok((7, View::Partitions(owned))));
}

#[test]
fn an_error_is_its_code_its_class_and_its_text() {
    let failure = Failure::of(&message(NOT_OWNER)).unwrap().unwrap();
    assert_eq!(failure.meaning(), Meaning::NotOwner);
    let expected =
        "IllegalMonitorStateException: Current thread is not owner of the lock! -> <not-locked>";
    assert_eq!(failure.text, expected);
    assert_eq!(Failure::of(&message(ZERO)), Ok(None));
}

#[test]
fn what_may_have_been_done_is_never_taken_for_what_was_not() {
    let meaning = |code| Failure { code, text: String::new() }.meaning();
    // RetryableHazelcast, TargetNotMember, NotLeader
    for code in [46, 53, 93] {
        assert_eq!(meaning(code), Meaning::NotNow, "{code}");
    }
    // Undefined, HazelcastInstanceNotActive, IllegalState, MemberLeft, NullPointer, OperationTimeout, RetryableIO, TargetDisconnected,
    // IndeterminateOperationState, LeaderDemoted, and one that nobody has defined yet
    for code in [0, 19, 27, 33, 37, 38, 47, 52, 80, 91, 12_345] {
        assert_eq!(meaning(code), Meaning::Unknown, "{code}");
    }
}

#[test]
fn what_is_no_message_is_refused_before_it_takes_memory() {
    for (what, received) in [
        ("a length below that of a header", "0500000000e0"),
        ("a negative length", "ffffffff00e0"),
        ("a length of 2 GiB", "ffffff7f00e0"),
        ("a fragment", "1a0000000080"),
        ("a first frame without correlation id", "0600000000e0"),
    ] {
        let outcome = Decoder::default().next(&mut bytes(received));
        assert!(matches!(outcome, Err(Malformed(_))), "{what}: {outcome:?}");
    }
    // Without an end.
    let mut received = bytes("1300000000c000000000b82700000000000000");
    let mut decoder = Decoder::default();
    let frame = bytes("060000000000");
    let refused = (0..MESSAGE_BYTES_MAX).find_map(|_| {
        received.extend_from_slice(&frame);
        decoder.next(&mut received).err()
    });
    assert_eq!(refused, Some(Malformed("it has more than 4 MiB")));
}

/// Everything that can be read of a message, whichever kind it is.
fn read_all(message: &Message) {
    let _ = (message.kind(), message.correlation(), message.is_event());
    let _ = Failure::of(message);
    let _ = responses::authentication(message);
    let _ = responses::view(message);
    let _ = responses::raft_group(message);
    let _ = responses::cp_members(message);
    let _ = responses::fetched(message)
        .map(|fetched| fetched.entries.iter().map(|(key, _)| data::text(key)).collect::<Vec<_>>());
    let _ = responses::data(message).map(|data| data.map(Number::from_data));
    let mut frames = message.frames();
    while frames.leave().is_ok() {}
}

/// Messages of all kinds whose bytes, or whose frames, were damaged.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (
        prop::sample::select(
            &[AUTHENTICATED, MEMBERS, GROUP, NULL, ZERO, FETCHED, ADDED, NOT_OWNER][..],
        ),
        damage,
        any::<bool>(),
    )
        .prop_map(|(whole, damage, types)| {
            let mut bytes = bytes(whole).to_vec();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if types {
                // As a view of members or partitions, whatever it was.
                let kind = 2 + bytes[7] % 2;
                bytes[6..10].copy_from_slice(&[kind, 3, 0, 0]);
            }
            bytes
        })
}

proptest! {
    #[test]
    fn any_bytes_are_messages_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut received = BytesMut::from(&bytes[..]);
        let mut decoder = Decoder::default();
        while let Ok(Some(message)) = decoder.next(&mut received) {
            read_all(&message);
        }
    }

    #[test]
    fn damaged_messages_are_read_or_an_error(bytes in damaged()) {
        let mut received = BytesMut::from(&bytes[..]);
        let mut decoder = Decoder::default();
        while let Ok(Some(message)) = decoder.next(&mut received) {
            read_all(&message);
        }
    }

    #[test]
    fn messages_are_the_same_however_their_bytes_arrive(
        kinds in prop::collection::vec(prop::sample::select(&[MEMBERS, ZERO, ADDED, NOT_OWNER][..]), 1..5),
        cuts in prop::collection::vec(1_usize..50, 1..200),
    ) {
        let sent: Vec<u8> = kinds.iter().flat_map(|kind| bytes(kind)).collect();
        let (mut received, mut decoder) = (BytesMut::new(), Decoder::default());
        let (mut rest, mut found) = (&sent[..], Vec::new());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, later) = rest.split_at((*cut).min(rest.len()));
            received.extend_from_slice(part);
            rest = later;
            while let Some(message) = decoder.next(&mut received).unwrap() {
                found.push(message.correlation());
            }
        }
        let expected: Vec<i64> = kinds.iter().map(|kind| message(kind).correlation()).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_request_is_read_as_it_was_written(key in ".{0,80}", value: i64, thread: i64) {
        let entry = Entry::new("m", &key);
        let call = EntryCall::Set { thread, value: Number::Long(value) };
        let mut out = BytesMut::new();
        call.request(&entry, 7).write(9, &mut out);
        let message = Decoder::default().next(&mut out).unwrap().unwrap();
        prop_assert_eq!(message.correlation(), 9);
        let mut frames = message.frames();
        prop_assert_eq!(frames.expect().unwrap().text(), "m");
        prop_assert_eq!(frames.expect().unwrap().nullable(), Some(&data::key(&key)[..]));
        let stored = frames.expect().unwrap().nullable().map(Number::from_data);
        prop_assert_eq!(stored, Some(Ok(Number::Long(value))));
        prop_assert!(frames.next().is_none());
    }
}

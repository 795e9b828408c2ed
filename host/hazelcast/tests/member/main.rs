//! Against a member that plays a part, for what no real one does when it is wanted.

mod fake;
mod group;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fake::*;
use tally_hazelcast::{Client, Error, Number};

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

/// Calls until most of them go to the fastest member and a few to `other`: either may be slow at any time on a busy machine.
async fn until_few_ask(client: &Client, other: &Member) {
    // Each of two members is tried once or twice within so many.
    const CALLS: usize = 200;
    let deadline = Instant::now() + 3 * LONG;
    loop {
        let before = other.asked(ADD_AND_GET);
        for _ in 0..CALLS {
            let outcome = client.add_and_get("n", 1).await;
            assert!(matches!(outcome, Ok(1) | Err(Error::Refused(_))), "{outcome:?}");
        }
        let asked = other.asked(ADD_AND_GET) - before;
        if (1..CALLS / 10).contains(&asked) {
            return;
        }
        assert!(Instant::now() < deadline, "{asked} of {CALLS}");
    }
}

#[tokio::test]
async fn atomic_calls_go_to_the_member_that_makes_them_fastest() {
    let slow = Member::start(|kind, _| {
        if kind == ADD_AND_GET {
            thread::sleep(Duration::from_millis(20));
        }
        formality()
    });
    let leader = Member::start(|_, _| formality());
    until_few_ask(&slow.client_beside(&[&leader], LONG), &slow).await;
}

#[tokio::test]
async fn a_member_that_refuses_at_once_is_not_taken_for_the_fastest() {
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
    until_few_ask(&refusing.client_beside(&[&leader], LONG), &refusing).await;
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_not_waited_for() {
    let member = Member::start(|kind, _| match kind {
        GET | SET => Reply::Silence,
        _ => formality(),
    });
    let client = member.connected(SHORT).await;
    let read = client.get("m", "k").await;
    assert!(matches!(&read, Err(Error::Unavailable(why)) if why.contains("600 ms")), "{read:?}");
    let written = client.put("m", "k", Number::Long(1)).await;
    assert!(
        matches!(&written, Err(Error::OutcomeUnknown(why)) if why.contains("600 ms")),
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
    let outcome = client.put("m", "k", Number::Long(1)).await;
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
        let outcome = client.put("m", "k", Number::Long(1)).await;
        assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{shown}: {outcome:?}");
        until_done(async || client.put("m", "k", Number::Long(1)).await).await;
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
    let client = member.connected(SHORT).await;
    for in_doubt in [true, false] {
        let lock = client.try_lock("m", "k", LONG, LONG).await.unwrap();
        let mut lock = lock.expect("the member grants all");
        let outcome = lock.put(Number::Long(1)).await;
        if in_doubt {
            assert!(matches!(outcome, Err(Error::OutcomeUnknown(_))), "{outcome:?}");
            for again in [
                lock.put(Number::Long(2)).await,
                lock.replace_if_same(Number::Long(1), 2).await.map(drop),
            ] {
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
    let client = member.connected(SHORT).await;
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

//! The CP group of atomic longs, which may take its time before it answers.

use std::{
    thread,
    time::{Duration, Instant},
};

use tally_hazelcast::{Client, Error, Settings};
use tokio::task::JoinSet;

use crate::fake::*;

#[tokio::test]
async fn nothing_is_written_before_the_group_has_answered_a_read() {
    for late in [CREATE_CP_GROUP, GET_ATOMIC] {
        let member = Member::start(move |kind, before| match kind {
            _ if kind == late && before < 3 => Reply::Silence,
            _ => formality(),
        });
        let client = member.client(SHORT);
        until_done(async || client.put_if_absent("m", "connected", 1).await).await;
        // Who comes first waits, and who comes later is told at once.
        for _ in 0..2 {
            let outcome = client.add_and_get("n", 1).await;
            let told = matches!(&outcome, Err(Error::Unavailable(why)) if why.contains("CP group"));
            assert!(told, "{late:x}: {outcome:?}");
        }
        assert_eq!(member.asked(ADD_AND_GET), 0, "{late:x}");
        assert_eq!(until_done(async || client.add_and_get("n", 1).await).await, 1);
        assert_eq!((member.asked(ADD_AND_GET), member.asked(late)), (1, 4), "{late:x}");
        // From then on nobody asks any more.
        assert_eq!(client.add_and_get("n", 1).await, Ok(1));
        assert_eq!((member.asked(ADD_AND_GET), member.asked(late)), (2, 4), "{late:x}");
    }
}

#[tokio::test]
async fn a_write_that_has_waited_for_the_group_has_all_its_time_afterwards() {
    let time_max = Duration::from_secs(4);
    let member = Member::start(move |kind, _| {
        if [GET_ATOMIC, ADD_AND_GET].contains(&kind) {
            thread::sleep(time_max * 6 / 10);
        }
        formality()
    });
    assert_eq!(member.connected(time_max).await.add_and_get("n", 1).await, Ok(1));
}

#[tokio::test]
async fn one_search_for_the_group_serves_all_callers() {
    let member = Member::start(|_, _| formality());
    let client = member.client(LONG);
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        callers.spawn(async move { client.add_and_get("n", 1).await });
    }
    assert!(callers.join_all().await.into_iter().all(|outcome| outcome == Ok(1)));
    assert_eq!((member.asked(CREATE_CP_GROUP), member.asked(GET_ATOMIC)), (1, 1));
    assert_eq!(member.asked(ADD_AND_GET), 8);
}

#[tokio::test]
async fn whoever_waits_for_the_group_waits_until_it_answers_and_no_longer_than_allowed() {
    let late = Member::start(|kind, before| match kind {
        GET_ATOMIC if before < 3 => Reply::Silence,
        _ => formality(),
    });
    assert_eq!(late.connected(SHORT).await.wait_for_group("n").await, Ok(()));
    assert_eq!(late.asked(GET_ATOMIC), 4);

    let silent = Member::start(|kind, _| match kind {
        GET_ATOMIC => Reply::Silence,
        _ => formality(),
    });
    let wait_max = 3 * SHORT;
    let settings = silent.settings();
    let settings = Settings { invocation_time_max: SHORT, cp_group_wait_max: wait_max, ..settings };
    let client = Client::new(settings);
    until_done(async || client.put_if_absent("m", "connected", 1).await).await;
    // Each time anew.
    for _ in 0..2 {
        let began = Instant::now();
        let outcome = client.wait_for_group("n").await;
        let told = matches!(&outcome, Err(Error::Unavailable(why)) if why.contains("1800 ms"));
        assert!(told, "{outcome:?}");
        assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    }
    assert_eq!(silent.asked(ADD_AND_GET), 0);
}

#[tokio::test]
async fn a_group_that_is_gone_is_asked_for_and_read_again_before_the_next_write() {
    // CPGroupDestroyed
    let member = Member::start(|kind, before| match (kind, before) {
        (ADD_AND_GET, 1) => failure(89, "why"),
        // The first read of the new group.
        (GET_ATOMIC, 1) => Reply::Silence,
        _ => formality(),
    });
    let client = member.connected(SHORT).await;
    assert_eq!(until_done(async || client.add_and_get("n", 1).await).await, 1);
    let outcome = client.add_and_get("n", 1).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    assert_eq!((member.asked(ADD_AND_GET), member.asked(GET_ATOMIC)), (2, 2));
    assert_eq!(until_done(async || client.add_and_get("n", 1).await).await, 1);
    assert_eq!((member.asked(ADD_AND_GET), member.asked(GET_ATOMIC)), (3, 3));
}

//! Against the cluster that `compose/with-hazelcast` starts.

use std::{collections::HashSet, env, sync::Arc, time::Duration};

use tally_hazelcast::{Client, Error, Number, Settings};
use tokio::{task::JoinSet, time::timeout};

const CALLERS: usize = 16;
const CALLS: i64 = 100;

const LEASE: Duration = Duration::from_secs(20);
const WAIT: Duration = Duration::from_secs(30);

fn settings() -> Settings {
    let members = env::var("HZ_CLUSTER_MEMBERS")
        .expect("this test needs Hazelcast: run it by compose/with-hazelcast cargo test");
    Settings {
        members: members.split(',').map(str::to_owned).collect(),
        cluster_name: env::var("HZ_CLUSTER_NAME").unwrap_or_else(|_| "dev".into()),
        // The machine is busy with other tests, and no time is measured here.
        invocation_time_max: Duration::from_secs(10),
        cp_group_wait_max: Duration::from_secs(30),
        calls_max: 10_000,
    }
}

/// The name of a map or an atomic long that no other run has used on the same cluster.
fn named(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

fn client() -> Client {
    Client::new(settings())
}

/// `CALLERS` tasks that do something `CALLS` times each.
async fn contend<F>(call: impl Fn() -> F)
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let call = Arc::new(call);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let calls: Vec<F> = (0..CALLS).map(|_| call()).collect();
        callers.spawn(async move {
            for call in calls {
                call.await?;
            }
            Ok::<(), Error>(())
        });
    }
    while let Some(outcome) = callers.join_next().await {
        outcome.unwrap().unwrap();
    }
}

const EXPECTED: i64 = CALLERS as i64 * CALLS;

#[tokio::test]
async fn numbers_are_stored_where_the_key_is() {
    let client = client();
    for key in ["a", "", "counter", "h\u{e9}\u{e9}", "k1", "k2", "k3", "k4", "k5"] {
        assert_eq!(client.get(&named("numbers"), key).await, Ok(None), "{key}");
        assert_eq!(client.put_if_absent(&named("numbers"), key, 1).await, Ok(None));
        assert_eq!(
            client.put_if_absent(&named("numbers"), key, 2).await,
            Ok(Some(Number::Long(1)))
        );
        for (expected, replaced) in
            [(Number::Long(2), false), (Number::Integer(1), false), (Number::Long(1), true)]
        {
            let outcome = client.replace_if_same(&named("numbers"), key, expected, i64::MIN).await;
            assert_eq!(outcome, Ok(replaced), "{key} {expected:?}");
        }
        assert_eq!(client.get(&named("numbers"), key).await, Ok(Some(Number::Long(i64::MIN))));
        assert_eq!(client.put(&named("numbers"), key, Number::Long(3)).await, Ok(()));
        assert_eq!(client.get(&named("numbers"), key).await, Ok(Some(Number::Long(3))));
    }
}

#[tokio::test]
async fn the_members_that_own_the_keys_are_found_through_one_of_them() {
    let all: HashSet<String> = settings().members.into_iter().collect();
    let one = all.iter().take(1).cloned().collect();
    let client = Client::new(Settings { members: one, ..settings() });
    let found = async {
        loop {
            let mut owners = HashSet::new();
            // So many that each member owns some.
            for key in 0..64 {
                owners.extend(client.owner(&named("owners"), &key.to_string()).await.unwrap());
            }
            if owners == all {
                break;
            }
        }
    };
    timeout(WAIT, found).await.unwrap();
}

#[tokio::test]
async fn atomic_longs_count_exactly() {
    let client = client();
    client.wait_for_group(&named("exact")).await.unwrap();
    contend(|| {
        let client = client.clone();
        async move { client.add_and_get(&named("exact"), 1).await.map(drop) }
    })
    .await;
    assert_eq!(client.get_atomic(&named("exact")).await, Ok(EXPECTED));
    assert_eq!(client.compare_and_set(&named("exact"), 0, 1).await, Ok(false));
    assert_eq!(client.compare_and_set(&named("exact"), EXPECTED, 1).await, Ok(true));
    assert_eq!(client.get_and_set(&named("exact"), i64::MAX).await, Ok(1));
    assert_eq!(client.add_and_get(&named("exact"), 1).await, Ok(i64::MIN));
    // The name of a group stands behind it.
    assert!(matches!(client.get_atomic("exact@default").await, Err(Error::Refused(_))));
}

#[tokio::test]
async fn locks_exclude_the_callers_of_one_client_and_of_two() {
    let clients = [client(), client()];
    let increment = |client: Client| async move {
        let mut lock =
            client.try_lock(&named("locks"), "k", WAIT, LEASE).await?.expect("not so long");
        let value = client.get(&named("locks"), "k").await?.map_or(0, Number::value);
        lock.put(Number::Long(value + 1)).await?;
        lock.release().await
    };
    tokio::join!(
        contend(|| increment(clients[0].clone())),
        contend(|| increment(clients[1].clone()))
    );
    let count = clients[0].get(&named("locks"), "k").await;
    assert_eq!(count, Ok(Some(Number::Long(2 * EXPECTED))));
}

#[tokio::test]
async fn a_lock_that_is_held_is_waited_for_and_no_longer_than_allowed() {
    let client = client();
    let held =
        client.try_lock(&named("waits"), "k", WAIT, LEASE).await.unwrap().expect("it is free");
    let short = Duration::from_millis(50);
    assert!(client.try_lock(&named("waits"), "k", short, LEASE).await.unwrap().is_none());
    let map = named("waits");
    let waiting = client.try_lock(&map, "k", WAIT, LEASE);
    let (waited, released) = tokio::join!(waiting, held.release());
    assert_eq!(released, Ok(()));
    assert_eq!(waited.unwrap().expect("it was released").release().await, Ok(()));
}

#[tokio::test]
async fn a_lock_that_is_dropped_or_that_nobody_waits_for_any_more_is_released() {
    let client = client();
    for cut_off in [false, true] {
        let held = client
            .try_lock(&named("dropped"), "k", WAIT, LEASE)
            .await
            .unwrap()
            .expect("it is free");
        if cut_off {
            let map = named("dropped");
            let waiting = client.try_lock(&map, "k", WAIT, LEASE);
            // Long enough to be sent.
            timeout(Duration::from_millis(100), waiting).await.err().unwrap();
        }
        drop(held);
        let next = client.try_lock(&named("dropped"), "k", LEASE / 2, LEASE).await.unwrap();
        assert_eq!(next.expect("the lease is longer").release().await, Ok(()));
    }
}

#[tokio::test]
async fn a_lock_ends_with_its_lease_and_whoever_held_it_learns_so() {
    let client =
        Client::new(Settings { invocation_time_max: Duration::from_secs(3), ..settings() });
    // Connected first, so that the lease is for nothing else.
    assert_eq!(client.get(&named("leases"), "k").await, Ok(None));
    let lease = Duration::from_secs(8);
    let mut lost =
        client.try_lock(&named("leases"), "k", WAIT, lease).await.unwrap().expect("it is free");
    assert_eq!(lost.put(Number::Long(1)).await, Ok(()));
    let mut next =
        client.try_lock(&named("leases"), "k", WAIT, LEASE).await.unwrap().expect("it has ended");
    assert!(lost.remaining().is_zero());
    assert!(matches!(lost.put(Number::Long(2)).await, Err(Error::LockLost(_))));
    assert_eq!(next.put(Number::Long(3)).await, Ok(()));
    assert!(matches!(lost.release().await, Err(Error::LockLost(_))));
    assert_eq!(next.release().await, Ok(()));
    assert_eq!(client.get(&named("leases"), "k").await, Ok(Some(Number::Long(3))));
}

#[tokio::test]
async fn what_is_out_of_reach_is_unavailable_and_says_why() {
    let unreachable = Settings { members: vec!["127.0.0.1:1".into()], ..settings() };
    let misnamed = Settings { cluster_name: "another".into(), ..settings() };
    for (settings, why) in
        [(unreachable, "Connection refused"), (misnamed, "is not called another")]
    {
        let client = Client::new(settings);
        for _ in 0..2 {
            let outcome = client.add_and_get("nowhere", 1).await;
            assert!(
                matches!(&outcome, Err(Error::Unavailable(text)) if text.contains(why)),
                "{outcome:?}"
            );
        }
    }
}

#[tokio::test]
async fn calls_and_locks_beyond_the_bound_are_refused_at_once() {
    let client = Client::new(Settings { calls_max: 2, ..settings() });
    let mut held =
        client.try_lock(&named("bound"), "k", WAIT, LEASE).await.unwrap().expect("it is free");
    let mut waiting = JoinSet::new();
    for _ in 0..2 {
        let client = client.clone();
        waiting.spawn(
            async move { client.try_lock(&named("bound"), "k", WAIT, LEASE).await.map(drop) },
        );
    }
    let refused = waiting.join_next().await.unwrap().unwrap();
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    // What is done under the lock, and its release, are parts of the call that it is.
    assert_eq!(held.put(Number::Long(1)).await, Ok(()));
    assert_eq!(held.release().await, Ok(()));
    assert_eq!(waiting.join_next().await.unwrap().unwrap(), Ok(()));
    // Until the second lock is released, too.
    loop {
        match client.get(&named("bound"), "k").await {
            Err(Error::Unavailable(_)) => tokio::task::yield_now().await,
            stored => break assert_eq!(stored, Ok(Some(Number::Long(1)))),
        }
    }
}

#[tokio::test]
async fn writes_under_a_lock_that_compare_are_made_where_nothing_has_changed() {
    let (client, map) = (client(), named("compared"));
    let mut lock = client.try_lock(&map, "k", WAIT, LEASE).await.unwrap().expect("it is free");
    assert_eq!(lock.put_if_absent(1).await, Ok(None));
    assert_eq!(lock.put_if_absent(2).await, Ok(Some(Number::Long(1))));
    for (expected, replaced) in
        [(Number::Long(2), false), (Number::Integer(1), false), (Number::Long(1), true)]
    {
        assert_eq!(lock.replace_if_same(expected, 3).await, Ok(replaced), "{expected:?}");
    }
    assert_eq!(client.get(&map, "k").await, Ok(Some(Number::Long(3))));
    // Of another caller they wait for the lock.
    let beside = client.replace_if_same(&map, "k", Number::Long(3), 4);
    let (replaced, released) = tokio::join!(beside, async {
        assert_eq!(lock.replace_if_same(Number::Long(3), 5).await, Ok(true));
        lock.release().await
    });
    assert_eq!((replaced, released), (Ok(false), Ok(())));
}

#[tokio::test]
async fn all_partitions_together_hold_each_key_once_while_others_are_added() {
    const KEYS: i64 = 2_000;
    let (client, map) = (client(), named("listed"));
    let put = |name: &'static str, index: i64| {
        let (client, map) = (client.clone(), map.clone());
        async move { client.put(&map, &format!("{name}-{index}"), Number::Long(index)).await }
    };
    let all = |name| (0..KEYS).map(|index| put(name, index)).collect::<JoinSet<_>>().join_all();
    assert!(all("before").await.into_iter().all(|outcome| outcome.is_ok()));
    let mut added = (0..KEYS).map(|index| put("meanwhile", index)).collect::<JoinSet<_>>();
    let mut listed = HashSet::new();
    for (key, number) in client.partitions(&map, 0..i32::MAX).await.unwrap().into_iter().flatten() {
        assert!(key.ends_with(&format!("-{}", number.value())), "{key} is {number:?}");
        assert!(listed.insert(key.clone()), "{key} is in two partitions");
    }
    while let Some(outcome) = added.join_next().await {
        assert_eq!(outcome.unwrap(), Ok(()));
    }
    let before = listed.iter().filter(|key| key.starts_with("before"));
    assert_eq!(before.count(), KEYS as usize);
}

//! What can be said without a cluster.

use std::{collections::HashMap, time::Duration};

use clap::{
    CommandFactory, FromArgMatches, Parser,
    builder::{OsStr, Resettable},
};
use proptest::prelude::*;

use super::{HazelcastSettings, fault::harmless, lease::Lease, names::Names};
use crate::bindings::tally::hazelcast::types::{Error, Fault};

/// Only to parse settings.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    hazelcast: HazelcastSettings,
}

fn settings(args: &[&str]) -> Result<HazelcastSettings, String> {
    // Whatever cluster the other tests have.
    let command = Settings::command().mut_args(|arg| arg.env(Resettable::<OsStr>::Reset));
    let parsed = command.try_get_matches_from([&["test"], args].concat());
    let parsed = parsed.and_then(|matches| Settings::from_arg_matches(&matches));
    let settings = parsed.map_err(|error| error.to_string())?.hazelcast;
    settings.check().map(|()| settings)
}

fn names(args: &[&str]) -> Names {
    Names::new(&settings(args).unwrap())
}

fn lease(lease_ms: &str, invocation_ms: &str, lock_wait_ms: u64) -> Lease {
    let args = ["--hz-lock-lease", lease_ms, "--hz-invocation-time-max", invocation_ms];
    Lease::new(&settings(&args).unwrap(), Duration::from_millis(lock_wait_ms))
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn settings_have_defaults_that_go_together() {
    let settings = settings(&[]).unwrap();
    assert_eq!(settings.hz_cluster_members, ["127.0.0.1:5701", "127.0.0.1:5702", "127.0.0.1:5703"]);
    let cluster = settings.cluster();
    assert_eq!((cluster.cluster_name.as_str(), cluster.calls_max), ("dev", 1024));
    assert_eq!((cluster.invocation_time_max, settings.lock_lease()), (ms(2_000), ms(10_000)));
    assert_eq!(cluster.cp_group_wait_max, ms(30_000));
}

#[test]
fn members_are_hosts_with_ports() {
    for member in ["a:1", "hz-1.example.com:5701", "10.0.0.1:65535", "[::1]:5701", "a_b:5701"] {
        let settings = settings(&["--hz-cluster-members", member]).unwrap();
        assert_eq!(settings.hz_cluster_members, [member]);
    }
    let several = settings(&["--hz-cluster-members", "a:1, b:2"]).unwrap();
    assert_eq!(several.hz_cluster_members, ["a:1", "b:2"]);
    for members in [
        "",
        "a",
        "a:",
        ":1",
        "a:0",
        "a:65536",
        "a:+1",
        "a:x",
        "a:1,",
        ",a:1",
        "a:1,,b:2",
        "::1:5701",
        "[::1]",
        "[x]:1",
        "http://a:1",
        "a b:1",
        "u@a:1",
    ] {
        assert!(settings(&["--hz-cluster-members", members]).is_err(), "{members:?}");
    }
    let many = |count| vec!["a:1"; count].join(",");
    assert!(settings(&["--hz-cluster-members", &many(32)]).is_ok());
    let refused = settings(&["--hz-cluster-members", &many(33)]).unwrap_err();
    assert!(refused.contains("33 members") && !refused.contains('\n'), "{refused}");
}

#[test]
fn names_are_short_and_atomic_numbers_stay_in_the_default_group() {
    let (longest, too_long) = ("x".repeat(64), "x".repeat(65));
    for flag in ["--hz-cluster-name", "--hz-map-name", "--hz-atomic-long-name"] {
        assert!(settings(&[flag, &longest]).is_ok(), "{flag}");
        for name in ["", " x", "x ", "a\nb", too_long.as_str()] {
            assert!(settings(&[flag, name]).is_err(), "{flag} {name:?}");
        }
    }
    assert!(settings(&["--hz-map-name", "a@b"]).is_ok(), "a map has no group");
    let refused = settings(&["--hz-atomic-long-name", "a@b"]).unwrap_err();
    assert!(refused.contains("CP group"), "{refused}");
    assert!(settings(&["--hz-counter-key", &"x".repeat(257)]).is_err());
    assert!(settings(&["--hz-counter-key", ""]).is_err());
}

#[test]
fn a_lock_leaves_time_for_a_read_and_a_write() {
    for (lease, invocation, good) in
        [("100", "50", true), ("101", "51", false), ("2000", "2000", false), ("100", "200", false)]
    {
        let args = ["--hz-lock-lease", lease, "--hz-invocation-time-max", invocation];
        assert_eq!(settings(&args).is_ok(), good, "{args:?}");
        if let Err(refused) = settings(&args) {
            let named = ["--hz-lock-lease", "--hz-invocation-time-max"]
                .iter()
                .all(|it| refused.contains(it));
            assert!(named && !refused.contains('\n'), "{refused}");
        }
    }
}

#[test]
fn places_differ_by_all_that_makes_them_different() {
    let place = |args: &[&str]| settings(args).unwrap().map_place();
    let default = place(&[]);
    assert!(
        default.starts_with("the map counter-map of the Hazelcast cluster dev at 127.0.0.1:5701"),
        "{default}"
    );
    for other in [
        ["--hz-map-name", "x"],
        ["--hz-cluster-name", "x"],
        ["--hz-cluster-members", "x:1"],
        ["--hz-counter-key", "x"],
    ] {
        assert_ne!(place(&other), default, "{other:?}");
    }
    // What is only for the others changes nothing.
    for same in [["--hz-atomic-long-name", "x"], ["--hz-lock-lease", "9999"]] {
        assert_eq!(place(&same), default, "{same:?}");
    }
    let atomic = |args: &[&str]| settings(args).unwrap().atomic_longs_place();
    assert!(atomic(&[]).starts_with("the atomic longs counter of the Hazelcast cluster dev at "));
    assert_ne!(atomic(&["--hz-atomic-long-name", "x"]), atomic(&[]));
    assert_eq!(atomic(&["--hz-counter-key", "x"]), atomic(&[]));
}

#[test]
fn the_default_counter_has_a_key_of_its_own_which_nobody_else_can_use() {
    let names = names(&["--hz-counter-key", "hits"]);
    assert_eq!(names.map_key("count").unwrap(), "hits");
    assert_eq!(names.map_key("other").unwrap(), "other");
    let refused = names.map_key("hits").unwrap_err();
    assert_eq!(refused.fault, Fault::InvalidKey);
    assert!(refused.message.contains("--hz-counter-key"), "{}", refused.message);
}

#[test]
fn what_others_have_put_into_the_map_is_a_counter_only_where_it_can_be_one() {
    let names = names(&["--hz-counter-key", "hits"]);
    let too_long = "x".repeat(257);
    for (key, counter) in [
        ("hits", Some("count")),
        ("other", Some("other")),
        ("count", None),
        ("", None),
        (&too_long, None),
    ] {
        assert_eq!(names.counter(key), counter, "{key}");
    }
}

#[test]
fn what_is_no_key_of_a_counter_is_never_sent() {
    let names = names(&[]);
    let too_long = "x".repeat(257);
    for key in ["", &too_long] {
        assert_eq!(names.map_key(key).unwrap_err().fault, Fault::InvalidKey);
        assert_eq!(names.atomic_long(key).unwrap_err().fault, Fault::InvalidKey);
    }
}

#[test]
fn atomic_numbers_are_called_as_documented() {
    let names = names(&["--hz-atomic-long-name", "visits"]);
    for (key, name) in [
        ("count", "visits"),
        ("home", "visits:home"),
        ("a@b", "visits:a%40b"),
        ("100%", "visits:100%25"),
        ("a:b", "visits:a:b"),
        ("größe", "visits:größe"),
    ] {
        assert_eq!(names.atomic_long(key).unwrap(), name);
    }
}

proptest! {
    #[test]
    fn distinct_keys_have_distinct_names_and_none_names_a_group(
        keys in prop::collection::hash_set("count|hits|[a@%:4025c]{1,6}|.{1,20}", 2..40)
    ) {
        let names = names(&["--hz-counter-key", "hits"]);
        let (mut in_map, mut atomic) = (HashMap::new(), HashMap::new());
        for key in &keys {
            // Only the key that another counter has taken has no place in the map.
            match names.map_key(key) {
                Ok(name) => {
                    prop_assert_eq!(names.counter(name), Some(&key[..]));
                    prop_assert_eq!(in_map.insert(name.to_owned(), key), None);
                }
                Err(_) => prop_assert_eq!(key, "hits"),
            }
            let name = names.atomic_long(key).unwrap();
            prop_assert!(!name.contains('@'), "{}", name);
            prop_assert_eq!(atomic.insert(name, key), None);
        }
    }
}

#[test]
fn no_lock_is_waited_for_so_long_that_it_would_be_of_no_use() {
    assert_eq!(lease("10000", "2000", 5_000).wait_max(), ms(5_000), "as long as is allowed");
    assert_eq!(lease("6000", "2000", 5_000).wait_max(), ms(4_000), "what the lease leaves");
    assert_eq!(lease("6000", "2000", 0).wait_max(), ms(0));
}

#[test]
fn failures_of_the_client_keep_their_meaning_and_a_read_changes_nothing() {
    use tally_hazelcast::Error as Failure;
    let why = || "why".to_owned();
    for (failure, changing, reading) in [
        (Failure::Unavailable(why()), Fault::Unavailable, Fault::Unavailable),
        (Failure::Refused(why()), Fault::Refused, Fault::Refused),
        (Failure::LockLost(why()), Fault::LockLost, Fault::LockLost),
        (Failure::OutcomeUnknown(why()), Fault::OutcomeUnknown, Fault::Unavailable),
    ] {
        let (changed, read) = (Error::from(failure.clone()), harmless(failure));
        assert_eq!((changed.fault, read.fault), (changing, reading));
        assert_eq!((changed.message, read.message), (why(), why()));
    }
}

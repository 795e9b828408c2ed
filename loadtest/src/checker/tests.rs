use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use super::*;

/// `invoked, returned, kind, value`, with small numbers for times.
type Row = (u64, u64, Kind, i64);

fn history(rows: &[Row]) -> Vec<Operation> {
    rows.iter()
        .zip(0..)
        .map(|(&(invoked_ns, returned_ns, kind, value), client)| Operation {
            invoked_ns,
            returned_ns,
            value,
            client,
            kind,
        })
        .collect()
}

const INC: Kind = Kind::Increment;
const READ: Kind = Kind::Read;
const UNKNOWN: Kind = Kind::IncrementUnknown;
const FAILED: Kind = Kind::IncrementFailed;

#[test]
fn histories_made_by_hand_are_judged_as_people_would() {
    let sound: &[(&str, &[Row])] = &[
        ("nothing happened", &[]),
        ("one after the other", &[(0, 1, INC, 1), (2, 3, INC, 2), (4, 5, READ, 2)]),
        ("overlap allows either order", &[(0, 9, INC, 2), (1, 8, INC, 1)]),
        ("a touch counts as overlap", &[(0, 5, INC, 2), (5, 9, INC, 1)]),
        ("a read of the start", &[(0, 1, READ, 0), (2, 3, INC, 1)]),
        ("a slow increment was seen early", &[(0, 9, INC, 1), (2, 3, READ, 1)]),
        (
            "two reads of one value in any order",
            &[(0, 1, INC, 1), (6, 7, READ, 1), (2, 3, READ, 1)],
        ),
        ("an unknown fills the gap", &[(0, 1, INC, 1), (2, 3, UNKNOWN, 0), (4, 5, INC, 3)]),
        (
            "an unknown happens after its error",
            &[(0, 1, UNKNOWN, 0), (2, 3, INC, 1), (4, 5, READ, 2)],
        ),
        ("an unknown never happens", &[(0, 1, UNKNOWN, 0), (2, 3, INC, 1), (4, 5, READ, 1)]),
        ("a failed increment is no operation", &[(0, 1, FAILED, 0), (2, 3, INC, 1)]),
        ("two unknowns, two gaps", &[(0, 1, UNKNOWN, 0), (0, 1, UNKNOWN, 0), (2, 3, INC, 3)]),
    ];
    for (name, rows) in sound {
        assert!(check(history(rows), 0, true).is_ok(), "{name}");
    }

    // With the value at which each breaks.
    let broken: &[(&str, i64, &[Row])] = &[
        ("a lost update", 1, &[(0, 5, INC, 1), (1, 6, INC, 1)]),
        ("a lost update that was read", 2, &[(0, 1, INC, 1), (2, 3, INC, 2), (4, 5, READ, 1)]),
        ("a doubled update", 2, &[(0, 1, INC, 1), (2, 3, INC, 3)]),
        ("a doubled update that was read", 2, &[(0, 1, INC, 1), (2, 3, READ, 2)]),
        ("answers run backwards", 2, &[(0, 1, INC, 2), (2, 3, INC, 1)]),
        ("a read of the future", 1, &[(0, 1, READ, 1), (2, 3, INC, 1)]),
        (
            "reads run backwards",
            2,
            &[(0, 9, INC, 2), (0, 9, INC, 1), (1, 2, READ, 2), (3, 4, READ, 1)],
        ),
        ("not above the start", 0, &[(0, 1, INC, 0)]),
        ("below the start", -1, &[(0, 1, READ, -1)]),
        ("one unknown, two gaps", 2, &[(0, 1, UNKNOWN, 0), (2, 3, INC, 3)]),
        ("the unknown began too late", 1, &[(0, 1, INC, 2), (2, 3, UNKNOWN, 0)]),
        ("too late for a read", 1, &[(0, 1, READ, 1), (2, 3, UNKNOWN, 0)]),
        (
            "the deadline comes from a later value",
            1,
            &[(0, 9, INC, 2), (0, 1, INC, 3), (5, 6, UNKNOWN, 0)],
        ),
        (
            "one of two unknowns began too late",
            2,
            &[(0, 1, UNKNOWN, 0), (6, 7, UNKNOWN, 0), (2, 3, INC, 3)],
        ),
        (
            "the smallest value is the first violation",
            2,
            &[(0, 1, INC, 1), (0, 9, INC, 3), (0, 9, INC, 3)],
        ),
        ("a wild answer does not take for ever", 1, &[(0, 1, INC, i64::MAX)]),
    ];
    for (name, value, rows) in broken {
        let violation = check(history(rows), 0, true).expect_err(name);
        assert_eq!(violation.value(), *value, "{name}: {violation}");
    }
}

#[test]
fn the_ends_of_the_value_range_are_values_like_any_other() {
    let top = i64::MAX;
    assert_eq!(check(history(&[(0, 1, INC, top)]), top - 1, true), Ok(1));
    assert!(check(history(&[(0, 1, INC, top)]), top, true).is_err());
    assert_eq!(check(history(&[(0, 1, INC, i64::MIN + 1)]), i64::MIN, true), Ok(1));
    assert!(check(history(&[(0, 1, READ, top)]), i64::MIN, true).is_err());
}

#[test]
fn with_other_writers_gaps_are_theirs_but_order_and_distinctness_are_judged() {
    let cases: &[(bool, &[Row])] = &[
        (true, &[(0, 1, INC, 5), (2, 3, INC, 9), (4, 5, READ, 20)]),
        (false, &[(0, 1, INC, 9), (2, 3, INC, 5)]),
        (false, &[(0, 5, INC, 9), (2, 3, INC, 9)]),
        (false, &[(0, 1, INC, 9), (2, 3, READ, 8)]),
        (false, &[(0, 1, INC, 0)]),
    ];
    for (sound, rows) in cases {
        assert_eq!(check(history(rows), 0, false).is_ok(), *sound, "{rows:?}");
    }
}

#[test]
fn a_violation_is_one_sentence_with_both_operations() {
    let cases: &[(&[Row], &str)] = &[
        (
            &[(1_000, 5_250, INC, 7), (2_000, 6_000, INC, 7)],
            "two increments were answered 7: client 1 (1.000 µs to 5.250 µs) and client 2 (2.000 µs to 6.000 µs)",
        ),
        (
            &[(1_000, 2_000, INC, 8), (3_000, 4_000, INC, 7)],
            "the increment by client 1 that was answered 8 (1.000 µs to 2.000 µs) ended before \
             the increment by client 2 that was answered 7 (3.000 µs to 4.000 µs) began, \
             although by its answer it must come later",
        ),
        (
            &[(1_000, 2_000, INC, 8)],
            "no increment was answered 7, and yet there is \
             the increment by client 1 that was answered 8 (1.000 µs to 2.000 µs), \
             with no increment of unknown outcome left to have made it",
        ),
        (
            &[(1_000, 2_000, READ, 7), (2_500, 2_600, UNKNOWN, 0)],
            "no increment was answered 7, and yet there is \
             the read by client 1 that was answered 7 (1.000 µs to 2.000 µs); \
             the increment of unknown outcome by client 2 began too late to have made it, at 2.500 µs",
        ),
        (
            &[(1_000, 2_000, READ, 5)],
            "the read by client 1 that was answered 5 (1.000 µs to 2.000 µs) \
             is impossible for a counter that began at 6",
        ),
    ];
    for (rows, expected) in cases {
        assert_eq!(check(history(rows), 6, true).expect_err(expected).to_string(), *expected);
    }
}

/// The definition itself: is there an order that respects time and that a counter can answer?
fn exhaustive(history: &[Operation], start: i64, sole_writer: bool) -> bool {
    let open: Vec<_> = history.iter().filter(|it| it.kind != FAILED).copied().collect();
    search(&open, start, sole_writer)
}

/// Whether the operations that are still `open` can all take effect, from a counter at `value`.
fn search(open: &[Operation], value: i64, sole_writer: bool) -> bool {
    // Operations without an answer need not take effect.
    if open.iter().all(|it| it.kind == UNKNOWN) {
        return true;
    }
    (0..open.len()).any(|idx| {
        let next = open[idx];
        // Whoever returned before `next` began must take effect before it. An unknown one never returns.
        let too_early =
            open.iter().any(|it| it.kind != UNKNOWN && it.returned_ns < next.invoked_ns);
        // Other writers may have raised the counter to anything above by now.
        let fits = |expected: i64| {
            if sole_writer { next.value == expected } else { expected <= next.value }
        };
        let then = match next.kind {
            INC if fits(value + 1) => Some(next.value),
            READ if fits(value) => Some(next.value),
            UNKNOWN => Some(value + 1),
            _ => None,
        };
        let rest = || [&open[..idx], &open[idx + 1..]].concat();
        !too_early && then.is_some_and(|then| search(&rest(), then, sole_writer))
    })
}

/// Histories of 2 to 7 operations around the border between sound and broken: half are any rows at all, half were
/// answered by a real counter and then had one row changed.
fn histories() -> impl Strategy<Value = Vec<Operation>> {
    let kind = prop_oneof![6 => Just(INC), 2 => Just(READ), 2 => Just(UNKNOWN), 1 => Just(FAILED)];
    let times = (0..14_u64, 0..8_u64);
    let any_row = (times.clone(), kind.clone(), -1..7_i64)
        .prop_map(|((invoked, length), kind, value)| (invoked, invoked + length, kind, value));
    let anything = prop::collection::vec(any_row.clone(), 2..=7).prop_map(|rows| history(&rows));

    let planned = (0..12_u64, 0..4_u64, 0..4_u64, kind, any::<bool>());
    let changed = (
        prop::collection::vec(planned, 2..=7),
        any::<prop::sample::Index>(),
        prop::option::of(any_row),
    )
        .prop_map(|(plan, idx, change)| {
            let mut rows = answered_by_a_counter(plan);
            if let Some(change) = change {
                let idx = idx.index(rows.len());
                rows[idx] = change;
            }
            history(&rows)
        });
    prop_oneof![anything, changed]
}

/// Rows whose operations took effect at their instant; unknown ones if the flag says so.
fn answered_by_a_counter(mut plan: Vec<(u64, u64, u64, Kind, bool)>) -> Vec<Row> {
    plan.sort_by_key(|it| it.0);
    let mut count = 0;
    plan.into_iter()
        .map(|(instant, before, after, kind, applied)| {
            count += i64::from(kind == INC || (kind == UNKNOWN && applied));
            (instant.saturating_sub(before), instant + after, kind, count)
        })
        .collect()
}

const CASES: u32 = 100_000;

fn agrees_with_the_search(sole_writer: bool) {
    let (sound, broken) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..Default::default()
    });
    let agreed = runner.run(&histories(), |history| {
        let expected = exhaustive(&history, 0, sole_writer);
        let side = if expected { &sound } else { &broken };
        side.set(side.get() + 1);
        match (check(history, 0, sole_writer), expected) {
            (Ok(_), true) | (Err(_), false) => Ok(()),
            (got, _) => {
                Err(TestCaseError::fail(format!("expected sound = {expected}, got {got:?}")))
            }
        }
    });
    if let Err(err) = agreed {
        panic!("{err}");
    }
    // A generator that only makes one kind of history would prove nothing.
    assert!(
        CASES / 10 < sound.get() && CASES / 10 < broken.get(),
        "{} sound, {} broken",
        sound.get(),
        broken.get()
    );
}

#[test]
fn the_checker_agrees_with_exhaustive_search_for_a_sole_writer() {
    agrees_with_the_search(true);
}

#[test]
fn the_checker_agrees_with_exhaustive_search_with_other_writers() {
    agrees_with_the_search(false);
}

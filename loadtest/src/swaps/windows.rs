//! How slow calls were near a swap, and how slow far from any.

use super::swapper::Swap;
use crate::history::Operation;
use crate::latency::LatencyUs;

/// Length of the windows into which a run is cut, in milliseconds.
pub const WINDOW_MS: u64 = 10;

/// Fewest increments on either side for which the two percentiles are compared: a 99.9th percentile of fewer is little
/// more than their maximum.
pub const COMPARED_MIN: u64 = 1_000;

const WINDOW_NS: u64 = WINDOW_MS * 1_000_000;

/// The acknowledged increments of a run, told apart by whether a swap touched a window in which each was under way.
///
/// So an increment that had to wait for a swap counts on the swap's side, whenever it began. One that was slow for another
/// reason lasts through more windows, is on that side more easily, and makes the ratio larger rather than smaller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Windows {
    /// Those under way in a window with a swap.
    pub with_swap: Side,
    /// All others.
    pub steady: Side,
}

/// Some of a run's acknowledged increments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Side {
    /// How many they are.
    pub operations: u64,
    /// 999 of 1,000 were at least this fast, in microseconds; `None` when there is none.
    pub p99_9_us: Option<f64>,
}

impl Windows {
    pub(crate) fn of<'a>(
        swaps: &[Swap],
        operations: impl Iterator<Item = &'a Operation> + Clone,
    ) -> Windows {
        let touched = touched(swaps);
        let near = |it: &&Operation| {
            let (first, last) = (it.invoked_ns / WINDOW_NS, it.returned_ns / WINDOW_NS);
            touched.iter().take(last as usize + 1).skip(first as usize).any(|it| *it)
        };
        let acknowledged = operations.filter(|it| it.acknowledged());
        Windows {
            with_swap: Side::of(acknowledged.clone().filter(near)),
            steady: Side::of(acknowledged.filter(|it| !near(it))),
        }
    }

    /// How many times as slow the 99.9th percentile is with a swap; `None` when either side has too few increments.
    pub fn ratio(&self) -> Option<f64> {
        let enough =
            |side: &Side| side.p99_9_us.filter(|us| COMPARED_MIN <= side.operations && 0.0 < *us);
        Some(enough(&self.with_swap)? / enough(&self.steady)?)
    }
}

impl Side {
    fn of<'a>(acknowledged: impl Iterator<Item = &'a Operation> + Clone) -> Side {
        Side {
            operations: acknowledged.clone().count() as u64,
            p99_9_us: LatencyUs::of(acknowledged).map(|it| it.p99_9),
        }
    }
}

/// For each window up to the last swap's, whether a swap touched it: a byte for each 10 ms.
fn touched(swaps: &[Swap]) -> Vec<bool> {
    let mut touched = Vec::new();
    for swap in swaps {
        let (first, last) = (swap.begin_ns / WINDOW_NS, swap.end_ns / WINDOW_NS);
        touched.resize(touched.len().max(last as usize + 1), false);
        touched[first as usize..=last as usize].fill(true);
    }
    touched
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Kind;

    const MS: u64 = 1_000_000;

    fn swap(begin_ns: u64, end_ns: u64) -> Swap {
        Swap { begin_ns, end_ns, paused_us: 0 }
    }

    fn began(invoked_ns: u64, took_us: u64, kind: Kind) -> Operation {
        Operation {
            invoked_ns,
            returned_ns: invoked_ns + took_us * 1_000,
            value: 0,
            client: 0,
            kind,
        }
    }

    #[test]
    fn a_window_is_touched_by_a_swap_that_begins_ends_or_lasts_in_it() {
        let windows = |swaps: &[Swap]| {
            touched(swaps).iter().map(|it| if *it { 'x' } else { '.' }).collect::<String>()
        };
        assert_eq!(windows(&[]), "");
        assert_eq!(windows(&[swap(0, 0)]), "x");
        assert_eq!(windows(&[swap(9 * MS, 10 * MS - 1)]), "x");
        assert_eq!(windows(&[swap(9 * MS, 10 * MS)]), "xx");
        assert_eq!(windows(&[swap(15 * MS, 42 * MS), swap(60 * MS, 61 * MS)]), ".xxxx.x");
    }

    #[test]
    fn an_operation_is_near_a_swap_when_one_of_its_windows_is() {
        let near = |invoked_ns, took_us| {
            let operation = [began(invoked_ns, took_us, Kind::Increment)];
            let windows = Windows::of(&[swap(12 * MS, 13 * MS)], operation.iter());
            assert_eq!(windows.with_swap.operations + windows.steady.operations, 1);
            windows.with_swap.operations == 1
        };
        let cases = [
            (0, 1, false),
            (0, 9_999, false),
            // It waits for the swap that comes, ...
            (0, 10_000, true),
            (10 * MS - 1, 1, true),
            // ... lasts from before it until after it, ...
            (0, 900_000, true),
            (12 * MS, 1, true),
            // ... or begins after it in the same window.
            (20 * MS - 1, 9, true),
            (20 * MS, 1, false),
            (900 * MS, 1, false),
        ];
        for (invoked_ns, took_us, expected) in cases {
            assert_eq!(near(invoked_ns, took_us), expected, "{invoked_ns} {took_us}");
        }
    }

    #[test]
    fn each_side_has_its_own_percentile_of_what_was_acknowledged() {
        let operations = [
            began(0, 1, Kind::Increment),
            began(10 * MS, 3, Kind::IncrementUnseen),
            began(12 * MS, 2, Kind::Increment),
            began(15 * MS, 9, Kind::IncrementFailed),
            began(900 * MS, 7, Kind::Increment),
        ];
        let windows = Windows::of(&[swap(12 * MS, 13 * MS)], operations.iter());
        assert_eq!(windows.with_swap, Side { operations: 2, p99_9_us: Some(3.0) });
        assert_eq!(windows.steady, Side { operations: 2, p99_9_us: Some(7.0) });
        let none = Windows::of(&[], operations.iter());
        assert_eq!(none.with_swap, Side { operations: 0, p99_9_us: None });
        assert_eq!(none.steady.operations, 4);
    }

    #[test]
    fn sides_with_too_few_operations_are_not_compared() {
        let side = |operations, us| Side { operations, p99_9_us: us };
        let cases = [
            (side(1_000, Some(600.0)), side(1_000, Some(200.0)), Some(3.0)),
            (side(999, Some(600.0)), side(1_000, Some(200.0)), None),
            (side(1_000, Some(600.0)), side(999, Some(200.0)), None),
            (side(0, None), side(5_000, Some(200.0)), None),
        ];
        for (with_swap, steady, ratio) in cases {
            assert_eq!(Windows { with_swap, steady }.ratio(), ratio, "{with_swap:?} {steady:?}");
        }
    }
}

//! How far a counter may go, so that additions which are looked at only afterwards never wrap around.
//!
//! A counter lies within ±2^62, or beyond by the small additions that are under way, or whose caller died before taking
//! them back. It would take 2^30 of them at once to reach the end of the 64-bit range.

/// The largest count; the smallest is its negative.
const COUNT_MAX: i64 = 1 << 62;

/// The largest addition that is made before it is known whether the sum fits.
const SMALL_MAX: u64 = 1 << 32;

/// Whether `delta` may be added first and looked at afterwards.
pub fn is_small(delta: i64) -> bool {
    delta.unsigned_abs() <= SMALL_MAX
}

/// The sum, if the counter may be that afterwards: a count in the range, or one that comes nearer to it.
pub fn sum(before: i64, delta: i64) -> Option<i64> {
    before.checked_add(delta).filter(|&sum| {
        let leaves_above = COUNT_MAX < sum && 0 < delta;
        let leaves_below = sum < -COUNT_MAX && delta < 0;
        !leaves_above && !leaves_below
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_count_stays_in_the_range() {
        for (before, delta, expected) in [
            (0, 1, Some(1)),
            (COUNT_MAX - 1, 1, Some(COUNT_MAX)),
            (COUNT_MAX, 1, None),
            (COUNT_MAX, 0, Some(COUNT_MAX)),
            (1 - COUNT_MAX, -1, Some(-COUNT_MAX)),
            (-COUNT_MAX, -1, None),
            (-COUNT_MAX, 2, Some(2 - COUNT_MAX)),
            (i64::MAX, 1, None),
            (i64::MIN, -1, None),
            (-COUNT_MAX, i64::MAX, Some(COUNT_MAX - 1)),
        ] {
            assert_eq!(sum(before, delta), expected, "{before} + {delta}");
        }
    }

    #[test]
    fn a_count_that_somebody_put_outside_can_come_back() {
        assert_eq!(sum(COUNT_MAX + 9, -1), Some(COUNT_MAX + 8));
        assert_eq!(sum(COUNT_MAX + 9, 1), None);
        assert_eq!(sum(i64::MIN, 1), Some(i64::MIN + 1));
        assert_eq!(sum(i64::MIN, -1), None);
    }

    #[test]
    fn small_additions_are_small_in_both_directions() {
        for (delta, small) in [
            (0, true),
            (1 << 32, true),
            (-(1 << 32), true),
            ((1 << 32) + 1, false),
            (-(1 << 32) - 1, false),
            (i64::MAX, false),
            (i64::MIN, false),
        ] {
            assert_eq!(is_small(delta), small, "{delta}");
        }
    }

    proptest! {
        /// What the plugin does with an addition that Hazelcast has made already, wrapped around or not.
        #[test]
        fn a_sum_that_is_looked_at_afterwards_is_judged_like_one_before(before: i64, delta in -(1_i64 << 32)..=1 << 32) {
            let after = before.wrapping_add(delta);
            let judged = sum(after.wrapping_sub(delta), delta);
            prop_assert_eq!(judged, sum(before, delta));
            prop_assert!(judged.is_none_or(|sum| sum == after));
            prop_assert_eq!(after.wrapping_add(-delta), before, "taking back");
        }

        #[test]
        fn additions_that_are_under_way_never_wrap_around(
            before in -COUNT_MAX..=COUNT_MAX,
            deltas in prop::collection::vec(-(1_i64 << 32)..=1 << 32, 0..1000)
        ) {
            let made = deltas.iter().try_fold(before, |count, delta| count.checked_add(*delta));
            prop_assert!(made.is_some());
        }
    }
}

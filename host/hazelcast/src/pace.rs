//! Which member is the fastest at what the CP members agree on: mostly their leader.
//!
//! Every member takes such a call and passes it on to the leader, which costs two more hops, and nothing in the protocol of
//! Hazelcast 5.3 says who that is. So these calls are timed and go to the member that has been the fastest. A few try
//! another one, because leaders change.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// One call among so many tries another member.
const TRIED_EVERY: u64 = 64;

/// The weight of a slower answer is one in so many, as for the round-trip time of TCP (RFC 6298, section 2).
const SLOWER_WEIGHT: u64 = 8;

/// How long a member takes to answer: a moving average that falls to a faster answer at once. First answers are slow,
/// because Java compiles what is called often, and so is any after a pause of the member; whoever is not chosen for that is
/// asked too rarely to come back step by step.
#[derive(Debug, Default)]
pub struct Pace {
    /// 0 before the first answer.
    nanoseconds: AtomicU64,
}

impl Pace {
    /// Notes one answer.
    pub fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let pace = match self.nanoseconds() {
            0 => took,
            before if took < before => took,
            before => before + (took - before) / SLOWER_WEIGHT,
        };
        // All calls of a client are on one thread; otherwise an answer could be lost, which would do no harm.
        self.nanoseconds.store(pace, Ordering::Relaxed);
    }

    fn nanoseconds(&self) -> u64 {
        self.nanoseconds.load(Ordering::Relaxed)
    }
}

/// The member for call number `call` among `members`: the fastest, or one that was never asked; now and then any.
pub fn choose<'a, T>(
    members: impl Iterator<Item = &'a T> + Clone,
    pace: impl Fn(&T) -> &Pace,
    call: u64,
) -> Option<&'a T> {
    if call.is_multiple_of(TRIED_EVERY) {
        let count = members.clone().count().max(1);
        let turn = call / TRIED_EVERY % count as u64;
        return members.clone().nth(turn as usize);
    }
    members.min_by_key(|member| pace(member).nanoseconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: u64 = 2_000;

    /// Makes `calls` to members who answer within so many µs; returns how many each has got.
    fn simulate(members: &[Pace], calls: std::ops::Range<u64>, answers: [u64; 3]) -> [u64; 3] {
        let mut asked = [0; 3];
        for call in calls {
            let chosen = choose(members.iter(), |member| member, call).unwrap();
            let index = members.iter().position(|member| std::ptr::eq(member, chosen)).unwrap();
            asked[index] += 1;
            // Now and then an answer takes much longer.
            let factor = if call.is_multiple_of(37) { 20 } else { 4 + call % 3 };
            chosen.note(Duration::from_micros(answers[index] * factor / 5));
        }
        asked
    }

    #[test]
    fn calls_go_to_the_fastest_and_follow_it_when_it_changes() {
        let members: [Pace; 3] = Default::default();
        // Before Java has compiled anything.
        simulate(&members, 0..10, [50_000, 20_000, 90_000]);
        for (round, answers) in
            [[300, 180, 300], [300, 300, 180], [180, 300, 300]].into_iter().enumerate()
        {
            let begin = 10 + round as u64 * 2 * CALLS;
            simulate(&members, begin..begin + CALLS, answers);
            let asked = simulate(&members, begin + CALLS..begin + 2 * CALLS, answers);
            let fastest = (0..3).min_by_key(|index| answers[*index]).unwrap();
            assert!(asked[fastest] > CALLS * 9 / 10, "{asked:?} of {answers:?}");
            assert!(asked.iter().all(|asked| *asked > 0), "{asked:?}");
        }
    }

    #[test]
    fn who_does_not_answer_is_left_at_once() {
        let members: [Pace; 3] = Default::default();
        let asked = simulate(&members, 1..CALLS, [300, 180, 300]);
        assert!(asked[1] > CALLS / 2, "{asked:?}");
        let asked = simulate(&members, CALLS..CALLS + 50, [300, 2_000_000, 300]);
        assert!(asked[1] <= 2, "{asked:?}");
    }

    #[test]
    fn one_slow_answer_costs_the_fastest_no_more_than_a_turn_of_tries() {
        for first in [true, false] {
            let members: [Pace; 3] = Default::default();
            let begin = if first { 1 } else { CALLS };
            simulate(&members, 1..begin, [300, 180, 300]);
            members[1].note(Duration::from_secs(1));
            let turn = TRIED_EVERY * members.len() as u64;
            simulate(&members, begin..begin + turn, [300, 180, 300]);
            let asked = simulate(&members, begin + turn..begin + 2 * turn, [300, 180, 300]);
            assert!(asked[1] > turn * 9 / 10, "{asked:?}");
        }
    }

    #[test]
    fn of_none_there_is_none_and_of_one_it_is_that() {
        let nobody: [Pace; 0] = [];
        let one = [Pace::default()];
        for call in [0, 1, 63, 64, u64::MAX] {
            assert!(choose(nobody.iter(), |member| member, call).is_none());
            assert!(choose(one.iter(), |member| member, call).is_some());
        }
    }
}

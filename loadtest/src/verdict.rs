//! Are the counts right?

use crate::checker::{self, Violation};
use crate::history::{Kind, Operation};

/// What a run proved about the counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The count before the load.
    pub start: i64,
    /// The reset was acknowledged, and the count was not 0 after it.
    pub reset_ignored: bool,
    /// Increments that were answered with success.
    pub acknowledged: u64,
    /// The count after the load; `None` when it could not be read, and then nothing below can be known from it.
    pub final_count: Option<i64>,
    /// Acknowledged increments that the count lacks. With other writers it is the least number of them.
    pub lost: Option<u64>,
    /// What the count has beyond all acknowledged and all unknown increments. `None` also when others write to the
    /// counter, since their increments cannot be told from doubled ones.
    pub doubled: Option<u64>,
    /// Increments of which nobody knows whether they were applied.
    pub unknown: u64,
    /// Whether the answers are those of one counter, and in the order of time.
    pub linearizability: Linearizability,
}

/// Whether the history of a run is linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Linearizability {
    /// It is.
    Yes {
        /// Answered operations that were checked.
        operations: u64,
    },
    /// It is not.
    No(Box<Violation>),
    /// It cannot be judged.
    NotJudged {
        /// Why, as a sentence.
        reason: &'static str,
    },
}

const NO_VALUES: &str = "the answers carry no value, so the verdict rests on the counts alone";
const NO_INCREMENTS: &str = "no increment was acknowledged";

impl Verdict {
    /// Judges a history, without the final read in it, of a counter that began at `start`.
    pub(crate) fn of(history: Vec<Operation>, evidence: &Counts) -> Verdict {
        let acknowledged = count(&history, Operation::acknowledged);
        let unknown = count(&history, |it| it.kind == Kind::IncrementUnknown);
        let final_count = evidence.final_read.map(|it| it.value);
        // In 128 bits, since a counter that was tampered with may lie at either end of 64.
        let grown = final_count.map(|it| i128::from(it) - i128::from(evidence.start));
        let lost = grown.map(|it| clamp(i128::from(acknowledged) - it));
        let doubled = grown
            .filter(|_| evidence.sole_writer)
            .map(|it| clamp(it - i128::from(acknowledged) - i128::from(unknown)));
        Verdict {
            start: evidence.start,
            reset_ignored: evidence.reset && evidence.sole_writer && evidence.start != 0,
            acknowledged,
            final_count,
            lost,
            doubled,
            unknown,
            linearizability: judge_order(history, acknowledged, evidence),
        }
    }

    /// Whether the counts are right: increments were acknowledged, none was lost or doubled, and no answer breaks
    /// linearizability.
    pub fn right(&self) -> bool {
        let wrong_order = matches!(self.linearizability, Linearizability::No(_));
        let counts_right = self.lost == Some(0) && self.doubled.is_none_or(|it| it == 0);
        0 < self.acknowledged && !self.reset_ignored && counts_right && !wrong_order
    }

    /// Whether the history is linearizable; `None` when that cannot be judged.
    pub fn linearizable(&self) -> Option<bool> {
        match self.linearizability {
            Linearizability::Yes { .. } => Some(true),
            Linearizability::No(_) => Some(false),
            Linearizability::NotJudged { .. } => None,
        }
    }

    /// The first violation of linearizability, if there is one.
    pub fn violation(&self) -> Option<&Violation> {
        match &self.linearizability {
            Linearizability::No(violation) => Some(violation),
            Linearizability::Yes { .. } | Linearizability::NotJudged { .. } => None,
        }
    }

    /// The verdict in one line.
    pub fn summary(&self) -> String {
        if self.final_count.is_none() {
            return "not known, because the final count could not be read".to_owned();
        }
        if self.right() {
            return "counts right".to_owned();
        }
        let mut faults = Vec::new();
        if self.acknowledged == 0 {
            faults.push("no increment was acknowledged, so nothing is proven".to_owned());
        }
        if self.reset_ignored {
            faults.push(format!("the reset left {} instead of 0", self.start));
        }
        if let Some(lost @ 1..) = self.lost {
            faults.push(format!("{lost} lost"));
        }
        if let Some(doubled @ 1..) = self.doubled {
            faults.push(format!("{doubled} doubled"));
        }
        if self.violation().is_some() {
            faults.push("not linearizable".to_owned());
        }
        format!("WRONG: {}", faults.join(", "))
    }
}

/// What a verdict rests on besides the histories of the clients.
pub(crate) struct Counts {
    pub(crate) start: i64,
    pub(crate) reset: bool,
    pub(crate) sole_writer: bool,
    pub(crate) final_read: Option<Operation>,
}

fn judge_order(
    mut history: Vec<Operation>,
    acknowledged: u64,
    evidence: &Counts,
) -> Linearizability {
    if acknowledged == 0 {
        return Linearizability::NotJudged { reason: NO_INCREMENTS };
    }
    if history.iter().any(|it| it.kind == Kind::IncrementUnseen) {
        return Linearizability::NotJudged { reason: NO_VALUES };
    }
    history.extend(evidence.final_read);
    match checker::check(history, evidence.start, evidence.sole_writer) {
        Ok(operations) => Linearizability::Yes { operations },
        Err(violation) => Linearizability::No(violation),
    }
}

fn count(history: &[Operation], which: impl Fn(&Operation) -> bool) -> u64 {
    history.iter().filter(|it| which(it)).count() as u64
}

fn clamp(difference: i128) -> u64 {
    u64::try_from(difference.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::RUN_ITSELF;

    fn increments(kinds: &[(Kind, i64)]) -> Vec<Operation> {
        let at = |idx: usize| 100 * idx as u64;
        kinds
            .iter()
            .enumerate()
            .map(|(idx, &(kind, value))| Operation {
                invoked_ns: at(idx),
                returned_ns: at(idx) + 50,
                value,
                client: 0,
                kind,
            })
            .collect()
    }

    fn judge(history: &[(Kind, i64)], start: i64, end: Option<i64>, sole_writer: bool) -> Verdict {
        let final_read = end.map(|value| Operation {
            invoked_ns: 1_000_000,
            returned_ns: 1_000_001,
            value,
            client: RUN_ITSELF,
            kind: Kind::Read,
        });
        Verdict::of(
            increments(history),
            &Counts { start, reset: start == 0, sole_writer, final_read },
        )
    }

    const UNSEEN: (Kind, i64) = (Kind::IncrementUnseen, 0);
    const UNKNOWN: (Kind, i64) = (Kind::IncrementUnknown, 0);
    const FAILED: (Kind, i64) = (Kind::IncrementFailed, 0);
    fn inc(value: i64) -> (Kind, i64) {
        (Kind::Increment, value)
    }

    #[test]
    fn lost_and_doubled_are_what_the_final_count_says() {
        // history, start, final; then acknowledged, lost, doubled, unknown, linearizable, right
        let cases = [
            (vec![inc(1), inc(2)], 0, 2, (2, 0, 0, 0, Some(true), true)),
            (vec![inc(8), inc(9)], 7, 9, (2, 0, 0, 0, Some(true), true)),
            (vec![inc(1), FAILED, inc(2)], 0, 2, (2, 0, 0, 0, Some(true), true)),
            (vec![inc(1), inc(2)], 0, 1, (2, 1, 0, 0, Some(false), false)),
            (vec![inc(1), inc(2)], 0, 3, (2, 0, 1, 0, Some(false), false)),
            (vec![inc(1), UNKNOWN, inc(2)], 0, 3, (2, 0, 0, 1, Some(true), true)),
            (vec![inc(1), UNKNOWN, inc(3)], 0, 3, (2, 0, 0, 1, Some(true), true)),
            (vec![inc(1), UNKNOWN, inc(2)], 0, 4, (2, 0, 1, 1, Some(false), false)),
            (vec![inc(1), inc(1)], 0, 2, (2, 0, 0, 0, Some(false), false)),
            (vec![UNSEEN, UNSEEN], 0, 2, (2, 0, 0, 0, None, true)),
            (vec![UNSEEN, inc(2)], 0, 1, (2, 1, 0, 0, None, false)),
            (vec![UNSEEN, UNSEEN], 0, 3, (2, 0, 1, 0, None, false)),
            (vec![FAILED], 0, 0, (0, 0, 0, 0, None, false)),
            (vec![], 0, 0, (0, 0, 0, 0, None, false)),
            (vec![inc(1)], 0, i64::MIN, (1, 1 << 63, 0, 0, Some(false), false)),
        ];
        for (history, start, end, expected) in cases {
            let verdict = judge(&history, start, Some(end), true);
            let (lost, doubled) = (verdict.lost.expect("judged"), verdict.doubled.expect("judged"));
            let lost = if end == i64::MIN { lost - 1 } else { lost };
            let got = (
                verdict.acknowledged,
                lost,
                doubled,
                verdict.unknown,
                verdict.linearizable(),
                verdict.right(),
            );
            assert_eq!(got, expected, "{history:?} from {start} to {end}");
        }
    }

    #[test]
    fn with_other_writers_growth_beyond_our_own_is_theirs() {
        let verdict = judge(&[inc(3), inc(7)], 0, Some(9), false);
        assert!(verdict.right());
        assert_eq!((verdict.lost, verdict.doubled), (Some(0), None));
        let verdict = judge(&[inc(3), inc(7)], 0, Some(1), false);
        assert!(!verdict.right());
        assert_eq!(verdict.lost, Some(1));
    }

    #[test]
    fn without_a_final_count_nothing_is_right() {
        let verdict = judge(&[inc(1)], 0, None, true);
        assert!(!verdict.right());
        assert_eq!(
            (verdict.lost, verdict.doubled, verdict.linearizable()),
            (None, None, Some(true))
        );
    }

    #[test]
    fn a_reset_that_leaves_a_count_fails_the_verdict() {
        let final_read = increments(&[(Kind::Read, 18)]).pop();
        let counts = Counts { start: 17, reset: true, sole_writer: true, final_read };
        let verdict = Verdict::of(increments(&[inc(18)]), &counts);
        assert!(!verdict.right());
        assert_eq!(verdict.summary(), "WRONG: the reset left 17 instead of 0");
    }
}

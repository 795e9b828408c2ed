//! Is a history of a counter linearizable? An exact answer in O(n log n).
//!
//! # The question
//!
//! A history is linearizable when every operation can be given one instant between its begin and its return,
//! so that the operations, taken in the order of these instants, are what one counter without any concurrency answers.
//! In general that needs a search of exponential size.
//! Here it does not: an increment by one is answered with the value after the addition, and so the answer *is* the
//! operation's place in the order. Only the place of increments without an answer is open.
//!
//! # The algorithm
//!
//! "Inc(v)" is an increment that was answered v, "Read(v)" a read that was answered v, an "unknown" an increment
//! whose outcome nobody knows. An unknown never returns: it may take effect at any time after its begin, or never.
//! Increments that surely failed are no part of the history.
//!
//! 1. Sort by value, Inc(v) before the Read(v)s, and those by their begin. Two Inc(v) are a violation, and so are an Inc(v) with v not above
//!    the starting value and a Read(v) with v below it.
//! 2. Walk in that order. Every operation must be able to take effect after all that come before it: it is a violation
//!    if it returned before one of them began. It is enough to remember the one that began last. Reads of the same value
//!    change nothing and may take effect in any order among themselves; by their begin none is out of place.
//! 3. Every value between the starting value and the largest one seen that no Inc has must have been made by an unknown
//!    of its own. That unknown must have begun before everything placed after it returned: its deadline is the earliest
//!    return among the operations with a value at or above the missing one (at: Read(v) without Inc(v)).
//! 4. Unknowns that are left over did not happen, or happen later.
//!
//! # Why it is exact
//!
//! *If the check passes, there is a linearization.* Take the sorted order with the assigned unknowns in their gaps. As a
//! sequence of counter operations it is correct by steps 1 and 3. It respects time as well: no operation in it returned
//! before an earlier one began, for pairs of answered operations by step 2, for an unknown and an answered operation
//! after it by the deadline, and an unknown never returns, so nothing after it can be too late. A total order in which
//! no later operation returned before an earlier one began can always be given instants (each operation takes the
//! latest begin among itself and its predecessors, which lies before its own return).
//!
//! *If there is a linearization, the check passes.* In it Inc(v) is the v-th addition, hence values are distinct and
//! above the start; the order by value is forced except among reads of one value; so step 2 demands only what
//! holds. The missing values were made by distinct unknowns, each begun before its deadline. Step 3 hands the k-th
//! unknown by begin to the k-th gap by value. Deadlines do not decrease with the value, because a larger value has fewer
//! operations after it, and so swapping any assignment into this sorted one keeps every unknown in time.
//!
//! A return at the same nanosecond as another's begin counts as overlap. That can hide a violation of under one
//! nanosecond; it never invents one.
//!
//! # Several writers
//!
//! When others increment the same counter, their operations are missing from the history, and any gap may be theirs.
//! Then step 3 is left out, and what remains is exact for the question that can be asked: *is there any behaviour of the
//! others* under which the whole is linearizable? (Others whose operations overlap everything can fill every gap.)
//! Distinctness and order are still judged, so two answers of one value and answers that run backwards are still found.
//!
//! # Source
//!
//! The idea that unique values make monitoring log-linear is that of Gibbons and Korach ("Testing shared memories",
//! SIAM J. Comput. 26, 1997) for registers, continued for other types in arXiv 2410.04581. The adaptation to a counter
//! with unknown increments is this project's; the tests compare it with an exhaustive search.

mod violation;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use crate::history::{Kind, Operation};

pub use self::violation::Violation;

/// Checks a history that begins with the counter at `start`.
///
/// With `sole_writer`, every increment of the counter since then is in `history`, and a missing value is a violation.
/// Failed increments and increments acknowledged without a value may be present. The former are left out;
/// the latter are taken as unknown, which forgets that they happened: do not call a history that holds them linearizable
/// on the word of this function alone.
///
/// Returns how many answered operations were placed.
///
/// # Errors
///
/// The violation at the smallest value.
pub fn check(
    mut history: Vec<Operation>,
    start: i64,
    sole_writer: bool,
) -> Result<u64, Box<Violation>> {
    let mut unknown: Vec<Operation> =
        history.iter().filter(|it| may_fill_a_gap(it)).copied().collect();
    history.retain(|it| matches!(it.kind, Kind::Increment | Kind::Read));
    // The sort is stable because the histories of well-served clients are ascending runs, which it merges.
    history.sort_by(in_order);
    unknown.sort_unstable_by_key(|it| it.invoked_ns);

    let misplaced = check_order(&history, start).err();
    let missing = if sole_writer { check_gaps(&history, &unknown, start).err() } else { None };
    match (misplaced, missing) {
        (None, None) => Ok(history.len() as u64),
        (Some(only), None) | (None, Some(only)) => Err(only),
        (Some(misplaced), Some(missing)) => {
            Err(if missing.value() < misplaced.value() { missing } else { misplaced })
        }
    }
}

fn may_fill_a_gap(operation: &Operation) -> bool {
    matches!(operation.kind, Kind::IncrementUnknown | Kind::IncrementUnseen)
}

/// By value, the increment before the reads, and reads of one value by their begin: in that order none of them can have
/// returned before one ahead of it began, and so walking over them like over any other operation compares nothing.
fn in_order(a: &Operation, b: &Operation) -> Ordering {
    let key = |it: &Operation| (it.value, it.kind == Kind::Read, it.invoked_ns);
    key(a).cmp(&key(b))
}

/// Steps 1 and 2: values are distinct and above the start, and no operation returned before one placed ahead of it began.
fn check_order(sorted: &[Operation], start: i64) -> Result<(), Box<Violation>> {
    // Of everything that comes before the current operation: the one that began last.
    let mut latest: Option<Operation> = None;
    let mut previous: Option<Operation> = None;

    for &operation in sorted {
        let is_read = operation.kind == Kind::Read;
        if operation.value < start || (operation.value == start && !is_read) {
            return Err(Box::new(Violation::OutOfRange { operation, start }));
        }
        if let Some(first) = previous.filter(|it| it.value == operation.value && !is_read) {
            return Err(Box::new(Violation::Duplicate { first, second: operation }));
        }
        if let Some(ahead) = latest
            && operation.returned_ns < ahead.invoked_ns
        {
            return Err(Box::new(Violation::Backwards { ended: operation, began_later: ahead }));
        }
        latest = latest.filter(|it| operation.invoked_ns < it.invoked_ns).or(Some(operation));
        previous = Some(operation);
    }
    Ok(())
}

/// A value that no increment was answered with.
struct Gap {
    value: i64,
    /// Where in the sorted history the first operation at or above the value is.
    idx: usize,
}

/// Step 3: every missing value can have been made by an unknown increment of its own.
fn check_gaps(
    sorted: &[Operation],
    unknown: &[Operation],
    start: i64,
) -> Result<(), Box<Violation>> {
    let gaps = find_gaps(sorted, start, unknown.len());
    let deadlines = deadlines(sorted, &gaps);
    for (gap_idx, (gap, deadline)) in gaps.iter().zip(deadlines).enumerate() {
        let filler = unknown.get(gap_idx).copied();
        if filler.is_none_or(|filler| deadline.returned_ns < filler.invoked_ns) {
            let value = gap.value;
            return Err(Box::new(Violation::Missing {
                value,
                witness: deadline,
                too_late: filler,
            }));
        }
    }
    Ok(())
}

/// The missing values in ascending order, at most one more than there are unknowns to fill them: a wild answer such as
/// 9,000,000,000,000,000,000 must not make the check walk through all the values below it.
fn find_gaps(sorted: &[Operation], start: i64, n_unknown: usize) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut reached = start;
    for (idx, operation) in sorted.iter().enumerate() {
        // A read of the value `reached + 1` without its increment leaves that value missing.
        let complete = if operation.kind == Kind::Read {
            operation.value
        } else {
            operation.value.saturating_sub(1)
        };
        while reached < complete {
            reached += 1;
            gaps.push(Gap { value: reached, idx });
            if n_unknown < gaps.len() {
                return gaps;
            }
        }
        reached = reached.max(operation.value);
    }
    gaps
}

/// For each gap the operation that returned first among those at or above it.
fn deadlines(sorted: &[Operation], gaps: &[Gap]) -> Vec<Operation> {
    let mut deadlines = Vec::with_capacity(gaps.len());
    let mut rest = sorted.len();
    let mut earliest: Option<Operation> = None;
    for gap in gaps.iter().rev() {
        for operation in sorted[gap.idx..rest].iter().rev() {
            if earliest.is_none_or(|it| operation.returned_ns <= it.returned_ns) {
                earliest = Some(*operation);
            }
        }
        rest = gap.idx;
        deadlines.extend(earliest);
    }
    deadlines.reverse();
    deadlines
}

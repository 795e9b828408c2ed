//! Who may be connected to the admin listener at a time.
//!
//! Any user of the machine can connect. So a connection that has not shown the token gets little time, and when there
//! are too many of them the oldest gives way to a new one: whoever has the token gets in at once.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::pending,
    rc::Rc,
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::http::problem::Problem;

/// Connections at a time that have not shown the token. With 32, a client might not get to send its first request
/// while many others connect again and again.
const STRANGERS_MAX: usize = 128;

/// How long a connection may take until it has shown the token, answers to requests without it included.
const STRANGER_TIME_MAX: Duration = Duration::from_secs(5);

/// Connections at a time that have shown the token.
const OPERATORS_MAX: usize = 64;

/// Connections at a time.
pub const CONNECTIONS_MAX: usize = STRANGERS_MAX + OPERATORS_MAX;

/// The places of all connections.
#[derive(Clone, Default)]
pub struct Places(Rc<RefCell<Taken>>);

#[derive(Default)]
struct Taken {
    /// By which those without the token are told to end; the oldest comes first.
    strangers: VecDeque<Rc<Notify>>,
    operators: usize,
}

impl Places {
    /// A place for a new connection. If there is none left, the oldest that has not shown the token has to end.
    pub fn take(&self) -> Place {
        let mut taken = self.0.borrow_mut();
        if STRANGERS_MAX <= taken.strangers.len()
            && let Some(oldest) = taken.strangers.pop_front()
        {
            oldest.notify_one();
        }
        let end = Rc::new(Notify::new());
        taken.strangers.push_back(end.clone());
        Place { places: self.clone(), end, is_operator: Cell::new(false) }
    }
}

/// The place of one connection, until it is dropped.
pub struct Place {
    places: Places,
    end: Rc<Notify>,
    is_operator: Cell<bool>,
}

impl Place {
    /// The connection has shown the token, if one is wanted. From now on it has time, and gives way to nobody.
    ///
    /// # Errors
    ///
    /// When there are too many of those.
    pub fn show_token(&self) -> Result<(), Problem> {
        if self.is_operator.get() {
            return Ok(());
        }
        let mut taken = self.places.0.borrow_mut();
        if OPERATORS_MAX <= taken.operators {
            return Err(Problem::too_many_connections(OPERATORS_MAX));
        }
        taken.remove_stranger(&self.end);
        taken.operators += 1;
        self.is_operator.set(true);
        Ok(())
    }

    /// Waits until the connection has to end, for ever if it has shown the token by then.
    pub async fn is_over(&self) {
        // Whichever ends the wait: the token may have been shown at the same moment.
        let _ = timeout(STRANGER_TIME_MAX, self.end.notified()).await;
        if self.is_operator.get() {
            pending().await
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.borrow_mut();
        match self.is_operator.get() {
            true => taken.operators -= 1,
            false => taken.remove_stranger(&self.end),
        }
    }
}

impl Taken {
    fn remove_stranger(&mut self, end: &Rc<Notify>) {
        self.strangers.retain(|other| !Rc::ptr_eq(other, end));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_over(place: &Place) -> bool {
        place.is_over().now_or_never().is_some()
    }

    #[tokio::test]
    async fn the_oldest_without_the_token_gives_way_and_those_with_it_stay() {
        let places = Places::default();
        let operator = places.take();
        operator.show_token().unwrap();
        let strangers: Vec<_> = (0..STRANGERS_MAX).map(|_| places.take()).collect();
        assert!(!is_over(&strangers[0]));
        let newest = places.take();
        let over: Vec<_> = strangers.iter().map(is_over).collect();
        assert!(over[0] && !over[1..].contains(&true), "{over:?}");
        assert!(!is_over(&newest) && !is_over(&operator));
        // One that was told to and shows the token before it hears of it stays, too.
        strangers[1].show_token().unwrap();
        let told = [places.take(), places.take()];
        strangers[2].show_token().unwrap();
        assert!(!is_over(&strangers[1]) && !is_over(&strangers[2]) && !is_over(&told[1]));
        // One that leaves by itself makes room, so nobody else has to.
        drop(newest);
        let _another = places.take();
        assert!(!is_over(&strangers[3]));
    }

    #[tokio::test]
    async fn so_many_may_show_the_token_and_those_who_leave_make_room() {
        let places = Places::default();
        let mut operators: Vec<_> = (0..OPERATORS_MAX).map(|_| places.take()).collect();
        operators.iter().for_each(|place| place.show_token().unwrap());
        let next = places.take();
        assert_eq!(next.show_token().unwrap_err().code(), "too-busy");
        operators.pop();
        next.show_token().unwrap();
        // Again and again, as with each request.
        next.show_token().unwrap();
        assert_eq!(places.0.borrow().operators, OPERATORS_MAX);
        drop((operators, next));
        let taken = places.0.borrow();
        assert_eq!((taken.operators, taken.strangers.len()), (0, 0));
    }
}

//! The interface `tally:panic/report`, through which an instance says why it is about to trap. It needs no grant.

use wasmtime::component::{HasData, Linker};

use crate::{
    bindings::tally::panic::report,
    text::{SAID_BYTES_MAX, bounded},
};

/// What an instance has said during the present call.
#[derive(Default)]
pub struct LastWords(Option<String>);

impl LastWords {
    /// Takes the message, so that the next call begins without one.
    pub fn take(&mut self) -> Option<String> {
        self.0.take()
    }
}

impl report::Host for LastWords {
    fn panicked(&mut self, message: String) -> wasmtime::Result<()> {
        self.0 = Some(bounded(message, SAID_BYTES_MAX));
        Ok(())
    }
}

struct Panic;

impl HasData for Panic {
    type Data<'a> = &'a mut LastWords;
}

/// Links the interface; `get` finds the message in the store's state.
///
/// # Errors
///
/// When the interface is linked already.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> &mut LastWords,
) -> wasmtime::Result<()> {
    report::add_to_linker::<T, Panic>(linker, get)
}

#[cfg(test)]
mod tests {
    use super::{report::Host, *};
    use crate::text::CUT;

    #[test]
    fn the_last_message_is_kept_cut_to_its_bound_and_taken_once() {
        let mut words = LastWords::default();
        words.panicked("first".into()).unwrap();
        words.panicked("ä".repeat(SAID_BYTES_MAX)).unwrap();
        assert_eq!(words.take(), Some("ä".repeat(SAID_BYTES_MAX / 2) + CUT));
        assert_eq!(words.take(), None);
    }
}

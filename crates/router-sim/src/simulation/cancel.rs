//! Whether a run goes on: somebody who looks on may have seen enough.

/// Whether to go on is asked once in so many events: a few times in a millisecond.
const ASK_EVERY: u32 = 1024;

/// The run was given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cancelled;

/// Asks whether to go on, now and then.
pub(super) struct CancelCheck<'a> {
    goes_on: &'a mut dyn FnMut() -> bool,
    events: u32,
}

impl<'a> CancelCheck<'a> {
    pub(super) fn new(goes_on: &'a mut dyn FnMut() -> bool) -> Self {
        Self { goes_on, events: 0 }
    }

    /// One more event is about to happen.
    pub(super) fn step(&mut self) -> Result<(), Cancelled> {
        self.events = self.events.wrapping_add(1);
        let asks = self.events.is_multiple_of(ASK_EVERY);
        if asks && !(self.goes_on)() { Err(Cancelled) } else { Ok(()) }
    }
}

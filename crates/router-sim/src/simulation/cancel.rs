//! Whether a run continues: the observer of an experiment may cancel it.

/// The observer is asked once per this many events, which is a few times per millisecond.
const EVENTS_PER_CHECK: u32 = 1024;

/// The run was cancelled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cancelled;

/// Asks the observer from time to time whether to continue.
pub(super) struct CancelCheck<'a> {
    should_continue: &'a mut dyn FnMut() -> bool,
    events: u32,
}

impl<'a> CancelCheck<'a> {
    pub(super) fn new(should_continue: &'a mut dyn FnMut() -> bool) -> Self {
        Self { should_continue, events: 0 }
    }

    /// Called before each event.
    pub(super) fn check(&mut self) -> Result<(), Cancelled> {
        self.events = self.events.wrapping_add(1);
        let due = self.events.is_multiple_of(EVENTS_PER_CHECK);
        if due && !(self.should_continue)() { Err(Cancelled) } else { Ok(()) }
    }
}

//! Why a request goes to another worker.

/// Why a request goes to another worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Detour {
    /// The worker could not be reached, or its connection broke.
    Lost,
    /// The worker answered that it failed, or answered nonsense.
    Fault,
    /// The worker answered that it has no room.
    Busy,
    /// The worker that is waited for is in trouble.
    Trouble,
    /// No answer came for long: another worker gets a copy.
    Hedge,
}

impl Detour {
    /// Whether it puts more on the fleet than the request did before.
    pub(crate) const fn costs(self) -> bool {
        matches!(self, Self::Fault | Self::Busy | Self::Hedge)
    }

    /// Whether an attempt is under way that may still do.
    pub(crate) const fn is_optional(self) -> bool {
        matches!(self, Self::Trouble | Self::Hedge)
    }
}

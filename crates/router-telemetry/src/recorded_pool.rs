//! The balancers of one router, as records know them.

/// The balancer that a record is of, by its number. Each numbers its workers and its decisions separately.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RecordedPool(u16);

impl RecordedPool {
    /// The first balancer: that of the workers that serve requests, or that decode where prefill is apart.
    pub const MAIN: Self = Self(0);

    /// The balancer after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number, from 0.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

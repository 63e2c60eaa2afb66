//! What one worker's cache still holds, by a clock of its own.

/// No limit is known.
const UNKNOWN: u32 = u32::MAX;

/// The clock of one worker, which counts the tokens that came to it, and how many its cache has room for. A block is in the cache
/// while less than that has come since it was used last: the cache of an engine gives up what was not used for longest.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerCache {
    /// Tokens so far, with wrap-around.
    now: u32,
    capacity: u32,
}

impl WorkerCache {
    pub(super) const fn new() -> Self {
        Self { now: 0, capacity: UNKNOWN }
    }

    /// Sets how many tokens there is room for.
    pub(super) fn set_capacity(&mut self, tokens: Option<u64>) {
        self.capacity = tokens.map_or(UNKNOWN, |tokens| u32::try_from(tokens).unwrap_or(UNKNOWN));
    }

    /// The present time.
    pub(super) const fn now(&self) -> u32 {
        self.now
    }

    /// So many tokens came that the cache did not hold.
    pub(super) fn advance(&mut self, tokens: f64) {
        self.now = self.now.wrapping_add(tokens.round() as u32);
    }

    /// Whether what was used at `stamp` is still there.
    pub(super) const fn holds(&self, stamp: u32) -> bool {
        self.now.wrapping_sub(stamp) < self.capacity
    }
}

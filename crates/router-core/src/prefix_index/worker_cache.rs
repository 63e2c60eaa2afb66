//! What one worker's cache still holds, by a clock of its own.

use super::cache_room::{CacheRoom, UNLIMITED};
use crate::RequestId;
use crate::request_table::RequestTable;

/// The part that was sent last is judged only if it is so much of what was sent before, because the tokens are estimates.
const LEAST_PART: f64 = 0.25;

/// What a worker was sent before of a prompt that it is sent now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct SentBefore {
    /// When it was sent the last blocks of it, on the worker's clock, and how many tokens have come since.
    pub(super) stamp: u32,
    pub(super) age: u32,
    /// Blocks in all.
    pub(super) blocks: u32,
    /// Blocks that it was sent together with the last one.
    pub(super) last_blocks: u32,
}

impl SentBefore {
    /// Adds the next blocks of the prompt, which the worker was sent at `stamp`; its clock is at `now`.
    pub(super) fn join(earlier: Option<Self>, stamp: u32, now: u32, blocks: u32) -> Self {
        let all = earlier.map_or(0, |earlier| earlier.blocks) + blocks;
        let last = earlier.filter(|earlier| earlier.stamp == stamp).map_or(0, |earlier| earlier.last_blocks);
        Self { stamp, age: now.wrapping_sub(stamp), blocks: all, last_blocks: last + blocks }
    }
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
struct PendingPrompt {
    attempt: u32,
    /// The worker's clock when it was sent.
    sent_at: u32,
    /// If the worker was sent some of it before, and enough to judge by.
    before: Option<PriorPrompt>,
}

/// The part of a prompt whose presence tells about the cache's room.
#[derive(Clone, Copy, Debug)]
struct PriorPrompt {
    /// Tokens that came since the worker was sent it.
    age: u32,
    /// At least so many cached tokens if the cache still had it.
    expected_tokens: f32,
}

/// The clock of one worker, which counts the tokens that came to it, and how many its cache has room for. A block is in the cache
/// while less than that has come since it was used last: the cache of an engine gives up what was not used for longest.
#[derive(Clone, Debug)]
pub(super) struct WorkerCache {
    /// Tokens so far, with wrap-around.
    now: u32,
    /// Tokens since it was emptied.
    since_emptied: u32,
    room: CacheRoom,
    pending: RequestTable<PendingPrompt>,
}

impl WorkerCache {
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            since_emptied: UNLIMITED,
            room: CacheRoom::new(),
            // With room for some requests, so that the first ones allocate nothing.
            pending: RequestTable::with_capacity(8),
        }
    }

    /// Sets how many tokens there is room for, as the worker tells it.
    pub(super) fn set_capacity(&mut self, tokens: Option<u64>) {
        self.room.set_told(tokens);
    }

    /// The present time.
    pub(super) const fn now(&self) -> u32 {
        self.now
    }

    /// So many tokens came that the cache did not hold.
    pub(super) fn advance(&mut self, tokens: f64) {
        let tokens = tokens.round() as u32;
        self.now = self.now.wrapping_add(tokens);
        self.since_emptied = self.since_emptied.saturating_add(tokens);
    }

    /// Nothing that it was sent is there any more.
    pub(super) fn empty(&mut self) {
        self.now = self.now.wrapping_add(1);
        self.since_emptied = 0;
        self.pending.values_mut().iter_mut().for_each(|prompt| prompt.before = None);
    }

    /// Whether what was used at `stamp` is still there.
    pub(super) const fn holds(&self, stamp: u32) -> bool {
        let age = self.now.wrapping_sub(stamp);
        age < self.room.tokens() && age <= self.since_emptied
    }

    /// Whether it was sent at `stamp` what it has not been emptied of since.
    pub(super) const fn was_sent(&self, stamp: u32) -> bool {
        self.now.wrapping_sub(stamp) <= self.since_emptied
    }

    /// A prompt was sent; it is of blocks of so many tokens. Called when its blocks have the present time as their stamp.
    pub(super) fn sent(
        &mut self,
        request: RequestId,
        attempt: u32,
        before: Option<SentBefore>,
        block_tokens: f64,
    ) {
        let before = before.filter(|sent| self.can_judge(sent) && block_tokens > 0.0).map(|sent| {
            let blocks = f64::from(sent.blocks) - 0.5 * f64::from(sent.last_blocks);
            PriorPrompt { age: sent.age, expected_tokens: (blocks * block_tokens) as f32 }
        });
        self.pending.push(request, PendingPrompt { attempt, sent_at: self.now, before });
    }

    /// Whether it says something about the room if the cache has this or not. What the request that brought it is still to compute
    /// is not missing for want of room.
    fn can_judge(&self, sent: &SentBefore) -> bool {
        let is_enough = f64::from(sent.last_blocks) >= LEAST_PART * f64::from(sent.blocks);
        is_enough && self.pending.values().iter().all(|prompt| prompt.sent_at != sent.stamp)
    }

    /// A request ended. `cached` is how many tokens of its prompt were cached, if the worker completed it and told.
    pub(super) fn ended(&mut self, request: RequestId, attempt: u32, cached: Option<u32>) {
        let place = self.pending.position(request, |prompt| prompt.attempt == attempt);
        let Some(place) = place else { return };
        if let Some((before, cached)) = self.pending.swap_remove(place).before.zip(cached) {
            self.room.learn(before.age, f64::from(cached) >= f64::from(before.expected_tokens));
        }
    }
}

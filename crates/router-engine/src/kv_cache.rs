//! The KV budget: tokens held by sequences, and a prefix cache in the rest.
//!
//! A block is a run of [`crate::EngineLimits::block_tokens`] prompt tokens named by a chained hash. A block that a
//! sequence refers to is live. An idle block, without references, stays until its room is needed and is then evicted,
//! least recently used first and a chain's tail before its head. All other tokens of a sequence are private.
//!
//! It counts tokens and models no memory: no page tables, no fragmentation.

use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Copy, Debug)]
struct Block {
    refs: u32,
    /// Key in the eviction order while the block is idle.
    stamp: u64,
}

/// Token account of one engine. Invariant: live + private + evictable tokens never exceed the capacity.
#[derive(Clone, Debug)]
pub struct KvCache {
    capacity: u64,
    block_tokens: u64,
    private: u64,
    live_blocks: u64,
    blocks: HashMap<u64, Block>,
    idle: BTreeMap<u64, u64>,
    next_stamp: u64,
}

impl KvCache {
    /// An empty cache of `capacity` tokens with blocks of `block_tokens` tokens (0 counts as 1).
    pub fn new(capacity: u64, block_tokens: u32) -> Self {
        Self {
            capacity,
            block_tokens: u64::from(block_tokens.max(1)),
            private: 0,
            live_blocks: 0,
            blocks: HashMap::new(),
            idle: BTreeMap::new(),
            next_stamp: 0,
        }
    }

    /// Tokens sequences hold now, shared blocks counted once.
    pub fn used(&self) -> u64 {
        self.private + self.live_blocks * self.block_tokens
    }

    /// Tokens of idle blocks.
    pub fn evictable(&self) -> u64 {
        self.idle.len() as u64 * self.block_tokens
    }

    /// Tokens that a sequence could get, evicted ones included.
    pub fn available(&self) -> u64 {
        self.capacity.saturating_sub(self.used())
    }

    /// Tokens the cache can hold in all.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Tokens per block.
    pub fn block_tokens(&self) -> u64 {
        self.block_tokens
    }

    /// Length, in blocks, of the longest cached leading run of `blocks` that is at most `max_tokens` long.
    pub fn matched(&self, blocks: &[u64], max_tokens: u64) -> usize {
        let most = usize::try_from(max_tokens / self.block_tokens).unwrap_or(usize::MAX);
        blocks.iter().take(most).take_while(|hash| self.blocks.contains_key(hash)).count()
    }

    /// Takes a reference on the cached run `blocks` and `private` tokens besides, if that leaves `headroom`
    /// tokens available. Takes nothing and returns false otherwise.
    pub fn admit(&mut self, blocks: &[u64], private: u64, headroom: u64) -> bool {
        let waking = blocks.iter().filter(|hash| self.blocks.get(hash).is_some_and(|b| b.refs == 0)).count();
        let needed = (waking as u64).saturating_mul(self.block_tokens).saturating_add(private);
        if needed.saturating_add(headroom) > self.available() {
            return false;
        }
        for hash in blocks {
            self.refer(*hash);
        }
        self.private += private;
        self.evict_excess();
        true
    }

    /// Turns `blocks` from private into shared tokens once they are computed. Where another sequence has computed a block
    /// before, that block is used and the duplicate freed. Returns the private tokens given up.
    pub fn share(&mut self, blocks: &[u64]) -> u64 {
        let given_up = (blocks.len() as u64).saturating_mul(self.block_tokens).min(self.private);
        self.private -= given_up;
        for hash in blocks {
            self.refer(*hash);
        }
        given_up
    }

    /// Takes `tokens` more private tokens; false, and none taken, when there is no room.
    pub fn grow(&mut self, tokens: u64) -> bool {
        if tokens > self.available() {
            return false;
        }
        self.private += tokens;
        self.evict_excess();
        true
    }

    /// Gives back references on `blocks` and `private` tokens. The blocks stay cached.
    pub fn release(&mut self, blocks: &[u64], private: u64) {
        self.private = self.private.saturating_sub(private);
        // The tail gets the older stamp, so a chain is evicted from its end as a tree is from its leaves.
        for hash in blocks.iter().rev() {
            let stamp = self.next_stamp;
            let Some(block) = self.blocks.get_mut(hash) else { continue };
            block.refs = block.refs.saturating_sub(1);
            if block.refs == 0 {
                block.stamp = stamp;
                self.next_stamp += 1;
                self.live_blocks -= 1;
                self.idle.insert(stamp, *hash);
            }
        }
    }

    /// Drops every idle block.
    pub fn clear(&mut self) {
        for hash in std::mem::take(&mut self.idle).into_values() {
            self.blocks.remove(&hash);
        }
    }

    fn refer(&mut self, hash: u64) {
        let block = self.blocks.entry(hash).or_insert(Block { refs: 0, stamp: u64::MAX });
        if block.refs == 0 {
            self.idle.remove(&block.stamp);
            self.live_blocks += 1;
        }
        block.refs += 1;
    }

    fn evict_excess(&mut self) {
        while self.used() + self.evictable() > self.capacity {
            let Some((_, hash)) = self.idle.pop_first() else { return };
            self.blocks.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_prefix_stays_until_evicted() {
        let mut kv = KvCache::new(64, 16);
        assert!(kv.admit(&[], 40, 0));
        assert_eq!(kv.share(&[1, 2]), 32);
        assert_eq!((kv.used(), kv.evictable()), (40, 0));
        kv.release(&[1, 2], 8);
        assert_eq!((kv.used(), kv.evictable(), kv.available()), (0, 32, 64));
        assert_eq!(kv.matched(&[1, 2, 3], 63), 2);
        assert_eq!(kv.matched(&[1, 2, 3], 31), 1, "the last token must be left to compute");
        assert!(kv.grow(40), "40 of 64 tokens evict one block");
        assert_eq!(kv.matched(&[1, 2, 3], 63), 1, "the tail of the chain goes first");
    }

    #[test]
    fn admission_counts_idle_blocks() {
        let mut kv = KvCache::new(48, 16);
        assert!(kv.admit(&[], 32, 0));
        assert_eq!(kv.share(&[1, 2]), 32);
        kv.release(&[1, 2], 0);
        assert!(!kv.admit(&[1, 2], 17, 0), "32 woken + 17 exceed 48");
        assert_eq!(kv.used(), 0, "a refused admission takes nothing");
        assert!(!kv.admit(&[1, 2], 16, 1), "no headroom left");
        assert!(kv.admit(&[1, 2], 16, 0));
        assert_eq!(kv.available(), 0);
    }

    #[test]
    fn duplicate_blocks_are_kept_once() {
        let mut kv = KvCache::new(100, 10);
        assert!(kv.admit(&[], 20, 0) && kv.admit(&[], 20, 0));
        kv.share(&[7, 8]);
        kv.share(&[7, 8]);
        assert_eq!(kv.used(), 20);
        kv.release(&[7, 8], 0);
        assert_eq!(kv.used(), 20, "the other sequence still holds them");
        kv.clear();
        assert_eq!(kv.matched(&[7, 8], 100), 2, "clearing spares what is held");
    }
}

//! Which worker holds which prompt prefix: one index of hashed blocks for all workers, in bounded memory.
//!
//! A prompt is a chain of block hashes in which hash `i` stands for the blocks `0..=i`. The index keeps, per hash,
//! one bit per worker. A lookup costs at most one probe per block, however many workers there are. When the index is
//! full, the least recently used block is evicted.
//!
//! The blocks of a prompt are stored side by side, last block first, because blocks are stored and evicted in the
//! order of use. So the next block of a prompt is nearly always its neighbour, which is tried before the hash table:
//! a lookup reads a few consecutive cache lines instead of missing the CPU cache for every block.
//!
//! It records what was *sent*, which is an estimate of what the workers hold; it does not see their caches.

use crate::WorkerId;

const NONE: u32 = u32::MAX;
/// Table places per block: linear probing stays short up to a load of two thirds.
const PLACES_PER_BLOCK: (usize, usize) = (3, 2);

/// Where a record has its hash; the two links of the order of use, the newer in the low half; and its holder bits.
const HASH: usize = 0;
const LINKS: usize = 1;
const HOLDERS: usize = 2;

/// The worker that owns the holder bit of a slot.
#[derive(Clone, Copy, Debug)]
struct HolderBit {
    owner: WorkerId,
    /// The owner left; its bits are still set and must be ignored.
    retired: bool,
}

/// Consecutive blocks of the LRU list, from the most to the least recently used.
#[derive(Clone, Copy, Debug)]
struct LruSegment {
    head: u32,
    tail: u32,
}

/// Which worker was sent which prompt prefix.
///
/// All memory is reserved by [`new`](Self::new) (the system commits it when it is first touched), so no request waits
/// for an allocation or a rehash.
#[derive(Debug)]
pub struct PrefixIndex {
    budget: usize,
    /// Words of holder bits per block.
    words: usize,
    capacity: usize,
    /// Open addressing: 32 bits of hash above the block's number plus one; 0 is a free place.
    table: Vec<u64>,
    /// One record per block: hash, links, and `words` of holder bits.
    records: Vec<u64>,
    newest: u32,
    oldest: u32,
    /// By slot.
    holder_bits: Vec<Option<HolderBit>>,
    /// A bit for every worker that is present.
    present: Vec<u64>,
}

/// How many leading blocks of one prompt each worker holds. Kept by the caller, so that a lookup allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct PrefixMatches {
    /// By slot.
    blocks: Vec<u32>,
    alive: Vec<u64>,
}

impl PrefixMatches {
    /// Leading blocks that a present worker holds.
    pub fn blocks(&self, worker: WorkerId) -> u32 {
        self.blocks.get(worker.slot()).copied().unwrap_or(0)
    }
}

impl PrefixIndex {
    /// The smallest useful size for [`new`](Self::new), in bytes.
    pub const MIN_BYTES: usize = 4096;

    /// The largest useful size, in bytes. A larger value is taken for a typing error: reserving so much memory would abort
    /// the process.
    pub const MAX_BYTES: usize = 16 << 30;

    /// An empty index that never takes more than `max_bytes` (at least [`MIN_BYTES`](Self::MIN_BYTES)).
    pub fn new(max_bytes: usize) -> Self {
        Self::sized(max_bytes.max(Self::MIN_BYTES), 1)
    }

    fn sized(budget: usize, words: usize) -> Self {
        let (places, per) = PLACES_PER_BLOCK;
        let bytes_per_block = (HOLDERS + words) * 8 + (places * 8).div_ceil(per);
        let capacity = (budget / bytes_per_block).saturating_sub(1).clamp(1, NONE as usize - 1);
        Self {
            budget,
            words,
            capacity,
            table: vec![0; capacity * places / per + 1],
            records: Vec::with_capacity(capacity * (HOLDERS + words)),
            newest: NONE,
            oldest: NONE,
            holder_bits: Vec::new(),
            present: vec![0; words],
        }
    }

    /// Number of blocks in the index.
    pub fn len(&self) -> usize {
        self.records.len() / self.stride()
    }

    /// Whether the index is empty.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many blocks fit.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Memory reserved for blocks, in bytes: never more than `max_bytes`.
    pub fn memory_bytes(&self) -> usize {
        (self.table.capacity() + self.records.capacity()) * 8
    }

    /// Makes room for a worker that joined. Beyond 64 slots blocks need more bits each, so fewer of them fit; the
    /// most recently used ones are kept.
    pub fn admit(&mut self, worker: WorkerId) {
        let slot = worker.slot();
        let words = slot / 64 + 1;
        if words > self.words {
            self.widen(words.next_power_of_two());
        }
        if self.holder_bits.len() <= slot {
            self.holder_bits.resize(slot + 1, None);
        }
        if self.holder_bits[slot].is_some_and(|bit| bit.owner != worker) {
            self.holder_bits[slot] = self.holder_bits[slot].map(|bit| HolderBit { retired: true, ..bit });
            self.sweep();
        }
        self.holder_bits[slot] = Some(HolderBit { owner: worker, retired: false });
        self.present[slot / 64] |= 1 << (slot % 64);
    }

    /// Forgets a worker that left.
    pub fn forget(&mut self, worker: WorkerId) {
        if let Some(Some(bit)) = self.holder_bits.get_mut(worker.slot())
            && bit.owner == worker
        {
            bit.retired = true;
            self.present[worker.slot() / 64] &= !(1 << (worker.slot() % 64));
        }
    }

    /// Clears the bits of the workers that left, in one pass over the index. [`admit`](Self::admit) does it when an
    /// later worker gets the slot; calling it earlier keeps that quick.
    pub fn sweep(&mut self) {
        let stride = self.stride();
        for word in 0..self.words {
            let mut gone = 0_u64;
            for (bit, holder) in self.holder_bits.iter_mut().skip(word * 64).take(64).enumerate() {
                if holder.is_some_and(|l| l.retired) {
                    gone |= 1 << bit;
                    *holder = None;
                }
            }
            if gone != 0 {
                self.records.chunks_exact_mut(stride).for_each(|r| r[HOLDERS + word] &= !gone);
            }
        }
    }

    /// Counts for every present worker how many leading blocks of `prefix` it holds. Changes nothing in the index.
    pub fn lookup(&self, prefix: &[u64], matches: &mut PrefixMatches) {
        matches.blocks.clear();
        matches.blocks.resize(self.holder_bits.len(), 0);
        matches.alive.clear();
        matches.alive.extend_from_slice(&self.present);
        let mut neighbour = NONE;
        for (depth, &hash) in prefix.iter().enumerate() {
            let block = self.find_near(hash, neighbour);
            neighbour = block.map_or(NONE, |b| b.wrapping_sub(1));
            let holders = block.map_or(&[] as &[u64], |b| self.holders(b));
            let mut any_alive = 0;
            for (word, alive) in matches.alive.iter_mut().enumerate() {
                let still = *alive & holders.get(word).unwrap_or(&0);
                if still != *alive {
                    settle(&mut matches.blocks, word, *alive & !still, depth as u32);
                }
                *alive = still;
                any_alive |= still;
            }
            if any_alive == 0 {
                return;
            }
        }
        for word in 0..self.words {
            settle(&mut matches.blocks, word, matches.alive[word], prefix.len() as u32);
        }
    }

    /// Notes that `worker` was sent `prefix`. Ignored unless the worker was [admitted](Self::admit) and is present.
    pub fn insert(&mut self, worker: WorkerId, prefix: &[u64]) {
        let slot = worker.slot();
        let present = self.holder_bits.get(slot).copied().flatten();
        if present.is_none_or(|bit| bit.owner != worker || bit.retired) {
            return;
        }
        // Backwards, so that the head of the chain is the most recent: a block is evicted after those that follow it.
        // Blocks that follow each other in the order of use already are moved together, as one run.
        let mut run: Option<LruSegment> = None;
        for &hash in prefix[..prefix.len().min(self.capacity)].iter().rev() {
            let neighbour = run.map_or(NONE, |r| r.head + 1);
            let block = match self.find_near(hash, neighbour) {
                Some(block) => {
                    run = Some(match run {
                        Some(r) if self.links(r.head).0 == block => LruSegment { head: block, ..r },
                        _ => {
                            self.freshen(run);
                            LruSegment { head: block, tail: block }
                        }
                    });
                    block
                }
                None => {
                    // First, so that no block of this prompt is evicted for it.
                    self.freshen(run);
                    let block = self.create(hash);
                    run = Some(LruSegment { head: block, tail: block });
                    block
                }
            };
            let holders = block as usize * self.stride() + HOLDERS;
            self.records[holders + slot / 64] |= 1 << (slot % 64);
        }
        self.freshen(run);
    }

    /// Adds a block as the most recently used one; evicts the least recently used one when the index is full.
    fn create(&mut self, hash: u64) -> u32 {
        let stride = self.stride();
        let block = if self.len() < self.capacity {
            let block = self.len() as u32;
            self.records.resize(self.records.len() + stride, 0);
            block
        } else {
            let oldest = self.oldest;
            self.remove(self.hash(oldest));
            self.unlink(LruSegment { head: oldest, tail: oldest });
            oldest
        };
        let record = &mut self.records[block as usize * stride..][..stride];
        record.fill(0);
        record[HASH] = hash;
        self.enter(hash, block);
        self.link(LruSegment { head: block, tail: block });
        block
    }

    /// Makes the run the most recently used one.
    fn freshen(&mut self, run: Option<LruSegment>) {
        if let Some(run) = run.filter(|r| r.head != self.newest) {
            self.unlink(run);
            self.link(run);
        }
    }

    const fn stride(&self) -> usize {
        HOLDERS + self.words
    }

    fn hash(&self, block: u32) -> u64 {
        self.records[block as usize * self.stride() + HASH]
    }

    fn holders(&self, block: u32) -> &[u64] {
        &self.records[block as usize * self.stride() + HOLDERS..][..self.words]
    }

    /// The next newer and the next older block in the order of use.
    fn links(&self, block: u32) -> (u32, u32) {
        let links = self.records[block as usize * self.stride() + LINKS];
        (links as u32, (links >> 32) as u32)
    }

    fn set_newer(&mut self, block: u32, newer: u32) {
        let at = block as usize * self.stride() + LINKS;
        self.records[at] = (self.records[at] >> 32) << 32 | u64::from(newer);
    }

    fn set_older(&mut self, block: u32, older: u32) {
        let at = block as usize * self.stride() + LINKS;
        self.records[at] = u64::from(self.records[at] as u32) | u64::from(older) << 32;
    }

    /// Puts an unlinked run at the front of the list.
    fn link(&mut self, run: LruSegment) {
        let second = self.newest;
        self.set_newer(run.head, NONE);
        self.set_older(run.tail, second);
        if second == NONE {
            self.oldest = run.tail;
        } else {
            self.set_newer(second, run.tail);
        }
        self.newest = run.head;
    }

    fn unlink(&mut self, run: LruSegment) {
        let (newer, older) = (self.links(run.head).0, self.links(run.tail).1);
        if newer == NONE {
            self.newest = older;
        } else {
            self.set_older(newer, older);
        }
        if older == NONE {
            self.oldest = newer;
        } else {
            self.set_newer(older, newer);
        }
    }

    /// The place where the search for `hash` starts, and the bits that are kept beside the block's number.
    fn home(&self, hash: u64) -> (usize, u64) {
        // Multiplying by the golden ratio spreads hashes that are small or similar.
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let place = (u128::from(mixed) * self.table.len() as u128) >> 64;
        (place as usize, mixed << 32)
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.table.len() { 0 } else { place + 1 }
    }

    /// The block of `hash`, tried at `neighbour` first.
    fn find_near(&self, hash: u64, neighbour: u32) -> Option<u32> {
        let near = self.records.get((neighbour as usize).saturating_mul(self.stride()) + HASH);
        if near == Some(&hash) { Some(neighbour) } else { self.find(hash).map(|(_, block)| block) }
    }

    /// The place and the number of the block of `hash`.
    fn find(&self, hash: u64) -> Option<(usize, u32)> {
        let (mut place, tag) = self.home(hash);
        loop {
            let entry = self.table[place];
            if entry == 0 {
                return None;
            }
            if (entry ^ tag) >> 32 == 0 {
                let block = entry as u32 - 1;
                if self.hash(block) == hash {
                    return Some((place, block));
                }
            }
            place = self.after(place);
        }
    }

    fn enter(&mut self, hash: u64, block: u32) {
        let (mut place, tag) = self.home(hash);
        while self.table[place] != 0 {
            place = self.after(place);
        }
        self.table[place] = tag | u64::from(block + 1);
    }

    /// Frees the place of `hash` and moves later entries up, so that no search ends too early (Knuth, "The Art of
    /// Computer Programming" vol. 3, 6.4, algorithm R).
    fn remove(&mut self, hash: u64) {
        let Some((mut hole, _)) = self.find(hash) else { return };
        let len = self.table.len();
        let mut place = self.after(hole);
        while self.table[place] != 0 {
            let block = self.table[place] as u32 - 1;
            let (home, _) = self.home(self.hash(block));
            if (place + len - home) % len >= (place + len - hole) % len {
                self.table[hole] = self.table[place];
                hole = place;
            }
            place = self.after(place);
        }
        self.table[hole] = 0;
    }

    /// Rebuilds the index with more holder bits per block within the same memory.
    fn widen(&mut self, words: usize) {
        let mut wide = Self::sized(self.budget, words);
        wide.holder_bits = std::mem::take(&mut self.holder_bits);
        wide.present[..self.words].copy_from_slice(&self.present);
        let mut block = self.oldest;
        let mut surplus = self.len().saturating_sub(wide.capacity);
        while block != NONE {
            if surplus == 0 {
                let to = wide.create(self.hash(block)) as usize * wide.stride() + HOLDERS;
                wide.records[to..to + self.words].copy_from_slice(self.holders(block));
            } else {
                surplus -= 1;
            }
            let (newer, _) = self.links(block);
            block = newer;
        }
        *self = wide;
    }
}

/// Writes `depth` for every worker whose bit is set in this word.
fn settle(blocks: &mut [u32], word: usize, mut bits: u64, depth: u32) {
    while bits != 0 {
        blocks[word * 64 + bits.trailing_zeros() as usize] = depth;
        bits &= bits - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use proptest::prelude::*;

    fn worker(slot: u32) -> WorkerId {
        WorkerId::new(slot, 1)
    }

    fn index(max_bytes: usize, workers: u32) -> PrefixIndex {
        let mut index = PrefixIndex::new(max_bytes);
        (0..workers).for_each(|slot| index.admit(worker(slot)));
        index
    }

    fn matched(index: &PrefixIndex, prefix: &[u64], workers: u32) -> Vec<u32> {
        let mut matches = PrefixMatches::default();
        index.lookup(prefix, &mut matches);
        (0..workers).map(|slot| matches.blocks(worker(slot))).collect()
    }

    #[test]
    fn counts_leading_blocks_per_worker() {
        let mut index = index(1 << 16, 3);
        index.insert(worker(0), &[1, 2, 3]);
        index.insert(worker(1), &[1, 2, 9]);
        assert_eq!(matched(&index, &[1, 2, 3, 4], 3), [3, 2, 0]);
        assert_eq!(matched(&index, &[5], 3), [0, 0, 0]);
        assert_eq!(matched(&index, &[], 3), [0, 0, 0]);
    }

    #[test]
    fn successor_of_a_slot_starts_empty() {
        let mut index = index(1 << 16, 2);
        index.insert(worker(0), &[1, 2]);
        index.insert(worker(1), &[1]);
        index.forget(worker(0));
        assert_eq!(matched(&index, &[1, 2], 2), [0, 1]);
        index.insert(worker(0), &[1, 2]);
        let successor = WorkerId::new(0, 2);
        index.admit(successor);
        index.forget(worker(0));
        assert_eq!(matched(&index, &[1, 2], 2), [0, 1], "neither bits nor late events pass to the successor");
        index.insert(successor, &[1, 2]);
        assert_eq!(matched(&index, &[1, 2], 2), [2, 1]);
    }

    #[test]
    fn a_full_index_does_not_grow() {
        let max_bytes = 1 << 18;
        let mut index = index(max_bytes, 8);
        let mut rng = Rng::seeded(3);
        let before = index.memory_bytes();
        let mut prompt = [0_u64; 4];
        for i in 0..20_000_u32 {
            prompt.fill_with(|| rng.next_u64());
            index.insert(worker(i % 8), &prompt);
        }
        assert_eq!(index.memory_bytes(), before, "a full index must not grow");
        assert!(before <= max_bytes && before > max_bytes * 9 / 10, "{before}");
        assert_eq!(index.len(), index.capacity());
        assert_eq!(matched(&index, &prompt, 8)[7], 4, "the last prompt is there");
    }

    #[test]
    fn eviction_is_lru_and_tail_first() {
        let mut index = index(PrefixIndex::MIN_BYTES, 1);
        let n = index.capacity() as u64;
        let chain: Vec<u64> = (0..10).collect();
        index.insert(worker(0), &chain);
        (10..n).for_each(|h| index.insert(worker(0), &[h]));
        index.insert(worker(0), &[n]);
        index.insert(worker(0), &[n + 1]);
        assert_eq!(matched(&index, &chain, 1), [8], "the last two blocks made room");
    }

    #[test]
    fn growing_past_64_workers_keeps_entries() {
        let mut index = index(1 << 14, 64);
        let all: Vec<u64> = (0..2 * index.capacity() as u64).collect();
        all.iter().for_each(|&h| index.insert(worker((h % 64) as u32), &[h]));
        let last = all[all.len() - 1];
        index.admit(worker(200));
        index.insert(worker(200), &[last]);
        let hits = matched(&index, &[last], 201);
        assert_eq!((hits[(last % 64) as usize], hits[200], hits.iter().sum::<u32>()), (1, 1, 2));
        assert!(index.memory_bytes() <= 1 << 14);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32, Vec<u64>),
        Leave(u32),
        Sweep,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0_u32..70, prop::collection::vec(0_u64..40, 1..6)).prop_map(|(w, p)| Step::Insert(w, p)),
            2 => (0_u32..70).prop_map(Step::Leave),
            1 => Just(Step::Sweep),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against a plain list in order of use.
        #[test]
        fn matches_a_naive_index(steps in prop::collection::vec(step(), 0..120)) {
            let mut index = PrefixIndex::sized(520, 2);
            let mut generations = [1_u32; 70];
            (0..70).for_each(|slot| index.admit(worker(slot)));
            // Most recent last: hash and holders.
            let mut naive: Vec<(u64, Vec<WorkerId>)> = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(slot, prefix) => {
                        let id = WorkerId::new(slot, generations[slot as usize]);
                        index.insert(id, &prefix);
                        for &hash in prefix.iter().take(index.capacity()).rev() {
                            let known = naive.iter().position(|(h, _)| *h == hash);
                            let mut entry = known.map_or((hash, Vec::new()), |i| naive.remove(i));
                            entry.1.push(id);
                            if naive.len() == index.capacity() {
                                naive.remove(0);
                            }
                            naive.push(entry);
                        }
                    }
                    Step::Leave(slot) => {
                        let generation = &mut generations[slot as usize];
                        index.forget(WorkerId::new(slot, *generation));
                        *generation += 1;
                        index.admit(WorkerId::new(slot, *generation));
                    }
                    Step::Sweep => index.sweep(),
                }
                let mut matches = PrefixMatches::default();
                for hash in 0..40 {
                    index.lookup(&[hash], &mut matches);
                    let entry = naive.iter().find(|(h, _)| *h == hash);
                    for slot in 0..70 {
                        let id = WorkerId::new(slot, generations[slot as usize]);
                        let holds = entry.is_some_and(|(_, holders)| holders.contains(&id));
                        prop_assert_eq!(matches.blocks(id), u32::from(holds));
                    }
                }
                prop_assert_eq!(index.len(), naive.len());
            }
        }
    }
}

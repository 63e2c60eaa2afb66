//! Which worker holds which prompt prefix: one index of hashed blocks for all workers, in bounded memory.
//!
//! A prompt is a chain of block hashes in which hash `i` stands for the blocks `0..=i`. The index is a radix tree over them:
//! blocks that follow each other and are held by the same workers are stored and compared as one [run](run), 32 bits
//! a block. So a prompt costs a search per run, not per block: those of which nothing is known have one run, and a session
//! that stays on its worker has one, which grows. A run is split where prompts branch or end.
//!
//! Memory grows with use. When the bound is reached, the least recently used runs are evicted, last blocks first.
//!
//! It records what was *sent*, which is an estimate of what the workers hold; it does not see their caches. It models what they gave
//! up by how many tokens a worker's cache has room for, as the worker tells it: each worker has a clock that counts the tokens
//! that came to it, each run a stamp on the clock of each of its holders, and what is older than the cache's room is gone. What a
//! worker reports of its responses corrects what it told, or takes its place.

mod cache_room;
mod child_table;
mod events;
mod order;
mod run;
#[cfg(test)]
mod tests;
mod worker_cache;

use crate::ranking::COMPARE_ALL;
use crate::{SlotMap, WorkerId};
use child_table::ChildTable;
pub use events::PromptTokens;
use order::UseOrder;
use run::{ALLOCATION_BYTES, Holding, NONE, Run, RunStore, tag, tag_bytes};
use smallvec::SmallVec;
use worker_cache::{SentBefore, WorkerCache};

/// Memory for each worker without a bound of the user's: enough for a million tokens in prompts of 3 KB.
const BYTES_PER_WORKER: usize = 256 << 10;
/// The least and the most of that for a fleet.
const LEAST_BYTES: usize = 8 << 20;
const MOST_BYTES: usize = 1 << 30;

/// Which worker was sent which prompt prefix.
#[derive(Debug)]
pub struct PrefixIndex {
    max_bytes: usize,
    /// Whether the bound follows the number of workers.
    by_workers: bool,
    max_runs: usize,
    /// Memory that the runs keep beside themselves, and the spare list.
    heap_bytes: usize,
    blocks: usize,
    runs: RunStore,
    children: ChildTable,
    order: UseOrder,
    /// The present workers.
    present: SlotMap<WorkerCache>,
    /// The list of the run evicted last: the next new one may be as long, so that a full index does not allocate.
    spare: SmallVec<[u32; 4]>,
    /// The runs of the prompt that is being inserted, first blocks first.
    path: Vec<u32>,
}

/// The known part of one prompt. Kept by the caller, so that a lookup allocates nothing; true until the index is changed.
#[derive(Clone, Debug, Default)]
pub struct PrefixMatches {
    /// First blocks first.
    runs: Vec<MatchedRun>,
    /// Blocks that the present workers hold, by slot; empty where there are more than [`COMPARE_ALL`].
    by_slot: Vec<u32>,
}

/// A run that the prompt shares, with the number of leading blocks that are known up to there.
#[derive(Clone, Copy, Debug)]
struct MatchedRun {
    run: u32,
    blocks: u32,
}

impl PrefixIndex {
    /// The smallest useful size for [`new`](Self::new), in bytes.
    pub const MIN_BYTES: usize = 4096;

    /// The largest useful size, in bytes. A larger value is taken for a typing error.
    pub const MAX_BYTES: usize = 16 << 30;

    /// An empty index that never takes more than `max_bytes` (at least [`MIN_BYTES`](Self::MIN_BYTES)). Without a bound there is
    /// one that suits the number of workers: 256 KiB for each, rounded up, at least 8 MiB and at most 1 GiB.
    pub fn new(max_bytes: Option<usize>) -> Self {
        let by_workers = max_bytes.is_none();
        let max_bytes = max_bytes.unwrap_or(LEAST_BYTES).max(Self::MIN_BYTES);
        let max_runs = max_runs(max_bytes);
        Self {
            max_bytes,
            by_workers,
            max_runs,
            heap_bytes: 0,
            blocks: 0,
            runs: RunStore::new(),
            children: ChildTable::new(max_runs),
            order: UseOrder::EMPTY,
            present: SlotMap::default(),
            spare: SmallVec::new(),
            path: Vec::new(),
        }
    }

    /// Number of blocks in the index.
    pub const fn len(&self) -> usize {
        self.blocks
    }

    /// Whether the index is empty.
    pub const fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    /// Memory that the index takes now, in bytes: never more than `max_bytes`.
    pub const fn memory_bytes(&self) -> usize {
        ChildTable::bytes(self.max_runs) + self.runs.chunk_bytes() + self.heap_bytes
    }

    /// Makes a worker that joined known.
    fn admit(&mut self, worker: WorkerId) {
        self.present.insert(worker, WorkerCache::new());
        if self.by_workers {
            let wanted = (self.present.slots() * BYTES_PER_WORKER).min(MOST_BYTES);
            if wanted > self.max_bytes {
                // At least doubled, so that a fleet that starts up moves it a few times only.
                self.raise_bound(wanted.max(2 * self.max_bytes).min(MOST_BYTES));
            }
        }
    }

    fn raise_bound(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
        self.max_runs = max_runs(max_bytes);
        self.children = ChildTable::new(self.max_runs);
        let mut next = self.order.oldest();
        while let Some(number) = next {
            let run = self.runs.at(number);
            self.children.enter(run.parent, run.first, number);
            next = Some(run.newer).filter(|newer| *newer != NONE);
        }
    }

    /// Forgets a worker that left. A successor in its slot starts with nothing.
    fn forget(&mut self, worker: WorkerId) {
        self.present.remove(worker);
    }

    /// Finds what is known of `prefix`. Changes nothing in the index.
    pub fn lookup(&self, prefix: &[u64], matches: &mut PrefixMatches) {
        self.find_runs(prefix, &mut matches.runs);
        matches.by_slot.clear();
        if self.present.slots() <= COMPARE_ALL {
            matches.by_slot.resize(self.present.slots(), 0);
            for m in &matches.runs {
                for holding in self.runs.at(m.run).holders.iter().filter(|holding| self.is_valid(holding)) {
                    matches.by_slot[holding.worker.slot()] = m.blocks;
                }
            }
        }
    }

    fn find_runs(&self, prefix: &[u64], found: &mut Vec<MatchedRun>) {
        found.clear();
        let (mut parent, mut at) = (NONE, 0);
        while let Some(&first) = prefix.get(at)
            && let Some(number) = self.children.find(&self.runs, parent, tag(first))
        {
            let run = self.runs.at(number);
            let common = run.common(&prefix[at..]);
            at += common;
            found.push(MatchedRun { run: number, blocks: at as u32 });
            if common < run.len() {
                return;
            }
            parent = number;
        }
    }

    /// How many leading blocks of the prompt that was looked up `worker` holds.
    pub fn blocks(&self, matches: &PrefixMatches, worker: WorkerId) -> u32 {
        if let Some(blocks) = matches.by_slot.get(worker.slot()) {
            return if self.is_present(worker) { *blocks } else { 0 };
        }
        // A worker that holds a run holds those before it.
        let mut longest_first = matches.runs.iter().rev();
        longest_first.find(|m| self.holds(m.run, worker)).map_or(0, |m| m.blocks)
    }

    /// The workers that hold a part of the prompt that was looked up, those with the longest part first; parts that more than a
    /// quarter of the workers hold are left out, because they distinguish few. A worker may be given more than once, and some may
    /// have left.
    pub fn holders<'a>(&'a self, matches: &'a PrefixMatches) -> impl Iterator<Item = WorkerId> + 'a {
        let longest_first = matches.runs.iter().rev().map(|m| &self.runs.at(m.run).holders);
        let few = longest_first.filter(|holders| holders.len() * 4 <= self.present.slots());
        // Those that are looked at first change from prompt to prompt.
        few.flat_map(|holders| {
            let (later, first) = holders.split_at(self.blocks % holders.len().max(1));
            first.iter().chain(later).filter(|holding| self.is_valid(holding)).map(|holding| holding.worker)
        })
    }

    /// Notes that `worker` was sent `prefix`, in blocks of so many tokens each: what the worker did not hold takes room in its cache.
    /// Returns what of it the worker was sent before. Ignored unless the worker is present.
    fn insert(&mut self, worker: WorkerId, prefix: &[u64], block_tokens: f64) -> Option<SentBefore> {
        // Even the smallest index has room for a prompt so long, twice.
        let prefix = &prefix[..prefix.len().min(self.max_bytes / 64)];
        if !self.is_present(worker) || prefix.is_empty() || !self.make_room(prefix.len()) {
            return None;
        }
        self.path.clear();
        let began_at = self.present.get(worker).map_or(0, WorkerCache::now);
        let mut before = None;
        let (mut parent, mut at) = (NONE, 0);
        while at < prefix.len() {
            let rest = &prefix[at..];
            let Some(known) = self.children.find(&self.runs, parent, tag(rest[0])) else {
                self.advance(worker, rest.len() as f64 * block_tokens);
                if !self.extend(parent, rest, worker) {
                    let added = self.create(parent, rest, worker);
                    self.path.push(added);
                }
                break;
            };
            let run = self.runs.at(known);
            let common = run.common(rest);
            let is_whole = common == run.len();
            let ends_inside = common == rest.len() && self.holds(known, worker);
            if let Some(stamp) = self.stamp_of(known, worker) {
                before = Some(SentBefore::join(before, stamp, began_at, common as u32));
            }
            let reached = if is_whole || ends_inside { known } else { self.split(known, common) };
            self.hold(reached, worker, block_tokens);
            self.path.push(reached);
            parent = reached;
            at += common;
        }
        // Backwards, so that what begins a prompt is newer than what follows: it is evicted later.
        let now = self.present.get(worker).map_or(0, WorkerCache::now);
        for run in self.path.iter().rev() {
            let used = self.runs.at_mut(*run);
            if let Ok(place) = used.place_of(worker) {
                used.holders[place].stamp = now;
            }
            self.order.renew(&mut self.runs, *run);
        }
        if self.memory_bytes() > self.max_bytes {
            self.keep_as_spare(SmallVec::new());
        }
        before
    }

    fn is_present(&self, worker: WorkerId) -> bool {
        self.present.get(worker).is_some()
    }

    /// Whether the worker is present and still holds what it was sent.
    fn is_valid(&self, holding: &Holding) -> bool {
        self.present.get(holding.worker).is_some_and(|cache| cache.holds(holding.stamp))
    }

    fn holds(&self, run: u32, worker: WorkerId) -> bool {
        self.holding(run, worker).is_some_and(|holding| self.is_valid(holding))
    }

    /// What is known of a worker that was sent a run, whether or not it still holds that.
    fn holding(&self, run: u32, worker: WorkerId) -> Option<&Holding> {
        let run = self.runs.at(run);
        run.place_of(worker).ok().map(|place| &run.holders[place])
    }

    /// So many tokens came to a worker that it did not hold.
    fn advance(&mut self, worker: WorkerId, tokens: f64) {
        if let Some(cache) = self.present.get_mut(worker) {
            cache.advance(tokens);
        }
    }

    /// When a worker was sent a run, on its own clock, unless its cache was emptied since.
    fn stamp_of(&self, run: u32, worker: WorkerId) -> Option<u32> {
        let stamp = self.holding(run, worker)?.stamp;
        self.present.get(worker).filter(|cache| cache.was_sent(stamp)).map(|_| stamp)
    }

    /// Evicts until a prompt of `blocks` blocks fits, whatever is known of it; false if it never does.
    fn make_room(&mut self, blocks: usize) -> bool {
        // Lists of a new run and of a split one, with room for another turn, and a longer list of holders.
        let holders = 2 * self.present.slots() * size_of::<Holding>();
        let lists = 2 * (blocks * size_of::<u32>() + ALLOCATION_BYTES) + holders.min(self.max_bytes / 8);
        loop {
            let without_spare = self.memory_bytes() - tag_bytes(&self.spare);
            let fits = without_spare + self.runs.bytes_for(2) + lists <= self.max_bytes;
            if fits && self.runs.len() + 2 <= self.max_runs {
                return true;
            }
            if !self.evict() {
                return fits;
            }
        }
    }

    /// Removes the least recently used run; false if there is none. No run continues it, since a run is used whenever one
    /// that continues it is.
    fn evict(&mut self) -> bool {
        let Some(number) = self.order.oldest() else { return false };
        self.order.remove(&mut self.runs, number);
        let Run { parent, first, .. } = *self.runs.at(number);
        self.children.remove(&self.runs, parent, first);
        if parent != NONE {
            self.runs.at_mut(parent).children -= 1;
        }
        let run = self.runs.take(number);
        self.blocks -= run.len();
        self.heap_bytes -= run.heap_bytes();
        if run.rest.capacity() >= self.spare.capacity() || self.runs.len() == 0 {
            self.keep_as_spare(run.rest);
        }
        true
    }

    fn keep_as_spare(&mut self, list: SmallVec<[u32; 4]>) {
        self.heap_bytes -= tag_bytes(&self.spare);
        self.spare = list;
        self.heap_bytes += tag_bytes(&self.spare);
    }

    /// Adds a run that continues `parent`, as the newest.
    fn create(&mut self, parent: u32, prefix: &[u64], holder: WorkerId) -> u32 {
        let mut run = Run::new(parent, tag(prefix[0]));
        run.rest = self.list_for(prefix.len() - 1);
        run.rest.extend(prefix[1..].iter().map(|hash| tag(*hash)));
        let stamp = self.present.get(holder).map_or(0, WorkerCache::now);
        run.holders.push(Holding { worker: holder, stamp });
        self.blocks += run.len();
        self.add(run)
    }

    fn add(&mut self, run: Run) -> u32 {
        let (parent, first) = (run.parent, run.first);
        self.heap_bytes += run.heap_bytes();
        let number = self.runs.add(run);
        self.children.enter(parent, first, number);
        if parent != NONE {
            self.runs.at_mut(parent).children += 1;
        }
        self.order.push(&mut self.runs, number);
        number
    }

    /// An empty list with room for `blocks`: the spare one, if it is not far too large.
    fn list_for(&mut self, blocks: usize) -> SmallVec<[u32; 4]> {
        let fits = self.spare.capacity() >= blocks && self.spare.capacity() <= 2 * blocks + 16;
        let mut list = if fits { std::mem::take(&mut self.spare) } else { SmallVec::new() };
        if fits {
            self.heap_bytes -= tag_bytes(&list);
            list.clear();
        }
        list.reserve_exact(blocks);
        list
    }

    /// Appends `prefix` to a run that nothing continues and that only `holder` holds; false if it is not so.
    fn extend(&mut self, number: u32, prefix: &[u64], holder: WorkerId) -> bool {
        if number == NONE {
            return false;
        }
        let run = self.runs.at_mut(number);
        if run.children > 0 || run.holders.len() != 1 || run.holders[0].worker != holder {
            return false;
        }
        let before = run.heap_bytes();
        if run.rest.capacity() < run.rest.len() + prefix.len() {
            // Room for another turn: half of the turns of a session need no allocation.
            run.rest.reserve_exact(2 * prefix.len());
        }
        run.rest.extend(prefix.iter().map(|hash| tag(*hash)));
        self.heap_bytes = self.heap_bytes - before + run.heap_bytes();
        self.blocks += prefix.len();
        true
    }

    /// Splits a run after its first `blocks` blocks. Gives the first part, a new run; the second keeps the number, which those that
    /// continue it know.
    fn split(&mut self, number: u32, blocks: usize) -> u32 {
        let run = self.runs.at_mut(number);
        let (parent, first) = (run.parent, run.first);
        let before = run.heap_bytes();
        let mut head = Run::new(parent, first);
        head.rest.reserve_exact(blocks - 1);
        head.rest.extend_from_slice(&run.rest[..blocks - 1]);
        head.holders = run.holders.clone();
        let mut tail = SmallVec::new();
        tail.reserve_exact(run.rest.len() - blocks);
        tail.extend_from_slice(&run.rest[blocks..]);
        let next = run.rest[blocks - 1];
        self.children.remove(&self.runs, parent, first);
        let run = self.runs.at_mut(number);
        (run.first, run.rest) = (next, tail);
        self.heap_bytes = self.heap_bytes - before + run.heap_bytes();
        if parent != NONE {
            self.runs.at_mut(parent).children -= 1;
        }
        let head = self.add(head);
        self.runs.at_mut(head).children = 1;
        self.runs.at_mut(number).parent = head;
        self.children.enter(head, next, number);
        head
    }

    /// Notes that `worker` holds a run.
    fn hold(&mut self, number: u32, worker: WorkerId, block_tokens: f64) {
        if !self.holds(number, worker) {
            self.advance(worker, self.runs.at(number).len() as f64 * block_tokens);
        }
        let present = &self.present;
        let run = self.runs.at_mut(number);
        let Err(mut place) = run.place_of(worker) else { return };
        let before = run.heap_bytes();
        if run.holders.len() == run.holders.capacity() {
            run.holders.retain(|held| present.get(held.worker).is_some_and(|cache| cache.holds(held.stamp)));
            place = run.holders.partition_point(|held| held.worker < worker);
        }
        let stamp = present.get(worker).map_or(0, WorkerCache::now);
        run.holders.insert(place, Holding { worker, stamp });
        self.heap_bytes = self.heap_bytes - before + run.heap_bytes();
    }
}

/// How many runs fit if they keep nothing beside themselves.
fn max_runs(max_bytes: usize) -> usize {
    (max_bytes / (size_of::<Run>() + ChildTable::bytes(1))).min(NONE as usize - 1)
}

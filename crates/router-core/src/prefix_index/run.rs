//! Runs of blocks, and the chunks of memory they lie in.

use crate::WorkerId;
use smallvec::SmallVec;

/// No run: the end of a list, and the parent of a run that begins a prompt.
pub(super) const NONE: u32 = u32::MAX;
/// Runs per chunk of memory.
const CHUNK: usize = 32;
/// What the allocator adds to each allocation, at most.
pub(super) const ALLOCATION_BYTES: usize = 16;

/// A worker that was sent a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    pub(super) worker: WorkerId,
    /// When it was sent it last, on the worker's own clock.
    pub(super) stamp: u32,
}

/// Blocks of a prompt that follow each other and are held by the same workers.
#[derive(Debug)]
pub(super) struct Run {
    /// The run that it continues.
    pub(super) parent: u32,
    /// Its first block.
    pub(super) first: u32,
    /// The blocks after the first.
    pub(super) rest: SmallVec<[u32; 4]>,
    /// The workers that were sent it, in id order. Those that left, or no longer hold it, are removed when the list has to grow.
    pub(super) holders: SmallVec<[Holding; 2]>,
    /// How many runs continue it.
    pub(super) children: u32,
    /// Its neighbours in the order of use. A free run has the next free one as `older`.
    pub(super) newer: u32,
    pub(super) older: u32,
}

impl Run {
    /// A run that no list contains.
    pub(super) fn new(parent: u32, first: u32) -> Self {
        let (rest, holders) = (SmallVec::new(), SmallVec::new());
        Self { parent, first, rest, holders, children: 0, newer: NONE, older: NONE }
    }

    /// Blocks in it.
    pub(super) fn len(&self) -> usize {
        1 + self.rest.len()
    }

    /// How many leading blocks of `prefix` are those of the run, given that the first is.
    pub(super) fn common(&self, prefix: &[u64]) -> usize {
        let rest = prefix.get(1..).unwrap_or_default();
        1 + self.rest.iter().zip(rest).take_while(|(own, hash)| **own == tag(**hash)).count()
    }

    /// Where `worker` is among the holders, or where it would be.
    pub(super) fn place_of(&self, worker: WorkerId) -> Result<usize, usize> {
        self.holders.binary_search_by_key(&worker, |holding| holding.worker)
    }

    /// Memory beside the run itself, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let holders = if self.holders.spilled() {
            self.holders.capacity() * size_of::<Holding>() + ALLOCATION_BYTES
        } else {
            0
        };
        tag_bytes(&self.rest) + holders
    }
}

/// Memory of a list of blocks beside the list itself, in bytes.
pub(super) fn tag_bytes(tags: &SmallVec<[u32; 4]>) -> usize {
    if tags.spilled() { tags.capacity() * size_of::<u32>() + ALLOCATION_BYTES } else { 0 }
}

/// What is kept of a block's hash.
pub(super) const fn tag(hash: u64) -> u32 {
    hash as u32
}

/// All runs, by number. Chunks are added as they are needed, so that no run is ever moved.
#[derive(Debug)]
pub(super) struct RunStore {
    chunks: Vec<Vec<Run>>,
    free: u32,
    len: usize,
}

impl RunStore {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), free: NONE, len: 0 }
    }

    /// Runs in use.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Memory of all chunks, in bytes, without what the runs keep elsewhere.
    pub(super) const fn chunk_bytes(&self) -> usize {
        self.chunks.len() * Self::CHUNK_BYTES + self.chunks.capacity() * size_of::<Vec<Run>>()
    }

    /// Memory that `more` runs may need beyond what there is, in bytes.
    pub(super) fn bytes_for(&self, more: usize) -> usize {
        if self.len + more <= self.chunks.len() * CHUNK {
            return 0;
        }
        // The list of chunks doubles when it is full.
        let list = if self.chunks.len() < self.chunks.capacity() { 0 } else { self.chunks.capacity().max(4) };
        more.div_ceil(CHUNK) * Self::CHUNK_BYTES + list * size_of::<Vec<Run>>()
    }

    const CHUNK_BYTES: usize = CHUNK * size_of::<Run>();

    /// Stores a run; gives its number.
    pub(super) fn add(&mut self, run: Run) -> u32 {
        self.len += 1;
        if self.free != NONE {
            let number = self.free;
            self.free = self.at(number).older;
            *self.at_mut(number) = run;
            return number;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        chunk.push(run);
        (last * CHUNK + chunk.len() - 1) as u32
    }

    /// Frees a number, and gives the run.
    pub(super) fn take(&mut self, number: u32) -> Run {
        self.len -= 1;
        let empty = Run { older: self.free, ..Run::new(NONE, 0) };
        self.free = number;
        std::mem::replace(self.at_mut(number), empty)
    }

    pub(super) fn at(&self, number: u32) -> &Run {
        &self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }

    pub(super) fn at_mut(&mut self, number: u32) -> &mut Run {
        &mut self.chunks[number as usize / CHUNK][number as usize % CHUNK]
    }
}

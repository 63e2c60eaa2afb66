//! Prefill first, as SGLang's scheduler does it by default: requests that wait and fit are prefilled at once in a batch
//! of prompts, and decoding waits meanwhile. Room for output is reserved in part; when it was too little, a request is
//! retracted.

use router_core::Time;

use super::Engine;
use super::reserve::RESERVE_START;
use super::tally::CacheHits;
use crate::job::Sequence;

/// Most output tokens of a request that the reservation considers, as SGLang's `CLIP_MAX_NEW_TOKENS`.
const RESERVE_CLIP: u64 = 4096;

impl Engine {
    /// Takes from the head of the queue what fits the batch size, the token budget and the KV cache; when nothing does,
    /// makes room for a decode step. Returns the prompt tokens that the step computes.
    pub(super) fn form_prefill(&mut self, now: Time) -> u64 {
        if !self.waiting.is_empty() && self.running.len() < self.limits.max_running as usize {
            self.admit_batch(now);
        }
        if self.prefilling.is_empty() {
            self.make_room();
        }
        self.prefilling.iter().map(|s| s.chunk).sum()
    }

    fn admit_batch(&mut self, now: Time) {
        let mut budget = u64::from(self.limits.max_prefill_tokens);
        let mut reserved: u64 = self.running.iter().map(|s| self.growth(s)).sum();
        let mut hits = CacheHits::default();
        while let Some(head) = self.waiting.front() {
            let together = self.running.len() + self.prefilling.len();
            if head.queued_at > now || together >= self.limits.max_running as usize {
                break;
            }
            let split = self.prompt_split(head);
            // A lone request passed the size check at submission, so it needs no headroom.
            reserved += self.growth(head);
            let headroom = if together == 0 { 0 } else { reserved };
            let work = head.work(split.uncached);
            if (!self.prefilling.is_empty() && work > budget)
                || !self.kv.admit(&head.job.blocks[..split.cached_blocks], split.uncached, headroom)
            {
                break;
            }
            budget = budget.saturating_sub(work);
            hits.add(split.cached, work);
            self.start_head(now, split, split.uncached);
        }
        self.tally.count_prefill(hits);
    }

    /// Tokens to keep free for the output of a request.
    fn growth(&self, sequence: &Sequence) -> u64 {
        (sequence.may_grow().min(RESERVE_CLIP) as f64 * self.reserve) as u64
    }

    /// Reserves one KV token per running request, retracting some when the cache is full.
    fn make_room(&mut self) {
        while !self.kv.grow(self.running.len() as u64) && self.running.len() > 1 {
            self.retract_one();
        }
        for sequence in &mut self.running {
            sequence.private_tokens += 1;
        }
    }

    /// Moves the request that loses least (fewest tokens generated, then longest prompt) to the end of the queue, as
    /// SGLang does.
    fn retract_one(&mut self) {
        let by_loss = |(_, s): &(usize, &Sequence)| (s.generated, u32::MAX - s.job.prompt_tokens);
        let Some((i, _)) = self.running.iter().enumerate().min_by_key(by_loss) else { return };
        let sequence = self.running.remove(i);
        self.resident -= sequence.tokens();
        self.reserve = RESERVE_START;
        let sequence = self.reset(sequence);
        self.waiting.push_back(sequence);
    }
}

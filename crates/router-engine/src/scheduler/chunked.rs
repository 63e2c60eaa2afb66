//! Chunked prefill, as vLLM's scheduler does it by default: each step decodes one token for every running request and
//! spends what is left of its token budget on prompts, first come first served, cutting the last one where the budget
//! ends.
//!
//! Cache room is taken chunk by chunk, but a prompt is admitted only when there is room for all of it (vLLM's
//! `scheduler_reserve_full_isl`). Nothing is reserved for its output: when the cache is full, the request that came last
//! goes back to the head of the queue and starts over.

use router_core::Time;

use super::Engine;
use super::tally::CacheHits;

impl Engine {
    /// Makes room for a step, admits prompts, and returns how many of their tokens the step computes.
    pub(super) fn form_chunks(&mut self, now: Time, step_tokens: u32) -> u64 {
        let preempted = self.tally.retractions;
        while !self.kv.grow(self.running.len() as u64) && self.preempt_last() {}
        for sequence in &mut self.running {
            sequence.private_tokens += 1;
        }
        // vLLM requires a budget of at least one token per request, so every prompt makes progress.
        let budget = u64::from(step_tokens.max(self.limits.max_running));
        let budget = self.continue_prompts(budget.saturating_sub(self.running.len() as u64));
        if self.tally.retractions == preempted {
            self.admit_prompts(now, budget);
        }
        self.prefilling.iter().map(|s| s.chunk).sum()
    }

    /// Plans the next chunk of each prompt that has started; returns what is left of the budget.
    fn continue_prompts(&mut self, mut budget: u64) -> u64 {
        let mut i = 0;
        while i < self.prefilling.len() && budget > 0 {
            let sequence = &self.prefilling[i];
            let chunk = (sequence.tokens() - sequence.computed).min(budget);
            if self.kv.grow(chunk) {
                let sequence = &mut self.prefilling[i];
                sequence.private_tokens += chunk;
                sequence.chunk = chunk;
                budget -= chunk;
                i += 1;
            } else if !self.preempt_last() {
                break;
            }
        }
        budget
    }

    fn admit_prompts(&mut self, now: Time, mut budget: u64) {
        let mut hits = CacheHits::default();
        while let Some(head) = self.waiting.front() {
            let together = self.running.len() + self.prefilling.len();
            if head.queued_at > now || together >= self.limits.max_running as usize || budget == 0 {
                break;
            }
            let split = self.prompt_split(head);
            // Keys and values from another engine arrive all at once.
            let chunk = if head.job.prefilled { split.uncached } else { split.uncached.min(budget) };
            let work = head.work(chunk);
            if !self.kv.admit(&head.job.blocks[..split.cached_blocks], chunk, split.uncached - chunk) {
                break;
            }
            budget -= work;
            hits.add(split.cached, head.work(split.uncached));
            self.start_head(now, split, chunk);
        }
        self.tally.count_prefill(hits);
    }

    /// Moves the request that came last back to the head of the queue; false when only one is left, which has all the room
    /// there is.
    fn preempt_last(&mut self) -> bool {
        if self.running.len() + self.prefilling.len() <= 1 {
            return false;
        }
        let last = self.prefilling.pop().or_else(|| {
            let last = self.running.pop()?;
            self.resident -= last.tokens();
            Some(last)
        });
        if let Some(sequence) = last {
            let sequence = self.reset(sequence);
            self.waiting.push_front(sequence);
        }
        true
    }
}

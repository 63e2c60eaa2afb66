//! Prefill first, as SGLang's scheduler does it by default: whoever waits and fits is computed at once in a batch of
//! prompts, and decoding waits meanwhile. Room for answers is reserved in part; when it was too little, a request is
//! retracted.

use router_core::Time;

use super::Engine;
use super::tally::Hits;
use crate::job::Sequence;

/// Share of the allowed output reserved per request at admission: it starts high, falls while decoding goes
/// well and is reset by a retraction. The values are SGLang's `init_new_token_ratio`, its minimum (a factor of
/// 0.14) and its 600 steps of decay.
pub(super) const RESERVE_START: f64 = 0.7;
pub(super) const RESERVE_FLOOR: f64 = 0.098;
pub(super) const RESERVE_DECAY: f64 = (RESERVE_START - RESERVE_FLOOR) / 600.0;
/// Longest output one reservation looks ahead, as SGLang's `CLIP_MAX_NEW_TOKENS`.
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
        let mut hits = Hits::default();
        while let Some(head) = self.waiting.front() {
            let together = self.running.len() + self.prefilling.len();
            if head.queued_at > now || together >= self.limits.max_running as usize {
                break;
            }
            let (matched, cached, uncached) = self.to_compute(head);
            // A lone request passed the size check at submission, so it needs no headroom to get through.
            reserved += self.growth(head);
            let headroom = if together == 0 { 0 } else { reserved };
            if (!self.prefilling.is_empty() && uncached > budget)
                || !self.kv.admit(&head.job.blocks[..matched], uncached, headroom)
            {
                break;
            }
            budget = budget.saturating_sub(uncached);
            hits.add(cached, uncached);
            self.start_head(now, (matched, cached, uncached));
        }
        self.tally.note(hits);
    }

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

    /// Sends the request that loses least (fewest tokens generated, then longest prompt) to the end of the
    /// queue, as SGLang does.
    fn retract_one(&mut self) {
        let by_loss = |(_, s): &(usize, &Sequence)| (s.generated, u32::MAX - s.job.prompt_tokens);
        let Some((i, _)) = self.running.iter().enumerate().min_by_key(by_loss) else { return };
        let sequence = self.running.remove(i);
        self.resident -= sequence.tokens();
        self.reserve = RESERVE_START;
        let sequence = self.emptied(sequence);
        self.waiting.push_back(sequence);
    }
}

//! What the index learns from the events of a fleet.

use super::PrefixIndex;
use crate::{Completion, Event, Outcome, RequestFeatures, WorkerId};

/// Tokens of a prompt, as far as they are known or estimated.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PromptTokens {
    /// In all.
    pub all: f64,
    /// In each block of its prefix.
    pub block: f64,
}

impl PromptTokens {
    /// Those of a request, by the token ids that the client sent, or a guess by its bytes.
    pub fn of(request: &RequestFeatures<'_>) -> Self {
        let of = |bytes| request.tokens_or_guess(bytes);
        Self { all: of(request.prompt_bytes as f64), block: of(f64::from(request.prefix_block_bytes)) }
    }
}

impl PrefixIndex {
    /// Learns from an event, except that a request was [dispatched](Self::dispatched).
    pub fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Joined { worker, info } => {
                self.admit(*worker);
                self.set_capacity(*worker, info.max_total_tokens);
            }
            Event::Changed { worker, info } => self.set_capacity(*worker, info.max_total_tokens),
            Event::Left(worker) => self.forget(*worker),
            Event::CacheEmptied(worker) => {
                if let Some(cache) = self.present.get_mut(*worker) {
                    cache.empty();
                }
            }
            Event::Finished(completion) => self.finished(completion),
            _ => (),
        }
    }

    /// Learns that a request was sent to a worker.
    pub fn dispatched(&mut self, worker: WorkerId, request: &RequestFeatures<'_>, tokens: PromptTokens) {
        let before = self.insert(worker, request.prefix, tokens.block);
        let Some(cache) = self.present.get_mut(worker) else { return };
        if !request.prefix.is_empty() {
            cache.sent(request.id, request.attempt, before, tokens.block);
        }
        // What belongs to no block: the end of the prompt.
        cache.advance((tokens.all - request.prefix.len() as f64 * tokens.block).max(0.0));
    }

    fn finished(&mut self, completion: &Completion) {
        let Some(cache) = self.present.get_mut(completion.worker) else { return };
        let is_complete = completion.result.outcome == Outcome::Success;
        let cached = completion.result.usage.cached_tokens.filter(|_| is_complete);
        cache.ended(completion.request, completion.attempt, cached);
        if let Some(tokens) = completion.output_tokens().filter(|_| is_complete) {
            cache.advance(f64::from(tokens));
        }
    }

    /// Sets how many tokens a worker's cache has room for. Without a limit it is taken to hold all that the index has.
    pub(super) fn set_capacity(&mut self, worker: WorkerId, tokens: Option<u64>) {
        if let Some(cache) = self.present.get_mut(worker) {
            cache.set_capacity(tokens);
        }
    }
}

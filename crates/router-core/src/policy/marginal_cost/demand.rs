//! What is asked for: how many tokens a byte of prompt is, and how many requests come.

use crate::{Features, Route, Time};

/// Tokens per byte before any answer told; about right for English.
const USUAL: f64 = 0.25;
/// How much each answer counts less than the next.
const DECAY: f64 = 0.995;
/// Bytes of prompt for which the usual number stands in at first.
const PRIOR_BYTES: f64 = 2000.0;
/// Seconds over which the rate of arrivals is averaged.
const RATE_SECS: f64 = 10.0;

/// Prompt lengths by route, since chats, code and Chinese differ, and the rate of arrivals.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    /// By route: decayed sums of tokens and bytes.
    seen: [(f64, f64); Route::ALL.len()],
    rate: f64,
    last_at: Option<Time>,
}

impl Default for Demand {
    fn default() -> Self {
        let prior = (USUAL * PRIOR_BYTES, PRIOR_BYTES);
        Self { seen: [prior; Route::ALL.len()], rate: 0.0, last_at: None }
    }
}

impl Demand {
    /// Prompt tokens: told by the client, or guessed from the bytes.
    pub(super) fn prompt_tokens(&self, request: &Features<'_>) -> f64 {
        let guess = self.tokens_per_byte(request.route) * request.prompt_bytes as f64;
        request.prompt_tokens.map_or(guess, f64::from).max(1.0)
    }

    pub(super) fn tokens_per_byte(&self, route: Route) -> f64 {
        let (tokens, bytes) = self.seen[route.index()];
        tokens / bytes
    }

    /// Requests per second.
    pub(super) const fn rate(&self) -> f64 {
        self.rate
    }

    /// A prompt of so many bytes had so many tokens.
    pub(super) fn learn(&mut self, route: Route, (bytes, tokens): (u64, u32)) {
        if bytes == 0 || tokens == 0 {
            return;
        }
        let seen = &mut self.seen[route.index()];
        seen.0 = DECAY * seen.0 + f64::from(tokens);
        seen.1 = DECAY * seen.1 + bytes as f64;
    }

    pub(super) fn arrived(&mut self, now: Time) {
        let passed = self.last_at.map(|last| now.secs_since(last).max(0.0));
        self.last_at = Some(now);
        let Some(passed) = passed else { return };
        let kept = (-passed / RATE_SECS).exp();
        // The limit for arrivals at the same instant is one more in the averaged span.
        self.rate = kept * self.rate + if passed > 0.0 { (1.0 - kept) / passed } else { 1.0 / RATE_SECS };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn tokens_per_byte_are_learned_by_route() {
        let mut demand = Demand::default();
        (0..500).for_each(|_| demand.learn(Route::Generate, (3000, 1500)));
        assert!((demand.tokens_per_byte(Route::Generate) - 0.5).abs() < 0.01);
        assert_eq!(demand.tokens_per_byte(Route::ChatCompletions), USUAL);
        let told = Features { prompt_tokens: Some(7), prompt_bytes: 999, ..Features::default() };
        assert_eq!(demand.prompt_tokens(&told), 7.0);
    }

    #[test]
    fn the_rate_follows_the_arrivals() {
        let mut demand = Demand::default();
        let mut now = Time::ZERO;
        for _ in 0..4000 {
            now = now + Duration::from_millis(20);
            demand.arrived(now);
        }
        assert!((demand.rate() - 50.0).abs() < 1.0, "{}", demand.rate());
    }
}

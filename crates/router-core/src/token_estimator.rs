//! How many tokens a prompt has, estimated from its bytes.

use crate::{PromptScript, RequestFeatures, Route};

/// Tokens per byte before any response reported them, by script: about right for English, for code, for Chinese, and
/// for Chinese in JSON escapes.
const PRIOR_TOKENS_PER_BYTE: [f64; PromptScript::ALL.len()] = [0.25, 0.25, 0.33, 0.3, 0.13];
/// Decay per response.
const DECAY: f64 = 0.995;
/// Weight of the initial value, in bytes of prompt.
const PRIOR_BYTES: f64 = 2000.0;

/// Tokens per byte by route, since each wraps its prompts in other JSON, and by script, since English, code and Chinese
/// differ on one route.
#[derive(Clone, Debug)]
pub(crate) struct TokenEstimator {
    /// By route and script: decayed sums of tokens and bytes.
    seen: [[(f64, f64); PromptScript::ALL.len()]; Route::ALL.len()],
}

impl Default for TokenEstimator {
    fn default() -> Self {
        Self {
            seen: [PRIOR_TOKENS_PER_BYTE.map(|usual| (usual * PRIOR_BYTES, PRIOR_BYTES)); Route::ALL.len()],
        }
    }
}

impl TokenEstimator {
    /// Prompt tokens, as the client sent them or estimated from the bytes, and tokens per byte.
    pub(crate) fn prompt(&self, request: &RequestFeatures<'_>) -> (f64, f64) {
        let per_byte = self.tokens_per_byte(request.route, request.script);
        let guess = per_byte * request.prompt_bytes as f64;
        (request.prompt_tokens.map_or(guess, f64::from).max(1.0), per_byte)
    }

    fn tokens_per_byte(&self, route: Route, script: PromptScript) -> f64 {
        let (tokens, bytes) = self.seen[route.index()][script.index()];
        tokens / bytes
    }

    /// Learns that a prompt of `bytes` bytes had `tokens` tokens.
    pub(crate) fn learn(&mut self, route: Route, script: PromptScript, bytes: u64, tokens: u32) {
        if bytes == 0 || tokens == 0 {
            return;
        }
        let seen = &mut self.seen[route.index()][script.index()];
        seen.0 = DECAY * seen.0 + f64::from(tokens);
        seen.1 = DECAY * seen.1 + bytes as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_per_byte_by_route_and_script() {
        let mut demand = TokenEstimator::default();
        for _ in 0..500 {
            demand.learn(Route::ChatCompletions, PromptScript::Wide, 3000, 1500);
            demand.learn(Route::ChatCompletions, PromptScript::Latin, 3000, 600);
        }
        let per_byte = |script| demand.tokens_per_byte(Route::ChatCompletions, script);
        assert!((per_byte(PromptScript::Wide) - 0.5).abs() < 0.01);
        assert!((per_byte(PromptScript::Latin) - 0.2).abs() < 0.01);
        assert_eq!(per_byte(PromptScript::Code), PRIOR_TOKENS_PER_BYTE[PromptScript::Code.index()]);
        assert_eq!(
            demand.tokens_per_byte(Route::Generate, PromptScript::Wide),
            PRIOR_TOKENS_PER_BYTE[PromptScript::Wide.index()]
        );
        let counted =
            RequestFeatures { prompt_tokens: Some(7), prompt_bytes: 999, ..RequestFeatures::default() };
        assert_eq!(demand.prompt(&counted).0, 7.0);
    }
}

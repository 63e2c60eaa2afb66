//! What a policy may know about a request before it is sent.

use crate::{LengthForecast, RequestId, Route, Time};

/// Prompt bytes that make about one token, where nothing better is known: about right for English.
pub(crate) const BYTES_PER_TOKEN: f64 = 4.0;

/// What a prompt is written in, as far as it affects bytes per token. Estimated from a sample of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum PromptScript {
    /// Not determined.
    #[default]
    Unknown,
    /// Prose in letters that take one byte: English and most of what is written in Latin letters.
    Latin,
    /// Program code, tables, JSON: many digits, brackets and signs.
    Code,
    /// Letters of several bytes each: Chinese, Japanese, Cyrillic, as they are.
    Wide,
    /// Such letters as JSON escapes (`\u4e2d`), six bytes each.
    Escaped,
}

impl PromptScript {
    /// Every script, in declaration order.
    pub const ALL: [Self; 5] = [Self::Unknown, Self::Latin, Self::Code, Self::Wide, Self::Escaped];

    /// The position in [`PromptScript::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What a request asks of its output beside text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum OutputForm {
    /// Nothing.
    #[default]
    Free,
    /// It names tools that may be called.
    Tools,
    /// It names a format or a grammar.
    Format,
}

/// No engine makes longer outputs, in tokens.
pub(crate) const LONGEST_OUTPUT: u32 = 1 << 18;
/// Engines count a few more tokens than the limit: the one that ends the output, drafts that were accepted at once.
const LIMIT_SLACK: u64 = 16;

/// A request as a policy sees it. Absent means unknown, never zero.
///
/// The borrowed parts point into the request body and its prefix hashes, so building one copies nothing.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RequestFeatures<'a> {
    /// The request's id, the same for all its attempts.
    pub id: RequestId,
    /// Zero for the first attempt, one more for each retry.
    pub attempt: u32,
    /// When it came in, when known; never after the dispatch.
    pub arrived_at: Option<Time>,
    /// The API that it uses.
    pub route: Route,
    /// Whether the client asked for a stream of events.
    pub stream: bool,
    /// How many prompts the request carries; 1 unless it is a batch.
    pub batch: u32,
    /// Length of all prompts together as they stand in the body, in bytes.
    pub prompt_bytes: u64,
    /// What the prompt is written in; tokens per byte follow it. Unknown unless some policy
    /// [needs](crate::PolicyNeeds::script) it.
    pub script: PromptScript,
    /// Length of all prompts together in tokens, known only when the client sent token ids.
    pub prompt_tokens: Option<u32>,
    /// The client's cap on generated tokens per response.
    pub max_output_tokens: Option<u32>,
    /// How many completions per prompt the client asked for (`n`); 1 by default.
    pub choices: u32,
    /// Chained hashes of the prompt's leading blocks, oldest first: equal hash `i` means equal blocks `0..=i`.
    /// Empty unless some policy [needs](crate::PolicyNeeds::prefix_hashes) them.
    pub prefix: &'a [u64],
    /// Bytes of prompt per entry of [`prefix`](Self::prefix).
    pub prefix_block_bytes: u32,
    /// The prompt text as it stands in the body. Absent unless some policy [needs](crate::PolicyNeeds::text) it.
    pub text: Option<&'a str>,
    /// Hash of the routing key (session, user) that the client named. Absent unless some policy
    /// [needs](crate::PolicyNeeds::routing_key) it.
    pub routing_key: Option<u64>,
    /// The slot of the one worker that the client named; a slot without a worker where it named an unknown one. Absent
    /// unless some policy [needs](crate::PolicyNeeds::target_worker) it.
    pub target_worker: Option<usize>,
    /// Hash of who sent it: the routing key, or else the API key. Absent unless some policy [needs](crate::PolicyNeeds::forecast)
    /// it, as the next.
    pub client: Option<u64>,
    /// Hash of the model or adapter that it asks for.
    pub model: Option<u64>,
    /// What its output must be.
    pub form: OutputForm,
    /// The length of its output in tokens, as the caller states it; it may be wrong.
    pub stated_output_tokens: Option<u32>,
    /// What is expected of its length, filled in by the balancer; absent unless some policy
    /// [needs](crate::PolicyNeeds::forecast) it.
    pub forecast: Option<LengthForecast>,
    /// What is expected of the output of any request, by all traffic and without a limit; absent where
    /// [`forecast`](Self::forecast) is.
    pub fleet_forecast: Option<LengthForecast>,
}

impl RequestFeatures<'_> {
    /// The same without [`prefix`](Self::prefix) and [`text`](Self::text), which are borrowed.
    pub const fn detached(&self) -> RequestFeatures<'static> {
        RequestFeatures {
            id: self.id,
            attempt: self.attempt,
            arrived_at: self.arrived_at,
            route: self.route,
            stream: self.stream,
            batch: self.batch,
            prompt_bytes: self.prompt_bytes,
            script: self.script,
            prompt_tokens: self.prompt_tokens,
            max_output_tokens: self.max_output_tokens,
            choices: self.choices,
            prefix: &[],
            prefix_block_bytes: self.prefix_block_bytes,
            text: None,
            routing_key: self.routing_key,
            target_worker: self.target_worker,
            client: self.client,
            model: self.model,
            form: self.form,
            stated_output_tokens: self.stated_output_tokens,
            forecast: self.forecast,
            fleet_forecast: self.fleet_forecast,
        }
    }

    /// The most tokens that a response to it can have. A response that reports more tells nothing true about its length.
    pub fn most_output_tokens(&self) -> u32 {
        let outputs = u64::from(self.choices.max(1)) * u64::from(self.batch.max(1));
        let each =
            self.max_output_tokens.map_or(u64::from(LONGEST_OUTPUT), |limit| u64::from(limit) + LIMIT_SLACK);
        u32::try_from(outputs.saturating_mul(each)).unwrap_or(u32::MAX)
    }

    /// How many tokens it is expected to generate, all its choices together; absent where there is no
    /// [`forecast`](Self::forecast).
    pub fn expected_output_tokens(&self) -> Option<f64> {
        self.forecast.map(|forecast| forecast.mean() * f64::from(self.choices.max(1)))
    }

    /// How many tokens so many bytes of the prompt make, in the proportion of this prompt; absent where the client sent no token ids.
    pub fn tokens_in(&self, bytes: f64) -> Option<f64> {
        let all = self.prompt_bytes as f64;
        self.prompt_tokens.filter(|_| all > 0.0).map(|tokens| bytes * (f64::from(tokens) / all))
    }

    /// As [`tokens_in`](Self::tokens_in), with a guess where the client sent no token ids.
    pub fn tokens_or_guess(&self, bytes: f64) -> f64 {
        self.tokens_in(bytes).unwrap_or(bytes / BYTES_PER_TOKEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_bounded_by_the_limit_of_each_choice() {
        let most = |max_output_tokens, choices, batch| {
            let request = RequestFeatures { max_output_tokens, choices, batch, ..RequestFeatures::default() };
            request.most_output_tokens()
        };
        assert!((100..120).contains(&most(Some(100), 1, 1)));
        assert!((600..700).contains(&most(Some(100), 3, 2)));
        assert_eq!(most(None, 0, 0), LONGEST_OUTPUT);
        assert_eq!(most(Some(u32::MAX), u32::MAX, u32::MAX), u32::MAX);
    }
}

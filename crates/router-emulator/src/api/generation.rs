//! One generation, with what the engine and the response need, on every route.

use router_engine::{Job, JobId};

use crate::api::text;

/// Output tokens of `/generate` by default, as in SGLang (`max_new_tokens`).
pub(crate) const DEFAULT_MAX_NEW_TOKENS: u32 = 128;

/// A prompt as it came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

impl Prompt {
    /// Its length in tokens.
    pub(crate) fn tokens(&self) -> u32 {
        match self {
            Self::Text(text) => text::count(text),
            Self::Ids(ids) => u32::try_from(ids.len()).unwrap_or(u32::MAX),
        }
    }

    /// The length of the output that its last words wish for, if they do.
    fn wished_length(&self) -> Option<u32> {
        match self {
            Self::Text(text) => text::wished_length(text),
            Self::Ids(_) => None,
        }
    }

    fn blocks(&self, block_tokens: u32) -> Box<[u64]> {
        match self {
            Self::Text(text) => text::text_blocks(text, block_tokens),
            Self::Ids(ids) => text::id_blocks(ids, block_tokens),
        }
    }

    fn seed(&self, server: u64, choice: u32) -> u64 {
        match self {
            Self::Text(text) => text::output_seed(server, text.as_bytes(), choice),
            Self::Ids(ids) => {
                let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                text::output_seed(server, &bytes, choice)
            }
        }
    }
}

/// The sampling parameters that affect output lengths and choices.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct SamplingParams {
    /// Most tokens to generate; `None` = the route's default.
    pub(crate) max_new_tokens: Option<i64>,
    /// Fewest tokens before the model may stop by itself.
    pub(crate) min_new_tokens: u32,
    /// Never stop before `max_new_tokens`.
    pub(crate) ignore_eos: bool,
    /// Texts that end the output.
    pub(crate) stop: Vec<String>,
    /// As written by the client, for its error message.
    pub(crate) temperature: Option<serde_json::Number>,
    /// Choices per prompt.
    pub(crate) choices: Option<u32>,
    /// Exact output length, from `custom_params.output_tokens` or the `x-emulate-output-tokens` header.
    pub(crate) forced: Option<u32>,
}

/// One of the `n` choices of a prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ChoiceId {
    pub(crate) rid: String,
    /// Its index among the choices of the prompt.
    pub(crate) index: u32,
}

/// Why the output ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum StopReason {
    /// The token limit.
    Length,
    /// The end-of-sequence token.
    Eos,
    /// This stop text.
    Text(String),
}

/// One generation, planned to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Generation {
    pub(crate) rid: String,
    pub(crate) prompt_tokens: u32,
    blocks: Box<[u64]>,
    /// Determines every output token.
    pub(crate) seed: u64,
    pub(crate) output_tokens: u32,
    max_output_tokens: u32,
    pub(crate) stop_reason: StopReason,
    /// Bytes of output text before the stop text.
    cut: Option<usize>,
    /// The prompt was prefilled by another server.
    prefilled: bool,
    /// The data-parallel rank that runs it, on a server with several.
    pub(crate) rank: Option<u32>,
    /// `input_token_logprobs`, where they are wanted.
    pub(crate) input_logprobs: Option<Box<str>>,
}

/// What a server needs to know to plan generations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelSpec {
    pub(crate) seed: u64,
    pub(crate) context_tokens: u32,
    pub(crate) block_tokens: u32,
}

/// A request that the model cannot serve; the message is SGLang's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InvalidRequest(pub(crate) String);

impl ModelSpec {
    /// Checks a prompt against the context length and returns how many tokens may be generated.
    pub(crate) fn allowance(
        &self,
        prompt: &Prompt,
        sampling: &SamplingParams,
        default: Option<u32>,
    ) -> Result<u32, InvalidRequest> {
        let (tokens, context) = (prompt.tokens(), self.context_tokens);
        if let Some(t) = &sampling.temperature
            && t.as_f64().is_none_or(|t| t < 0.0)
        {
            return Err(InvalidRequest(format!(
                "temperature must be a non-negative finite number, got {t}."
            )));
        }
        if let Some(max) = sampling.max_new_tokens.filter(|max| *max < 0) {
            return Err(InvalidRequest(format!("max_new_tokens must be at least 0, got {max}.")));
        }
        if tokens >= context {
            return Err(InvalidRequest(format!(
                "The input ({tokens} tokens) is longer than the model's context length ({context} tokens)."
            )));
        }
        let room = context - tokens;
        match sampling.max_new_tokens {
            None => Ok(default.unwrap_or(room).min(room)),
            Some(max) if max > i64::from(room) => {
                let total = i64::from(tokens) + max;
                Err(InvalidRequest(format!(
                    "Requested token count exceeds the model's maximum context length of {context} tokens. You \
                     requested a total of {total} tokens: {tokens} tokens from the input messages and {max} \
                     tokens for the completion. Please reduce the number of tokens in the input messages or the \
                     completion to fit within the limit."
                )))
            }
            Some(max) => Ok(u32::try_from(max).unwrap_or(0)),
        }
    }

    /// Plans one choice of a prompt that was found valid. `allowance` is what [`ModelSpec::allowance`] gave.
    pub(crate) fn plan(
        &self,
        choice: ChoiceId,
        prompt: &Prompt,
        sampling: &SamplingParams,
        allowance: u32,
    ) -> Generation {
        let ChoiceId { rid, index } = choice;
        let seed = prompt.seed(self.seed, index);
        let natural = prompt.wished_length().unwrap_or_else(|| text::natural_length(seed));
        let natural = natural.max(sampling.min_new_tokens);
        let (mut output_tokens, mut stop_reason) = match sampling.forced {
            Some(forced) if forced < allowance => (forced, StopReason::Eos),
            Some(_) => (allowance, StopReason::Length),
            None if sampling.ignore_eos || natural >= allowance => (allowance, StopReason::Length),
            None => (natural, StopReason::Eos),
        };
        let mut cut = None;
        if !sampling.stop.is_empty() {
            let output = text::output(seed, output_tokens);
            let found = sampling.stop.iter().filter(|s| !s.is_empty());
            let first = found.filter_map(|s| output.find(s.as_str()).map(|at| (at, s))).min();
            if let Some((at, stop)) = first {
                // The model had to generate the whole stop text before it could be detected.
                let seen = (at + stop.len()).div_ceil(text::BYTES_PER_TOKEN);
                output_tokens = output_tokens.min(u32::try_from(seen).unwrap_or(u32::MAX));
                stop_reason = StopReason::Text(stop.clone());
                cut = Some(at);
            }
        }
        Generation {
            rid,
            prompt_tokens: prompt.tokens(),
            blocks: prompt.blocks(self.block_tokens),
            seed,
            output_tokens,
            max_output_tokens: allowance,
            stop_reason,
            cut,
            prefilled: false,
            rank: None,
            input_logprobs: None,
        }
    }
}

impl Generation {
    /// The engine's view of it; the driver fills in the id.
    pub(crate) fn job(&self) -> Job {
        Job {
            id: JobId(0),
            prompt_tokens: self.prompt_tokens,
            blocks: self.blocks.clone(),
            output_tokens: self.output_tokens,
            max_output_tokens: self.max_output_tokens,
            prefilled: self.prefilled,
        }
    }

    /// Limits it to prefill and the first token.
    pub(crate) fn limit_to_prefill(&mut self) {
        self.output_tokens = self.output_tokens.min(1);
        self.max_output_tokens = 1;
        self.stop_reason = StopReason::Length;
    }

    /// Limits it to decode: the prompt was prefilled elsewhere.
    pub(crate) fn limit_to_decode(&mut self) {
        self.prefilled = true;
        self.blocks = Box::default();
    }

    /// Adds made-up logprobs of the prompt tokens that this server has prefilled.
    pub(crate) fn add_input_logprobs(&mut self) {
        let seen = if self.prefilled { 0 } else { self.prompt_tokens };
        let token = |n: u32| {
            let id = text::word_id(self.seed, n);
            // Nothing comes before the first token, so it has no probability.
            if n == 0 { format!("[null,{id},null]") } else { format!("[-{}.5,{id},null]", n % 9) }
        };
        let all: Vec<_> = (0..seen).map(token).collect();
        self.input_logprobs = Some(format!("[{}]", all.join(",")).into());
    }

    /// Appends the text of tokens `from..to` that the client sees.
    pub(crate) fn push_text(&self, from: u32, to: u32, out: &mut Vec<u8>) {
        let start = out.len();
        for position in from..to {
            out.extend_from_slice(text::word(self.seed, position).as_bytes());
        }
        if let Some(cut) = self.cut {
            let allowed = cut.saturating_sub(from as usize * text::BYTES_PER_TOKEN);
            out.truncate(start + allowed.min(out.len() - start));
        }
    }

    /// The whole text of the first `n` tokens.
    pub(crate) fn text(&self, n: u32) -> String {
        let mut out = Vec::with_capacity(n as usize * text::BYTES_PER_TOKEN);
        self.push_text(0, n, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: ModelSpec = ModelSpec { seed: 1, context_tokens: 2048, block_tokens: 16 };

    fn choice() -> ChoiceId {
        ChoiceId { rid: "r".into(), index: 0 }
    }

    #[test]
    fn ignore_eos_fills_token_limit() {
        let prompt = Prompt::Text("hello".into());
        let plan = |ignore_eos, allowance| {
            let sampling = SamplingParams { ignore_eos, ..SamplingParams::default() };
            MODEL.plan(choice(), &prompt, &sampling, allowance)
        };
        assert_eq!((plan(true, 900).output_tokens, plan(true, 900).stop_reason), (900, StopReason::Length));
        let free = plan(false, 2000);
        assert_eq!(free.stop_reason, StopReason::Eos);
        assert_eq!(free, plan(false, 2000), "the same prompt gives the same output");
        assert_eq!(plan(false, 1).output_tokens, 1);
    }

    #[test]
    fn prompt_may_wish_for_a_length() {
        let prompt = Prompt::Text("hello Answer in 17 words.".into());
        let plan = |ignore_eos, allowance| {
            let sampling = SamplingParams { ignore_eos, ..SamplingParams::default() };
            let plan = MODEL.plan(choice(), &prompt, &sampling, allowance);
            (plan.output_tokens, plan.stop_reason)
        };
        assert_eq!(plan(false, 1000), (17, StopReason::Eos));
        assert_eq!(plan(false, 9), (9, StopReason::Length));
        assert_eq!(plan(true, 1000), (1000, StopReason::Length));
    }

    #[test]
    fn stop_text_ends_output_unseen() {
        let prompt = Prompt::Text("hello".into());
        let whole = MODEL.plan(
            choice(),
            &prompt,
            &SamplingParams { ignore_eos: true, ..SamplingParams::default() },
            64,
        );
        let text = whole.text(64);
        let stop = text[42..47].to_owned();
        let at = text.find(&stop).unwrap();
        let sampling =
            SamplingParams { ignore_eos: true, stop: vec![stop.clone()], ..SamplingParams::default() };
        let cut = MODEL.plan(choice(), &prompt, &sampling, 64);
        assert_eq!(cut.stop_reason, StopReason::Text(stop));
        assert_eq!(cut.text(cut.output_tokens), text[..at]);
        let mut pieces = Vec::new();
        for i in 0..cut.output_tokens {
            cut.push_text(i, i + 1, &mut pieces);
        }
        assert_eq!(pieces, &text.as_bytes()[..at], "pieces add up to the whole");
    }
}

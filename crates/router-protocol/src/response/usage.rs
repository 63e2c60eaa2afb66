//! Token counts of the OpenAI routes: the `usage` object in its three forms.

use router_core::TokenUsage;

use crate::json::{JsonReader, Parse};

/// Reads `usage`: `prompt_tokens`/`completion_tokens` (chat, completions, embeddings) or
/// `input_tokens`/`output_tokens` (responses, messages), and `cached_tokens` out of the details of either. Those of messages
/// count the cached tokens and the newly cached ones apart from `input_tokens`: the prompt has all three.
/// `null` is no usage.
pub(super) fn read_usage(r: &mut JsonReader<'_>) -> Parse<Option<TokenUsage>> {
    if r.peek()? != b'{' {
        r.skip()?;
        return Ok(None);
    }
    let mut usage = TokenUsage::default();
    let mut apart = TokenUsage::default();
    r.fields(|key, r| {
        match key {
            b"prompt_tokens" | b"input_tokens" => usage.prompt_tokens = r.count()?,
            b"completion_tokens" | b"output_tokens" => usage.output_tokens = r.count()?,
            b"prompt_tokens_details" | b"input_tokens_details" => {
                usage.cached_tokens = cached(r)?.or(usage.cached_tokens);
            }
            b"cached_tokens" => usage.cached_tokens = r.count()?,
            b"cache_read_input_tokens" => {
                apart.cached_tokens = r.count()?;
                usage.cached_tokens = apart.cached_tokens;
            }
            b"cache_creation_input_tokens" => apart.prompt_tokens = r.count()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    if let Some(prompt) = &mut usage.prompt_tokens {
        let cached = apart.cached_tokens.unwrap_or(0).saturating_add(apart.prompt_tokens.unwrap_or(0));
        *prompt = prompt.saturating_add(cached);
    }
    Ok(Some(usage))
}

fn cached(r: &mut JsonReader<'_>) -> Parse<Option<u32>> {
    let mut tokens = None;
    r.fields(|key, r| {
        if key == b"cached_tokens" {
            tokens = r.count()?;
            return Ok(());
        }
        r.skip()
    })?;
    Ok(tokens)
}

/// Adds the counts of one more part. A count that no part states stays unknown; a part without a count (SGLang leaves
/// `prompt_tokens` out when it aborts in the queue) adds nothing.
pub(super) fn add_usage(sum: &mut TokenUsage, one: &TokenUsage) {
    let add = |a: Option<u32>, b: Option<u32>| match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
    sum.prompt_tokens = add(sum.prompt_tokens, one.prompt_tokens);
    sum.output_tokens = add(sum.output_tokens, one.output_tokens);
    sum.cached_tokens = add(sum.cached_tokens, one.cached_tokens);
}

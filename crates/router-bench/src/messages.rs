//! Requests, responses and streams of the sizes that engines see. They are made here, so no figure depends on a capture.

use bytes::Bytes;

/// A chat request whose messages are about `bytes` long.
pub fn chat_request(bytes: usize) -> String {
    let text =
        "The quick brown fox jumps over the lazy dog.\\nIt said: \\\"again\\\". ".repeat(bytes / 66 + 1);
    chat_request_with(&text[..bytes])
}

/// A chat request with this text, which must be valid inside a JSON string, as the user's message.
pub fn chat_request_with(text: &str) -> String {
    format!(
        "{{\"model\":\"meta-llama/Llama-3.1-8B-Instruct\",\"messages\":[{{\"role\":\"system\",\"content\":\"You are \
         helpful.\"}},{{\"role\":\"user\",\"content\":\"{text}\"}}],\"temperature\":0.7,\"top_p\":0.95,\"max_tokens\":256,\
         \"stream\":true,\"stream_options\":{{\"include_usage\":true}},\"user\":\"user-1234\"}}"
    )
}

/// A native request of about 300 bytes.
pub fn generate_request() -> String {
    format!(
        "{{\"text\":\"{}\",\"sampling_params\":{{\"max_new_tokens\":128,\"temperature\":0.8,\"top_p\":0.9}},\"rid\":\
         \"0123456789abcdef\",\"stream\":false}}",
        "word ".repeat(36)
    )
}

/// A native request whose prompt is `n` token ids.
pub fn token_ids_request(n: u32) -> String {
    let ids: Vec<String> = (0..n).map(|i| (i * 7919 % 128_000).to_string()).collect();
    format!("{{\"input_ids\":[{}],\"sampling_params\":{{\"max_new_tokens\":8}}}}", ids.join(","))
}

/// A whole chat response of about 600 bytes.
pub fn chat_response() -> String {
    format!(
        "{{\"id\":\"b7e19bbb5fd5491aa2abef0013ebbe83\",\"object\":\"chat.completion\",\"created\":1795353165,\"model\":\
         \"meta-llama/Llama-3.1-8B-Instruct\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"{}\",\"reasoning_content\":null,\"tool_calls\":null}},\"logprobs\":null,\"finish_reason\":\
         \"length\",\"matched_stop\":null}}],\"usage\":{{\"prompt_tokens\":11,\"total_tokens\":19,\
         \"completion_tokens\":8,\"prompt_tokens_details\":{{\"cached_tokens\":4}}}}}}",
        "some words ".repeat(16)
    )
}

/// A whole native response of about 600 bytes.
pub fn generate_response() -> String {
    format!(
        "{{\"text\":\"{}\",\"meta_info\":{{\"id\":\"88c18b1f7d0a424c8ec14978da43fc7c\",\"finish_reason\":{{\"type\":\
         \"length\",\"length\":8}},\"prompt_tokens\":3,\"weight_version\":\"default\",\"completion_tokens\":8,\
         \"cached_tokens\":0,\"cached_tokens_details\":null,\"dp_rank\":null,\"e2e_latency\":0.015795469284057617,\
         \"queue_length\":3,\"queue_time_start\":1795353439.3328376,\"queue_time_end\":1795353439.3390667,\
         \"server_created_time\":1795353439.3320376,\"server_first_token_time\":1795353439.345928}}}}",
        "some words ".repeat(14)
    )
}

/// A chat stream, one chunk per event: a role, `events` tokens, the counts, the end mark.
pub fn chat_stream(events: usize) -> Vec<Bytes> {
    let head = "data: {\"id\":\"59fd7c70388b4db789eeb0e3b13ff14c\",\"object\":\"chat.completion.chunk\",\"created\":\
                1795353165,\"model\":\"meta-llama/Llama-3.1-8B-Instruct\",\"choices\":[";
    let choice = |delta: &str| {
        format!("{{\"index\":0,\"delta\":{{{delta}}},\"logprobs\":null,\"finish_reason\":null}}")
    };
    let mut chunks = vec![format!("{head}{}]}}\n\n", choice("\"role\":\"assistant\",\"content\":\"\""))];
    chunks.extend((0..events).map(|_| format!("{head}{}]}}\n\n", choice("\"content\":\" class\""))));
    chunks.push(format!("{head}],\"usage\":{{\"prompt_tokens\":11,\"completion_tokens\":{events}}}}}\n\n"));
    chunks.push("data: [DONE]\n\n".to_owned());
    chunks.into_iter().map(Bytes::from).collect()
}

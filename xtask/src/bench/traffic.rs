//! The traffic: a chat request and response of about 600 bytes each, and what a router asks its workers by itself.

/// The model that every worker claims to serve.
pub(crate) const MODEL: &str = "bench-model";

/// A chat request of about 600 bytes, as the `openai` package writes it.
pub(crate) fn chat_request() -> String {
    let question = "In a short paragraph, explain to a new colleague why a request that shares a long prefix with an \
                    earlier one is cheaper on the server that answered it, what is kept there and for how long, and \
                    why it can still be right to send it to another server when the first one has a long queue. Say also how the \
                    router could know that, and how wrong it can be.";
    format!(
        r#"{{"model":"{MODEL}","messages":[{{"role":"system","content":"You are a patient engineer who answers plainly and briefly."}},{{"role":"user","content":"{question}"}}],"temperature":0.7,"top_p":0.95,"max_tokens":64,"stream":false}}"#
    )
}

/// The same request, streamed.
pub(crate) fn stream_request() -> String {
    chat_request().replace(r#""stream":false"#, r#""stream":true"#)
}

/// The response to a chat request, about 600 bytes, with its usage.
pub(crate) fn chat_response() -> String {
    let content = "The keys and values of the shared prefix are still in that server's memory, so it computes only the \
                rest. They stay until newer ones need the room. A long queue costs more than the prefix saves.";
    format!(
        r#"{{"id":"chatcmpl-5d1f0c7e9a434f5f9a3c2b1d0e8f7a61","object":"chat.completion","created":1762000000,"model":"{MODEL}","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}","reasoning_content":null,"tool_calls":null}},"logprobs":null,"finish_reason":"stop","matched_stop":2}}],"usage":{{"prompt_tokens":113,"total_tokens":160,"completion_tokens":47,"prompt_tokens_details":{{"cached_tokens":64}}}}}}"#
    )
}

/// The response to a router that asks about the worker; `None` for a path that clients use.
pub(crate) fn worker_info(path: &str) -> Option<String> {
    let body = match path {
        "/health" | "/health_generate" | "/ping" => "{}".to_owned(),
        "/get_model_info" | "/model_info" => {
            format!(r#"{{"model_path":"{MODEL}","tokenizer_path":"{MODEL}","is_generation":true}}"#)
        }
        "/get_server_info" | "/server_info" => {
            format!(
                r#"{{"model_path":"{MODEL}","served_model_name":"{MODEL}","dp_size":1,"tp_size":1,"version":"0.5"}}"#
            )
        }
        "/v1/models" => {
            format!(r#"{{"object":"list","data":[{{"id":"{MODEL}","object":"model","owned_by":"x"}}]}}"#)
        }
        "/get_load" => r#"[{"dp_rank":0,"num_reqs":0,"num_waiting_reqs":0,"num_tokens":0}]"#.to_owned(),
        "/load" => r#"{"server_load":0}"#.to_owned(),
        "/version" => r#"{"version":"0.32.0"}"#.to_owned(),
        _ => return None,
    };
    Some(body)
}

/// The paths of [`worker_info`].
pub(crate) const WORKER_INFO_PATHS: [&str; 11] = [
    "/health",
    "/health_generate",
    "/ping",
    "/get_model_info",
    "/model_info",
    "/get_server_info",
    "/server_info",
    "/v1/models",
    "/get_load",
    "/load",
    "/version",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_has_600_bytes_each_way() {
        assert!((550..=650).contains(&chat_request().len()), "{}", chat_request().len());
        assert!((550..=650).contains(&chat_response().len()), "{}", chat_response().len());
        assert_ne!(stream_request(), chat_request());
    }

    #[test]
    fn every_listed_path_has_a_response() {
        assert!(WORKER_INFO_PATHS.iter().all(|path| worker_info(path).is_some()));
    }
}

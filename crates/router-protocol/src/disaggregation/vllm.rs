//! How vLLM's two servers find each other: the prefill's response says where its keys and values are.

use router_core::Route;

use crate::json::JsonReader;

/// Makes a vLLM server keep the keys and values of the prompt for another server, and say where they are.
const KEEP: &str = concat!(
    "{\"do_remote_decode\":true,\"do_remote_prefill\":false,\"remote_engine_id\":null,",
    "\"remote_block_ids\":null,\"remote_host\":null,\"remote_port\":null}"
);

/// The members to set in a request so that a vLLM server only prefills: one token and no stream, whatever the client
/// asked for.
pub const fn vllm_prefill_members(route: Route) -> &'static [(&'static str, &'static str)] {
    const ALL: &[(&str, &str)] = &[
        ("kv_transfer_params", KEEP),
        ("stream", "false"),
        ("max_tokens", "1"),
        ("stream_options", "null"),
        ("min_tokens", "0"),
        ("max_completion_tokens", "1"),
    ];
    match route {
        Route::ChatCompletions => ALL,
        // Messages have no `stream_options` and no `min_tokens`.
        Route::Messages => ALL.split_at(3).0,
        // Completions have no `max_completion_tokens`.
        _ => ALL.split_at(ALL.len() - 1).0,
    }
}

/// `kv_transfer_params` of a vLLM prefill's response, as the bytes there: where the decode server finds the prompt's
/// keys and values. `None` when the response has none; the decode server then computes them itself.
pub fn kv_transfer_params(response: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    let read = JsonReader::new(response).fields(|key, r| {
        let raw = r.raw()?;
        if key == b"kv_transfer_params" && raw.starts_with(b"{") {
            found = Some(raw);
        }
        Ok(())
    });
    read.ok().and(found)
}

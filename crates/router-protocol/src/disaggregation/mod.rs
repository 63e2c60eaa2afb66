//! One request on two servers, one for prefill and one for decode: the members that the router sets in the request's
//! body for either, and the values that it copies from the prefill's response into the decode's.
//!
//! Nothing is parsed into a tree. A member is added at the body's end, or its value replaced
//! ([`set_members`](crate::set_members)), and all other bytes stay as they are.

mod bootstrap;
mod logprobs;
mod vllm;

pub use bootstrap::{BootstrapServer, MAX_ROOMS, bootstrap_members, bootstrap_rooms, room_on_rank};
pub use logprobs::{InputLogprobs, LogprobsMerger};
pub use vllm::{kv_transfer_params, vllm_prefill_members};

use crate::json::JsonReader;

/// Members that only the router may set: they name a server to connect to, and memory to read there.
const RESERVED: [&str; 4] = ["bootstrap_host", "bootstrap_port", "bootstrap_room", "kv_transfer_params"];

/// What a body says that matters only when its request is split into a prefill and a decode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SplitFacts {
    /// The first member that only the router may set, if the body sets one.
    pub reserved: Option<&'static str>,
    /// Whether the client wants the logprobs of its prompt, which only the prefill's response has.
    pub input_logprobs: bool,
    /// The data-parallel rank that the client chose (`data_parallel_rank`).
    pub rank: Option<u64>,
}

/// Reads what matters only when a request is split. Never fails: a body that is not JSON states nothing.
pub fn split_facts(body: &[u8]) -> SplitFacts {
    let mut facts = SplitFacts::default();
    let mut reader = JsonReader::new(body);
    let read = reader.fields(|key, r| {
        if key == b"return_logprob" {
            // One for all prompts, or a list of one per prompt.
            let raw = r.raw()?;
            facts.input_logprobs = raw == b"true" || (raw.starts_with(b"[") && contains(raw, b"true"));
            return Ok(());
        }
        if key == b"data_parallel_rank" {
            facts.rank = r.whole_number()?;
            return Ok(());
        }
        let raw = r.raw()?;
        if let Some(name) = RESERVED.iter().find(|name| name.as_bytes() == key)
            && raw != b"null"
            && facts.reserved.is_none()
        {
            facts.reserved = Some(name);
        }
        Ok(())
    });
    read.map_or(SplitFacts::default(), |()| facts)
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(text, word).is_some()
}

//! The protocol by which prefill and decode workers hand prompts over.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How a prefill worker transfers the KV cache of a prompt to a decode worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PdProtocol {
    /// Both workers get the request at the same time, with the same bootstrap room.
    Sglang,
    /// First the prefill worker, then the decode worker with the kv_transfer_params of its response.
    Vllm,
}

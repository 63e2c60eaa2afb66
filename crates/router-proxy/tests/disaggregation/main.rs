//! Prefill and decode apart, against emulated servers that hand prompts over as SGLang and vLLM do.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test")]

mod decode;
mod pair;
mod pairs;
mod prefill;
mod setup;
mod sglang;
#[path = "../support/mod.rs"]
mod support;
mod vllm;

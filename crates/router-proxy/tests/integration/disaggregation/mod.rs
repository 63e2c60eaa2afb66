//! Prefill and decode apart, against emulated servers that hand prompts over as SGLang and vLLM do.

mod decode;
mod pair;
mod pairs;
mod prefill;
mod setup;
mod sglang;
mod vllm;

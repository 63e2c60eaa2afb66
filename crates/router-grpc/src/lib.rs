//! SGLang's native gRPC service, `sglang.runtime.v1.SglangService`.

pub mod messages;
mod rpc;

pub use rpc::{Rpc, SERVICE};

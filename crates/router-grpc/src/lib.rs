//! SGLang's native gRPC service, `sglang.runtime.v1.SglangService` (`--grpc-port`), behind the face of HTTP.
//!
//! A request comes as HTTP, goes to the worker as calls of the service, and the answers leave as an HTTP response:
//!
//! ```text
//! channel ──▶ request ──▶ call ──▶ framing, messages        what is asked
//!    │
//!    ├─────▶ http2                                          connections, by the h2 crate
//!    ▼
//! response ──▶ receiver, reply ──▶ messages, status          what was answered
//! ```
//!
//! So everything above sees one kind of worker. Messages are those of prost, the status of a call is tonic's;
//! connections are h2's, not tonic's, because its channel passes each message from task to task.
//!
//! The service is not documented; what is known of it comes from answers of SGLang 0.5.23, which are fixtures of the tests.

mod call;
mod channel;
mod error;
mod framing;
mod http2;
pub mod messages;
mod receiver;
mod reply;
mod request;
mod response;
mod rpc;
mod status;
#[cfg(test)]
mod tests;
mod watch;

pub use call::{CallCheck, InferenceSupport, Refusal, timeout_of};
pub use channel::GrpcChannel;
pub use error::{GrpcError, TransportError};
pub use request::{GrpcRequest, PreparedCall};
pub use response::GrpcResponse;
pub use rpc::{Rpc, SERVICE};
pub use watch::{EngineStates, WatchError};

//! SGLang's gRPC service (0.5.23): a call becomes a request to the HTTP routes, and their response becomes its messages.
//!
//! Nothing is generated here, so a fault on demand strikes a call as it strikes a request. What cuts a connection cuts it
//! for all its calls. There are no half messages: `half_event` closes the connection after the last whole one.
//!
//! ```text
//! connection            HTTP/2, and what a fault does to it
//! dispatch              which handler takes which call
//! openai generate       calls that generate
//! info control watch    the others
//! call events malformed the HTTP request of a call; its streamed response; what is said of a bad body
//! ```

mod call;
pub(crate) mod connection;
mod control;
mod dispatch;
mod events;
mod generate;
mod info;
mod malformed;
mod openai;
mod watch;

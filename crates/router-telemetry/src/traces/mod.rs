//! Request traces in memory, for `GET /v1/traces`.

mod store;
mod trace;

pub use store::{TraceQuery, TraceStore};
pub use trace::TraceStatus;

//! Responses to clients: the router's own, and those of workers as they arrive.

mod body;
mod error_response;
mod keep_alive;
mod observed_response;
mod observer;
mod outcome;
mod split_body;
mod sse_tail;
mod tunnel;
mod upstream_body;

pub(crate) use body::RouterBody;
pub(crate) use error_response::{error_answer, error_response, json_response};
pub(crate) use observed_response::ObservedResponse;
pub(crate) use observer::is_event_stream;
pub(crate) use outcome::{FirstFrame, final_outcome, first_outcome, is_undecided, of_status};
pub(crate) use split_body::PrefillTail;
pub(crate) use tunnel::{Tunnel, TunnelSlot};
pub(crate) use upstream_body::{BodyDeadlines, ClientFraming, RelayError, UpstreamBody};

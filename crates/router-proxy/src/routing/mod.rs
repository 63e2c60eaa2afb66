//! Routing a request: its features, and a worker for it.
//!
//! The proxy carries a request itself; a [`RoutingService`] answers those that carry it by other means. Both go through the
//! same functions.

mod affinity;
mod batch_window;
mod body_buffer;
mod model_choice;
mod preview;
mod rejection_record;
mod request_features;
mod route_error;
mod service;
mod worker_headers;

pub(crate) use batch_window::wait_for_batch;
pub use body_buffer::BodyBuffer;
pub(crate) use model_choice::{RequestHead, resolve_model};
pub use preview::{PreviewScore, RoutePreview};
pub(crate) use rejection_record::{RejectedRequest, record_rejection};
pub(crate) use request_features::request_features;
pub use route_error::RouteError;
pub use service::{DescribedRequest, RouteBody, RouteRequest, RoutingService};
pub(crate) use worker_headers::{RequestLabels, add_worker_headers};

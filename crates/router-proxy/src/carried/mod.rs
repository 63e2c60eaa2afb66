//! Requests that are routed here and carried by others: each has a worker and a lease on it, and is told how its response goes.

mod open_routes;
mod routed_request;

pub(crate) use open_routes::OpenRoutes;
pub(crate) use routed_request::{RequestOutline, RouteEnd};
pub use routed_request::{RoutedRequest, WorkerAddress};

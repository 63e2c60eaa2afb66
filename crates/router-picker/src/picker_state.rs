//! What all requests of one picker share.

use crate::destination::WorkerEndpoints;
use router_proxy::RoutingService;

/// What all requests of one picker share.
#[derive(Debug)]
pub(crate) struct PickerState {
    pub(crate) routing: RoutingService,
    pub(crate) endpoints: WorkerEndpoints,
    /// Endpoints that are named beside the chosen one.
    pub(crate) fallbacks: usize,
}

//! The wait of a request for the others of its batch window.

use crate::state::AppState;
use router_core::Route;
use router_upstream::WorkerPool;

/// Waits until the request is to be dispatched: at the end of its window while the pool is busy, at once where there are no
/// windows.
pub(crate) async fn wait_for_batch(state: &AppState, pool: &WorkerPool, route: Route) {
    if !state.admission.has_batch_window() {
        return;
    }
    let now = state.clock.now();
    let dispatch_at = pool.balancer.lock().dispatch_at(now, route);
    if let Some(at) = dispatch_at {
        tokio::time::sleep(at.since(now)).await;
    }
}

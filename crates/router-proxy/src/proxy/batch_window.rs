//! The wait of a request for the others of its batch window.

use super::request::ProxyRequest;

/// Waits until the request is to be dispatched: at the end of its window while the fleet is busy, at once where there are no
/// windows.
pub(super) async fn wait(request: &ProxyRequest<'_>) {
    let state = request.state;
    if !state.admission.has_batch_window {
        return;
    }
    let now = state.clock.now();
    let dispatch_at = request.pool.balancer.lock().dispatch_at(now, request.origin.route);
    if let Some(at) = dispatch_at {
        tokio::time::sleep(at.since(now)).await;
    }
}

//! Follows the state that a gRPC worker tells by itself, in place of asking it again and again.

use crate::grpc::GrpcTransport;
use crate::pool::WorkerPool;
use crate::worker::Worker;
use http::{HeaderMap, header};
use router_grpc::WatchError;
use router_grpc::messages::EngineState;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tracing::debug;

/// Pause before the call is opened again after it ended; doubled each time that it ends without a state.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Pause before a server that does not have the call is asked again: another one may have taken its place.
const UNSUPPORTED_PAUSE: Duration = Duration::from_secs(60);

/// Watches one worker until it is removed. The call ends when the server does, which starts a health check at once.
pub(crate) async fn watch_state(pool: Arc<WorkerPool>, worker: Arc<Worker>, transport: Arc<GrpcTransport>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let ended = tokio::select! {
            () = worker.removed.cancelled() => return,
            () = pool.stopping.cancelled() => return,
            ended = follow(&worker, &transport) => ended,
        };
        let was_told = worker.is_watched.swap(false, Relaxed);
        if was_told {
            worker.request_recheck();
            pause = FIRST_PAUSE;
        }
        let wait = if ended == FollowEnd::Unsupported { UNSUPPORTED_PAUSE } else { pause };
        pause = (pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = worker.removed.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// How the call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FollowEnd {
    /// It broke, or the server ended it.
    Broken,
    /// The server does not have it.
    Unsupported,
}

async fn follow(worker: &Arc<Worker>, transport: &GrpcTransport) -> FollowEnd {
    let mut headers = HeaderMap::new();
    if let Some(own) = &worker.profile.load().authorization {
        headers.insert(header::AUTHORIZATION, own.clone());
    }
    let mut states = match transport.watch(&headers).await {
        Ok(states) => states,
        Err(error) => {
            debug!(worker = %worker.url, %error, "cannot watch the worker's state");
            return FollowEnd::Broken;
        }
    };
    let mut last: Option<EngineState> = None;
    loop {
        match states.next().await {
            Ok(state) => {
                worker.record_activity();
                if let Some(last) = &last {
                    changed(worker, last, &state);
                }
                worker.is_watched.store(state.healthy, Relaxed);
                last = Some(state);
            }
            Err(WatchError::Unsupported(cause)) => {
                debug!(worker = %worker.url, cause, "the worker does not tell its state, so it is asked");
                return FollowEnd::Unsupported;
            }
            Err(WatchError::Ended(error)) => {
                debug!(worker = %worker.url, %error, "the worker's state is not told any more");
                return FollowEnd::Broken;
            }
        }
    }
}

/// A state that differs from the last one is a reason to ask: whether it is healthy, and what it is.
fn changed(worker: &Arc<Worker>, last: &EngineState, state: &EngineState) {
    debug!(
        worker = %worker.url, healthy = state.healthy, paused = state.is_paused, revision = state.revision,
        "the worker's state has changed"
    );
    if state.healthy != last.healthy {
        worker.request_recheck();
    }
    if (state.instance_id, &state.model, &state.server) != (last.instance_id, &last.model, &last.server) {
        worker.recheck.suspect_replacement();
    }
}

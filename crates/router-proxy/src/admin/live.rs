//! `/v1/live`: the state of the router as a stream of events.

use super::reply::refuse;
use crate::live;
use crate::response::RouterBody;
use crate::state::AppState;
use crate::viewers::{MOST_VIEWERS, NotAdmitted};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Tells nginx, and proxies that copy it, to pass each event on at once.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The response where page and stream are off.
pub(super) fn dashboard_off() -> Response<RouterBody> {
    let message = "the dashboard and its stream are off; start the router without --no-dashboard";
    refuse(StatusCode::NOT_FOUND, message, "dashboard_off")
}

/// Begins a stream: a snapshot, then what changes.
pub(super) fn answer(state: &Arc<AppState>) -> Response<RouterBody> {
    let Some(viewers) = &state.live else { return dashboard_off() };
    let mut viewer = match live::watch(state, viewers) {
        Ok(viewer) => viewer,
        Err(NotAdmitted::TooMany) => {
            let message = format!("{MOST_VIEWERS} viewers watch this router already; close one of them");
            return refuse(StatusCode::SERVICE_UNAVAILABLE, &message, "too_many_viewers");
        }
        Err(NotAdmitted::Stopping) => {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "the router stops", "router_stopped");
        }
    };
    // One event waits here, and a few in the viewer: who reads more slowly gets a snapshot in place of what it missed.
    let (events, body) = mpsc::channel(1);
    state.main.tasks.spawn(async move {
        loop {
            let event = tokio::select! {
                event = viewer.next() => event,
                () = events.closed() => return,
            };
            let Some(event) = event else { return };
            if events.send(event).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(RouterBody::events(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    response
}

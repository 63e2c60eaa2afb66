//! `grpc.health.v1`: whether the picker lives, and whether requests find a worker.

use crate::messages::health::{HealthCheckRequest, HealthCheckResponse, ServingStatus};
use crate::messages::processing::EXTERNAL_PROCESSOR;
use crate::picker_state::PickerState;
use futures_util::stream::{self, Stream};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Response, Status};

/// How often a watched state is looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The states of a watched service.
pub(crate) type States = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

/// The state of a service; `None` for one that is not served here.
fn status(state: &PickerState, service: &str) -> Option<ServingStatus> {
    match service {
        "liveness" => Some(ServingStatus::Serving),
        "" | "readiness" | EXTERNAL_PROCESSOR => {
            Some(if state.routing.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing })
        }
        _ => None,
    }
}

/// `Check`.
pub(crate) fn check(
    state: &PickerState,
    request: &HealthCheckRequest,
) -> Result<Response<HealthCheckResponse>, Status> {
    let status = status(state, &request.service)
        .ok_or_else(|| Status::not_found(format!("no service '{}'", request.service)))?;
    Ok(Response::new(HealthCheckResponse { status: status.into() }))
}

/// `Watch`: the state now, and each change of it.
pub(crate) fn watch(state: Arc<PickerState>, request: HealthCheckRequest) -> Response<States> {
    let states = stream::unfold(None, move |last: Option<ServingStatus>| {
        let (state, service) = (Arc::clone(&state), request.service.clone());
        async move {
            loop {
                let now = status(&state, &service).unwrap_or(ServingStatus::ServiceUnknown);
                if last != Some(now) {
                    return Some((Ok(HealthCheckResponse { status: now.into() }), Some(now)));
                }
                tokio::time::sleep(WATCH_INTERVAL).await;
            }
        }
    });
    Response::new(Box::pin(states))
}

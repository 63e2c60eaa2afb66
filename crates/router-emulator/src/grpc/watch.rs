//! `WatchEngineState`: the server's state at once, and after each change.

use futures_util::{StreamExt as _, stream};
use router_core::Time;
use router_grpc::messages::{Empty, EngineState, JsonInfo, ModelInfo};
use tonic::{Response, Status};

use super::call::{Call, Messages, to_json};
use crate::control_state::EngineStatus;
use crate::routes::info;
use crate::state::ServerState;

/// The states. There is always a next one: the stream ends with its connection.
pub(super) async fn states(call: Call, _: Empty) -> Result<Response<Messages<EngineState>>, Status> {
    let mut status = call.server.control.status();
    status.mark_changed();
    let states = stream::unfold((call.server, status), |(server, mut status)| async {
        status.changed().await.ok()?;
        let now = *status.borrow_and_update();
        Some((Ok(state(&server, now)), (server, status)))
    });
    Ok(Response::new(states.boxed()))
}

fn state(server: &ServerState, status: EngineStatus) -> EngineState {
    let started = server.driver().clock().unix(Time::ZERO);
    let model_path = server.config().model_name.clone();
    EngineState {
        // A server that has crashed comes back as another one.
        instance_id: (started * 1e9) as u64 + server.listening().subscribe().borrow().crashes,
        revision: status.revision,
        healthy: status.is_healthy,
        is_paused: status.is_paused,
        model: Some(ModelInfo { model_path, json_info: to_json(&info::model_info(server)) }),
        server: Some(JsonInfo { json_info: to_json(&info::server_info(server)) }),
    }
}

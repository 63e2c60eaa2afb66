//! Calls that change what the server does.

use bytes::Bytes;
use http::{Method, StatusCode};
use router_grpc::messages::{
    AbortRequest, ControlMessage, ControlResponse, Empty, PauseRequest, UpdateWeightsRequest,
};
use serde_json::{Value, json};
use tonic::{Response, Status};

use super::call::{Call, failure, to_json};

/// `Abort`.
pub(super) async fn abort(call: Call, request: AbortRequest) -> Result<Response<ControlResponse>, Status> {
    if request.rid.is_empty() && !request.abort_all {
        let message = "Abort requires a non-empty rid unless abort_all is true";
        return Err(Status::invalid_argument(message));
    }
    let body = to_json(&json!({"rid": request.rid, "abort_all": request.abort_all}));
    call.success(Method::POST, "/abort_request", body).await?;
    Ok(Response::new(ControlResponse { success: true, message: String::new() }))
}

/// `FlushCache`.
pub(super) async fn flush_cache(call: Call, _: Empty) -> Result<Response<ControlResponse>, Status> {
    let (status, body) = call.whole(Method::POST, "/flush_cache", Bytes::new()).await;
    // The first line of a text is the message; an error has JSON.
    let text = String::from_utf8_lossy(&body);
    if text.starts_with('{') {
        return Err(failure(status, &body));
    }
    let message = text.lines().next().unwrap_or_default().to_owned();
    Ok(Response::new(ControlResponse { success: status == StatusCode::OK, message }))
}

/// `PauseGeneration`.
pub(super) async fn pause(call: Call, request: PauseRequest) -> Result<Response<ControlMessage>, Status> {
    let mode = if request.mode.is_empty() { "abort" } else { &request.mode };
    call.success(Method::POST, "/pause_generation", to_json(&json!({"mode": mode}))).await?;
    Ok(Response::new(ControlMessage { message: format!("Generation paused (mode={mode}).") }))
}

/// `ContinueGeneration`.
pub(super) async fn go_on(call: Call, _: Empty) -> Result<Response<ControlMessage>, Status> {
    call.success(Method::POST, "/continue_generation", Bytes::new()).await?;
    Ok(Response::new(ControlMessage { message: "Generation continued.".to_owned() }))
}

/// `UpdateWeightsFromDisk`.
pub(super) async fn update_weights(
    call: Call,
    request: UpdateWeightsRequest,
) -> Result<Response<ControlResponse>, Status> {
    let body = to_json(&json!({"model_path": request.model_path, "load_format": request.load_format}));
    let (status, body) = call.whole(Method::POST, "/update_weights_from_disk", body).await;
    let outcome: Value = serde_json::from_slice(&body).unwrap_or_default();
    match (outcome["success"].as_bool(), outcome["message"].as_str()) {
        (Some(success), Some(message)) => {
            Ok(Response::new(ControlResponse { success, message: message.to_owned() }))
        }
        _ => Err(failure(status, &body)),
    }
}

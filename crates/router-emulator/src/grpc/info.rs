//! Calls that ask about the server, its model and its tokenizer.

use bytes::Bytes;
use http::{Method, StatusCode};
use router_grpc::messages::{
    DetokenizeRequest, DetokenizeResponse, Empty, GetLoadRequest, HealthCheckResponse, JsonInfo,
    ListModelsResponse, ModelCard, ModelInfo, TokenizeRequest, TokenizeResponse,
};
use serde_json::{Value, json};
use tonic::{Response, Status};

use super::call::{Call, cut_short, to_json};

/// `HealthCheck`.
pub(super) async fn health(call: Call, _: Empty) -> Result<Response<HealthCheckResponse>, Status> {
    let (status, _) = call.whole(Method::GET, "/health", Bytes::new()).await;
    Ok(Response::new(HealthCheckResponse { healthy: status == StatusCode::OK }))
}

/// `GetLoad`.
pub(super) async fn load(call: Call, request: GetLoadRequest) -> Result<Response<JsonInfo>, Status> {
    let mut body = call.json(Method::GET, "/v1/loads?include=core", Bytes::new()).await?;
    let Value::Array(mut loads) = body["loads"].take() else { return Err(cut_short()) };
    if let Some(rank) = request.dp_rank {
        loads.retain(|load| load["dp_rank"] == rank);
    }
    Ok(Response::new(JsonInfo { json_info: to_json(&loads) }))
}

/// `GetModelInfo`.
pub(super) async fn model_info(call: Call, _: Empty) -> Result<Response<ModelInfo>, Status> {
    let json_info = call.success(Method::GET, "/model_info", Bytes::new()).await?;
    let model_path = call.server.config().model_name.clone();
    Ok(Response::new(ModelInfo { model_path, json_info }))
}

/// `GetServerInfo`.
pub(super) async fn server_info(call: Call, _: Empty) -> Result<Response<JsonInfo>, Status> {
    let json_info = call.success(Method::GET, "/server_info", Bytes::new()).await?;
    Ok(Response::new(JsonInfo { json_info }))
}

/// `ListModels`.
pub(super) async fn models(call: Call, _: Empty) -> Result<Response<ListModelsResponse>, Status> {
    let body = call.json(Method::GET, "/v1/models", Bytes::new()).await?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let card = |model: &Value| ModelCard {
        id: text(&model["id"]).unwrap_or_default(),
        root: text(&model["root"]).unwrap_or_default(),
        parent: text(&model["parent"]),
        max_model_len: model["max_model_len"].as_i64(),
    };
    let models = body["data"].as_array().into_iter().flatten().map(card).collect();
    Ok(Response::new(ListModelsResponse { models }))
}

/// `Tokenize`.
pub(super) async fn tokenize(
    call: Call,
    request: TokenizeRequest,
) -> Result<Response<TokenizeResponse>, Status> {
    let body = to_json(&json!({"prompt": request.text, "add_special_tokens": request.add_special_tokens}));
    let body = call.json(Method::POST, "/tokenize", body).await?;
    let number = |value: &Value| value.as_i64().and_then(|n| i32::try_from(n).ok());
    Ok(Response::new(TokenizeResponse {
        tokens: body["tokens"].as_array().into_iter().flatten().filter_map(number).collect(),
        count: number(&body["count"]).unwrap_or_default(),
        max_model_len: number(&body["max_model_len"]).unwrap_or_default(),
        input_text: request.text,
    }))
}

/// `Detokenize`.
pub(super) async fn detokenize(
    call: Call,
    request: DetokenizeRequest,
) -> Result<Response<DetokenizeResponse>, Status> {
    let body = to_json(&json!({"tokens": request.tokens}));
    let body = call.json(Method::POST, "/detokenize", body).await?;
    let text = body["text"].as_str().unwrap_or_default().to_owned();
    Ok(Response::new(DetokenizeResponse { text }))
}

//! Calls that take the JSON of OpenAI's API.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode};
use router_grpc::Rpc;
use router_grpc::messages::{OpenAiRequest, OpenAiResponse, OpenAiStreamChunk};
use serde::de::IgnoredAny;
use tonic::{Response, Status};

use super::call::{Call, Messages, collect, is_streamed};
use super::events::{Event, Events};
use super::malformed;
use crate::api::errors::IsMalformed;

/// `ChatComplete` and `Complete`.
pub(super) async fn stream(
    call: Call,
    request: OpenAiRequest,
) -> Result<Response<Messages<OpenAiStreamChunk>>, Status> {
    let path = if call.rpc == Rpc::Complete { "/v1/completions" } else { "/v1/chat/completions" };
    let response = call.request(Method::POST, path, request.json_body.clone()).await;
    if response.extensions().get::<IsMalformed>().is_some() {
        return Err(Status::internal(malformed::details(call.rpc, &request.json_body)));
    }
    if is_streamed(&response) {
        return Ok(Response::new(chunks(Events::new(response.into_body()))));
    }
    let status = response.status();
    let json = collect(response.into_body()).await;
    Ok(Response::new(stream::iter(whole(status, json).map(Ok)).boxed()))
}

/// One chunk for each event, and an empty one in place of `[DONE]`.
fn chunks(events: Events) -> Messages<OpenAiStreamChunk> {
    stream::unfold(Some(events), |events| async {
        let mut events = events?;
        Some(match events.next().await? {
            Event::Json(json) => {
                (Ok(OpenAiStreamChunk { json_chunk: json, finished: false, status_code: 0 }), Some(events))
            }
            Event::Done => (Ok(OpenAiStreamChunk { finished: true, ..OpenAiStreamChunk::default() }), None),
        })
    })
    .boxed()
}

/// The one chunk of a whole answer or an error; none where a fault ended the body early.
fn whole(status: StatusCode, json: Bytes) -> impl Iterator<Item = OpenAiStreamChunk> + Send + 'static {
    let is_cut = status == StatusCode::OK && serde_json::from_slice::<IgnoredAny>(&json).is_err();
    let chunk = OpenAiStreamChunk { json_chunk: json, finished: true, status_code: code(status) };
    (!is_cut).then_some(chunk).into_iter()
}

/// `OpenAIEmbed`, `OpenAIClassify`, `Score` and `Rerank`.
pub(super) async fn unary(call: Call, request: OpenAiRequest) -> Result<Response<OpenAiResponse>, Status> {
    let path = match call.rpc {
        Rpc::OpenAiEmbed => "/v1/embeddings",
        Rpc::OpenAiClassify => "/v1/classify",
        Rpc::Score => "/v1/score",
        _ => "/v1/rerank",
    };
    let (status, json) = call.whole(Method::POST, path, request.json_body).await;
    Ok(Response::new(OpenAiResponse { json_body: json, status_code: code(status) }))
}

fn code(status: StatusCode) -> i32 {
    i32::from(status.as_u16())
}

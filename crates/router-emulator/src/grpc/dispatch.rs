//! Which handler takes which call. Frames, statuses and limits of messages are tonic's.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use prost::Message;
use router_grpc::Rpc;
use tonic::body::Body;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::{Response, Status, TimeoutExpired};
use tonic_prost::ProstCodec;

use super::call::{Call, Messages};
use super::{control, generate, info, openai, watch};
use crate::faults::FaultSwitch;
use crate::server::authorised;
use crate::state::ServerState;

/// Largest message taken.
const MAX_MESSAGE: usize = 64 << 20;

/// Handles one call.
pub(super) async fn serve(
    server: Arc<ServerState>,
    switch: FaultSwitch,
    request: Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    let Some(rpc) = Rpc::of_path(request.uri().path()) else {
        return Ok(Status::unimplemented("").into_http());
    };
    // Every call needs the key, that for the health too.
    if !authorised(&server, "", request.headers()) {
        return Ok(Status::unauthenticated("Unauthorized").into_http());
    }
    let call = Call { rpc, server, switch, metadata: request.headers().clone() };
    Ok(match rpc {
        Rpc::ChatComplete | Rpc::Complete => streamed(call, openai::stream, request).await,
        Rpc::TextGenerate => streamed(call, generate::from_text, request).await,
        Rpc::Generate => streamed(call, generate::from_ids, request).await,
        Rpc::WatchEngineState => streamed(call, watch::states, request).await,
        Rpc::OpenAiEmbed | Rpc::OpenAiClassify | Rpc::Score | Rpc::Rerank => {
            unary(call, openai::unary, request).await
        }
        Rpc::HealthCheck => unary(call, info::health, request).await,
        Rpc::GetLoad => unary(call, info::load, request).await,
        Rpc::GetModelInfo => unary(call, info::model_info, request).await,
        Rpc::GetServerInfo => unary(call, info::server_info, request).await,
        Rpc::ListModels => unary(call, info::models, request).await,
        Rpc::Tokenize => unary(call, info::tokenize, request).await,
        Rpc::Detokenize => unary(call, info::detokenize, request).await,
        Rpc::Abort => unary(call, control::abort, request).await,
        Rpc::FlushCache => unary(call, control::flush_cache, request).await,
        Rpc::PauseGeneration => unary(call, control::pause, request).await,
        Rpc::ContinueGeneration => unary(call, control::go_on, request).await,
        Rpc::UpdateWeightsFromDisk => unary(call, control::update_weights, request).await,
    })
}

/// The handler of a call, in the form that tonic takes.
struct Handler<F> {
    call: Call,
    handle: F,
}

impl<Q, A, F, Fut> UnaryService<Q> for Handler<F>
where
    F: FnMut(Call, Q) -> Fut,
    Fut: Future<Output = Result<Response<A>, Status>>,
{
    type Response = A;
    type Future = Fut;

    fn call(&mut self, request: tonic::Request<Q>) -> Fut {
        (self.handle)(self.call.clone(), request.into_inner())
    }
}

impl<Q, A, F, Fut> ServerStreamingService<Q> for Handler<F>
where
    F: FnMut(Call, Q) -> Fut,
    Fut: Future<Output = Result<Response<Messages<A>>, Status>>,
{
    type Response = A;
    type ResponseStream = Messages<A>;
    type Future = Fut;

    fn call(&mut self, request: tonic::Request<Q>) -> Fut {
        (self.handle)(self.call.clone(), request.into_inner())
    }
}

/// A call with one answer. The time that its client gives it holds for such a call only: of a streamed one the server sends the head at
/// once, and looks at the time until then.
async fn unary<Q, A, F, Fut>(call: Call, handle: F, request: Request<Incoming>) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: FnMut(Call, Q) -> Fut,
    Fut: Future<Output = Result<Response<A>, Status>>,
{
    let limit = router_grpc::timeout_of(&call.metadata);
    let mut service = grpc::<Q, A>();
    let answered = service.unary(Handler { call, handle }, request);
    match limit {
        // As tonic's server ends such a call.
        Some(limit) => tokio::time::timeout(limit, answered)
            .await
            .unwrap_or_else(|_| Status::from_error(Box::new(TimeoutExpired(()))).into_http()),
        None => answered.await,
    }
}

async fn streamed<Q, A, F, Fut>(call: Call, handle: F, request: Request<Incoming>) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: FnMut(Call, Q) -> Fut,
    Fut: Future<Output = Result<Response<Messages<A>>, Status>>,
{
    grpc::<Q, A>().server_streaming(Handler { call, handle }, request).await
}

fn grpc<Q: Message + Default + 'static, A: Message + 'static>() -> Grpc<ProstCodec<A, Q>> {
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE)
}

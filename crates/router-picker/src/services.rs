//! Which service takes which call. Frames, statuses and limits of messages are tonic's.

use crate::exchange;
use crate::health::{self, States};
use crate::messages::health::{HealthCheckRequest, HealthCheckResponse};
use crate::messages::processing::{ProcessingRequest, ProcessingResponse};
use crate::picker_state::PickerState;
use futures_util::stream::Stream;
use http::Request;
use hyper::body::Incoming;
use prost::Message;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use tonic::body::Body;
use tonic::server::{Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// Largest message that is taken. A gateway that buffers a body sends it as one.
const MAX_MESSAGE: usize = 64 << 20;

type Answers = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

/// What a port serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Services {
    /// The external processor, and the health.
    All,
    /// The health alone.
    Health,
}

/// Handles one call.
pub(crate) async fn serve(
    state: Arc<PickerState>,
    services: Services,
    request: Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    Ok(match request.uri().path() {
        "/envoy.service.ext_proc.v3.ExternalProcessor/Process" if services == Services::All => {
            grpc().streaming(Process(state), request).await
        }
        "/grpc.health.v1.Health/Check" => grpc().unary(Check(state), request).await,
        "/grpc.health.v1.Health/Watch" => grpc().server_streaming(Watch(state), request).await,
        path => Status::unimplemented(format!("no call {path}")).into_http(),
    })
}

fn grpc<Q: Message + Default + 'static, A: Message + 'static>() -> Grpc<ProstCodec<A, Q>> {
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE)
}

struct Process(Arc<PickerState>);

impl StreamingService<ProcessingRequest> for Process {
    type Response = ProcessingResponse;
    type ResponseStream = Answers;
    type Future = Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<ProcessingRequest>>) -> Self::Future {
        let answers = exchange::run(Arc::clone(&self.0), request.into_inner());
        ready(Ok(Response::new(Box::pin(answers))))
    }
}

struct Check(Arc<PickerState>);

impl UnaryService<HealthCheckRequest> for Check {
    type Response = HealthCheckResponse;
    type Future = Ready<Result<Response<HealthCheckResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<HealthCheckRequest>) -> Self::Future {
        ready(health::check(&self.0, &request.into_inner()))
    }
}

struct Watch(Arc<PickerState>);

impl ServerStreamingService<HealthCheckRequest> for Watch {
    type Response = HealthCheckResponse;
    type ResponseStream = States;
    type Future = Ready<Result<Response<States>, Status>>;

    fn call(&mut self, request: tonic::Request<HealthCheckRequest>) -> Self::Future {
        ready(Ok(health::watch(Arc::clone(&self.0), request.into_inner())))
    }
}

//! One request and its response, as the gateway tells of them.

use crate::messages::processing::{
    BodySendMode, Part, ProcessingRequest, ProcessingResponse, ProtocolConfiguration,
};
use crate::picker_state::PickerState;
use crate::request_side::RequestSide;
use crate::response_side::ResponseSide;
use futures_util::stream::{self, Stream};
use std::collections::VecDeque;
use std::sync::Arc;
use tonic::{Status, Streaming};

/// One request and its response. Dropping it before the response has ended cancels the request.
#[derive(Debug)]
struct Exchange {
    inbound: Streaming<ProcessingRequest>,
    /// Answers that are to be sent.
    outbox: VecDeque<ProcessingResponse>,
    request: RequestSide,
    response: ResponseSide,
    protocol: Option<ProtocolConfiguration>,
    /// The client gets a response of the router, and nothing more is told of the request.
    is_refused: bool,
}

/// The answers to what comes `inbound`.
pub(crate) fn run(
    state: Arc<PickerState>,
    inbound: Streaming<ProcessingRequest>,
) -> impl Stream<Item = Result<ProcessingResponse, Status>> + Send + 'static {
    let exchange = Exchange {
        inbound,
        outbox: VecDeque::new(),
        request: RequestSide::new(state),
        response: ResponseSide::default(),
        protocol: None,
        is_refused: false,
    };
    stream::try_unfold(exchange, |mut exchange| async move {
        let next = exchange.next().await?;
        Ok(next.map(|answer| (answer, exchange)))
    })
}

impl Exchange {
    /// The next answer; `None` when the gateway tells nothing more.
    async fn next(&mut self) -> Result<Option<ProcessingResponse>, Status> {
        loop {
            if let Some(answer) = self.outbox.pop_front() {
                return Ok(Some(answer));
            }
            if self.is_refused {
                return Ok(None);
            }
            let Some(message) = self.inbound.message().await? else { return Ok(None) };
            self.take(message).await;
        }
    }

    /// Takes note of a message, and answers it.
    async fn take(&mut self, message: ProcessingRequest) {
        let ProcessingRequest { part, metadata, attributes, observability_mode, protocol } = message;
        self.protocol = self.protocol.or(protocol);
        let Some(part) = part else { return };
        let (request_mode, response_mode) = (self.request_mode(), self.response_mode());
        let out = &mut self.outbox;
        match part {
            Part::RequestHeaders(head) => {
                self.request.headers(head, metadata.as_ref(), request_mode, out).await;
            }
            Part::RequestBody(body) => self.request.body(body, request_mode, out).await,
            Part::RequestTrailers(_) => self.request.trailers(request_mode, out).await,
            Part::ResponseHeaders(head) => {
                self.response.headers(head, metadata.as_ref(), &attributes, response_mode, out);
            }
            Part::ResponseBody(body) => self.response.body(body, response_mode, out),
            Part::ResponseTrailers(_) => self.response.trailers(out),
        }
        if let Some(routed) = self.request.take_routed() {
            self.response.begin(routed);
        }
        self.is_refused = self.request.is_refused();
        if observability_mode {
            self.outbox.clear();
        }
    }

    fn request_mode(&self) -> BodySendMode {
        self.protocol.map_or(BodySendMode::FullDuplexStreamed, |protocol| protocol.request_body_mode())
    }

    fn response_mode(&self) -> BodySendMode {
        self.protocol.map_or(BodySendMode::FullDuplexStreamed, |protocol| protocol.response_body_mode())
    }
}

//! Workers that stream: each response is a series of events at a fixed interval, each event in a write of its own.

use super::traffic;
use crate::harness::http;
use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Events of one stream; `[DONE]` comes after them.
pub(crate) const EVENTS: u64 = 128;
/// Time between two events.
pub(crate) const INTERVAL: Duration = Duration::from_millis(10);

const CHAT: &str = "/v1/chat/completions";

type Body = Either<Full<Bytes>, Channel<Bytes, Infallible>>;

/// Starts `count` workers; they stop when the set is dropped.
///
/// # Errors
/// No port can be bound.
pub(crate) async fn start(count: usize) -> Result<(Vec<u16>, JoinSet<()>)> {
    let mut ports = Vec::new();
    let mut servers = JoinSet::new();
    for _ in 0..count {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).await.context("cannot bind a port for a worker")?;
        ports.push(listener.local_addr()?.port());
        servers.spawn(serve(listener));
    }
    Ok((ports, servers))
}

/// Whether a chat request to this port succeeds, with the whole response.
pub(crate) async fn succeeds(port: u16, body: String) -> bool {
    http::post(port, CHAT, body).await.is_ok_and(|(status, _)| status.is_success())
}

/// A chat request to a port of this machine.
///
/// # Errors
/// Never in practice: the parts are constants.
pub(crate) fn chat(port: u16, body: Bytes) -> Result<Request<Full<Bytes>>> {
    http::json_post(port, CHAT, body)
}

async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        connections.spawn(async move {
            let served = hyper::server::conn::http1::Builder::new();
            // A broken connection shows as a failure of the contender.
            let _ = served.serve_connection(TokioIo::new(stream), service_fn(respond)).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn respond(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if let Some(info) = traffic::worker_info(request.uri().path()) {
        return Ok(response(Either::Left(Full::new(Bytes::from(info))), "application/json"));
    }
    let _ = request.into_body().collect().await;
    let (sender, body) = Channel::new(1);
    tokio::spawn(stream(sender));
    Ok(response(Either::Right(body), "text/event-stream"))
}

fn response(body: Body, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// Sends all events, unless the client disconnects. A late event does not delay the next.
async fn stream(mut sender: Sender<Bytes, Infallible>) {
    let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for index in 1..=EVENTS {
        ticks.tick().await;
        if sender.send_data(event(index)).await.is_err() {
            return;
        }
    }
    let _ = sender.send_data(Bytes::from_static(b"data: [DONE]\n\n")).await;
}

fn event(index: u64) -> Bytes {
    let model = traffic::MODEL;
    let end = if index == EVENTS {
        r#"{},"finish_reason":"stop"}],"usage":{"prompt_tokens":113,"total_tokens":240,"completion_tokens":127}}"#
    } else {
        r#"{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null}"#
    };
    Bytes::from(format!(
        "data: {{\"id\":\"chatcmpl-5d1f0c7e9a43\",\"object\":\"chat.completion.chunk\",\"created\":1762000000,\
         \"model\":\"{model}\",\"choices\":[{{\"index\":0,\"delta\":{end}\n\n"
    ))
}

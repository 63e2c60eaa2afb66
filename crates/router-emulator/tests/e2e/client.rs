//! A client that records status, headers, frames, and the end of the connection.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use router_emulator::{Emulator, EmulatorConfig, RunningEmulator, SglangVersion};
use router_engine::EngineProfile;
use serde_json::Value;
use tokio::net::TcpStream;

/// A complete or broken response.
pub(crate) struct CollectedResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
    /// Whether the body ended before it was complete.
    pub(crate) broken: bool,
    pub(crate) trailers: Option<http::HeaderMap>,
}

impl CollectedResponse {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The JSON of every SSE event; `[DONE]` becomes null.
    pub(crate) fn events(&self) -> Vec<Value> {
        events(&self.text)
    }
}

pub(crate) fn events(text: &str) -> Vec<Value> {
    let lines = text.lines().filter_map(|l| l.strip_prefix("data: "));
    lines.map(|l| if l == "[DONE]" { Value::Null } else { serde_json::from_str(l).unwrap() }).collect()
}

/// A server with this version, at `speed` times the pace of an 8B model.
pub(crate) async fn server(version: SglangVersion, speed: f64) -> RunningEmulator {
    let mut config = EmulatorConfig::new(EngineProfile::named("sglang_8b").unwrap());
    (config.version, config.speed, config.model_name) = (version, speed, "tiny".to_owned());
    Emulator::start(config).await.unwrap()
}

/// A response whose body is not read yet.
pub(crate) async fn open(
    server: &RunningEmulator,
    method: Method,
    path: &str,
    body: &str,
) -> hyper::Result<http::Response<hyper::body::Incoming>> {
    let stream = TcpStream::connect(server.addr()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "emulator")
        .header("content-type", "application/json")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    sender.send_request(request).await
}

/// Sends a request and collects the response.
pub(crate) async fn ask(
    server: &RunningEmulator,
    method: Method,
    path: &str,
    body: &str,
) -> hyper::Result<CollectedResponse> {
    let (parts, mut incoming) = open(server, method, path, body).await?.into_parts();
    let (mut bytes, mut broken, mut trailers) = (Vec::new(), false, None);
    while let Some(frame) = incoming.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    Ok(CollectedResponse { status: parts.status, headers: parts.headers, text, broken, trailers })
}

pub(crate) async fn post(server: &RunningEmulator, path: &str, body: &str) -> CollectedResponse {
    ask(server, Method::POST, path, body).await.unwrap()
}

pub(crate) async fn get(server: &RunningEmulator, path: &str) -> CollectedResponse {
    ask(server, Method::GET, path, "").await.unwrap()
}

/// Waits until the server's load is as wanted; hangs until the test times out otherwise.
pub(crate) async fn until(server: &RunningEmulator, wanted: impl Fn(&router_emulator::EngineStats) -> bool) {
    while !wanted(&server.stats()) {
        tokio::task::yield_now().await;
    }
}

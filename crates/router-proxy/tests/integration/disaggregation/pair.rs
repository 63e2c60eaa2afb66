//! A router before emulated prefill and decode servers, and readers of its answers.

use crate::support::{post, start, until, without_chunks};
use router_config::{Options, PdProtocol};
use router_emulator::{Emulator, EmulatorConfig, RunningEmulator, ServerRole, SglangVersion};
use router_engine::EngineProfile;
use router_proxy::RunningRouter;
use serde_json::Value;
use std::net::SocketAddr;

/// An emulated server at `speed` times the pace of an 8B model.
pub(crate) async fn emulator(role: ServerRole, speed: f64) -> RunningEmulator {
    let mut config = EmulatorConfig::new(EngineProfile::named("sglang_8b").unwrap());
    (config.role, config.speed) = (role, speed);
    (config.grpc_port, config.version) = (Some(0), SglangVersion::Stock);
    Emulator::start(config).await.unwrap()
}

/// A router before some prefill and some decode servers.
pub(crate) struct Pair {
    pub(crate) prefill: Vec<RunningEmulator>,
    pub(crate) decode: Vec<RunningEmulator>,
    pub(crate) router: RunningRouter,
}

impl Pair {
    pub(crate) async fn start(protocol: PdProtocol) -> Self {
        Self::sized(protocol, (1, 1), |_| {}).await
    }

    pub(crate) async fn sized(
        protocol: PdProtocol,
        (m, n): (usize, usize),
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let (mut prefill, mut decode) = (Vec::new(), Vec::new());
        for _ in 0..m {
            prefill.push(emulator(ServerRole::Prefill, 20.0).await);
        }
        for _ in 0..n {
            decode.push(emulator(ServerRole::Decode, 20.0).await);
        }
        let mut options = pair_options(&prefill, &decode);
        options.pd_protocol = protocol;
        change(&mut options);
        let router = start(options).await;
        until(|| router.healthy_workers() == m + n).await;
        Self { prefill, decode, router }
    }

    /// Nothing is left anywhere: no seat in the router, no work at a server.
    pub(crate) async fn at_rest(&self) {
        until(|| self.router.in_flight() == 0).await;
        let servers = || self.prefill.iter().chain(&self.decode);
        until(|| servers().all(|s| s.stats().in_flight() == 0)).await;
    }
}

/// The same workers by their gRPC ports.
pub(crate) fn by_grpc(pair: &Pair) -> Options {
    let url = |server: &RunningEmulator| server.grpc_url().unwrap();
    let port = |server: &RunningEmulator| server.config().bootstrap_port.to_string();
    Options {
        prefill: pair.prefill.iter().flat_map(|server| [url(server), port(server)]).collect(),
        decode: pair.decode.iter().map(url).collect(),
        ..pair_options(&pair.prefill, &pair.decode)
    }
}

pub(crate) fn pair_options(prefill: &[RunningEmulator], decode: &[RunningEmulator]) -> Options {
    let port = |p: &RunningEmulator| p.config().bootstrap_port.to_string();
    Options {
        pd_disaggregation: true,
        prefill: prefill.iter().flat_map(|p| [p.url(), port(p)]).collect(),
        decode: decode.iter().map(RunningEmulator::url).collect(),
        ..crate::support::options(&[])
    }
}

pub(crate) fn json_of(answer: &str) -> Value {
    let text = without_chunks(answer);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

/// The events of a stream; `[DONE]` is null.
pub(crate) fn events(answer: &str) -> Vec<Value> {
    let text = without_chunks(answer);
    let data = text.lines().filter_map(|l| l.strip_prefix("data: "));
    data.map(|d| if d == "[DONE]" { Value::Null } else { serde_json::from_str(d).unwrap() }).collect()
}

pub(crate) fn code(answer: &str) -> String {
    json_of(answer)["error"]["code"].as_str().unwrap_or("none").to_owned()
}

/// What one server alone answers; its seed is that of the others.
pub(crate) async fn alone(path: &str, request: &str) -> String {
    let whole = emulator(ServerRole::Unified, 20.0).await;
    let options = crate::support::options(&[whole.addr()]);
    let router = crate::support::router(options).await;
    post(&router, path, request).await
}

/// The texts of an answer, whatever its route.
pub(crate) fn texts(value: &Value) -> Vec<String> {
    let list = match value {
        Value::Array(parts) => parts.clone(),
        one if one["choices"].is_array() => one["choices"].as_array().unwrap().clone(),
        one => vec![one.clone()],
    };
    let text =
        |v: &Value| v["text"].as_str().or(v["message"]["content"].as_str()).unwrap_or("none").to_owned();
    list.iter().map(text).collect()
}

pub(crate) const LONG: &str = "word word word word word word word word";

/// A router before one prefill and one decode worker whose every byte the test decides.
pub(crate) async fn by_hand(prefill: SocketAddr, decode: SocketAddr) -> RunningRouter {
    let router = start(Options {
        pd_disaggregation: true,
        prefill: vec![format!("http://{prefill}")],
        decode: vec![format!("http://{decode}")],
        ..crate::support::options(&[])
    })
    .await;
    until(|| router.healthy_workers() == 2).await;
    router
}

pub(crate) const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";

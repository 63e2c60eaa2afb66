//! Workers that are reached by SGLang's gRPC service: the same answers as over HTTP, and clear errors where something is missing.

use crate::support::{RawClient, body, get, last_error, metric, options, post, send, start, until, worker};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use parking_lot::Mutex;
use router_config::{ConnectionMode, Options, WorkerSpec};
use router_emulator::{Emulator, EmulatorConfig, Fault, FaultKind, RunningEmulator, SglangVersion};
use router_engine::EngineProfile;
use router_proxy::RunningRouter;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// An emulated server with both ports.
async fn emulated() -> RunningEmulator {
    let profile = EngineProfile::named("sglang_1.5b").unwrap().at_speed(4.0);
    let config =
        EmulatorConfig { grpc_port: Some(0), version: SglangVersion::Stock, ..EmulatorConfig::new(profile) };
    Emulator::start(config).await.unwrap()
}

async fn router_of(worker_urls: Vec<String>, options: Options) -> RunningRouter {
    let workers = worker_urls.len();
    let router = start(Options { worker_urls, ..options }).await;
    until(|| router.healthy_workers() == workers).await;
    router
}

/// Status and body of a response.
fn parts(answer: &str) -> (u16, String) {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let text = crate::support::without_chunks(answer);
    (status, text.split_once("\r\n\r\n").map_or(text.clone(), |(_, body)| body.to_owned()))
}

/// The names of all members, in order, without what differs from call to call.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        Value::Array(values) => values.iter().map(shape).collect(),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!(0),
        other => other.clone(),
    }
}

/// What a streamed chat says. How many tokens an event has depends on the pace.
fn streamed_text(answer: &str) -> String {
    let (status, body) = parts(answer);
    assert!(status == 200 && body.contains("data: [DONE]\n\n"), "{answer}");
    let events = body.lines().filter_map(|line| line.strip_prefix("data: {"));
    let events = events.map(|event| serde_json::from_str::<Value>(&format!("{{{event}")).unwrap());
    events.filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_http() {
    let server = emulated().await;
    let http = router_of(vec![server.url()], options(&[])).await;
    let grpc = router_of(vec![server.grpc_url().unwrap()], options(&[])).await;
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5});
    let sampling = json!({"max_new_tokens": 4, "ignore_eos": true});
    for (path, asked) in [
        ("/v1/chat/completions", chat.clone()),
        ("/v1/completions", json!({"model": "m", "prompt": "a", "max_tokens": 5})),
        ("/v1/embeddings", json!({"model": "m", "input": "hi"})),
        ("/v1/rerank", json!({"model": "m", "query": "a", "documents": ["b", "c"]})),
        ("/tokenize", json!({"model": "m", "prompt": "hello there"})),
        ("/tokenize", json!({"model": "m", "prompt": ["hello", "there"]})),
        (
            "/v1/chat/completions",
            json!({"model": "m", "messages": [{"role": "user", "content": "word ".repeat(200_000)}]}),
        ),
    ] {
        let asked = asked.to_string();
        let (by_http, by_grpc) =
            (parts(&post(&http, path, &asked).await), parts(&post(&grpc, path, &asked).await));
        let read = |(status, body): &(u16, String)| (*status, shape(&serde_json::from_str(body).unwrap()));
        assert_eq!(read(&by_http), read(&by_grpc), "{path}");
    }
    let asked = json!({"text": "hello", "sampling_params": sampling, "rid": "mine"}).to_string();
    let (status, answer) = parts(&post(&grpc, "/generate", &asked).await);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (status, &answer["meta_info"]["id"], &answer["meta_info"]["completion_tokens"]),
        (200, &json!("mine"), &json!(4))
    );
    let mut streamed = chat;
    streamed["stream"] = true.into();
    let streamed = streamed.to_string();
    assert_eq!(
        streamed_text(&post(&http, "/v1/chat/completions", &streamed).await),
        streamed_text(&post(&grpc, "/v1/chat/completions", &streamed).await)
    );
    let (status, answer) = parts(&post(&grpc, "/v1/chat/completions", "{\"model\":").await);
    assert!(status == 400 && answer.contains("Expecting"), "{status} {answer}");
    let workers = body(&get(&grpc, "/workers").await);
    assert_eq!(workers["workers"][0]["connection_mode"], "grpc");
    assert_eq!(workers["workers"][0]["version"], "0.5.23");
    until(|| grpc.in_flight() == 0 && http.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_call_goes_to_an_http_worker() {
    let (by_grpc, by_http) = (emulated().await, emulated().await);
    let messages =
        json!({"model": "m", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    let image = json!({"text": "a", "image_data": "x", "sampling_params": {"max_new_tokens": 2}}).to_string();
    let mixed = router_of(vec![by_grpc.grpc_url().unwrap(), by_http.url()], options(&[])).await;
    for (path, asked) in [("/v1/messages", &messages), ("/generate", &image)] {
        for _ in 0..4 {
            let answer = post(&mixed, path, asked).await;
            let worker = crate::support::header(&answer, "x-sglang-worker").unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && worker == by_http.url(), "{path}: {answer}");
        }
    }
    let alone = router_of(vec![by_grpc.grpc_url().unwrap()], options(&[])).await;
    for (path, asked, named) in
        [("/v1/messages", &messages, "/v1/messages"), ("/generate", &image, "image_data")]
    {
        let (status, answer) = parts(&post(&alone, path, asked).await);
        assert!(status == 501 && answer.contains(named) && answer.contains("gRPC"), "{status} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grpc_port_beside_http_is_used_when_asked_for() {
    let server = emulated().await;
    let mode = Options { connection_mode: ConnectionMode::GrpcPort, ..options(&[]) };
    let router = router_of(vec![server.url()], mode).await;
    // The server says where its service is when it is asked what it is, after it has become healthy.
    while body(&get(&router, "/workers").await)["workers"][0]["connection_mode"] != "grpc-port" {
        tokio::task::yield_now().await;
    }
    // A body that is no JSON is refused in different words by the two.
    let (_, answer) = parts(&post(&router, "/v1/chat/completions", "{").await);
    assert!(answer.contains("Expecting"), "by gRPC: {answer}");
    let messages =
        json!({"model": "m", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}).to_string();
    assert!(post(&router, "/v1/messages", &messages).await.starts_with("HTTP/1.1 200"), "by HTTP");
    let image = json!({"text": "a", "image_data": "x", "sampling_params": {"max_new_tokens": 2}}).to_string();
    assert!(post(&router, "/generate", &image).await.starts_with("HTTP/1.1 200"), "by HTTP");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mode_turns_http_urls_into_grpc() {
    let server = emulated().await;
    let url = server.grpc_url().unwrap().replace("grpc://", "http://");
    let mode = Options { connection_mode: ConnectionMode::Grpc, ..options(&[]) };
    let router = router_of(vec![url.clone()], mode).await;
    assert_eq!(body(&get(&router, "/workers").await)["workers"][0]["url"], server.grpc_url().unwrap());
    let other = router_of(vec![server.url()], options(&[])).await;
    let spec = json!({"url": url, "connection_mode": "grpc", "runtime_type": "sglang"}).to_string();
    assert!(send(&other, "POST", "/workers", &spec).await.starts_with("HTTP/1.1 202"));
    until(|| other.healthy_workers() == 2).await;
    let vllm = WorkerSpec { url: "grpc://127.0.0.1:1".to_owned(), ..WorkerSpec::default() };
    let spec = json!({"url": vllm.url, "runtime": "vllm"}).to_string();
    let refused = send(&other, "POST", "/workers", &spec).await;
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("vLLM has no gRPC service"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_port_is_no_grpc_worker() {
    let answering = worker(|mut request| async move { request.send_json("{}").await }).await;
    for http in [answering, resetting_server().await] {
        let router = start(Options { worker_urls: vec![format!("grpc://{http}")], ..options(&[]) }).await;
        loop {
            let error = last_error(&router).await;
            if !error.is_null() {
                let message = error["message"].as_str().unwrap();
                assert!(message.contains("HTTP/2"), "{message}");
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A server that closes each connection without reading what came on it, which resets it.
async fn resetting_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.readable().await;
        }
    });
    address
}

/// The `grpc-timeout` of each call that came, with the name of the call.
type Timeouts = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A server of HTTP/2 that answers every call but `HealthCheck` with a status, or not at all.
async fn older_server(code: &'static str, details: &'static str, timeouts: Timeouts) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let timeouts = Arc::clone(&timeouts);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let call = request.uri().path().rsplit('/').next().unwrap().to_owned();
                    let timeout =
                        request.headers().get("grpc-timeout").map(|t| t.to_str().unwrap().to_owned());
                    let is_health = call == "HealthCheck";
                    timeouts.lock().push((call, timeout));
                    let mut head =
                        Response::builder().status(StatusCode::OK).header("content-type", "application/grpc");
                    if !is_health {
                        head = head.header("grpc-status", code).header("grpc-message", details);
                    }
                    let mut stream = respond.send_response(head.body(()).unwrap(), !is_health).unwrap();
                    if is_health {
                        stream.send_data(Bytes::from_static(b"\0\0\0\0\x02\x08\x01"), false).unwrap();
                        let ok = HeaderMap::from_iter([(
                            "grpc-status".parse().unwrap(),
                            HeaderValue::from_static("0"),
                        )]);
                        stream.send_trailers(ok).unwrap();
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_ends_with_a_status_is_answered_by_the_table() {
    for (code, details, status, named) in [
        ("12", "no%20such%20call", 501, "sglang.runtime.v1"),
        ("8", "no%20such%20call", 429, "no such call"),
        ("16", "no%20such%20call", 401, "no such call"),
        ("4", "too%20late", 504, "too late"),
        ("1", "Timeout%20expired", 504, "Timeout expired"),
    ] {
        let server = older_server(code, details, Timeouts::default()).await;
        let router = router_of(vec![format!("grpc://{server}")], options(&[])).await;
        let (found, answer) = parts(&post(&router, "/v1/completions", "{}").await);
        assert!(found == status && answer.contains(named), "{code}: {found} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_say_how_long_the_router_waits() {
    let timeouts = Timeouts::default();
    let server = older_server("12", "", Arc::clone(&timeouts)).await;
    let limits = Options {
        request_timeout_secs: 40,
        health_check_timeout_secs: 7.0,
        retry_max_retries: 0,
        ..options(&[])
    };
    let router = router_of(vec![format!("grpc://{server}")], limits).await;
    post(&router, "/v1/completions", "{}").await;
    let timeouts = timeouts.lock();
    let of = |call| timeouts.iter().find(|(known, _)| known == call).unwrap().1.as_deref();
    // Both are told in microseconds, and a part of the time is over when the call is sent.
    for (call, secs) in [("Complete", 40.0), ("HealthCheck", 7.0)] {
        let micros: f64 = of(call).and_then(|t| t.strip_suffix('u')).unwrap().parse().unwrap();
        assert!(micros > 0.0 && micros <= secs * 1e6, "{call}: {micros}");
    }
    assert_eq!(of("WatchEngineState"), None, "this call has no end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_large_a_message_is_refused_clearly() {
    let server = emulated().await;
    let router =
        router_of(vec![server.grpc_url().unwrap()], Options { max_payload_size: 256 << 20, ..options(&[]) })
            .await;
    let large = json!({"model": "m", "prompt": "x".repeat(100 << 20), "max_tokens": 1}).to_string();
    let (status, answer) = parts(&post(&router, "/v1/completions", &large).await);
    assert!(status == 413 && answer.contains("too large"), "{status} {answer}");
    let small = json!({"model": "m", "prompt": "x", "max_tokens": 1}).to_string();
    assert!(
        post(&router, "/v1/completions", &small).await.starts_with("HTTP/1.1 200"),
        "the connection goes on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_ends_the_call() {
    let server = Arc::new(emulated().await);
    let router = router_of(vec![server.grpc_url().unwrap()], options(&[])).await;
    let long = json!({"text": "a", "stream": true, "sampling_params": {"max_new_tokens": 4_000, "ignore_eos": true}});
    let mut client = RawClient::connect(&router).await;
    client.post("/generate", &long.to_string()).await;
    client.see("data: ").await;
    drop(client);
    until(|| router.in_flight() == 0 && server.stats().load.running == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_tells_that_it_is_not_healthy() {
    let server = emulated().await;
    let seldom = Options { health_check_interval_secs: 3_600.0, ..options(&[]) };
    let router = router_of(vec![server.grpc_url().unwrap()], seldom).await;
    server.set_fault(Fault { status: 503, ..Fault::new(FaultKind::Unhealthy) });
    until(|| router.healthy_workers() == 0).await;
    server.clear_fault();
    until(|| router.healthy_workers() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_loses_no_request_and_comes_back() {
    let (first, second) = (emulated().await, emulated().await);
    let urls = vec![first.grpc_url().unwrap(), second.grpc_url().unwrap()];
    let router = router_of(urls, Options { health_check_interval_secs: 0.2, ..options(&[]) }).await;
    let asked = json!({"text": "a", "sampling_params": {"max_new_tokens": 3}}).to_string();
    first.set_fault(Fault { duration_secs: Some(1.0), ..Fault::new(FaultKind::Crash) });
    for _ in 0..20 {
        let answer = post(&router, "/generate", &asked).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    until(|| router.healthy_workers() == 2).await;
    let retried: f64 = metric(&router, "sgl_router_retries_total").await.iter().map(|(_, count)| count).sum();
    assert!(retried <= 2.0, "{retried} retries");
}

//! Requests in HTTP/2 get what requests in HTTP/1.1 get.

use super::client::{Client, request};
use super::frames::{
    END_HEADERS, Fate, HEADERS, PREFACE, RawConnection, SETTINGS, frame, get, head, literals,
};
use crate::support::{Incoming, options, router, until, worker};
use h2::client::Builder;
use router_config::{ForwardedHeaders, LogFormat, Options, Secret};
use router_proxy::RunningRouter;
use std::path::Path;
use tokio::sync::mpsc;

/// A router, and the heads and bodies that its worker sees.
pub(crate) async fn observed(
    change: impl FnOnce(Options) -> Options,
) -> (RunningRouter, mpsc::UnboundedReceiver<(String, String)>) {
    let (tell, told) = mpsc::unbounded_channel();
    let address = worker(move |mut incoming: Incoming| {
        let tell = tell.clone();
        async move {
            let body = String::from_utf8_lossy(&incoming.body).into_owned();
            let _ = tell.send((incoming.head.clone(), body));
            incoming.send_json("{}").await;
        }
    })
    .await;
    (router(change(options(&[address]))).await, told)
}

#[tokio::test]
async fn workers_get_requests_in_http1() {
    let (router, mut told) = observed(|options| options).await;
    let mut client = Client::connect(&router).await;
    let asked = request("POST", "/v1/chat/completions?a=%20b")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .header("expect", "100-continue")
        .header("x-custom", "\u{e9}")
        .header("x-request-id", "mine");
    let answer = client.send(asked, r#"{"messages":[]}"#).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    assert_eq!((answer.header("x-request-id"), answer.header("content-length")), ("mine", "2"));
    assert!(answer.header("x-sglang-worker").starts_with("http://127.0.0.1:"), "{answer:?}");
    assert!(!answer.headers.contains_key("connection"), "{answer:?}");
    let (head, body) = told.recv().await.unwrap();
    assert!(head.starts_with("POST /v1/chat/completions?a=%20b HTTP/1.1\r\n"), "{head}");
    assert_eq!(body, r#"{"messages":[]}"#);
    for line in ["content-length: 15", "cookie: a=1; b=2", "x-custom: \u{e9}", "x-request-id: mine"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    for absent in ["\r\nte:", "expect", "localhost", "transfer-encoding", "\r\n:"] {
        assert!(!head.contains(absent), "{absent}: {head}");
    }
    assert_eq!(head.matches("host: 127.0.0.1:").count(), 1, "{head}");
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let (router, mut told) = observed(|options| options).await;
    // As most clients do, this one opens no more than a hundred before it knows the limit.
    let mut client = Client::connect_with(&router, Builder::new().initial_max_send_streams(100)).await;
    let mut waiting = Vec::new();
    for n in 0..250 {
        waiting.push(client.begin(request("POST", &format!("/n/{n}")), "{}").await);
    }
    for response in waiting {
        assert_eq!(response.await.unwrap().status(), 200);
    }
    for _ in 0..250 {
        told.recv().await.unwrap();
    }
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn bodies_of_any_framing_arrive_whole() {
    let (router, mut told) = observed(|options| options).await;
    let mut raw = RawConnection::connect(&router, &[]).await;
    // In pieces, some of them empty, without a length; then trailers, which HTTP/1.1 does not need.
    raw.send(frame(HEADERS, END_HEADERS, 1, &literals(&head("POST", "/pieces")))).await;
    for piece in ["{\"a", "", "\":", "1}"] {
        raw.send(frame(0, 0, 1, piece.as_bytes())).await;
    }
    raw.send(frame(HEADERS, END_HEADERS | 1, 1, &literals(&[("x-trailer", "1")]))).await;
    assert_eq!(raw.fate(1).await, Fate::Status(200));
    let (seen, body) = told.recv().await.unwrap();
    assert_eq!(body, r#"{"a":1}"#);
    assert!(seen.contains("\r\ncontent-length: 7\r\n") && !seen.contains("x-trailer"), "{seen}");
}

#[tokio::test]
async fn limits_and_keys_hold() {
    let key = |text: &str| Some(Secret::from(text.to_owned()));
    let limited = |options| Options {
        max_payload_size: 10,
        api_key: key("client"),
        admin_api_key: key("boss"),
        cors_allowed_origins: vec!["https://chat.example".to_owned()],
        ..options
    };
    let (router, mut told) = observed(limited).await;
    let mut client = Client::connect(&router).await;
    let with_key = |path, key| request("POST", path).header("authorization", format!("Bearer {key}"));
    let answer = client.post("/generate", "{}").await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
    let answer = client.send(with_key("/generate", "client"), r#"{"text":"too long"}"#).await;
    assert_eq!(answer.status, 413);
    assert!(answer.body.contains("payload_too_large"), "{answer:?}");
    let page = with_key("/generate", "client").header("origin", "https://chat.example");
    let answer = client.send(page, "{}").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "https://chat.example"));
    assert!(!told.recv().await.unwrap().0.contains("Bearer"));
    assert!(told.try_recv().is_err(), "the others were not for a worker");
    let workers = |key| request("GET", "/workers").header("authorization", format!("Bearer {key}"));
    assert_eq!(client.send(workers("client"), "").await.status, 401);
    let answer = client.send(workers("boss"), "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("\"workers\""), "{answer:?}");
    assert_eq!(client.get("/readiness").await.status, 200);
}

#[tokio::test]
async fn local_admins_need_no_key() {
    let (router, _told) = observed(|options| options).await;
    let mut client = Client::connect(&router).await;
    assert_eq!(client.get("/workers").await.status, 200);
    let elsewhere = http::Request::builder().uri("http://evil.example/workers");
    assert_eq!(client.send(elsewhere, "").await.status, 403, "the name is one that a page may have chosen");
}

#[tokio::test]
async fn connect_and_trace_are_refused() {
    let (router, mut told) = observed(|options| options).await;
    let mut client = Client::connect(&router).await;
    let connect = http::Request::builder().method("CONNECT").uri("worker:443");
    assert_eq!(client.send(connect, "").await.status, 405);
    assert_eq!(client.send(request("TRACE", "/"), "").await.status, 405);
    assert!(!client.sender().is_extended_connect_protocol_enabled(), "no WebSocket is offered");
    assert!(told.try_recv().is_err());
    assert_eq!(client.get("/v1/models").await.status, 200);
}

#[tokio::test]
async fn access_log_and_workers_know_the_client() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("access-http2.log");
    let _ = std::fs::remove_file(&path);
    let log = path.clone();
    let (router, mut told) = observed(|options| Options {
        access_log: Some(log),
        access_log_format: LogFormat::Json,
        forwarded_headers: ForwardedHeaders::XForwarded,
        ..options
    })
    .await;
    let mut client = Client::connect(&router).await;
    assert_eq!(client.post("/generate", r#"{"text":"a"}"#).await.status, 200);
    let (head, _) = told.recv().await.unwrap();
    for line in ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: localhost"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    until(|| std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'))).await;
    let line: serde_json::Value =
        serde_json::from_str(std::fs::read_to_string(&path).unwrap().trim()).unwrap();
    assert_eq!((&line["protocol"], &line["status"]), (&"HTTP/2.0".into(), &200.into()));
    assert_eq!((&line["method"], &line["path"]), (&"POST".into(), &"/generate".into()));
}

#[tokio::test]
async fn preface_may_arrive_byte_by_byte() {
    let (router, _told) = observed(|options| options).await;
    let mut raw = RawConnection::silent(&router).await;
    for byte in [PREFACE, &frame(SETTINGS, 0, 0, &[]), &get(1, "/v1/models")].concat() {
        raw.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.fate(1).await, Fate::Status(200));
}

#[tokio::test]
async fn metrics_port_speaks_it_too() {
    let (router, _told) = observed(|options| Options { prometheus_port: Some(0), ..options }).await;
    let socket = tokio::net::TcpStream::connect(router.prometheus_address().unwrap()).await.unwrap();
    let (sender, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let (response, _) = sender.send_request(request("GET", "/metrics").body(()).unwrap(), true).unwrap();
    let answer = super::client::whole(response.await.unwrap()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("sgl_router_"), "{answer:?}");
    drop(sender);
    let _ = connection.await;
}

#[tokio::test]
async fn without_http2_the_preface_is_refused() {
    let (router, mut told) = observed(|options| Options { disable_http2: true, ..options }).await;
    let mut raw = RawConnection::connect(&router, &[]).await;
    let _ = raw.try_send(get(1, "/v1/models")).await;
    assert_eq!(raw.fate(1).await, Fate::Closed);
    assert!(told.try_recv().is_err());
    assert!(crate::support::get(&router, "/v1/models").await.starts_with("HTTP/1.1 200 "));
}

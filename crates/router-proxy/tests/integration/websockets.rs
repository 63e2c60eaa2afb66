//! WebSockets through the router, with a client that does not know that there is one.

use crate::support::{Incoming, PATIENCE, metric, options, post, router, sum, until, worker};
use futures_util::{SinkExt as _, StreamExt as _};
use router_config::{LogFormat, Options};
use router_proxy::RunningRouter;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Agrees to a WebSocket; `early` follows the response in the same packet.
async fn agree(mut incoming: Incoming, early: &[u8]) -> WebSocketStream<TcpStream> {
    let accept = derive_accept_key(incoming.header("sec-websocket-key").unwrap().as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nX-Worker-Says: hello\r\n\r\n"
    );
    incoming.send([head.as_bytes(), early].concat()).await;
    WebSocketStream::from_raw_socket(incoming.socket, Role::Server, None).await
}

/// A worker that sends every message back. Tells the heads of requests, and `end` when a connection has ended.
async fn echo() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let address = worker(move |incoming| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(incoming.head.clone());
            let mut socket = agree(incoming, b"\x81\x05early").await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() || message.is_binary() {
                    let _ = socket.send(message).await;
                }
            }
            let _ = tell.send("end".to_owned());
        }
    })
    .await;
    (address, told)
}

type Client = WebSocketStream<TcpStream>;

/// Asks the router for a WebSocket.
async fn ask(router: &RunningRouter, headers: &[(&'static str, &str)]) -> Result<(Client, Response), Error> {
    let mut request = format!("ws://{}/v1/realtime?model=m", router.address()).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    client_async(request, TcpStream::connect(router.address()).await.unwrap()).await
}

async fn connect(router: &RunningRouter) -> Client {
    let (mut client, _) = ask(router, &[]).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap().into_text().unwrap(), "early");
    client
}

async fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap().into_text().unwrap(), text);
}

/// Returns once the connection has ended, however it did.
async fn ended(client: &mut Client) {
    let end = async { while let Some(Ok(_)) = client.next().await {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the connection stays open");
}

fn is_status(result: Result<(Client, Response), Error>, status: u16) -> bool {
    matches!(result, Err(Error::Http(response)) if response.status() == status)
}

#[tokio::test]
async fn messages_pass_both_ways() {
    let log = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("access-websocket.log");
    let _ = std::fs::remove_file(&log);
    let (address, mut told) = echo().await;
    let router = router(Options {
        access_log: Some(log.clone()),
        access_log_format: LogFormat::Json,
        ..options(&[address])
    })
    .await;
    let (mut client, response) = ask(&router, &[("x-custom", "kept")]).await.unwrap();
    assert_eq!(response.headers()["x-sglang-worker"], format!("http://{address}").as_str());
    assert_eq!(response.headers()["x-worker-says"], "hello");
    assert!(response.headers().contains_key("x-request-id"));
    let head = told.recv().await.unwrap();
    assert!(head.starts_with("GET /v1/realtime?model=m HTTP/1.1\r\n") && head.contains("x-custom: kept\r\n"));
    assert_eq!(client.next().await.unwrap().unwrap().into_text().unwrap(), "early");
    say(&mut client, "hello").await;
    // Bytes that would be an ambiguous request, and more of them than any buffer holds.
    let smuggled =
        "GET / HTTP/1.1\nhost : a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".repeat(20_000);
    say(&mut client, &smuggled).await;
    assert_eq!(router.in_flight(), 1);
    assert_eq!(sum(&metric(&router, "sgl_router_processed_requests_total").await), 0.0, "it is still open");
    client.close(None).await.unwrap();
    ended(&mut client).await;
    assert_eq!(told.recv().await.unwrap(), "end");
    until(|| router.in_flight() == 0).await;
    assert_eq!(sum(&metric(&router, "sgl_router_policy_decisions_total").await), 1.0);
    assert_eq!(sum(&metric(&router, "sgl_router_processed_requests_total").await), 1.0);
    let responses = metric(&router, "sgl_router_responses_total").await;
    assert!(responses.iter().any(|(labels, _)| labels.contains("/v1/realtime") && labels.contains("101")));
    router.shutdown().await;
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!((&line["status"], &line["error"]), (&101.into(), &serde_json::Value::Null), "{line}");
    assert!(line["bytes"].as_u64().unwrap() > smuggled.len() as u64, "{line}");
}

#[tokio::test]
async fn refused_handshakes_go_to_another_worker() {
    let closing = worker(|incoming| async move { drop(incoming) }).await;
    let full = worker(|mut incoming| async move {
        incoming
            .send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    })
    .await;
    let (address, _told) = echo().await;
    let router = router(options(&[closing, full, address])).await;
    for _ in 0..3 {
        say(&mut connect(&router).await, "hello").await;
    }
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn refusal_of_the_worker_passes() {
    let address = worker(|mut incoming| async move {
        let head = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
        incoming.send(head).await;
    })
    .await;
    let router = router(options(&[address])).await;
    assert!(is_status(ask(&router, &[]).await, 403));
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn one_end_closes_the_other() {
    let (address, mut told) = echo().await;
    let router = router(options(&[address])).await;
    let client = connect(&router).await;
    assert!(told.recv().await.unwrap().starts_with("GET "));
    drop(client);
    assert_eq!(told.recv().await.unwrap(), "end");
    until(|| router.in_flight() == 0).await;

    let hasty = worker(|incoming| async move { drop(agree(incoming, b"\x81\x05early").await) }).await;
    let router = crate::support::router(options(&[hasty])).await;
    ended(&mut connect(&router).await).await;
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn open_socket_holds_its_permit() {
    let (address, _told) = echo().await;
    let bounded = Options { max_concurrent_requests: 1, queue_size: 0, ..options(&[address]) };
    let router = router(bounded).await;
    let mut client = connect(&router).await;
    assert!(post(&router, "/generate", "{}").await.starts_with("HTTP/1.1 429 "));
    assert!(is_status(ask(&router, &[]).await, 429));
    client.close(None).await.unwrap();
    ended(&mut client).await;
    until(|| router.in_flight() == 0).await;
    say(&mut connect(&router).await, "free again").await;
}

#[tokio::test]
async fn silent_socket_is_closed() {
    let (address, mut told) = echo().await;
    let router = router(Options { stream_idle_timeout_secs: 0.05, ..options(&[address]) }).await;
    let mut client = connect(&router).await;
    assert!(told.recv().await.unwrap().starts_with("GET "));
    ended(&mut client).await;
    assert_eq!(told.recv().await.unwrap(), "end");
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn shutdown_waits_for_sockets_then_cuts() {
    let (address, _told) = echo().await;
    let patient = router(options(&[address])).await;
    let mut client = connect(&patient).await;
    let stopped = tokio::spawn(patient.shutdown());
    say(&mut client, "still there").await;
    client.close(None).await.unwrap();
    ended(&mut client).await;
    drop(client);
    assert_eq!(stopped.await.unwrap(), 0, "none was cut");

    let hurried =
        crate::support::router(Options { shutdown_grace_period_secs: 0, ..options(&[address]) }).await;
    let mut client = connect(&hurried).await;
    assert_eq!(hurried.shutdown().await, 1);
    ended(&mut client).await;
}

#[tokio::test]
async fn pages_of_other_sites_open_none() {
    let (address, _told) = echo().await;
    let allowing = Options {
        cors_allowed_origins: vec!["https://chat.example".to_owned()],
        api_key: Some(router_config::Secret::from("key".to_owned())),
        ..options(&[address])
    };
    let router = router(allowing).await;
    let key = ("authorization", "Bearer key");
    assert!(is_status(ask(&router, &[]).await, 401));
    assert!(is_status(ask(&router, &[key, ("origin", "https://evil.example")]).await, 403));
    let own = format!("http://{}", router.address());
    for origin in ["https://chat.example", &own] {
        assert!(ask(&router, &[key, ("origin", origin)]).await.is_ok(), "{origin}");
    }
}

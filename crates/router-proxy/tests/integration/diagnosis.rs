//! A worker that cannot be used says why, in `GET /workers` and in the metrics.

use crate::support::{body, get, last_error, metric, options, serve_on, start, until, worker};
use router_config::Options;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server that answers what it reads with these bytes, and closes.
async fn answering(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(bytes).await;
        }
    });
    address
}

#[tokio::test]
async fn unhealthy_worker_says_why() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // What OpenSSL answers to a plain request on a TLS port; asyncio closes without a byte.
    let (alert, silent) = (answering(b"\x15\x03\x01\x00\x02\x02\x46").await, answering(b"").await);
    let ssh = answering(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    let failing = answering(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    for (url, reason, message) in [
        (format!("http://{unused}"), "connection_refused", "Connection refused"),
        ("http://no-such-worker.invalid:1".to_owned(), "dns", "'no-such-worker.invalid'"),
        (format!("http://{alert}"), "invalid_response", "https:// instead of http://"),
        (format!("http://{silent}"), "disconnected", "https://"),
        (format!("https://{failing}"), "tls", "http:// instead of https://"),
        (format!("http://{ssh}"), "invalid_response", "does not begin with HTTP/1"),
        (format!("http://{failing}"), "status", "/health responded with status 503"),
    ] {
        let router = start(Options { worker_urls: vec![url.clone()], ..options(&[]) }).await;
        let error = last_error(&router).await;
        assert_eq!(error["reason"], reason, "{url}: {error}");
        assert!(error["message"].as_str().unwrap().contains(message), "{url}: {error}");
        assert!(error["since"].as_f64().unwrap() > 1.7e9 && error["for_secs"].is_number(), "{error}");
        let failures = metric(&router, "sgl_router_worker_check_failures_total").await;
        let of_reason = failures.iter().find(|(labels, _)| labels.contains(&format!(r#"reason="{reason}""#)));
        assert!(of_reason.is_some_and(|(labels, n)| labels.contains(&url) && *n >= 1.0), "{failures:?}");
    }
}

#[tokio::test]
async fn path_in_the_url_is_named() {
    let address = worker(|incoming| async move { drop(incoming) }).await;
    let url = format!("http://{address}/v1");
    let router = start(Options { worker_urls: vec![url], ..options(&[]) }).await;
    let error = last_error(&router).await;
    assert_eq!(error["reason"], "status");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("/v1/health responded with status 404") && message.contains("path /v1"),
        "{message}"
    );
}

#[tokio::test]
async fn error_goes_when_worker_recovers() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let checks = Options { health_check_interval_secs: 0.05, ..options(&[address]) };
    let router = start(checks).await;
    assert_eq!(last_error(&router).await["reason"], "connection_refused");
    serve_on(TcpListener::bind(address).await.unwrap(), |incoming| async move { drop(incoming) });
    until(|| router.healthy_workers() == 1).await;
    let workers = body(&get(&router, "/workers").await);
    assert!(workers["workers"][0]["last_error"].is_null(), "{workers}");
}

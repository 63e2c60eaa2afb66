//! What workers are told of clients, and whose word is taken for it.

use crate::support::{RawClient, get, options, router, worker};
use router_config::{ForwardedHeaders, Options};
use router_proxy::RunningRouter;
use tokio::sync::mpsc;

/// A router with a worker that tells the heads that it gets.
async fn setup(
    options_of: impl FnOnce(Options) -> Options,
) -> (RunningRouter, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let address = worker(move |mut incoming| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(incoming.head.clone());
            incoming.send_json("{}").await;
        }
    })
    .await;
    (router(options_of(options(&[address]))).await, told)
}

/// Sends a GET with these header lines; the head of the response.
async fn ask(router: &RunningRouter, path: &str, lines: &str) -> String {
    let mut client = RawClient::connect(router).await;
    client.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n")).await;
    client.rest().await
}

/// The lines of a head that tell of the client, in alphabetical order.
fn told_lines(head: &str) -> Vec<String> {
    let is_told = |line: &&str| line.starts_with("x-forwarded") || line.starts_with("forwarded");
    let mut lines: Vec<_> = head.lines().filter(is_told).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn forwarding_headers_pass_by_default() {
    let (router, mut told) = setup(|options| options).await;
    ask(&router, "/any", "x-forwarded-for: 1.1.1.1\r\nforwarded: for=1.1.1.1\r\n").await;
    assert_eq!(
        told_lines(&told.recv().await.unwrap()),
        ["forwarded: for=1.1.1.1", "x-forwarded-for: 1.1.1.1"]
    );
}

#[tokio::test]
async fn workers_learn_the_client() {
    let (router, mut told) =
        setup(|options| Options { forwarded_headers: ForwardedHeaders::Both, ..options }).await;
    let expected = [
        "forwarded: for=127.0.0.1;host=\"localhost\";proto=http",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: localhost",
        "x-forwarded-proto: http",
    ];
    ask(&router, "/any", "x-forwarded-for: 1.1.1.1\r\nx-forwarded-port: 1\r\n").await;
    assert_eq!(told_lines(&told.recv().await.unwrap()), expected);
    // A client cannot have them dropped as headers of its connection.
    ask(&router, "/any", "connection: x-forwarded-for, forwarded\r\n").await;
    assert_eq!(told_lines(&told.recv().await.unwrap()), expected);
}

#[tokio::test]
async fn trusted_proxy_does_not_make_requests_local() {
    let (router, mut told) = setup(|options| Options {
        forwarded_headers: ForwardedHeaders::XForwarded,
        trusted_proxies: vec!["127.0.0.0/8".to_owned()],
        ..options
    })
    .await;
    ask(&router, "/any", "x-forwarded-for: 1.1.1.1\r\nx-forwarded-proto: https\r\n").await;
    assert_eq!(
        told_lines(&told.recv().await.unwrap()),
        ["x-forwarded-for: 1.1.1.1, 127.0.0.1", "x-forwarded-host: localhost", "x-forwarded-proto: https"]
    );
    assert!(get(&router, "/workers").await.starts_with("HTTP/1.1 200 "));
    for named in ["127.0.0.1", "1.1.1.1"] {
        let refused = ask(&router, "/workers", &format!("x-forwarded-for: {named}\r\n")).await;
        assert!(refused.starts_with("HTTP/1.1 403 "), "{named}: {refused}");
    }
}

#[tokio::test]
async fn further_headers_name_the_worker() {
    let (router, _told) = setup(|options| Options {
        routed_worker_headers: vec!["x-smg-routed-worker-id".to_owned()],
        cors_allowed_origins: vec!["*".to_owned()],
        ..options
    })
    .await;
    let response = ask(&router, "/any", "origin: https://a.example\r\n").await;
    let worker = crate::support::header(&response, "x-sglang-worker").unwrap();
    assert!(worker.starts_with("http://127.0.0.1:"), "{response}");
    assert_eq!(crate::support::header(&response, "x-smg-routed-worker-id"), Some(worker));
    let exposed = crate::support::header(&response, "access-control-expose-headers").unwrap();
    assert!(exposed.ends_with(", x-smg-routed-worker-id"), "{exposed}");
}

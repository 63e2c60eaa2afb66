//! The access log: a line for each request, when its response has ended.

use crate::support::{RawClient, get, options, post, router, until, worker};
use router_config::{LogFormat, Options};
use router_proxy::RunningRouter;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A file of a test's own.
fn log_file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("access-{name}.log"));
    let _ = std::fs::remove_file(&path);
    path
}

fn logged(path: &Path, options: Options) -> Options {
    Options { access_log: Some(path.to_owned()), access_log_format: LogFormat::Json, ..options }
}

/// The lines, once there are so many.
async fn lines(path: &Path, count: usize) -> Vec<Value> {
    let text = || std::fs::read_to_string(path).unwrap_or_default();
    until(|| text().lines().count() >= count).await;
    text().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// A worker that streams three events, or never ends where the body says so.
async fn streaming() -> std::net::SocketAddr {
    worker(|mut incoming| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        incoming.send(head).await;
        incoming
            .send("data: {\"text\":\"a\",\"meta_info\":{\"prompt_tokens\":4,\"completion_tokens\":1}}\n\n")
            .await;
        if !String::from_utf8_lossy(&incoming.body).contains("endless") {
            incoming
                .send(
                    "data: {\"text\":\"ab\",\"meta_info\":{\"prompt_tokens\":4,\"completion_tokens\":2}}\n\n",
                )
                .await;
            incoming.send("data: [DONE]\n\n").await;
        } else {
            incoming.closed().await;
        }
    })
    .await
}

async fn stop(router: RunningRouter) {
    assert_eq!(router.shutdown().await, 0);
}

#[tokio::test]
async fn each_request_has_its_line() {
    let path = log_file("lines");
    let trusting = Options { trusted_proxies: vec!["127.0.0.1".to_owned()], ..options(&[streaming().await]) };
    let router = router(logged(&path, trusting)).await;
    let mut client = RawClient::connect(&router).await;
    let body = r#"{"text":"x","stream":true}"#;
    client
        .send(format!(
            "POST /generate?key=secret HTTP/1.1\r\nhost: localhost\r\nx-request-id: mine\r\n\
             x-forwarded-for: 203.0.113.9\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let response = client.rest().await;
    let sent = crate::support::without_chunks(&response).len();
    let lines = lines(&path, 1).await;
    let line = &lines[0];
    for (name, value) in [
        ("id", Value::from("mine")),
        ("client", "203.0.113.9".into()),
        ("method", "POST".into()),
        ("path", "/generate".into()),
        ("protocol", "HTTP/1.1".into()),
        ("status", 200.into()),
        ("bytes", sent.into()),
        ("attempts", 1.into()),
        ("prompt_tokens", 4.into()),
        ("output_tokens", 2.into()),
        ("error", Value::Null),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert_eq!(line["worker"], crate::support::header(&response, "x-sglang-worker").unwrap());
    let (first, all) = (line["first_token"].as_f64().unwrap(), line["duration"].as_f64().unwrap());
    assert!(0.0 < first && first <= all, "{line}");
    assert!(line["reason"].is_string() && !line.to_string().contains("secret"), "{line}");
    stop(router).await;
}

#[tokio::test]
async fn failures_and_departures_are_told() {
    let path = log_file("failures");
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let alone = Options { disable_health_check: true, ..options(&[dead]) };
    let broken = router(logged(&path, alone)).await;
    post(&broken, "/generate", "{}").await;
    let line = &lines(&path, 1).await[0];
    assert_eq!((&line["status"], &line["error"]), (&502.into(), &"worker_unreachable".into()), "{line}");
    assert_eq!((&line["attempts"], &line["worker"]), (&1.into(), &format!("http://{dead}").into()), "{line}");
    stop(broken).await;

    let path = log_file("departures");
    let router = router(logged(&path, options(&[streaming().await]))).await;
    let mut client = RawClient::connect(&router).await;
    client.post("/generate", r#"{"text":"endless","stream":true}"#).await;
    client.see("data: ").await;
    drop(client);
    let line = &lines(&path, 1).await[0];
    assert_eq!((&line["status"], &line["error"]), (&200.into(), &"client_disconnected".into()), "{line}");
    // A probe has no line; a request to the router itself has one without a worker.
    get(&router, "/health").await;
    get(&router, "/metrics").await;
    get(&router, "/v1/traces").await;
    let all = lines(&path, 2).await;
    assert_eq!((&all[1]["path"], &all[1]["status"]), (&"/v1/traces".into(), &501.into()), "{:?}", all[1]);
    assert_eq!((&all[1]["worker"], &all[1]["attempts"]), (&Value::Null, &0.into()));
    stop(router).await;
    assert_eq!(lines(&path, 2).await.len(), 2);
}

#[tokio::test]
async fn renamed_file_is_opened_again() {
    let path = log_file("rotated");
    let router = router(logged(&path, options(&[streaming().await]))).await;
    post(&router, "/generate", r#"{"stream":true}"#).await;
    lines(&path, 1).await;
    let old = path.with_extension("old");
    std::fs::rename(&path, &old).unwrap();
    assert!(router.reopen_access_log());
    until(|| path.exists()).await;
    post(&router, "/generate", r#"{"stream":true}"#).await;
    assert_eq!((lines(&path, 1).await.len(), lines(&old, 1).await.len()), (1, 1));
    stop(router).await;
}

#[tokio::test]
async fn sample_is_about_the_share() {
    let path = log_file("sample");
    let half = Options { access_log_sample: 0.5, ..options(&[streaming().await]) };
    let router = router(logged(&path, half)).await;
    for _ in 0..200 {
        get(&router, "/v1/traces").await;
    }
    stop(router).await;
    let count = lines(&path, 1).await.len();
    assert!((50..=150).contains(&count), "{count} of 200");
}

#[tokio::test]
async fn unusable_file_stops_the_start() {
    let config = logged(Path::new("/nonexistent/access.log"), options(&[]));
    let config = Options { start_empty: true, ..config };
    let checked = config.check(&router_core::Registry::builtin()).unwrap();
    let error = router_proxy::Router::start(checked).await.unwrap_err().to_string();
    assert!(error.starts_with("--access-log: cannot write to /nonexistent/access.log: "), "{error}");
}

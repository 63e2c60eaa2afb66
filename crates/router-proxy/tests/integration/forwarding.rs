//! What goes through the router: every byte and header, at once, and nothing of one connection's own.

use crate::support::{RawClient, get, options, post, router, until, worker};
use router_config::Options;
use std::sync::Arc;
use tokio::sync::{Mutex, Notify, mpsc};

#[tokio::test]
async fn requests_and_answers_pass_unmodified() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let address = worker(move |mut incoming| {
        let seen = seen.clone();
        async move {
            incoming
                .send(
                    "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nx-engine: 7\r\nset-cookie: a=1\r\n\
                     set-cookie: b=2\r\nkeep-alive: timeout=5\r\ncontent-length: 16\r\n\r\n{\"odd\" :\t[1 ,2]}",
                )
                .await;
            let _ = seen.send((incoming.head.clone(), incoming.body.clone()));
            incoming.closed().await;
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let mut client = RawClient::connect(&router).await;
    let body = r#"{"unknown_field": {"deep":[1,2 ]},  "model":"m", "messages":[{"role":"user","content":"h\u00e9"}]}"#;
    client
        .send(format!(
            "POST /v1/chat/completions?trace=1&x=%20 HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer secret\r\n\
             X-Custom: kept\r\nX-Request-Id: my-id-7\r\nConnection: keep-alive, x-hop\r\nX-Hop: gone\r\nTE: trailers\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let answer = client.see("[1 ,2]}").await;
    let (head, sent) = requests.recv().await.unwrap();
    assert!(head.starts_with("POST /v1/chat/completions?trace=1&x=%20 HTTP/1.1\r\n"), "{head}");
    assert_eq!(sent, body.as_bytes());
    for (name, value) in [
        ("authorization", Some("Bearer secret")),
        ("x-custom", Some("kept")),
        ("x-request-id", Some("my-id-7")),
        ("host", Some(address.to_string().as_str())),
        ("x-hop", None),
        ("te", None),
        ("connection", None),
    ] {
        assert_eq!(crate::support::header(&head, name), value, "{name}");
    }
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n{\"odd\" :\t[1 ,2]}"), "{answer}");
    assert_eq!(crate::support::header(&answer, "x-request-id"), Some("my-id-7"));
    assert_eq!(
        crate::support::header(&answer, "x-sglang-worker"),
        Some(format!("http://{address}").as_str())
    );
    assert_eq!(crate::support::header(&answer, "x-engine"), Some("7"));
    assert_eq!(crate::support::header(&answer, "keep-alive"), None);
    assert!(answer.contains("set-cookie: a=1\r\n") && answer.contains("set-cookie: b=2\r\n"));
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn missing_request_id_is_made() {
    let address = worker(|mut incoming| async move {
        let id = incoming.header("x-request-id").unwrap_or("none").to_owned();
        incoming.send_json(&format!(r#"{{"id":"{id}"}}"#)).await;
    })
    .await;
    for sends_id in [false, true] {
        let router = router(Options { send_request_id: sends_id, ..options(&[address]) }).await;
        let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
        let id = crate::support::header(&answer, "x-request-id").unwrap();
        assert!(id.starts_with("gnt-") && id.len() == 28, "{id}");
        let seen = if sends_id { id } else { "none" };
        assert!(answer.ends_with(&format!(r#"{{"id":"{seen}"}}"#)), "{answer}");
    }
}

/// vLLM takes `x-request-id` as its own id of a request and refuses a second one of that id.
#[tokio::test]
async fn correlation_id_never_becomes_the_engines_id() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let address = worker(move |mut incoming| {
        let seen = seen.clone();
        async move {
            let header = |name| incoming.header(name).map(str::to_owned);
            let _ = seen.send((header("x-correlation-id"), header("x-request-id")));
            incoming.send_json("{}").await;
        }
    })
    .await;
    for sends_id in [false, true] {
        let router = router(Options { send_request_id: sends_id, ..options(&[address]) }).await;
        for _ in 0..2 {
            let mut client = RawClient::connect(&router).await;
            client
                .send("POST /v1/completions HTTP/1.1\r\nhost: r\r\nconnection: close\r\nx-correlation-id: trace-1\r\ncontent-length: 2\r\n\r\n{}")
                .await;
            let answer = client.rest().await;
            assert_eq!(crate::support::header(&answer, "x-request-id"), Some("trace-1"));
            assert_eq!(requests.recv().await.unwrap(), (Some("trace-1".to_owned()), None));
        }
    }
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let next = Arc::new(Notify::new());
    let go = Arc::clone(&next);
    let address = worker(move |mut incoming| {
        let go = Arc::clone(&go);
        async move {
            incoming.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
            for n in 0..3 {
                incoming.send(format!("a\r\ndata: {{\"{n}\"\r\n3\r\n}}\n\n\r\n")).await;
                go.notified().await;
            }
            incoming.send("0\r\n\r\n").await;
            incoming.closed().await;
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let mut client = RawClient::connect(&router).await;
    client.post("/v1/completions", r#"{"prompt":"a","stream":true}"#).await;
    for n in 0..3 {
        // The worker sends the next event only after this one has arrived: a router that buffers hangs here.
        client.see(&format!("data: {{\"{n}\"")).await;
        assert_eq!(router.in_flight(), 1);
        next.notify_one();
    }
    client.see("\r\n0\r\n\r\n").await;
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn client_disconnect_closes_upstream_connection() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let address = worker(move |mut incoming| {
        let tell = tell.clone();
        async move {
            if incoming.path() == "/v1/completions" {
                incoming
                    .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                    .await;
                incoming.send("9\r\ndata: 1\n\n\r\n").await;
            }
            let _ = tell.send("asked");
            incoming.closed().await;
            let _ = tell.send("closed");
        }
    })
    .await;
    let router = router(options(&[address])).await;
    for path in ["/v1/completions", "/generate"] {
        let mut client = RawClient::connect(&router).await;
        client.post(path, r#"{"prompt":"a"}"#).await;
        assert_eq!(told.recv().await, Some("asked"), "{path}");
        drop(client);
        let closed = tokio::time::timeout(crate::support::PATIENCE, told.recv()).await;
        assert_eq!(closed.expect("the worker's connection stays open"), Some("closed"), "{path}");
        until(|| router.in_flight() == 0).await;
    }
    let cancelled = crate::support::metric(&router, "sgl_router_worker_outcomes_total").await;
    assert!(
        cancelled.iter().any(|(l, v)| l.contains(r#"outcome="cancelled""#) && *v == 2.0),
        "{cancelled:?}"
    );
}

#[tokio::test]
async fn a_slow_client_holds_the_worker_back() {
    let sent = Arc::new(Mutex::new(0usize));
    let count = Arc::clone(&sent);
    let address = worker(move |mut incoming| {
        let count = Arc::clone(&count);
        async move {
            incoming.send("HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 67108864\r\n\r\n").await;
            let block = vec![b'x'; 1 << 20];
            for _ in 0..64 {
                incoming.send(&block).await;
                *count.lock().await += 1;
            }
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let mut client = RawClient::connect(&router).await;
    client.post("/v1/completions", r#"{"prompt":"a"}"#).await;
    client.see("\r\n\r\n").await;
    // The client stops reading: the sockets' buffers fill, then the worker has to wait.
    let mut before = usize::MAX;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let now = *sent.lock().await;
        if now == before {
            break;
        }
        before = now;
    }
    assert!(before < 60, "{before} of 64 MiB were taken in without a reader");
    let whole = client.rest_of(64 << 20).await;
    assert_eq!(whole, 64 << 20);
}

#[tokio::test]
async fn other_paths_and_methods_pass_through() {
    let address = worker(|mut incoming| async move {
        let line = incoming.head.lines().next().unwrap().to_owned();
        incoming.send_json(&format!(r#"{{"line":"{line}"}}"#)).await;
    })
    .await;
    let router = router(options(&[address])).await;
    let answer = get(&router, "/get_weights_by_name?name=a").await;
    assert!(answer.contains("GET /get_weights_by_name?name=a HTTP/1.1"), "{answer}");
    let answer = post(&router, "/update_weights_from_disk", r#"{"path":"/x"}"#).await;
    assert!(answer.contains("POST /update_weights_from_disk HTTP/1.1"), "{answer}");
}

#[tokio::test]
async fn old_workers_are_translated() {
    let release = Arc::new(Notify::new());
    let reset = Arc::clone(&release);
    let address = worker(move |mut incoming| {
        let reset = Arc::clone(&reset);
        async move {
            let head = "HTTP/1.0 200 OK\r\nserver: old\r\ncontent-type: application/json\r\n\r\n";
            incoming.send(format!("{head}{{\"path\":\"{}\"", incoming.path())).await;
            if incoming.path() == "/cut" {
                reset.notified().await;
                incoming.socket.set_zero_linger().unwrap();
                return;
            }
            incoming.send("}").await;
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let mut client = RawClient::connect(&router).await;
    let pipelined = ["/one", "/two"].map(|path| format!("GET {path} HTTP/1.1\r\nhost: r\r\n\r\n")).concat();
    client.send(pipelined).await;
    let both = client.see("/two").await;
    assert_eq!(both.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{both}");
    assert_eq!(both.matches("transfer-encoding: chunked\r\n").count(), 2, "{both}");
    assert!(both.contains("server: old\r\n") && !both.contains("connection: close"), "{both}");
    let mut client = RawClient::connect(&router).await;
    client.send("GET /cut HTTP/1.1\r\nhost: r\r\n\r\n").await;
    client.see("/cut").await;
    release.notify_one();
    let cut = client.rest().await;
    assert!(!cut.ends_with("0\r\n\r\n"), "half a response that looks whole: {cut}");
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn shutdown_lets_streams_end() {
    let gate = Arc::new(Notify::new());
    let open = Arc::clone(&gate);
    let address = worker(move |mut incoming| {
        let open = Arc::clone(&open);
        async move {
            incoming
                .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            incoming.send("b\r\ndata: one\n\n\r\n").await;
            open.notified().await;
            incoming.send("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await;
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = RawClient::connect(&router).await;
        client.post("/generate", r#"{"text":"a","stream":true}"#).await;
        client.see("data: one").await;
        gate.notify_one();
        client.see("[DONE]").await;
        clients.push(client);
    }
    let mut last = RawClient::connect(&router).await;
    last.post("/generate", r#"{"text":"a","stream":true}"#).await;
    last.see("data: one").await;
    let stopping = tokio::spawn(router.shutdown());
    gate.notify_one();
    last.see("[DONE]").await;
    assert_eq!(stopping.await.unwrap(), 0, "a request was cut");
}

/// A second signal: every stream ends with an event that says so, and every decision gets its completion row.
#[tokio::test]
async fn hurried_shutdown_ends_streams_with_error() {
    let dir = std::env::temp_dir().join(format!("hurried-{}", std::process::id()));
    let address = worker(|mut incoming| async move {
        incoming
            .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        incoming.send("b\r\ndata: one\n\n\r\n").await;
        incoming.closed().await;
    })
    .await;
    let router = router(Options { record_dir: Some(dir.clone()), ..options(&[address]) }).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = RawClient::connect(&router).await;
        client.post("/generate", r#"{"text":"a","stream":true}"#).await;
        client.see("data: one").await;
        clients.push(client);
    }
    assert_eq!(router.shutdown_unless(async {}).await, 20);
    for mut client in clients {
        let rest = client.rest().await;
        assert!(rest.contains(r#""code":"router_stopped""#) && !rest.ends_with("0\r\n\r\n"), "{rest}");
    }
    let file = std::fs::read_dir(&dir).unwrap().next().unwrap().unwrap().path();
    let rows = std::fs::read_to_string(file).unwrap();
    assert_eq!(rows.lines().filter(|row| row.contains(",completion,")).count(), 20, "{rows}");
    std::fs::remove_dir_all(dir).unwrap();
}

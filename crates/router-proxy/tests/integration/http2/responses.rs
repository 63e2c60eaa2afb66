//! Responses on HTTP/2 streams: as they come, no faster than the client takes them, and never complete when they are not.

use super::client::{Client, piece, request};
use crate::support::{Incoming, metric, options, router, until, worker};
use bytes::Bytes;
use h2::Reason;
use h2::client::Builder;
use router_config::Options;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// A worker that sends an event at once and one for each permit, and says when its connection is closed.
async fn gated_events(gate: &Arc<Semaphore>, closed: &Arc<Notify>) -> SocketAddr {
    let (gate, closed) = (Arc::clone(gate), Arc::clone(closed));
    worker(move |mut incoming: Incoming| {
        let (gate, closed) = (Arc::clone(&gate), Arc::clone(&closed));
        async move {
            incoming.send(format!("{STREAM}data: {{}}\n\n")).await;
            let events = async {
                loop {
                    gate.acquire().await.unwrap().forget();
                    incoming.socket.writable().await.unwrap();
                    incoming.socket.try_write(b"data: {}\n\n").unwrap();
                }
            };
            tokio::select! {
                () = events => {}
                () = async { while incoming.socket.readable().await.is_ok()
                    && !matches!(incoming.socket.try_read(&mut [0; 64]), Ok(0)) {} } => {}
            }
            closed.notify_one();
        }
    })
    .await
}

#[tokio::test]
async fn events_pass_one_by_one_on_each_stream() {
    let (gate, closed) = (Arc::new(Semaphore::new(0)), Arc::default());
    let router = router(options(&[gated_events(&gate, &closed).await])).await;
    let mut client = Client::connect(&router).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut body = client.open(request("POST", "/generate"), r#"{"stream":true}"#).await.into_body();
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: {}\n\n");
        streams.push(body);
    }
    // The next event goes to one of the two, before there is another one.
    let (mut second, mut first) = (streams.pop().unwrap(), streams.pop().unwrap());
    for _ in 0..4 {
        gate.add_permits(1);
        let event = tokio::select! {
            event = piece(&mut first) => event,
            event = piece(&mut second) => event,
        };
        assert_eq!(event.unwrap().unwrap(), "data: {}\n\n");
    }
}

#[tokio::test]
async fn reset_stream_cancels_its_request_alone() {
    let (gate, closed) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let router = router(options(&[gated_events(&gate, &closed).await])).await;
    let client = Client::connect(&router).await;
    let mut bodies = Vec::new();
    let mut senders = Vec::new();
    for _ in 0..2 {
        let mut sender = client.sender().ready().await.unwrap();
        let (response, mut stream) =
            sender.send_request(request("POST", "/generate").body(()).unwrap(), false).unwrap();
        stream.send_data(Bytes::from_static(br#"{"stream":true}"#), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        piece(&mut body).await.unwrap().unwrap();
        bodies.push(body);
        senders.push(stream);
    }
    assert_eq!(router.in_flight(), 2);
    senders[0].send_reset(Reason::CANCEL);
    closed.notified().await;
    until(|| router.in_flight() == 1).await;
    gate.add_permits(1);
    assert_eq!(piece(&mut bodies[1]).await.unwrap().unwrap(), "data: {}\n\n");
    // A connection that is gone cancels all that is left.
    drop((bodies, senders));
    client.vanish();
    closed.notified().await;
    until(|| router.in_flight() == 0).await;
    let outcomes = metric(&router, "sgl_router_worker_outcomes_total").await;
    let cancelled = outcomes.iter().filter(|(labels, _)| labels.contains("cancelled")).map(|(_, n)| n);
    assert_eq!(cancelled.sum::<f64>(), 2.0);
}

#[tokio::test]
async fn request_that_waits_is_cancelled_by_a_reset() {
    let (asked, closed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let told = (Arc::clone(&asked), Arc::clone(&closed));
    let address = worker(move |mut incoming: Incoming| {
        let (asked, closed) = told.clone();
        async move {
            asked.notify_one();
            incoming.closed().await;
            closed.notify_one();
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let mut client = Client::connect(&router).await;
    let response = client.begin(request("POST", "/generate"), "{}").await;
    asked.notified().await;
    drop(response);
    closed.notified().await;
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn slow_stream_holds_its_worker_back() {
    const SIZE: usize = 64 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let address = worker(move |mut incoming: Incoming| {
        let count = Arc::clone(&count);
        async move {
            if incoming.path() == "/small" {
                return incoming.send_json("{}").await;
            }
            incoming
                .send(format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {SIZE}\r\n\r\n"
                ))
                .await;
            let block = vec![b'x'; 1 << 20];
            for _ in 0..SIZE >> 20 {
                incoming.send(&block).await;
                count.fetch_add(1, Relaxed);
            }
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let mut client = Client::connect_with(
        &router,
        Builder::new().initial_window_size(1 << 16).initial_connection_window_size(1 << 20),
    )
    .await;
    let response = client.open(request("POST", "/v1/completions"), r#"{"prompt":"a"}"#).await;
    let mut body = response.into_body();
    // Nobody reads this stream. Others go on meanwhile, and the worker waits.
    let mut before = usize::MAX;
    while sent.load(Relaxed) != before {
        before = sent.load(Relaxed);
        for _ in 0..20 {
            assert_eq!(client.get("/small").await.status, 200);
        }
    }
    assert!(before < 60, "{before} of 64 MiB were taken in without a reader");
    let mut got = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        got += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(got, SIZE);
}

/// A client that gives responses no room: the stream is reset, and the worker is free.
#[tokio::test]
async fn stream_without_window_ends_at_the_write_timeout() {
    for window in [0, 1] {
        let closed = Arc::new(Notify::new());
        let told = Arc::clone(&closed);
        let address = worker(move |mut incoming: Incoming| {
            let closed = Arc::clone(&told);
            async move {
                incoming.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await;
                let block = vec![b'x'; 1 << 16];
                // Until the router has hung up.
                while tokio::io::AsyncWriteExt::write_all(&mut incoming.socket, &block).await.is_ok() {}
                closed.notify_one();
            }
        })
        .await;
        let router = router(Options { client_write_timeout_secs: 0.2, ..options(&[address]) }).await;
        let mut client = Client::connect_with(&router, Builder::new().initial_window_size(window)).await;
        let mut body = client.open(request("POST", "/generate"), "{}").await.into_body();
        closed.notified().await;
        until(|| router.in_flight() == 0).await;
        let mut end = body.data().await;
        while let Some(Ok(_)) = end {
            end = body.data().await;
        }
        assert_eq!(end.unwrap().unwrap_err().reason(), Some(Reason::CANCEL), "window {window}");
    }
}

#[tokio::test]
async fn cut_responses_do_not_look_complete() {
    let address = worker(|mut incoming: Incoming| async move {
        match incoming.path() {
            "/generate" => incoming.send(format!("{STREAM}data: {{}}\n\n")).await,
            _ => incoming.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc").await,
        }
        if incoming.path() == "/generate" {
            // The end of the connection is the end of the body, unless it is reset.
            incoming.socket.set_zero_linger().unwrap();
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let mut client = Client::connect(&router).await;
    let mut body = client.open(request("POST", "/generate"), r#"{"stream":true}"#).await.into_body();
    let mut seen = String::new();
    let error = loop {
        match piece(&mut body).await.expect("the stream looks complete") {
            Ok(data) => seen += &data,
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert!(seen.starts_with("data: {}\n\n") && seen.contains("worker_cut_answer"), "{seen}");
    let mut body = client.open(request("GET", "/file"), "").await.into_body();
    let mut end = piece(&mut body).await;
    while let Some(Ok(_)) = end {
        end = piece(&mut body).await;
    }
    assert!(end.expect("the response looks complete").is_err());
    assert_eq!(client.get("/readiness").await.status, 200, "the connection lives on");
}

#[tokio::test]
async fn heads_are_those_of_the_worker() {
    let address = worker(|mut incoming: Incoming| async move {
        let reply = if incoming.head.starts_with("HEAD") {
            "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\nkeep-alive: timeout=5\r\n\r\n"
        } else {
            "HTTP/1.1 418 I'm a teapot\r\nX-Odd-Case: Kept\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\
             connection: x-hop\r\nx-hop: 1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        };
        incoming.send(reply).await;
    })
    .await;
    let router = router(options(&[address])).await;
    let mut client = Client::connect(&router).await;
    let head = client.send(request("HEAD", "/file"), "").await;
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, "1234", ""));
    assert!(!head.headers.contains_key("keep-alive"));
    let tea = client.get("/tea").await;
    assert_eq!((tea.status, tea.header("x-odd-case"), tea.body.as_str()), (418, "Kept", "{}"));
    assert_eq!(tea.headers.get_all("set-cookie").iter().count(), 2);
    for absent in ["connection", "x-hop", "transfer-encoding"] {
        assert!(!tea.headers.contains_key(absent), "{absent}: {tea:?}");
    }
}

#[tokio::test]
async fn failed_attempts_are_retried_elsewhere() {
    let failing = worker(|mut incoming: Incoming| async move {
        incoming.send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let good = worker(|mut incoming: Incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(options(&[failing, good])).await;
    let mut client = Client::connect(&router).await;
    for _ in 0..4 {
        assert_eq!(client.post("/generate", r#"{"text":"a"}"#).await.status, 200);
    }
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn upload_that_is_refused_ends_its_stream() {
    let address = worker(|mut incoming: Incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(Options { max_payload_size: 1 << 10, ..options(&[address]) }).await;
    let client = Client::connect(&router).await;
    let mut sender = client.sender().ready().await.unwrap();
    let (response, mut stream) =
        sender.send_request(request("POST", "/generate").body(()).unwrap(), false).unwrap();
    stream.send_data(Bytes::from(vec![b'x'; 2 << 10]), false).unwrap();
    let answer = super::client::whole(response.await.unwrap()).await;
    assert_eq!(answer.status, 413);
    let reset =
        tokio::time::timeout(Duration::from_secs(20), std::future::poll_fn(|cx| stream.poll_reset(cx)));
    assert_eq!(reset.await.expect("the client was not told to stop").unwrap(), Reason::NO_ERROR);
    let mut client = client;
    assert_eq!(client.post("/generate", "{}").await.status, 200, "the connection lives on");
}

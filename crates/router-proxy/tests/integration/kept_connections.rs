//! Workers close the connections that the router keeps open when they like, and no client notices.

use crate::support::{RawClient, metric, options, post, read_message, router, sum, until, worker};
use parking_lot::Mutex;
use router_config::Options;
use router_proxy::RunningRouter;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// What a worker does with a second request on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Second {
    /// It is not there any more: the connection was closed after the first response.
    Gone,
    /// It reads it, and closes without a response.
    Closes,
    /// The same with a reset.
    Resets,
}

/// A worker that answers one request per connection without saying so; the bodies that it saw.
async fn forgetful(second: Second) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::default();
    let bodies = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(one_response(socket, second, Arc::clone(&bodies)));
        }
    });
    (address, seen)
}

async fn one_response(mut socket: TcpStream, second: Second, bodies: Arc<Mutex<Vec<String>>>) {
    let note = |body: Vec<u8>| bodies.lock().push(String::from_utf8(body).unwrap());
    let Some((_, body)) = read_message(&mut socket).await else { return };
    note(body);
    let _ = socket.write_all(OK.as_bytes()).await;
    if second == Second::Gone {
        return;
    }
    if let Some((_, body)) = read_message(&mut socket).await {
        note(body);
    }
    if second == Second::Resets {
        socket.set_zero_linger().unwrap();
    }
}

async fn assert_no_fault(router: &RunningRouter) {
    let outcomes = metric(router, "sgl_router_worker_outcomes_total").await;
    let failed: Vec<_> =
        outcomes.iter().filter(|(labels, n)| labels.contains("failed") && *n > 0.0).collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(sum(&metric(router, "sgl_router_worker_cb_transitions_total").await), 0.0);
    until(|| router.in_flight() == 0).await;
}

/// Four clients that send `each` requests on one connection each.
async fn four_clients(router: &Arc<RunningRouter>, each: usize) {
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let router = Arc::clone(router);
        clients.spawn(async move {
            let mut client = RawClient::connect(&router).await;
            for n in 0..each {
                client.post("/generate", r#"{"text":"a"}"#).await;
                let answer = client.see("\r\n\r\n{}").await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "request {n}: {answer}");
                client.seen.clear();
            }
        });
    }
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_closes_cost_no_request() {
    for second in [Second::Gone, Second::Closes, Second::Resets] {
        let (address, _) = forgetful(second).await;
        let router = router(Options { cb_failure_threshold: 1, ..options(&[address]) }).await;
        let router = Arc::new(router);
        four_clients(&router, if second == Second::Gone { 300 } else { 50 }).await;
        assert_no_fault(&router).await;
        assert_eq!(sum(&metric(&router, "sgl_router_retries_total").await), 0.0, "{second:?}");
    }
}

#[tokio::test]
async fn lost_new_connection_is_a_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                while let Some((head, _)) = read_message(&mut socket).await {
                    if head.contains(" /generate ") {
                        return;
                    }
                    let _ = socket.write_all(OK.as_bytes()).await;
                }
            });
        }
    });
    let router = router(options(&[address])).await;
    assert!(post(&router, "/tokenize", "{}").await.starts_with("HTTP/1.1 200 "));
    let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("worker_disconnected"), "{answer}");
    let outcomes = metric(&router, "sgl_router_worker_outcomes_total").await;
    let failed: Vec<_> = outcomes.into_iter().filter(|(labels, _)| labels.contains("failed")).collect();
    assert_eq!(sum(&failed), 1.0, "once, although it was sent twice");
}

#[tokio::test]
async fn request_with_id_goes_elsewhere() {
    let (forgetful, seen) = forgetful(Second::Closes).await;
    let other = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(Options { cb_failure_threshold: 1, ..options(&[forgetful, other]) }).await;
    let mut client = RawClient::connect(&router).await;
    // After the first two, one worker has a kept connection, which ends with the next request.
    for body in
        [r#"{"text":"a"}"#, r#"{"text":"a"}"#, r#"{"text":"a","rid":"b"}"#, r#"{"text":"a","rid":"c"}"#]
    {
        client.post("/generate", body).await;
        assert!(client.see("\r\n\r\n{}").await.starts_with("HTTP/1.1 200 "));
        client.seen.clear();
    }
    let seen = seen.lock().iter().filter(|body| body.contains(r#""text":"a","rid":"b""#)).count();
    assert_eq!(seen, 1, "no worker sees an id twice");
    // The abort of the first may leave another kept connection behind.
    assert!(sum(&metric(&router, "sgl_router_retries_total").await) >= 1.0);
    assert_no_fault(&router).await;
}

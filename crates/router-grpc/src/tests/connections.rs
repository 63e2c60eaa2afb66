//! What becomes of calls when a connection is full, ends or falls silent.

use crate::{GrpcChannel, GrpcError, GrpcRequest, GrpcResponse, TransportError};
use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use http::response::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use parking_lot::Mutex;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{DuplexStream, duplex};
use tokio::time::{Instant, sleep};

/// A server on the other side of each connection that is opened; `serve` gets its number.
#[derive(Clone)]
struct Servers<F> {
    opened: Arc<AtomicUsize>,
    serve: F,
}

impl<F, Fut> Servers<F>
where
    F: Fn(usize, DuplexStream) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    fn new(serve: F) -> Self {
        Self { opened: Arc::default(), serve }
    }

    fn dial(&self) -> impl Future<Output = Result<DuplexStream, io::Error>> + use<F, Fut> {
        let (ours, theirs) = duplex(1 << 16);
        tokio::spawn((self.serve)(self.opened.fetch_add(1, SeqCst), theirs));
        async { Ok(ours) }
    }

    async fn send(
        &self,
        channel: &GrpcChannel<io::Error>,
    ) -> Result<(Parts, GrpcResponse), GrpcError<io::Error>> {
        let call = request().prepare().unwrap();
        channel.send(&call, || self.dial()).await
    }
}

fn request() -> GrpcRequest {
    GrpcRequest::new(&Method::GET, &PathAndQuery::from_static("/health"), Bytes::new())
}

fn channel() -> GrpcChannel<io::Error> {
    GrpcChannel::new(Scheme::HTTP, Authority::from_static("worker:1"))
}

async fn accept(wire: DuplexStream, most: u32) -> Connection<DuplexStream, Bytes> {
    h2::server::Builder::new().max_concurrent_streams(most).handshake(wire).await.unwrap()
}

/// Answers a health check.
fn answer(mut respond: SendResponse<Bytes>) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    stream.send_data(Bytes::from_static(b"\0\0\0\0\x02\x08\x01"), false).unwrap();
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    stream.send_trailers(trailers).unwrap();
}

#[tokio::test]
async fn calls_share_a_connection_until_it_is_full() {
    let servers = Servers::new(|_, wire| async move {
        let mut connection = accept(wire, 2).await;
        let mut open = Vec::new();
        // Nothing is answered, so that every call stays open.
        while let Some(Ok((_, respond))) = connection.accept().await {
            open.push(respond);
        }
    });
    let channel = Arc::new(channel());
    // The first call brings the settings of the server, which say how many calls it takes.
    let first = {
        let (channel, servers) = (Arc::clone(&channel), servers.clone());
        tokio::spawn(async move { servers.send(&channel).await.map(drop) })
    };
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let more: Vec<_> = (0..4)
        .map(|_| {
            let (channel, servers) = (Arc::clone(&channel), servers.clone());
            tokio::spawn(async move { servers.send(&channel).await.map(drop) })
        })
        .collect();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(servers.opened.load(SeqCst), 3, "five calls, two on each connection");
    first.abort();
    more.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_call_on_a_connection_that_ends_goes_once_more() {
    let servers = Servers::new(|number, wire| async move {
        let mut connection = accept(wire, 100).await;
        while let Some(Ok((_, respond))) = connection.accept().await {
            answer(respond);
            if number == 0 {
                // It says that it takes no more calls, as a server that stops does.
                connection.graceful_shutdown();
            }
        }
    });
    let channel = channel();
    for _ in 0..3 {
        let (parts, _) = servers.send(&channel).await.unwrap();
        assert_eq!(parts.status, 200);
    }
    assert_eq!(servers.opened.load(SeqCst), 2);
}

#[tokio::test]
async fn a_kept_connection_that_breaks_is_replaced_unless_the_id_may_be_known() {
    let servers = Servers::new(|number, wire| async move {
        let mut connection = accept(wire, 100).await;
        let mut calls = 0;
        while let Some(Ok((_, respond))) = connection.accept().await {
            calls += 1;
            if number % 2 == 0 && calls == 2 {
                return;
            }
            answer(respond);
        }
    });
    let channel = channel();
    assert!(servers.send(&channel).await.is_ok());
    assert!(servers.send(&channel).await.is_ok(), "on a second connection");
    assert_eq!(servers.opened.load(SeqCst), 2);
    let other = GrpcChannel::new(Scheme::HTTP, Authority::from_static("worker:1"));
    servers.opened.store(0, SeqCst);
    assert!(servers.send(&other).await.is_ok());
    let mut with_id = request();
    with_id.forbid_repeat();
    let error = other.send(&with_id.prepare().unwrap(), || servers.dial()).await.unwrap_err();
    assert!(matches!(error, GrpcError::Stale(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_went_away_without_a_word_is_noticed() {
    let servers = Servers::new(|_, wire| async move {
        let mut connection = accept(wire, 100).await;
        let open = connection.accept().await;
        // The connection is not driven any more: it answers no ping, and does not close.
        pending::<()>().await;
        drop(open);
    });
    let error = servers.send(&channel()).await.unwrap_err();
    assert!(
        matches!(error, GrpcError::Transport(TransportError::Closed | TransportError::Broken(_))),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_worker_is_told_how_much_time_is_left_when_the_call_is_sent() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let servers = Servers::new(move |_, wire| {
        let heard = Arc::clone(&heard);
        async move {
            // Connecting takes time, too.
            sleep(Duration::from_millis(2_500)).await;
            let mut connection = accept(wire, 100).await;
            while let Some(Ok((request, respond))) = connection.accept().await {
                heard.lock().push(request.headers().get("grpc-timeout").cloned());
                answer(respond);
            }
        }
    });
    let mut limited = request();
    limited.set(HeaderName::from_static("grpc-timeout"), &HeaderValue::from_static("1n"));
    limited.set_deadline(Instant::now() + Duration::from_secs(30));
    let channel = channel();
    assert!(channel.send(&limited.prepare().unwrap(), || servers.dial()).await.is_ok());
    assert!(servers.send(&channel).await.is_ok());
    let told = told.lock().clone();
    assert_eq!(
        told,
        [Some(HeaderValue::from_static("27500000u")), None],
        "without a deadline there is no limit"
    );
}

#[tokio::test]
async fn calls_of_a_burst_share_the_failure_to_connect() {
    let dialled = Arc::new(AtomicUsize::new(0));
    let channel = Arc::new(GrpcChannel::<io::Error>::new(Scheme::HTTP, Authority::from_static("worker:1")));
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let (channel, dialled) = (Arc::clone(&channel), Arc::clone(&dialled));
            tokio::spawn(async move {
                let call = request().prepare().unwrap();
                let dial = || async {
                    dialled.fetch_add(1, SeqCst);
                    tokio::task::yield_now().await;
                    Err::<DuplexStream, _>(io::ErrorKind::ConnectionRefused.into())
                };
                channel.send(&call, dial).await.map(drop)
            })
        })
        .collect();
    for call in calls {
        assert!(matches!(call.await.unwrap(), Err(GrpcError::Connect(_))));
    }
    assert_eq!(dialled.load(SeqCst), 1, "a burst does not connect again and again");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_which_something_came_is_not_sent_again() {
    let servers = Servers::new(|_, wire| async move {
        let mut connection = accept(wire, 100).await;
        let mut calls = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            calls += 1;
            if calls == 1 {
                answer(respond);
                continue;
            }
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let stream = respond.send_response(head, false).unwrap();
            // The head goes out with what is polled next; then the server is gone.
            let _ = tokio::time::timeout(Duration::from_millis(20), connection.accept()).await;
            drop(stream);
            return;
        }
    });
    let channel = channel();
    assert!(servers.send(&channel).await.is_ok());
    let error = servers.send(&channel).await.unwrap_err();
    assert!(matches!(error, GrpcError::Transport(_)), "{error}");
    assert_eq!(servers.opened.load(SeqCst), 1);
}

//! What the tests of the data plane share: a worker whose every byte the test decides, and a client that sees every byte.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use parking_lot::Mutex;
use router_config::Options;
use router_core::Registry;
use router_proxy::{Router, RunningRouter, ServingThreads};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A hang is a failure; no test needs nearly this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the router logs on the thread of the test.
#[derive(Clone, Debug, Default)]
pub struct WrittenLog(Arc<Mutex<Vec<u8>>>);

impl WrittenLog {
    /// To be set as the default of the thread.
    pub fn subscriber(&self, level: tracing::Level) -> impl tracing::Subscriber + Send + Sync + use<> {
        let log = self.clone();
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish()
    }

    /// All that was written.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for WrittenLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One HTTP request as it arrived, and the socket to answer on.
pub struct Incoming {
    pub head: String,
    pub body: Vec<u8>,
    pub socket: TcpStream,
}

impl Incoming {
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or("")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The router may have hung up already; then the test looks at what the client saw.
        let _ = self.socket.write_all(bytes.as_ref()).await;
        let _ = self.socket.flush().await;
    }

    pub async fn send_json(&mut self, body: &str) {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        self.send(head + body).await;
    }

    /// Returns once the router has closed the connection.
    pub async fn closed(&mut self) {
        let mut rest = [0; 1024];
        while !matches!(self.socket.read(&mut rest).await, Ok(0) | Err(_)) {}
    }
}

pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Reads one message: its head and as much body as `content-length` says. `None` at a clean end.
pub async fn read_message(socket: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        match socket.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes[end..].to_vec();
    let length: usize = header(&head, "content-length").map_or(0, |v| v.parse().unwrap());
    while body.len() < length {
        let n = socket.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        body.extend_from_slice(&chunk[..n]);
    }
    Some((head, body))
}

/// A worker that answers `/health` itself, tells nothing of itself, and leaves everything else to `handler`, one call per request.
pub async fn worker<F, Fut>(handler: F) -> SocketAddr
where
    F: Fn(Incoming) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve_on(listener, handler);
    address
}

/// As [`worker`], but what the router asks of its own accord is left to `handler`, too.
pub async fn telling_worker<F, Fut>(handler: F) -> SocketAddr
where
    F: Fn(Incoming) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    accept(listener, handler, true);
    address
}

/// A worker that answers a request with `body` when it is notified.
pub async fn worker_behind(gate: &Arc<Notify>, body: &'static str) -> SocketAddr {
    let gate = Arc::clone(gate);
    worker(move |mut incoming| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            incoming.send_json(body).await;
        }
    })
    .await
}

/// As [`worker`], on a port that the test has bound.
pub fn serve_on<F, Fut>(listener: TcpListener, handler: F)
where
    F: Fn(Incoming) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    accept(listener, handler, false);
}

fn accept<F, Fut>(listener: TcpListener, handler: F, is_telling: bool)
where
    F: Fn(Incoming) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, handler.clone(), is_telling));
        }
    });
}

async fn serve<F, Fut>(mut socket: TcpStream, handler: F, is_telling: bool)
where
    F: Fn(Incoming) -> Fut,
    Fut: Future<Output = ()>,
{
    while let Some((head, body)) = read_message(&mut socket).await {
        if head.starts_with("GET /health ") {
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            continue;
        }
        if head.contains("user-agent: sgl-router/") && !is_telling {
            // The router's own questions.
            let _ = socket.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
            continue;
        }
        return handler(Incoming { head, body, socket }).await;
    }
}

/// Options for tests: any port, quick checks, no chance.
pub fn options(workers: &[SocketAddr]) -> Options {
    Options {
        worker_urls: workers.iter().map(|a| format!("http://{a}")).collect(),
        policy: "round_robin".to_owned(),
        port: 0,
        seed: Some(1),
        request_timeout_secs: 30,
        shutdown_grace_period_secs: 10,
        ..Options::default()
    }
}

/// A router over `options`, whose workers are all healthy.
pub async fn router(options: Options) -> RunningRouter {
    let workers = options.worker_urls.len();
    let router = start(options).await;
    until(|| router.healthy_workers() == workers).await;
    router
}

/// A router over `options`, as it comes up. Clients are served as `sgl-router launch` serves them.
pub async fn start(options: Options) -> RunningRouter {
    let threads = ServingThreads::start(NonZeroUsize::new(2).unwrap()).unwrap();
    Router::start_on(threads, options.check(&Registry::builtin()).unwrap()).await.unwrap()
}

/// Waits for what must come true soon.
pub async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the condition never came true");
}

/// A connection to the router that shows raw bytes.
pub struct RawClient {
    pub socket: TcpStream,
    pub seen: Vec<u8>,
}

impl RawClient {
    pub async fn connect(router: &RunningRouter) -> Self {
        Self { socket: TcpStream::connect(router.address()).await.unwrap(), seen: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    pub async fn post(&mut self, path: &str, body: &str) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.send(head + body).await;
    }

    /// Reads until what came so far contains `text`.
    pub async fn see(&mut self, text: &str) -> String {
        let read = async {
            let mut chunk = [0; 16 * 1024];
            while !String::from_utf8_lossy(&self.seen).contains(text) {
                let n = self.socket.read(&mut chunk).await.unwrap();
                assert!(n > 0, "closed before '{text}': {}", String::from_utf8_lossy(&self.seen));
                self.seen.extend_from_slice(&chunk[..n]);
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("'{text}' never came"));
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Reads until at least `count` bytes have come.
    pub async fn see_bytes(&mut self, count: usize) {
        let mut chunk = [0; 16 * 1024];
        while self.seen.len() < count {
            let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut chunk)).await;
            let n = read.expect("no more bytes came").unwrap();
            assert!(n > 0, "closed after {} of {count} bytes", self.seen.len());
            self.seen.extend_from_slice(&chunk[..n]);
        }
    }

    /// Reads a body of `length` bytes, of which the head's last read may have brought a part.
    pub async fn rest_of(&mut self, length: usize) -> usize {
        let head = self.seen.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let mut got = self.seen.len() - head;
        let mut chunk = vec![0; 1 << 16];
        while got < length {
            let n = self.socket.read(&mut chunk).await.unwrap();
            assert!(n > 0, "closed after {got} of {length} bytes");
            got += n;
        }
        got
    }

    /// Reads to the end of the connection.
    pub async fn rest(&mut self) -> String {
        let read = async {
            let mut chunk = [0; 16 * 1024];
            // A reset is an end, too; what matters is what came before it.
            while let Ok(n) = self.socket.read(&mut chunk).await {
                if n == 0 {
                    break;
                }
                self.seen.extend_from_slice(&chunk[..n]);
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("the connection never ended");
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}

/// The body of a response, out of its chunks where it has them; of one that was cut, what came.
pub fn without_chunks(response: &str) -> String {
    let (_, mut rest) = response.split_once("\r\n\r\n").unwrap();
    if header(response, "transfer-encoding").is_none() {
        return rest.to_owned();
    }
    let mut whole = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap().min(after.len());
        whole.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").unwrap_or("");
    }
    whole
}

/// A POST on a connection of its own; the whole answer.
pub async fn post(router: &RunningRouter, path: &str, body: &str) -> String {
    let mut client = RawClient::connect(router).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head + body).await;
    client.rest().await
}

/// A GET on a connection of its own; the whole answer.
pub async fn get(router: &RunningRouter, path: &str) -> String {
    let mut client = RawClient::connect(router).await;
    client.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await;
    client.rest().await
}

/// The samples of the metric `name`, with their labels.
pub async fn metric(router: &RunningRouter, name: &str) -> Vec<(String, f64)> {
    let text = get(router, "/metrics").await;
    let samples = text.lines().filter(|l| l.starts_with(name));
    samples
        .filter_map(|l| {
            let (labels, value) = l.rsplit_once(' ')?;
            Some((labels.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// All samples of a metric together.
pub fn sum(samples: &[(String, f64)]) -> f64 {
    samples.iter().map(|(_, value)| value).sum()
}

/// Waits until all samples of a metric together are `value`.
pub async fn until_metric(router: &RunningRouter, name: &str, value: f64) {
    let wait = async {
        while sum(&metric(router, name).await) != value {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{name} never became {value}"));
}

/// The JSON body of an answer.
pub fn body(answer: &str) -> serde_json::Value {
    let text = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: '{answer}'")).1;
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

/// The `last_error` of the only worker, once it has one.
pub async fn last_error(router: &RunningRouter) -> serde_json::Value {
    let look = async {
        loop {
            let error = body(&get(router, "/workers").await)["workers"][0]["last_error"].clone();
            if !error.is_null() {
                return error;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap()
}

/// Any request with a JSON body on a connection of its own; the whole answer.
pub async fn send(router: &RunningRouter, method: &str, path: &str, body: &str) -> String {
    let mut client = RawClient::connect(router).await;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head + body).await;
    client.rest().await
}

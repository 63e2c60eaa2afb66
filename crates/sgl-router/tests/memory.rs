//! Memory that a client or a worker can make the router use, measured from outside of its process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test")]

use std::io::{BufRead, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// A router with one serving thread in front of one worker.
struct Router {
    process: Child,
    port: u16,
}

/// The port that the router says that it listens on.
fn port_of(log: &mut impl BufRead) -> u16 {
    let mut lines = log.lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("listening")).expect("the router starts");
    let (_, port) = line.split_once("http://127.0.0.1:").unwrap();
    port.split('"').next().unwrap().parse().unwrap()
}

impl Router {
    fn start(worker: &TcpListener) -> Self {
        Self::with(worker, &[])
    }

    fn with(worker: &TcpListener, more: &[&str]) -> Self {
        let worker = format!("http://{}", worker.local_addr().unwrap());
        let mut process = Command::new(env!("CARGO_BIN_EXE_sgl-router"))
            .args(["launch", "--worker-urls", &worker, "--disable-health-check", "--threads", "1"])
            .args(["--policy", "round_robin", "--port", "0", "--log-level", "info"])
            .args(more)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let port = port_of(&mut log);
        // What it says later is read, too: it could not go on if nobody did.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let router = Self { process, port };
        router.probe();
        router
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    /// A request that is served after all that the one serving thread has read before.
    fn probe(&self) {
        let mut client = self.connect();
        client.write_all(b"GET /liveness HTTP/1.1\r\nhost: r\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// A figure of the process in bytes: `VmRSS` is what it has now, `VmHWM` the most that it had.
    fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(figure)).unwrap();
        let kib: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap();
        kib << 10
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn announced_bodies_take_what_came() {
    const CLIENTS: u64 = 300;
    let worker = TcpListener::bind("127.0.0.1:0").unwrap();
    let router = Router::start(&worker);
    let idle = router.memory("VmRSS");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| router.connect()).collect();
    for client in &mut clients {
        client.write_all(b"POST /generate HTTP/1.1\r\nhost: r\r\ncontent-length: 1048576\r\n\r\n{").unwrap();
    }
    router.probe();
    for client in &mut clients {
        client.write_all(b" ").unwrap();
    }
    router.probe();
    let grown = router.memory("VmRSS").saturating_sub(idle);
    assert!(grown < CLIENTS * (60 << 10), "{CLIENTS} clients take {} MiB", grown / MIB);
}

/// By how much the router's memory grows while its worker responds with `head` and `pieces`, in MiB.
fn growth_of(head: &'static str, pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> u64 {
    let worker = TcpListener::bind("127.0.0.1:0").unwrap();
    let router = Router::start(&worker);
    let idle = router.memory("VmHWM");
    let response = thread::spawn(move || {
        let mut router = loop {
            let (mut router, _) = worker.accept().unwrap();
            let mut request = [0; 4096];
            let length = router.read(&mut request).unwrap();
            if request[..length].starts_with(b"POST /generate") {
                break router;
            }
            // The router asks what the worker is.
            router
                .write_all(b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
        };
        router.write_all(head.as_bytes()).unwrap();
        pieces.fold(0, |sent, piece| {
            router.write_all(&piece).unwrap();
            sent + piece.len()
        })
    });
    let mut client = router.connect();
    client
        .write_all(b"POST /generate HTTP/1.1\r\nhost: r\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")
        .unwrap();
    let (mut seen, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        match client.read(&mut buffer).unwrap() {
            0 => break,
            n => seen += n,
        }
    }
    let sent = response.join().unwrap();
    assert!(seen >= sent / 6, "{seen} bytes of {sent} came");
    router.memory("VmHWM").saturating_sub(idle) / MIB
}

#[test]
fn tiny_chunks_take_what_came() {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n";
    let chunks = std::iter::repeat_n(b"1\r\n \r\n".repeat(1000), 4000);
    let grown = growth_of(head, chunks.chain([b"1\r\n}\r\n0\r\n\r\n".to_vec()]));
    assert!(grown < 16, "it takes {grown} MiB");
}

#[test]
fn endless_event_takes_a_bound() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let of = |event: Vec<u8>, first: &'static [u8]| {
        growth_of(head, std::iter::once(first.to_vec()).chain(std::iter::repeat_n(event, 1024)))
    };
    // What a stream takes in any case: buffers of sockets, and code that has not run before.
    let usual = of([&b"data: {\"text\": \""[..], &vec![b'x'; 1 << 16], b"\"}\n\n"].concat(), b"");
    // Memory comes in steps of 2 MiB, and one run in ten takes a step more.
    let endless = (0..3).map(|_| of(vec![b'x'; 1 << 16], b"data: {\"text\": \"")).min().unwrap();
    assert!(endless < usual + 12, "64 MiB without a newline take {endless} MiB, with newlines {usual}");
}

#[test]
fn many_choices_take_a_bound() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let event = |n: u32| format!("data: {{\"index\":{n},\"text\":\"a\"}}\n\n").into_bytes();
    let grown = growth_of(head, (0..200_000).map(event));
    assert!(grown < 16, "200,000 choices take {grown} MiB");
}

#[test]
fn unfinished_heads_take_what_came() {
    const CLIENTS: u64 = 200;
    let worker = TcpListener::bind("127.0.0.1:0").unwrap();
    let router = Router::start(&worker);
    let idle = router.memory("VmRSS");
    let head = format!("GET /x HTTP/1.1\r\nhost: r\r\nx-long: {}", "a".repeat(48 << 10));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| router.connect()).collect();
    for client in &mut clients {
        client.write_all(head.as_bytes()).unwrap();
    }
    router.probe();
    let grown = router.memory("VmRSS").saturating_sub(idle);
    assert!(grown < CLIENTS * (160 << 10), "{CLIENTS} heads of 48 KiB take {} MiB", grown / MIB);
}

#[test]
fn bodies_together_have_a_bound() {
    const CLIENTS: usize = 40;
    let worker = TcpListener::bind("127.0.0.1:0").unwrap();
    let router = Router::with(&worker, &["--max-buffered-bytes", "16777216"]);
    let idle = router.memory("VmHWM");
    let piece = vec![b' '; 1 << 20];
    let mut waiting = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = router.connect();
        client
            .write_all(b"POST /generate HTTP/1.1\r\nhost: r\r\ntransfer-encoding: chunked\r\n\r\n")
            .unwrap();
        // One chunk of the endless body; a client that was refused may see its connection closed.
        if client.write_all(b"100000\r\n").and_then(|()| client.write_all(&piece)).is_ok() {
            client.set_nonblocking(true).unwrap();
            waiting.push(client);
        }
    }
    let until = Instant::now() + Duration::from_secs(20);
    // At most 16 fit; the others are refused once they have been read.
    while waiting.len() > 16 && Instant::now() < until {
        router.probe();
        waiting.retain_mut(|client| client.read(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock));
    }
    assert!(waiting.len() <= 16, "{} of {CLIENTS} bodies of 1 MiB are held", waiting.len());
    let grown = router.memory("VmHWM").saturating_sub(idle);
    assert!(grown < 48 * MIB, "bodies within 16 MiB take {} MiB", grown / MIB);
}

//! Many clients at once: idle keep-alive connections, and streams that all run at the same time.
//!
//! The workers and the clients live in this process and send very little, so that the router's memory shows what a
//! connection costs. No request may be refused, and every client must get its response.

use crate::harness::peers::add_addresses;
use crate::harness::process::{RunningProcess, free_port, mebibytes};
use crate::harness::workspace::Workspace;
use crate::harness::{self, http};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Numbers of connections, and the router.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConnectionOptions {
    /// Connections that send one request and stay open.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Streams that run at the same time.
    #[arg(long, default_value_t = 2_000)]
    streams: usize,
    /// The router; built in release mode when absent.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Time limit for the whole measurement, far above what it takes.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Holds all connections and prints the router's memory at each step.
///
/// # Errors
/// A client was refused or got no response, or the system allows too few open files.
pub(crate) fn run(root: &Path, options: &ConnectionOptions) -> Result<()> {
    let needed = options.idle + 2 * options.streams + 100;
    let allowed = open_files()?;
    ensure!(allowed >= needed, "{needed} open files are needed and {allowed} allowed; raise `ulimit -n`");
    let workspace = Workspace::prepare(root, "crowd", options.binary.as_deref())?;
    harness::run(async {
        tokio::time::timeout(TIMEOUT, hold(options, &workspace)).await.context("too slow")?
    })
}

async fn hold(options: &ConnectionOptions, workspace: &Workspace) -> Result<()> {
    let (finish, finished) = watch::channel(());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (worker, port) = (listener.local_addr()?.port(), free_port()?);
    tokio::spawn(serve(listener, finished));
    let mut launch = workspace.launch();
    launch.args(["--policy", "least_request"]);
    add_addresses(&mut launch, port, &[worker]);
    let mut router = RunningProcess::start(&mut launch, &workspace.scratch.join("router.log"))?;
    router.wait_until(|| http::is_ok(port, "/readiness")).await?;
    let start = print_memory(&router, "at the start")?;
    let mut idle = Vec::with_capacity(options.idle);
    for _ in 0..options.idle {
        idle.push(request(port, "GET /liveness", "{\"status\":\"ok\"}").await.context("an idle client")?);
    }
    let with_idle = print_memory(&router, "with the idle clients")?;
    print_share("idle client", with_idle.saturating_sub(start), options.idle);
    let mut streams = Vec::with_capacity(options.streams);
    for _ in 0..options.streams {
        streams.push(request(port, "POST /v1/completions", "data: 1\n\n").await.context("a stream")?);
    }
    let with_streams = print_memory(&router, "and with the streams")?;
    print_share("stream", with_streams.saturating_sub(with_idle), options.streams);
    for client in &mut idle {
        send(client, "GET /liveness").await?;
        read_until(client, "{\"status\":\"ok\"}").await.context("an idle client was dropped")?;
    }
    finish.send_replace(());
    for stream in &mut streams {
        read_until(stream, "data: [DONE]\n\n").await.context("a stream was cut")?;
    }
    drop((idle, streams));
    print_memory(&router, "when all have left")?;
    println!("nothing was refused");
    Ok(())
}

fn print_memory(router: &RunningProcess, when: &str) -> Result<u64> {
    let bytes = router.memory()?;
    println!("{when}: {:.1} MiB", mebibytes(bytes));
    Ok(bytes)
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn print_share(name: &str, bytes: u64, count: usize) {
    println!("{count} times one {name}: {:.1} KiB each", mebibytes(bytes) * 1024.0 / count.max(1) as f64);
}

/// Opens a connection, sends a request and reads the response up to `text`.
async fn request(port: u16, line: &str, text: &str) -> Result<TcpStream> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
    send(&mut client, line).await?;
    read_until(&mut client, text).await?;
    Ok(client)
}

async fn send(client: &mut TcpStream, line: &str) -> Result<()> {
    let body = if line.starts_with("POST") { "{\"prompt\":\"a\",\"stream\":true}" } else { "" };
    let head = format!("{line} HTTP/1.1\r\nhost: router\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    Ok(client.write_all(head.as_bytes()).await?)
}

/// Reads until `text` has come.
async fn read_until(client: &mut TcpStream, text: &str) -> Result<()> {
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains(text) {
        let read = client.read_buf(&mut received).await?;
        ensure!(read > 0, "closed after: {}", String::from_utf8_lossy(&received));
    }
    Ok(())
}

/// A worker whose streams begin at once and end when `finished` changes.
async fn serve(listener: TcpListener, finished: watch::Receiver<()>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(respond(socket, finished.clone()));
    }
}

async fn respond(mut socket: TcpStream, mut finished: watch::Receiver<()>) -> Result<()> {
    let mut received = Vec::new();
    loop {
        while !received.ends_with(if received.starts_with(b"POST") { &b"}"[..] } else { b"\r\n\r\n" }) {
            ensure!(socket.read_buf(&mut received).await? > 0, "the router closed the connection");
        }
        if received.starts_with(b"GET ") {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await?;
        } else {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            socket.write_all(format!("{head}9\r\ndata: 1\n\n\r\n").as_bytes()).await?;
            finished.changed().await?;
            socket.write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await?;
        }
        received.clear();
    }
}

/// How many files this process may open.
fn open_files() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit of files")?;
    let soft = line.split_whitespace().nth(3).context("no limit of files")?;
    Ok(soft.parse().unwrap_or(usize::MAX))
}

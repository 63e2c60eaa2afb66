//! Many clients at once: idle connections that are kept, and streams that all run at the same time.
//!
//! The workers and the clients live in this process and say hardly anything, so that what is measured is what a
//! connection costs the router. Nothing may be refused, and everybody must get his answer.

use crate::command;
use crate::harness::process::Running;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How many, and which router.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Connections that ask once and are kept.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Streams that run at the same time.
    #[arg(long, default_value_t = 2_000)]
    streams: usize,
    /// The router; built in release mode when absent.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Nothing here takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Holds the crowd and prints the router's memory at each step.
///
/// # Errors
/// A client was refused or got no answer, or the system allows too few open files.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let needed = options.idle + 2 * options.streams + 100;
    let allowed = open_files()?;
    ensure!(allowed >= needed, "{needed} open files are needed and {allowed} allowed; raise `ulimit -n`");
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => {
            command::run(&mut command::cargo(root, &["build", "--release", "--package", "sgl-router"]))?;
            command::target_dir(root)?.join("release").join("sgl-router")
        }
    };
    let log = command::target_dir(root)?.join("crowd.log");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = tokio::time::timeout(PATIENCE, hold(options, &binary, &log)) => done.context("too slow")?,
            // The guard of the router runs when the measurement is dropped.
            _ = tokio::signal::ctrl_c() => bail!("stopped by the user"),
        }
    })
}

async fn hold(options: &Options, binary: &Path, log: &Path) -> Result<()> {
    let (go, wait) = watch::channel(());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let worker = format!("http://{}", listener.local_addr()?);
    tokio::spawn(work(listener, wait));
    let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let mut launch = Command::new(binary);
    launch.args([
        "launch",
        "--policy",
        "least_request",
        "--port",
        &port.to_string(),
        "--worker-urls",
        &worker,
    ]);
    let mut router = Running::start(&mut launch, log)?;
    while !is_ready(port).await {
        router.check()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let start = tell("at the start", &router, None)?;
    let mut idle = Vec::with_capacity(options.idle);
    for _ in 0..options.idle {
        idle.push(ask(port, "GET /liveness", "{\"status\":\"ok\"}").await.context("an idle client")?);
    }
    let crowded = tell(&format!("{} idle clients", options.idle), &router, Some((start, options.idle)))?;
    let mut streams = Vec::with_capacity(options.streams);
    for _ in 0..options.streams {
        streams.push(ask(port, "POST /v1/completions", "data: 1\n\n").await.context("a stream")?);
    }
    tell(&format!("and {} streams", options.streams), &router, Some((crowded, options.streams)))?;
    for client in &mut idle {
        say(client, "GET /liveness").await?;
        see(client, "{\"status\":\"ok\"}").await.context("an idle client was dropped")?;
    }
    go.send_replace(());
    for stream in &mut streams {
        see(stream, "data: [DONE]\n\n").await.context("a stream was cut")?;
    }
    drop((idle, streams));
    tell("when all have left", &router, None)?;
    println!("nothing was refused");
    Ok(())
}

/// Prints the router's memory, and what each of some new clients took of it.
#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn tell(when: &str, router: &Running, since: Option<(u64, usize)>) -> Result<u64> {
    let now = router.memory()?;
    let each = since.map_or(String::new(), |(before, count)| {
        let each = now.saturating_sub(before) as f64 / count.max(1) as f64 / 1024.0;
        format!(", {each:.1} KiB each")
    });
    println!("{when}: {:.1} MiB{each}", now as f64 / f64::from(1 << 20));
    Ok(now)
}

/// A new connection that has asked for something and seen `text` of the answer.
async fn ask(port: u16, line: &str, text: &str) -> Result<TcpStream> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
    say(&mut client, line).await?;
    see(&mut client, text).await?;
    Ok(client)
}

/// Whether the router serves, and knows that its worker does.
async fn is_ready(port: u16) -> bool {
    let asked = async {
        let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
        say(&mut client, "GET /health").await?;
        see(&mut client, "_workers").await
    };
    asked.await.is_ok_and(|answer: String| answer.starts_with("HTTP/1.1 200 "))
}

async fn say(client: &mut TcpStream, line: &str) -> Result<()> {
    let body = if line.starts_with("POST") { "{\"prompt\":\"a\",\"stream\":true}" } else { "" };
    let head = format!("{line} HTTP/1.1\r\nhost: router\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    Ok(client.write_all(head.as_bytes()).await?)
}

/// Reads until `text` has come, and returns all that came.
async fn see(client: &mut TcpStream, text: &str) -> Result<String> {
    let mut seen = Vec::new();
    loop {
        let so_far = String::from_utf8_lossy(&seen);
        if so_far.contains(text) {
            return Ok(so_far.into_owned());
        }
        ensure!(client.read_buf(&mut seen).await? > 0, "closed after: {}", String::from_utf8_lossy(&seen));
    }
}

/// A worker whose streams begin at once and end when the word is given.
async fn work(listener: TcpListener, wait: watch::Receiver<()>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(answer(socket, wait.clone()));
    }
}

async fn answer(mut socket: TcpStream, mut wait: watch::Receiver<()>) -> Result<()> {
    let mut seen = Vec::new();
    loop {
        while !seen.ends_with(if seen.starts_with(b"POST") { &b"}"[..] } else { b"\r\n\r\n" }) {
            ensure!(socket.read_buf(&mut seen).await? > 0, "the router has left");
        }
        if seen.starts_with(b"GET ") {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await?;
        } else {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            socket.write_all(format!("{head}9\r\ndata: 1\n\n\r\n").as_bytes()).await?;
            wait.changed().await?;
            socket.write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await?;
        }
        seen.clear();
    }
}

/// How many files this process may open.
fn open_files() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("no limit of files")?;
    let soft = line.split_whitespace().nth(3).context("no limit of files")?;
    Ok(soft.parse().unwrap_or(usize::MAX))
}

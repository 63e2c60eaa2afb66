//! A fleet in which something breaks every second, under load. What can be saved is saved, and nothing leaks.
//!
//! It runs without the usual harness, because it takes arguments: `cargo test -p router-proxy --test chaos -- --seconds 300
//! --seed 7`, or `cargo xtask chaos`. All chance follows from the seed; what the machine's clock makes of it does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs, reason = "a test")]

#[path = "integration/support/mod.rs"]
mod support;

use clap::Parser as _;
use router_config::Options;
use router_core::Rng;
use router_emulator::{EmulatedFleet, EmulatorConfig, Fault, FaultKind, FleetSpec, SglangVersion};
use router_proxy::RunningRouter;
use std::sync::Arc;
use std::time::Duration;
use support::{RawClient, metric, options, send, start, sum, until};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

const WORKERS: usize = 8;

#[derive(Debug, clap::Parser)]
#[command(ignore_errors = true)]
struct Args {
    /// Where all chance comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long things break.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Requests in a second.
    #[arg(long, default_value_t = 60)]
    rate: u64,
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Whole,
    /// Cut after its first byte, and told so.
    Cut,
    Lost,
}

fn main() {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for protocol in [Protocol::Http, Protocol::Grpc] {
            one_dead_of_four(protocol).await;
            five_faults(protocol).await;
            kept_connections_close(protocol).await;
        }
        chaos(&args, Protocol::Mixed).await;
    });
}

/// By which protocol the router reaches its workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Http,
    Grpc,
    /// Every second one by gRPC.
    Mixed,
}

impl Protocol {
    /// The URL of the server at `index`.
    fn url(self, fleet: &EmulatedFleet, index: usize) -> String {
        let server = &fleet.servers[index];
        let is_grpc = self == Self::Grpc || (self == Self::Mixed && index % 2 == 1);
        if is_grpc { server.grpc_url().unwrap() } else { server.url() }
    }
}

async fn fleet(line: &str) -> EmulatedFleet {
    let spec: FleetSpec = line.parse().unwrap();
    let base = EmulatorConfig { grpc_port: Some(0), ..EmulatorConfig::new(spec.parts[0].profile) };
    EmulatedFleet::start(&spec, None, &EmulatorConfig { version: SglangVersion::Stock, ..base })
        .await
        .unwrap()
}

async fn over(fleet: &EmulatedFleet, protocol: Protocol, options: Options) -> Arc<RunningRouter> {
    let worker_urls = (0..fleet.servers.len()).map(|index| protocol.url(fleet, index)).collect();
    let router = start(Options { worker_urls, ..options }).await;
    until(|| router.healthy_workers() == fleet.servers.len()).await;
    Arc::new(router)
}

/// Sends one request and judges all that came back.
async fn one(router: &RunningRouter, n: u64) -> (End, String) {
    let mut rng = Rng::seeded(n);
    let (stream, tokens) = (rng.below(2) == 0, 4 + rng.below(60));
    let body = format!(
        r#"{{"text":"request {n}","stream":{stream},"sampling_params":{{"max_new_tokens":{tokens},"ignore_eos":true}}}}"#
    );
    let mut client = RawClient::connect(router).await;
    let head = format!(
        "POST /generate HTTP/1.1\r\nhost: r\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(head).await;
    let answer = client.rest().await;
    (judge(&answer, stream), answer)
}

fn judge(answer: &str, stream: bool) -> End {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return End::Lost };
    if !head.starts_with("HTTP/1.1 200 ") {
        return End::Lost;
    }
    let ended = body.ends_with("0\r\n\r\n");
    // An event may lie in two chunks.
    let text = support::without_chunks(answer);
    let told = text.contains(r#"data: {"error":"#);
    match (stream, support::header(head, "content-length")) {
        (false, Some(length)) if length.parse() == Ok(body.len()) => End::Whole,
        (false, Some(_)) if !body.is_empty() => End::Cut,
        (true, None) if text.contains("data: [DONE]") && ended && !told => End::Whole,
        (true, None) if told && !ended && text.contains("data: {\"text\"") => End::Cut,
        _ => End::Lost,
    }
}

/// Ends of all requests, with the slowest times of those that came whole.
#[derive(Debug, Default)]
struct Tally {
    whole: usize,
    cut: usize,
    lost: Vec<String>,
    times: Vec<Duration>,
}

impl Tally {
    fn add(&mut self, (end, answer): (End, String), took: Duration) {
        match end {
            End::Whole => {
                self.whole += 1;
                self.times.push(took);
            }
            End::Cut => self.cut += 1,
            End::Lost => self.lost.push(answer),
        }
    }

    fn report(&mut self, name: &str) {
        self.times.sort_unstable();
        let at = |share: f64| self.times[(self.times.len() as f64 * share) as usize].as_secs_f64();
        println!(
            "{name}: {} whole, {} cut, {} lost; p50 {:.3} s, p99 {:.3} s, most {:.3} s",
            self.whole,
            self.cut,
            self.lost.len(),
            at(0.5),
            at(0.99),
            self.times.last().unwrap().as_secs_f64()
        );
        assert!(self.lost.is_empty(), "{name}: lost, for example: {}", self.lost[0]);
    }
}

/// Sends requests at an even rate, whatever becomes of them, while `trouble` lasts.
async fn load(router: &Arc<RunningRouter>, rate: u64, trouble: impl Future<Output = ()>) -> Tally {
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(rate).unwrap());
    let (mut clients, mut n) = (JoinSet::new(), 0);
    let mut trouble = std::pin::pin!(trouble);
    let mut tally = Tally::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let router = Arc::clone(router);
                clients.spawn(async move {
                    let began = Instant::now();
                    (one(&router, n).await, began.elapsed())
                });
                n += 1;
            }
            // Answers are judged as they come: kept, they would be the memory that grows.
            Some(done) = clients.join_next() => {
                let (end, took) = done.unwrap();
                tally.add(end, took);
            }
            () = &mut trouble => break,
        }
    }
    for (end, took) in clients.join_all().await {
        tally.add(end, took);
    }
    tally
}

/// The same load on four workers, and on three and one that died unnoticed.
async fn one_dead_of_four(protocol: Protocol) {
    let fleet = fleet("sglang_8b@20*4").await;
    let router = over(&fleet, protocol, options(&[])).await;
    let seconds = || tokio::time::sleep(Duration::from_secs(3));
    load(&router, 100, seconds()).await.report(&format!("four workers, {protocol:?}"));
    fleet.servers[0].set_fault(Fault::new(FaultKind::Crash));
    load(&router, 100, seconds()).await.report(&format!("one of them dead, {protocol:?}"));
    let retries = sum(&metric(&router, "sgl_router_retries_total").await);
    assert!(retries <= 10.0, "{retries} retries: it was asked again and again");
    Arc::into_inner(router).unwrap().shutdown().await;
    fleet.shutdown().await;
}

/// One worker is killed, one hangs for 6 s, one answers 500, one 503, one is ten times as slow; three are well.
async fn five_faults(protocol: Protocol) {
    let fleet = fleet("sglang_8b@20*8").await;
    let router = over(&fleet, protocol, Options { health_check_interval_secs: 1.0, ..options(&[]) }).await;
    let trouble = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let status = |status| Fault { status, ..Fault::new(FaultKind::Status) };
        let hang = Fault { health: true, duration_secs: Some(6.0), ..Fault::new(FaultKind::Hang) };
        let slow = Fault { factor: 10.0, ..Fault::new(FaultKind::Slow) };
        let faults = [Fault::new(FaultKind::Crash), hang, status(500), status(503), slow];
        fleet.servers.iter().zip(faults).for_each(|(server, fault)| server.set_fault(fault));
        tokio::time::sleep(Duration::from_secs(8)).await;
    };
    let mut tally = load(&router, 60, trouble).await;
    tally.report(&format!("five faults, {protocol:?}"));
    Arc::into_inner(router).unwrap().shutdown().await;
    fleet.shutdown().await;
}

/// A worker that closes kept connections at random moments, with no other worker to turn to: nothing fails.
async fn kept_connections_close(protocol: Protocol) {
    let fleet = fleet("sglang_8b@20*1").await;
    let router = over(&fleet, protocol, Options { cb_failure_threshold: 1, ..options(&[]) }).await;
    fleet.servers[0].set_fault(Fault { health: true, ..Fault::new(FaultKind::CloseKept) });
    let mut tally = load(&router, 100, tokio::time::sleep(Duration::from_secs(3))).await;
    tally.report(&format!("kept connections close, {protocol:?}"));
    assert_eq!(tally.cut, 0);
    for name in ["retries_total", "worker_cb_transitions_total"] {
        assert_eq!(sum(&metric(&router, &format!("sgl_router_{name}")).await), 0.0, "{name}");
    }
    Arc::into_inner(router).unwrap().shutdown().await;
    fleet.shutdown().await;
}

/// What breaks next, and on which worker.
async fn break_something(router: &RunningRouter, fleet: &EmulatedFleet, protocol: Protocol, rng: &mut Rng) {
    let index = rng.below(WORKERS);
    let server = &fleet.servers[index];
    let kinds = [
        FaultKind::Crash,
        FaultKind::Hang,
        FaultKind::Status,
        FaultKind::Status,
        FaultKind::ResetBeforeFirstByte,
        FaultKind::ResetMidStream,
        FaultKind::CloseEarly,
        FaultKind::HalfEvent,
        FaultKind::Stall,
        FaultKind::Garbage,
        FaultKind::CloseKept,
        FaultKind::CloseKept,
        FaultKind::Slow,
        FaultKind::Refuse,
        FaultKind::Unhealthy,
        FaultKind::Unhealthy,
    ];
    let pick = rng.below(kinds.len() + 2);
    let Some(kind) = kinds.get(pick) else {
        let url = protocol.url(fleet, index);
        send(router, "POST", &format!("/remove_worker?url={url}"), "").await;
        let joined = send(router, "POST", &format!("/add_worker?url={url}"), "").await;
        assert!(joined.starts_with("HTTP/1.1 200 "), "{joined}");
        return;
    };
    server.set_fault(Fault {
        status: if rng.below(2) == 0 { 500 } else { 503 },
        factor: 10.0,
        // Long enough for health to fail its three checks, and to come back.
        duration_secs: Some(if *kind == FaultKind::Unhealthy { 4.0 } else { 0.5 } + 2.0 * rng.unit_f64()),
        // Every third fault is seen by health checks, too.
        health: rng.below(3) == 0,
        ..Fault::new(*kind)
    });
}

/// Breaks something every second, and in the end nothing is broken.
async fn trouble(
    router: &RunningRouter,
    fleet: &EmulatedFleet,
    protocol: Protocol,
    (rng, seconds): (&mut Rng, u64),
) {
    let mut ticks = interval(Duration::from_secs(1));
    for _ in 0..seconds {
        ticks.tick().await;
        break_something(router, fleet, protocol, rng).await;
    }
    fleet.servers.iter().for_each(router_emulator::RunningEmulator::clear_fault);
}

/// Memory that this process holds, workers and clients included.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

async fn chaos(args: &Args, protocol: Protocol) {
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let before = descriptors();
    let fleet = fleet(&format!("sglang_8b@4*{WORKERS}")).await;
    let router = over(
        &fleet,
        protocol,
        Options {
            health_check_interval_secs: 1.0,
            stream_idle_timeout_secs: 1.0,
            first_byte_timeout_secs: Some(3.0),
            policy: Options::default().policy,
            ..options(&[])
        },
    )
    .await;
    let mut rng = Rng::seeded(args.seed);
    // Pools, tables and the allocator reach their size in the first part; from then on memory stays where it is.
    let warm_up = args.seconds.div_ceil(3);
    let mut settled = 0;
    for (part, seconds) in [("first part", warm_up), ("the rest", args.seconds - warm_up)] {
        let trouble = trouble(&router, &fleet, protocol, (&mut rng, seconds));
        let mut tally = load(&router, args.rate, trouble).await;
        tally.report(&format!("chaos, seed {}, {part}, {seconds} s", args.seed));
        until(|| router.in_flight() == 0).await;
        let now = resident_bytes();
        println!("  resident {:.1} MiB", now as f64 / f64::from(1 << 20));
        let bound = settled + settled / 4 + (32 << 20);
        assert!(settled == 0 || now < bound, "memory grew from {settled} to {now} bytes");
        settled = now;
    }
    for name in
        ["retries_total", "moves_total", "worker_cb_transitions_total", "retry_budget_exhausted_total"]
    {
        println!("  {name} {}", sum(&metric(&router, &format!("sgl_router_{name}")).await));
    }
    until(|| router.healthy_workers() == WORKERS).await;
    Arc::into_inner(router).unwrap().shutdown().await;
    fleet.shutdown().await;
    until(|| descriptors() <= before + 2).await;
}

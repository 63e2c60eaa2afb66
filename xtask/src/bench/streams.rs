//! Streams that begin at a fixed rate, whether or not earlier ones have ended: CPU time per event, delay of the first one.

use super::backends::{self, EVENTS, INTERVAL};
use super::contenders::RunningContender;
use super::nginx::Buffering;
use super::result_table::{ContenderRow, ResultColumn, ResultTable};
use super::{BenchOptions, traffic};
use crate::harness::stats::{quantile, sorted};
use crate::harness::workspace::Workspace;
use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

const PER_SECOND: u64 = 60;
const WORKERS: usize = 4;
/// A stream that takes longer has failed; it should take 1.3 s.
const TIMEOUT: Duration = Duration::from_secs(15);

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// The result of one run of streams.
#[derive(Debug, Default)]
struct StreamResult {
    events: u64,
    failed: u32,
    /// Milliseconds from sending to the first byte of the first event, sorted.
    first: Vec<f64>,
}

/// Measures all contenders, and a worker without a router.
///
/// # Errors
/// Something cannot be started.
pub(crate) async fn measure(workspace: &Workspace, options: &BenchOptions) -> Result<ResultTable> {
    let (ports, _workers) = backends::start(WORKERS).await?;
    let mut contenders = options.lineup(workspace, &ports, Buffering::Off).start().await?;
    contenders.push(RunningContender::direct(ports[0]));
    let mut rows: Vec<_> = contenders.iter().map(|contender| ContenderRow::new(&contender.name)).collect();
    for round in 1..=options.rounds() {
        let mut results = Vec::new();
        for contender in &mut contenders {
            results.push(measure_one(contender, options.time()).await?);
        }
        let direct = results.last().map(|(_, direct)| direct.first.clone()).unwrap_or_default();
        for (row, (cpu, result)) in rows.iter_mut().zip(&results) {
            let added = |share| Some(quantile(&result.first, share)? - quantile(&direct, share)?);
            let added = |share| added(share).unwrap_or(f64::NAN);
            row.add([*cpu, added(0.5), added(0.99), f64::from(result.failed)]);
        }
        println!("streams: round {round} of {} done", options.rounds());
    }
    rows.pop();
    let title = format!(
        "Chat streams of {EVENTS} events, one every {} ms, {PER_SECOND} streams begun per second, {WORKERS} workers; \
         nginx with `proxy_buffering off`; first event compared with no proxy at all",
        INTERVAL.as_millis()
    );
    Ok(ResultTable { title, base: "nginx", columns: columns(), rows })
}

fn columns() -> Vec<ResultColumn> {
    vec![
        ResultColumn { title: "CPU per event, us", decimals: 1, ratio: true },
        ResultColumn { title: "first event later by, ms, p50", decimals: 2, ratio: false },
        ResultColumn { title: "p99", decimals: 2, ratio: false },
        ResultColumn { title: "failed", decimals: 0, ratio: false },
    ]
}

/// CPU time per event in microseconds, and the streams.
async fn measure_one(contender: &mut RunningContender, time: Duration) -> Result<(f64, StreamResult)> {
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();
    // A few streams first, so that connections and code are warm when the measurement starts.
    run(&client, contender.port, Duration::from_millis(200)).await;
    let before = contender.cpu_time()?;
    let result = run(&client, contender.port, time).await;
    let spent = contender.cpu_time()?.saturating_sub(before);
    #[allow(clippy::cast_precision_loss, reason = "event counts are far below 2^52")]
    Ok((spent.as_secs_f64() * 1e6 / result.events.max(1) as f64, result))
}

/// Begins streams at the fixed rate for `time`, and waits until all have ended.
async fn run(client: &HttpClient, port: u16, time: Duration) -> StreamResult {
    let body = Bytes::from(traffic::stream_request());
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(PER_SECOND).unwrap_or(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let started = Instant::now();
    let mut streams = JoinSet::new();
    while started.elapsed() < time {
        ticks.tick().await;
        let (client, body) = (client.clone(), body.clone());
        streams.spawn(async move { timeout(TIMEOUT, stream(&client, port, body)).await.ok().flatten() });
    }
    let mut result = StreamResult::default();
    while let Some(ended) = streams.join_next().await {
        match ended.ok().flatten() {
            Some((events, first)) => {
                result.events += events;
                result.first.push(first.as_secs_f64() * 1e3);
            }
            None => result.failed += 1,
        }
    }
    StreamResult { first: sorted(result.first), ..result }
}

/// Runs one stream: its events and the time to the first. `None` unless every event came.
async fn stream(client: &HttpClient, port: u16, body: Bytes) -> Option<(u64, Duration)> {
    let sent = Instant::now();
    let response = client.request(backends::chat(port, body).ok()?).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let mut body = response.into_body();
    let (mut first, mut newlines) = (None, 0_u64);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if !data.is_empty() {
            first.get_or_insert_with(|| sent.elapsed());
        }
        newlines += data.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
    }
    // Each event ends in two newlines, and `[DONE]` is one event more.
    (newlines == 2 * (EVENTS + 1)).then_some((EVENTS, first?))
}

//! Streams that begin at a fixed rate, whether or not earlier ones ended: CPU time per event, delay of the first one.

use super::backends::{self, EVENTS, PACE};
use super::contenders::{self, Contender, Site};
use super::nginx::Buffering;
use super::result_table::{Column, Row, Table};
use super::{Options, traffic};
use crate::harness::stats::quantile;
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
/// A stream that takes longer than this has failed; it should take 1.3 s.
const PATIENCE: Duration = Duration::from_secs(15);

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// What one run of streams told.
#[derive(Debug)]
struct Seen {
    events: u64,
    failed: u32,
    /// Milliseconds from sending to the first byte of the first event, sorted.
    first: Vec<f64>,
}

/// Measures all contenders, and the workers without one.
///
/// # Errors
/// Something cannot be started.
pub(crate) async fn measure(site: &Site, options: &Options) -> Result<Table> {
    let (ports, _workers) = backends::start(WORKERS).await?;
    let mut all = contenders::start_all(site, &ports, Buffering::Off).await?;
    all.push(Contender::direct(ports[0]));
    let mut rows: Vec<Row> = all.iter().map(|contender| Row::new(&contender.name)).collect();
    for round in 1..=options.rounds() {
        let mut seen = Vec::new();
        for contender in &mut all {
            seen.push(measure_one(contender, options.time()).await?);
        }
        let direct =
            seen.last().map(|(_, direct)| (quantile(&direct.first, 0.5), quantile(&direct.first, 0.99)));
        let (half, most) = direct.unwrap_or_default();
        for (row, (cpu, seen)) in rows.iter_mut().zip(&seen) {
            let added = |share, base: Option<f64>| Some(quantile(&seen.first, share)? - base?);
            let (half, most) = (added(0.5, half), added(0.99, most));
            row.add([*cpu, half.unwrap_or(f64::NAN), most.unwrap_or(f64::NAN), f64::from(seen.failed)]);
        }
        println!("streams: round {round} of {} done", options.rounds());
    }
    rows.pop();
    let title = format!(
        "Chat streams of {EVENTS} events, one every {} ms, {PER_SECOND} streams begun per second, {WORKERS} workers; \
         nginx with `proxy_buffering off`; first event compared with no proxy at all",
        PACE.as_millis()
    );
    Ok(Table { name: "streams", title, columns: columns(), rows })
}

fn columns() -> Vec<Column> {
    vec![
        Column { title: "CPU per event, us", decimals: 1, ratio: true },
        Column { title: "first event later by, ms, p50", decimals: 2, ratio: false },
        Column { title: "p99", decimals: 2, ratio: false },
        Column { title: "failed", decimals: 0, ratio: false },
    ]
}

/// CPU time per event in microseconds, and what the client saw.
async fn measure_one(contender: &mut Contender, time: Duration) -> Result<(f64, Seen)> {
    let client: HttpClient = Client::builder(TokioExecutor::new()).build_http();
    // A few streams first, so that connections and code are warm when the clock starts.
    run(&client, contender.port, Duration::from_millis(200)).await;
    let before = contender.cpu_time()?;
    let seen = run(&client, contender.port, time).await;
    let spent = contender.cpu_time()?.saturating_sub(before);
    #[allow(clippy::cast_precision_loss, reason = "event counts are far below 2^52")]
    Ok((spent.as_secs_f64() * 1e6 / seen.events.max(1) as f64, seen))
}

/// Begins streams at the rate for this long, and waits for all to end.
async fn run(client: &HttpClient, port: u16, time: Duration) -> Seen {
    let body = Bytes::from(traffic::stream_request());
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(PER_SECOND).unwrap_or(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begun = Instant::now();
    let mut streams = JoinSet::new();
    while begun.elapsed() < time {
        ticks.tick().await;
        let (client, body) = (client.clone(), body.clone());
        streams.spawn(async move { timeout(PATIENCE, one(&client, port, body)).await.ok().flatten() });
    }
    let mut seen = Seen { events: 0, failed: 0, first: Vec::new() };
    while let Some(ended) = streams.join_next().await {
        match ended.ok().flatten() {
            Some((events, first)) => {
                seen.events += events;
                seen.first.push(first.as_secs_f64() * 1e3);
            }
            None => seen.failed += 1,
        }
    }
    seen.first.sort_by(f64::total_cmp);
    seen
}

/// One stream: its events and the time to the first. `None` unless every event came.
async fn one(client: &HttpClient, port: u16, body: Bytes) -> Option<(u64, Duration)> {
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
    // Each event ends in two newlines, and `[DONE]` is one more.
    (newlines == 2 * (EVENTS + 1)).then_some((EVENTS, first?))
}

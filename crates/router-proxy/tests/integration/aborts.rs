//! A client that leaves frees its worker at once, whatever the worker was doing with its request.

use crate::support::{RawClient, options, start, until};
use router_config::Options;
use router_emulator::{EmulatedFleet, EmulatorConfig, SglangVersion};

const RUNNING: u32 = 2;

/// Requests that run and requests that wait, streamed or not, each with and without an id of its own.
#[tokio::test]
async fn client_disconnect_aborts_engine_requests() {
    let line = format!("sglang_8b:max_running={RUNNING}");
    for (version, stream, rid, by_grpc) in [
        (SglangVersion::Classic, false, false, false),
        (SglangVersion::Classic, true, true, false),
        (SglangVersion::Stock, false, true, false),
        (SglangVersion::Stock, true, false, false),
        (SglangVersion::Stock, false, true, true),
        (SglangVersion::Stock, true, false, true),
        (SglangVersion::Stock, false, false, true),
    ] {
        let spec: router_emulator::FleetSpec = line.parse().unwrap();
        let grpc_port = by_grpc.then_some(0);
        let config = EmulatorConfig { version, grpc_port, ..EmulatorConfig::new(spec.parts[0].profile) };
        let fleet = EmulatedFleet::start(&spec, None, &config).await.unwrap();
        let worker_urls = fleet.servers[0].grpc_url().map_or_else(|| fleet.urls(), |url| vec![url]);
        let router = start(Options { worker_urls, ..options(&[]) }).await;
        until(|| router.healthy_workers() == 1).await;
        let mut clients = Vec::new();
        for n in 0..2 * RUNNING {
            let id = if rid { format!(r#""rid":"r{n}","#) } else { String::new() };
            let mut client = RawClient::connect(&router).await;
            let body = format!(
                r#"{{{id}"text":"x","stream":{stream},"sampling_params":{{"max_new_tokens":30000,"ignore_eos":true}}}}"#
            );
            client.post("/generate", &body).await;
            clients.push(client);
        }
        let load = || {
            let stats = fleet.servers[0].stats();
            (stats.running, stats.waiting)
        };
        until(|| load() == (RUNNING, RUNNING)).await;
        // Those that came last wait; they go first, so that none of them gets to run.
        for left in (0..2 * RUNNING).rev() {
            clients.pop();
            let expected = (left.min(RUNNING), left.saturating_sub(RUNNING));
            until(|| load() == expected).await;
        }
        until(|| router.in_flight() == 0).await;
        let stats = fleet.servers[0].stats();
        assert_eq!(
            (stats.aborted, stats.completed),
            (u64::from(2 * RUNNING), 0),
            "{version:?}, stream {stream}, gRPC {by_grpc}"
        );
        router.shutdown().await;
        fleet.shutdown().await;
    }
}

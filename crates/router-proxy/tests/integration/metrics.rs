//! Metrics: their names and what they count.

use crate::support::{RawClient, get, metric, options, post, read_message, router, start, worker};
use router_config::{MetricsPerWorker, Options};
use router_emulator::{EmulatedFleet, EmulatorConfig, FleetSpec};
use router_proxy::RunningRouter;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

async fn get_accepting(router: &RunningRouter, accept: &str) -> String {
    let mut client = RawClient::connect(router).await;
    let head =
        format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    client.send(head).await;
    client.rest().await
}

#[tokio::test]
async fn counts_agree_with_what_was_asked() {
    let spec: FleetSpec = "a100@20*1".parse().unwrap();
    let fleet = EmulatedFleet::start(&spec, None, &EmulatorConfig::new(spec.parts[0].profile)).await.unwrap();
    let options = Options {
        worker_urls: fleet.urls(),
        policy: "cache_aware".to_owned(),
        prometheus_port: Some(0),
        ..options(&[])
    };
    let router = router(options).await;
    for n in 0..6 {
        let stream = n % 2 == 0;
        let body = format!(
            r#"{{"text":"{}","stream":{stream},"sampling_params":{{"max_new_tokens":5,"ignore_eos":true}}}}"#,
            "same words ".repeat(100)
        );
        assert!(post(&router, "/generate", &body).await.starts_with("HTTP/1.1 200 "));
    }
    let port = router.prometheus_address().unwrap();
    assert_ne!(port, router.address());
    let open =
        get_accepting(&router, "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1").await;
    assert!(
        open.contains("content-type: application/openmetrics-text") && open.ends_with("# EOF\n"),
        "{open}"
    );
    for accept in ["text/plain", "*/*", "application/openmetrics-text;q=0, text/plain"] {
        let plain = get_accepting(&router, accept).await;
        assert!(plain.contains("content-type: text/plain; version=0.0.4"), "{accept}: {plain}");
        assert!(plain.contains("\n# TYPE sgl_router_requests_total counter\n") && !plain.contains("# EOF"));
    }
    let text = get(&router, "/metrics").await;
    let sample = |name: &str| {
        let line =
            text.lines().find(|l| l.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    for (name, value) in [
        (r#"sgl_router_requests_total{route="/generate"}"#, 6.0),
        (r#"sgl_router_request_duration_seconds_count{route="/generate"}"#, 6.0),
        (r#"sgl_router_generate_duration_seconds_count{route="/generate"}"#, 6.0),
        (r#"sgl_router_e2e_seconds_count{route="/generate""#, 6.0),
        (r#"sgl_router_ttft_seconds_count{route="/generate""#, 3.0),
        (r#"sgl_router_tpot_seconds_count{route="/generate""#, 3.0),
        ("sgl_router_output_tokens_total", 30.0),
        ("sgl_router_cache_hits_total", 5.0),
        ("sgl_router_cache_misses_total", 1.0),
        ("sgl_router_processed_requests_total", 6.0),
        ("sgl_router_active_workers", 1.0),
        ("sgl_router_running_requests", 0.0),
    ] {
        assert!((sample(name) - value).abs() < 1e-9, "{name} is {}, not {value}", sample(name));
    }
    assert!(sample(r#"sgl_router_policy_figure{policy="cache_aware",figure="tree_size"}"#) > 0.0);
    fleet.shutdown().await;
}

#[tokio::test]
async fn durations_use_configured_buckets() {
    let spec: FleetSpec = "a100@20*1".parse().unwrap();
    let fleet = EmulatedFleet::start(&spec, None, &EmulatorConfig::new(spec.parts[0].profile)).await.unwrap();
    let router = router(Options {
        worker_urls: fleet.urls(),
        prometheus_duration_buckets: vec![0.5, 7.0],
        ..options(&[])
    })
    .await;
    let body = r#"{"text":"a b c","sampling_params":{"max_new_tokens":4}}"#;
    assert!(post(&router, "/generate", body).await.starts_with("HTTP/1.1 200 "));
    let text = get(&router, "/metrics").await;
    let bounds = |name: &str| {
        let lines = text.lines().filter(|l| l.starts_with(name) && l.contains("route=\"/generate\""));
        let bound = |l: &str| l.split("le=\"").nth(1).and_then(|l| l.split('"').next()).unwrap().to_owned();
        lines.map(bound).collect::<Vec<_>>()
    };
    assert_eq!(bounds("sgl_router_request_duration_seconds_bucket"), ["0.5", "7.0", "+Inf"]);
    assert!(
        text.contains("sgl_router_decision_duration_seconds_bucket{le=\"1e-7\"}"),
        "{text} the time of a decision keeps its own buckets"
    );
    fleet.shutdown().await;
}

/// Every client gets the workers' own error: it counts as an error of the router by kind, and as a response by status.
#[tokio::test]
async fn exhausted_requests_are_counted() {
    for (status, kind) in [(500, "all_workers_failed"), (503, "all_workers_busy"), (429, "all_workers_busy")]
    {
        let bad = || {
            worker(move |mut incoming| async move {
                incoming.send(format!("HTTP/1.1 {status} Bad\r\ncontent-length: 2\r\n\r\n{{}}")).await;
            })
        };
        for workers in [vec![bad().await], vec![bad().await, bad().await]] {
            let router = router(options(&workers)).await;
            let answer = post(&router, "/v1/completions", r#"{"prompt":"a"}"#).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            let errors = metric(&router, "sgl_router_request_errors_total").await;
            let expected =
                format!(r#"sgl_router_request_errors_total{{route="/v1/completions",error_type="{kind}"}}"#);
            assert_eq!(errors, [(expected, 1.0)], "{status}, {} workers", workers.len());
            let responses = metric(&router, "sgl_router_responses_total").await;
            let expected =
                format!(r#"sgl_router_responses_total{{route="/v1/completions",status="{status}"}}"#);
            assert_eq!(responses, [(expected, 1.0)], "{status}, {} workers", workers.len());
        }
    }
}

#[tokio::test]
async fn process_and_build_are_described() {
    let router = crate::support::start(Options { start_empty: true, ..options(&[]) }).await;
    for (accept, counter) in
        [("text/plain", "process_cpu_seconds_total"), ("application/openmetrics-text", "process_cpu_seconds")]
    {
        let text = get_accepting(&router, accept).await;
        let version = format!("sgl_router_build_info{{version=\"{}\",revision=\"", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&version), "{text}");
        if cfg!(target_os = "linux") {
            assert!(
                text.contains(&format!("# TYPE {counter} counter\nprocess_cpu_seconds_total ")),
                "{text}"
            );
            for name in ["resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds", "threads"] {
                assert!(text.contains(&format!("\nprocess_{name} ")), "{name}: {text}");
            }
        }
        assert_eq!(text.matches("# EOF").count(), usize::from(accept.contains("openmetrics")));
    }
}

/// All samples of a page, without those of the process.
fn samples(text: &str) -> Vec<(&str, f64)> {
    let lines = text.lines().filter(|line| line.starts_with("sgl_router_"));
    lines
        .map(|line| line.rsplit_once(' ').map(|(name, value)| (name, value.parse().unwrap())).unwrap())
        .collect()
}

#[tokio::test]
async fn unused_series_are_left_out() {
    let worker = worker(|mut incoming| async move {
        incoming.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    });
    let router = router(options(&[worker.await])).await;
    let before = get(&router, "/metrics").await;
    for (name, value) in samples(&before) {
        let is_counter = name.split('{').next().unwrap().ends_with("_total");
        assert!(!(is_counter && name.contains("worker=")), "{name} {value} before the first request");
        assert!(!name.contains("route=") || value == 0.0, "{name} {value} before the first request");
        assert!(!name.contains("_bucket{route="), "a histogram without an observation: {name}");
    }
    for name in [
        "sgl_router_fleet_processed_requests_total",
        "sgl_router_fleet_outcomes_total{outcome=\"failed\"}",
        "sgl_router_fleet_check_failures_total{reason=\"timeout\"}",
        "sgl_router_fleet_cache_misses_total",
        "sgl_router_requests_total{route=\"/generate\"}",
        "sgl_router_records_lost_total",
    ] {
        assert!(samples(&before).contains(&(name, 0.0)), "{name} is there from the start: {before}");
    }
    assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
    let outcomes = metric(&router, "sgl_router_worker_outcomes_total").await;
    assert_eq!(outcomes.len(), 5, "a worker in use has all outcomes, so that their shares are known");
    assert!(metric(&router, "sgl_router_worker_cb_transitions_total").await.is_empty());
    assert_eq!(metric(&router, "sgl_router_policy_reasons_total").await.len(), 1);
    assert_eq!(
        metric(&router, "sgl_router_request_duration_seconds_count").await.len(),
        1,
        "one route is used"
    );
}

#[tokio::test]
async fn fleet_series_need_no_workers() {
    let spec: FleetSpec = "a100@20*2".parse().unwrap();
    let fleet = EmulatedFleet::start(&spec, None, &EmulatorConfig::new(spec.parts[0].profile)).await.unwrap();
    let mut pages = Vec::new();
    for metrics_per_worker in [MetricsPerWorker::Off, MetricsPerWorker::Auto] {
        let router = router(Options {
            worker_urls: fleet.urls(),
            policy: "marginal_utility".to_owned(),
            metrics_per_worker,
            ..options(&[])
        })
        .await;
        for stream in [true, false, false] {
            let body =
                format!(r#"{{"text":"a b","stream":{stream},"sampling_params":{{"max_new_tokens":4}}}}"#);
            assert!(post(&router, "/generate", &body).await.starts_with("HTTP/1.1 200 "));
        }
        pages.push(get(&router, "/metrics").await);
    }
    fleet.shutdown().await;
    let expected = [
        ("sgl_router_fleet_processed_requests_total", 3.0),
        ("sgl_router_fleet_decisions_total{policy=\"marginal_utility\"}", 3.0),
        ("sgl_router_fleet_outcomes_total{outcome=\"success\"}", 3.0),
        ("sgl_router_fleet_output_tokens_total", 12.0),
        ("sgl_router_fleet_ttft_seconds_count{route=\"/generate\"}", 1.0),
        ("sgl_router_fleet_e2e_seconds_count{route=\"/generate\"}", 3.0),
        ("sgl_router_fleet_workers{state=\"healthy\"}", 2.0),
        ("sgl_router_fleet_breakers{state=\"closed\"}", 2.0),
        ("sgl_router_fleet_running_requests", 0.0),
    ];
    for page in &pages {
        expected.iter().for_each(|sample| assert!(samples(page).contains(sample), "{sample:?} in {page}"));
    }
    assert!(!pages[0].contains("worker=\""), "{}", pages[0]);
    assert!(samples(&pages[0]).contains(&("sgl_router_metrics_per_worker", 0.0)));
    assert!(samples(&pages[1]).contains(&("sgl_router_metrics_per_worker", 1.0)));
    assert!(pages[1].contains("sgl_router_policy_score{") && pages[1].contains("sgl_router_worker_health{"));
    let per_worker =
        |name| samples(&pages[1]).iter().filter(|s| s.0.starts_with(name)).map(|s| s.1).sum::<f64>();
    assert_eq!(per_worker("sgl_router_processed_requests_total{"), 3.0, "the workers' add up to the fleet's");
    assert_eq!(per_worker("sgl_router_e2e_seconds_count{"), 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrapes_meet_health_changes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut checks = 0;
        while let Ok((mut socket, _)) = listener.accept().await {
            checks += 1;
            read_message(&mut socket).await;
            let status = if checks % 2 == 0 { "200 OK" } else { "500 Broken" };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = socket.write_all(head.as_bytes()).await;
        }
    });
    let router = start(Options {
        health_check_interval_secs: 0.0005,
        health_failure_threshold: 1,
        health_success_threshold: 1,
        ..options(&[address])
    })
    .await;
    let router = Arc::new(router);
    let mut scrapers = JoinSet::new();
    for _ in 0..8 {
        let router = Arc::clone(&router);
        scrapers.spawn(async move {
            for _ in 0..400 {
                assert!(get(&router, "/metrics").await.starts_with("HTTP/1.1 200 "), "a scrape ends");
            }
        });
    }
    scrapers.join_all().await;
}

//! End to end: requests, responses and their rows.

use crate::recorded::assert_formulas;
use crate::support::{csv_of, load, number, plan, rows, send, server};
use router_emulator::{Emulator, EmulatorConfig, Fault, FaultKind, SglangVersion};
use router_engine::EngineProfile;
use router_load::{
    ApiEndpoint, ArrivalProcess, COLUMNS, CancellationToken, FURTHER_COLUMNS, LoadPlan, RandomShape,
    RequestFailure, RequestFormat, RequestTrace, ResponseMode, TraceLine,
};
use std::num::NonZeroUsize;

fn to(endpoint: ApiEndpoint) -> RequestFormat {
    RequestFormat { endpoint, ..RequestFormat::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_api_fills_every_row() {
    for version in [SglangVersion::Classic, SglangVersion::Stock] {
        let server = server(version).await;
        for endpoint in [ApiEndpoint::Generate, ApiEndpoint::Chat, ApiEndpoint::Completions] {
            let run = send(&server.url(), to(endpoint), plan(40, 0.5)).await;
            let (csv, case) = (csv_of(&run), format!("{version:?} {endpoint:?}"));
            assert_eq!(run.summary.answered, 40, "{case}: {:?}", run.summary.failures);
            assert!(
                csv.starts_with(format!("{},{}\n", COLUMNS.join(","), FURTHER_COLUMNS.join(",")).as_bytes())
            );
            let rows = rows(&csv);
            assert_eq!(rows.len(), 40);
            assert_formulas(&rows);
            for (index, (row, request)) in rows.iter().zip(&run.plan().requests).enumerate() {
                assert!(row["req_id"].starts_with(&format!("req_{index}_")), "in the order of the plan");
                assert_eq!((&*row["success"], &*row["error"], &*row["host"]), ("True", "", ""), "{case}");
                assert_eq!(row["actual_output_tokens"], request.output_tokens.to_string(), "{case}");
                assert_eq!(row["has_generated_text"], "True");
                assert_eq!(row["output_tokens_from_trace"], "", "there is no trace");
                let prompt = number(row, "actual_prompt_tokens").unwrap();
                assert!(prompt >= f64::from(request.input_tokens), "a chat's template only adds: {case}");
                let total = number(row, "actual_total_tokens").unwrap();
                assert_eq!(total, prompt + f64::from(request.output_tokens));
                let streamed = request.response_mode == ResponseMode::Streamed;
                assert!(!streamed || number(row, "ttft").unwrap() <= number(row, "total_latency").unwrap());
                let told = number(row, "queue_time_start").is_some();
                assert_eq!(told, endpoint == ApiEndpoint::Generate, "only /generate tells times: {case}");
            }
        }
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unstreamed_first_token_time_needs_server_stamp() {
    for (version, known) in [(SglangVersion::Classic, false), (SglangVersion::Stock, true)] {
        let server = server(version).await;
        let run = send(&server.url(), to(ApiEndpoint::Generate), plan(5, 0.0)).await;
        for row in rows(&csv_of(&run)) {
            for column in ["server_first_token_time", "ttft", "queue_time_in_server"] {
                assert_eq!(number(&row, column).is_some(), known, "{version:?} {column}");
            }
        }
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_trace_blocks_hit_server_cache() {
    let server = server(SglangVersion::Classic).await;
    let line = |arrival_s, hash_ids: &[u64]| TraceLine {
        arrival_s,
        input_tokens: 1100,
        output_tokens: 4,
        hash_ids: hash_ids.to_vec(),
        ..TraceLine::default()
    };
    let lines = vec![line(5.0, &[1, 2, 3]), line(5.5, &[1, 2, 4]), line(6.0, &[7, 8, 9])];
    let plan = LoadPlan::replay(&RequestTrace { lines, bad: Vec::new() }, 2.0, Some(1.0), 1);
    let run = send(&server.url(), to(ApiEndpoint::Generate), plan).await;
    let cached: Vec<_> = run.outcomes.iter().map(|a| a.facts.usage.cached_tokens.unwrap()).collect();
    assert_eq!((cached[0], cached[2]), (0, 0));
    assert!((1000..=1024).contains(&cached[1]), "two blocks of 512 are shared: {cached:?}");
    assert!(rows(&csv_of(&run)).iter().all(|row| row["output_tokens_from_trace"] == "4"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_sends_its_own_header() {
    let profile = EngineProfile::named("a100").unwrap();
    let config = EmulatorConfig { speed: 100.0, ..EmulatorConfig::new(profile) };
    // It admits one of the clients, whose name is its key.
    let server = Emulator::start(EmulatorConfig { api_key: Some("chat".into()), ..config }).await.unwrap();
    let line = |client: &str, output_tokens| TraceLine {
        input_tokens: 100,
        output_tokens,
        client: Some(client.parse().unwrap()),
        max_tokens: Some(64),
        ..TraceLine::default()
    };
    let lines = vec![line("chat", 7), line("batch", 8), line("chat", 9)];
    for endpoint in [ApiEndpoint::Generate, ApiEndpoint::Chat, ApiEndpoint::Completions] {
        let trace = RequestTrace { lines: lines.clone(), bad: Vec::new() };
        let run = send(&server.url(), to(endpoint), LoadPlan::replay(&trace, 1.0, None, 1)).await;
        let counts: Vec<_> = run
            .summary
            .clients
            .iter()
            .map(|c| (c.name.as_str(), c.answered, c.failed, c.output_tokens))
            .collect();
        assert_eq!(
            counts,
            [("chat", 2, 0, 16), ("batch", 0, 1, 0)],
            "{endpoint:?}: {:?}",
            run.summary.failures
        );
        assert!(run.summary.failures["http_4xx"].1.contains("401"));
        let rows = rows(&csv_of(&run));
        assert_eq!(rows.iter().map(|row| &*row["client"]).collect::<Vec<_>>(), ["chat", "batch", "chat"]);
        assert_eq!(rows[2]["actual_output_tokens"], "9", "as wished, not as limited");
        assert!(number(&rows[0], "actual_prompt_tokens").unwrap() >= 100.0);
    }
    let keyed = load(
        &server.url(),
        to(ApiEndpoint::Generate),
        LoadPlan::replay(&RequestTrace { lines, bad: Vec::new() }, 1.0, None, 1),
    )
    .await;
    let keyed = router_load::LoadTest { target: keyed.target.clone().with_api_key("chat").unwrap(), ..keyed };
    let run = router_load::run(keyed, &CancellationToken::new(), |_| {}).await;
    assert_eq!(run.summary.answered, 3, "the key of the server outdoes the names");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_row_has_reason_and_no_latency() {
    for (kind, streams, expected) in [
        (FaultKind::Status, 1.0, "http_5xx"),
        (FaultKind::ResetBeforeFirstByte, 0.0, "broken"),
        (FaultKind::CloseEarly, 1.0, "broken"),
        (FaultKind::NoDone, 1.0, "cut"),
        (FaultKind::Garbage, 0.0, "broken"),
    ] {
        let server = server(SglangVersion::Classic).await;
        server.set_fault(Fault { after_events: 1, ..Fault::new(kind) });
        let run = send(&server.url(), to(ApiEndpoint::Chat), plan(5, streams)).await;
        let kinds: Vec<_> = run.summary.failures.keys().copied().collect();
        assert_eq!((run.summary.failed, kinds), (5, vec![expected]), "{kind:?}");
        for row in rows(&csv_of(&run)) {
            assert_eq!(row["success"], "False");
            assert!(!row["error"].is_empty() && number(&row, "finish_time").is_some());
            for column in ["server_latency", "total_latency", "AVG_LATENCY", "DECODE_THROUGHPUT"] {
                assert_eq!(row[column], "", "{kind:?} {column}");
            }
        }
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_hanging_servers_fail_distinctly() {
    let server = server(SglangVersion::Classic).await;
    let url = server.url();
    server.set_fault(Fault::new(FaultKind::Hang));
    let mut hanging = load(&url, to(ApiEndpoint::Generate), plan(3, 0.0)).await;
    hanging.timeout = std::time::Duration::from_millis(50);
    let run = router_load::run(hanging, &CancellationToken::new(), |_| {}).await;
    assert!(run.outcomes.iter().all(|a| matches!(a.failure, Some(RequestFailure::Timeout(_)))));
    server.shutdown().await;
    let run = send(&url, to(ApiEndpoint::Generate), plan(3, 0.0)).await;
    let row = &rows(&csv_of(&run))[2];
    assert_eq!((&*row["success"], &*row["has_generated_text"], &*row["host"]), ("False", "False", ""));
    assert!(row["error"].contains("cannot connect to 127.0.0.1"), "{}", row["error"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_keeps_outcomes_and_sends_no_more() {
    let server = server(SglangVersion::Classic).await;
    server.set_fault(Fault { count: Some(2), ..Fault::new(FaultKind::Hang) });
    let shape = RandomShape { requests: 500, input_len: 16, output_len: 4, ..RandomShape::default() };
    let plan = LoadPlan::paced(shape.samples(1), ArrivalProcess::Immediate, 1.0, 1);
    let mut load = load(&server.url(), to(ApiEndpoint::Generate), plan).await;
    // Two slots hang; the third sends until ten requests have succeeded.
    load.max_concurrency = NonZeroUsize::new(3);
    let stop = CancellationToken::new();
    let run = router_load::run(load, &stop, |summary| {
        if summary.answered >= 10 {
            stop.cancel();
        }
    })
    .await;
    assert!(run.summary.answered >= 10 && run.outcomes.len() < 500);
    let interrupted = run.outcomes.iter().filter(|a| matches!(a.failure, Some(RequestFailure::Interrupted)));
    assert!(interrupted.count() >= 2);
    assert_eq!(rows(&csv_of(&run)).len(), run.outcomes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn cap_limits_in_flight_requests() {
    let server = server(SglangVersion::Classic).await;
    let shape = RandomShape { requests: 60, input_len: 16, output_len: 4, ..RandomShape::default() };
    let plan = LoadPlan::paced(shape.samples(1), ArrivalProcess::Immediate, 1.0, 1);
    let mut load = load(&server.url(), to(ApiEndpoint::Generate), plan).await;
    load.max_concurrency = NonZeroUsize::new(4);
    let mut most = 0;
    let run = router_load::run(load, &CancellationToken::new(), |s| most = most.max(s.in_flight)).await;
    assert!(most <= 4);
    assert_eq!(run.summary.answered, 60);
    assert!(run.outcomes.iter().all(|a| a.arrival == a.sent && a.lateness.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_arrival_is_kept_while_waiting() {
    let server = server(SglangVersion::Classic).await;
    let plan = plan(20, 1.0);
    let planned: Vec<_> = plan.requests.iter().map(|request| request.at).collect();
    let mut load = load(&server.url(), to(ApiEndpoint::Generate), plan).await;
    load.max_concurrency = NonZeroUsize::new(1);
    let run = router_load::run(load, &CancellationToken::new(), |_| {}).await;
    let arrivals: Vec<_> = run.outcomes.iter().map(|a| a.arrival).collect();
    assert_eq!(arrivals, planned);
    assert!(run.outcomes.windows(2).all(|w| w[1].sent >= w[0].finished), "one at a time");
    assert!(run.outcomes.iter().all(|a| a.lateness.unwrap() <= a.sent - a.arrival));
}

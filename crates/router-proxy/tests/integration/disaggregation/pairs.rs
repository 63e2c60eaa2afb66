//! Both legs of a request: chosen, waited for, counted and left together.

use super::pair::{Pair, code, emulator, json_of};
use crate::support::{RawClient, get, header, post, until, until_metric};
use router_config::Options;
use router_config::PdProtocol;
use router_emulator::{Fault, FaultKind, ServerRole};
use router_proxy::RunningRouter;
use serde_json::json;

#[tokio::test]
async fn retry_dispatches_both_legs_again() {
    for protocol in [PdProtocol::Sglang, PdProtocol::Vllm] {
        let pair = Pair::sized(protocol, (2, 2), |o| {
            o.disable_circuit_breaker = true;
            o.retry_budget = 10.0;
        })
        .await;
        pair.prefill[0].set_fault(Fault { status: 500, ..Fault::new(FaultKind::Status) });
        pair.decode[1].set_fault(Fault::new(FaultKind::ResetBeforeFirstByte));
        for n in 0..12 {
            let request =
                json!({"prompt": format!("{n}"), "max_tokens": 4, "stream": n % 2 == 0}).to_string();
            let answer = post(&pair.router, "/v1/completions", &request).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{protocol:?} {n}: {answer}");
            assert!(n % 2 == 1 || answer.contains("[DONE]"), "{answer}");
        }
        pair.at_rest().await;
    }
}

#[tokio::test]
async fn client_disconnect_cancels_both_legs() {
    for protocol in [PdProtocol::Sglang, PdProtocol::Vllm] {
        let pair = Pair::start(protocol).await;
        // While the prompt is read ...
        pair.prefill[0].set_fault(Fault { factor: 1e6, ..Fault::new(FaultKind::Slow) });
        let mut client = RawClient::connect(&pair.router).await;
        client.post("/v1/completions", r#"{"prompt":"a"}"#).await;
        until(|| pair.prefill[0].stats().in_flight() == 1).await;
        drop(client);
        pair.at_rest().await;
        // ... and while the answer is written.
        let pair = Pair::start(protocol).await;
        let mut client = RawClient::connect(&pair.router).await;
        let long = r#"{"prompt":"a","stream":true,"max_tokens":2000,"ignore_eos":true}"#;
        client.post("/v1/completions", long).await;
        client.see("data: ").await;
        drop(client);
        pair.at_rest().await;
        assert_eq!(pair.decode[0].stats().aborted, 1, "{protocol:?}");
    }
}

#[tokio::test]
async fn pair_holds_permit_and_caps_until_end() {
    type Change = fn(&mut Options);
    let bounds: [(Change, &str, &str); 2] = [
        (|o| o.max_concurrent_requests = 1, "429", "queue_full"),
        (|o| o.worker_max_in_flight = Some(1), "503", "workers_at_capacity"),
    ];
    let long = r#"{"prompt":"a","stream":true,"max_tokens":30000,"ignore_eos":true}"#;
    for (bound, status, why) in bounds {
        for protocol in [PdProtocol::Sglang, PdProtocol::Vllm] {
            let pair = Pair::sized(protocol, (1, 1), |o| {
                bound(o);
                o.queue_size = 1;
            })
            .await;
            let ask = || async {
                let mut client = RawClient::connect(&pair.router).await;
                client.post("/v1/completions", long).await;
                client
            };
            let mut first = ask().await;
            first.see("data: ").await;
            until(|| pair.router.in_flight() == 1).await;
            let mut second = ask().await;
            until_metric(&pair.router, "sgl_router_queued_requests", 1.0).await;
            let third = post(&pair.router, "/v1/completions", long).await;
            assert_eq!((&third[9..12], code(&third).as_str()), (status, why), "{third}");
            assert_eq!(header(&third, "retry-after"), Some("1"));
            assert_eq!(pair.decode[0].stats().received, 1, "{why}: the decode worker is full");
            drop(first);
            second.see("data: ").await;
            drop(second);
            pair.at_rest().await;
        }
    }
}

#[tokio::test]
async fn error_names_the_empty_pool() {
    for (protocol, lost) in [
        (PdProtocol::Sglang, "prefill"),
        (PdProtocol::Sglang, "decode"),
        (PdProtocol::Vllm, "prefill"),
        (PdProtocol::Vllm, "decode"),
    ] {
        let mut pair = Pair::start(protocol).await;
        let gone = if lost == "prefill" { pair.prefill.remove(0) } else { pair.decode.remove(0) };
        gone.shutdown().await;
        // The first request finds out, unless a check was faster.
        let first = post(&pair.router, "/v1/completions", r#"{"prompt":"a"}"#).await;
        assert!(code(&first).contains(lost), "{first}");
        until(|| pair.router.healthy_workers() == 1).await;
        let answer = post(&pair.router, "/v1/completions", r#"{"prompt":"a"}"#).await;
        let expected = ("503", format!("no_healthy_{lost}_worker"));
        assert_eq!((&answer[9..12], code(&answer)), expected, "{answer}");
        assert!(header(&answer, "retry-after").is_some());
        assert!(
            get(&pair.router, "/readiness").await.starts_with("HTTP/1.1 503"),
            "half a fleet is not ready"
        );
        pair.at_rest().await;
    }
}

#[tokio::test]
async fn waiting_for_a_leg_holds_no_worker() {
    let wanted = |o: &mut Options| (o.queue_when_unavailable, o.health_check_interval_secs) = (true, 0.05);
    for protocol in [PdProtocol::Sglang, PdProtocol::Vllm] {
        let pair = Pair::sized(protocol, (1, 1), wanted).await;
        let (path, request) = match protocol {
            PdProtocol::Sglang => ("/generate", r#"{"text":"a","sampling_params":{"max_new_tokens":2}}"#),
            PdProtocol::Vllm => ("/v1/completions", r#"{"prompt":"a","max_tokens":2}"#),
        };
        for side in [&pair.prefill[0], &pair.decode[0]] {
            // Found out by the request itself: it loses its connection, and then waits.
            side.set_fault(Fault { duration_secs: Some(0.3), ..Fault::new(FaultKind::Crash) });
            let answer = post(&pair.router, path, request).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{protocol:?}: {answer}");
            until(|| pair.router.healthy_workers() == 2).await;
        }
        // Known before it comes.
        pair.decode[0].set_fault(Fault::new(FaultKind::Crash));
        let waiting = async { post(&pair.router, path, request).await };
        let then = async {
            until_metric(&pair.router, "sgl_router_waiting_for_worker", 1.0).await;
            until(|| pair.router.in_flight() == 0).await;
            pair.decode[0].clear_fault();
        };
        let (answer, ()) = tokio::join!(waiting, then);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{protocol:?}: {answer}");
        pair.at_rest().await;
    }
}

#[tokio::test]
async fn each_leg_is_counted_recorded_and_traced() {
    let dir = std::env::temp_dir().join(format!("pd-records-{}", std::process::id()));
    let pair = Pair::sized(PdProtocol::Sglang, (1, 1), |o| {
        o.record_dir = Some(dir.clone());
        o.enable_tracking = true;
        o.prefill_policy = Some("random".to_owned());
    })
    .await;
    let answer = post(&pair.router, "/generate", r#"{"text":"a","stream":true}"#).await;
    let id = header(&answer, "x-request-id").unwrap().to_owned();
    pair.prefill[0].set_fault(Fault::new(FaultKind::Status));
    post(&pair.router, "/generate", r#"{"text":"a"}"#).await;
    pair.at_rest().await;
    let trace = json_of(&get(&pair.router, &format!("/v1/traces/{id}")).await);
    let legs: Vec<_> = trace["attempts"].as_array().unwrap().iter().map(|a| a["leg"].clone()).collect();
    assert_eq!(legs, [json!("prefill"), json!("decode")], "{trace}");
    assert_eq!((&trace["status"], &trace["worker_url"]), (&json!("completed"), &json!(pair.decode[0].url())));
    assert_eq!(trace["attempts"][0]["end"]["outcome"], "success");
    let page = get(&pair.router, "/metrics").await;
    for line in [
        r#"sgl_router_pd_requests_total{route="/generate"} 2"#.to_owned(),
        r#"sgl_router_pd_errors_total{route="/generate",error_type="prefill_server_error"} 1"#.to_owned(),
        format!(r#"sgl_router_pd_prefill_requests_total{{worker="{}"}} 2"#, pair.prefill[0].url()),
        format!(r#"sgl_router_pd_prefill_errors_total{{worker="{}"}} 1"#, pair.prefill[0].url()),
        format!(r#"sgl_router_pd_decode_requests_total{{worker="{}"}} 2"#, pair.decode[0].url()),
        format!(
            r#"sgl_router_policy_decisions_total{{policy="random",worker="{}"}} 2"#,
            pair.prefill[0].url()
        ),
        format!(r#"sgl_router_running_requests{{worker="{}"}} 0"#, pair.decode[0].url()),
    ] {
        assert!(page.contains(&line), "{line} is missing: {page}");
    }
    pair.router.shutdown().await;
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2, "a file for each balancer: {files:?}");
    for (file, worker) in files.iter().zip([pair.prefill[0].url(), pair.decode[0].url()]) {
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(text.lines().skip(1).filter(|l| l.contains(&worker)).count(), 4, "{file:?}: {text}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// A request with a body, whatever its method.
async fn send(router: &RunningRouter, line: &str, body: &str) -> String {
    let mut client = RawClient::connect(router).await;
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    client.send(head + body).await;
    client.rest().await
}

#[tokio::test]
async fn workers_of_either_side_come_and_go() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    let (prefill, decode) =
        (emulator(ServerRole::Prefill, 20.0).await, emulator(ServerRole::Decode, 20.0).await);
    let port = prefill.config().bootstrap_port;
    let joins = [
        json!({"url": prefill.url(), "worker_type": "prefill", "bootstrap_port": port}),
        json!({"url": decode.url(), "worker_type": "decode"}),
    ];
    for spec in joins {
        let answer = post(&pair.router, "/workers", &spec.to_string()).await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
    until(|| pair.router.healthy_workers() == 4).await;
    let answer = post(&pair.router, "/workers", r#"{"url":"http://127.0.0.1:1"}"#).await;
    assert!(answer.contains("it must be prefill or decode"), "{answer}");
    let list = json_of(&get(&pair.router, "/workers").await);
    let stats = &list["stats"];
    let counts = ["regular_count", "prefill_count", "decode_count"].map(|kind| stats[kind].as_u64().unwrap());
    assert_eq!(counts, [0, 2, 2], "{list}");
    // The first ones leave, so that only the new ones can answer.
    let first = list["workers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|w| w["url"] == json!(pair.prefill[0].url()))
        .unwrap();
    assert_eq!(
        (&first["worker_type"], &first["bootstrap_port"]),
        (&json!("prefill"), &json!(pair.prefill[0].config().bootstrap_port))
    );
    let answer = send(&pair.router, &format!("DELETE /workers/{}", first["id"].as_str().unwrap()), "").await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let answer = send(&pair.router, &format!("POST /remove_worker?url={}", pair.decode[0].url()), "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    until(|| pair.router.healthy_workers() == 2).await;
    let answer = post(&pair.router, "/generate", r#"{"text":"a"}"#).await;
    assert_eq!(header(&answer, "x-sglang-worker"), Some(decode.url().as_str()), "{answer}");
    assert_eq!(header(&answer, "x-sglang-prefill-worker"), Some(prefill.url().as_str()));
    pair.at_rest().await;
}

//! Prefill and decode apart, against emulated servers that hand prompts over as SGLang and vLLM do.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test")]

mod support;

use router_emulator::{Emulator, EmulatorConfig, Fault, FaultKind, Role, RunningEmulator};
use router_engine::Profile;
use router_proxy::config::PdProtocol;
use router_proxy::{Options, RunningRouter};
use serde_json::{Value, json};
use std::net::SocketAddr;
use support::{RawClient, get, header, post, start, until};

/// An emulated server at `speed` times the pace of an 8B model.
async fn emulator(role: Role, speed: f64) -> RunningEmulator {
    let mut config = EmulatorConfig::new(Profile::named("sglang_8b").unwrap());
    (config.role, config.speed) = (role, speed);
    Emulator::start(config).await.unwrap()
}

/// A router before some prefill and some decode servers.
struct Pair {
    prefill: Vec<RunningEmulator>,
    decode: Vec<RunningEmulator>,
    router: RunningRouter,
}

impl Pair {
    async fn start(protocol: PdProtocol) -> Self {
        Self::sized(protocol, (1, 1), |_| {}).await
    }

    async fn sized(protocol: PdProtocol, (m, n): (usize, usize), change: impl FnOnce(&mut Options)) -> Self {
        let (mut prefill, mut decode) = (Vec::new(), Vec::new());
        for _ in 0..m {
            prefill.push(emulator(Role::Prefill, 20.0).await);
        }
        for _ in 0..n {
            decode.push(emulator(Role::Decode, 20.0).await);
        }
        let mut options = pair_options(&prefill, &decode);
        options.pd_protocol = protocol;
        change(&mut options);
        let router = start(options).await;
        until(|| router.healthy_workers() == m + n).await;
        Self { prefill, decode, router }
    }

    /// Nothing is left anywhere: no seat in the router, no work at a server.
    async fn at_rest(&self) {
        until(|| self.router.in_flight() == 0).await;
        let servers = || self.prefill.iter().chain(&self.decode);
        until(|| servers().all(|s| s.stats().in_flight() == 0)).await;
    }
}

fn pair_options(prefill: &[RunningEmulator], decode: &[RunningEmulator]) -> Options {
    let port = |p: &RunningEmulator| p.config().bootstrap_port.to_string();
    Options {
        pd_disaggregation: true,
        prefill: prefill.iter().flat_map(|p| [p.url(), port(p)]).collect(),
        decode: decode.iter().map(RunningEmulator::url).collect(),
        ..support::options(&[])
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The body of an answer, out of its chunks.
fn unchunked(answer: &str) -> String {
    if header(answer, "transfer-encoding").is_none() {
        return body(answer).to_owned();
    }
    let mut rest = body(answer);
    let mut whole = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").unwrap_or("");
    }
    whole
}

fn json_of(answer: &str) -> Value {
    let text = unchunked(answer);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

/// The events of a stream; `[DONE]` is null.
fn events(answer: &str) -> Vec<Value> {
    let text = unchunked(answer);
    let data = text.lines().filter_map(|l| l.strip_prefix("data: "));
    data.map(|d| if d == "[DONE]" { Value::Null } else { serde_json::from_str(d).unwrap() }).collect()
}

fn code(answer: &str) -> String {
    json_of(answer)["error"]["code"].as_str().unwrap_or("none").to_owned()
}

/// What one server alone answers; its seed is that of the others.
async fn alone(path: &str, request: &str) -> String {
    let whole = emulator(Role::Whole, 20.0).await;
    let options = support::options(&[whole.addr()]);
    let router = support::router(options).await;
    post(&router, path, request).await
}

/// The texts of an answer, whatever its route.
fn texts(value: &Value) -> Vec<String> {
    let list = match value {
        Value::Array(parts) => parts.clone(),
        one if one["choices"].is_array() => one["choices"].as_array().unwrap().clone(),
        one => vec![one.clone()],
    };
    let text =
        |v: &Value| v["text"].as_str().or(v["message"]["content"].as_str()).unwrap_or("none").to_owned();
    list.iter().map(text).collect()
}

const LONG: &str = "word word word word word word word word";

#[tokio::test]
async fn a_pair_answers_as_one_server_would() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    let chat = json!({"messages": [{"role": "user", "content": LONG}], "max_tokens": 9, "ignore_eos": true});
    for (path, request) in [
        ("/generate", json!({"text": LONG, "sampling_params": {"max_new_tokens": 8}})),
        ("/generate", json!({"text": [LONG, "other"], "sampling_params": {"max_new_tokens": 8}})),
        ("/generate", json!({"text": ["one"], "sampling_params": {"max_new_tokens": 3}})),
        ("/generate", json!({"input_ids": [[1, 2], [3, 4, 5]], "sampling_params": {"max_new_tokens": 4}})),
        ("/v1/completions", json!({"prompt": ["a", "b", "c"], "max_tokens": 5, "ignore_eos": true})),
        ("/v1/chat/completions", chat),
    ] {
        let request = request.to_string();
        let answer = post(&pair.router, path, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{request}: {answer}");
        assert_eq!(texts(&json_of(&answer)), texts(&json_of(&alone(path, &request).await)), "{request}");
        assert_eq!(header(&answer, "x-sglang-worker"), Some(pair.decode[0].url().as_str()));
        assert_eq!(header(&answer, "x-sglang-prefill-worker"), Some(pair.prefill[0].url().as_str()));
    }
    pair.at_rest().await;
    let (read, written) = (pair.prefill[0].stats(), pair.decode[0].stats());
    assert_eq!((read.received, written.received), (10, 10), "every part went to both");
    assert_eq!((read.completed, written.completed), (10, 10));
    assert_eq!(
        written.load.prefill_uncached_tokens, 10,
        "of a prompt that was handed over, the last token alone"
    );
}

#[tokio::test]
async fn a_stream_begins_while_its_prefill_is_open_and_ends_whole() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    let request =
        json!({"text": LONG, "stream": true, "sampling_params": {"max_new_tokens": 12, "ignore_eos": true}});
    let answer = post(&pair.router, "/generate", &request.to_string()).await;
    let events = events(&answer);
    assert_eq!(events[events.len() - 2]["meta_info"]["completion_tokens"], 12, "{answer}");
    assert!(events.last().unwrap().is_null());
    let chat =
        json!({"messages": [{"role": "user", "content": "a"}], "stream": true, "max_tokens": 4, "n": 2});
    let answer = post(&pair.router, "/v1/chat/completions", &chat.to_string()).await;
    assert!(answer.contains("data: [DONE]"), "{answer}");
    pair.at_rest().await;
}

#[tokio::test]
async fn logprobs_of_the_prompt_come_from_the_prefill_into_the_answer() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    for prompt in [json!(LONG), json!([LONG, "short"])] {
        let mut request =
            json!({"text": prompt, "return_logprob": true, "sampling_params": {"max_new_tokens": 4}});
        let logprobs = |v: &Value| match v {
            Value::Array(all) => all.iter().map(|a| a["meta_info"]["input_token_logprobs"].clone()).collect(),
            one => vec![one["meta_info"]["input_token_logprobs"].clone()],
        };
        let expected = logprobs(&json_of(&alone("/generate", &request.to_string()).await));
        assert!(expected.iter().all(|e| e.as_array().is_some_and(|l| !l.is_empty())), "{expected:?}");
        let answer = post(&pair.router, "/generate", &request.to_string()).await;
        assert_eq!(logprobs(&json_of(&answer)), expected, "{answer}");
        request["stream"] = json!(true);
        let answer = post(&pair.router, "/generate", &request.to_string()).await;
        let events = events(&answer);
        assert!(events.len() > 1 && events.last().unwrap().is_null(), "{answer}");
        for event in events.iter().filter(|e| !e.is_null()) {
            let part = event["index"].as_u64().unwrap_or(0) as usize;
            assert_eq!(event["meta_info"]["input_token_logprobs"], expected[part]);
        }
    }
    pair.at_rest().await;
}

#[tokio::test]
async fn a_prefill_that_fails_at_once_ends_the_decode_with_it() {
    // The decode server alone would wait 14 s for the prompt, and then blame itself.
    let pair = Pair::start(PdProtocol::Sglang).await;
    for stream in [false, true] {
        let request = json!({"text": "a", "stream": stream}).to_string();
        for (kind, status, expected) in [
            (FaultKind::Status, 500, ("502", "prefill_server_error")),
            (FaultKind::Status, 503, ("503", "prefill_busy")),
            (FaultKind::ResetBeforeFirstByte, 0, ("502", "prefill_server_error")),
            (FaultKind::Garbage, 0, ("502", "prefill_server_error")),
        ] {
            pair.prefill[0].set_fault(Fault { status, ..Fault::new(kind) });
            let answer = post(&pair.router, "/generate", &request).await;
            assert_eq!((&answer[9..12], code(&answer).as_str()), expected, "{answer}");
            assert!(json_of(&answer)["error"]["message"].as_str().unwrap().starts_with("prefill failed: "));
            pair.prefill[0].clear_fault();
            pair.at_rest().await;
            until(|| pair.router.healthy_workers() == 2).await;
        }
    }
}

#[tokio::test]
async fn a_decode_that_fails_at_once_ends_the_prefill_with_it() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    for (kind, status, expected) in [
        (FaultKind::Status, 500, ("502", "decode_server_error")),
        (FaultKind::Status, 503, ("503", "decode_busy")),
        (FaultKind::ResetBeforeFirstByte, 0, ("502", "decode_server_error")),
    ] {
        pair.decode[0].set_fault(Fault { status, ..Fault::new(kind) });
        let answer = post(&pair.router, "/generate", r#"{"text":"a"}"#).await;
        assert_eq!((&answer[9..12], code(&answer).as_str()), expected, "{answer}");
        pair.decode[0].clear_fault();
        // The prefill server holds the prompt for nobody: it is taken back from it.
        pair.at_rest().await;
        until(|| pair.router.healthy_workers() == 2).await;
    }
}

#[tokio::test]
async fn both_legs_are_chosen_anew_where_others_can_do_it() {
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
async fn a_prefill_that_dies_while_it_is_awaited_ends_the_request_at_once() {
    for stream in [false, true] {
        let mut pair = Pair::start(PdProtocol::Sglang).await;
        // So slow that it is still reading when it dies.
        pair.prefill[0].set_fault(Fault { factor: 1e6, ..Fault::new(FaultKind::Slow) });
        let request = json!({"text": "a", "stream": stream}).to_string();
        let mut client = RawClient::connect(&pair.router).await;
        client.post("/generate", &request).await;
        until(|| pair.prefill[0].stats().in_flight() == 1).await;
        pair.prefill.remove(0).shutdown().await;
        let answer = client.see("\"code\":").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(answer.contains("prefill_server_error"), "{answer}");
        pair.at_rest().await;
    }
}

#[tokio::test]
async fn a_decode_that_breaks_off_is_told_to_the_client_in_the_stream() {
    for protocol in [PdProtocol::Sglang, PdProtocol::Vllm] {
        let pair = Pair::start(protocol).await;
        pair.decode[0].set_fault(Fault::new(FaultKind::ResetMidStream));
        let request =
            json!({"prompt": "a", "max_tokens": 50, "ignore_eos": true, "stream": true}).to_string();
        let answer = post(&pair.router, "/v1/completions", &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("worker_cut_answer") && !answer.contains("[DONE]"), "{answer}");
        pair.at_rest().await;
    }
}

#[tokio::test]
async fn a_prefill_that_hangs_is_named_when_the_time_is_up() {
    for protocol in [PdProtocol::Sglang, PdProtocol::Vllm] {
        let pair = Pair::sized(protocol, (1, 1), |o| o.request_timeout_secs = 1).await;
        pair.prefill[0].set_fault(Fault::new(FaultKind::Hang));
        let answer = post(&pair.router, "/v1/completions", r#"{"prompt":"a"}"#).await;
        assert_eq!((&answer[9..12], code(&answer).as_str()), ("504", "prefill_timeout"), "{answer}");
        pair.at_rest().await;
        let failed = support::metric(&pair.router, "sgl_router_pd_prefill_errors_total").await;
        assert_eq!(support::sum(&failed), 1.0, "it is held against the worker");
        let failed = support::metric(&pair.router, "sgl_router_pd_decode_errors_total").await;
        assert_eq!(support::sum(&failed), 0.0, "and not against the other one");
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_both_legs_along() {
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
async fn a_pair_keeps_its_permit_and_its_seats_to_the_end_and_others_wait() {
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
            support::until_metric(&pair.router, "sgl_router_queued_requests", 1.0).await;
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
async fn a_pool_with_nobody_in_it_is_named() {
    for (protocol, lost) in [
        (PdProtocol::Sglang, "prefill"),
        (PdProtocol::Sglang, "decode"),
        (PdProtocol::Vllm, "prefill"),
        (PdProtocol::Vllm, "decode"),
    ] {
        let mut pair = Pair::start(protocol).await;
        let gone = if lost == "prefill" { pair.prefill.remove(0) } else { pair.decode.remove(0) };
        gone.shutdown().await;
        // The first request finds out.
        let first = post(&pair.router, "/v1/completions", r#"{"prompt":"a"}"#).await;
        assert!(code(&first).starts_with(lost), "{first}");
        until(|| pair.router.healthy_workers() == 1).await;
        let answer = post(&pair.router, "/v1/completions", r#"{"prompt":"a"}"#).await;
        let expected = ("503", format!("no_healthy_{lost}_worker"));
        assert_eq!((&answer[9..12], code(&answer)), expected, "{answer}");
        assert!(header(&answer, "retry-after").is_some());
        assert!(get(&pair.router, "/health").await.starts_with("HTTP/1.1 503"), "half a fleet is not ready");
        pair.at_rest().await;
    }
}

#[tokio::test]
async fn a_request_waits_for_a_side_that_has_nobody_and_keeps_nobody_of_the_other() {
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
            support::until_metric(&pair.router, "sgl_router_waiting_for_worker", 1.0).await;
            until(|| pair.router.in_flight() == 0).await;
            pair.decode[0].clear_fault();
        };
        let (answer, ()) = tokio::join!(waiting, then);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{protocol:?}: {answer}");
        pair.at_rest().await;
    }
}

#[tokio::test]
async fn what_only_the_router_may_say_is_refused_and_the_clients_own_mistakes_are_the_engines_to_tell() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    for (request, member) in [
        (r#"{"text":"a","bootstrap_room":1}"#, "bootstrap_room"),
        (r#"{"text":"a","bootstrap_host":"10.0.0.9"}"#, "bootstrap_host"),
        (r#"{"text":"a","kv_transfer_params":{"remote_host":"10.0.0.9"}}"#, "kv_transfer_params"),
        ("[1]", "one JSON object"),
        (r#"{"text":"#, "one JSON object"),
    ] {
        let answer = post(&pair.router, "/generate", request).await;
        assert_eq!((&answer[9..12], code(&answer).as_str()), ("400", "unsplittable_request"), "{answer}");
        assert!(answer.contains(member), "{answer}");
    }
    let huge = post(&pair.router, "/v1/chat/completions", r#"{"messages":[],"n":4000000000}"#).await;
    assert_eq!(code(&huge), "unsplittable_request");
    let answer = post(&pair.router, "/generate", r#"{"sampling_params":{}}"#).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("Either text, input_ids or input_embeds should be provided."), "{answer}");
    pair.at_rest().await;
}

#[tokio::test]
async fn a_vllm_pair_works_one_after_the_other() {
    let pair = Pair::start(PdProtocol::Vllm).await;
    for stream in [false, true] {
        let mut request = json!({"messages": [{"role": "user", "content": LONG}], "max_completion_tokens": 7,
            "ignore_eos": true, "stream": stream});
        if stream {
            request["stream_options"] = json!({"include_usage": true});
        }
        let request = request.to_string();
        let answer = post(&pair.router, "/v1/chat/completions", &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        if stream {
            let events = events(&answer);
            assert_eq!(events[events.len() - 2]["usage"]["completion_tokens"], 7, "{answer}");
        } else {
            let whole = alone("/v1/chat/completions", &request).await;
            assert_eq!(texts(&json_of(&answer)), texts(&json_of(&whole)));
            assert!(json_of(&answer)["kv_transfer_params"].is_null(), "the client has no part in it");
        }
    }
    for (kind, expected) in [
        (FaultKind::Status, ("502", "prefill_server_error")),
        (FaultKind::CloseEarly, ("502", "prefill_server_error")),
    ] {
        pair.prefill[0].set_fault(Fault::new(kind));
        let answer = post(&pair.router, "/v1/completions", r#"{"prompt":"a"}"#).await;
        assert_eq!((&answer[9..12], code(&answer).as_str()), expected, "{answer}");
        pair.prefill[0].clear_fault();
        until(|| pair.router.healthy_workers() == 2).await;
    }
    pair.at_rest().await;
    let (read, written) = (pair.prefill[0].stats(), pair.decode[0].stats());
    assert_eq!(
        (read.output_tokens, written.completed),
        (read.completed, 2),
        "the prefill stops after one token"
    );
    assert_eq!(written.load.prefill_uncached_tokens, 2, "of a prompt that was fetched, the last token alone");
}

#[tokio::test]
async fn other_requests_go_to_a_decode_worker_as_they_are() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    let answer = post(&pair.router, "/tokenize", r#"{"prompt":"a b c"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(header(&answer, "x-sglang-worker"), Some(pair.decode[0].url().as_str()));
    assert_eq!(header(&answer, "x-sglang-prefill-worker"), None);
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

#[tokio::test]
async fn both_legs_see_the_same_request_and_meet_in_a_room_of_their_own() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let worker = |name: &'static str| {
        let seen = seen.clone();
        support::worker(move |mut incoming: support::Incoming| {
            let seen = seen.clone();
            async move {
                let body = String::from_utf8(std::mem::take(&mut incoming.body)).unwrap();
                incoming.send_json(r#"{"text":"a","meta_info":{"completion_tokens":1}}"#).await;
                let header = |name| incoming.header(name).unwrap_or_default().to_owned();
                let _ = seen.send((name, [header("x-request-id"), header("authorization")], body));
            }
        })
    };
    let (prefill, decode): (SocketAddr, SocketAddr) = (worker("prefill").await, worker("decode").await);
    let router = start(Options {
        pd_disaggregation: true,
        prefill: vec![format!("http://{prefill} 8998")],
        decode: vec![format!("http://{decode}")],
        worker_api_key: Some("usual".to_owned().into()),
        ..support::options(&[])
    })
    .await;
    until(|| router.healthy_workers() == 2).await;
    let asked = r#"{"odd" :	[1 ,2], "text":"h\u00e9"}"#;
    let mut rooms = std::collections::HashSet::new();
    for _ in 0..3 {
        post(&router, "/generate", asked).await;
        let (first, second) = (requests.recv().await.unwrap(), requests.recv().await.unwrap());
        assert_ne!(first.0, second.0, "one each");
        assert_eq!((&first.1, &first.2), (&second.1, &second.2), "one id, one key, one body");
        assert_eq!(first.1[1], "Bearer usual");
        assert!(first.2.starts_with(asked.trim_end_matches('}')), "{}", first.2);
        let body: Value = serde_json::from_str(&first.2).unwrap();
        assert_eq!((&body["bootstrap_host"], &body["bootstrap_port"]), (&json!("127.0.0.1"), &json!(8998)));
        let room = body["bootstrap_room"].as_u64().unwrap();
        assert!(room <= i64::MAX as u64 && rooms.insert(room));
    }
}

/// A request with a body, whatever its method.
async fn send(router: &RunningRouter, line: &str, body: &str) -> String {
    let mut client = RawClient::connect(router).await;
    let length = body.len();
    let head =
        format!("{line} HTTP/1.1\r\nhost: router\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    client.send(head + body).await;
    client.rest().await
}

#[tokio::test]
async fn workers_of_either_side_come_and_go() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    let (prefill, decode) = (emulator(Role::Prefill, 20.0).await, emulator(Role::Decode, 20.0).await);
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

/// A router before one prefill and one decode worker whose every byte the test decides.
async fn by_hand(prefill: SocketAddr, decode: SocketAddr) -> RunningRouter {
    let router = start(Options {
        pd_disaggregation: true,
        prefill: vec![format!("http://{prefill}")],
        decode: vec![format!("http://{decode}")],
        ..support::options(&[])
    })
    .await;
    until(|| router.healthy_workers() == 2).await;
    router
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";

#[tokio::test]
async fn a_prefill_that_breaks_off_late_ends_a_batch_and_spares_a_single_prompt() {
    for (request, survives) in
        [(r#"{"text":["a","b"],"stream":true}"#, false), (r#"{"text":"a","stream":true}"#, true)]
    {
        let begun = std::sync::Arc::new(tokio::sync::Notify::new());
        let (seen, broken) = (begun.clone(), std::sync::Arc::new(tokio::sync::Notify::new()));
        let told = broken.clone();
        let prefill = support::worker(move |mut incoming: support::Incoming| {
            let (seen, told) = (seen.clone(), told.clone());
            async move {
                incoming.send(EVENTS).await;
                seen.notified().await;
                drop(incoming);
                told.notify_one();
            }
        })
        .await;
        let decode = support::worker(move |mut incoming: support::Incoming| {
            let broken = broken.clone();
            async move {
                incoming.send(EVENTS).await;
                broken.notified().await;
                if survives {
                    incoming.send("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await;
                }
                incoming.closed().await;
            }
        })
        .await;
        let router = by_hand(prefill, decode).await;
        let mut client = RawClient::connect(&router).await;
        client.post("/generate", request).await;
        client.see("data: 1").await;
        assert_eq!(router.in_flight(), 2, "either leg has a seat");
        begun.notify_one();
        if survives {
            client.see("[DONE]").await;
        } else {
            let answer = client.rest().await;
            assert!(answer.contains("prefill_server_error") && !answer.contains("[DONE]"), "{answer}");
        }
        until(|| router.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn a_prefill_that_gave_up_inside_a_200_is_noticed() {
    let abort = r#"{"text":"","meta_info":{"id":"a","finish_reason":{"type":"abort","message":"KVTransferError"},"completion_tokens":0}}"#;
    let prefill =
        support::worker(
            move |mut incoming: support::Incoming| async move { incoming.send_json(abort).await },
        )
        .await;
    let decode =
        support::worker(|mut incoming: support::Incoming| async move { incoming.closed().await }).await;
    let router = by_hand(prefill, decode).await;
    let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
    assert_eq!((&answer[9..12], code(&answer).as_str()), ("502", "prefill_server_error"), "{answer}");
    assert!(answer.contains("gave the request up") && !answer.contains("KVTransferError"), "{answer}");
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn an_engine_never_sees_one_rid_twice() {
    let pair = Pair::sized(PdProtocol::Sglang, (3, 2), |o| {
        o.retry_budget = 10.0;
        o.enable_tracking = true;
    })
    .await;
    pair.prefill.iter().for_each(|p| p.set_fault(Fault::new(FaultKind::Status)));
    for (request, tries) in [(r#"{"text":"a"}"#, 3), (r#"{"text":"a","rid":"mine"}"#, 2)] {
        let answer = post(&pair.router, "/generate", request).await;
        assert_eq!(code(&answer), "prefill_server_error", "{answer}");
        pair.at_rest().await;
        let id = header(&answer, "x-request-id").unwrap();
        let trace = json_of(&get(&pair.router, &format!("/v1/traces/{id}")).await);
        let attempts = trace["attempts"].as_array().unwrap();
        let decodes: Vec<_> =
            attempts.iter().filter(|a| a["leg"] == "decode").map(|a| a["worker_url"].to_string()).collect();
        let different: std::collections::HashSet<_> = decodes.iter().collect();
        assert_eq!((decodes.len(), different.len()), (tries, 2), "{trace}");
    }
}

#[test]
fn half_a_setup_is_refused_by_name() {
    let refused = |change: fn(&mut Options)| {
        let mut options = Options {
            pd_disaggregation: true,
            prefill: vec![
                "http://a:1".into(),
                "9000".into(),
                "http://b:1".into(),
                "none".into(),
                "http://c:1".into(),
            ],
            decode: vec!["http://d:1".into()],
            ..Options::default()
        };
        change(&mut options);
        options.check(&router_core::Registry::builtin()).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(|_| {}), "");
    for (change, start) in [
        ((|o| o.pd_disaggregation = false) as fn(&mut Options), "--prefill: needs --pd-disaggregation"),
        (|o| o.prefill.clear(), "--prefill: no worker is given"),
        (|o| o.decode.clear(), "--decode: no worker is given"),
        (
            |o| o.prefill = vec!["http://a:1".into(), "70000".into()],
            "--prefill: '70000' is neither a port nor none",
        ),
        (|o| o.prefill = vec!["9000".into()], "--prefill: worker URL '9000'"),
        (|o| o.decode.push("http://d:1/".into()), "--decode: worker 'http://d:1' is given twice"),
        (|o| o.decode.push("http://b:1".into()), "--decode: worker 'http://b:1' cannot do both"),
        (|o| o.worker_urls = vec!["http://e:1".into()], "--worker-urls: goes not with --pd-disaggregation"),
        (|o| o.hedge_after = Some("1s".into()), "--hedge-after: goes not with --pd-disaggregation"),
        (|o| o.dp_aware = true, "--dp-aware: goes not with --pd-disaggregation"),
        (|o| o.prefill_policy = Some("nonsense".into()), "--policy: "),
    ] {
        let error = refused(change);
        assert!(error.starts_with(start), "{error}");
    }
}

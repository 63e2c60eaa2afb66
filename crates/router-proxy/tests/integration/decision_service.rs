//! `/v1/route`: requests that are routed here and carried by another proxy.

use crate::support::{body, get, metric, options, post, router, sum, until, worker};
use router_config::{Options, Secret};
use router_proxy::RunningRouter;
use serde_json::Value;
use std::net::SocketAddr;

const CHAT: &str = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":8}"#;

/// A worker that gets no request: others carry them.
async fn idle_worker() -> SocketAddr {
    worker(|incoming| async move { panic!("the router sent {}", incoming.head) }).await
}

async fn idle_workers(count: usize) -> Vec<SocketAddr> {
    let mut workers = Vec::new();
    for _ in 0..count {
        workers.push(idle_worker().await);
    }
    workers
}

async fn route(router: &RunningRouter, request: &str) -> Value {
    let answer = post(router, "/v1/route", request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    body(&answer)
}

async fn tell(router: &RunningRouter, token: &Value, event: &str) -> String {
    post(router, &format!("/v1/route/{}", token.as_str().unwrap()), event).await
}

fn code(answer: &str) -> String {
    let status = answer.split(' ').nth(1).unwrap().to_owned();
    format!("{status} {}", body(answer)["error"]["code"].as_str().unwrap())
}

#[tokio::test]
async fn routed_request_is_in_flight_until_its_end_is_told() {
    let workers = idle_workers(3).await;
    let router = router(Options { enable_tracking: true, ..options(&workers) }).await;
    let routed = route(&router, CHAT).await;
    assert_eq!(routed["reason"], "rotation");
    let mut named: Vec<_> = routed["fallbacks"].as_array().unwrap().clone();
    named.push(routed["worker"].clone());
    named.sort_by_key(ToString::to_string);
    let mut urls: Vec<_> = workers.iter().map(|a| Value::from(format!("http://{a}"))).collect();
    urls.sort_by_key(ToString::to_string);
    assert_eq!(named, urls, "the fallbacks are the others, each once");
    assert_eq!(router.in_flight(), 1);
    assert!(tell(&router, &routed["token"], r#"{"event":"first_token"}"#).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(router.in_flight(), 1);
    let finished = r#"{"event":"finished","status":200,"usage":{"prompt_tokens":12,"completion_tokens":7}}"#;
    assert!(tell(&router, &routed["token"], finished).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(router.in_flight(), 0);
    let id = routed["request_id"].as_str().unwrap();
    let trace = router.trace(id).await.unwrap().expect("it is recorded as any request").to_string();
    assert!(trace.contains("\"completed\"") && trace.contains('7'), "{trace}");
    assert_eq!(code(&tell(&router, &routed["token"], finished).await), "404 unknown_route_token");
}

#[tokio::test]
async fn unheard_route_expires() {
    let options = options(&idle_workers(1).await);
    let router = router(Options { route_lease_timeout_secs: Some(0.05), ..options }).await;
    let routed = route(&router, CHAT).await;
    assert_eq!(routed["expires_in_secs"], 0.05);
    until(|| router.in_flight() == 0).await;
    assert_eq!(
        code(&tell(&router, &routed["token"], r#"{"event":"first_token"}"#).await),
        "404 unknown_route_token"
    );
}

#[tokio::test]
async fn fallback_that_serves_takes_the_lease() {
    let workers = idle_workers(2).await;
    let router = router(options(&workers)).await;
    let routed = route(&router, CHAT).await;
    let fallback = routed["fallbacks"][0].as_str().unwrap();
    let event = format!(r#"{{"event":"first_token","worker":"{fallback}"}}"#);
    tell(&router, &routed["token"], &event).await;
    let all = body(&get(&router, "/workers").await);
    let loads = all["workers"].as_array().unwrap().iter().map(|w| (w["url"].clone(), w["load"].clone()));
    for (url, load) in loads {
        assert_eq!(load, u32::from(url == fallback), "{url} of {all}");
    }
    assert_eq!(sum(&metric(&router, "sgl_router_retries_total").await), 1.0);
    tell(&router, &routed["token"], r#"{"event":"finished"}"#).await;
    assert_eq!(router.in_flight(), 0);
}

#[tokio::test]
async fn features_stand_for_a_body() {
    let router = router(options(&idle_workers(2).await)).await;
    let request = r#"{"features":{"prompt_tokens":900,"model":"m","stream":true,"max_tokens":5,"key":"u"}}"#;
    let routed = route(&router, request).await;
    tell(&router, &routed["token"], r#"{"event":"finished","outcome":"cancelled"}"#).await;
    assert_eq!(router.in_flight(), 0);
    let answer = post(&router, "/v1/route?path=/v1/embeddings&fallbacks=0", r#"{"input":"a"}"#).await;
    assert_eq!(body(&answer)["fallbacks"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn invalid_requests_are_told_what_is_wrong() {
    let router = router(options(&idle_workers(1).await)).await;
    let routed = route(&router, CHAT).await;
    let event = format!("/v1/route/{}", routed["token"].as_str().unwrap());
    for (path, request, culprit) in [
        ("/v1/route", r#"{"input":"a"}"#, "?path="),
        ("/v1/route?path=chat", CHAT, "'chat'"),
        ("/v1/route?paths=/a", CHAT, "'paths'"),
        ("/v1/route?fallbacks=many", CHAT, "'many'"),
        (&event, r#"{"event":"begun"}"#, "begun"),
        (&event, "[]", "first_token"),
        (&event, r#"{"event":"finished","status":7}"#, "status"),
    ] {
        let answer = post(&router, path, request).await;
        assert_eq!(code(&answer), "400 invalid_route_request", "{path} {request}");
        assert!(answer.contains(culprit), "{answer}");
    }
    assert_eq!(router.in_flight(), 1, "an event that is not understood ends nothing");
}

#[tokio::test]
async fn full_fleet_and_empty_fleet_answer_as_the_proxy_does() {
    let one = options(&idle_workers(1).await);
    let full = Options { worker_max_in_flight: Some(1), queue_timeout_secs: 0.02, ..one };
    let full = router(full).await;
    let first = route(&full, CHAT).await;
    assert_eq!(code(&post(&full, "/v1/route", CHAT).await), "503 workers_at_capacity");
    tell(&full, &first["token"], r#"{"event":"finished","status":200}"#).await;
    route(&full, CHAT).await;
    let empty = router(Options { start_empty: true, ..options(&[]) }).await;
    assert_eq!(code(&post(&empty, "/v1/route", CHAT).await), "503 no_healthy_worker");
}

#[tokio::test]
async fn route_needs_the_key_of_a_client() {
    let key = Some(Secret::from("secret".to_owned()));
    let router = router(Options { api_key: key, ..options(&idle_workers(1).await) }).await;
    assert_eq!(code(&post(&router, "/v1/route", CHAT).await), "401 invalid_api_key");
}

/// Everything by which it shows that a request was routed.
async fn traces_of_requests(router: &RunningRouter) -> (u64, Value, String) {
    let metrics = get(router, "/metrics").await;
    let counted =
        |line: &&str| !line.starts_with('#') && (line.contains("_total") || line.contains("_count"));
    let counts: Vec<_> = metrics
        .lines()
        .filter(counted)
        .filter(|line| !line.contains("process") && !line.contains("check"))
        .collect();
    (router.in_flight(), body(&get(router, "/v1/traces").await), counts.join("\n"))
}

#[tokio::test]
async fn dry_run_tells_where_a_request_would_go_and_leaves_no_trace() {
    let workers = idle_workers(3).await;
    for policy in ["round_robin", "marginal_cost", "power_of_two"] {
        let router =
            router(Options { enable_tracking: true, policy: policy.to_owned(), ..options(&workers) }).await;
        let before = traces_of_requests(&router).await;
        let ask = || async { body(&post(&router, "/v1/route?dry_run=true", CHAT).await) };
        let first = ask().await;
        for _ in 0..4 {
            assert_eq!(ask().await["worker"], first["worker"], "{policy}: it is always the next request's");
        }
        assert_eq!(traces_of_requests(&router).await, before, "{policy}");
        assert_eq!(
            route(&router, CHAT).await["worker"],
            first["worker"],
            "{policy}: the next one goes there"
        );
        assert_eq!(first["token"], Value::Null, "nothing is to be told of it");
        assert_eq!(first["policy"], policy);
        let scores = first["scores"].as_array().unwrap();
        if policy == "marginal_cost" {
            assert_eq!(scores.len(), 3, "every candidate: {first}");
            assert!(scores.iter().all(|score| score["terms"]["own_latency"].is_number()), "{first}");
        }
    }
}

#[tokio::test]
async fn dry_run_finds_no_worker_where_a_request_would_not() {
    let one = options(&idle_workers(1).await);
    let full = router(Options { worker_max_in_flight: Some(1), ..one }).await;
    route(&full, CHAT).await;
    assert_eq!(code(&post(&full, "/v1/route?dry_run=true", CHAT).await), "503 workers_at_capacity");
    let empty = router(Options { start_empty: true, ..options(&[]) }).await;
    assert_eq!(code(&post(&empty, "/v1/route?dry_run=true", CHAT).await), "503 no_healthy_worker");
    assert_eq!(code(&post(&empty, "/v1/route?dry_run=maybe", CHAT).await), "400 invalid_route_request");
}

//! A [`router_proxy::RoutingService`]: what is learned of a request that others carry is what is learned of one that the router
//! carries.

use crate::support::{options, post, router, until, worker};
use http::{HeaderName, HeaderValue, Request, Response};
use router_config::Options;
use router_proxy::{RouteBody, RouteRequest, RoutedRequest, RunningRouter};
use serde_json::Value;
use std::net::SocketAddr;

const PATH: &str = "/v1/chat/completions";
const CHAT: &str = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":8}"#;
const ANSWER: &str =
    include_str!("../../../router-protocol/tests/data/sglang-0.5.23-metrics/chat.response.body");

async fn answering_worker() -> SocketAddr {
    worker(|mut incoming| async move { incoming.send_json(ANSWER).await }).await
}

fn request(id: &'static str, subset: Option<Vec<String>>) -> RouteRequest {
    let head = Request::post(PATH).header("x-request-id", id).body(()).unwrap().into_parts().0;
    RouteRequest { head, body: RouteBody::Whole(CHAT.into()), subset, fallbacks: 2 }
}

async fn route(router: &RunningRouter, id: &'static str) -> RoutedRequest {
    router.routing().route(request(id, None)).await.unwrap()
}

fn head(status: u16) -> http::response::Parts {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(HeaderName::from_static("content-type"), json);
    response.into_parts().0
}

async fn trace(router: &RunningRouter, id: &str) -> Value {
    router.trace(id).await.unwrap().unwrap_or_else(|| panic!("{id} was not recorded"))
}

/// What a trace says but for names and times.
fn facts(trace: &Value) -> Vec<String> {
    let measured = ["_at", "_ms", "_time", "_latency", "timestamp", "request_id"];
    let is_fact = |name: &str| !measured.iter().any(|end| name.ends_with(end));
    let mut facts = Vec::new();
    let mut open = vec![(String::new(), trace)];
    while let Some((name, value)) = open.pop() {
        match value {
            Value::Object(members) => open.extend(members.iter().map(|(k, v)| (format!("{name}.{k}"), v))),
            Value::Array(items) => open.extend(items.iter().map(|v| (name.clone(), v))),
            value if is_fact(&name) => facts.push(format!("{name}={value}")),
            _ => {}
        }
    }
    facts.sort();
    facts
}

#[tokio::test]
async fn same_is_learned_of_a_request_whoever_carries_it() {
    let router = router(Options { enable_tracking: true, ..options(&[answering_worker().await]) }).await;
    let mut carried = route(&router, "carried").await;
    carried.response_started(&head(200));
    let half = ANSWER.len() / 2;
    carried.response_data(&ANSWER[..half].into());
    carried.response_data(&ANSWER[half..].into());
    carried.response_ended();
    let own = post(&router, PATH, CHAT).await;
    let id = crate::support::header(&own, "x-request-id").unwrap();
    until(|| router.in_flight() == 0).await;
    let (carried, own) = (facts(&trace(&router, "carried").await), facts(&trace(&router, id).await));
    assert!(carried.iter().any(|fact| fact.contains("tokens") && !fact.ends_with("null")), "{carried:?}");
    assert_eq!(carried, own);
}

#[tokio::test]
async fn dropped_request_is_cancelled() {
    let router = router(Options { enable_tracking: true, ..options(&[answering_worker().await]) }).await;
    drop(route(&router, "before").await);
    let mut begun = route(&router, "after").await;
    begun.response_started(&head(200));
    begun.response_data(&ANSWER[..10].into());
    assert_eq!(router.in_flight(), 1);
    drop(begun);
    assert_eq!(router.in_flight(), 0);
    for id in ["before", "after"] {
        assert!(trace(&router, id).await.to_string().contains("cancelled"), "{id}");
    }
}

#[tokio::test]
async fn subset_alone_is_chosen_from() {
    let workers = [answering_worker().await, answering_worker().await, answering_worker().await];
    let router = router(options(&workers)).await;
    let subset: Vec<_> = workers[1..].iter().map(ToString::to_string).collect();
    for _ in 0..4 {
        let routed = router.routing().route(request("a", Some(subset.clone()))).await.unwrap();
        let chosen = routed.worker().unwrap();
        assert!(subset.contains(&format!("{}:{}", chosen.host, chosen.port)), "{chosen:?}");
        assert_eq!(routed.fallbacks().len(), 1, "fallbacks are of the subset, too");
    }
    for none in [Vec::new(), vec!["10.9.8.7:1".to_owned()]] {
        let error = router.routing().route(request("a", Some(none))).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (503, "no_healthy_worker"));
    }
    assert_eq!(router.in_flight(), 0);
}

#[tokio::test]
async fn busy_worker_cools_down() {
    let workers = [answering_worker().await, answering_worker().await];
    let router = router(options(&workers)).await;
    let mut first = route(&router, "a").await;
    let busy = first.worker().unwrap();
    first.response_started(&head(503));
    first.response_ended();
    for _ in 0..3 {
        assert_ne!(route(&router, "b").await.worker().unwrap(), busy);
    }
}

#[tokio::test]
async fn worker_that_was_passed_over_has_failed() {
    let workers = [answering_worker().await, answering_worker().await];
    let router = router(Options { enable_tracking: true, ..options(&workers) }).await;
    let mut routed = route(&router, "moved").await;
    let fallback = routed.fallbacks()[0].clone();
    routed.served_by(&fallback.url);
    assert_eq!(routed.worker().unwrap(), fallback);
    assert_eq!(router.in_flight(), 1);
    routed.response_started(&head(200));
    routed.response_ended();
    assert_eq!(router.in_flight(), 0);
    assert!(trace(&router, "moved").await.to_string().contains("worker_passed_over"));
}

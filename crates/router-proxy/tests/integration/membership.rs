//! Workers come and go while requests run.

use crate::support::{RawClient, get, metric, options, post, router, until, worker, worker_behind};
use std::sync::Arc;
use tokio::sync::Notify;

#[tokio::test]
async fn removed_worker_leaves_no_series() {
    let gate = Arc::new(Notify::new());
    let slow = worker_behind(&gate, r#"{"from":"slow"}"#).await;
    let other = worker(|mut incoming| async move { incoming.send_json(r#"{"from":"other"}"#).await }).await;
    let router = router(options(&[slow])).await;
    let mut client = RawClient::connect(&router).await;
    client.post("/generate", r#"{"text":"a"}"#).await;
    until(|| router.in_flight() == 1).await;
    assert!(post(&router, &format!("/add_worker?url=http://{other}"), "").await.starts_with("HTTP/1.1 200 "));
    until(|| router.healthy_workers() == 2).await;
    let answer = post(&router, &format!("/remove_worker?url=http://{slow}"), "").await;
    assert!(answer.ends_with(&format!(r#"{{"urls":["http://{other}"]}}"#)), "{answer}");
    for _ in 0..4 {
        assert!(
            post(&router, "/generate", "{}").await.ends_with(r#"{"from":"other"}"#),
            "a leaving worker was chosen"
        );
    }
    let series = |samples: Vec<(String, f64)>| samples.iter().any(|(l, _)| l.contains(&slow.to_string()));
    assert!(series(metric(&router, "sgl_router_policy_decisions_total").await), "its request still runs");
    gate.notify_one();
    assert!(client.see("slow").await.contains(r#"{"from":"slow"}"#));
    let gone = async {
        while series(metric(&router, "sgl_router_").await) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, gone).await.expect("a series outlives its worker");
}

#[tokio::test]
async fn url_can_rejoin() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(options(&[address])).await;
    let url = format!("url=http://{address}");
    for _ in 0..5 {
        assert!(post(&router, &format!("/remove_worker?{url}"), "").await.starts_with("HTTP/1.1 200 "));
        assert!(post(&router, &format!("/add_worker?{url}"), "").await.starts_with("HTTP/1.1 200 "));
        until(|| router.healthy_workers() == 1).await;
        assert!(post(&router, "/generate", "{}").await.starts_with("HTTP/1.1 200 "));
    }
    let again = post(&router, &format!("/add_worker?{url}"), "").await;
    assert!(again.starts_with("HTTP/1.1 400 ") && again.contains("in the fleet already"), "{again}");
    let absent = post(&router, "/remove_worker?url=http://127.0.0.1:1", "").await;
    assert!(absent.starts_with("HTTP/1.1 404 ") && absent.contains("http://127.0.0.1:1"), "{absent}");
    for bad in ["/add_worker", "/add_worker?url=nonsense"] {
        assert!(post(&router, bad, "").await.starts_with("HTTP/1.1 400 "), "{bad}");
    }
    assert!(get(&router, "/list_workers").await.ends_with(&format!(r#"{{"urls":["http://{address}"]}}"#)));
}

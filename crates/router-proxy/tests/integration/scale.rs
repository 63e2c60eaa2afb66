//! The figures from which a fleet is scaled.

use crate::support::{get, options, post, router, worker};
use serde_json::Value;

fn body(response: &str) -> Value {
    serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn unknown_figures_have_a_reason_and_no_sample() {
    let busy = worker(|mut incoming| async move {
        incoming.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    });
    let router = router(options(&[busy.await])).await;
    assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
    let answer = body(&get(&router, "/v1/scale").await);
    let pool = &answer["pools"][0];
    assert_eq!((&pool["pool"], &pool["workers"]), (&"main".into(), &1.into()));
    for name in ["saturation", "workers_needed", "worker_capacity", "arrival_rate", "arrival_rate_forecast"] {
        assert_eq!(pool[name]["value"], Value::Null, "{name}: {pool}");
        assert!(pool[name]["reason"].as_str().unwrap().starts_with("unknown: "), "{name}: {pool}");
    }
    assert_eq!(pool["queue_age"]["value"], 0.0);
    let page = get(&router, "/metrics").await;
    assert!(page.contains(r#"sgl_router_scale_queue_age_seconds{pool="main"} 0.0"#), "{page}");
    assert!(!page.contains("sgl_router_scale_saturation"), "{page}");
}

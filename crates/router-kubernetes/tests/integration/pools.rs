//! Workers that are the members of an InferencePool.

use super::api_server::{ApiServer, Gone};
use super::objects::{inference_pool, pod};
use super::watcher::{Discovery, FAST, config};
use router_config::DiscoveryConfig;

const POOLS: &str = "inferencepools";

fn of_pool(server: &ApiServer) -> Discovery {
    let config = DiscoveryConfig { pods: Vec::new(), pool: Some("llama".to_owned()), ..config("") };
    Discovery::start_with(server, config, FAST)
}

/// The URLs of the workers, by UID.
fn urls(discovery: &Discovery) -> Vec<(String, String)> {
    let workers = discovery.told.workers.lock();
    workers.iter().map(|(uid, worker)| (uid.clone(), worker.url.clone())).collect()
}

fn named(urls: &[(&str, &str)]) -> Vec<(String, String)> {
    urls.iter().map(|(uid, url)| ((*uid).to_owned(), (*url).to_owned())).collect()
}

#[tokio::test]
async fn members_are_the_pods_of_the_pool() {
    let server = ApiServer::start().await;
    server.put_pod(&pod("a", "uid-a", "10.0.0.1"));
    server.put_pod(&pod("b", "uid-b", "10.0.0.2").label("app", "other"));
    server.put(POOLS, inference_pool("other", "other", &[8000]));
    server.put(POOLS, inference_pool("llama", "sglang", &[8000]));
    let discovery = of_pool(&server);
    discovery.until_workers(&["uid-a"]).await;
    assert_eq!(urls(&discovery), named(&[("uid-a", "http://10.0.0.1:8000")]));
    server.put_pod(&pod("c", "uid-c", "10.0.0.3"));
    discovery.until_workers(&["uid-a", "uid-c"]).await;
    server.put_pod(&pod("c", "uid-c", "10.0.0.3").terminating());
    discovery.until_workers(&["uid-a"]).await;
}

#[tokio::test]
async fn pool_may_come_change_and_go() {
    let server = ApiServer::start().await;
    server.put_pod(&pod("a", "uid-a", "10.0.0.1"));
    server.put_pod(&pod("b", "uid-b", "10.0.0.2").label("app", "other"));
    server.put_pod(&pod("c", "uid-c", "10.0.0.3").label("tier", "x"));
    let discovery = of_pool(&server);
    discovery.until("the pool was asked for", |_| server.asked().0 > 0).await;
    assert_eq!(urls(&discovery), []);
    server.put(POOLS, inference_pool("llama", "sglang", &[8000]));
    discovery.until_workers(&["uid-a", "uid-c"]).await;
    // A member of both selectors is not told to drain between them.
    let mut narrow = inference_pool("llama", "sglang", &[8000]);
    narrow["spec"]["selector"]["matchLabels"]["tier"] = "x".into();
    server.put(POOLS, narrow);
    discovery.until_workers(&["uid-c"]).await;
    assert_eq!(discovery.told.history.lock().iter().filter(|change| change.contains("uid-c")).count(), 1);
    server.put(POOLS, inference_pool("llama", "other", &[8000]));
    discovery.until_workers(&["uid-b"]).await;
    server.delete(POOLS, "llama");
    discovery.until_workers(&[]).await;
    server.put(POOLS, inference_pool("llama", "other", &[8000]));
    discovery.until_workers(&["uid-b"]).await;
}

#[tokio::test]
async fn each_port_is_a_worker() {
    let server = ApiServer::start().await;
    server.put_pod(&pod("a", "uid-a", "10.0.0.1"));
    server.put(POOLS, inference_pool("llama", "sglang", &[8000, 8001]));
    let discovery = of_pool(&server);
    let both = [("uid-a", "http://10.0.0.1:8000"), ("uid-a:8001", "http://10.0.0.1:8001")];
    discovery.until_workers(&["uid-a", "uid-a:8001"]).await;
    assert_eq!(urls(&discovery), named(&both));
    server.put_pod(&pod("a", "uid-a", "10.0.0.1").ready("False"));
    discovery.until("both are not ready", |workers| workers.values().all(|w| w.problem.is_some())).await;
    server.put(POOLS, inference_pool("llama", "sglang", &[8000]));
    discovery.until_workers(&["uid-a"]).await;
    server.delete("pods", "a");
    discovery.until_workers(&[]).await;
}

#[tokio::test]
async fn unusable_pool_and_absent_server_change_nothing() {
    let server = ApiServer::start().await;
    server.put_pod(&pod("a", "uid-a", "10.0.0.1"));
    server.put(POOLS, inference_pool("llama", "sglang", &[8000]));
    let discovery = of_pool(&server);
    discovery.until_workers(&["uid-a"]).await;
    server.put(POOLS, inference_pool("llama", "sglang", &[]));
    server.put_pod(&pod("b", "uid-b", "10.0.0.2"));
    discovery.until_workers(&["uid-a", "uid-b"]).await;
    server.compact(Gone::Event);
    server.set_down(true);
    server.put(POOLS, inference_pool("llama", "other", &[8000]));
    server.put_pod(&pod("c", "uid-c", "10.0.0.3").label("app", "other"));
    assert_eq!(urls(&discovery).len(), 2);
    server.set_down(false);
    discovery.until_workers(&["uid-c"]).await;
}

//! A real router over emulated servers that an API server calls pods.

use super::api_server::ApiServer;
use super::objects::{TestPod, pod};
use router_config::Options;
use router_core::Registry;
use router_emulator::{Emulator, EmulatorConfig, RunningEmulator};
use router_engine::EngineProfile;
use router_proxy::{Router, RunningRouter};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A hang is a failure; no test needs nearly this long.
const PATIENCE: Duration = Duration::from_secs(40);

struct Cluster {
    api: ApiServer,
    router: RunningRouter,
    _folder: TempDir,
}

async fn emulator() -> RunningEmulator {
    let profile = EngineProfile::named("sglang_8b").unwrap();
    Emulator::start(EmulatorConfig { speed: 20.0, ..EmulatorConfig::new(profile) }).await.unwrap()
}

/// The pod that a server runs in.
fn pod_of(name: &str, uid: &str, server: &RunningEmulator) -> TestPod {
    let address = server.addr();
    pod(name, uid, &address.ip().to_string()).annotation("sgl-router.io/port", &address.port().to_string())
}

async fn cluster() -> Cluster {
    let (api, folder) = (ApiServer::start().await, TempDir::new().unwrap());
    let options = Options {
        service_discovery: true,
        selector: vec!["app=sglang".to_owned()],
        service_discovery_namespace: Some("default".to_owned()),
        kubeconfig: Some(api.kubeconfig(folder.path())),
        policy: "round_robin".to_owned(),
        port: 0,
        seed: Some(1),
        ..Options::default()
    };
    let router = Router::start(options.check(&Registry::builtin()).unwrap()).await.unwrap();
    Cluster { api, router, _folder: folder }
}

impl Cluster {
    /// The states of the workers by the name of their pod, as `GET /workers` has them.
    fn states(&self) -> Vec<(String, String)> {
        let listed = self.router.workers();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let workers = listed["workers"].as_array().unwrap().iter();
        let mut states: Vec<_> = workers.map(|w| (text(&w["labels"]["pod"]), text(&w["state"]))).collect();
        states.sort();
        states
    }

    async fn until(&self, expected: &[(&str, &str)]) {
        let is_so = || {
            let states = self.states();
            let states: Vec<_> = states.iter().map(|(pod, state)| (pod.as_str(), state.as_str())).collect();
            states == expected
        };
        let wait = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("{:?} is not {expected:?}\n{:#}", self.states(), self.router.workers());
        }
    }
}

async fn ask(router: SocketAddr) -> String {
    let body = r#"{"text": "What is a pod?", "sampling_params": {"max_new_tokens": 20}, "stream": true}"#;
    let request = format!(
        "POST /generate HTTP/1.1\r\nhost: router\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    send(router, &request).await
}

async fn send(router: SocketAddr, request: &str) -> String {
    let exchange = async {
        let mut socket = TcpStream::connect(router).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        socket.read_to_string(&mut response).await.unwrap();
        response
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("no response came")
}

/// Clients that ask one request after the other, and whether all were served.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(router: SocketAddr) -> Self {
        let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            tokio::spawn(async move {
                let mut failed = Vec::new();
                while !stop.load(Relaxed) {
                    let response = ask(router).await;
                    if !(response.starts_with("HTTP/1.1 200") && response.contains("[DONE]")) {
                        failed.push(response);
                    }
                    served.fetch_add(1, Relaxed);
                }
                failed
            })
        };
        let clients = (0..6).map(client).collect();
        Self { stop, served, clients }
    }

    /// Waits until so many more requests were served.
    async fn more(&self, requests: usize) {
        let until = self.served.load(Relaxed) + requests;
        let wait = async {
            while self.served.load(Relaxed) < until {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("no more requests were served");
    }

    async fn end(self) {
        self.stop.store(true, Relaxed);
        for client in self.clients {
            let failed = client.await.unwrap();
            assert!(failed.is_empty(), "{} requests were lost: {}", failed.len(), failed[0]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_when_pods_come_and_go() {
    let cluster = cluster().await;
    let (a, b, c) = (emulator().await, emulator().await, emulator().await);
    cluster.api.put_pod(&pod_of("a", "uid-a", &a));
    cluster.api.put_pod(&pod_of("b", "uid-b", &b));
    cluster.until(&[("a", "healthy"), ("b", "healthy")]).await;
    let load = Load::start(cluster.router.address());
    load.more(30).await;
    // One is replaced: the old pod terminates while the new one comes up.
    cluster.api.put_pod(&pod_of("a", "uid-a", &a).terminating());
    cluster.api.put_pod(&pod_of("c", "uid-c", &c));
    cluster.until(&[("b", "healthy"), ("c", "healthy")]).await;
    a.shutdown().await;
    cluster.api.delete("pods", "a");
    load.more(30).await;
    // One is not ready for a while, though it passes its health checks.
    cluster.api.put_pod(&pod_of("b", "uid-b", &b).ready("False"));
    cluster.until(&[("b", "not_ready"), ("c", "healthy")]).await;
    load.more(12).await;
    let metrics = metrics(&cluster).await;
    assert!(metrics.contains("sgl_router_fleet_workers{state=\"not_ready\"} 1"), "{metrics}");
    assert!(metrics.contains("sgl_router_discovery_up 1"), "{metrics}");
    let workers = cluster.router.workers();
    let b_told = workers["workers"].as_array().unwrap().iter().find(|w| w["labels"]["pod"] == "b").unwrap();
    assert!(b_told["not_ready"]["reason"].as_str().unwrap().contains("unready status"), "{b_told}");
    cluster.api.put_pod(&pod_of("b", "uid-b", &b));
    cluster.until(&[("b", "healthy"), ("c", "healthy")]).await;
    // The API server is away: requests go on, and what happened is found when it is back.
    cluster.api.set_down(true);
    load.more(30).await;
    cluster.api.put_pod(&pod_of("c", "uid-c", &c).terminating());
    assert_eq!(cluster.states().len(), 2);
    cluster.api.set_down(false);
    cluster.until(&[("b", "healthy")]).await;
    load.more(12).await;
    load.end().await;
    assert_eq!(cluster.router.shutdown().await, 0);
}

async fn metrics(cluster: &Cluster) -> String {
    send(cluster.router.address(), "GET /metrics HTTP/1.1\r\nhost: router\r\nconnection: close\r\n\r\n").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_touches_only_its_own_workers() {
    let cluster = cluster().await;
    let (given, found) = (emulator().await, emulator().await);
    let spec = router_config::WorkerSpec { url: given.url(), ..router_config::WorkerSpec::default() };
    cluster.router.add_worker(&spec).unwrap();
    // A pod at the address of a worker that the operator gave: that one stays, also when the pod goes.
    cluster.api.put_pod(&pod_of("a", "uid-a", &given));
    cluster.api.put_pod(&pod_of("b", "uid-b", &found));
    cluster.until(&[("", "healthy"), ("b", "healthy")]).await;
    cluster.api.put_pod(&pod_of("a", "uid-a", &given).terminating());
    cluster.api.delete("pods", "b");
    cluster.until(&[("", "healthy")]).await;
    // The pod that gets the address of one that drains is another worker.
    cluster.api.put_pod(&pod_of("b", "uid-b2", &found));
    cluster.until(&[("", "healthy"), ("b", "healthy")]).await;
}

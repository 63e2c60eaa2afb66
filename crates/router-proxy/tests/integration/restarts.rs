//! Another server takes a worker's address within an instant, between two health checks; a server starts anew or its cache is emptied.

use crate::support::{PATIENCE, body, get, options, post, read_message, until};
use parking_lot::Mutex;
use router_config::Options;
use router_core::{Decision, DecisionContext, Event, Policy, PolicySpec, Reason, Registry, Time};
use router_proxy::{Router, RunningRouter, ServingThreads};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// An address at which one server after another answers.
#[derive(Clone)]
struct Address {
    address: SocketAddr,
    server: Arc<Mutex<Server>>,
    /// Nobody listens any more.
    closed: CancellationToken,
}

/// One server program: what it says at which paths, and its life.
#[derive(Clone)]
struct Server {
    pages: Vec<(&'static str, String)>,
    killed: CancellationToken,
}

impl Server {
    fn of(info: &Value) -> Self {
        Self::with(vec![("/get_server_info", info.to_string()), ("/server_info", info.to_string())])
    }

    /// A vLLM server that was started at some Unix time.
    fn vllm(started_at: u64) -> Self {
        let models = json!({"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 2048}]});
        let metrics = format!(
            "process_start_time_seconds {started_at}.97\n\
             vllm:cache_config_info{{block_size=\"16\",engine=\"0\",num_gpu_blocks=\"1024\"}} 1.0\n"
        );
        Self::with(vec![("/v1/models", models.to_string()), ("/metrics", metrics)])
    }

    fn with(pages: Vec<(&'static str, String)>) -> Self {
        Self { pages, killed: CancellationToken::new() }
    }

    async fn serve(self, mut socket: TcpStream) {
        let talk = async {
            while let Some((head, _)) = read_message(&mut socket).await {
                let path = head.split(' ').nth(1).unwrap_or_default();
                let page = self.pages.iter().find(|(at, _)| *at == path);
                let body = page.map_or_else(|| "{}".to_owned(), |(_, body)| body.clone());
                let status = if path == "/sleep" { "400 Bad Request" } else { "200 OK" };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                socket.write_all((head + &body).as_bytes()).await.unwrap();
            }
        };
        tokio::select! {
            () = talk => {}
            () = self.killed.cancelled() => {}
        }
    }
}

impl Address {
    async fn new(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            server: Arc::new(Mutex::new(server)),
            closed: CancellationToken::new(),
        };
        this.listen(listener);
        this
    }

    fn listen(&self, listener: TcpListener) {
        let (server, closed) = (Arc::clone(&self.server), self.closed.clone());
        tokio::spawn(async move {
            while let Some(Ok((socket, _))) = closed.run_until_cancelled(listener.accept()).await {
                tokio::spawn(server.lock().clone().serve(socket));
            }
        });
    }

    /// All connections of the server end, and the next ones find another server.
    fn replace(&self, server: Server) {
        let old = std::mem::replace(&mut *self.server.lock(), server);
        old.killed.cancel();
    }
}

/// Takes the first candidate, and keeps who came and went.
#[derive(Debug)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Policy for Diary {
    fn name(&self) -> &str {
        "diary"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let first = cx.candidates.iter().next().unwrap().id;
        Decision::plain(first, Reason::OnlyCandidate)
    }

    fn observe(&mut self, _: Time, event: &Event<'_>) {
        match event {
            Event::Joined { worker, .. } => self.0.lock().push(format!("{worker:?} joined")),
            Event::Left(worker) => self.0.lock().push(format!("{worker:?} left")),
            Event::CacheEmptied(worker) => self.0.lock().push(format!("{worker:?} emptied")),
            _ => {}
        }
    }
}

async fn router_of(address: &Address, change: Options) -> (RunningRouter, Arc<Mutex<Vec<String>>>) {
    let diary = Arc::new(Mutex::new(Vec::new()));
    let mut registry = Registry::builtin();
    let pages = Arc::clone(&diary);
    registry
        .register(PolicySpec::new("diary", "keeps who came and went"), move |_| {
            Ok(Box::new(Diary(Arc::clone(&pages))))
        })
        .unwrap();
    let options = Options {
        policy: "diary".to_owned(),
        worker_urls: options(&[address.address]).worker_urls,
        // No check comes by itself within the test.
        health_check_interval_secs: 600.0,
        ..change
    };
    let threads = ServingThreads::start(NonZeroUsize::new(1).unwrap()).unwrap();
    let router = Router::start_on(threads, options.check(&registry).unwrap()).await.unwrap();
    until(|| router.healthy_workers() == 1).await;
    (router, diary)
}

/// Waits until the only worker of `GET /workers` has these members.
async fn until_reported(router: &RunningRouter, expected: &Value) {
    let look = async {
        loop {
            let listed = body(&get(router, "/workers").await)["workers"].clone();
            let has = |w: &Value| expected.as_object().unwrap().iter().all(|(k, v)| w[k] == *v);
            if listed.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(has)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("the worker was never seen as what it is");
}

fn a() -> Value {
    json!({"model_path": "/models/a", "max_running_requests": 4, "max_total_tokens": 20000, "dp_size": 1,
        "random_seed": 1, "version": "0.5.22"})
}

/// A router whose only worker says that it is `a`, serves a request, is replaced by another server, and serves one more.
async fn router_after_replacement(new: &Value, change: Options) -> (RunningRouter, Arc<Mutex<Vec<String>>>) {
    let address = Address::new(Server::of(&a())).await;
    let (router, diary) = router_of(&address, change).await;
    until_reported(&router, &json!({"model_id": "/models/a"})).await;
    assert_served(&router).await;
    address.replace(Server::of(new));
    assert_served(&router).await;
    (router, diary)
}

async fn assert_served(router: &RunningRouter) {
    assert!(post(router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn replaced_server_is_noticed_at_once() {
    let b = json!({"model_path": "/models/b", "max_running_requests": 64, "max_total_tokens": 90000,
        "dp_size": 1, "random_seed": 2, "version": "0.5.23"});
    for checks in [true, false] {
        let base = Options { disable_health_check: !checks, ..options(&[]) };
        let (router, diary) = router_after_replacement(&b, base).await;
        until_reported(&router, &json!({"model_id": "/models/b", "max_running_requests": 64})).await;
        until(|| diary.lock().len() >= 3).await;
        let diary = diary.lock().clone();
        assert_eq!(diary.iter().filter(|page| page.ends_with("joined")).count(), 2, "{diary:?}");
        assert_eq!(diary.iter().filter(|page| page.ends_with("left")).count(), 1, "{diary:?}");
        assert_served(&router).await;
    }
}

#[tokio::test]
async fn same_configuration_is_another_process() {
    let mut again = a();
    again["random_seed"] = json!(7);
    let (_router, diary) = router_after_replacement(&again, options(&[])).await;
    until(|| diary.lock().iter().any(|page| page.ends_with("left"))).await;
}

#[tokio::test]
async fn ranks_follow_the_new_server() {
    let mut ranked = a();
    ranked["dp_size"] = json!(2);
    let (router, _) = router_after_replacement(&ranked, Options { dp_aware: true, ..options(&[]) }).await;
    until(|| router.healthy_workers() == 2).await;
}

#[tokio::test]
async fn closed_connection_changes_no_server() {
    // The same process has new weights, and does not say everything this time.
    let mut later = a();
    later["model_path"] = json!("/models/a-step-2");
    later["max_running_requests"] = Value::Null;
    let (router, diary) = router_after_replacement(&later, options(&[])).await;
    until_reported(&router, &json!({"model_id": "/models/a-step-2", "max_running_requests": 4})).await;
    assert_eq!(diary.lock().len(), 1, "{:?}", diary.lock());
}

fn count(diary: &Mutex<Vec<String>>, what: &str) -> usize {
    diary.lock().iter().filter(|page| page.ends_with(what)).count()
}

#[tokio::test]
async fn vllm_tells_its_cache_and_that_it_was_started_anew() {
    let address = Address::new(Server::vllm(1_795_354_017)).await;
    let (router, diary) = router_of(&address, options(&[])).await;
    until_reported(
        &router,
        &json!({"model_id": "m", "max_total_num_tokens": 16_384, "runtime_type": "vllm"}),
    )
    .await;
    assert_served(&router).await;
    address.replace(Server::vllm(1_795_354_099));
    assert_served(&router).await;
    until(|| count(&diary, "emptied") == 1).await;
    assert_eq!(
        (count(&diary, "joined"), count(&diary, "left")),
        (1, 0),
        "the same worker, with an empty cache"
    );
}

#[tokio::test]
async fn server_that_was_away_has_an_empty_cache() {
    let address =
        Address::new(Server::with(vec![("/v1/models", json!({"data": [{"id": "m"}]}).to_string())])).await;
    let (router, diary) = router_of(&address, options(&[])).await;
    assert_served(&router).await;
    address.closed.cancel();
    address.replace(Server::with(Vec::new()));
    until(|| std::net::TcpStream::connect(address.address).is_err()).await;
    assert!(!post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
    until(|| router.healthy_workers() == 0).await;
    let back = Address { closed: CancellationToken::new(), ..address };
    back.listen(TcpListener::bind(back.address).await.unwrap());
    until(|| router.healthy_workers() == 1).await;
    assert_eq!((count(&diary, "emptied"), count(&diary, "left")), (1, 0));
}

#[tokio::test]
async fn calls_that_empty_the_cache_are_heeded() {
    let address = Address::new(Server::of(&a())).await;
    let (router, diary) = router_of(&address, options(&[])).await;
    for (call, emptied) in [
        ("/flush_cache", 1),
        ("/reset_prefix_cache", 2),
        ("/start_profile", 2),
        ("/sleep", 2),
        ("/release_memory_occupation", 3),
        ("/update_weights_from_disk", 4),
        ("/update_weight_version", 4),
    ] {
        post(&router, call, "{}").await;
        assert_eq!(count(&diary, "emptied"), emptied, "after {call}: {:?}", diary.lock());
    }
}

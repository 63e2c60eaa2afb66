//! Several models behind one router: each request goes to a worker of its model.

use crate::support::{
    Incoming, body, get, header, metric, options, post, send, start, sum, telling_worker, until, until_metric,
};
use parking_lot::Mutex;
use router_config::{ModelRouting, Options};
use router_emulator::{EmulatedFleet, EmulatorConfig, FleetSpec};
use router_proxy::RunningRouter;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

async fn emulated(model: &str, workers: usize) -> EmulatedFleet {
    let spec: FleetSpec = format!("a100@50*{workers}").parse().unwrap();
    let config =
        EmulatorConfig { model_name: model.to_owned(), ..EmulatorConfig::new(spec.parts[0].profile) };
    EmulatedFleet::start(&spec, None, &config).await.unwrap()
}

fn options_of(fleets: &[&EmulatedFleet]) -> Options {
    Options { worker_urls: fleets.iter().flat_map(|fleet| fleet.urls()).collect(), ..options(&[]) }
}

fn chat(model: &str) -> String {
    json!({"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}).to_string()
}

async fn ask(router: &RunningRouter, body: &str) -> String {
    post(router, "/v1/chat/completions", body).await
}

fn worker_of(answer: &str) -> String {
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    header(answer, "x-sglang-worker").unwrap().to_owned()
}

fn error_of(answer: &str) -> (String, String, String) {
    let status = answer.split(' ').nth(1).unwrap().to_owned();
    let error = body(answer)["error"].clone();
    (status, error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
}

/// What a hand-made worker was asked, and what it lists.
#[derive(Clone, Default)]
struct Listing {
    models: Arc<Mutex<Vec<Value>>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Listing {
    fn of(models: &[Value]) -> Self {
        Self { models: Arc::new(Mutex::new(models.to_vec())), ..Self::default() }
    }

    /// A worker that lists these models and answers everything else with 200.
    async fn serve(&self) -> SocketAddr {
        let own = self.clone();
        telling_worker(move |mut incoming: Incoming| {
            let own = own.clone();
            async move {
                let path = incoming.path().to_owned();
                match path.as_str() {
                    "/v1/models" => {
                        let list = json!({"object": "list", "data": *own.models.lock()});
                        incoming.send_json(&list.to_string()).await;
                    }
                    "/v1/chat/completions" => {
                        own.seen.lock().push(String::from_utf8(incoming.body.clone()).unwrap());
                        incoming.send_json("{}").await;
                    }
                    _ => incoming.send_json("{}").await,
                }
            }
        })
        .await
    }

    fn requests(&self) -> usize {
        self.seen.lock().len()
    }
}

fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "owned_by": "vllm", "root": format!("/models/{id}"), "parent": null})
}

fn adapter(id: &str, parent: &str) -> Value {
    json!({"id": id, "object": "model", "owned_by": "vllm", "root": format!("/lora/{id}"), "parent": parent})
}

#[tokio::test]
async fn two_models_on_six_workers() {
    let (a, b) = (emulated("org/a", 3).await, emulated("org/b", 3).await);
    let router = start(options_of(&[&a, &b])).await;
    until(|| router.healthy_workers() == 6).await;
    for _ in 0..12 {
        assert!(a.urls().contains(&worker_of(&ask(&router, &chat("org/a")).await)));
        assert!(b.urls().contains(&worker_of(&ask(&router, &chat("org/b")).await)));
    }
    // PHP escapes slashes.
    let escaped = chat("org/b").replace("org/b", r"org\/b");
    assert!(b.urls().contains(&worker_of(&ask(&router, &escaped).await)));

    let (status, code, message) = error_of(&ask(&router, &chat("org/c")).await);
    assert_eq!((status.as_str(), code.as_str()), ("404", "model_not_found"));
    assert!(message.contains("'org/c'") && message.contains("org/a, org/b"), "{message}");
    let (status, code, _) = error_of(&post(&router, "/generate", r#"{"text":"a"}"#).await);
    assert_eq!((status.as_str(), code.as_str()), ("400", "model_required"));
    assert!(
        b.urls().contains(&worker_of(&post(&router, "/generate", r#"{"text":"a","model":"org/b"}"#).await))
    );

    let listed = body(&get(&router, "/v1/models").await)["data"].clone();
    let ids: Vec<_> = listed.as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(
        {
            let mut ids = ids;
            ids.sort_unstable();
            ids
        },
        ["org/a", "org/b"]
    );
    let workers = body(&get(&router, "/workers").await)["workers"].clone();
    let ids: std::collections::HashSet<_> =
        workers.as_array().unwrap().iter().map(|w| w["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 6, "{ids:?}");
    for id in ids {
        assert!(get(&router, &format!("/workers/{id}")).await.starts_with("HTTP/1.1 200 "), "{id}");
    }
    let requests = metric(&router, "sgl_router_model_requests_total").await;
    let of =
        |model: &str| sum(&requests.iter().filter(|(l, _)| l.contains(model)).cloned().collect::<Vec<_>>());
    assert_eq!((of("org/a"), of("org/b")), (12.0, 14.0), "{requests:?}");
    assert_eq!(sum(&metric(&router, "sgl_router_worker_info").await), 6.0);
    assert_eq!(router.in_flight(), 0);
}

#[tokio::test]
async fn fleet_of_one_model_takes_every_name() {
    let a = emulated("org/a", 2).await;
    for (routing, is_taken) in
        [(ModelRouting::Auto, true), (ModelRouting::Off, true), (ModelRouting::On, false)]
    {
        let router = start(Options { model_routing: routing, ..options_of(&[&a]) }).await;
        until(|| router.healthy_workers() == 2).await;
        for name in ["default", "org/b"] {
            let answer = ask(&router, &chat(name)).await;
            assert_eq!(answer.starts_with("HTTP/1.1 200 "), is_taken, "{routing:?} {name}: {answer}");
        }
        worker_of(&ask(&router, &chat("org/a")).await);
        worker_of(&post(&router, "/generate", r#"{"text":"a"}"#).await);
    }
}

#[tokio::test]
async fn requests_of_the_start_wait_until_the_models_are_known() {
    let (a, b) = (emulated("a", 2).await, emulated("b", 2).await);
    let router = start(Options { queue_when_unavailable: true, ..options_of(&[&a, &b]) }).await;
    let asked = (0..16).map(|n| {
        let (name, fleet) = if n % 2 == 0 { ("a", &a) } else { ("b", &b) };
        let router = &router;
        async move { assert!(fleet.urls().contains(&worker_of(&ask(router, &chat(name)).await)), "{name}") }
    });
    futures_util::future::join_all(asked).await;
}

#[tokio::test]
async fn aliases_are_replaced_and_a_default_is_taken() {
    let (a, b) = (Listing::of(&[model("a")]), Listing::of(&[model("b")]));
    let workers = [a.serve().await, b.serve().await];
    let router = start(Options {
        model_alias: vec!["gpt-4=b".to_owned()],
        default_model: Some("a".to_owned()),
        ..options(&workers)
    })
    .await;
    until(|| router.healthy_workers() == 2).await;
    let request = r#"{"model" : "gpt-4", "messages": [], "x": 1.50}"#;
    assert!(ask(&router, request).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(*b.seen.lock(), [r#"{"model" : "b", "messages": [], "x": 1.50}"#], "nothing else is changed");
    assert!(ask(&router, r#"{"messages":[]}"#).await.starts_with("HTTP/1.1 200 "));
    assert_eq!((a.requests(), b.requests()), (1, 1));
    let listed = body(&get(&router, "/v1/models").await)["data"].clone();
    let ids: Vec<_> = listed.as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"gpt-4") && ids.len() == 3, "{ids:?}");
}

#[tokio::test]
async fn worker_with_another_model_is_another_worker() {
    let (a, b) = (Listing::of(&[model("a")]), Listing::of(&[model("b")]));
    let more = Listing::of(&[model("a")]);
    let workers = [a.serve().await, b.serve().await, more.serve().await];
    let options = Options { health_check_interval_secs: 0.1, ..options(&workers) };
    let router = start(options).await;
    until(|| router.healthy_workers() == 3).await;
    *more.models.lock() = vec![model("b")];
    // What a worker serves is asked again when it may have changed, here after a call to it.
    let url = format!("http://{}", workers[2]);
    post(&router, &format!("/load_lora_adapter?worker={url}"), "{}").await;
    until(|| {
        let listed = router.workers();
        let all = listed["workers"].as_array().unwrap();
        let own: Vec<_> = all.iter().filter(|w| w["url"] == *url).collect();
        own.len() == 1 && own[0]["model_id"] == "b" && own[0]["state"] == "healthy"
    })
    .await;
    for _ in 0..8 {
        ask(&router, &chat("a")).await;
        ask(&router, &chat("b")).await;
    }
    assert_eq!(a.requests(), 8);
    assert!(b.requests() > 0 && more.requests() > 0, "{} {}", b.requests(), more.requests());
    assert!(more.seen.lock().iter().all(|body| body.contains(r#""model":"b""#)));
}

#[tokio::test]
async fn adapters_go_to_the_workers_that_have_them() {
    let with = Listing::of(&[model("base"), adapter("sql", "base")]);
    let without = Listing::of(&[model("base")]);
    let workers = [with.serve().await, without.serve().await];
    let router = start(Options { policy: "round_robin".to_owned(), ..options(&workers) }).await;
    until(|| router.healthy_workers() == 2).await;
    for name in ["sql", "base:sql"] {
        for _ in 0..3 {
            assert!(ask(&router, &chat(name)).await.starts_with("HTTP/1.1 200 "), "{name}");
        }
    }
    assert_eq!((with.requests(), without.requests()), (6, 0));
    for _ in 0..4 {
        ask(&router, &chat("base")).await;
    }
    assert_eq!((with.requests(), without.requests()), (8, 2), "the model itself is on both");
    without.models.lock().push(adapter("sql", "base"));
    post(&router, "/load_lora_adapter", "{}").await;
    until(|| router.workers().to_string().matches("\"sql\"").count() == 2).await;
    for _ in 0..4 {
        ask(&router, &chat("sql")).await;
    }
    assert_eq!((with.requests(), without.requests()), (10, 4));
}

#[tokio::test]
async fn worker_of_two_models_counts_in_both() {
    let (both, a) = (Listing::of(&[model("a"), model("b")]), Listing::of(&[model("a")]));
    let workers = [both.serve().await, a.serve().await];
    let router = start(Options { policy: "round_robin".to_owned(), ..options(&workers) }).await;
    until(|| router.healthy_workers() == 3).await;
    for _ in 0..4 {
        ask(&router, &chat("a")).await;
        ask(&router, &chat("b")).await;
    }
    assert_eq!((both.requests(), a.requests()), (6, 2));
    let url = format!("http://{}", workers[0]);
    send(&router, "DELETE", &format!("/workers/{}", url.replace('/', "%2F")), "").await;
    until(|| router.healthy_workers() == 1).await;
    let (status, code, _) = error_of(&ask(&router, &chat("b")).await);
    assert_eq!(
        (status.as_str(), code.as_str()),
        ("503", "no_healthy_worker"),
        "the model is known for a while"
    );
    ask(&router, &chat("a")).await;
    assert_eq!(a.requests(), 3);
}

#[tokio::test]
async fn workers_are_added_by_model_at_run_time() {
    let (a, b) = (emulated("a", 1).await, emulated("b", 2).await);
    let router = start(options_of(&[&a])).await;
    until(|| router.healthy_workers() == 1).await;
    let [told, asked] = [&b.urls()[0], &b.urls()[1]];
    post(&router, "/workers", &json!({"url": told, "model_id": "b"}).to_string()).await;
    post(&router, "/workers", &json!({"url": asked}).to_string()).await;
    let again = post(&router, "/workers", &json!({"url": told}).to_string()).await;
    assert!(again.starts_with("HTTP/1.1 409 "), "{again}");
    until(|| router.healthy_workers() == 3).await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..8 {
        seen.insert(worker_of(&ask(&router, &chat("b")).await));
        assert_eq!(worker_of(&ask(&router, &chat("a")).await), a.urls()[0]);
    }
    assert_eq!(seen, b.urls().into_iter().collect());
}

#[tokio::test]
async fn weight_updates_name_their_model() {
    let (a, b) = (emulated("a", 1).await, emulated("b", 2).await);
    let router = start(options_of(&[&a, &b])).await;
    until(|| router.healthy_workers() == 3).await;
    let update = r#"{"model_path":"/new"}"#;
    let (status, code, _) = error_of(&post(&router, "/update_weights_from_disk", update).await);
    assert_eq!((status.as_str(), code.as_str()), ("400", "model_required"));
    let answer = body(&post(&router, "/update_weights_from_disk?model=b", update).await);
    assert_eq!(
        (answer["total_workers"].as_u64(), answer["successful"].as_u64()),
        (Some(2), Some(2)),
        "{answer}"
    );
    assert_eq!(body(&post(&router, "/flush_cache", "").await)["total_workers"], 3);
    let unknown = post(&router, "/flush_cache?model=c", "").await;
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
    until_metric(&router, "sgl_router_fleet_outdated_weights", 0.0).await;
}

#[tokio::test]
async fn each_model_has_record_files_of_its_own() {
    let dir =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("models-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let (a, b) = (emulated("org/a", 1).await, emulated("org/b", 1).await);
    let router = start(Options { record_dir: Some(dir.clone()), ..options_of(&[&a, &b]) }).await;
    until(|| router.healthy_workers() == 2).await;
    for name in ["org/a", "org/b", "org/b"] {
        worker_of(&ask(&router, &chat(name)).await);
    }
    router.shutdown().await;
    let mut rows = Vec::new();
    for file in std::fs::read_dir(&dir).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut lines = text.lines();
        let names: Vec<_> = lines.next().unwrap().split(',').collect();
        let at = names.iter().position(|name| *name == "model").unwrap();
        rows.push(lines.map(|line| line.split(',').nth(at).unwrap().to_owned()).collect::<Vec<_>>());
    }
    rows.sort_by_key(Vec::len);
    assert_eq!(rows.len(), 2);
    let sizes: Vec<_> = rows.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 4]);
    for rows in rows {
        assert!(rows.windows(2).all(|pair| pair[0] == pair[1] && !pair[0].is_empty()), "{rows:?}");
    }
    let _ = std::fs::remove_dir_all(&dir);
}

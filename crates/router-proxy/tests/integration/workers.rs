//! `/workers`: workers come, are told apart, change, and go.

use crate::support::{
    PATIENCE, RawClient, body, get, options, post, read_message, router, send, start, until, worker,
};
use router_config::Options;
use router_emulator::{EmulatedFleet, EmulatorConfig, Fault, FaultKind, FleetSpec, SglangVersion};
use router_proxy::RunningRouter;
use serde_json::Value;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

async fn emulated(line: &str, version: SglangVersion) -> EmulatedFleet {
    let spec: FleetSpec = line.parse().unwrap();
    let config = EmulatorConfig { version, ..EmulatorConfig::new(spec.parts[0].profile) };
    EmulatedFleet::start(&spec, None, &config).await.unwrap()
}

/// The worker at `path`, once `ready` likes what it says.
async fn worker_at(router: &RunningRouter, path: &str, ready: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let worker = body(&get(router, path).await);
            if ready(&worker) {
                return worker;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{path} never was as wished"))
}

#[tokio::test]
async fn worker_joins_changes_and_leaves() {
    for version in [SglangVersion::Classic, SglangVersion::Stock] {
        let fleet = emulated("sglang_8b@20*2", version).await;
        let urls = fleet.urls();
        let router = start(Options { worker_urls: vec![urls[0].clone()], ..options(&[]) }).await;
        let spec = format!(
            r#"{{"url":"{}","priority":7,"cost":2.5,"weight":3,"labels":{{"rack":"b"}},"api_key":"hush","health_check_interval_secs":1}}"#,
            urls[1]
        );
        let accepted = post(&router, "/workers", &spec).await;
        assert!(accepted.starts_with("HTTP/1.1 202 "), "{accepted}");
        let path = crate::support::header(&accepted, "location").unwrap().to_owned();
        let known = worker_at(&router, &path, |w| w["model_id"].is_string()).await;
        assert_eq!((&known["url"], &known["state"]), (&urls[1].as_str().into(), &"healthy".into()));
        assert_eq!(
            (&known["priority"], &known["cost"], &known["weight"]),
            (&7.into(), &2.5.into(), &3.0.into())
        );
        assert_eq!((&known["labels"]["rack"], &known["runtime_type"]), (&"b".into(), &"sglang".into()));
        assert!(known["max_running_requests"].as_u64() > Some(0), "{known}");
        assert!(known["max_total_num_tokens"].as_u64() > Some(0), "{known}");
        assert_eq!((&known["dp_size"], &known["job_status"]), (&1.into(), &Value::Null));
        assert_eq!(known["disable_health_check"], false);
        assert!(!known.to_string().contains("hush"), "a key is shown: {known}");
        let list = body(&get(&router, "/workers").await);
        assert_eq!((&list["total"], &list["stats"]["healthy"]), (&2.into(), &2.into()));
        for (method, change) in [("PUT", r#"{"priority":9,"labels":{}}"#), ("PATCH", r#"{"weight":0.5}"#)] {
            assert!(send(&router, method, &path, change).await.starts_with("HTTP/1.1 200 "), "{method}");
        }
        let changed = body(&get(&router, &path).await);
        assert_eq!((&changed["priority"], &changed["weight"]), (&9.into(), &0.5.into()));
        assert_eq!((&changed["cost"], &changed["model_id"]), (&2.5.into(), &known["model_id"]));
        assert!(send(&router, "DELETE", &path, "").await.starts_with("HTTP/1.1 202 "));
        worker_at(&router, &path, |w| w["code"] == "WORKER_NOT_FOUND").await;
        assert_eq!(router.healthy_workers(), 1);
        fleet.shutdown().await;
    }
}

#[tokio::test]
async fn invalid_worker_member_is_named() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(options(&[address])).await;
    let present = format!(r#"{{"url":"http://{address}"}}"#);
    for (method, path, json, status, parts) in [
        ("POST", "/workers", r#"{"url":"http://a:1","priority":"high"}"#, 400, &["priority"][..]),
        ("POST", "/workers", r#"{"url":"localhost:3"}"#, 400, &["'localhost:3'"]),
        ("POST", "/workers", r#"{"priority":3}"#, 400, &["\"url\""]),
        ("POST", "/workers", r#"{"url":"http://a:1","weight":-1}"#, 400, &["weight", "-1"]),
        ("POST", "/workers", r#"{"url":"http://a:1","worker_type":"prefill"}"#, 400, &["prefill"]),
        ("POST", "/workers", r#"{"url":"http://a:1","dp_size":2}"#, 400, &["dp_size", "dp_aware"]),
        (
            "POST",
            "/workers",
            r#"{"url":"http://a:1","health_check_timeout_secs":0}"#,
            400,
            &["health_check_timeout_secs"],
        ),
        ("POST", "/workers", r#"{"url":"http://a:1","api_key":"a\nsecret"}"#, 400, &["api_key"]),
        ("POST", "/workers", &present, 409, &["in the fleet already"]),
        ("GET", "/workers/77.1", "", 404, &["'77.1'"]),
        ("DELETE", "/workers/http%3A%2F%2Fb%3A1", "", 404, &["'http://b:1'"]),
        ("PUT", "/workers/0.1", r#"{"url":"http://c:1"}"#, 400, &["url"]),
        ("PUT", "/workers/0.1", r#"{"cost":-2}"#, 400, &["cost", "-2"]),
        ("PUT", "/workers/0.1", r#"{"health_check_interval_secs":0}"#, 400, &["health_check_interval_secs"]),
    ] {
        let answer = send(&router, method, path, json).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path} {json}: {answer}");
        let refused = body(&answer);
        let code = match status {
            404 => "WORKER_NOT_FOUND",
            409 => "WORKER_ALREADY_EXISTS",
            _ => "BAD_REQUEST",
        };
        assert_eq!(refused["code"], code, "{refused}");
        let message = refused["error"].as_str().unwrap().to_owned();
        for part in parts {
            assert!(message.contains(part), "{method} {path} {json}: '{part}' is not in: {message}");
        }
        assert!(!message.contains("secret"), "{message}");
    }
    assert_eq!(body(&get(&router, "/workers").await)["total"], 1);
}

#[tokio::test]
async fn draining_worker_may_rejoin() {
    let gate = Arc::new(Notify::new());
    let wait = Arc::clone(&gate);
    let slow = worker(move |mut incoming| {
        let wait = Arc::clone(&wait);
        async move {
            if incoming.body.len() > 2 {
                wait.notified().await;
            }
            incoming.send_json(r#"{"from":"slow"}"#).await;
        }
    })
    .await;
    let router = router(options(&[slow])).await;
    let mut client = RawClient::connect(&router).await;
    client.post("/generate", r#"{"text":"a"}"#).await;
    until(|| router.in_flight() == 1).await;
    let by_url = format!("/workers/http%3A%2F%2F{}", slow.to_string().replace(':', "%3A"));
    assert!(send(&router, "DELETE", &by_url, "").await.starts_with("HTTP/1.1 202 "));
    let draining = body(&get(&router, "/workers/0.1").await);
    assert_eq!(draining["state"], "draining");
    assert_eq!(draining["job_status"]["job_type"], "RemoveWorker");
    assert!(post(&router, "/generate", "{}").await.starts_with("HTTP/1.1 503 "));
    let again = post(&router, "/workers", &format!(r#"{{"url":"http://{slow}"}}"#)).await;
    assert!(again.starts_with("HTTP/1.1 202 "), "{again}");
    until(|| router.healthy_workers() == 1).await;
    assert!(post(&router, "/generate", "{}").await.ends_with(r#"{"from":"slow"}"#));
    gate.notify_one();
    assert!(client.see("slow").await.starts_with("HTTP/1.1 200 "));
    worker_at(&router, "/workers/0.1", |w| w["code"] == "WORKER_NOT_FOUND").await;
}

#[tokio::test]
async fn requests_of_other_routers_clients_work() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(options(&[address])).await;
    // As smg's clients send it, with members that only smg has.
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let spec = format!(
        r#"{{"url":"http://{dead}","worker_type":"regular","kv_role":"kv_both","wieght":2,"max_connection_attempts":20}}"#
    );
    let accepted = post(&router, "/workers", &spec).await;
    assert!(accepted.starts_with("HTTP/1.1 202 "), "{accepted}");
    let warnings = body(&accepted)["warnings"].to_string();
    assert!(warnings.contains("'kv_role'") && warnings.contains("did you mean 'weight'?"), "{warnings}");
    let path = crate::support::header(&accepted, "location").unwrap().to_owned();
    let job = body(&get(&router, &path).await)["job_status"].clone();
    assert_eq!((&job["job_type"], &job["status"]), (&"AddWorker".into(), &"processing".into()), "{job}");
    assert_eq!(job["worker_url"], format!("http://{dead}"), "{job}");
    assert!(job["timestamp"].as_u64() > Some(1_700_000_000) && job["message"].is_string(), "{job}");
    let change = r#"{"priority":60,"cost":2.0,"labels":{"a":"b"},"api_key":"hush","health_check_timeout_secs":30,
        "health_check_interval_secs":10,"health_success_threshold":1,"health_failure_threshold":2,
        "disable_health_check":false,"some_field":1}"#;
    let changed = send(&router, "PUT", &path, change).await;
    assert!(changed.starts_with("HTTP/1.1 200 ") && !changed.contains("hush"), "{changed}");
    let changed = body(&changed);
    assert_eq!((&changed["priority"], &changed["labels"]["a"]), (&60.into(), &"b".into()));
    assert!(changed["warnings"][0].as_str().unwrap().contains("'some_field'"), "{changed}");
}

#[tokio::test]
async fn health_checks_can_be_switched_at_run_time() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let router = start(options(&[dead])).await;
    let off = send(&router, "PUT", "/workers/0.1", r#"{"disable_health_check":true}"#).await;
    assert_eq!(body(&off)["disable_health_check"], true, "{off}");
    until(|| router.healthy_workers() == 1).await;
    let on = r#"{"disable_health_check":false,"health_failure_threshold":1}"#;
    assert_eq!(body(&send(&router, "PUT", "/workers/0.1", on).await)["disable_health_check"], false);
    until(|| router.healthy_workers() == 0).await;
}

#[tokio::test]
async fn cache_flush_counts_workers() {
    let flushed = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(options(&[flushed])).await;
    let answer = post(&router, "/flush_cache", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let all = body(&answer);
    assert_eq!((&all["status"], &all["workers_flushed"]), (&"success".into(), &1.into()), "{all}");
    let failing = worker(|mut incoming| async move {
        incoming.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\n\r\nbusy").await;
    })
    .await;
    assert!(
        post(&router, "/workers", &format!(r#"{{"url":"http://{failing}"}}"#)).await.contains("accepted")
    );
    until(|| router.healthy_workers() == 2).await;
    let answer = post(&router, "/flush_cache", "").await;
    assert!(answer.starts_with("HTTP/1.1 206 "), "{answer}");
    let some = body(&answer);
    assert_eq!((&some["status"], &some["workers_flushed"]), (&"partial_success".into(), &1.into()), "{some}");
    assert_eq!((&some["total_workers"], &some["failed"][0]["error"]), (&2.into(), &"busy".into()), "{some}");
    assert_eq!(some["successful"], some["flushed"]);
}

#[tokio::test]
async fn restarted_worker_rejoins() {
    let fleet = emulated("sglang_8b@20*1", SglangVersion::Stock).await;
    let checks = Options { health_check_interval_secs: 0.05, ..options(&[]) };
    let router = start(Options { worker_urls: fleet.urls(), ..checks }).await;
    for _ in 0..3 {
        until(|| router.healthy_workers() == 1).await;
        fleet.servers[0].set_fault(Fault::new(FaultKind::Crash));
        until(|| router.healthy_workers() == 0).await;
        fleet.servers[0].clear_fault();
    }
    until(|| router.healthy_workers() == 1).await;
    let answer = post(&router, "/generate", r#"{"text":"a","sampling_params":{"max_new_tokens":2}}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    fleet.shutdown().await;
}

#[tokio::test]
async fn worker_key_and_vllm_load_request() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let address = worker(move |mut incoming| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(incoming.head.clone());
            let load = r#"JSON {"named_metrics":{"num_requests_waiting":5}}"#;
            incoming
                .send(format!(
                    "HTTP/1.1 200 OK\r\nendpoint-load-metrics: {load}\r\ncontent-length: 2\r\n\r\n{{}}"
                ))
                .await;
        }
    })
    .await;
    let first = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    for (policy, asks) in [("shortest_queue", Some("JSON")), ("round_robin", None)] {
        let router = router(Options { policy: policy.to_owned(), ..options(&[first]) }).await;
        let spec = format!(r#"{{"url":"http://{address}","runtime":"vllm","api_key":"own"}}"#);
        assert!(post(&router, "/workers", &spec).await.starts_with("HTTP/1.1 202 "));
        assert!(send(&router, "DELETE", "/workers/0.1", "").await.starts_with("HTTP/1.1 202 "));
        until(|| router.healthy_workers() == 1).await;
        worker_at(&router, "/workers/0.1", |w| w["error"].is_string()).await;
        let mut client = RawClient::connect(&router).await;
        client.send("POST /generate HTTP/1.1\r\nhost: r\r\nauthorization: Bearer client\r\ncontent-length: 2\r\n\r\n{}").await;
        client.see("\r\n\r\n{}").await;
        let head = told.recv().await.unwrap();
        assert_eq!(crate::support::header(&head, "authorization"), Some("Bearer own"), "{policy}");
        assert_eq!(crate::support::header(&head, "endpoint-load-metrics-format"), asks, "{policy}");
        let waiting = body(&get(&router, "/workers").await)["workers"][0]["waiting"].clone();
        assert_eq!(waiting, 5, "{policy}: what an answer tells is heard in any case");
    }
}

#[tokio::test]
async fn an_abort_reaches_every_worker() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let make = || {
        let tell = tell.clone();
        worker(move |mut incoming| {
            let tell = tell.clone();
            async move {
                let seen = (incoming.path().to_owned(), String::from_utf8_lossy(&incoming.body).into_owned());
                let _ = tell.send(seen);
                incoming.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        })
    };
    let router = router(options(&[make().await, make().await])).await;
    let answer = post(&router, "/abort_request", r#"{"rid":"r-1"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(body(&answer)["asked"].as_array().unwrap().len(), 2);
    for _ in 0..2 {
        let (path, json) = told.recv().await.unwrap();
        assert_eq!((path.as_str(), json.as_str()), ("/abort_request", r#"{"rid":"r-1"}"#));
    }
}

#[tokio::test]
async fn client_disconnect_aborts_request_by_id() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let address = worker(move |mut incoming| {
        let tell = tell.clone();
        async move {
            let seen = (incoming.path().to_owned(), String::from_utf8_lossy(&incoming.body).into_owned());
            let _ = tell.send(seen);
            incoming.closed().await;
        }
    })
    .await;
    let router = router(options(&[address])).await;
    for stream in [false, true] {
        let mut client = RawClient::connect(&router).await;
        client.post("/generate", &format!(r#"{{"rid":"mine","text":"a","stream":{stream}}}"#)).await;
        assert_eq!(told.recv().await.unwrap().0, "/generate");
        drop(client);
        let (path, json) = told.recv().await.unwrap();
        assert_eq!((path.as_str(), json.as_str()), ("/abort_request", r#"{"rid":"mine"}"#));
        until(|| router.in_flight() == 0).await;
    }
}

/// The workers want a key, the router has none, the client sends it: the router's own requests for the client carry it.
#[tokio::test]
async fn client_key_is_used_for_models_and_aborts() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let address = worker(move |mut incoming| {
        let tell = tell.clone();
        async move {
            let (path, is_allowed) =
                (incoming.path().to_owned(), incoming.header("authorization") == Some("Bearer K"));
            match (path.as_str(), is_allowed) {
                ("/v1/models", true) => incoming.send_json(r#"{"data":[{"id":"m"}]}"#).await,
                ("/v1/models", false) => {
                    incoming.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\n{}").await
                }
                _ => {
                    let _ = tell.send((path, is_allowed));
                    incoming.closed().await;
                }
            }
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let answer = get(&router, "/v1/models").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "the worker's own refusal: {answer}");
    let mut client = RawClient::connect(&router).await;
    client
        .send("GET /v1/models HTTP/1.1\r\nhost: r\r\nauthorization: Bearer K\r\nconnection: close\r\n\r\n")
        .await;
    assert_eq!(body(&client.rest().await)["data"][0]["id"], "m");
    let mut client = RawClient::connect(&router).await;
    let text = r#"{"rid":"mine","text":"a"}"#;
    let head = "POST /generate HTTP/1.1\r\nhost: r\r\nauthorization: Bearer K\r\ncontent-length: ";
    client.send(format!("{head}{}\r\n\r\n{text}", text.len())).await;
    assert_eq!(told.recv().await.unwrap(), ("/generate".to_owned(), true));
    drop(client);
    assert_eq!(told.recv().await.unwrap(), ("/abort_request".to_owned(), true));
}

#[tokio::test]
async fn closed_kept_connection_costs_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (head, _) = read_message(&mut socket).await.unwrap();
                let body = if head.contains("/v1/models") { r#"{"data":[{"id":"m"}]}"# } else { "{}" };
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                socket.write_all(answer.as_bytes()).await.unwrap();
                // It closes when it is asked again, and not before.
                read_message(&mut socket).await;
            });
        }
    });
    let router = router(options(&[address])).await;
    for n in 0..5 {
        let answer = get(&router, "/v1/models").await;
        assert_eq!(body(&answer)["data"][0]["id"], "m", "question {n}: {answer}");
    }
}

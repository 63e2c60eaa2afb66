//! `--dp-aware`: the data-parallel ranks of a worker are chosen, loaded and named one by one, and stand and fall together.

use crate::support::{
    PATIENCE, RawClient, body, get, header, metric, options, post, read_message, router, send, start, sum,
    until, until_metric, worker,
};
use router_config::Options;
use router_emulator::{
    EmulatedFleet, Emulator, EmulatorConfig, Fault, FaultKind, FleetSpec, RunningEmulator, SglangVersion,
};
use router_proxy::RunningRouter;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

fn config(line: &str, ranks: u32) -> EmulatorConfig {
    let spec: FleetSpec = line.parse().unwrap();
    let part = spec.parts[0];
    EmulatorConfig {
        version: SglangVersion::Stock,
        dp_size: ranks,
        speed: part.speed,
        ..EmulatorConfig::new(part.profile)
    }
}

async fn emulated(line: &str, ranks: u32) -> EmulatedFleet {
    EmulatedFleet::start(&line.parse().unwrap(), None, &config("sglang_8b", ranks)).await.unwrap()
}

fn dp_aware(workers: Vec<String>) -> Options {
    Options {
        worker_urls: workers,
        dp_aware: true,
        health_check_interval_secs: 0.05,
        load_poll_interval_ms: 10,
        ..options(&[])
    }
}

async fn ready(options: Options, candidates: usize) -> RunningRouter {
    let router = start(options).await;
    until(|| router.healthy_workers() == candidates).await;
    router
}

/// The names of all candidates and their states.
async fn candidates(router: &RunningRouter) -> BTreeMap<String, String> {
    let list = body(&get(router, "/workers").await);
    let text = |w: &Value, member: &str| w[member].as_str().unwrap().to_owned();
    list["workers"].as_array().unwrap().iter().map(|w| (text(w, "url"), text(w, "state"))).collect()
}

/// Long requests straight to one rank of a server, which end when they are dropped.
async fn occupy(server: &RunningEmulator, rank: u32, requests: usize) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for held in 1..=requests {
        let mut socket = TcpStream::connect(server.addr()).await.unwrap();
        let body = format!(
            r#"{{"text":"x","data_parallel_rank":{rank},"sampling_params":{{"max_new_tokens":30000,"ignore_eos":true}}}}"#
        );
        let head = format!("POST /generate HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
        socket.write_all((head + &body).as_bytes()).await.unwrap();
        sockets.push(socket);
        let load = || server.rank_stats()[rank as usize];
        until(|| load().in_flight() as usize == held && load().running > 0).await;
    }
    sockets
}

#[tokio::test]
async fn requests_reach_their_chosen_rank() {
    let fleet = emulated("sglang_8b@50*2", 3).await;
    let router = ready(dp_aware(fleet.urls()), 6).await;
    let mut seen = BTreeMap::<String, u32>::new();
    for n in 0..12 {
        let answer = post(
            &router,
            "/generate",
            // What rank the client wants is not asked.
            r#"{"text":"a","data_parallel_rank":2,"sampling_params":{"max_new_tokens":2}}"#,
        )
        .await;
        let name = header(&answer, "x-sglang-worker").unwrap().to_owned();
        let (url, rank) = name.rsplit_once('@').unwrap_or_else(|| panic!("no rank in {name}"));
        assert!(fleet.urls().contains(&url.to_owned()), "request {n}: {name}");
        assert_eq!(body(&answer)["meta_info"]["dp_rank"], rank.parse::<u32>().unwrap(), "{answer}");
        *seen.entry(name).or_default() += 1;
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert!(seen.values().all(|n| *n == 2), "{seen:?}");
    for _ in 0..6 {
        let chat = r#"{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":2,"stream":true}"#;
        let answer = post(&router, "/v1/chat/completions", chat).await;
        assert!(answer.contains("data: [DONE]"), "{answer}");
    }
    for server in &fleet.servers {
        let received: Vec<_> = server.rank_stats().iter().map(|s| s.received).collect();
        assert_eq!(received, [3, 3, 3], "the ranks of {}", server.url());
    }
    let counted = metric(&router, "sgl_router_processed_requests_total").await;
    assert_eq!((counted.len(), sum(&counted)), (6, 18.0), "{counted:?}");
    assert!(
        counted.iter().any(|(label, _)| label.contains(&format!("{}@2", fleet.urls()[0]))),
        "{counted:?}"
    );
    assert_eq!(candidates(&router).await.keys().filter(|name| name.contains('@')).count(), 6);
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn each_rank_has_own_load_and_cap() {
    let fleet = emulated("sglang_8b:max_running=1", 2).await;
    let url = fleet.urls()[0].clone();
    let router = ready(Options { policy: "shortest_queue".to_owned(), ..dp_aware(fleet.urls()) }, 2).await;
    let busy = occupy(&fleet.servers[0], 0, 4).await;
    let waiting = async {
        loop {
            let loads = body(&get(&router, "/get_loads").await);
            let of = |name: String| {
                let all = loads["workers"].as_array().unwrap();
                all.iter().find(|w| w["worker"] == name.as_str()).unwrap()["waiting"].as_u64()
            };
            if (of(format!("{url}@0")), of(format!("{url}@1"))) == (Some(3), Some(0)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the ranks were never told apart");
    for _ in 0..3 {
        let answer =
            post(&router, "/generate", r#"{"text":"a","sampling_params":{"max_new_tokens":1}}"#).await;
        assert_eq!(header(&answer, "x-sglang-worker"), Some(&*format!("{url}@1")), "{answer}");
    }
    drop(busy);
}

#[tokio::test]
async fn full_rank_is_skipped() {
    let fleet = emulated("sglang_8b:max_running=1:max_queued=1", 2).await;
    let _busy = occupy(&fleet.servers[0], 0, 2).await;
    let asked = |rid: &str| format!(r#"{{"text":"a"{rid},"sampling_params":{{"max_new_tokens":1}}}}"#);
    let router = ready(dp_aware(fleet.urls()), 2).await;
    for n in 0..4 {
        let answer = post(&router, "/generate", &asked("")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "request {n}: {answer}");
        assert_eq!(body(&answer)["meta_info"]["dp_rank"], 1, "request {n}");
    }
    assert!(sum(&metric(&router, "sgl_router_retries_total").await) >= 1.0, "nobody asked the full rank");
    // With an id of its own the request may not come to the engine twice, so the client hears that there is no room.
    let router = ready(dp_aware(fleet.urls()), 2).await;
    let answers = [
        post(&router, "/generate", &asked(r#","rid":"a""#)).await,
        post(&router, "/generate", &asked("")).await,
    ];
    assert!(answers[0].starts_with("HTTP/1.1 503 "), "{}", answers[0]);
    assert!(answers[1].starts_with("HTTP/1.1 200 "), "{}", answers[1]);
}

#[tokio::test]
async fn ranks_fail_and_recover_together() {
    let first = Emulator::start(config("sglang_8b@50", 2)).await.unwrap();
    let other = Emulator::start(config("sglang_8b@50", 2)).await.unwrap();
    let (address, url) = (first.addr(), first.url());
    let router = ready(dp_aware(vec![first.url(), other.url()]), 4).await;
    first.shutdown().await;
    for _ in 0..8 {
        assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "), "lost");
    }
    until(|| router.healthy_workers() == 2).await;
    let states = candidates(&router).await;
    assert_eq!((&*states[&format!("{url}@0")], &*states[&format!("{url}@1")]), ("unhealthy", "unhealthy"));
    // Another program comes up at the address, with more ranks than the one before.
    let config = EmulatorConfig { listen: address, ..config("sglang_8b@50", 3) };
    let again = Emulator::start(config).await.unwrap();
    until(|| router.healthy_workers() == 5).await;
    for _ in 0..10 {
        assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
    }
    assert!(again.rank_stats().iter().all(|s| s.received == 2), "{:?}", again.rank_stats());
    again.shutdown().await;
    until(|| router.healthy_workers() == 2).await;
    let fewer = EmulatorConfig { listen: address, ..self::config("sglang_8b@50", 1) };
    let again = Emulator::start(fewer).await.unwrap();
    until(|| router.healthy_workers() == 3).await;
    let whole = async {
        while candidates(&router).await.keys().filter(|name| name.starts_with(&url)).count() != 1 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, whole).await.expect("ranks that are no more never left");
    assert_eq!(candidates(&router).await.get(&url).map(String::as_str), Some("healthy"));
    drop(again);
}

#[tokio::test]
async fn ranks_share_one_breaker() {
    let fleet = emulated("sglang_8b@50*2", 2).await;
    let router = ready(
        Options { cb_failure_threshold: 2, cb_timeout_duration_secs: 0.2, ..dp_aware(fleet.urls()) },
        4,
    )
    .await;
    let fault = Fault { status: 500, ..Fault::new(FaultKind::Status) };
    fleet.servers[0].set_fault(fault);
    for _ in 0..8 {
        assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
    }
    let states = metric(&router, "sgl_router_worker_cb_state").await;
    let open = states.iter().filter(|(label, state)| *state > 0.0 && label.contains(&fleet.urls()[0]));
    assert_eq!(open.count(), 2, "two faults, one on each rank: {states:?}");
    fleet.servers[0].clear_fault();
    let closed = async {
        while sum(&metric(&router, "sgl_router_worker_cb_state").await) > 0.0 {
            assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("the breaker never closed");
}

#[tokio::test]
async fn late_rank_discovery_loses_no_request() {
    let told = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tells = Arc::clone(&told);
    let (tell, mut requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (tells, tell) = (Arc::clone(&tells), tell.clone());
            tokio::spawn(async move {
                while let Some((head, _)) = read_message(&mut socket).await {
                    let (status, body) = match head.split(' ').nth(1) {
                        Some("/health") => ("200 OK", ""),
                        Some("/server_info") if tells.load(SeqCst) => ("200 OK", r#"{"dp_size":2}"#),
                        Some("/generate") => {
                            let _ = tell.send(header(&head, "x-data-parallel-rank").map(str::to_owned));
                            ("200 OK", "{}")
                        }
                        _ => ("404 Not Found", ""),
                    };
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    let _ = socket.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    let router = ready(dp_aware(vec![format!("http://{address}")]), 1).await;
    assert!(post(&router, "/generate", "{}").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(requests.recv().await.unwrap(), None);
    told.store(true, SeqCst);
    until(|| router.healthy_workers() == 2).await;
    let mut ranks = Vec::new();
    for _ in 0..2 {
        assert!(post(&router, "/generate", "{}").await.starts_with("HTTP/1.1 200 "));
        ranks.push(requests.recv().await.unwrap().unwrap());
    }
    ranks.sort();
    assert_eq!(ranks, ["0", "1"]);
    let series = metric(&router, "sgl_router_processed_requests_total").await;
    assert!(series.iter().all(|(label, _)| label.contains('@')), "{series:?}");
}

#[tokio::test]
async fn vllm_gets_rank_in_header_only() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let vllm = worker(move |mut incoming| {
        let tell = tell.clone();
        async move {
            let rank = incoming.header("x-data-parallel-rank").map(str::to_owned);
            tell.send((rank, String::from_utf8(incoming.body.clone()).unwrap())).unwrap();
            incoming.send_json("{}").await;
        }
    })
    .await;
    let router = start(Options { worker_urls: vec!["http://127.0.0.1:1".to_owned()], ..options(&[]) }).await;
    let spec = format!(r#"{{"url":"http://{vllm}","runtime":"vllm","dp_aware":true,"dp_size":2}}"#);
    assert!(post(&router, "/workers", &spec).await.starts_with("HTTP/1.1 202 "));
    until(|| router.healthy_workers() == 2).await;
    let asked = r#"{"model":"m", "prompt":"a"}"#;
    let mut ranks = Vec::new();
    for _ in 0..2 {
        assert!(post(&router, "/v1/completions", asked).await.starts_with("HTTP/1.1 200 "));
        let (rank, body) = told.recv().await.unwrap();
        assert_eq!(body, asked);
        ranks.push(rank.unwrap());
    }
    ranks.sort();
    assert_eq!(ranks, ["0", "1"]);
}

#[tokio::test]
async fn worker_leaves_with_all_ranks() {
    let fleet = emulated("sglang_8b@50*2", 2).await;
    let url = fleet.urls()[0].clone();
    let router = ready(dp_aware(fleet.urls()), 4).await;
    let mut client = RawClient::connect(&router).await;
    client
        .post(
            "/generate",
            r#"{"text":"a","stream":true,"sampling_params":{"max_new_tokens":3000,"ignore_eos":true}}"#,
        )
        .await;
    client.see("data: ").await;
    // Any of its ranks stands for it.
    let path = format!("/workers/{}", format!("{url}@1").replace(':', "%3A").replace('/', "%2F"));
    assert!(send(&router, "DELETE", &path, "").await.starts_with("HTTP/1.1 202 "));
    assert_eq!(router.healthy_workers(), 2);
    assert!(post(&router, &format!("/add_worker?url={url}"), "").await.starts_with("HTTP/1.1 200 "));
    until(|| router.healthy_workers() == 4).await;
    assert!(client.see("[DONE]").await.contains("\"finish_reason\":{\"type\":\"length\""));
    drop(client);
    until_metric(&router, "sgl_router_active_workers", 4.0).await;
    let left = async {
        while candidates(&router).await.len() != 4 || body(&get(&router, "/workers").await)["total"] != 4 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, left).await.expect("the old ranks never left");
    let listed = body(&get(&router, "/list_workers").await);
    assert_eq!(listed["urls"].as_array().unwrap().len(), 4, "{listed}");
}

#[tokio::test]
async fn single_rank_worker_is_one_candidate() {
    let fleet = emulated("sglang_8b@50", 1).await;
    let router = ready(dp_aware(fleet.urls()), 1).await;
    let answer = post(&router, "/generate", r#"{"text":"a","sampling_params":{"max_new_tokens":1}}"#).await;
    assert_eq!(header(&answer, "x-sglang-worker"), Some(&*fleet.urls()[0]));
    // A worker without dp_aware stays one candidate.
    let divided = emulated("sglang_8b@50", 2).await;
    let undivided = self::router(Options { worker_urls: divided.urls(), ..options(&[]) }).await;
    assert_eq!(candidates(&undivided).await.keys().next(), divided.urls().first());
}

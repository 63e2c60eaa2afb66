//! Requests that end early, queues that fill up, caches that warm up.

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use router_emulator::{EmulatedFleet, Emulator, EmulatorConfig, RunningEmulator, SglangVersion};
use router_engine::{EngineLimits, EngineProfile};

use crate::client::{get, open, post, server, until};

/// One request at a time, one in the queue, and slow enough that nothing ends by itself.
async fn narrow(version: SglangVersion, max_queued: Option<u32>) -> RunningEmulator {
    let profile = EngineProfile::named("sglang_8b").unwrap();
    let mut config = EmulatorConfig::new(profile);
    config.limits = Some(EngineLimits { max_running: 1, max_queued, ..profile.limits });
    (config.version, config.speed) = (version, 0.05);
    Emulator::start(config).await.unwrap()
}

fn long(rid: &str, stream: bool) -> String {
    let sampling = r#"{"max_new_tokens": 20000, "ignore_eos": true}"#;
    format!(r#"{{"rid": "{rid}", "text": "x", "stream": {stream}, "sampling_params": {sampling}}}"#)
}

#[tokio::test]
async fn client_disconnect_frees_slot_in_every_state() {
    let s = narrow(SglangVersion::Stock, None).await;
    let mut response = open(&s, Method::POST, "/generate", &long("a", true)).await.unwrap();
    response.frame().await.unwrap().unwrap();
    assert_eq!((s.stats().running, s.stats().waiting), (1, 0));
    let address = &s;
    let queued = async { open(address, Method::POST, "/generate", &long("b", false)).await };
    tokio::select! {
        _ = queued => panic!("it cannot have been answered"),
        () = until(&s, |stats| stats.waiting == 1) => {}
    }
    until(&s, |stats| stats.waiting == 0).await;
    assert_eq!(s.stats().running, 1, "the queued client left, the running one stays");
    drop(response);
    until(&s, |stats| stats.in_flight() == 0).await;
    let stats = s.stats();
    assert_eq!((stats.received, stats.completed, stats.aborted), (2, 0, 2));
    assert_eq!(stats.load.used_tokens, 0);
}

#[tokio::test]
async fn abort_request_ends_running_and_queued() {
    let s = narrow(SglangVersion::Stock, None).await;
    let running = async { post(&s, "/generate", &long("r", true)).await };
    let queued = async {
        until(&s, |stats| stats.running == 1).await;
        post(&s, "/generate", &long("q", false)).await
    };
    let killer = async {
        until(&s, |stats| (stats.running, stats.waiting) == (1, 1)).await;
        assert_eq!(get(&s, "/v1/loads").await.json()["loads"][0]["num_waiting_reqs"], 1);
        assert_eq!(post(&s, "/flush_cache", "").await.status, StatusCode::BAD_REQUEST);
        assert_eq!(post(&s, "/abort_request", r#"{"rid": "nobody"}"#).await.status, StatusCode::OK);
        assert_eq!(s.stats().in_flight(), 2);
        post(&s, "/abort_request", r#"{"rid": "q"}"#).await;
        post(&s, "/abort_request", r#"{"abort_all": true}"#).await;
    };
    let (running, queued, ()) = tokio::join!(running, queued, killer);
    let theirs: serde_json::Value =
        serde_json::from_str(include_str!("../data/stock/queued_2_nonstream_aborted")).unwrap();
    let queued = queued.json();
    let keys =
        |v: &serde_json::Value| v["meta_info"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&queued), keys(&theirs));
    assert_eq!(queued["meta_info"]["finish_reason"], theirs["meta_info"]["finish_reason"]);
    let events = running.events();
    let last = &events[events.len() - 2]["meta_info"]["finish_reason"];
    assert_eq!((&last["type"], &last["message"]), (&"abort".into(), &"Aborted".into()));
    assert_eq!(s.stats().in_flight(), 0);
}

#[tokio::test]
async fn full_queue_error_depends_on_version() {
    for version in [SglangVersion::Stock, SglangVersion::Classic] {
        let s = narrow(version, Some(1)).await;
        let first = open(&s, Method::POST, "/generate", &long("a", true)).await.unwrap();
        until(&s, |stats| stats.running == 1).await;
        let second = open(&s, Method::POST, "/generate", &long("b", true)).await.unwrap();
        let refused = post(&s, "/generate", &long("c", false)).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.text, include_str!("../data/stock/full_5_nonstream"));
        let streamed = crate::client::ask(&s, Method::POST, "/generate", &long("d", true)).await;
        if version == SglangVersion::Stock {
            let reason = &streamed.unwrap().events()[0]["meta_info"]["finish_reason"];
            assert_eq!((&reason["type"], &reason["status_code"]), (&"abort".into(), &503.into()));
            let chat = r#"{"messages": [{"role": "user", "content": "a"}], "stream": true}"#;
            let chat = post(&s, "/v1/chat/completions", chat).await.text;
            assert_eq!(chat, include_str!("../data/stock/full_7_chat_stream"));
        } else {
            let cut = streamed.unwrap();
            assert_eq!(
                (cut.status.as_u16(), cut.text.as_str(), cut.broken),
                (200, "", true),
                "0.4 cuts the stream"
            );
        }
        drop((first, second));
        until(&s, |stats| stats.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn repeated_prompt_is_cached_until_flush() {
    let s = server(SglangVersion::Stock, 20.0).await;
    let body =
        format!(r#"{{"text": "{}", "sampling_params": {{"max_new_tokens": 1}}}}"#, "word ".repeat(100));
    let mut cached = Vec::new();
    for _ in 0..2 {
        cached
            .push(post(&s, "/generate", &body).await.json()["meta_info"]["cached_tokens"].as_u64().unwrap());
    }
    assert_eq!(post(&s, "/flush_cache", "").await.status, StatusCode::OK);
    cached.push(post(&s, "/generate", &body).await.json()["meta_info"]["cached_tokens"].as_u64().unwrap());
    assert_eq!(cached, [0, 112, 0], "125 tokens hold seven blocks of 16");
}

#[tokio::test]
async fn api_key_exempts_health_and_metrics() {
    let mut config = EmulatorConfig::new(EngineProfile::named("sglang_8b").unwrap());
    config.api_key = Some("secret".to_owned());
    let s = Emulator::start(config).await.unwrap();
    for (path, status) in
        [("/health", 200), ("/metrics", 200), ("/health_generate", 200), ("/v1/models", 401)]
    {
        assert_eq!(get(&s, path).await.status.as_u16(), status, "{path}");
    }
    assert_eq!(get(&s, "/get_load").await.text, r#"{"error":"Unauthorized"}"#);
}

#[tokio::test]
async fn fleet_starts_on_free_ports_and_stops() {
    let spec = "a100*1,t4@20*2".parse().unwrap();
    let base = EmulatorConfig::new(EngineProfile::named("a100").unwrap());
    let fleet = EmulatedFleet::start(&spec, None, &base).await.unwrap();
    assert_eq!(fleet.urls().len(), 3);
    assert_eq!(get(&fleet.servers[2], "/health").await.status, StatusCode::OK);
    let addr = fleet.servers[0].addr();
    let taken = EmulatedFleet::start(&"l4".parse().unwrap(), Some(addr.port()), &base).await.unwrap_err();
    assert!(taken.to_string().contains(&addr.to_string()), "{taken}");
    fleet.shutdown().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "the port is closed");
}

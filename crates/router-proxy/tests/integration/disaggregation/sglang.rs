//! SGLang's protocol: both servers get the request at once and meet in a room.

use super::pair::{LONG, Pair, alone, by_grpc, events, json_of, texts};
use crate::support::{get, header, post, start, until};
use router_config::Options;
use router_config::PdProtocol;
use router_emulator::{Fault, FaultKind};
use serde_json::{Value, json};
use std::net::SocketAddr;

#[tokio::test]
async fn a_pair_answers_as_one_server_would() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    let chat = json!({"messages": [{"role": "user", "content": LONG}], "max_tokens": 9, "ignore_eos": true});
    for (path, request) in [
        ("/generate", json!({"text": LONG, "sampling_params": {"max_new_tokens": 8}})),
        ("/generate", json!({"text": [LONG, "other"], "sampling_params": {"max_new_tokens": 8}})),
        ("/generate", json!({"text": ["one"], "sampling_params": {"max_new_tokens": 3}})),
        ("/generate", json!({"input_ids": [[1, 2], [3, 4, 5]], "sampling_params": {"max_new_tokens": 4}})),
        ("/v1/completions", json!({"prompt": ["a", "b", "c"], "max_tokens": 5, "ignore_eos": true})),
        ("/v1/chat/completions", chat),
    ] {
        let request = request.to_string();
        let answer = post(&pair.router, path, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{request}: {answer}");
        assert_eq!(texts(&json_of(&answer)), texts(&json_of(&alone(path, &request).await)), "{request}");
        assert_eq!(header(&answer, "x-sglang-worker"), Some(pair.decode[0].url().as_str()));
        assert_eq!(header(&answer, "x-sglang-prefill-worker"), Some(pair.prefill[0].url().as_str()));
    }
    pair.at_rest().await;
    let (read, written) = (pair.prefill[0].stats(), pair.decode[0].stats());
    assert_eq!((read.received, written.received), (10, 10), "every part went to both");
    assert_eq!((read.completed, written.completed), (10, 10));
    assert_eq!(
        written.load.prefill_uncached_tokens, 10,
        "of a prompt that was handed over, the last token alone"
    );
}

#[tokio::test]
async fn a_pair_answers_over_grpc_too() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    let router = start(by_grpc(&pair)).await;
    until(|| router.healthy_workers() == 2).await;
    let chat = json!({"messages": [{"role": "user", "content": LONG}], "max_tokens": 9, "ignore_eos": true});
    for (path, request) in [
        ("/generate", json!({"text": LONG, "sampling_params": {"max_new_tokens": 8}})),
        ("/generate", json!({"text": [LONG, "other"], "sampling_params": {"max_new_tokens": 8}})),
        ("/v1/completions", json!({"prompt": ["a", "b", "c"], "max_tokens": 5, "ignore_eos": true})),
        ("/v1/chat/completions", chat),
    ] {
        let request = request.to_string();
        let answer = post(&router, path, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{request}: {answer}");
        assert_eq!(texts(&json_of(&answer)), texts(&json_of(&alone(path, &request).await)), "{request}");
        assert_eq!(header(&answer, "x-sglang-prefill-worker"), pair.prefill[0].grpc_url().as_deref());
    }
    until(|| router.in_flight() == 0).await;
    pair.at_rest().await;
    let (read, written) = (pair.prefill[0].stats(), pair.decode[0].stats());
    assert_eq!((read.received, written.received), (7, 7), "every part went to both");
}

#[tokio::test]
async fn stream_begins_while_prefill_is_open() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    let request =
        json!({"text": LONG, "stream": true, "sampling_params": {"max_new_tokens": 12, "ignore_eos": true}});
    let answer = post(&pair.router, "/generate", &request.to_string()).await;
    let events = events(&answer);
    assert_eq!(events[events.len() - 2]["meta_info"]["completion_tokens"], 12, "{answer}");
    assert!(events.last().unwrap().is_null());
    let chat =
        json!({"messages": [{"role": "user", "content": "a"}], "stream": true, "max_tokens": 4, "n": 2});
    let answer = post(&pair.router, "/v1/chat/completions", &chat.to_string()).await;
    assert!(answer.contains("data: [DONE]"), "{answer}");
    pair.at_rest().await;
}

#[tokio::test]
async fn prompt_logprobs_are_merged_from_prefill() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    for prompt in [json!(LONG), json!([LONG, "short"])] {
        let mut request =
            json!({"text": prompt, "return_logprob": true, "sampling_params": {"max_new_tokens": 4}});
        let logprobs = |v: &Value| match v {
            Value::Array(all) => all.iter().map(|a| a["meta_info"]["input_token_logprobs"].clone()).collect(),
            one => vec![one["meta_info"]["input_token_logprobs"].clone()],
        };
        let expected = logprobs(&json_of(&alone("/generate", &request.to_string()).await));
        assert!(expected.iter().all(|e| e.as_array().is_some_and(|l| !l.is_empty())), "{expected:?}");
        let answer = post(&pair.router, "/generate", &request.to_string()).await;
        assert_eq!(logprobs(&json_of(&answer)), expected, "{answer}");
        request["stream"] = json!(true);
        let answer = post(&pair.router, "/generate", &request.to_string()).await;
        let events = events(&answer);
        assert!(events.len() > 1 && events.last().unwrap().is_null(), "{answer}");
        for event in events.iter().filter(|e| !e.is_null()) {
            let part = event["index"].as_u64().unwrap_or(0) as usize;
            assert_eq!(event["meta_info"]["input_token_logprobs"], expected[part]);
        }
    }
    pair.at_rest().await;
}

#[tokio::test]
async fn both_legs_share_one_bootstrap_room() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let worker = |name: &'static str| {
        let seen = seen.clone();
        crate::support::worker(move |mut incoming: crate::support::Incoming| {
            let seen = seen.clone();
            async move {
                let body = String::from_utf8(std::mem::take(&mut incoming.body)).unwrap();
                incoming.send_json(r#"{"text":"a","meta_info":{"completion_tokens":1}}"#).await;
                let header = |name| incoming.header(name).unwrap_or_default().to_owned();
                let _ = seen.send((name, [header("x-request-id"), header("authorization")], body));
            }
        })
    };
    let (prefill, decode): (SocketAddr, SocketAddr) = (worker("prefill").await, worker("decode").await);
    let router = start(Options {
        pd_disaggregation: true,
        prefill: vec![format!("http://{prefill} 8998")],
        decode: vec![format!("http://{decode}")],
        worker_api_key: Some("usual".to_owned().into()),
        ..crate::support::options(&[])
    })
    .await;
    until(|| router.healthy_workers() == 2).await;
    let asked = r#"{"odd" :	[1 ,2], "text":"h\u00e9"}"#;
    let mut rooms = std::collections::HashSet::new();
    for _ in 0..3 {
        post(&router, "/generate", asked).await;
        let (first, second) = (requests.recv().await.unwrap(), requests.recv().await.unwrap());
        assert_ne!(first.0, second.0, "one each");
        assert_eq!((&first.1, &first.2), (&second.1, &second.2), "one id, one key, one body");
        assert_eq!(first.1[1], "Bearer usual");
        assert!(first.2.starts_with(asked.trim_end_matches('}')), "{}", first.2);
        let body: Value = serde_json::from_str(&first.2).unwrap();
        assert_eq!((&body["bootstrap_host"], &body["bootstrap_port"]), (&json!("127.0.0.1"), &json!(8998)));
        let room = body["bootstrap_room"].as_u64().unwrap();
        assert!(room <= i64::MAX as u64 && rooms.insert(room));
    }
}

#[tokio::test]
async fn an_engine_never_sees_one_rid_twice() {
    let pair = Pair::sized(PdProtocol::Sglang, (3, 2), |o| {
        o.retry_budget = 10.0;
        o.enable_tracking = true;
    })
    .await;
    pair.prefill.iter().for_each(|p| p.set_fault(Fault::new(FaultKind::Status)));
    for (request, tries) in [(r#"{"text":"a"}"#, 3), (r#"{"text":"a","rid":"mine"}"#, 2)] {
        let answer = post(&pair.router, "/generate", request).await;
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        pair.at_rest().await;
        let id = header(&answer, "x-request-id").unwrap();
        let trace = json_of(&get(&pair.router, &format!("/v1/traces/{id}")).await);
        let attempts = trace["attempts"].as_array().unwrap();
        let decodes: Vec<_> =
            attempts.iter().filter(|a| a["leg"] == "decode").map(|a| a["worker_url"].to_string()).collect();
        let different: std::collections::HashSet<_> = decodes.iter().collect();
        assert_eq!((decodes.len(), different.len()), (tries, 2), "{trace}");
    }
}

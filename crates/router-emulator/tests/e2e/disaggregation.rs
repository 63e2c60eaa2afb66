//! Two servers that share a request: the KV transfer, and errors when the other server is missing.

use crate::client::{open, post, until};
use http::Method;
use router_emulator::{Emulator, EmulatorConfig, RunningEmulator, ServerRole};
use router_engine::EngineProfile;
use serde_json::json;
use std::time::Duration;

async fn server(role: ServerRole) -> RunningEmulator {
    let mut config = EmulatorConfig::new(EngineProfile::named("sglang_8b").unwrap());
    (config.role, config.speed) = (role, 50.0);
    Emulator::start(config).await.unwrap()
}

/// A decode server with a short timeout.
async fn hasty() -> RunningEmulator {
    let mut config = EmulatorConfig::new(EngineProfile::named("sglang_8b").unwrap());
    (config.role, config.bootstrap_timeout) = (ServerRole::Decode, Duration::from_millis(50));
    Emulator::start(config).await.unwrap()
}

fn meeting(prefill: &RunningEmulator, room: u64) -> String {
    json!({"text": "a b", "bootstrap_host": "127.0.0.1", "bootstrap_port": prefill.config().bootstrap_port,
        "bootstrap_room": room, "sampling_params": {"max_new_tokens": 3, "ignore_eos": true}})
    .to_string()
}

#[tokio::test]
async fn prefill_and_decode_wait_for_transfer() {
    let (prefill, decode) = (server(ServerRole::Prefill).await, server(ServerRole::Decode).await);
    let body = meeting(&prefill, 7);
    let reading = post(&prefill, "/generate", &body);
    let writing = post(&decode, "/generate", &body);
    let (read, written) = tokio::join!(reading, writing);
    let (read, written) = (read.json(), written.json());
    assert_eq!(
        (&read["meta_info"]["completion_tokens"], &written["meta_info"]["completion_tokens"]),
        (&json!(1), &json!(3))
    );
    let (first, all) = (read["text"].as_str().unwrap(), written["text"].as_str().unwrap());
    assert!(all.starts_with(first), "one model on both: {first:?}, {all:?}");
}

#[tokio::test]
async fn missing_room_aborts_as_captured() {
    for role in [ServerRole::Prefill, ServerRole::Decode] {
        let response = post(&server(role).await, "/generate", r#"{"text":"a"}"#).await;
        let reason = &response.json()["meta_info"]["finish_reason"];
        assert_eq!(reason["type"], "abort");
        assert!(reason["message"].as_str().unwrap().contains("without boostrap room id"), "{reason}");
    }
}

#[tokio::test]
async fn decode_times_out_without_prefill() {
    let (prefill, decode) = (server(ServerRole::Prefill).await, hasty().await);
    let response = post(&decode, "/generate", &meeting(&prefill, 8)).await;
    assert_eq!(response.status, 500);
    let streamed = meeting(&prefill, 9).replacen('{', "{\"stream\":true,", 1);
    let response = post(&decode, "/generate", &streamed).await;
    assert_eq!(
        (response.status.as_u16(), &response.events()[0]["meta_info"]["finish_reason"]["status_code"]),
        (200, &json!(500))
    );
}

#[tokio::test]
async fn unfetched_prompt_is_withdrawn_with_client() {
    let prefill = server(ServerRole::Prefill).await;
    let body = meeting(&prefill, 10);
    {
        let waiting = open(&prefill, Method::POST, "/generate", &body);
        tokio::select! {
            _ = waiting => panic!("nobody has fetched the prompt"),
            () = until(&prefill, |stats| stats.completed == 1) => {}
        }
    }
    let decode = hasty().await;
    // The offer is withdrawn, so this one times out.
    let response = post(&decode, "/generate", &body).await;
    assert_eq!(response.status, 500);
}

#[tokio::test]
async fn vllm_prompt_is_fetched_once_by_key() {
    let (prefill, decode) = (server(ServerRole::Prefill).await, server(ServerRole::Decode).await);
    let ask = |transfer: &serde_json::Value| {
        json!({"prompt": "a b", "max_tokens": 3, "ignore_eos": true, "kv_transfer_params": transfer})
            .to_string()
    };
    let keep = ask(&json!({"do_remote_decode": true}));
    let read = post(&prefill, "/v1/completions", &keep).await.json();
    let fetch = ask(&read["kv_transfer_params"]);
    let written = post(&decode, "/v1/completions", &fetch).await.json();
    assert_eq!(written["usage"]["completion_tokens"], 3);
    let again = post(&hasty().await, "/v1/completions", &fetch).await;
    assert_eq!(again.status, 500, "it is gone");
}

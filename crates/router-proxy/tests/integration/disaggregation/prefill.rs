//! The leg that reads the prompt, and what becomes of a request when it fails.

use super::pair::{EVENTS, Pair, by_hand, code, json_of};
use crate::support::{RawClient, header, post, until};
use router_config::PdProtocol;
use router_emulator::{Fault, FaultKind};
use serde_json::json;

#[tokio::test]
async fn failed_prefill_cancels_decode() {
    // The decode server alone would wait 14 s for the prompt, and then blame itself.
    let pair = Pair::start(PdProtocol::Sglang).await;
    for stream in [false, true] {
        let request = json!({"text": "a", "stream": stream}).to_string();
        for (kind, status) in [
            (FaultKind::Status, 500),
            (FaultKind::Status, 503),
            (FaultKind::ResetBeforeFirstByte, 0),
            (FaultKind::Garbage, 0),
        ] {
            pair.prefill[0].set_fault(Fault { status, ..Fault::new(kind) });
            let answer = post(&pair.router, "/generate", &request).await;
            if kind == FaultKind::Status {
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
                assert_eq!(header(&answer, "x-sglang-worker"), Some(pair.prefill[0].url().as_str()));
            } else {
                assert_eq!(
                    (&answer[9..12], code(&answer).as_str()),
                    ("502", "prefill_server_error"),
                    "{answer}"
                );
                assert!(
                    json_of(&answer)["error"]["message"].as_str().unwrap().starts_with("prefill failed: ")
                );
            }
            pair.prefill[0].clear_fault();
            pair.at_rest().await;
            until(|| pair.router.healthy_workers() == 2).await;
        }
    }
}

#[tokio::test]
async fn lost_prefill_ends_request_at_once() {
    for stream in [false, true] {
        let mut pair = Pair::start(PdProtocol::Sglang).await;
        // So slow that it is still reading when it dies.
        pair.prefill[0].set_fault(Fault { factor: 1e6, ..Fault::new(FaultKind::Slow) });
        let request = json!({"text": "a", "stream": stream}).to_string();
        let mut client = RawClient::connect(&pair.router).await;
        client.post("/generate", &request).await;
        until(|| pair.prefill[0].stats().in_flight() == 1).await;
        pair.prefill.remove(0).shutdown().await;
        let answer = client.see("\"code\":").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(answer.contains("prefill_server_error"), "{answer}");
        pair.at_rest().await;
    }
}

#[tokio::test]
async fn timeout_names_the_hanging_prefill() {
    for protocol in [PdProtocol::Sglang, PdProtocol::Vllm] {
        let pair = Pair::sized(protocol, (1, 1), |o| o.request_timeout_secs = 1).await;
        pair.prefill[0].set_fault(Fault::new(FaultKind::Hang));
        let answer = post(&pair.router, "/v1/completions", r#"{"prompt":"a"}"#).await;
        assert_eq!((&answer[9..12], code(&answer).as_str()), ("504", "prefill_timeout"), "{answer}");
        pair.at_rest().await;
        let failed = crate::support::metric(&pair.router, "sgl_router_pd_prefill_errors_total").await;
        assert_eq!(crate::support::sum(&failed), 1.0, "it is held against the worker");
        let failed = crate::support::metric(&pair.router, "sgl_router_pd_decode_errors_total").await;
        assert_eq!(crate::support::sum(&failed), 0.0, "and not against the other one");
    }
}

#[tokio::test]
async fn late_prefill_failure_ends_only_batches() {
    for (request, survives) in
        [(r#"{"text":["a","b"],"stream":true}"#, false), (r#"{"text":"a","stream":true}"#, true)]
    {
        let begun = std::sync::Arc::new(tokio::sync::Notify::new());
        let (seen, broken) = (begun.clone(), std::sync::Arc::new(tokio::sync::Notify::new()));
        let told = broken.clone();
        let prefill = crate::support::worker(move |mut incoming: crate::support::Incoming| {
            let (seen, told) = (seen.clone(), told.clone());
            async move {
                incoming.send(EVENTS).await;
                seen.notified().await;
                drop(incoming);
                told.notify_one();
            }
        })
        .await;
        let decode = crate::support::worker(move |mut incoming: crate::support::Incoming| {
            let broken = broken.clone();
            async move {
                incoming.send(EVENTS).await;
                broken.notified().await;
                if survives {
                    incoming.send("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").await;
                }
                incoming.closed().await;
            }
        })
        .await;
        let router = by_hand(prefill, decode).await;
        let mut client = RawClient::connect(&router).await;
        client.post("/generate", request).await;
        client.see("data: 1").await;
        assert_eq!(router.in_flight(), 2, "either leg has a seat");
        begun.notify_one();
        if survives {
            client.see("[DONE]").await;
        } else {
            let answer = client.rest().await;
            assert!(answer.contains("prefill_server_error") && !answer.contains("[DONE]"), "{answer}");
        }
        until(|| router.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn prefill_error_inside_200_is_noticed() {
    let abort = r#"{"text":"","meta_info":{"id":"a","finish_reason":{"type":"abort","message":"KVTransferError"},"completion_tokens":0}}"#;
    let prefill = crate::support::worker(move |mut incoming: crate::support::Incoming| async move {
        incoming.send_json(abort).await
    })
    .await;
    let decode =
        crate::support::worker(
            |mut incoming: crate::support::Incoming| async move { incoming.closed().await },
        )
        .await;
    let router = by_hand(prefill, decode).await;
    let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
    assert_eq!((&answer[9..12], code(&answer).as_str()), ("502", "prefill_server_error"), "{answer}");
    assert!(answer.contains("aborted the request") && !answer.contains("KVTransferError"), "{answer}");
    until(|| router.in_flight() == 0).await;
}

//! The leg that writes the answer, and what becomes of a request when it fails.

use crate::pair::{Pair, code};
use crate::support::{header, post, until};
use router_config::PdProtocol;
use router_emulator::{Fault, FaultKind};
use serde_json::json;

#[tokio::test]
async fn failed_decode_cancels_prefill() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    for (kind, status, expected) in [
        (FaultKind::Status, 500, ("502", "decode_server_error")),
        (FaultKind::Status, 503, ("503", "decode_busy")),
        (FaultKind::ResetBeforeFirstByte, 0, ("502", "decode_server_error")),
    ] {
        pair.decode[0].set_fault(Fault { status, ..Fault::new(kind) });
        let answer = post(&pair.router, "/generate", r#"{"text":"a"}"#).await;
        assert_eq!((&answer[9..12], code(&answer).as_str()), expected, "{answer}");
        pair.decode[0].clear_fault();
        // The prefill server keeps a prompt that no worker decodes: the request is aborted there.
        pair.at_rest().await;
        until(|| pair.router.healthy_workers() == 2).await;
    }
}

#[tokio::test]
async fn truncated_decode_ends_stream_with_error() {
    for protocol in [PdProtocol::Sglang, PdProtocol::Vllm] {
        let pair = Pair::start(protocol).await;
        pair.decode[0].set_fault(Fault::new(FaultKind::ResetMidStream));
        let request =
            json!({"prompt": "a", "max_tokens": 50, "ignore_eos": true, "stream": true}).to_string();
        let answer = post(&pair.router, "/v1/completions", &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("worker_cut_answer") && !answer.contains("[DONE]"), "{answer}");
        pair.at_rest().await;
    }
}

#[tokio::test]
async fn unsplit_request_goes_to_decode_worker() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    let answer = post(&pair.router, "/tokenize", r#"{"prompt":"a b c"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(header(&answer, "x-sglang-worker"), Some(pair.decode[0].url().as_str()));
    assert_eq!(header(&answer, "x-sglang-prefill-worker"), None);
}

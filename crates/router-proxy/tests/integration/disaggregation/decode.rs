//! The leg that writes the answer, and what becomes of a request when it fails.

use super::pair::{Pair, code, emulator, pair_options};
use crate::support::{header, post, start, until, worker};
use router_config::{Options, PdProtocol};
use router_emulator::{Fault, FaultKind, ServerRole};
use serde_json::json;

#[tokio::test]
async fn failed_decode_cancels_prefill() {
    let pair = Pair::start(PdProtocol::Sglang).await;
    for (kind, status, expected) in [
        (FaultKind::Status, 500, "500"),
        (FaultKind::Status, 503, "503"),
        (FaultKind::ResetBeforeFirstByte, 0, "502"),
    ] {
        pair.decode[0].set_fault(Fault { status, ..Fault::new(kind) });
        let answer = post(&pair.router, "/generate", r#"{"text":"a"}"#).await;
        assert_eq!(&answer[9..12], expected, "{answer}");
        if status == 0 {
            assert_eq!(code(&answer), "decode_server_error", "{answer}");
        }
        pair.decode[0].clear_fault();
        // The prefill server keeps a prompt that no worker decodes: the request is aborted there.
        pair.at_rest().await;
        until(|| pair.router.healthy_workers() == 2).await;
    }
}

#[tokio::test]
async fn last_rejection_passes_as_it_came() {
    let body = r#"{"error":{"message":"the queue is full","type":"overloaded_error","code":429}}"#;
    for protocol in [PdProtocol::Sglang, PdProtocol::Vllm] {
        for status in ["429 Too Many Requests", "503 Service Unavailable", "507 Insufficient Storage"] {
            let prefill = emulator(ServerRole::Prefill, 20.0).await;
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nretry-after: 7\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let decode = worker(move |mut incoming| {
                let head = head.clone();
                async move { incoming.send(head + body).await }
            })
            .await;
            let options = Options {
                decode: vec![format!("http://{decode}")],
                pd_protocol: protocol,
                ..pair_options(std::slice::from_ref(&prefill), &[])
            };
            let router = start(options).await;
            until(|| router.healthy_workers() == 2).await;
            for path in ["/v1/completions", "/v1/chat/completions"] {
                let request = r#"{"prompt":"a","messages":[{"role":"user","content":"a"}]}"#;
                let answer = post(&router, path, request).await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
                assert_eq!(header(&answer, "retry-after"), Some("7"), "{answer}");
                assert!(answer.ends_with(body), "{answer}");
            }
            until(|| router.in_flight() == 0).await;
        }
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

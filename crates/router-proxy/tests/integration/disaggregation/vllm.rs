//! vLLM's protocol: one after the other.

use super::pair::{LONG, Pair, alone, events, json_of, texts};
use crate::support::{post, until};
use router_config::PdProtocol;
use router_emulator::{Fault, FaultKind};
use serde_json::json;

#[tokio::test]
async fn vllm_legs_run_in_sequence() {
    let pair = Pair::start(PdProtocol::Vllm).await;
    for stream in [false, true] {
        let mut request = json!({"messages": [{"role": "user", "content": LONG}], "max_completion_tokens": 7,
            "ignore_eos": true, "stream": stream});
        if stream {
            request["stream_options"] = json!({"include_usage": true});
        }
        let request = request.to_string();
        let answer = post(&pair.router, "/v1/chat/completions", &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        if stream {
            let events = events(&answer);
            assert_eq!(events[events.len() - 2]["usage"]["completion_tokens"], 7, "{answer}");
        } else {
            let whole = alone("/v1/chat/completions", &request).await;
            assert_eq!(texts(&json_of(&answer)), texts(&json_of(&whole)));
            assert!(json_of(&answer)["kv_transfer_params"].is_null(), "the client has no part in it");
        }
    }
    for (kind, expected) in [(FaultKind::Status, "500"), (FaultKind::CloseEarly, "502")] {
        pair.prefill[0].set_fault(Fault::new(kind));
        let answer = post(&pair.router, "/v1/completions", r#"{"prompt":"a"}"#).await;
        assert_eq!(&answer[9..12], expected, "{answer}");
        pair.prefill[0].clear_fault();
        until(|| pair.router.healthy_workers() == 2).await;
    }
    pair.at_rest().await;
    let (read, written) = (pair.prefill[0].stats(), pair.decode[0].stats());
    assert_eq!(
        (read.output_tokens, written.completed),
        (read.completed, 2),
        "the prefill stops after one token"
    );
    assert_eq!(written.load.prefill_uncached_tokens, 2, "of a prompt that was fetched, the last token alone");
}

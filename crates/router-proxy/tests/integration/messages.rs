//! `/v1/messages`, Anthropic's API: what is learned from it, its errors, its key.

use crate::support::{RawClient, body, header, metric, options, post, router, start, sum, until, worker};
use router_config::Options;
use router_emulator::{EmulatedFleet, EmulatorConfig, Fault, FaultKind, FleetSpec, SglangVersion};

const OK: &str = "HTTP/1.1 200 ";

async fn emulated(line: &str) -> EmulatedFleet {
    let spec: FleetSpec = line.parse().unwrap();
    let config =
        EmulatorConfig { version: SglangVersion::Stock, ..EmulatorConfig::new(spec.parts[0].profile) };
    EmulatedFleet::start(&spec, None, &config).await.unwrap()
}

fn message(stream: bool) -> String {
    format!(
        r#"{{"model":"m","max_tokens":6,"system":"Be brief.","stream":{stream},"messages":[{{"role":"user","content":[{{"type":"text","text":"hello there"}}]}}]}}"#
    )
}

#[tokio::test]
async fn tokens_of_messages_are_learned() {
    let fleet = emulated("sglang_8b@20").await;
    let router = router(Options { worker_urls: fleet.urls(), ..options(&[]) }).await;
    let answer = post(&router, "/v1/messages", &message(false)).await;
    assert!(answer.starts_with(OK), "{answer}");
    let whole = body(&answer);
    assert_eq!((&whole["type"], &whole["usage"]["output_tokens"]), (&"message".into(), &6.into()));
    let stream = post(&router, "/v1/messages", &message(true)).await;
    assert!(stream.starts_with(OK) && stream.contains("event: message_stop"), "{stream}");
    until(|| router.in_flight() == 0).await;
    let input = whole["usage"]["input_tokens"].as_f64().unwrap();
    for (name, expected) in [("prompt", 2.0 * input), ("output", 12.0)] {
        let tokens = metric(&router, &format!("sgl_router_{name}_tokens_total")).await;
        assert_eq!(sum(&tokens), expected, "{name} tokens");
    }
    let first_tokens = metric(&router, "sgl_router_ttft_seconds_count").await;
    assert!(first_tokens.iter().any(|(labels, n)| labels.contains("/v1/messages") && *n == 1.0));
    let count = body(&post(&router, "/v1/messages/count_tokens", &message(false)).await);
    assert_eq!(count["input_tokens"], whole["usage"]["input_tokens"]);
    fleet.shutdown().await;
}

#[tokio::test]
async fn failed_message_goes_to_another_worker() {
    let fleet = emulated("sglang_8b@20*2").await;
    let router = router(Options { worker_urls: fleet.urls(), ..options(&[]) }).await;
    fleet.servers[0].set_fault(Fault::new(FaultKind::Status));
    for stream in [false, true, false, true] {
        assert!(post(&router, "/v1/messages", &message(stream)).await.starts_with(OK));
    }
    fleet.shutdown().await;
}

/// SGLang 0.5.23 with a full queue: 200, a message that begins, and then the error, each in a chunk of its own.
#[tokio::test]
async fn full_queue_behind_message_start_is_retried() {
    let full = worker(|mut incoming| async move {
        const EVENTS: &str = include_str!(
            "../../../router-protocol/tests/data/sglang-0.5.23-variant-queue/full_anthropic_stream.response.body"
        );
        incoming
            .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        for event in EVENTS.split_inclusive("\n\n") {
            incoming.send(format!("{:x}\r\n{event}\r\n", event.len())).await;
            tokio::task::yield_now().await;
        }
        incoming.send("0\r\n\r\n").await;
    })
    .await;
    let good = worker(|mut incoming| async move {
        incoming
            .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\nevent: message_stop\ndata: {}\n\n")
            .await;
    })
    .await;
    let router = router(options(&[full, good])).await;
    for n in 0..4 {
        let answer = post(&router, "/v1/messages", &message(true)).await;
        assert!(answer.starts_with(OK) && !answer.contains("error"), "{n}: {answer}");
    }
    until(|| router.in_flight() == 0).await;
    assert!(sum(&metric(&router, "sgl_router_retries_total").await) > 0.0);
}

#[tokio::test]
async fn errors_have_anthropics_shape() {
    let router = start(Options { start_empty: true, ..options(&[]) }).await;
    let answer = post(&router, "/v1/messages", &message(false)).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let error = body(&answer);
    assert_eq!(error["type"], "error");
    assert_eq!(error["error"]["type"], "overloaded_error");
    assert_eq!(error["error"]["code"], "no_healthy_worker");
}

#[tokio::test]
async fn cut_stream_ends_with_error_event() {
    let address = worker(|mut incoming| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let event = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0}\n\n";
        incoming.send(format!("{head}{:x}\r\n{event}\r\n", event.len())).await;
    })
    .await;
    let router = router(options(&[address])).await;
    let answer = post(&router, "/v1/messages", &message(true)).await;
    let last = answer.rsplit("event: ").next().unwrap();
    let data = last.split_once("data: ").unwrap().1.lines().next().unwrap();
    let error: serde_json::Value = serde_json::from_str(data).unwrap();
    assert!(last.starts_with("error\n"), "{answer}");
    assert_eq!((&error["type"], &error["error"]["type"]), (&"error".into(), &"api_error".into()));
}

#[tokio::test]
async fn api_key_header_stays_at_the_router() {
    let address = worker(|mut incoming| async move {
        let keys = [incoming.header("x-api-key"), incoming.header("authorization")];
        let version = incoming.header("anthropic-version").unwrap_or("none");
        let text = format!(r#"{{"keys":{},"version":"{version}"}}"#, keys.iter().flatten().count());
        incoming.send_json(&text).await;
    })
    .await;
    for api_key in [Some("secret"), None] {
        let key = api_key.map(|key| key.to_owned().into());
        let router = router(Options { api_key: key, ..options(&[address]) }).await;
        for (given, status) in [("secret", 200), ("wrong", if api_key.is_some() { 401 } else { 200 })] {
            let mut client = RawClient::connect(&router).await;
            let (text, head) = (message(false), "POST /v1/messages HTTP/1.1\r\nhost: r\r\nconnection: close");
            client
                .send(format!(
                    "{head}\r\nx-api-key: {given}\r\nanthropic-version: 2023-06-01\r\ncontent-length: {}\r\n\r\n{text}",
                    text.len()
                ))
                .await;
            let answer = client.rest().await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(header(&answer, "x-request-id").unwrap().starts_with("msg_"));
            if status == 200 {
                assert!(answer.ends_with(r#"{"keys":0,"version":"2023-06-01"}"#), "{answer}");
            }
        }
    }
}

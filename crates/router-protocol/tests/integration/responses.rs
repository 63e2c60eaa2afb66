//! The figures in the captured responses of each engine, written down by hand.

use bytes::Bytes;
use router_core::Route;
use router_protocol::{ResponseFacts, StreamObserver, read_response};

fn facts(name: &str) -> ResponseFacts {
    let body = crate::support::body(name);
    let route = crate::support::request(name).0;
    if !body.starts_with(b"data:") && !body.starts_with(b"event:") {
        return read_response(&body);
    }
    let mut observer = StreamObserver::new(route);
    observer.push(&body);
    observer.finish()
}

/// Capture, prompt tokens, output tokens, cached tokens, events.
type TokenCountCase = (&'static str, Option<u32>, Option<u32>, Option<u32>, u32);

#[test]
fn token_counts() {
    let rows: &[TokenCountCase] = &[
        ("sglang-0.4.10.post2-metrics/generate", Some(3), Some(8), Some(0), 0),
        ("sglang-0.4.10.post2-metrics/generate_batch", Some(11), Some(20), Some(2), 0),
        ("sglang-0.4.10.post2-metrics/generate_n2", Some(6), Some(16), Some(4), 0),
        ("sglang-0.4.10.post2-metrics/generate_stream", Some(3), Some(8), Some(2), 8),
        ("sglang-0.4.10.post2-metrics/generate_batch_stream", Some(9), Some(12), Some(7), 12),
        ("sglang-0.4.10.post2-metrics/abort_target_stream", Some(1), Some(366), Some(0), 357),
        ("sglang-0.4.10.post2-metrics/chat", Some(11), Some(8), None, 0),
        ("sglang-0.4.10.post2-metrics/chat_stream", None, Some(8), None, 10),
        ("sglang-0.4.10.post2-metrics/chat_stream_usage", Some(11), Some(8), None, 11),
        ("sglang-0.4.10.post2-metrics/completions_stream", None, Some(8), None, 8),
        ("sglang-0.4.10.post2-metrics/completions_list", Some(5), Some(8), None, 0),
        ("sglang-0.4.10.post2-variant-queue/queued_2_nonstream_aborted", Some(0), Some(0), None, 0),
        ("sglang-0.5.23-metrics/generate", Some(3), Some(8), Some(0), 0),
        ("sglang-0.5.23-metrics/generate_stream", Some(3), Some(8), Some(2), 8),
        ("sglang-0.5.23-metrics/generate_stream_rid", Some(3), Some(24), Some(2), 22),
        ("sglang-0.5.23-metrics/chat_stream", None, Some(8), None, 10),
        ("sglang-0.5.23-metrics/chat_stream_usage_cont", Some(11), Some(4), None, 6),
        ("sglang-0.5.23-metrics/v1_responses", Some(10), Some(2), Some(6), 0),
        ("sglang-0.5.23-metrics/anthropic_messages", Some(10), Some(4), None, 0),
        ("sglang-0.5.23-metrics/anthropic_messages_stream", Some(11), Some(6), None, 11),
        ("sglang-0.5.23-metrics/anthropic_messages_system", Some(82), Some(4), Some(1), 0),
        ("sglang-0.5.23-metrics/anthropic_messages_cached_stream", Some(82), Some(4), Some(81), 9),
        ("sglang-0.5.23-variant-queue/queued_2_nonstream_aborted", None, Some(0), None, 0),
        ("vllm-0.32.0/chat", Some(11), Some(8), None, 0),
        ("vllm-0.32.0/chat_n2", Some(11), Some(8), None, 0),
        ("vllm-0.32.0/chat_n2_stream", None, Some(8), None, 10),
        ("vllm-0.32.0/chat_stream", None, Some(8), None, 9),
        ("vllm-0.32.0/chat_stream_usage_cont", Some(11), Some(4), None, 6),
        ("vllm-0.32.0/v1_responses", Some(10), Some(4), Some(0), 0),
    ];
    for &(name, prompt, output, cached, events) in rows {
        let f = facts(name);
        let counts = (f.usage.prompt_tokens, f.usage.output_tokens, f.usage.cached_tokens, f.events);
        assert_eq!(counts, (prompt, output, cached, events), "{name}");
        assert!(f.complete && f.error.is_none(), "{name}: {f:?}");
        let counted = events > 0 && prompt.is_none();
        assert_eq!(f.usage.estimated, counted, "{name}");
    }
}

#[test]
fn anthropic_errors_have_a_status() {
    for (name, status) in [
        ("sglang-0.5.23-metrics/err_anthropic_no_max_tokens", 400),
        ("sglang-0.5.23-metrics/err_anthropic_too_long_stream", 400),
        ("sglang-0.5.23-variant-queue/full_anthropic_stream", 503),
        ("sglang-0.5.23-variant-queue/full_anthropic_nonstream", 503),
    ] {
        assert_eq!(facts(name).error.map(|error| error.http_status()), Some(status), "{name}");
    }
}

#[test]
fn stock_time_stamps() {
    let stream = facts("sglang-0.5.23-metrics/generate_stream").timing;
    assert_eq!(stream.created, Some(1_795_353_439.461_116_6));
    assert_eq!(stream.queue_end, Some(1_795_353_439.461_962_5));
    assert_eq!(stream.first_token, Some(1_795_353_439.464_046_5));
    assert_eq!(stream.queue_time, Some(0.000_188_543_000_149_365_98));
    assert_eq!(stream.e2e_latency, Some(0.019_617_997_000_068_5));
    let waited = stream.queue_end.unwrap() - stream.queue_start.unwrap();
    assert!((waited - 0.000_188_5).abs() < 1e-6);

    let old = facts("sglang-0.4.10.post2-metrics/generate_stream").timing;
    assert_eq!(old.e2e_latency, Some(0.012_693_643_569_946_289));
    assert_eq!((old.created, old.queue_time, old.first_token), (None, None, None));

    let rejected = facts("sglang-0.5.23-variant-queue/full_6_stream").timing;
    assert_eq!(rejected.first_token, None, "no token, so no first one, though a stamp is there");
}

#[test]
fn batch_timing_spans_its_parts() {
    let t = facts("sglang-0.5.23-metrics/generate_batch_stream").timing;
    assert_eq!(t.created, Some(1_795_353_439.602_622_3), "the earlier of the two");
    assert_eq!(t.first_token, Some(1_795_353_439.606_289_6), "the earlier of the two");
    assert_eq!(t.queue_time, Some(0.000_330_417_000_213_856_2), "the longer of the two");
    assert_eq!(t.e2e_latency, Some(0.022_451_531_999_877_26), "the longer of the two");
}

#[test]
fn errors_under_any_status() {
    for (name, status, kind) in [
        ("sglang-0.5.23-variant-queue/full_6_stream", Some(503), None),
        ("sglang-0.5.23-variant-queue/full_7_chat_stream", Some(503), Some("SERVICE_UNAVAILABLE")),
        ("sglang-0.5.23-variant-queue/full_5_nonstream", Some(503), Some("503")),
        ("sglang-0.4.10.post2-metrics/err_too_long_generate_stream", None, None),
        ("sglang-0.4.10.post2-metrics/err_too_long_chat_stream", Some(400), Some("BadRequestError")),
        ("sglang-0.5.23-metrics/err_neg_max_new_tokens_stream", Some(400), Some("invalid_request_error")),
        ("sglang-0.4.10.post2-metrics/embeddings", Some(400), Some("BadRequestError")),
        ("vllm-0.32.0/err_unknown_model_chat", Some(404), Some("NotFoundError")),
        ("vllm-0.32.0/embeddings", None, None),
    ] {
        let body = crate::support::body(name);
        let f = if body.starts_with(b"data:") {
            let mut observer = StreamObserver::new(Route::Generate);
            observer.push(&body);
            observer.finish()
        } else {
            read_response(&body)
        };
        let error = f.error.unwrap_or_else(|| panic!("{name} is an error"));
        assert_eq!((error.status, error.kind.as_deref()), (status, kind), "{name}");
        assert!(!error.message.is_empty() && f.complete, "{name}");
    }
}

#[test]
fn abort_without_status_is_no_error() {
    for name in [
        "sglang-0.4.10.post2-metrics/abort_target_nonstream",
        "sglang-0.4.10.post2-metrics/abort_target_stream",
        "sglang-0.5.23-variant-queue/queued_3_stream_aborted",
        "sglang-0.5.23-variant-queue/queued_4_chat_aborted",
    ] {
        let f = facts(name);
        assert!(f.aborted && f.complete && f.error.is_none(), "{name}: {f:?}");
    }
}

#[test]
fn cut_stream_is_incomplete() {
    for name in ["sglang-0.4.10.post2-metrics", "sglang-0.5.23-metrics", "vllm-0.32.0"] {
        let f = facts(&format!("{name}/client_disconnect_stream"));
        assert_eq!((f.complete, f.usage.output_tokens, f.events), (false, Some(5), 5), "{name}");
    }
}

#[test]
fn invalid_json_is_unknown() {
    for body in [
        &b""[..],
        b"Internal Server Error",
        b"{\"usage\":{\"prompt_tokens\":1}",
        b"{} trailing",
        b"null",
        b"7",
    ] {
        assert_eq!(read_response(body), ResponseFacts::default());
    }
    let odd = br#"{"usage":{"prompt_tokens":-1,"completion_tokens":"8","prompt_tokens_details":{"cached_tokens":1.5}}}"#;
    assert_eq!(read_response(odd).usage, router_core::TokenUsage::default());
}

/// One part with a high index takes the memory of one part.
#[test]
fn batch_parts_take_what_came() {
    let mut observer = StreamObserver::new(Route::Generate);
    observer.push(&Bytes::from_static(
        b"data: {\"text\":\"a\",\"index\":4095,\"meta_info\":{\"completion_tokens\":3}}\n\n",
    ));
    assert!(observer.held_bytes() < 4096, "{} bytes", observer.held_bytes());
    assert_eq!(observer.finish().usage.output_tokens, Some(3));
}

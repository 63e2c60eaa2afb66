//! Facts of streamed responses, one scenario each.

use bytes::Bytes;
use router_core::Route;
use router_protocol::{MAX_EVENT_BYTES, ResponseFacts, StreamObserver};

fn observe(route: Route, body: &str) -> ResponseFacts {
    let mut observer = StreamObserver::new(route);
    observer.push(&Bytes::copy_from_slice(body.as_bytes()));
    observer.finish()
}

fn chat(content: &str, finish: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{content}}},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

#[test]
fn empty_stream_is_unknown() {
    assert_eq!(observe(Route::Generate, ""), ResponseFacts::default());
    let only_done = observe(Route::ChatCompletions, "data: [DONE]\n\n");
    assert_eq!(only_done, ResponseFacts { complete: true, ..ResponseFacts::default() });
}

#[test]
fn partial_last_event_is_incomplete() {
    let body = chat("\"a\"", "null")
        + "data: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}\n";
    let facts = observe(Route::ChatCompletions, &body);
    assert_eq!((facts.complete, facts.events, facts.usage.output_tokens), (false, 1, Some(1)));
}

#[test]
fn done_without_blank_line_completes() {
    for end in ["data: [DONE]", "data: [DONE]\n", "data:[DONE]\r\n"] {
        assert!(observe(Route::ChatCompletions, &(chat("\"a\"", "null") + end)).complete, "{end:?}");
    }
    assert!(!observe(Route::ChatCompletions, &(chat("\"a\"", "null") + "data: [DON")).complete);
}

#[test]
fn final_event_completes_without_done() {
    assert!(observe(Route::ChatCompletions, &(chat("\"a\"", "null") + &chat("null", "\"stop\""))).complete);
    let generate = "data: {\"text\":\"a\",\"meta_info\":{\"finish_reason\":{\"type\":\"stop\"},\"completion_tokens\":9}}\n\n";
    assert!(observe(Route::Generate, generate).complete);
    assert!(!observe(Route::Generate, &generate.replace("{\"type\":\"stop\"}", "null")).complete);
}

#[test]
fn tokens_count_content_events() {
    let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    // Two choices begin with their role, one has an empty token in the middle, the last event has no text.
    let body = [
        role,
        role,
        &chat("\"a\"", "null"),
        &chat("\"\"", "null"),
        &chat("\"b\"", "null"),
        &chat("null", "\"stop\""),
    ]
    .concat();
    let facts = observe(Route::ChatCompletions, &body);
    assert_eq!((facts.events, facts.usage.output_tokens, facts.usage.estimated), (6, Some(3), true));
    let reasoning = "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\",\"content\":null}}]}\n\n";
    assert_eq!(observe(Route::ChatCompletions, reasoning).usage.output_tokens, Some(1));
    assert_eq!(
        observe(Route::ChatCompletions, role).usage.output_tokens,
        None,
        "nothing seen is unknown, not zero"
    );
}

#[test]
fn running_counts_survive_cut_stream() {
    let event = |n: u32| {
        let text = format!(
            "data: {{\"choices\":[{{\"text\":\"x\",\"finish_reason\":null}}],\"usage\":{{\"prompt_tokens\":5,\"completion_tokens\":{n}}}}}\n\n"
        );
        text
    };
    let facts = observe(Route::Completions, &(event(3) + &event(7) + "data: {\"cho"));
    assert_eq!((facts.usage.prompt_tokens, facts.usage.output_tokens), (Some(5), Some(7)));
    assert!(!facts.usage.estimated && !facts.complete);
}

#[test]
fn error_events_keep_earlier_counts() {
    let error =
        "data: {\"error\":{\"message\":\"too long\",\"type\":\"invalid_request_error\",\"code\":400}}\n\n";
    let first = observe(Route::Generate, &(error.to_owned() + "data: [DONE]\n\n"));
    let e = first.error.unwrap();
    assert_eq!(
        (e.status, e.kind.as_deref(), &*e.message),
        (Some(400), Some("invalid_request_error"), "too long")
    );
    assert_eq!((first.complete, first.usage.output_tokens), (true, None));

    let meta = "data: {\"text\":\"a\",\"meta_info\":{\"prompt_tokens\":4,\"completion_tokens\":2,\"finish_reason\":null}}\n\n";
    let late = observe(Route::Generate, &(meta.to_owned() + error));
    assert_eq!((late.usage.output_tokens, late.complete, late.events), (Some(2), false, 2));
    assert!(late.error.is_some());

    let named = observe(
        Route::Other,
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n",
    );
    assert_eq!(named.error.unwrap().kind.as_deref(), Some("overloaded_error"));
}

#[test]
fn null_error_is_none() {
    let facts = observe(Route::ChatCompletions, "data: {\"error\":null,\"choices\":[{\"text\":\"a\"}]}\n\n");
    assert_eq!((facts.error, facts.usage.output_tokens), (None, Some(1)));
}

#[test]
fn batch_stream_sums_last_events() {
    let part = |index: u32, tokens: u32, finish: &str| {
        format!(
            "data: {{\"text\":\"x\",\"meta_info\":{{\"prompt_tokens\":10,\"completion_tokens\":{tokens},\"cached_tokens\":1,\"finish_reason\":{finish},\"e2e_latency\":0.{tokens},\"queue_length\":{index}}},\"index\":{index}}}\n\n"
        )
    };
    let open = part(1, 1, "null") + &part(0, 1, "null") + &part(1, 5, "{\"type\":\"stop\"}");
    assert!(!observe(Route::Generate, &open).complete, "part 0 is still open");
    let facts = observe(Route::Generate, &(open + &part(0, 3, "{\"type\":\"stop\"}")));
    assert_eq!(
        (facts.usage.prompt_tokens, facts.usage.output_tokens, facts.usage.cached_tokens),
        (Some(20), Some(8), Some(2))
    );
    assert_eq!((facts.timing.e2e_latency, facts.complete, facts.events), (Some(0.5), true, 4));

    let wild = part(0, 1, "null") + &part(4_000_000_000, 1, "null");
    assert_eq!(observe(Route::Generate, &wild).usage.output_tokens, Some(2), "an index takes no room");
    let many: String = (0..4097).map(|index| part(index, 1, "null")).collect();
    assert_eq!(
        observe(Route::Generate, &many).usage.output_tokens,
        None,
        "a part left out makes the sum unknown"
    );
}

#[test]
fn oversized_event_is_only_counted() {
    let mut observer = StreamObserver::new(Route::Generate);
    let small = "data: {\"text\":\"a\",\"meta_info\":{\"completion_tokens\":1,\"finish_reason\":null}}\n\n";
    observer.push(&Bytes::from(small));
    observer.push(&Bytes::from_static(b"data: {\"text\":\""));
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..=MAX_EVENT_BYTES >> 20 {
        observer.push(&piece);
    }
    observer.push(&Bytes::from_static(b"\"}\n\ndata: [DONE]\n\n"));
    let facts = observer.finish();
    assert_eq!((facts.events, facts.complete, facts.usage.output_tokens), (2, true, None));
}

#[test]
fn messages_stream_merges_counts() {
    let body = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":12,\"output_tokens\":1}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":6}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    let facts = observe(Route::Other, body);
    assert_eq!((facts.usage.prompt_tokens, facts.usage.output_tokens), (Some(12), Some(6)));
    assert_eq!((facts.usage.estimated, facts.complete), (false, true));
}

#[test]
fn classic_time_stamps_and_queue_length() {
    let body = concat!(
        "data: {\"text\":\"a\",\"meta_info\":{\"completion_tokens\":8,\"finish_reason\":{\"type\":\"stop\"},",
        "\"queue_length\":3,\"num_running_reqs\":2,\"server_created_time\":100.0,\"queue_time_start\":100.5,",
        "\"queue_time_end\":101.25,\"server_first_token_time\":101.5,\"e2e_latency\":2.0}}\n\ndata: [DONE]\n\n"
    );
    let facts = observe(Route::Generate, body);
    let t = facts.timing;
    assert_eq!(
        (t.created, t.queue_start, t.queue_end, t.first_token),
        (Some(100.0), Some(100.5), Some(101.25), Some(101.5))
    );
    assert_eq!((t.queue_time, t.e2e_latency), (Some(0.75), Some(2.0)));
    let load = facts.load.unwrap();
    assert_eq!((load.waiting, load.running), (Some(3), Some(2)));

    let json = body.trim_start_matches("data: ").split("\n\n").next().unwrap();
    let whole = router_protocol::read_response(json.as_bytes());
    assert_eq!(
        whole.timing.first_token, None,
        "the stamp of a response that is not streamed is up to 50 tokens late"
    );
    assert_eq!(whole.timing.queue_time, Some(0.75));
}

//! Time per request scan, per response and per streamed event, beside three general JSON readers doing the same work.
//!
//! `cargo bench -p router-protocol`. The bodies are made here, so the numbers do not depend on the captures.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macro makes undocumented items; a failing baseline must show"
)]

use std::fmt::Write as _;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use router_core::Route;
use router_protocol::{StreamObserver, prefix_hashes, read_response, scan};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A chat request whose messages are about `bytes` long.
fn chat(bytes: usize) -> String {
    let text =
        "The quick brown fox jumps over the lazy dog.\\nIt said: \\\"again\\\". ".repeat(bytes / 66 + 1);
    format!(
        "{{\"model\":\"meta-llama/Llama-3.1-8B-Instruct\",\"messages\":[{{\"role\":\"system\",\"content\":\"You are \
         helpful.\"}},{{\"role\":\"user\",\"content\":\"{}\"}}],\"temperature\":0.7,\"top_p\":0.95,\"max_tokens\":256,\
         \"stream\":true,\"stream_options\":{{\"include_usage\":true}},\"user\":\"user-1234\"}}",
        &text[..bytes]
    )
}

/// A native request of about 300 bytes.
fn generate() -> String {
    format!(
        "{{\"text\":\"{}\",\"sampling_params\":{{\"max_new_tokens\":128,\"temperature\":0.8,\"top_p\":0.9}},\"rid\":\
         \"0123456789abcdef\",\"stream\":false}}",
        "word ".repeat(36)
    )
}

fn token_ids(n: u32) -> String {
    let ids: Vec<String> = (0..n).map(|i| (i * 7919 % 128_000).to_string()).collect();
    format!("{{\"input_ids\":[{}],\"sampling_params\":{{\"max_new_tokens\":8}}}}", ids.join(","))
}

fn chat_response() -> String {
    format!(
        "{{\"id\":\"b7e19bbb5fd5491aa2abef0013ebbe83\",\"object\":\"chat.completion\",\"created\":1795353165,\"model\":\
         \"meta-llama/Llama-3.1-8B-Instruct\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"{}\",\"reasoning_content\":null,\"tool_calls\":null}},\"logprobs\":null,\"finish_reason\":\
         \"length\",\"matched_stop\":null}}],\"usage\":{{\"prompt_tokens\":11,\"total_tokens\":19,\
         \"completion_tokens\":8,\"prompt_tokens_details\":{{\"cached_tokens\":4}}}}}}",
        "some words ".repeat(16)
    )
}

fn generate_response() -> String {
    format!(
        "{{\"text\":\"{}\",\"meta_info\":{{\"id\":\"88c18b1f7d0a424c8ec14978da43fc7c\",\"finish_reason\":{{\"type\":\
         \"length\",\"length\":8}},\"prompt_tokens\":3,\"weight_version\":\"default\",\"completion_tokens\":8,\
         \"cached_tokens\":0,\"cached_tokens_details\":null,\"dp_rank\":null,\"e2e_latency\":0.015795469284057617,\
         \"queue_length\":3,\"queue_time_start\":1795353439.3328376,\"queue_time_end\":1795353439.3390667,\
         \"server_created_time\":1795353439.3320376,\"server_first_token_time\":1795353439.345928}}}}",
        "some words ".repeat(14)
    )
}

/// A chat stream, one chunk per event: a role, `events` tokens, the counts, the end mark.
fn stream(events: usize) -> Vec<Bytes> {
    let head = "data: {\"id\":\"59fd7c70388b4db789eeb0e3b13ff14c\",\"object\":\"chat.completion.chunk\",\"created\":\
                1795353165,\"model\":\"meta-llama/Llama-3.1-8B-Instruct\",\"choices\":[";
    let choice = |delta: &str| {
        format!("{{\"index\":0,\"delta\":{{{delta}}},\"logprobs\":null,\"finish_reason\":null}}")
    };
    let mut chunks = vec![format!("{head}{}]}}\n\n", choice("\"role\":\"assistant\",\"content\":\"\""))];
    chunks.extend((0..events).map(|_| format!("{head}{}]}}\n\n", choice("\"content\":\" class\""))));
    chunks.push(format!("{head}],\"usage\":{{\"prompt_tokens\":11,\"completion_tokens\":{events}}}}}\n\n"));
    chunks.push("data: [DONE]\n\n".to_owned());
    chunks.into_iter().map(Bytes::from).collect()
}

/// The baseline with serde_json: the same members of a chat request, nested values raw.
#[derive(Deserialize)]
struct SerdeRequest<'b> {
    #[serde(borrow)]
    messages: Option<&'b RawValue>,
    max_tokens: Option<u32>,
    stream: Option<bool>,
    user: Option<std::borrow::Cow<'b, str>>,
}

/// The baseline with sonic-rs: its lazy iterator over the members, the checked one, since input is not trusted.
fn sonic_request(body: &[u8]) -> (u32, usize) {
    use sonic_rs::JsonValueTrait as _;
    let (mut cap, mut prompt) = (0, 0);
    for member in sonic_rs::to_object_iter(body) {
        let Ok((key, value)) = member else { break };
        match &*key {
            "max_tokens" => cap = value.as_u64().map_or(0, |n| u32::try_from(n).unwrap_or(0)),
            "messages" => prompt = value.as_raw_str().len(),
            "user" => {
                black_box(value.as_str());
            }
            "stream" => {
                black_box(value.as_bool());
            }
            _ => {}
        }
    }
    (cap, prompt)
}

/// The baseline with jiter: its iterator over the members, which skips the values that are not read.
fn jiter_request(body: &[u8]) -> Option<(u32, usize)> {
    #[derive(Clone, Copy)]
    enum Member {
        MaxTokens,
        Messages,
        User,
        Stream,
        Other,
    }
    let member = |name: &str| match name {
        "max_tokens" => Member::MaxTokens,
        "messages" => Member::Messages,
        "user" => Member::User,
        "stream" => Member::Stream,
        _ => Member::Other,
    };
    let (mut cap, mut prompt) = (0, 0);
    let mut json = jiter::Jiter::new(body);
    let mut next = json.next_object().ok()?.map(member);
    while let Some(found) = next {
        match found {
            Member::MaxTokens => {
                let jiter::NumberInt::Int(n) = json.next_int().ok()?;
                cap = u32::try_from(n).unwrap_or(0);
            }
            Member::Messages => {
                let start = json.current_index();
                json.next_skip().ok()?;
                prompt = json.current_index() - start;
            }
            Member::User => {
                black_box(json.next_str().ok()?);
            }
            Member::Stream => {
                black_box(json.next_bool().ok()?);
            }
            Member::Other => json.next_skip().ok()?,
        }
        next = json.next_key().ok()?.map(member);
    }
    Some((cap, prompt))
}

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("request");
    for (name, size) in [("chat_600B", 300), ("chat_50KB", 50_000)] {
        let body = chat(size);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("{name}/ours"), |b| {
            b.iter(|| scan(Route::ChatCompletions, black_box(body.as_bytes())));
        });
        group.bench_function(format!("{name}/serde_json"), |b| {
            b.iter(|| {
                let r: SerdeRequest<'_> = serde_json::from_slice(black_box(body.as_bytes())).unwrap();
                (r.messages.map(|m| m.get().len()), r.max_tokens, r.stream, r.user)
            });
        });
        group.bench_function(format!("{name}/sonic_rs"), |b| {
            b.iter(|| sonic_request(black_box(body.as_bytes())))
        });
        assert!(jiter_request(body.as_bytes()).is_some(), "jiter reads the body");
        group.bench_function(format!("{name}/jiter"), |b| {
            b.iter(|| jiter_request(black_box(body.as_bytes())));
        });
    }
    let body = generate();
    group.bench_function("generate_300B/ours", |b| {
        b.iter(|| scan(Route::Generate, black_box(body.as_bytes())))
    });
    let body = token_ids(10_000);
    group.bench_function("token_ids_10k/ours", |b| {
        b.iter(|| scan(Route::Generate, black_box(body.as_bytes())))
    });
    let body = chat(50_000);
    let mut hashes = Vec::new();
    group.bench_function("prefix_hashes_50KB", |b| {
        b.iter(|| prefix_hashes(black_box(body.as_bytes()), black_box(&mut hashes)));
    });
    group.finish();
}

fn responses(c: &mut Criterion) {
    let mut group = c.benchmark_group("response");
    for (name, body) in [("chat", chat_response()), ("generate", generate_response())] {
        let mut label = name.to_owned();
        let _ = write!(label, "_{}B", body.len());
        group.bench_function(label, |b| b.iter(|| read_response(black_box(body.as_bytes()))));
    }
    group.finish();
}

fn streams(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream");
    let chunks = stream(128);
    group.throughput(Throughput::Elements(chunks.len() as u64));
    group.bench_function("chat_128_events_a_chunk_each", |b| {
        b.iter(|| {
            let mut observer = StreamObserver::new(Route::ChatCompletions);
            black_box(&chunks).iter().for_each(|chunk| observer.push(chunk));
            observer.finish()
        });
    });
    let all = Bytes::from(chunks.concat());
    for size in [1000, 16_384] {
        let pieces: Vec<Bytes> = all.chunks(size).map(Bytes::copy_from_slice).collect();
        group.bench_function(format!("chat_128_events_in_pieces_of_{size}B"), |b| {
            b.iter(|| {
                let mut observer = StreamObserver::new(Route::ChatCompletions);
                black_box(&pieces).iter().for_each(|chunk| observer.push(chunk));
                observer.finish()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, requests, responses, streams);
criterion_main!(benches);

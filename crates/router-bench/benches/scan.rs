//! Time per request scan, per response and per streamed event, beside three general JSON readers doing the same work.
//!
//! `cargo bench -p router-bench --bench scan`. The bodies are made here, so the numbers do not depend on the captures.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macro makes undocumented items; a failing baseline must show"
)]

use std::fmt::Write as _;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use router_bench::messages::{
    chat_request, chat_response, chat_stream, generate_request, generate_response, token_ids_request,
};
use router_core::Route;
use router_protocol::{StreamObserver, prefix_hashes, read_response, scan};
use serde::Deserialize;
use serde_json::value::RawValue;

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
        let body = chat_request(size);
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
    let body = generate_request();
    group.bench_function("generate_300B/ours", |b| {
        b.iter(|| scan(Route::Generate, black_box(body.as_bytes())))
    });
    let body = token_ids_request(10_000);
    group.bench_function("token_ids_10k/ours", |b| {
        b.iter(|| scan(Route::Generate, black_box(body.as_bytes())))
    });
    let body = chat_request(50_000);
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
    let chunks = chat_stream(128);
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

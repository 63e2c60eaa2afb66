//! Every call's messages, field by field against those of a real server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf as _, Bytes};
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use router_grpc::messages::{
    EngineState, GenerateResponse, MetaInfoEntry, OpenAiStreamChunk, TextGenerateResponse,
};
use router_grpc::{Rpc, SERVICE};
use serde_json::Value;

use super::client::{Client, Ended, server, server_with};

/// One recorded call.
struct Capture {
    path: String,
    request: Bytes,
    messages: Vec<Bytes>,
    status: String,
    details: String,
}

fn captured(name: &str) -> Capture {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../router-grpc/tests/data/sglang-0.5.23-grpc");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let bytes = |value: &Value| Bytes::from(BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap());
    Capture {
        path: format!("/{SERVICE}/{}", json["rpc"].as_str().unwrap()),
        request: bytes(&json["request"]),
        messages: json["messages"].as_array().unwrap().iter().map(|m| bytes(&m["bytes"])).collect(),
        status: json["status"].as_str().unwrap().to_owned(),
        details: json["details"].as_str().unwrap_or_default().to_owned(),
    }
}

fn status_name(status: Option<i32>) -> &'static str {
    match status {
        Some(0) => "OK",
        Some(3) => "INVALID_ARGUMENT",
        Some(12) => "UNIMPLEMENTED",
        Some(13) => "INTERNAL",
        _ => "another",
    }
}

/// The numbers of a message's fields.
fn fields(message: &Bytes) -> BTreeSet<u32> {
    let (mut rest, mut numbers) = (message.clone(), BTreeSet::new());
    while rest.has_remaining() {
        let (number, wire) = decode_key(&mut rest).unwrap();
        numbers.insert(number);
        let length = match wire {
            WireType::Varint => decode_varint(&mut rest).map(|_| 0).unwrap(),
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            _ => decode_varint(&mut rest).unwrap(),
        };
        rest.advance(usize::try_from(length).unwrap());
    }
    numbers
}

async fn replay(client: &Client, name: &str) -> (Ended, Capture) {
    let capture = captured(name);
    let ended = client.raw(&capture.path, capture.request.clone()).await;
    assert_eq!(
        (status_name(ended.status), &ended.details),
        (capture.status.as_str(), &capture.details),
        "{name}"
    );
    (ended, capture)
}

/// Names of a JSON object's members, and of those in its first choice and its usage.
fn names(json: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for path in ["", "/choices/0", "/choices/0/delta", "/choices/0/message", "/usage"] {
        let members = json.pointer(path).and_then(Value::as_object).into_iter().flatten();
        all.extend(members.map(|(name, _)| format!("{path}/{name}")));
    }
    all
}

fn chunks(messages: &[Bytes]) -> Vec<OpenAiStreamChunk> {
    messages.iter().map(|message| OpenAiStreamChunk::decode(message.clone()).unwrap()).collect()
}

/// The forms of the chunks: the fields of the message, and the names in its JSON.
fn forms(messages: &[Bytes]) -> Vec<(BTreeSet<u32>, BTreeSet<String>)> {
    let json = |chunk: OpenAiStreamChunk| serde_json::from_slice::<Value>(&chunk.json_chunk).ok();
    let names = |chunk| json(chunk).as_ref().map(names).unwrap_or_default();
    messages.iter().map(fields).zip(chunks(messages).into_iter().map(names)).collect()
}

#[tokio::test]
async fn unary_calls_have_the_fields_of_the_capture() {
    let s = server(20.0).await;
    let client = Client::connect(&s).await;
    for name in [
        "HealthCheck",
        "GetLoad",
        "GetModelInfo",
        "GetServerInfo",
        "ListModels",
        "Tokenize",
        "Detokenize",
        "FlushCache",
        "Abort_unknown",
        "Abort_empty",
        "unknown_method",
    ] {
        let (ended, capture) = replay(&client, name).await;
        let of = |messages: &[Bytes]| messages.iter().map(fields).collect::<Vec<_>>();
        assert_eq!(of(&ended.messages), of(&capture.messages), "{name}");
        if ["FlushCache", "HealthCheck", "Abort_unknown"].contains(&name) {
            assert_eq!(ended.messages, capture.messages, "{name}");
        }
    }
}

#[tokio::test]
async fn chats_have_the_form_of_the_capture() {
    let s = server(1.0).await;
    let client = Client::connect(&s).await;
    for name in ["chat_stream", "chat_stream_usage", "chat_n2_stream", "completion_stream"] {
        let (ended, capture) = replay(&client, name).await;
        let (ours, theirs) = (forms(&ended.messages), forms(&capture.messages));
        for form in &ours {
            assert!(theirs.contains(form), "{name}: no captured message has the form {form:?}");
        }
        assert_eq!(ours[ours.len() - 2..], theirs[theirs.len() - 2..], "{name}");
        let finished = chunks(&ended.messages).iter().filter(|chunk| chunk.finished).count();
        assert_eq!(finished, 1, "{name}");
        assert_eq!(ended.messages.last(), capture.messages.last(), "{name}");
    }
    for name in ["chat_whole", "chat_with_rid", "completion_whole"] {
        let (ended, capture) = replay(&client, name).await;
        assert_eq!(forms(&ended.messages), forms(&capture.messages), "{name}");
        assert_eq!(chunks(&ended.messages)[0].status_code, 200, "{name}");
        let id = |messages: &[Bytes]| {
            serde_json::from_slice::<Value>(&chunks(messages)[0].json_chunk).unwrap()["id"].clone()
        };
        assert!(name != "chat_with_rid" || id(&ended.messages) == id(&capture.messages));
    }
}

#[tokio::test]
async fn refused_chats_match_the_capture() {
    let s = server_with(|config| {
        config.limits = Some(router_engine::EngineLimits { context_tokens: 2048, ..config.profile.limits });
    })
    .await;
    let client = Client::connect(&s).await;
    for name in ["chat_bad_json", "chat_bad_messages"] {
        let (ended, capture) = replay(&client, name).await;
        assert_eq!(ended.messages, capture.messages, "{name}");
    }
    let (ended, capture) = replay(&client, "chat_too_long").await;
    // How many tokens the prompt has depends on the tokenizer.
    let error = |messages: &[Bytes]| {
        let chunk = chunks(messages).remove(0);
        let text = String::from_utf8(chunk.json_chunk.to_vec()).unwrap();
        let (before, after) = text.split_once(char::is_numeric).unwrap();
        let after = after.trim_start_matches(char::is_numeric);
        (chunk.finished, chunk.status_code, format!("{before}N{after}"))
    };
    assert_eq!(error(&ended.messages), error(&capture.messages));
}

/// The members of `meta_info`, with their JSON.
fn meta(entries: &[MetaInfoEntry]) -> BTreeMap<String, Value> {
    entries.iter().map(|e| (e.key.clone(), serde_json::from_slice(&e.value).unwrap())).collect()
}

/// Our `meta_info` has every member of theirs, with the same kind of value.
fn same_meta(name: &str, ours: &[MetaInfoEntry], theirs: &[MetaInfoEntry]) {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Bool(_) => "bool",
    };
    let (ours, theirs) = (meta(ours), meta(theirs));
    for (key, value) in &theirs {
        let mine = ours.get(key).unwrap_or_else(|| panic!("{name} lacks {key}"));
        assert!(
            kind(mine) == kind(value) || key == "cached_tokens_details",
            "{name} {key}: {mine} and {value}"
        );
    }
    assert_eq!(ours["finish_reason"], theirs["finish_reason"], "{name}");
}

#[tokio::test]
async fn generated_messages_match_the_capture() {
    // So slow that no two tokens share a message where the machine is busy.
    let s = server(0.1).await;
    let client = Client::connect(&s).await;
    for name in ["text_generate_whole", "text_generate_stream"] {
        let (ended, capture) = replay(&client, name).await;
        let (ours, theirs) = (ended.ok::<TextGenerateResponse>(), texts(&capture.messages));
        same_ends(name, &ended.messages, &capture.messages);
        same_meta(name, &ours[0].meta_info, &theirs[0].meta_info);
        same_meta(name, &ours[ours.len() - 1].meta_info, &theirs[theirs.len() - 1].meta_info);
        assert!(ours.windows(2).all(|two| two[1].text.starts_with(&two[0].text)), "{name}");
        assert_eq!(ours.iter().filter(|message| message.finished).count(), 1, "{name}");
    }
    for name in ["generate_ids_whole", "generate_ids_stream"] {
        let (ended, capture) = replay(&client, name).await;
        let (ours, theirs) = (ended.ok::<GenerateResponse>(), ids(&capture.messages));
        same_ends(name, &ended.messages, &capture.messages);
        same_meta(name, &ours[0].meta_info, &theirs[0].meta_info);
        same_meta(name, &ours[ours.len() - 1].meta_info, &theirs[theirs.len() - 1].meta_info);
        assert!(ours.windows(2).all(|two| two[1].output_ids.starts_with(&two[0].output_ids)), "{name}");
        assert_eq!(ours.last().map(|message| message.output_ids.len()), Some(4), "{name}");
    }
}

fn texts(messages: &[Bytes]) -> Vec<TextGenerateResponse> {
    messages.iter().map(|message| Message::decode(message.clone()).unwrap()).collect()
}

fn ids(messages: &[Bytes]) -> Vec<GenerateResponse> {
    messages.iter().map(|message| Message::decode(message.clone()).unwrap()).collect()
}

/// The first and the last messages have the same fields.
fn same_ends(name: &str, ours: &[Bytes], theirs: &[Bytes]) {
    for (one, other) in [(ours.first(), theirs.first()), (ours.last(), theirs.last())] {
        assert_eq!(one.map(fields), other.map(fields), "{name}");
    }
}

#[tokio::test]
async fn watched_state_has_the_fields_of_the_capture() {
    let s = server(20.0).await;
    let capture = captured("watch_idle");
    let client = Client::connect(&s).await;
    let mut call = client.open(&capture.path, capture.request).await.unwrap();
    let message = call.next().await.unwrap();
    assert_eq!(fields(&message), fields(&capture.messages[0]));
    let (ours, theirs) =
        (EngineState::decode(message).unwrap(), EngineState::decode(capture.messages[0].clone()).unwrap());
    assert_eq!(
        (ours.revision, ours.healthy, ours.is_paused),
        (theirs.revision, theirs.healthy, theirs.is_paused)
    );
    let info: Value = serde_json::from_slice(&ours.server.unwrap().json_info).unwrap();
    assert_eq!(s.grpc_url(), Some(format!("grpc://127.0.0.1:{}", info["grpc_port"])));
    assert_eq!(Rpc::of_path(&capture.path), Some(Rpc::WatchEngineState));
}

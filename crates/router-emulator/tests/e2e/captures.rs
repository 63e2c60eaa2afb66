//! Every route's response, key by key against responses of real servers.

use std::collections::BTreeMap;
use std::path::Path;

use http::{Method, StatusCode};
use router_emulator::SglangVersion;
use serde_json::Value;

use crate::client::{CollectedResponse, ask, events, get, post, server};

fn captured(version: SglangVersion, name: &str) -> String {
    let version_name = if version == SglangVersion::Stock { "stock" } else { "classic" };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(version_name).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Keys and types, values left out. Numbers are one type, since 0 and 0.0 differ by chance.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, Value> = map.iter().map(|(k, v)| (k, shape(v))).collect();
            serde_json::to_value(sorted).unwrap()
        }
        Value::Array(items) => items.first().map_or(Value::Array(vec![]), |v| Value::Array(vec![shape(v)])),
        Value::String(_) => "string".into(),
        Value::Number(_) => "number".into(),
        Value::Bool(_) => "bool".into(),
        Value::Null => Value::Null,
    }
}

/// The shape without what depends on the cache and the machine rather than on the version.
fn softened(value: &Value) -> Value {
    let mut shape = shape(value);
    forget(&mut shape, &["cached_tokens_details", "accelerator", "max_output_tokens"]);
    shape
}

fn same(name: &str, ours: &Value, theirs: &Value) {
    assert_eq!(softened(ours), softened(theirs), "{name}");
}

fn forget(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if keys.contains(&key.as_str()) { *value = Value::Null } else { forget(value, keys) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| forget(v, keys)),
        _ => {}
    }
}

fn same_json(version: SglangVersion, name: &str, response: &CollectedResponse) {
    same(name, &response.json(), &serde_json::from_str(&captured(version, name)).unwrap());
}

/// Every event has a form seen in the capture, and the streams end alike. How many tokens one event carries
/// depends on the machine, so events are not compared by position.
fn same_stream(version: SglangVersion, name: &str, response: &CollectedResponse) {
    let (ours, theirs) = (response.events(), events(&captured(version, name)));
    assert_eq!(response.headers["content-type"], "text/event-stream; charset=utf-8", "{name}");
    assert_eq!(ours.last(), theirs.last(), "{name} ends with [DONE]");
    all_seen(name, &ours, &theirs);
    same(name, &ours[ours.len() - 2], &theirs[theirs.len() - 2]);
}

fn all_seen(name: &str, ours: &[Value], theirs: &[Value]) {
    let known: Vec<Value> = theirs.iter().map(softened).collect();
    for event in ours {
        assert!(known.contains(&softened(event)), "{name}: no captured event looks like {event}");
    }
}

const GENERATE: &str =
    r#"{"text": "import os\n", "sampling_params": {"max_new_tokens": 8, "temperature": 0}STREAM}"#;
const CHAT: &str =
    r#"{"model": "tiny", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 8STREAM}"#;
const COMPLETE: &str = r#"{"model": "tiny", "prompt": "import os\n", "max_tokens": 8STREAM}"#;
const USAGE: &str = r#", "stream": true, "stream_options": {"include_usage": true}"#;
const EVERY_USAGE: &str =
    r#", "stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}"#;
const STREAM: &str = r#", "stream": true"#;

fn with(template: &str, extra: &str) -> String {
    template.replace("STREAM", extra)
}

#[tokio::test]
async fn stock_responses_match_captures() {
    let s = server(SglangVersion::Stock, 20.0).await;
    let cases = [
        ("generate", "/generate", with(GENERATE, "")),
        (
            "generate_batch",
            "/generate",
            r#"{"text": ["import os\n", "b"], "sampling_params": {"max_new_tokens": 8}}"#.into(),
        ),
        ("generate_0tok", "/generate", r#"{"text": "a", "sampling_params": {"max_new_tokens": 0}}"#.into()),
        ("chat", "/v1/chat/completions", with(CHAT, "")),
        ("chat_n2", "/v1/chat/completions", with(CHAT, r#", "n": 2"#)),
        ("completions", "/v1/completions", with(COMPLETE, "")),
        ("completions_list", "/v1/completions", r#"{"prompt": ["a", "b"], "max_tokens": 4}"#.into()),
        ("v1_responses", "/v1/responses", r#"{"input": "hello", "max_output_tokens": 4}"#.into()),
        ("tokenize", "/tokenize", r#"{"prompt": "hello"}"#.into()),
        ("embeddings", "/v1/embeddings", r#"{"input": "hello"}"#.into()),
    ];
    for (name, path, body) in cases {
        let response = post(&s, path, &body).await;
        assert_eq!(response.status, StatusCode::OK, "{name}: {}", response.text);
        same_json(SglangVersion::Stock, name, &response);
    }
    for name in ["GET_v1_loads", "GET_v1_models"] {
        same_json(
            SglangVersion::Stock,
            name,
            &get(&s, &name.replacen("GET_", "/", 1).replace("v1_", "v1/")).await,
        );
    }
    same_json(SglangVersion::Stock, "GET_v1_loads_core", &get(&s, "/v1/loads?include=core").await);
}

#[tokio::test]
async fn stock_streams_match_captures() {
    let s = server(SglangVersion::Stock, 1.0).await;
    let cases = [
        ("generate_stream", "/generate", with(GENERATE, STREAM)),
        ("chat_stream", "/v1/chat/completions", with(CHAT, STREAM)),
        ("chat_stream_usage", "/v1/chat/completions", with(CHAT, USAGE)),
        ("chat_stream_usage_cont", "/v1/chat/completions", with(CHAT, EVERY_USAGE)),
        ("completions_stream_usage", "/v1/completions", with(COMPLETE, USAGE)),
        (
            "err_neg_max_new_tokens_stream",
            "/generate",
            r#"{"text": "a", "sampling_params": {"max_new_tokens": -1}, "stream": true}"#.into(),
        ),
    ];
    for (name, path, body) in cases {
        same_stream(SglangVersion::Stock, name, &post(&s, path, &body).await);
    }
}

#[tokio::test]
async fn classic_responses_match_captures_with_queue_fields() {
    let s = server(SglangVersion::Classic, 1.0).await;
    same_json(SglangVersion::Classic, "chat", &post(&s, "/v1/chat/completions", &with(CHAT, "")).await);
    same_json(SglangVersion::Classic, "completions", &post(&s, "/v1/completions", &with(COMPLETE, "")).await);
    same_stream(
        SglangVersion::Classic,
        "chat_stream_usage",
        &post(&s, "/v1/chat/completions", &with(CHAT, USAGE)).await,
    );
    for name in ["GET_get_load", "GET_get_model_info", "GET_v1_loads"] {
        same_json(
            SglangVersion::Classic,
            name,
            &get(&s, &name.replacen("GET_", "/", 1).replace("v1_", "v1/")).await,
        );
    }
    same_json(SglangVersion::Classic, "GET_v1_models", &get(&s, "/v1/models").await);

    // The fields of the build we follow come on top of what 0.4.10 sends.
    let extra = ["queue_length", "queue_time_start", "queue_time_end", "server_created_time"];
    let response = post(&s, "/generate", &with(GENERATE, "")).await;
    let mut ours = response.json();
    let meta = ours["meta_info"].as_object_mut().unwrap();
    for key in extra {
        assert!(meta.remove(key).is_some_and(|v| v.is_number()), "{key}");
    }
    assert!(!meta.contains_key("server_first_token_time"), "unstreamed and below 50 tokens");
    same("generate", &ours, &serde_json::from_str(&captured(SglangVersion::Classic, "generate")).unwrap());

    let streamed = post(&s, "/generate", &with(GENERATE, STREAM)).await.events();
    let last = &streamed[streamed.len() - 2]["meta_info"];
    let at = |key: &str| last[key].as_f64().unwrap_or_else(|| panic!("{key}"));
    assert!(at("server_created_time") < at("queue_time_start"));
    assert!(at("queue_time_start") <= at("queue_time_end"));
    assert!(at("queue_time_end") < at("server_first_token_time"));
    let known = events(&captured(SglangVersion::Classic, "generate_stream"));
    all_seen("generate_stream", &streamed[..streamed.len() - 2], &known);
}

#[tokio::test]
async fn only_generate_streams_cumulative_text() {
    for version in [SglangVersion::Stock, SglangVersion::Classic] {
        let s = server(version, 1.0).await;
        let whole =
            post(&s, "/generate", &with(GENERATE, "")).await.json()["text"].as_str().unwrap().to_owned();
        let events = post(&s, "/generate", &with(GENERATE, STREAM)).await.events();
        let texts: Vec<&str> = events.iter().filter_map(|e| e["text"].as_str()).collect();
        assert!(texts.windows(2).all(|w| w[1].starts_with(w[0])) && texts.last() == Some(&whole.as_str()));
        let counts: Vec<_> =
            events.iter().filter_map(|e| e["meta_info"]["completion_tokens"].as_u64()).collect();
        assert!(counts.windows(2).all(|w| w[0] < w[1]) && counts.last() == Some(&8));
        let whole = post(&s, "/v1/chat/completions", &with(CHAT, "")).await.json();
        let whole = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        let events = post(&s, "/v1/chat/completions", &with(CHAT, STREAM)).await.events();
        let joined: String =
            events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(joined, whole);
    }
}

#[tokio::test]
async fn batch_stream_has_indices_and_ids() {
    let s = server(SglangVersion::Stock, 1.0).await;
    let body =
        r#"{"rid": "one", "text": ["a", "b"], "sampling_params": {"max_new_tokens": 3}, "stream": true}"#;
    let events = post(&s, "/generate", body).await.events();
    all_seen(
        "batch",
        &events,
        &crate::client::events(&captured(SglangVersion::Stock, "generate_batch_stream")),
    );
    for (index, id) in [(0, "one_0"), (1, "one_1")] {
        let of_it: Vec<_> = events.iter().filter(|e| e["index"] == index).collect();
        assert!(of_it.iter().all(|e| e["meta_info"]["id"] == id));
        assert!(of_it.last().unwrap()["meta_info"]["finish_reason"]["type"] == "length");
    }
}

#[tokio::test]
async fn errors_match_captures() {
    let s = server(SglangVersion::Stock, 20.0).await;
    let exact = [
        ("err_empty_obj_generate", "/generate", "{}"),
        (
            "err_neg_max_new_tokens",
            "/generate",
            r#"{"text": "a", "sampling_params": {"max_new_tokens": -1}}"#,
        ),
        (
            "err_str_max_new_tokens",
            "/generate",
            r#"{"text": "a", "sampling_params": {"max_new_tokens": "ten"}}"#,
        ),
        (
            "err_unknown_sampling_field",
            "/generate",
            r#"{"text": "a", "sampling_params": {"nonexistent": 1}}"#,
        ),
        ("err_bad_temperature", "/generate", r#"{"text": "a", "sampling_params": {"temperature": -1}}"#),
        ("err_dup_rid_batch", "/generate", r#"{"rid": ["same", "same"], "text": ["a", "b"]}"#),
        ("err_empty_messages_chat", "/v1/chat/completions", r#"{"messages": []}"#),
    ];
    for (name, path, body) in exact {
        let response = post(&s, path, body).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{name}");
        assert_eq!(response.text, captured(SglangVersion::Stock, name), "{name}");
    }
    let alike = [
        ("err_missing_messages_chat", "/v1/chat/completions", r#"{"model": "tiny"}"#),
        ("err_bad_json_generate", "/generate", r#"{"text": "abc", "#),
    ];
    for (name, path, body) in alike {
        let response = post(&s, path, body).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{name}");
        same_json(SglangVersion::Stock, name, &response);
        let start = |text: &str| text.chars().skip(30).take(60).collect::<String>();
        assert_eq!(start(&response.text), start(&captured(SglangVersion::Stock, name)), "{name}");
    }
    let response = get(&s, "/nope").await;
    assert_eq!(
        (response.status.as_u16(), response.text),
        (404, captured(SglangVersion::Stock, "GET_notfound"))
    );
    let response = get(&s, "/generate").await;
    assert_eq!((response.status.as_u16(), &response.headers["allow"]), (405, &"PUT, POST".parse().unwrap()));
    assert_eq!(response.text, captured(SglangVersion::Stock, "get_generate_wrong_method"));
    let long = format!(r#"{{"text": "{}"}}"#, "x".repeat(4 * 40_000));
    let response = post(&s, "/generate", &long).await;
    let message = "The input (40000 tokens) is longer than the model's context length (32768 tokens).";
    assert_eq!(response.json()["error"]["message"], message);
}

#[tokio::test]
async fn remaining_routes_respond() {
    let s = server(SglangVersion::Stock, 20.0).await;
    for path in [
        "/",
        "/health",
        "/health_generate",
        "/ping",
        "/get_model_info",
        "/model_info",
        "/get_server_info",
        "/server_info",
        "/metrics",
        "/v1/models/tiny",
        "/flush_cache",
    ] {
        assert_eq!(get(&s, path).await.status, StatusCode::OK, "{path}");
    }
    let page = get(&s, "/metrics").await.text;
    assert!(page.contains("sglang:num_running_reqs{engine_type=\"unified\",model_name=\"tiny\""), "{page}");
    assert!(
        page.contains("\nemulator:wakeups_total ") && page.contains("\nemulator:late_wakeups_total "),
        "{page}"
    );
    assert_eq!(get(&s, "/get_load").await.status, StatusCode::NOT_FOUND, "0.5.23 has it no more");
    let ranked = post(&s, "/v1/rerank", r#"{"query": "q", "documents": ["a", "b", "c"]}"#).await.json();
    assert_eq!(ranked.as_array().unwrap().len(), 3);
    assert!(ranked[0]["score"].as_f64() >= ranked[1]["score"].as_f64());
    let classes = post(&s, "/v1/classify", r#"{"input": ["a", "b"]}"#).await.json();
    assert_eq!(classes["data"][1]["num_classes"], 2);
    let tokens = post(&s, "/tokenize", r#"{"prompt": " the and"}"#).await.json()["tokens"].to_string();
    let back = post(&s, "/detokenize", &format!(r#"{{"tokens": {tokens}}}"#)).await.json();
    assert_eq!(back["text"], " the and");
    let forced =
        r#"{"text": "a", "sampling_params": {"custom_params": {"output_tokens": 5}, "max_new_tokens": 9}}"#;
    let forced = post(&s, "/generate", forced).await.json();
    assert_eq!(
        (&forced["meta_info"]["completion_tokens"], &forced["meta_info"]["finish_reason"]["type"]),
        (&5.into(), &"stop".into())
    );
    let put = ask(&s, Method::PUT, "/generate", &with(GENERATE, "")).await.unwrap();
    assert_eq!(put.status, StatusCode::OK);
}

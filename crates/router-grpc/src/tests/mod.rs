//! What SGLang 0.5.23 was asked and what it answered, as HTTP.

mod connections;

use crate::call::{Answer, Call, CallCheck};
use crate::error::TransportError;
use crate::framing::{MessageReader, framed};
use crate::http2::CallBody;
use crate::messages::{AbortRequest, GenerateRequest, OpenAiRequest, TextGenerateRequest, TokenizeRequest};
use crate::receiver::{Messages, Receiver};
use crate::response::GrpcResponse;
use crate::rpc::Rpc;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method};
use http_body::Frame;
use prost::Message;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::future::poll_fn;
use tonic::{Code, Status};

/// One exchange with the real server.
struct Captured {
    rpc: Rpc,
    request: Bytes,
    messages: Vec<Bytes>,
    status: Status,
}

fn captured(name: &str) -> Captured {
    let path = format!("{}/tests/data/sglang-0.5.23-grpc/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let bytes = |value: &Value| Bytes::from(STANDARD.decode(value.as_str().unwrap()).unwrap());
    let rpc = file["rpc"].as_str().unwrap();
    let code = match file["status"].as_str().unwrap() {
        "OK" => Code::Ok,
        "INTERNAL" => Code::Internal,
        "CANCELLED" => Code::Cancelled,
        "INVALID_ARGUMENT" => Code::InvalidArgument,
        other => panic!("{other}"),
    };
    Captured {
        rpc: Rpc::ALL.into_iter().find(|known| known.as_str() == rpc).unwrap(),
        request: bytes(&file["request"]),
        messages: file["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| bytes(&message["bytes"]))
            .collect(),
        status: Status::new(code, file["details"].as_str().unwrap_or_default()),
    }
}

/// The stream on which these messages come, cut into pieces of `piece` bytes.
fn stream(messages: &[Bytes], status: &Status, piece: usize) -> Messages {
    let mut wire = BytesMut::new();
    for message in messages {
        wire.put_u8(0);
        wire.put_u32(u32::try_from(message.len()).unwrap());
        wire.extend_from_slice(message);
    }
    let mut frames: VecDeque<_> =
        wire.chunks(piece).map(|piece| Frame::data(Bytes::copy_from_slice(piece))).collect();
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    frames.push_back(Frame::trailers(trailers));
    Messages::Streamed(MessageReader::new(CallBody::Written(frames)))
}

/// Status, content type and body of the HTTP response for answers on these streams.
async fn respond(answer: &Answer, streams: Vec<Messages>) -> Result<(u16, String, String), TransportError> {
    let mut receiver = Receiver::default();
    streams.into_iter().for_each(|stream| receiver.push(stream));
    let (parts, mut response) = GrpcResponse::receive(receiver, answer).await?;
    let mut body = Vec::new();
    while let Some(frame) = poll_fn(|cx| response.poll_frame(cx)).await {
        body.extend_from_slice(&frame?.into_data().unwrap());
    }
    assert!(response.is_over());
    let kind = parts.headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
    Ok((parts.status.as_u16(), kind.to_owned(), String::from_utf8_lossy(&body).into_owned()))
}

fn call(path: &str, body: &Value) -> Call {
    let body = Bytes::from(body.to_string());
    Call::of(&Method::POST, path, &HeaderMap::new(), &body, None).unwrap()
}

/// The response that the router makes of a captured answer to a request at `path`.
async fn replayed(name: &str, path: &str, body: &Value) -> (u16, String, String) {
    let captured = captured(name);
    let call = call(path, body);
    assert_eq!(call.rpc, captured.rpc, "{name}");
    let mut last = None;
    for piece in [1, 7, usize::MAX] {
        let piece = piece.min(1 << 20);
        let response =
            respond(&call.answer, vec![stream(&captured.messages, &captured.status, piece)]).await.unwrap();
        assert!(last.is_none_or(|last| last == response), "{name} in pieces of {piece} bytes");
        last = Some(response);
    }
    last.unwrap()
}

/// The data of the events of a stream.
fn events(body: &str) -> Vec<&str> {
    assert!(body.ends_with("\n\n"));
    body.trim_end().split("\n\n").map(|event| event.strip_prefix("data: ").unwrap()).collect()
}

#[test]
fn the_body_goes_as_it_came() {
    for (name, path) in [
        ("chat_stream", "/v1/chat/completions"),
        ("chat_with_rid", "/v1/chat/completions"),
        ("completion_whole", "/v1/completions"),
        ("embed_refused", "/v1/embeddings"),
    ] {
        let captured = captured(name);
        let body = OpenAiRequest::decode(captured.request.clone()).unwrap().json_body;
        let call = Call::of(&Method::POST, path, &HeaderMap::new(), &body, None).unwrap();
        assert_eq!(call.rpc, captured.rpc);
        assert_eq!(call.messages[0][5..], captured.request[..], "{name}");
    }
}

#[test]
fn trace_headers_travel_in_their_field() {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static("00-a-b-01"));
    headers.insert("x-other", HeaderValue::from_static("v"));
    let call =
        Call::of(&Method::POST, "/v1/completions", &headers, &Bytes::from_static(b"{}"), None).unwrap();
    let message = OpenAiRequest::decode(&call.messages[0][5..]).unwrap();
    assert_eq!(
        message.trace_headers.into_iter().collect::<Vec<_>>(),
        [("traceparent".to_owned(), "00-a-b-01".to_owned())]
    );
}

#[test]
fn generate_becomes_typed_calls() {
    let whole = captured("text_generate_stream");
    let body =
        json!({"text": "hello", "sampling_params": {"max_new_tokens": 4}, "stream": true, "rid": "rid-2"});
    let ours = TextGenerateRequest::decode(&call("/generate", &body).messages[0][5..]).unwrap();
    assert_eq!(ours, TextGenerateRequest::decode(whole.request).unwrap());
    let ids = captured("generate_ids_stream");
    let body = json!({"input_ids": [5, 6, 300], "sampling_params": {"max_new_tokens": 4}, "stream": true});
    let ours = GenerateRequest::decode(&call("/generate", &body).messages[0][5..]).unwrap();
    assert_eq!(ours, GenerateRequest::decode(ids.request).unwrap());
}

#[test]
fn every_member_of_generate_reaches_its_field() {
    let body = json!({
        "text": ["a", "b"], "rid": "one", "stream": true, "return_logprob": true, "top_logprobs_num": 2,
        "logprob_start_len": 0, "return_text_in_logprobs": true, "lora_path": ["x", null], "routing_key": "k",
        "data_parallel_rank": 3, "bootstrap_host": "h", "bootstrap_port": 8998, "bootstrap_room": [7, 8],
        "sampling_params": [{"temperature": 0, "stop": "."}, {"n": 2, "stop": ["a", "b"], "top_k": -1}],
    });
    let call = call("/generate", &body);
    let [first, second] = &call.messages[..] else { panic!("two prompts") };
    let first = TextGenerateRequest::decode(&first[5..]).unwrap();
    let second = TextGenerateRequest::decode(&second[5..]).unwrap();
    assert_eq!((first.rid.as_deref(), second.rid.as_deref()), (Some("one_0"), Some("one_1")));
    assert_eq!((first.lora_path.as_deref(), second.lora_path), (Some("x"), None));
    assert_eq!(
        (first.routed_dp_rank, first.return_logprob, first.top_logprobs_num),
        (Some(3), Some(true), Some(2))
    );
    assert_eq!((first.logprob_start_len, first.return_text_in_logprobs), (Some(0), Some(true)));
    let rooms = [first.disaggregated_params, second.disaggregated_params]
        .map(|params| params.unwrap().bootstrap_room);
    assert_eq!(rooms, [7, 8]);
    let (first, second) = (first.sampling_params.unwrap(), second.sampling_params.unwrap());
    assert_eq!((first.temperature, first.stop), (Some(0.0), vec![".".to_owned()]), "0 is not left out");
    assert_eq!((second.n, second.top_k, second.stop.len()), (Some(2), Some(-1), 2));
}

#[test]
fn a_checked_body_is_not_read_again_unless_it_changed() {
    let check = |path, body: &Bytes| CallCheck::new(&Method::POST, path, body);
    for (path, body, has_call) in [
        ("/v1/chat/completions", "no JSON", true),
        ("/generate", r#"{"text": "a"}"#, true),
        ("/generate", "no JSON", true),
        ("/generate", r#"{"text": "a", "image_data": "x"}"#, false),
        ("/generate", r#"{"text": "a", "sampling_params": [{"ebnf": "x"}]}"#, false),
        ("/v1/messages", "{}", false),
    ] {
        assert_eq!(check(path, &Bytes::from_static(body.as_bytes())).has_call(), has_call, "{path} {body}");
    }
    let body = Bytes::from(r#"{"text": "a", "sampling_params": {"top_k": 3}}"#);
    let known = check("/generate", &body);
    let by = |body: &Bytes, check| {
        let call = Call::of(&Method::POST, "/generate", &HeaderMap::new(), body, check).unwrap();
        TextGenerateRequest::decode(&call.messages[0][5..]).unwrap()
    };
    assert!(known.read_of(&body).is_some(), "the very bytes");
    assert_eq!(by(&body, Some(&known)), by(&body, None));
    let changed = Bytes::from(r#"{"text": "b"}"#);
    assert_eq!(by(&changed, Some(&known)).text, "b", "what was read of another body is not used");
}

#[test]
fn what_has_no_field_is_refused_and_named() {
    let refused = |path, body: Value| {
        let refusal =
            Call::of(&Method::POST, path, &HeaderMap::new(), &body.to_string().into(), None).unwrap_err();
        (refusal.status().as_u16(), refusal.to_string())
    };
    for (path, body, status, named) in [
        ("/v1/messages", json!({}), 501, "/v1/messages"),
        ("/v1/responses", json!({}), 501, "/v1/responses"),
        ("/generate", json!({"text": "a", "image_data": "x"}), 501, "image_data"),
        ("/generate", json!({"text": "a", "sampling_params": {"ebnf": "x"}}), 501, "sampling_params.ebnf"),
        ("/generate", json!({"text": "a", "sampling_params": {"top_k": "x"}}), 400, "sampling_params"),
        ("/generate", json!({"text": ["a", "b"], "rid": ["x"]}), 400, "rid has 1 entries for 2 prompts"),
        ("/generate", json!({"text": ""}), 400, "the prompt is empty"),
        ("/generate", json!({"text": ["a", ""]}), 400, "the prompt is empty"),
        ("/generate", json!({"input_ids": []}), 400, "the prompt is empty"),
        ("/generate", json!({}), 400, "text or input_ids"),
        ("/generate", json!([]), 400, "/generate"),
        ("/tokenize", json!({}), 400, "/tokenize"),
    ] {
        let (found, message) = refused(path, body);
        assert!(found == status && message.contains(named), "{path}: {found} {message}");
    }
    let harmless = json!({"text": "a", "image_data": null, "log_metrics": false, "model": "m",
        "sampling_params": {"skip_special_tokens": true, "ebnf": null}});
    assert_eq!(call("/generate", &harmless).rpc, Rpc::TextGenerate);
}

#[tokio::test]
async fn streams_become_events() {
    let asked = json!({"stream": true});
    let (status, kind, body) = replayed("chat_stream_usage", "/v1/chat/completions", &asked).await;
    assert_eq!((status, kind.as_str()), (200, "text/event-stream; charset=utf-8"));
    let all = events(&body);
    let chunks = captured("chat_stream_usage").messages.len();
    assert_eq!((all.len(), all.last()), (chunks, Some(&"[DONE]")), "the empty chunk is the end");
    let usage: Value = serde_json::from_str(all[all.len() - 2]).unwrap();
    assert_eq!(usage["usage"]["completion_tokens"], 5);
    assert!(all[..all.len() - 1].iter().all(|event| event.starts_with("{\"id\":")));
}

#[tokio::test]
async fn whole_answers_and_errors_have_their_status() {
    let ask = json!({});
    let (status, kind, body) = replayed("chat_whole", "/v1/chat/completions", &ask).await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    assert!(body.starts_with("{\"id\": \"") && body.contains("\"completion_tokens\": 5"));
    let (status, _, body) = replayed("chat_too_long", "/v1/chat/completions", &ask).await;
    assert!(status == 400 && body.contains("longer than the model's context length"), "{status} {body}");
    let (status, _, body) = replayed("embed_refused", "/v1/embeddings", &ask).await;
    assert!(status == 400 && body.contains("embedding model"), "{status} {body}");
    for (name, named) in [("chat_bad_json", "Expecting value"), ("chat_bad_messages", "1 validation error")] {
        let (status, kind, body) = replayed(name, "/v1/chat/completions", &ask).await;
        assert_eq!((status, kind.as_str()), (400, "application/json"), "{name}");
        let error: Value = serde_json::from_str(&body).unwrap();
        assert!(error["error"]["message"].as_str().unwrap().contains(named), "{body}");
    }
}

#[tokio::test]
async fn meta_info_is_json_again() {
    let asked = json!({"text": "hello", "stream": true});
    let (_, _, body) = replayed("text_generate_stream", "/generate", &asked).await;
    let all = events(&body);
    assert_eq!((all.len(), all.last()), (5, Some(&"[DONE]")));
    let texts: Vec<Value> = all[..4].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert!(texts[3]["text"].as_str().unwrap().starts_with(texts[0]["text"].as_str().unwrap()));
    assert_eq!(texts[3]["meta_info"]["finish_reason"], json!({"type": "length", "length": 4}));
    assert_eq!(
        (&texts[3]["meta_info"]["id"], &texts[0]["meta_info"]["finish_reason"]),
        (&json!("rid-2"), &Value::Null)
    );
    assert!(texts[0].get("index").is_none());
    let (_, _, body) = replayed("generate_ids_whole", "/generate", &json!({"input_ids": [5]})).await;
    let whole: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(whole["output_ids"].as_array().unwrap().len(), 4);
    assert_eq!(whole["meta_info"]["completion_tokens"], 4);
}

#[tokio::test]
async fn answers_of_a_batch_are_told_apart() {
    let Captured { messages, status, .. } = captured("text_generate_stream");
    let other: Vec<Bytes> = messages
        .iter()
        .map(|m| String::from_utf8_lossy(m).replace("rid-2", "rid-9").into_bytes().into())
        .collect();
    let asked = call("/generate", &json!({"text": ["a", "b"], "stream": true, "sampling_params": {"n": 2}}));
    let both: Vec<Bytes> = messages.iter().zip(&other).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    let streams = vec![stream(&both, &status, 64), stream(&messages, &status, 64)];
    let (_, _, body) = respond(&asked.answer, streams).await.unwrap();
    let mut indices = [0; 4];
    for event in events(&body).iter().filter(|event| **event != "[DONE]") {
        let event: Value = serde_json::from_str(event).unwrap();
        indices[usize::try_from(event["index"].as_u64().unwrap()).unwrap()] += 1;
    }
    assert_eq!(indices, [4, 4, 4, 0], "two answers to the first prompt, one came of the second");
    let asked = call("/generate", &json!({"text": ["a", "b"]}));
    let streams = vec![stream(&messages[3..], &status, 64), stream(&messages[3..], &status, 64)];
    let (_, _, body) = respond(&asked.answer, streams).await.unwrap();
    assert_eq!(serde_json::from_str::<Vec<Value>>(&body).unwrap().len(), 2);
}

#[tokio::test]
async fn control_calls_answer_as_http_does() {
    let (status, _, body) = replayed("HealthCheck", "/health", &json!({})).await;
    assert_eq!((status, body.as_str()), (200, ""));
    let (_, _, body) = replayed("GetLoad_busy", "/v1/loads", &json!({})).await;
    let loads: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(loads["loads"][0]["num_running_reqs"], 1);
    let (_, _, body) = replayed("ListModels", "/v1/models", &json!({})).await;
    let models: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&models["object"], &models["data"][0]["max_model_len"]), (&json!("list"), &json!(2048)));
    assert!(models["data"][0]["created"].as_u64().is_some_and(|secs| secs > 1_700_000_000), "{models}");
    let (_, _, body) = replayed("Tokenize", "/tokenize", &json!({"prompt": "hello there"})).await;
    let tokens: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((tokens["tokens"].as_array().unwrap().len(), &tokens["count"]), (4, &json!(4)));
    let (status, _, body) = replayed("FlushCache", "/flush_cache", &json!({})).await;
    assert_eq!((status, body.as_str()), (200, "Cache flushed.\n"));
    let (status, ..) = replayed("Abort_empty", "/abort_request", &json!({})).await;
    assert_eq!(status, 400);
    let (status, ..) = replayed("Abort_unknown", "/abort_request", &json!({"rid": "nobody"})).await;
    assert_eq!(status, 200);
    let asked = call("/tokenize", &json!({"prompt": "a", "add_special_tokens": false}));
    let message = TokenizeRequest::decode(&asked.messages[0][5..]).unwrap();
    assert_eq!(message.add_special_tokens, Some(false));
    assert_eq!(framed(&AbortRequest::default()).len(), 5);
}

#[tokio::test]
async fn a_stream_that_ends_early_is_not_complete() {
    let Captured { messages, status, .. } = captured("chat_cancelled");
    let answer = Answer::OpenAiChunks;
    let cut = respond(&answer, vec![stream(&messages, &status, 64)]).await.unwrap_err();
    assert!(matches!(cut, TransportError::Status { code: Code::Cancelled, .. }), "{cut}");
    let without_end = respond(&answer, vec![stream(&messages, &Status::ok(""), 64)]).await.unwrap_err();
    assert!(matches!(without_end, TransportError::Closed), "{without_end}");
    let garbage = [Bytes::from_static(b"\x0a\xff\xff")];
    let garbage = respond(&answer, vec![stream(&garbage, &Status::ok(""), 64)]).await.unwrap_err();
    assert!(matches!(garbage, TransportError::Invalid(_)), "{garbage}");
    let nothing = respond(&answer, vec![stream(&[], &Status::ok(""), 64)]).await.unwrap_err();
    assert!(matches!(nothing, TransportError::Invalid(_)), "{nothing}");
}

#[tokio::test]
async fn a_value_that_is_no_json_stays_readable() {
    let Captured { messages, status, .. } = captured("text_generate_whole");
    let broken = String::from_utf8_lossy(&messages[0]).replace("\"default\"", "\"defaul\u{1}\u{1}");
    let asked = call("/generate", &json!({"text": "a"}));
    let (_, _, body) =
        respond(&asked.answer, vec![stream(&[broken.into_bytes().into()], &status, 64)]).await.unwrap();
    let whole: Value = serde_json::from_str(&body).unwrap();
    assert!(whole["meta_info"]["weight_version"].is_string(), "{body}");
}

#[tokio::test]
async fn fields_that_are_not_known_are_skipped() {
    let Captured { messages, status, .. } = captured("chat_whole");
    let more = [&messages[0][..], b"\x9a\x06\x03new\xa0\x06\x01"].concat();
    let asked = call("/v1/chat/completions", &json!({}));
    let known = respond(&asked.answer, vec![stream(&messages, &status, 64)]).await.unwrap();
    let with_more = respond(&asked.answer, vec![stream(&[more.into()], &status, 64)]).await.unwrap();
    assert_eq!(known, with_more);
}

#[tokio::test]
async fn messages_that_cannot_be_are_refused() {
    let raw = |bytes: &'static [u8]| {
        let frames = [Frame::data(Bytes::from_static(bytes))].into();
        vec![Messages::Streamed(MessageReader::new(CallBody::Written(frames)))]
    };
    for (bytes, named) in [
        (&b"\0\x06\x40\0\0"[..], "larger than 64 MiB"),
        (b"\x01\0\0\0\x01a", "compressed"),
        (b"\0\0\0\0\x05abc", "closed"),
        (b"\0\0", "closed"),
        (b"", "closed"),
    ] {
        let error = respond(&Answer::Health, raw(bytes)).await.unwrap_err().to_string();
        assert!(error.contains(named), "{bytes:?}: {error}");
    }
}

/// Any bytes may come from a worker: an error or a response, and no panic.
#[tokio::test]
async fn any_bytes_are_survived() {
    let asked = [
        call("/v1/chat/completions", &json!({})).answer,
        call("/generate", &json!({"text": ["a", "b"], "stream": true})).answer,
        call("/generate", &json!({"input_ids": [1]})).answer,
        call("/v1/models", &json!({})).answer,
        call("/tokenize", &json!({"prompt": ["a"]})).answer,
    ];
    let originals = ["chat_stream", "text_generate_stream", "ListModels", "Tokenize"].map(captured);
    let mut seed = 1_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for _ in 0..2000 {
        let original = &originals[random(originals.len())];
        let mut messages = original.messages.clone();
        let place = random(messages.len());
        let mut mutated = messages[place].to_vec();
        for _ in 0..=random(4) {
            let at = random(mutated.len());
            mutated[at] = u8::try_from(random(256)).unwrap();
        }
        mutated.truncate(random(mutated.len()) + 1);
        messages[place] = mutated.into();
        let answer = &asked[random(asked.len())];
        let _ = respond(answer, vec![stream(&messages, &original.status, 1 + random(100))]).await;
    }
}

//! One request on two servers, compared with captured requests and responses of a real pair.

use bytes::Bytes;
use router_core::Route;
use router_protocol::disaggregation::{
    BootstrapServer, InputLogprobs, LogprobsMerger, bootstrap_members, bootstrap_rooms, kv_transfer_params,
    split_facts, vllm_prefill_members,
};
use router_protocol::{scan, set_members};
use serde_json::{Value, json};

const PD: &str = "sglang-0.4.10.post2-variant-pd";

fn bodies() -> Vec<(Route, &'static str, Value)> {
    let generate = Route::Generate;
    vec![
        (generate, r#"{"text":"a"}"#, json!(7)),
        (generate, r#"{"text":["a"]}"#, json!([7])),
        (generate, r#"{ "text" : [ "a", "b" ] , "stream" : true }"#, json!([7, 8])),
        (generate, r#"{"input_ids":[1,2,3]}"#, json!(7)),
        (generate, r#"{"input_ids":[[1,2,3]]}"#, json!([7])),
        (generate, r#"{"input_ids":[[1],[2],[3]]}"#, json!([7, 8, 9])),
        (generate, r#"{"text":"a","sampling_params":{"n":4}}"#, json!(7)),
        (Route::Completions, r#"{"prompt":["a","b"]}"#, json!([7, 8])),
        (Route::Completions, r#"{"prompt":[5,6]}"#, json!(7)),
        (Route::ChatCompletions, r#"{"messages":[{"role":"user","content":"a"}]}"#, json!(7)),
        (Route::ChatCompletions, r#"{"messages":[],"n":2}"#, json!([7, 8])),
    ]
}

#[test]
fn rooms_are_a_list_for_lists() {
    for (route, body, room) in bodies() {
        let facts = scan(route, body.as_bytes());
        let mut next = 6;
        let at = BootstrapServer { host: "gpu-1", port: Some(8998) };
        let members = bootstrap_members(at, bootstrap_rooms(route, &facts), || {
            next += 1;
            next
        });
        let out = set_members(body.as_bytes(), &members).unwrap();
        assert!(out.starts_with(body.trim_end_matches('}').as_bytes()), "{body}");
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["bootstrap_room"], room, "{body}");
        let (host, port) = match room.as_array() {
            Some(list) => (json!(vec!["gpu-1"; list.len()]), json!(vec![8998; list.len()])),
            None => (json!("gpu-1"), json!(8998)),
        };
        assert_eq!((&value["bootstrap_host"], &value["bootstrap_port"]), (&host, &port), "{body}");
    }
}

#[test]
fn rooms_match_captured_requests() {
    for name in ["generate", "generate_batch", "generate_stream", "generate_logprob", "chat", "chat_stream"] {
        let (route, request) = crate::support::request(&format!("{PD}/prefill_{name}"));
        let asked: Value = serde_json::from_slice(&request).unwrap();
        let list = bootstrap_rooms(route, &scan(route, &request));
        let shape = asked["bootstrap_room"].as_array().map(|rooms| u32::try_from(rooms.len()).unwrap());
        assert_eq!(list, shape, "{name}");
        assert_eq!(split_facts(&request).reserved, Some("bootstrap_host"), "{name}");
        assert_eq!(split_facts(&request).input_logprobs, name == "generate_logprob", "{name}");
    }
}

#[test]
fn reserved_members_are_found() {
    for (body, reserved) in [
        (r#"{"text":"bootstrap_room"}"#, None),
        (r#"{"bootstrap_room":null}"#, None),
        (r#"{"a":{"bootstrap_room":1}}"#, None),
        (r#"{"boot\u0073trap_room":1}"#, Some("bootstrap_room")),
        (r#"{"text":"a","kv_transfer_params":{"remote_host":"10.0.0.9"}}"#, Some("kv_transfer_params")),
        ("not json", None),
    ] {
        assert_eq!(split_facts(body.as_bytes()).reserved, reserved, "{body}");
    }
    assert_eq!(split_facts(br#"{"data_parallel_rank":3}"#).rank, Some(3));
    assert!(split_facts(br#"{"return_logprob":[false,true]}"#).input_logprobs);
    assert!(!split_facts(br#"{"return_logprob":[false],"text":"true"}"#).input_logprobs);
}

#[test]
fn logprobs_fill_captured_decode_response() {
    let prefill = crate::support::body(&format!("{PD}/prefill_generate_logprob"));
    let decode = crate::support::body(&format!("{PD}/decode_generate_logprob"));
    let logprobs = InputLogprobs::from_response(&prefill);
    assert!(!logprobs.is_empty());
    for cut in [0, 1, 50, decode.len()] {
        let mut merger = LogprobsMerger::for_response(logprobs.clone());
        assert!(merger.push(&decode[..cut]).is_empty());
        assert!(merger.push(&decode[cut..]).is_empty());
        let merged = String::from_utf8(merger.finish().to_vec()).unwrap();
        let expected = String::from_utf8(decode.to_vec()).unwrap();
        let filled = r#""input_token_logprobs":[[null,204,null]]"#;
        assert_eq!(merged, expected.replace(r#""input_token_logprobs":[]"#, filled));
    }
}

#[test]
fn batch_parts_get_their_logprobs() {
    let prefill = Bytes::from_static(
        br#"[{"meta_info":{"input_token_logprobs":[1],"input_top_logprobs":[]}},{"meta_info":{"input_token_logprobs":[2]}}]"#,
    );
    let mut merger = LogprobsMerger::for_response(InputLogprobs::from_response(&prefill));
    merger.push(
        br#"[{"meta_info":{"input_token_logprobs": [ ] ,"a":1}}, {"meta_info":{}}, {"meta_info":{"a":1}}]"#,
    );
    assert_eq!(
        merger.finish(),
        r#"[{"meta_info":{"input_token_logprobs": [1] ,"a":1}}, {"meta_info":{"input_token_logprobs":[2]}}, {"meta_info":{"a":1}}]"#
    );
}

#[test]
fn stream_is_filled_however_chunked() {
    let prefill = Bytes::from_static(
        b"data: {\"index\":1,\"meta_info\":{\"input_token_logprobs\":[[-1.5,9,null]]}}\n\ndata: [DONE]\n\n",
    );
    let decode = b": hello\n\ndata: {\"index\":0,\"meta_info\":{\"input_token_logprobs\":[]}}\n\n\
        data: {\"meta_info\":{\"b\":2},\"index\":1}\r\n\r\ndata: [DONE]\n\ndata: {\"cut";
    let expected = ": hello\n\ndata: {\"index\":0,\"meta_info\":{\"input_token_logprobs\":[]}}\n\n\
        data: {\"meta_info\":{\"input_token_logprobs\":[[-1.5,9,null]],\"b\":2},\"index\":1}\r\n\r\ndata: [DONE]\n\ndata: {\"cut";
    for cut in 0..decode.len() {
        let mut merger = LogprobsMerger::for_stream(InputLogprobs::from_stream(&prefill));
        let mut out = merger.push(&decode[..cut]).to_vec();
        out.extend_from_slice(&merger.push(&decode[cut..]));
        assert!(out.ends_with(b"[DONE]\n\n"), "whole events go on at once");
        out.extend_from_slice(&merger.finish());
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{cut}");
    }
}

#[test]
fn invalid_json_passes_unchanged() {
    let prefill = Bytes::from_static(br#"{"meta_info":{"input_token_logprobs":[1]}}"#);
    for body in ["", "[", "{\"meta_info\":{", "Internal Server Error", "{\"meta_info\":[1]}"] {
        let mut merger = LogprobsMerger::for_response(InputLogprobs::from_response(&prefill));
        let mut out = merger.push(body.as_bytes()).to_vec();
        out.extend_from_slice(&merger.finish());
        assert_eq!(out, body.as_bytes());
    }
}

#[test]
fn vllm_prefill_members_and_kv_params() {
    let body = br#"{"messages" : [],"stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":500}"#;
    let out = set_members(body, vllm_prefill_members(Route::ChatCompletions)).unwrap();
    assert!(
        out.starts_with(
            br#"{"messages" : [],"stream":false,"stream_options":null,"max_completion_tokens":1,"#
        )
    );
    let prefill: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&prefill["stream"], &prefill["stream_options"]), (&json!(false), &json!(null)));
    assert_eq!((&prefill["max_tokens"], &prefill["max_completion_tokens"]), (&json!(1), &json!(1)));
    assert_eq!(prefill["kv_transfer_params"]["do_remote_decode"], json!(true));
    let response =
        br#"{"choices":[{"kv_transfer_params":1}], "kv_transfer_params" : {"remote_block_ids": [1 ,2]} }"#;
    assert_eq!(kv_transfer_params(response), Some(&br#"{"remote_block_ids": [1 ,2]}"#[..]));
    assert_eq!(kv_transfer_params(br#"{"kv_transfer_params":null}"#), None);
    assert_eq!(kv_transfer_params(b"{"), None);
}

#[test]
fn set_member_replaces_or_appends() {
    let set = |body: &str| set_members(body.as_bytes(), &[("a", "1"), ("b", "[2]")]);
    for (body, out) in [
        ("{}", r#"{"a":1,"b":[2]}"#),
        (" { } ", r#" { "a":1,"b":[2]} "#),
        (r#"{"x":{"a":9}}"#, r#"{"x":{"a":9},"a":1,"b":[2]}"#),
        (r#"{"b" : null , "x":"}"}"#, r#"{"b" : [2] , "x":"}","a":1}"#),
        (r#"{"a":7,"b":{},"\u0061":"z"}"#, r#"{"a":1,"b":[2],"\u0061":1}"#),
    ] {
        assert_eq!(set(body).as_deref(), Some(out.as_bytes()), "{body}");
    }
    for body in ["", "[1]", r#"{"a":1"#, "{} {}", "null"] {
        assert_eq!(set(body), None, "{body}");
    }
}

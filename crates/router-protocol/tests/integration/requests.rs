//! What request bodies ask for: the captured ones, and the shapes clients send.

use router_core::{OutputForm, RequestId, Route, SessionMember};
use router_protocol::{OwnedFacts, PREFIX_BLOCK_BYTES, SessionNames, scan};

#[test]
fn captured_requests_match_full_parser() {
    let mut seen = 0;
    for path in crate::support::files(&crate::support::data(), ".request") {
        let name =
            path.strip_prefix(crate::support::data()).unwrap().to_string_lossy().replace(".request", "");
        let (route, body) = crate::support::request(&name);
        let facts = scan(route, &body);
        assert_eq!(OwnedFacts::scan(route, &body).facts(), facts, "{route:?}");
        let parsed = serde_json::from_slice::<serde_json::Value>(&body).ok().filter(|v| v.is_object());
        assert_eq!(facts.well_formed, parsed.is_some(), "{name}");
        let Some(v) = parsed else { continue };
        seen += 1;
        assert_eq!(facts.stream, v["stream"] == true, "{name}");
        assert_eq!(facts.rid.as_deref(), v["rid"].as_str().or_else(|| v["rid"][0].as_str()), "{name}");
    }
    assert!(seen > 150, "only {seen} requests");
}

/// Route, body, batch, choices, prompt as in the body, prompt tokens, limit on output tokens.
type PromptCase = (Route, &'static str, u32, u32, Option<&'static str>, Option<u32>, Option<u32>);

#[test]
fn every_shape_of_prompt() {
    use Route::{
        ChatCompletions, Classify, Completions, Embeddings, Generate, Other, Rerank, Responses, Tokenize,
    };
    let rows: &[PromptCase] = &[
        (
            Generate,
            r#"{"text":"a\nb","sampling_params":{"max_new_tokens":5,"n":2}}"#,
            1,
            2,
            Some(r"a\nb"),
            None,
            Some(5),
        ),
        (Generate, r#"{"text":["a","b","c"]}"#, 3, 1, Some(r#"["a","b","c"]"#), None, None),
        (Generate, r#"{"input_ids":[1,2,3]}"#, 1, 1, Some("[1,2,3]"), Some(3), None),
        (Generate, r#"{"input_ids":[[1,2],[3]]}"#, 2, 1, Some("[[1,2],[3]]"), Some(3), None),
        (
            Generate,
            r#"{"input_embeds":[[0.1,0.2],[0.3,0.4]]}"#,
            1,
            1,
            Some("[[0.1,0.2],[0.3,0.4]]"),
            None,
            None,
        ),
        (Generate, r#"{"input_embeds":[[[0.1]],[[0.3]]]}"#, 2, 1, Some("[[[0.1]],[[0.3]]]"), None, None),
        (
            Generate,
            r#"{"text":["a","b"],"sampling_params":[{"max_new_tokens":5},{"max_new_tokens":9,"n":3}]}"#,
            2,
            3,
            Some(r#"["a","b"]"#),
            None,
            Some(9),
        ),
        (Generate, r#"{"text":null,"input_ids":[7]}"#, 1, 1, Some("[7]"), Some(1), None),
        (
            ChatCompletions,
            r#"{"messages":[{"role":"user"}],"max_tokens":4,"max_completion_tokens":6,"n":2}"#,
            1,
            2,
            Some(r#"[{"role":"user"}]"#),
            None,
            Some(6),
        ),
        (Completions, r#"{"prompt":["a","b"],"best_of":4,"n":2}"#, 2, 4, Some(r#"["a","b"]"#), None, None),
        (Completions, r#"{"prompt":[ 1, 2 ]}"#, 1, 1, Some("[ 1, 2 ]"), Some(2), None),
        (
            Completions,
            r#"{"prompt":[[1],[2,3]],"max_tokens":1}"#,
            2,
            1,
            Some("[[1],[2,3]]"),
            Some(3),
            Some(1),
        ),
        (Embeddings, r#"{"input":["a","b"]}"#, 2, 1, Some(r#"["a","b"]"#), None, None),
        (
            Embeddings,
            r#"{"input":[{"text":"a"},{"image":"b"}]}"#,
            2,
            1,
            Some(r#"[{"text":"a"},{"image":"b"}]"#),
            None,
            None,
        ),
        (
            Responses,
            r#"{"input":[{"role":"user"},{"role":"user"}],"max_output_tokens":4}"#,
            1,
            1,
            Some(r#"[{"role":"user"},{"role":"user"}]"#),
            None,
            Some(4),
        ),
        (Responses, r#"{"input":"hi"}"#, 1, 1, Some("hi"), None, None),
        (Rerank, r#"{"query":"q","documents":["a","b","c"]}"#, 3, 1, Some("q"), None, None),
        (Rerank, r#"{"text_1":"q","text_2":["a","b"]}"#, 2, 1, Some("q"), None, None),
        (Classify, r#"{"text":"a"}"#, 1, 1, Some("a"), None, None),
        (Tokenize, r#"{"tokens":[1,2,3,4]}"#, 1, 1, Some("[1,2,3,4]"), Some(4), None),
        (Other, r#"{"messages":[1],"system":"s","max_tokens":9}"#, 1, 1, Some("[1]"), None, Some(9)),
        (
            Other,
            r#"{"token_ids":[1,2],"sampling_params":{"max_tokens":4}}"#,
            1,
            1,
            Some("[1,2]"),
            Some(2),
            Some(4),
        ),
        (Generate, r#"{"text":[]}"#, 1, 1, Some("[]"), None, None),
        (Generate, r#"{}"#, 1, 1, None, None, None),
    ];
    for &(route, body, batch, choices, prompt, tokens, cap) in rows {
        let f = scan(route, body.as_bytes());
        assert!(f.well_formed, "{body}");
        assert_eq!((f.batch, f.choices), (batch, choices), "{body}");
        assert_eq!(f.text(), prompt, "{body}");
        assert_eq!((f.prompt_tokens, f.max_output_tokens), (tokens, cap), "{body}");
    }
    let rerank = scan(Rerank, br#"{"query":"qq","documents":["a","b"]}"#);
    assert_eq!(rerank.prompt_bytes, 2 + 9);
}

#[test]
fn form_of_the_output() {
    let form = |route, body: &str| scan(route, body.as_bytes()).form;
    let chat = |members: &str| form(Route::ChatCompletions, &format!(r#"{{"messages":[1]{members}}}"#));
    assert_eq!(chat(""), OutputForm::Free);
    assert_eq!(chat(r#","tools":[{"type":"function"}]"#), OutputForm::Tools);
    assert_eq!(chat(r#","tools":null,"response_format":null"#), OutputForm::Free);
    assert_eq!(chat(r#","tools":[{}],"response_format":{"type":"json_object"}"#), OutputForm::Format);
    let generate = r#"{"text":"a","sampling_params":{"regex":"[0-9]+"}}"#;
    assert_eq!(form(Route::Generate, generate), OutputForm::Format);
}

#[test]
fn model_and_adapter_have_one_key() {
    let key =
        |members: &str| scan(Route::Generate, format!(r#"{{"text":"a"{members}}}"#).as_bytes()).model_key();
    assert_eq!(key(""), None);
    let keys = ["m", "n"].map(|model| key(&format!(r#","model":"{model}""#)));
    assert_ne!(keys[0], keys[1]);
    assert_eq!(key(r#","model":"m""#), keys[0]);
    assert_ne!(key(r#","model":"m","lora_path":"a""#), keys[0]);
}

#[test]
fn sessions_by_rank() {
    let session = |body: &str| {
        let names = scan(Route::Generate, body.as_bytes()).session;
        SessionMember::ALL.into_iter().find_map(|member| names.get(member).map(str::to_owned))
    };
    let all = r#"{"user_id":"d","user":"c","session_id":"b","session_params":{"session_id":"a"}}"#;
    assert_eq!(session(all).as_deref(), Some("a"));
    assert_eq!(session(r#"{"user":"c","session_id":"b"}"#).as_deref(), Some("b"));
    assert_eq!(session(r#"{"user_id":"d","user":"c"}"#).as_deref(), Some("c"));
    assert_eq!(
        session(r#"{"session_params":[{"session_id":"x"},{"session_id":"y"}]}"#).as_deref(),
        Some("x")
    );
    assert_eq!(session(r#"{"user":7}"#), None);
    let key = |body: &str| {
        let names = scan(Route::Generate, body.as_bytes()).session;
        SessionMember::ALL.into_iter().find_map(|member| names.routing_key(member))
    };
    assert_eq!(key(r#"{"user":"ab"}"#), key(r#"{"session_id":"\u0061b"}"#), "the decoded name counts");
    assert_eq!(key(r#"{"user":"ab"}"#), Some(router_protocol::routing_key(b"ab")));
    assert_eq!((key("{}"), key(r#"{"user":""}"#)), (None, None), "an empty name is none");
    assert_eq!(session(r#"{"session_id":"","user":"c"}"#).as_deref(), Some("c"));
}

#[test]
fn last_value_and_decoded_name_win() {
    let f = scan(Route::Generate, br#"{"str\u0065am":true,"rid":"a","rid":"b","n":5,"n":null}"#);
    assert_eq!((f.stream, f.rid.as_deref(), f.choices), (true, Some("b"), 1));
    let f = scan(Route::Generate, br#"{"sampling_params":{"max_new_tokens":5},"sampling_params":{}}"#);
    assert_eq!(f.max_output_tokens, None);
}

#[test]
fn wrong_types_are_absent() {
    let body = br#"{"model":1,"stream":"yes","text":{"a":1},"rid":{},"n":-3,"sampling_params":"x","stream_options":[1],"session_params":7}"#;
    let f = scan(Route::Generate, body);
    assert!(f.well_formed && !f.stream);
    assert_eq!((f.rid, f.session, f.choices), (None, SessionNames::default(), 1));
    assert_eq!(f.prompt, Some(&br#"{"a":1}"#[..]));
}

#[test]
fn non_object_is_unknown() {
    let bodies: &[&[u8]] = &[
        b"",
        b"   ",
        b"hello",
        b"[1,2]",
        b"\"a\"",
        b"{\"model\":\"m\"",
        b"{\"model\":\"m\"} x",
        b"{\"model\":\"m\"}{}",
        b"{\"a\":}",
        b"{\"model\":\"m\",}",
        b"--boundary\r\nContent-Disposition: form-data",
    ];
    for body in bodies {
        let f = scan(Route::ChatCompletions, body);
        assert_eq!((f.well_formed, f.rid), (false, None), "{body:?}");
        assert_eq!((f.batch, f.choices, f.prompt_bytes), (1, 1, body.len() as u64));
    }
    let latin = scan(Route::Generate, b"{\"rid\":\"\xff\",\"text\":\"\xff\"}");
    assert_eq!((latin.well_formed, latin.rid.as_deref(), latin.text()), (true, None, None));
    assert_eq!(latin.prompt, Some(&b"\xff"[..]));
}

#[test]
fn features_have_all_facts() {
    let body =
        br#"{"input_ids":[[1,2],[3]],"stream":true,"user":"u","sampling_params":{"max_new_tokens":5,"n":2}}"#;
    let facts = scan(Route::Generate, body);
    let f = facts.features(RequestId(9), Route::Generate, &[1, 2]);
    assert_eq!((f.id, f.attempt, f.route, f.stream), (RequestId(9), 0, Route::Generate, true));
    assert_eq!((f.batch, f.choices, f.prompt_bytes, f.prompt_tokens), (2, 2, 11, Some(3)));
    assert_eq!(
        (f.max_output_tokens, f.prefix, f.prefix_block_bytes),
        (Some(5), &[1, 2][..], PREFIX_BLOCK_BYTES)
    );
    assert!(facts.session.routing_key(SessionMember::User).is_some(), "the user is known");
    assert!(f.routing_key.is_none(), "taken only where a policy needs it");
    assert!(f.text.is_none() && f.target_worker.is_none());
}

/// Tools and the system prompt stand before the messages, wherever they stand in the body.
#[test]
fn preamble_of_messages_is_part_of_the_prefix() {
    let body = |system: &str, words: &str, tools: &str| {
        format!(
            r#"{{"max_tokens":9,"messages":[{{"role":"user","content":"{words}"}}],"metadata":{{"user_id":"u1"}},"model":"m","system":"{system}","tools":[{{"name":"{tools}"}}]}}"#
        )
    };
    let hashes = |body: &str| {
        let facts = scan(Route::Messages, body.as_bytes());
        let mut out = Vec::new();
        facts.prefix_hashes(&mut out);
        assert_eq!(facts.max_output_tokens, Some(9));
        assert_eq!(facts.session.get(SessionMember::MetadataUserId), Some("u1"));
        assert!(facts.prompt_bytes as usize > body.len() - 110, "{} of {}", facts.prompt_bytes, body.len());
        out
    };
    let (long, other) = ("word ".repeat(100), "text ".repeat(100));
    let all = hashes(&body(&long, &long, "search"));
    assert_eq!(
        all.len(),
        1 + 4 + 4,
        "a block of tools, the system prompt with its rest, whole blocks of messages"
    );
    let shared = |other: &[u64]| all.iter().zip(other).take_while(|(a, b)| a == b).count();
    assert_eq!(shared(&hashes(&body(&long, &other, "search"))), 5, "other messages");
    assert_eq!(shared(&hashes(&body(&other, &long, "search"))), 1, "another system prompt");
    assert_eq!(shared(&hashes(&body(&long, &long, "fetch"))), 0, "other tools");
}

#[test]
fn prefix_belongs_to_model_and_adapter() {
    let text = "a".repeat(400);
    let hashes = |route, rest: &str| {
        let body = format!(r#"{{"text":"{text}","prompt":"{text}"{rest}}}"#);
        let mut out = Vec::new();
        scan(route, body.as_bytes()).prefix_hashes(&mut out);
        assert_eq!(out.len(), 3);
        out
    };
    let plain = hashes(Route::Generate, "");
    assert_eq!(hashes(Route::Generate, r#","lora_path":null"#), plain);
    let one = hashes(Route::Generate, r#","lora_path":"one""#);
    let other = hashes(Route::Generate, r#","lora_path":"other""#);
    assert!(plain != one && one != other && plain != other);
    assert_eq!(hashes(Route::Generate, r#","lora_path":"one","rid":"x""#), one);
    let named = |model: &str| hashes(Route::Completions, &format!(r#","model":"{model}""#));
    assert_eq!(named("base"), named("base"));
    assert!(named("base") != named("base:adapter"));
}

#[test]
fn continued_responses_are_named() {
    let scanned = |body: &'static str| scan(Route::Responses, body.as_bytes());
    let f = scanned(r#"{"input":"a","previous_response_id":"resp_1","conversation":"conv_1"}"#);
    assert_eq!((f.previous_response.as_deref(), f.conversation.as_deref()), (Some("resp_1"), Some("conv_1")));
    let f = scanned(r#"{"input":"a","previous_response_id":null,"conversation":{"id":"conv_2"}}"#);
    assert_eq!((f.previous_response, f.conversation.as_deref()), (None, Some("conv_2")));
}

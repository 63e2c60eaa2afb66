//! What the captures do not show: several choices, errors, control calls, keys, limits.

use bytes::Bytes;
use prost::Message as _;
use router_emulator::{Emulator, EmulatorConfig, Fault, FaultKind, SglangVersion};
use router_engine::EngineProfile;
use router_grpc::Rpc;
use router_grpc::messages::{
    AbortRequest, ControlMessage, ControlResponse, Empty, EngineState, GenerateRequest, GetLoadRequest,
    HealthCheckResponse, JsonInfo, OpenAiRequest, OpenAiResponse, PauseRequest, SamplingParams,
    TextGenerateRequest, TextGenerateResponse, UpdateWeightsRequest,
};
use serde_json::{Value, json};

use super::client::{Call, Client, server, server_with};
use crate::client::{get, post, until};

fn ask(text: &str, change: impl FnOnce(&mut SamplingParams)) -> TextGenerateRequest {
    let mut params = SamplingParams { max_new_tokens: Some(4), ..SamplingParams::default() };
    change(&mut params);
    TextGenerateRequest { text: text.to_owned(), sampling_params: Some(params), ..Default::default() }
}

fn body(json: &Value) -> OpenAiRequest {
    OpenAiRequest { json_body: json.to_string().into(), ..OpenAiRequest::default() }
}

#[tokio::test]
async fn choices_share_one_end() {
    let s = server(1.0).await;
    let client = Client::connect(&s).await;
    for stream in [false, true] {
        let request = TextGenerateRequest { stream: Some(stream), ..ask("a", |params| params.n = Some(3)) };
        let messages = client.call(Rpc::TextGenerate, &request).await.ok::<TextGenerateResponse>();
        let finished: Vec<_> = messages.iter().map(|message| message.finished).collect();
        assert_eq!(finished.iter().filter(|finished| **finished).count(), 1);
        assert_eq!(finished.last(), Some(&true));
        let reason = |message: &TextGenerateResponse| {
            message.meta_info.iter().any(|entry| entry.key == "finish_reason" && entry.value != "null")
        };
        assert_eq!(messages.iter().filter(|message| reason(message)).count(), 3, "stream: {stream}");
        assert!(stream || messages.len() == 3);
    }
}

#[tokio::test]
async fn the_time_of_a_call_ends_it_as_tonic_does() {
    let s = server(1.0).await;
    let client = Client::connect(&s).await;
    for (limit, status) in [("1n", 1), ("60S", 0), ("soon", 0)] {
        let client = client.clone().with("grpc-timeout", limit);
        let ended = client.call(Rpc::OpenAiEmbed, &body(&json!({"model": "m", "input": "hi"}))).await;
        assert_eq!((ended.status, ended.messages.len()), (Some(status), usize::from(status == 0)), "{limit}");
        assert!(status == 0 || ended.details.contains("Timeout"), "{}", ended.details);
    }
    // The head of a stream comes at once, so that the server does not look at the time any more.
    let client = client.with("grpc-timeout", "1n");
    assert_eq!(client.call(Rpc::TextGenerate, &ask("a", |_| {})).await.status, Some(0));
}

#[tokio::test]
async fn bad_parameters_are_internal_errors() {
    let s = server(20.0).await;
    let client = Client::connect(&s).await;
    let long = "x".repeat(4 * 40_000);
    for stream in [false, true] {
        for (request, details) in [
            (ask("a", |p| p.max_new_tokens = Some(-1)), "max_new_tokens must be at least 0, got -1."),
            (
                ask("a", |p| p.temperature = Some(-1.5)),
                "temperature must be a non-negative finite number, got -1.5.",
            ),
            (
                ask(&long, |_| {}),
                "The input (40000 tokens) is longer than the model's context length (32768 tokens).",
            ),
        ] {
            let request = TextGenerateRequest { stream: Some(stream), ..request };
            let ended = client.call(Rpc::TextGenerate, &request).await;
            assert_eq!((ended.status, ended.messages.len(), ended.details.as_str()), (Some(13), 0, details));
        }
    }
    let ids = GenerateRequest { input_ids: vec![-1], ..GenerateRequest::default() };
    assert_eq!(client.call(Rpc::Generate, &ids).await.status, Some(13));
}

#[tokio::test]
async fn other_openai_calls_have_a_status_in_the_message() {
    let s = server(20.0).await;
    let client = Client::connect(&s).await;
    let cases = [
        (Rpc::OpenAiEmbed, json!({"input": "a"}), "data"),
        (Rpc::OpenAiClassify, json!({"input": "a"}), "data"),
        (Rpc::Score, json!({"query": "q", "items": ["a", "b"], "label_token_ids": [1, 2]}), "scores"),
    ];
    for (rpc, request, member) in cases {
        let response = client.call(rpc, &body(&request)).await.one::<OpenAiResponse>();
        let json: Value = serde_json::from_slice(&response.json_body).unwrap();
        assert!(response.status_code == 200 && json[member].is_array(), "{json}");
    }
    let ranked = client.call(Rpc::Rerank, &body(&json!({"query": "q", "documents": ["a", "b"]}))).await;
    assert_eq!(ranked.one::<OpenAiResponse>().status_code, 200);
    for rpc in [Rpc::OpenAiEmbed, Rpc::OpenAiClassify, Rpc::Score, Rpc::Rerank] {
        let request = OpenAiRequest { json_body: Bytes::from_static(b"{\"inp"), ..OpenAiRequest::default() };
        assert_eq!(client.call(rpc, &request).await.one::<OpenAiResponse>().status_code, 400, "{rpc:?}");
    }
}

async fn state(call: &mut Call) -> (u64, bool, bool) {
    let state = EngineState::decode(call.next().await.unwrap()).unwrap();
    (state.revision, state.healthy, state.is_paused)
}

#[tokio::test]
async fn changes_of_the_state_are_pushed() {
    let s = server(20.0).await;
    let client = Client::connect(&s).await;
    let mut watched = client.open(Rpc::WatchEngineState.path(), Bytes::new()).await.unwrap();
    assert_eq!(state(&mut watched).await, (2, true, false));
    s.set_fault(Fault::new(FaultKind::Unhealthy));
    assert_eq!(state(&mut watched).await, (3, false, false));
    assert!(!client.call(Rpc::HealthCheck, &Empty {}).await.one::<HealthCheckResponse>().healthy);
    s.clear_fault();
    assert_eq!(state(&mut watched).await, (4, true, false));
    assert!(client.call(Rpc::HealthCheck, &Empty {}).await.one::<HealthCheckResponse>().healthy);
    let paused = client.call(Rpc::PauseGeneration, &PauseRequest { mode: "abort".to_owned() }).await;
    assert_eq!(paused.one::<ControlMessage>().message, "Generation paused (mode=abort).");
    assert_eq!(state(&mut watched).await, (5, true, true));
    let continued = client.call(Rpc::ContinueGeneration, &Empty {}).await;
    assert_eq!(continued.one::<ControlMessage>().message, "Generation continued.");
    assert_eq!(state(&mut watched).await, (6, true, false));
    s.shutdown().await;
    assert_eq!(watched.next().await, Err(None), "it stays open until the server stops");
}

#[tokio::test]
async fn control_calls_do_what_the_routes_do() {
    let s = server(0.05).await;
    let client = Client::connect(&s).await;
    let long = TextGenerateRequest {
        stream: Some(true),
        rid: Some("one".to_owned()),
        ..ask("a", |p| (p.max_new_tokens, p.ignore_eos) = (Some(20_000), Some(true)))
    };
    let mut call = client.open(Rpc::TextGenerate.path(), long.encode_to_vec().into()).await.unwrap();
    call.next().await.unwrap();
    let load = client.call(Rpc::GetLoad, &GetLoadRequest { dp_rank: Some(0) }).await.one::<JsonInfo>();
    let load: Value = serde_json::from_slice(&load.json_info).unwrap();
    assert_eq!((&load[0]["num_running_reqs"], load[0].get("memory")), (&1.into(), None));
    let other = client.call(Rpc::GetLoad, &GetLoadRequest { dp_rank: Some(3) }).await.one::<JsonInfo>();
    assert_eq!(other.json_info, "[]");
    let flushed = client.call(Rpc::FlushCache, &Empty {}).await.one::<ControlResponse>();
    assert_eq!((flushed.success, flushed.message.as_str()), (false, "Flush cache failed."));
    let abort = AbortRequest { rid: "one".to_owned(), abort_all: false };
    assert!(client.call(Rpc::Abort, &abort).await.one::<ControlResponse>().success);
    let last = call.ended().await.ok::<TextGenerateResponse>().pop().unwrap();
    let reason = last.meta_info.iter().find(|entry| entry.key == "finish_reason").unwrap();
    assert!(last.finished && reason.value.starts_with(b"{\"type\":\"abort\""));
    let update = UpdateWeightsRequest { model_path: "/models/b".to_owned(), load_format: None };
    assert!(client.call(Rpc::UpdateWeightsFromDisk, &update).await.one::<ControlResponse>().success);
    s.set_fault(Fault::new(FaultKind::FailUpdate));
    let failed = client.call(Rpc::UpdateWeightsFromDisk, &update).await.one::<ControlResponse>();
    assert_eq!((failed.success, failed.message.as_str()), (false, "fault on demand"));
}

#[tokio::test]
async fn cancelled_call_frees_its_slot() {
    let s = server(0.05).await;
    let client = Client::connect(&s).await;
    for stream in [true, false] {
        let long = json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20_000, "ignore_eos": true,
            "stream": stream});
        let message = Bytes::from(body(&long).encode_to_vec());
        tokio::select! {
            call = async { client.open(Rpc::ChatComplete.path(), message).await.unwrap().ended().await } => panic!("{call:?}"),
            () = until(&s, |stats| stats.running == 1) => {}
        }
        until(&s, |stats| stats.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn every_call_needs_the_key() {
    let s = server_with(|config| config.api_key = Some("secret".to_owned())).await;
    let client = Client::connect(&s).await;
    assert_eq!(client.call(Rpc::HealthCheck, &Empty {}).await.status, Some(16));
    let client = client.with("authorization", "Bearer secret");
    assert!(client.call(Rpc::HealthCheck, &Empty {}).await.one::<HealthCheckResponse>().healthy);
    assert_eq!(client.call(Rpc::GetServerInfo, &Empty {}).await.status, Some(0));
}

#[tokio::test]
async fn message_over_the_limit_is_out_of_range() {
    let s = server(20.0).await;
    let client = Client::connect(&s).await;
    let request = OpenAiRequest { json_body: vec![b' '; (64 << 20) + 1].into(), ..OpenAiRequest::default() };
    let ended = client.call(Rpc::ChatComplete, &request).await;
    assert_eq!(ended.status, Some(11), "{}", ended.details);
    assert!(ended.details.contains("message length too large"), "{}", ended.details);
}

#[tokio::test]
async fn only_0_5_has_the_port() {
    let mut config = EmulatorConfig::new(EngineProfile::named("sglang_8b").unwrap());
    config.grpc_port = Some(0);
    let error = Emulator::start(config.clone()).await.unwrap_err().to_string();
    assert_eq!(error, "SGLang 0.4 does not serve gRPC, 0.5.23 (stock) does");
    (config.version, config.grpc_port) = (SglangVersion::Stock, None);
    let s = Emulator::start(config).await.unwrap();
    assert_eq!(s.grpc_url(), None);
    assert_eq!(get(&s, "/server_info").await.json()["grpc_port"], Value::Null);
    let scores =
        post(&s, "/v1/score", r#"{"query": "q", "items": ["a", "b"], "label_token_ids": [7]}"#).await.json();
    assert_eq!(scores["scores"].as_array().map(Vec::len), Some(2));
}

//! Each fault as the client of a call sees it.

use bytes::Bytes;
use prost::Message as _;
use router_emulator::{Fault, FaultKind, RunningEmulator};
use router_grpc::Rpc;
use router_grpc::messages::{
    Empty, HealthCheckResponse, OpenAiRequest, OpenAiStreamChunk, TextGenerateRequest,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::client::{Call, Client, server};
use crate::client::until;

const STREAM: &str = r#"{"messages": [{"role": "user", "content": "a"}], "max_tokens": 64, "ignore_eos": true,
    "stream": true}"#;
const WHOLE: &str = r#"{"messages": [{"role": "user", "content": "a"}], "max_tokens": 8}"#;

fn chat(json: &'static str) -> OpenAiRequest {
    OpenAiRequest { json_body: Bytes::from_static(json.as_bytes()), ..OpenAiRequest::default() }
}

async fn open(client: &Client, json: &'static str) -> Call {
    client.open(Rpc::ChatComplete.path(), chat(json).encode_to_vec().into()).await.unwrap()
}

async fn broken(kind: FaultKind) -> (RunningEmulator, Client) {
    let s = server(1.0).await;
    let client = Client::connect(&s).await;
    s.set_fault(Fault::new(kind));
    (s, client)
}

#[tokio::test]
async fn status_is_what_the_server_makes_of_it() {
    let s = server(20.0).await;
    let client = Client::connect(&s).await;
    s.set_fault(Fault { status: 503, ..Fault::new(FaultKind::Status) });
    for json in [STREAM, WHOLE] {
        let chunk = client.call(Rpc::ChatComplete, &chat(json)).await.one::<OpenAiStreamChunk>();
        assert_eq!((chunk.finished, chunk.status_code), (true, 503));
    }
    let request = TextGenerateRequest { text: "a".to_owned(), ..TextGenerateRequest::default() };
    assert_eq!(client.call(Rpc::TextGenerate, &request).await.status, Some(14));
    s.set_fault(Fault::new(FaultKind::Status));
    let ended = client.call(Rpc::TextGenerate, &request).await;
    assert_eq!((ended.status, ended.details.as_str()), (Some(13), "fault on demand"));
    assert!(client.call(Rpc::HealthCheck, &Empty {}).await.one::<HealthCheckResponse>().healthy);
}

#[tokio::test]
async fn hang_never_answers() {
    let (s, client) = broken(FaultKind::Hang).await;
    let request = chat(WHOLE);
    tokio::select! {
        ended = client.call(Rpc::ChatComplete, &request) => panic!("{ended:?}"),
        health = client.call(Rpc::HealthCheck, &Empty {}) => assert_eq!(health.status, Some(0)),
    }
    assert_eq!(s.stats().received, 0);
}

#[tokio::test]
async fn cuts_end_every_call_of_the_connection() {
    for kind in [FaultKind::ResetBeforeFirstByte, FaultKind::Garbage] {
        let (_s, client) = broken(kind).await;
        let ended = client.call(Rpc::ChatComplete, &chat(STREAM)).await;
        assert_eq!((ended.status, ended.messages.len()), (None, 0), "{kind:?}");
    }
    for kind in [FaultKind::ResetMidStream, FaultKind::CloseEarly, FaultKind::HalfEvent] {
        let (s, client) = broken(kind).await;
        let mut watched = client.open(Rpc::WatchEngineState.path(), Bytes::new()).await.unwrap();
        watched.next().await.unwrap();
        let ended = open(&client, STREAM).await.ended().await;
        assert!(ended.status.is_none() && ended.messages.len() >= 3, "{kind:?}: {ended:?}");
        assert_eq!(watched.next().await, Err(None), "{kind:?}");
        until(&s, |stats| stats.in_flight() == 0).await;
        s.clear_fault();
        let again = Client::connect(&s).await;
        assert_eq!(again.call(Rpc::ChatComplete, &chat(WHOLE)).await.status, Some(0), "{kind:?}");
    }
    for kind in [FaultKind::ResetMidStream, FaultKind::CloseEarly] {
        let (_s, client) = broken(kind).await;
        let ended = client.call(Rpc::ChatComplete, &chat(WHOLE)).await;
        assert_eq!((ended.status, ended.messages.len()), (None, 0), "{kind:?}");
    }
}

#[tokio::test]
async fn crash_resets_and_refuses() {
    let (s, client) = broken(FaultKind::Crash).await;
    assert_eq!(client.call(Rpc::HealthCheck, &Empty {}).await.status, None);
    let addr = s.grpc_url().unwrap().replace("grpc://", "");
    until_refused(&addr).await;
    s.clear_fault();
    let mut stream = loop {
        match TcpStream::connect(&addr).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    // The server speaks first, so the connection is served.
    stream.read_exact(&mut [0; 9]).await.unwrap();
    s.set_fault(Fault::new(FaultKind::Crash));
    let mut rest = Vec::new();
    let error = stream.read_to_end(&mut rest).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

async fn until_refused(addr: &str) {
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn stream_without_done_ends_in_order() {
    let (_s, client) = broken(FaultKind::NoDone).await;
    let chunks = open(&client, STREAM).await.ended().await.ok::<OpenAiStreamChunk>();
    assert!(chunks.len() >= 3 && chunks.iter().all(|chunk| !chunk.finished));
    assert_eq!(client.call(Rpc::ChatComplete, &chat(WHOLE)).await.ok::<OpenAiStreamChunk>(), []);
}

#[tokio::test]
async fn stalled_stream_leaves_other_calls_alone() {
    let (_s, client) = broken(FaultKind::Stall).await;
    let mut call = open(&client, STREAM).await;
    for _ in 0..3 {
        call.next().await.unwrap();
    }
    let stalled = async { while call.next().await.is_ok() {} };
    tokio::select! {
        () = stalled => panic!("it ended"),
        health = client.call(Rpc::HealthCheck, &Empty {}) => assert_eq!(health.status, Some(0)),
    }
}

//! What a collector of OpenTelemetry gets: a span per request, a span per attempt, and the trace of who called.

use crate::support::{PATIENCE, RawClient, metric, options, post, router, start, until, worker};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use parking_lot::Mutex;
use prost::Message as _;
use router_config::Options;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::transport::server::{Server, TcpIncoming};

const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What a collector was sent.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Seen {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().push(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Seen {
    /// All spans, and that they come from us.
    fn spans(&self) -> Vec<Span> {
        let batches = self.0.lock();
        let resources = batches.iter().flat_map(|r| &r.resource_spans);
        resources
            .flat_map(|r| {
                let resource = &r.resource.as_ref().unwrap().attributes;
                assert_eq!(find(resource, "service.name"), Some(Value::StringValue("sgl-router".to_owned())));
                r.scope_spans.iter().flat_map(|s| s.spans.clone())
            })
            .collect()
    }

    /// The only span of a kind.
    fn only(&self, kind: SpanKind) -> Span {
        let mut spans = self.spans();
        spans.retain(|s| s.kind() == kind);
        assert_eq!(spans.len(), 1, "{spans:?}");
        spans.remove(0)
    }
}

/// A collector that speaks gRPC.
async fn collector() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let service = TraceServiceServer::new(seen.clone());
    tokio::spawn(Server::builder().serve_with_incoming(service, TcpIncoming::from(listener)));
    (address, seen)
}

fn find(attributes: &[KeyValue], key: &str) -> Option<Value> {
    attributes.iter().find(|a| a.key == key)?.value.clone()?.value
}

fn text(span: &Span, key: &str) -> String {
    match find(&span.attributes, key) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key} is {other:?} in {span:?}"),
    }
}

fn int(span: &Span, key: &str) -> Option<i64> {
    find(&span.attributes, key).map(|value| match value {
        Value::IntValue(n) => n,
        other => panic!("{key} is {other:?}"),
    })
}

fn error(span: &Span) -> Option<&str> {
    let status = span.status.as_ref().filter(|s| s.code() == StatusCode::Error);
    status.map(|s| s.message.as_str())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn traced(workers: &[SocketAddr], collector: SocketAddr) -> Options {
    Options { enable_trace: true, otlp_traces_endpoint: collector.to_string(), ..options(workers) }
}

/// A worker that answers every request with two tokens, and the heads of what it was asked.
async fn answering() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (seen, heads) = mpsc::unbounded_channel();
    let address = worker(move |mut incoming| {
        let seen = seen.clone();
        async move {
            let _ = seen.send(incoming.head.clone());
            incoming.send_json(r#"{"usage":{"prompt_tokens":5,"completion_tokens":2}}"#).await;
        }
    })
    .await;
    (address, heads)
}

async fn send(client: &mut RawClient, traceparent: &str) {
    let body = r#"{"prompt":"a"}"#;
    client
        .send(format!(
            "POST /v1/completions HTTP/1.1\r\nhost: r\r\nx-request-id: id-1\r\ntraceparent: {traceparent}\r\n\
             tracestate: vendor=1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert!(client.rest().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn caller_trace_continues_to_worker() {
    let ((worker, mut heads), (address, seen)) = (answering().await, collector().await);
    let router = router(traced(&[worker], address)).await;
    send(&mut RawClient::connect(&router).await, CALLER).await;
    router.shutdown().await;
    let (request, attempt) = (seen.only(SpanKind::Server), seen.only(SpanKind::Client));
    assert_eq!(hex(&request.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
    assert_eq!((&attempt.trace_id, &attempt.parent_span_id), (&request.trace_id, &request.span_id));
    let head = heads.recv().await.unwrap();
    let told = format!("00-{}-{}-01", hex(&attempt.trace_id), hex(&attempt.span_id));
    assert_eq!(crate::support::header(&head, "traceparent"), Some(told.as_str()));
    assert_eq!(crate::support::header(&head, "tracestate"), Some("vendor=1"));
    assert_eq!((request.name.as_str(), attempt.name.as_str()), ("/v1/completions", "attempt"));
    let times = [&request, &attempt].map(|s| (s.start_time_unix_nano, s.end_time_unix_nano));
    assert!(times[0].0 <= times[1].0 && times[1].0 < times[1].1 && times[1].1 <= times[0].1, "{times:?}");
    for span in [&request, &attempt] {
        assert_eq!(text(span, "sgl_router.request_id"), "id-1");
        assert_eq!(text(span, "sgl_router.worker"), format!("http://{worker}"));
        assert_eq!(text(span, "sgl_router.outcome"), "success");
        assert_eq!(int(span, "http.response.status_code"), Some(200));
        assert_eq!(int(span, "gen_ai.usage.output_tokens"), Some(2));
        assert_eq!(error(span), None);
        assert_eq!(find(&span.attributes, "error.type"), None);
    }
    assert_eq!(int(&request, "sgl_router.attempts"), Some(1));
    assert_eq!(
        (int(&attempt, "sgl_router.attempt"), int(&attempt, "sgl_router.in_flight")),
        (Some(0), Some(0))
    );
    assert_eq!(text(&attempt, "sgl_router.policy"), "round_robin");
    assert_eq!(text(&attempt, "sgl_router.reason"), "only_candidate");
    assert_eq!(attempt.events.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["first_byte"]);
    assert_eq!(
        int(&attempt, "sgl_router.queue_length"),
        None,
        "a worker that did not say has no queue length"
    );
}

#[tokio::test]
async fn absent_or_invalid_trace_starts_one() {
    let ((worker, mut heads), (address, seen)) = (answering().await, collector().await);
    let router = router(traced(&[worker], address)).await;
    send(&mut RawClient::connect(&router).await, &CALLER.to_uppercase()).await;
    router.shutdown().await;
    let (request, attempt) = (seen.only(SpanKind::Server), seen.only(SpanKind::Client));
    assert!(
        request.parent_span_id.is_empty() && hex(&request.trace_id) != "4bf92f3577b34da6a3ce929d0e0e4736"
    );
    let told = format!("00-{}-{}-01", hex(&request.trace_id), hex(&attempt.span_id));
    let head = heads.recv().await.unwrap();
    assert_eq!(crate::support::header(&head, "traceparent"), Some(told.as_str()));
    assert_eq!(crate::support::header(&head, "tracestate"), None, "it belonged to another trace");
}

#[tokio::test]
async fn unsampled_trace_headers_pass_unchanged() {
    let ((worker, mut heads), (address, seen)) = (answering().await, collector().await);
    let on = router(traced(&[worker], address)).await;
    let off = router(options(&[worker])).await;
    let unsampled = CALLER.replace("-01", "-00");
    for (router, traceparent) in [(&on, unsampled.as_str()), (&off, CALLER), (&off, "not a traceparent")] {
        send(&mut RawClient::connect(router).await, traceparent).await;
        let head = heads.recv().await.unwrap();
        assert_eq!(crate::support::header(&head, "traceparent"), Some(traceparent));
        assert_eq!(crate::support::header(&head, "tracestate"), Some("vendor=1"));
    }
    assert!(!post(&off, "/generate", r#"{"text":"a"}"#).await.is_empty());
    assert_eq!(crate::support::header(&heads.recv().await.unwrap(), "traceparent"), None);
    on.shutdown().await;
    assert_eq!(seen.spans().len(), 0);
}

#[tokio::test]
async fn retry_is_another_attempt_span() {
    let ((worker, _heads), (address, seen)) = (answering().await, collector().await);
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let router = router(Options { disable_health_check: true, ..traced(&[dead, worker], address) }).await;
    assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
    router.shutdown().await;
    let (spans, request) = (seen.spans(), seen.only(SpanKind::Server));
    assert_eq!((request.name.as_str(), int(&request, "sgl_router.attempts")), ("/generate", Some(2)));
    assert_eq!((text(&request, "sgl_router.worker"), error(&request)), (format!("http://{worker}"), None));
    let mut attempts: Vec<_> = spans.iter().filter(|s| s.parent_span_id == request.span_id).collect();
    attempts.sort_by_key(|s| int(s, "sgl_router.attempt"));
    let [first, second] = attempts[..] else { panic!("{attempts:?}") };
    assert_eq!(
        (text(first, "sgl_router.worker"), error(first)),
        (format!("http://{dead}"), Some("worker_unreachable"))
    );
    assert_eq!(text(first, "error.type"), "worker_unreachable");
    assert_eq!((int(first, "http.response.status_code"), first.events.len()), (None, 0));
    assert_eq!((text(second, "sgl_router.worker"), error(second)), (format!("http://{worker}"), None));
    assert!(first.end_time_unix_nano <= second.start_time_unix_nano && first.span_id != second.span_id);
}

#[tokio::test]
async fn refused_request_is_a_failed_span() {
    let (address, seen) = collector().await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let router = start(Options { max_payload_size: 100, ..traced(&[dead], address) }).await;
    assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 503 "));
    assert!(post(&router, "/v1/completions", &"x".repeat(101)).await.starts_with("HTTP/1.1 413 "));
    router.shutdown().await;
    let spans = seen.spans();
    let [nobody, large] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((nobody.kind(), error(nobody)), (SpanKind::Server, Some("no_healthy_worker")));
    assert_eq!(
        (text(nobody, "error.type").as_str(), int(nobody, "http.response.status_code")),
        ("no_healthy_worker", Some(503))
    );
    assert_eq!(
        (large.name.as_str(), text(large, "error.type").as_str()),
        ("/v1/completions", "payload_too_large")
    );
    assert_eq!(error(large), None, "what the client did wrong is no error of this server");
}

#[tokio::test]
async fn stream_span_has_first_byte_and_disconnect() {
    let (address, seen) = collector().await;
    let worker = worker(|mut incoming| async move {
        incoming
            .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        incoming.send("9\r\ndata: 1\n\n\r\n").await;
        incoming.closed().await;
    })
    .await;
    let router = router(traced(&[worker], address)).await;
    let mut client = RawClient::connect(&router).await;
    client.post("/v1/completions", r#"{"prompt":"a","stream":true}"#).await;
    client.see("data: 1").await;
    drop(client);
    until(|| router.in_flight() == 0).await;
    router.shutdown().await;
    let (request, attempt) = (seen.only(SpanKind::Server), seen.only(SpanKind::Client));
    for span in [&request, &attempt] {
        assert_eq!((text(span, "sgl_router.outcome").as_str(), error(span)), ("cancelled", None));
        assert!(matches!(find(&span.attributes, "sgl_router.ttft"), Some(Value::DoubleValue(t)) if t > 0.0));
    }
    let first_byte = attempt.events[0].time_unix_nano;
    assert!(attempt.start_time_unix_nano < first_byte && first_byte <= attempt.end_time_unix_nano);
}

#[tokio::test]
async fn url_with_path_selects_otlp_http() {
    let (worker, _heads) = answering().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let collector = crate::support::worker(move |mut incoming| {
        let tell = tell.clone();
        async move {
            incoming
                .send("HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
                .await;
            let _ = tell.send((incoming.head, incoming.body));
        }
    })
    .await;
    let endpoint = format!("http://{collector}/v1/traces");
    let router = router(Options { otlp_traces_endpoint: endpoint, ..traced(&[worker], collector) }).await;
    assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
    router.shutdown().await;
    let (head, body) = told.recv().await.unwrap();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert_eq!(crate::support::header(&head, "content-type"), Some("application/x-protobuf"));
    let seen = Seen::default();
    seen.0.lock().push(ExportTraceServiceRequest::decode(body.as_slice()).unwrap());
    assert_eq!(seen.spans().len(), 2);
    assert_eq!(seen.only(SpanKind::Client).parent_span_id, seen.only(SpanKind::Server).span_id);
}

#[tokio::test]
async fn unreachable_collector_loses_only_spans() {
    let (worker, _heads) = answering().await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let router = router(traced(&[worker], dead)).await;
    for _ in 0..10 {
        assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
    }
    let dropped = async {
        while metric(&router, "sgl_router_spans_dropped_total").await[0].1 < 20.0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dropped).await.expect("the spans were never given up");
    assert_eq!(metric(&router, "sgl_router_records_dropped_total").await[0].1, 0.0);
    router.shutdown().await;
}

#[tokio::test]
async fn hanging_collector_does_not_delay_shutdown() {
    let (worker, _heads) = answering().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let router = router(traced(&[worker], silent.local_addr().unwrap())).await;
    assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
    tokio::time::timeout(PATIENCE, router.shutdown()).await.expect("the export never gave up");
}

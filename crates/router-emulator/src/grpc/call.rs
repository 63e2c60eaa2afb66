//! One call, and the HTTP requests that it becomes.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use router_grpc::Rpc;
use serde_json::Value;
use tonic::Status;

use crate::api::body::{HttpResponse, ResponseBody};
use crate::faults::FaultSwitch;
use crate::server::serve;
use crate::state::ServerState;

/// The messages of a streamed answer.
pub(super) type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) rpc: Rpc,
    pub(super) server: Arc<ServerState>,
    pub(super) switch: FaultSwitch,
    /// Its metadata. The HTTP routes read the key, the rank and the length that it forces from there.
    pub(super) metadata: HeaderMap,
}

impl Call {
    /// The response to an HTTP request. There is none where a fault ends the connection.
    pub(super) async fn request(&self, method: Method, path: &'static str, body: Bytes) -> HttpResponse {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_static(path);
        *request.headers_mut() = self.metadata.clone();
        match serve(Arc::clone(&self.server), self.switch.clone(), request).await {
            Ok(response) => response,
            Err(_) => std::future::pending().await,
        }
    }

    /// The status and the whole body of a response.
    pub(super) async fn whole(&self, method: Method, path: &'static str, body: Bytes) -> (StatusCode, Bytes) {
        let response = self.request(method, path, body).await;
        (response.status(), collect(response.into_body()).await)
    }

    /// The body of a successful response.
    ///
    /// # Errors
    /// The response says why there is none.
    pub(super) async fn success(
        &self,
        method: Method,
        path: &'static str,
        body: Bytes,
    ) -> Result<Bytes, Status> {
        let (status, body) = self.whole(method, path, body).await;
        if status == StatusCode::OK { Ok(body) } else { Err(failure(status, &body)) }
    }

    /// The JSON of a successful response.
    ///
    /// # Errors
    /// The response says why there is none.
    pub(super) async fn json(
        &self,
        method: Method,
        path: &'static str,
        body: Bytes,
    ) -> Result<Value, Status> {
        let body = self.success(method, path, body).await?;
        serde_json::from_slice(&body).map_err(|_| cut_short())
    }
}

/// The whole body. It never comes where a fault ends the connection.
pub(super) async fn collect(body: ResponseBody) -> Bytes {
    match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => std::future::pending().await,
    }
}

/// Whether the response is a stream of events.
pub(super) fn is_streamed(response: &HttpResponse) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// The status of a call whose HTTP request failed.
pub(super) fn failure(status: StatusCode, body: &[u8]) -> Status {
    let message = error_message(body).unwrap_or_else(|| status.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        Status::unavailable(message)
    } else {
        Status::internal(message)
    }
}

/// The status of a call whose answer a fault cut short.
pub(super) fn cut_short() -> Status {
    Status::internal("the answer was cut short")
}

/// The message in an error body of any route.
pub(super) fn error_message(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let texts = [&body["error"]["message"], &body["error"], &body["message"]];
    texts.into_iter().find_map(Value::as_str).map(str::to_owned)
}

/// A value as JSON.
pub(super) fn to_json(value: &impl serde::Serialize) -> Bytes {
    // These values have names as keys and finite numbers, so writing them cannot fail.
    serde_json::to_vec(value).unwrap_or_default().into()
}

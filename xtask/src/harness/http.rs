//! Requests to ports of this machine.

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use tokio::time::timeout;

/// Time limit for one whole response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The URL of a path on a port of this machine.
pub(crate) fn url(port: u16, path: &str) -> String {
    format!("http://127.0.0.1:{port}{path}")
}

/// GET, with the whole body of the response.
///
/// # Errors
/// The connection fails, or the response is incomplete or takes longer than 10 s.
pub(crate) async fn get(port: u16, path: &str) -> Result<(StatusCode, String)> {
    let request = Request::get(url(port, path)).body(Full::default()).context("cannot build a request")?;
    send(request).await
}

/// Whether a GET succeeds with a status of 2xx.
pub(crate) async fn is_ok(port: u16, path: &str) -> bool {
    get(port, path).await.is_ok_and(|(status, _)| status.is_success())
}

/// POST of JSON, with the whole body of the response.
///
/// # Errors
/// As [`get`].
pub(crate) async fn post(port: u16, path: &str, body: String) -> Result<(StatusCode, String)> {
    send(json_post(port, path, Bytes::from(body))?).await
}

/// A POST request with a JSON body.
///
/// # Errors
/// The path is not valid in a URL.
pub(crate) fn json_post(port: u16, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
    let request = Request::post(url(port, path)).header(header::CONTENT_TYPE, "application/json");
    request.body(Full::new(body)).context("cannot build a request")
}

async fn send(request: Request<Full<Bytes>>) -> Result<(StatusCode, String)> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = async {
        let response = client.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    timeout(TIMEOUT, response).await.context("no complete response within 10 s")?
}

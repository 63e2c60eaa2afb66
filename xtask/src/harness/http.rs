//! A question to a port of this machine, and the answer.

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use tokio::time::timeout;

/// Longest time for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// GET, to the end of the body.
///
/// # Errors
/// Nobody listens there, or the answer broke off or took longer than 10 s.
pub(crate) async fn get(port: u16, path: &str) -> Result<(StatusCode, String)> {
    let request = Request::get(at(port, path)).body(Full::default()).context("cannot build a request")?;
    answer(request).await
}

/// POST of JSON, to the end of the body.
///
/// # Errors
/// As [`get`].
pub(crate) async fn post(port: u16, path: &str, body: String) -> Result<(StatusCode, String)> {
    answer(json_post(port, path, Bytes::from(body))?).await
}

/// A POST of JSON to a port of this machine.
///
/// # Errors
/// The path is none.
pub(crate) fn json_post(port: u16, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
    let request = Request::post(at(port, path)).header(header::CONTENT_TYPE, "application/json");
    request.body(Full::new(body)).context("cannot build a request")
}

fn at(port: u16, path: &str) -> String {
    format!("http://127.0.0.1:{port}{path}")
}

async fn answer(request: Request<Full<Bytes>>) -> Result<(StatusCode, String)> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let whole = async {
        let response = client.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    timeout(PATIENCE, whole).await.context("no whole answer within 10 s")?
}

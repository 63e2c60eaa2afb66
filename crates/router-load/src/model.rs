//! What a target tells of itself: any of its pages, and its model, which the OpenAI routes need in a request.

use crate::connection::ConnectionPool;
use crate::target::LoadTarget;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use std::time::Duration;

/// Timeout of a request for a page.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ModelEntry>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
}

/// The first model of the target's `/v1/models`; `None` without a response within 5 s.
pub async fn first_model(target: &LoadTarget) -> Option<String> {
    let text = fetch(target, "/v1/models").await?;
    serde_json::from_slice::<ModelList>(&text).ok()?.data.into_iter().next().map(|model| model.id)
}

/// The body of the response to `GET` of this path; `None` without a complete one within 5 s. The status is not looked at.
pub async fn fetch(target: &LoadTarget, path: &str) -> Option<Bytes> {
    let pool = ConnectionPool::new(target.clone());
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = format!("{}{path}", target.base).parse().ok()?;
    *request.headers_mut() = target.headers.clone();
    let exchange = async {
        let (response, mut connection) = pool.send(request).await.ok()?;
        let (mut body, mut text) = (response.into_body(), Vec::new());
        while let Some(frame) = connection.frame(&mut body).await {
            text.extend_from_slice(frame.ok()?.data_ref()?);
        }
        Some(Bytes::from(text))
    };
    tokio::time::timeout(TIMEOUT, exchange).await.ok()?
}

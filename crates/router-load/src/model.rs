//! Which model a target serves: the OpenAI routes must be told one.

use crate::connection::Pool;
use crate::target::LoadTarget;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde::Deserialize;
use std::time::Duration;

/// A target that does not answer this soon is not asked further.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

/// The first model of the target's `/v1/models`; `None` when it does not say within 5 s.
pub async fn first_model(target: &LoadTarget) -> Option<String> {
    let pool = Pool::new(target.clone());
    let mut request = Request::new(Full::new(Bytes::new()));
    *request.uri_mut() = format!("{}/v1/models", target.base).parse().ok()?;
    *request.headers_mut() = target.headers.clone();
    let ask = async {
        let (response, mut connection) = pool.send(request).await.ok()?;
        let (mut body, mut text) = (response.into_body(), Vec::new());
        while let Some(frame) = connection.frame(&mut body).await {
            text.extend_from_slice(frame.ok()?.data_ref()?);
        }
        serde_json::from_slice::<Models>(&text).ok()?.data.into_iter().next().map(|model| model.id)
    };
    tokio::time::timeout(PATIENCE, ask).await.ok()?
}

//! What one worker answered to a request that went to several.

use super::recipients::{Recipient, Recipients};
use bytes::Bytes;
use futures_util::future::join_all;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use router_upstream::ClientError;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// Longest text of a worker's error that is repeated, in characters.
const MAX_ERROR: usize = 2000;

/// What one worker answered.
#[derive(Debug)]
pub(super) struct WorkerAnswer {
    pub(super) recipient: Recipient,
    result: Result<(StatusCode, Bytes), ClientError>,
    took: Duration,
}

/// A request for several workers.
#[derive(Debug)]
pub(super) struct WorkerQuestion {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// One for each worker.
    pub(super) bodies: Vec<Bytes>,
    /// Time limit of each worker.
    pub(super) timeout: Duration,
}

impl WorkerQuestion {
    /// Asks all workers at the same time.
    pub(super) async fn ask(&self, recipients: &Recipients) -> Vec<WorkerAnswer> {
        let asks = recipients.workers.iter().zip(&self.bodies);
        join_all(asks.map(|(to, body)| self.ask_one(to, &recipients.path, body))).await
    }

    async fn ask_one(&self, to: &Recipient, path: &PathAndQuery, body: &Bytes) -> WorkerAnswer {
        let began = Instant::now();
        let (headers, body) = (&self.headers, body.clone());
        let result =
            router_upstream::request(&to.worker, &self.method, path, headers, body, self.timeout).await;
        WorkerAnswer { recipient: to.clone(), result, took: began.elapsed() }
    }
}

impl WorkerAnswer {
    pub(super) fn url(&self) -> &str {
        self.recipient.worker.url.as_str()
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        self.result.as_ref().ok().map(|(status, _)| *status)
    }

    /// What went wrong; `None` if the worker did what it was asked for. Some calls have status 200 and say in the body that they
    /// failed.
    pub(super) fn error(&self) -> Option<String> {
        let (status, body) = match &self.result {
            Ok(answer) => answer,
            Err(error) => return Some(error.to_string()),
        };
        if status.is_success()
            && self.json().is_none_or(|json| json.get("success") != Some(&Value::Bool(false)))
        {
            return None;
        }
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let status = || format!("status {}", status.as_u16());
        Some(if text.is_empty() { status() } else { text.chars().take(MAX_ERROR).collect() })
    }

    /// The call empties the worker's prefix cache: if it succeeded, nothing that the worker was sent before is there any more.
    pub(super) fn note_emptied_cache(&self) {
        if self.error().is_none() {
            self.recipient.pool.cache_emptied(&self.recipient.worker);
        }
    }

    fn json(&self) -> Option<Value> {
        self.result.as_ref().ok().and_then(|(_, body)| serde_json::from_slice(body).ok())
    }

    /// The answer as a part of the router's own response.
    pub(super) fn describe(&self) -> Value {
        let error = self.error();
        let text = || self.result.as_ref().ok().map(|(_, body)| String::from_utf8_lossy(body).into_owned());
        json!({
            "worker": self.url(),
            "success": error.is_none(),
            "status": self.status().map(|status| status.as_u16()),
            "took_secs": self.took.as_secs_f64(),
            "response": self.json().or_else(|| text().filter(|text| !text.is_empty()).map(Value::String)),
            "error": error,
        })
    }
}

/// The URLs of the workers that succeeded, and the errors of the others.
pub(super) fn split_outcomes(answers: &[WorkerAnswer]) -> (Vec<String>, Vec<Value>) {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for answer in answers {
        let url = answer.url();
        match (answer.error(), answer.status()) {
            (None, _) => done.push(url.to_owned()),
            (Some(error), None) => failed.push(json!({"worker": url, "error": error})),
            (Some(error), Some(status)) => {
                failed.push(json!({"worker": url, "status": status.as_u16(), "error": error}));
            }
        }
    }
    (done, failed)
}

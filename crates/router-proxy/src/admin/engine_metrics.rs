//! `GET /engine_metrics`: the metrics of all workers on one page.

use super::recipients::{Recipient, Recipients};
use crate::response::RouterBody;
use crate::state::AppState;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::uri::PathAndQuery;
use http::{HeaderValue, Response, Uri, header};
use router_telemetry::JoinedPage;
use router_upstream::Worker;
use std::sync::Arc;
use std::time::Duration;

/// Time limit of one worker; then it is missing on the page.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest page of one worker, in bytes; usual ones have some hundred kilobytes.
const MAX_PAGE: usize = 4 << 20;

/// How many workers are asked at the same time.
const CONCURRENCY: usize = 32;

pub(super) async fn answer(state: &Arc<AppState>, uri: &Uri) -> Response<RouterBody> {
    let recipients = match Recipients::of(state, uri) {
        Ok(recipients) => recipients,
        Err(error) => return error.response(),
    };
    let mut pages = stream::iter(recipients.workers).map(page).buffered(CONCURRENCY);
    let mut joined = JoinedPage::default();
    while let Some((worker, page)) = pages.next().await {
        match page {
            Ok(page) => joined.add(worker.url.as_str(), &String::from_utf8_lossy(&page)),
            Err(problem) => joined.add_failed(worker.url.as_str(), &problem),
        }
    }
    let mut response = Response::new(RouterBody::full(Bytes::from(joined.render())));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A worker with its metrics, or with the reason why there are none.
async fn page(to: Recipient) -> (Arc<Worker>, Result<Bytes, String>) {
    let path = PathAndQuery::from_static("/metrics");
    let page = match router_upstream::get_at_most(&to.worker, &path, MAX_PAGE, TIMEOUT).await {
        Ok((status, body)) if status.is_success() => Ok(body),
        Ok((status, _)) => Err(format!("GET /metrics has status {}", status.as_u16())),
        Err(error) => Err(error.to_string()),
    };
    (to.worker, page)
}

//! The model of a request: which workers it goes to, and under which name.

use crate::dispatch::{is_held, may_be_held};
use crate::error::ProxyError;
use crate::models::{ModelName, Resolved, ServingGroup};
use crate::state::AppState;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Uri};
use memchr::memmem;
use router_core::Route;
use router_protocol::RequestFacts;
use std::borrow::Cow;
use std::sync::Arc;

/// Where the name of the model stands in a form: before the file, which may be long.
const FORM_HEAD: usize = 64 * 1024;

/// What the head of a request says of where it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestHead<'a> {
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) route: Route,
}

/// The workers that a request goes to, by the model that it names in its JSON, its form or its query, or by the stored response
/// that it refers to.
pub(crate) async fn resolve_model(
    state: &Arc<AppState>,
    head: RequestHead<'_>,
    body: &Bytes,
    facts: &RequestFacts<'_>,
) -> Result<Resolved, ProxyError> {
    let mut name = ModelName { model: facts.model_name(), adapter: facts.adapter_name() };
    if name.model.is_none() {
        if let Some(group) = holder_of(state, head, facts) {
            return Ok(Resolved::of(group));
        }
        name.model = in_form(head.headers, body).or_else(|| in_query(head.uri));
    }
    state.models.resolve(&name).await
}

/// The workers of the model of which one holds what a request without a model refers to.
fn holder_of(state: &AppState, head: RequestHead<'_>, facts: &RequestFacts<'_>) -> Option<Arc<ServingGroup>> {
    let path = head.uri.path();
    if !may_be_held(head.route, path, facts) {
        return None;
    }
    state.models.groups().into_iter().find(|group| is_held(&group.pool, head.route, path, facts))
}

/// `?model=`, as in the requests for a WebSocket.
fn in_query(uri: &Uri) -> Option<Cow<'static, str>> {
    let model = url::form_urlencoded::parse(uri.query()?.as_bytes()).find(|(name, _)| name == "model")?;
    Some(Cow::Owned(model.1.into_owned()))
}

/// The field `model` of a form, as in the requests that upload audio.
fn in_form<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<Cow<'a, str>> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    if !kind.get(..19).is_some_and(|start| start.eq_ignore_ascii_case("multipart/form-data")) {
        return None;
    }
    let head = &body[..body.len().min(FORM_HEAD)];
    let at = memmem::find(head, br#"name="model""#)?;
    let rest = &head[at..];
    let value = &rest[memmem::find(rest, b"\r\n\r\n")? + 4..];
    let end = memmem::find(value, b"\r\n")?;
    std::str::from_utf8(&value[..end]).ok().map(Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(kind: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))])
    }

    #[test]
    fn forms_name_their_model() {
        let form = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n\
            --x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--x--\r\n";
        let multipart = headers("multipart/form-data; boundary=x");
        assert_eq!(in_form(&multipart, form.as_bytes()).as_deref(), Some("whisper"));
        assert_eq!(in_form(&multipart, b"--x\r\nname=\"model\"\r\n\r\ncut"), None);
        assert_eq!(in_form(&headers("application/json"), form.as_bytes()), None);
    }

    #[test]
    fn queries_name_their_model() {
        let model = |uri: &'static str| in_query(&Uri::from_static(uri)).map(Cow::into_owned);
        assert_eq!(model("/v1/realtime?a=1&model=org%2Fname"), Some("org/name".to_owned()));
        assert_eq!(model("/v1/realtime"), None);
    }
}

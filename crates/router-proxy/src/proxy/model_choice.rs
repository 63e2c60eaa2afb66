//! The model of a request: which workers it goes to, and under which name.

use super::request::ProxyRequest;
use super::stored_object;
use crate::error::ProxyError;
use crate::models::{ModelName, Resolved};
use crate::state::AppState;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use memchr::memmem;
use router_core::Route;
use router_protocol::{RequestFacts, set_members};
use std::borrow::Cow;
use std::sync::Arc;

/// Where the name of the model stands in a form: before the file, which may be long.
const FORM_HEAD: usize = 64 * 1024;

/// The workers that a request goes to, by the model that it names in its JSON, its form or its query, or by the stored response
/// that it refers to.
pub(super) async fn resolve(
    state: &Arc<AppState>,
    parts: &Parts,
    body: &Bytes,
    route: Route,
    facts: &RequestFacts<'_>,
) -> Result<Resolved, ProxyError> {
    let mut name = ModelName { model: facts.model_name(), adapter: facts.adapter_name() };
    if name.model.is_none() {
        if let Some(group) = stored_object::group_of(state, route, parts.uri.path(), facts) {
            return Ok(Resolved::of(group));
        }
        name.model = in_form(parts, body).or_else(|| in_query(parts));
    }
    state.models.resolve(&name).await
}

/// Gives the model its own name in the body, in place of an alias. A body that is no JSON object stays as it is.
pub(super) async fn rename(request: &mut ProxyRequest<'_>, model: &str) {
    let name = serde_json::Value::from(model).to_string();
    let renamed = request.edit_body(move |body| set_members(body, &[("model", name)])).await;
    request.body = renamed.unwrap_or_else(|| request.body.clone());
}

/// `?model=`, as in the requests for a WebSocket.
fn in_query(parts: &Parts) -> Option<Cow<'static, str>> {
    let query = parts.uri.query()?;
    let model = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "model")?;
    Some(Cow::Owned(model.1.into_owned()))
}

/// The field `model` of a form, as in the requests that upload audio.
fn in_form<'a>(parts: &Parts, body: &'a [u8]) -> Option<Cow<'a, str>> {
    let kind = parts.headers.get(CONTENT_TYPE)?.to_str().ok()?;
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
    use http::Request;

    fn parts(uri: &str, kind: &str) -> Parts {
        Request::post(uri).header(CONTENT_TYPE, kind).body(()).unwrap().into_parts().0
    }

    #[test]
    fn forms_name_their_model() {
        let form = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n\
            --x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--x--\r\n";
        let parts = parts("/v1/audio/transcriptions", "multipart/form-data; boundary=x");
        assert_eq!(in_form(&parts, form.as_bytes()).as_deref(), Some("whisper"));
        assert_eq!(in_form(&parts, b"--x\r\nname=\"model\"\r\n\r\ncut"), None);
        assert_eq!(in_form(&super::tests::parts("/", "application/json"), form.as_bytes()), None);
    }

    #[test]
    fn queries_name_their_model() {
        let model = |uri| in_query(&parts(uri, "a/b")).map(Cow::into_owned);
        assert_eq!(model("/v1/realtime?a=1&model=org%2Fname"), Some("org/name".to_owned()));
        assert_eq!(model("/v1/realtime"), None);
    }
}

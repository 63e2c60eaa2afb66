//! The error bodies of the router itself, in the shapes that the clients of OpenAI and Anthropic parse.

use bytes::Bytes;

/// The error body that Anthropic's clients parse: `{"type":"error","error":{"type":..,"message":..,"code":..}}`. The `code` is
/// ours, as in [`error_body`]; the `type` is Anthropic's for this HTTP status.
///
/// ```
/// let body = router_protocol::messages_error_body("No worker is ready.", 503, "no_worker");
/// assert_eq!(
///     body,
///     r#"{"type":"error","error":{"type":"overloaded_error","message":"No worker is ready.","code":"no_worker"}}"#
/// );
/// ```
pub fn messages_error_body(message: &str, status: u16, code: &str) -> Bytes {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    };
    let mut body = String::with_capacity(64 + message.len() + kind.len() + code.len());
    body.push_str(r#"{"type":"error","error":{"type":"#);
    push_quoted(&mut body, kind);
    body.push_str(r#","message":"#);
    push_quoted(&mut body, message);
    body.push_str(r#","code":"#);
    push_quoted(&mut body, code);
    body.push_str("}}");
    Bytes::from(body)
}

/// The error body that OpenAI's clients parse: `{"error":{"message":..,"type":..,"code":..}}`. `kind` is the `type`, for example `invalid_request_error`;
/// `code` is the machine-readable cause, for example `no_worker`.
///
/// ```
/// let body = router_protocol::error_body("No worker is ready.", "service_unavailable", "no_worker");
/// assert_eq!(
///     body,
///     r#"{"error":{"message":"No worker is ready.","type":"service_unavailable","code":"no_worker"}}"#
/// );
/// ```
pub fn error_body(message: &str, kind: &str, code: &str) -> Bytes {
    let mut body = String::with_capacity(48 + message.len() + kind.len() + code.len());
    body.push_str(r#"{"error":{"message":"#);
    push_quoted(&mut body, message);
    body.push_str(r#","type":"#);
    push_quoted(&mut body, kind);
    body.push_str(r#","code":"#);
    push_quoted(&mut body, code);
    body.push_str("}}");
    Bytes::from(body)
}

fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_escaped() {
        let odd = "a \"quoted\" \\ back\u{1} \u{7f} line\nend \u{1f600}";
        let v: serde_json::Value = serde_json::from_slice(&error_body(odd, "t", "c")).unwrap();
        assert_eq!(v["error"]["message"], odd);
        assert_eq!((v["error"]["type"].as_str(), v["error"]["code"].as_str()), (Some("t"), Some("c")));
    }
}

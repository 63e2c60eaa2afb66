//! `/dashboard`: the page that shows the live stream.
//!
//! It is a frame without data, which anybody who reaches the port may load; what it shows it asks for as an admin. It loads nothing
//! from elsewhere, and runs no script but its own: its content security policy names the hashes of its two parts.

use super::live::dashboard_off;
use crate::response::RouterBody;
use crate::state::AppState;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use ring::digest::{SHA256, digest};
use std::sync::LazyLock;

const FRAME: &str = include_str!("../../assets/dashboard/page.html");
/// The look of the report, and what this page adds.
const STYLES: [&str; 2] =
    [include_str!("../../../router-report/assets/page.css"), include_str!("../../assets/dashboard/page.css")];
const SCRIPTS: [&str; 9] = [
    include_str!("../../assets/dashboard/words.js"),
    include_str!("../../assets/dashboard/elements.js"),
    include_str!("../../assets/dashboard/connection.js"),
    include_str!("../../assets/dashboard/dialogs.js"),
    include_str!("../../assets/dashboard/problems.js"),
    include_str!("../../assets/dashboard/fleet.js"),
    include_str!("../../assets/dashboard/figures.js"),
    include_str!("../../assets/dashboard/decisions.js"),
    include_str!("../../assets/dashboard/page.js"),
];

/// The page, and its content security policy.
static PAGE: LazyLock<(Bytes, HeaderValue)> = LazyLock::new(|| {
    let style = STYLES.concat();
    let script = format!("\"use strict\";\n{}", SCRIPTS.concat());
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        base64(digest(&SHA256, script.as_bytes()).as_ref()),
        base64(digest(&SHA256, style.as_bytes()).as_ref()),
    );
    let page = FRAME.replacen("/*style*/", &style, 1).replacen("/*program*/", &script, 1);
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    (Bytes::from(page), policy)
});

/// The page.
pub(super) fn answer(state: &AppState) -> Response<RouterBody> {
    if state.live.is_none() {
        return dashboard_off();
    }
    let (page, policy) = &*PAGE;
    let mut response = Response::new(RouterBody::full(page.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let padded = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= chunk.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_as_browsers_read_them() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn page_is_whole_and_loads_nothing() {
        let (page, policy) = &*PAGE;
        let page = std::str::from_utf8(page).unwrap();
        assert!(!page.contains("/*style*/") && !page.contains("/*program*/"));
        assert!(!page.contains("src=\"http") && !page.contains("innerHTML"));
        assert!(policy.to_str().unwrap().contains("script-src 'sha256-"));
    }
}

//! Makes the head of an HTTP/2 request one of HTTP/1.1, and refuses what the two do not read alike.
//!
//! The h2 library has refused before what is malformed in HTTP/2: line ends and NULs in values, upper-case names, the headers of
//! one connection, and a `content-length` that the body does not have.

use crate::error::ProxyError;
use http::{HeaderMap, HeaderValue, Method, Request, header};

/// Checks the head of a request; sets its `host` where it has only `:authority`, and joins its cookies.
///
/// # Errors
/// When the path, a header or the host is not what HTTP/1.1 could say in its place.
pub(super) fn prepare<B>(request: &mut Request<B>) -> Result<(), ProxyError> {
    check_path(request)?;
    let authority = request.uri().authority().cloned();
    let headers = request.headers_mut();
    if headers.values().any(has_outer_space) {
        return Err(ProxyError::MalformedHead("a header's value begins or ends with white space"));
    }
    if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(ProxyError::MalformedHead("the request has more than one content-length header"));
    }
    if let Some(authority) = authority {
        match headers.get(header::HOST) {
            Some(host) if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
                return Err(ProxyError::Host("the host header is not that of :authority"));
            }
            Some(_) => {}
            None => {
                let host = HeaderValue::from_str(authority.as_str());
                let host = host.map_err(|_| ProxyError::Host(":authority is not a host"))?;
                headers.insert(header::HOST, host);
            }
        }
    }
    join_cookies(headers);
    Ok(())
}

/// The path begins with a slash. That of OPTIONS may be an asterisk, and CONNECT has none.
fn check_path<B>(request: &Request<B>) -> Result<(), ProxyError> {
    let (method, path) = (request.method(), request.uri().path());
    let is_valid = path.starts_with('/')
        || (*method == Method::OPTIONS && path == "*")
        || (*method == Method::CONNECT && path.is_empty());
    if is_valid { Ok(()) } else { Err(ProxyError::MalformedHead("the path does not begin with a slash")) }
}

/// Whether a value begins or ends with white space. HTTP/1.1 has it not as a part of the value.
fn has_outer_space(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

/// HTTP/2 may send each cookie in a header of its own, and HTTP/1.1 may not (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (cookies.next(), cookies.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

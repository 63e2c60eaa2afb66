//! Requests whose `host` is missing, doubled or invalid get 400 (RFC 9112, section 3.2): two servers in a row could read
//! them as requests to different hosts.

use crate::error::ProxyError;
use http::{HeaderMap, Version, header};

/// Checks the `host` of a request.
///
/// # Errors
/// When the request has none in HTTP/1.1 or later, or two, or one that is no host with an optional port.
pub(super) fn check(version: Version, headers: &HeaderMap) -> Result<(), ProxyError> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_valid(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(ProxyError::Host("the host header is not a host with an optional port")),
        (Some(_), Some(_)) => Err(ProxyError::Host("the request has more than one host header")),
        (None, _) if version >= Version::HTTP_11 => Err(ProxyError::Host("the request has no host header")),
        (None, _) => Ok(()),
    }
}

/// Whether this is `uri-host [ ":" port ]` (RFC 9110, section 7.2). It may be empty.
fn is_valid(host: &[u8]) -> bool {
    if let Some(rest) = host.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', rest) else { return false };
        let (address, port) = (&rest[..end], &rest[end + 1..]);
        let is_address = !address.is_empty()
            && address.iter().all(|byte| byte.is_ascii_alphanumeric() || b":.%-_~".contains(byte));
        return is_address && is_port(port);
    }
    let end = memchr::memchr(b':', host).unwrap_or(host.len());
    host[..end].iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte))
        && is_port(&host[end..])
}

/// Whether this is empty, or a colon with a number, which may be missing.
fn is_port(text: &[u8]) -> bool {
    text.is_empty() || text.strip_prefix(b":").is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_with_ports_are_valid() {
        for host in ["", "a", "a:80", "a:", "127.0.0.1:3000", "[::1]", "[::1]:80", "my_host.local", "a-b%20"]
        {
            assert!(is_valid(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a:b", "a:80:80", "user@a", "a/b", "a?b", "a#b", "[::1", "[]", "[::1]a", "http://a",
            "a\\b",
        ] {
            assert!(!is_valid(host.as_bytes()), "{host}");
        }
    }
}

//! Headers on their way through: all are passed on, but for those that belong to one connection.

use http::{HeaderMap, HeaderName, header};

/// Fields of one connection (RFC 9110 section 7.6.1), and their older kin.
static HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
];

/// Removes the headers that describe the connection they came by, those named by `connection` included.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(named) = headers.get(header::CONNECTION).filter(|v| *v != "keep-alive" && *v != "close") {
        let named: Vec<HeaderName> = named
            .to_str()
            .unwrap_or("")
            .split(',')
            .filter_map(|name| name.trim().parse().ok())
            // A sender must not use `connection` to take away what frames or addresses the message.
            .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_the_connections_own_headers_go() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Hop, content-length"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("content-length", "3"),
            ("authorization", "Bearer k"),
            ("x-custom", "kept"),
            ("accept-encoding", "gzip"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept-encoding", "authorization", "content-length", "x-custom"]);
    }
}

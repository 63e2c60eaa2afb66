//! Hop-by-hop headers; all others are forwarded.

use http::{HeaderName, HeaderValue, header};
use smallvec::SmallVec;

/// Whether a header describes one connection (RFC 9110, section 7.6.1), including the obsolete ones.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// The headers named by the `connection` headers of a message, without `content-length` and `host`, which a sender must
/// not be able to remove.
pub(crate) fn named<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> SmallVec<[HeaderName; 2]> {
    let lines = lines.into_iter().filter(|line| *line != "keep-alive" && *line != "close");
    lines
        .flat_map(|line| line.to_str().unwrap_or("").split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
        .collect()
}

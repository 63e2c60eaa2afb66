//! Headers that belong to one connection: all others are passed on.

use http::{HeaderName, HeaderValue, header};
use smallvec::SmallVec;

/// Whether a header describes the connection that it came by (RFC 9110 section 7.6.1), or is older kin of those.
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

/// The headers that the lines of a message's `connection` header claim for the connection, but for those that frame or
/// address the message: a sender must not take them away.
pub(crate) fn named<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> SmallVec<[HeaderName; 2]> {
    let lines = lines.into_iter().filter(|line| *line != "keep-alive" && *line != "close");
    lines
        .flat_map(|line| line.to_str().unwrap_or("").split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
        .collect()
}

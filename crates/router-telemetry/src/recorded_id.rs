//! The id of a request, as its records have it.

use http::HeaderValue;
use smallvec::SmallVec;
use std::fmt;

/// Bytes that an id has room for in place: those that the router makes have at most 36.
const IN_PLACE: usize = 40;

/// A request's id as text, with U+FFFD for what is not UTF-8.
///
/// It shares no memory with the header that it comes from: the recorder's thread would free that memory, and keep the buffer
/// of the whole head until then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedId(SmallVec<[u8; IN_PLACE]>);

impl RecordedId {
    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<&HeaderValue> for RecordedId {
    fn from(value: &HeaderValue) -> Self {
        Self(SmallVec::from_slice(String::from_utf8_lossy(value.as_bytes()).as_bytes()))
    }
}

impl fmt::Display for RecordedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_text_whatever_the_header_contains() {
        let id = |bytes: &[u8]| RecordedId::from(&HeaderValue::from_bytes(bytes).unwrap());
        assert_eq!(id(b"chatcmpl-1").as_str(), "chatcmpl-1");
        assert_eq!(id(b"a\xFFb").as_str(), "a\u{FFFD}b");
        let long = "x".repeat(256);
        assert_eq!(id(long.as_bytes()).as_str(), long);
        assert_eq!(id("标识".as_bytes()).as_str(), "标识");
    }
}

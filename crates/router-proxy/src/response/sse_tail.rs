//! The end of a stream of events, as far as an event of the router behind it needs to know it.

use bytes::{Bytes, BytesMut};
use router_core::Route;
use router_protocol::{error_body, messages_error_body};

/// The last four bytes of a stream of events.
#[derive(Clone, Copy, Debug)]
pub(super) struct SseTail(u32);

impl Default for SseTail {
    /// As after a whole event.
    fn default() -> Self {
        Self(0x0A0A)
    }
}

impl SseTail {
    pub(super) fn push(&mut self, data: &[u8]) {
        let last = &data[data.len().saturating_sub(4)..];
        self.0 = last.iter().fold(self.0, |tail, byte| tail << 8 | u32::from(*byte));
    }

    /// Whether the last event has ended.
    pub(super) const fn is_between_events(self) -> bool {
        self.0 & 0xFFFF == 0x0A0A || self.0 == 0x0D0A_0D0A
    }

    /// An event with an error as the clients of the route parse it, after a blank line where the last event has not ended.
    pub(super) fn error_event(&self, route: Route, message: &str, code: &str) -> Bytes {
        let is_ended = self.is_between_events();
        let (start, body) = if route == Route::Messages {
            (&b"event: error\ndata: "[..], messages_error_body(message, 502, code))
        } else {
            (&b"data: "[..], error_body(message, "bad_gateway", code))
        };
        let mut event = BytesMut::with_capacity(body.len() + 24);
        event.extend_from_slice(if is_ended { b"" } else { b"\n\n" });
        event.extend_from_slice(start);
        event.extend_from_slice(&body);
        event.extend_from_slice(b"\n\n");
        event.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_event_stands_by_itself() {
        for (parts, start) in [
            (&["data: a\n\n"][..], "data: {"),
            (&["data: a\n", "\n"], "data: {"),
            (&["data: a\r\n\r\n"], "data: {"),
            (&["data: {\"text\":\"a"], "\n\ndata: {"),
            (&["data: a\n"], "\n\ndata: {"),
        ] {
            let mut tail = SseTail::default();
            parts.iter().for_each(|part| tail.push(part.as_bytes()));
            let event = tail.error_event(Route::Generate, "the request's time ran out", "worker_timeout");
            let text = std::str::from_utf8(&event).unwrap();
            assert!(text.starts_with(start) && text.ends_with("}}\n\n"), "{parts:?}: {text}");
        }
    }
}

//! The events of a streamed HTTP response, one by one.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::api::body::ResponseBody;

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// Its JSON, as it is.
    Json(Bytes),
    /// `[DONE]`.
    Done,
}

/// The events of a body.
#[derive(Debug)]
pub(super) struct Events {
    body: ResponseBody,
    buffer: BytesMut,
}

impl Events {
    pub(super) fn new(body: ResponseBody) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next event; `None` at the end of the body, which half an event does not change. It never comes where a fault
    /// ends the connection.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1).freeze().slice(..end);
                if let Some(data) = line.strip_prefix(b"data: ") {
                    return Some(match data {
                        b"[DONE]" => Event::Done,
                        json => Event::Json(line.slice_ref(json)),
                    });
                }
            }
            match self.body.frame().await? {
                Ok(frame) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Err(_) => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn half_events_are_no_events() {
        let body = Bytes::from_static(b"data: {\"a\":1}\n\nevent: x\ndata: [DONE]\n\ndata: {\"b");
        let mut events = Events::new(body.into());
        assert_eq!(events.next().await, Some(Event::Json(Bytes::from_static(b"{\"a\":1}"))));
        assert_eq!(events.next().await, Some(Event::Done));
        assert_eq!(events.next().await, None);
    }
}

//! A response body that a fault breaks.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::body::{AbortedBody, ResponseBody};
use memchr::memmem;

use crate::faults::{ConnectionFault, Fault, FaultKind, FaultSwitch};

/// What stands between two events.
const EVENT_END: &[u8] = b"\n\n";

/// A body with a fault in it.
#[derive(Debug)]
pub(crate) struct FaultyBody {
    inner: ResponseBody,
    kind: FaultKind,
    events_left: u32,
    state: FaultState,
    switch: FaultSwitch,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FaultState {
    Passing,
    /// The last bytes are handed over; one more turn lets the connection flush them.
    Flushing,
    Struck,
}

impl FaultyBody {
    pub(crate) fn new(inner: ResponseBody, fault: &Fault, switch: FaultSwitch) -> Self {
        Self { inner, kind: fault.kind, events_left: fault.after_events, state: FaultState::Passing, switch }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        // A body that ends early in an orderly way must not promise its length.
        match self.kind {
            FaultKind::NoDone | FaultKind::ChunkedTrailers => SizeHint::default(),
            _ => self.inner.size_hint(),
        }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AbortedBody>>> {
        match self.state {
            FaultState::Flushing => {
                self.state = FaultState::Struck;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            FaultState::Struck => return self.strike(),
            FaultState::Passing => {}
        }
        if self.events_left == 0
            && self.kind != FaultKind::HalfEvent
            && self.kind != FaultKind::ChunkedTrailers
        {
            self.state = FaultState::Flushing;
            return self.poll_frame(cx);
        }
        let whole = matches!(self.inner, ResponseBody::Whole(_));
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let Some(Ok(frame)) = frame else { return self.at_end(frame) };
        let Ok(data) = frame.into_data() else { return Poll::Ready(None) };
        if self.kind == FaultKind::ChunkedTrailers {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if whole {
            self.state = FaultState::Flushing;
            return Poll::Ready(Some(Ok(Frame::data(data.slice(..data.len() / 2)))));
        }
        Poll::Ready(Some(Ok(Frame::data(self.up_to_fault(data)))))
    }

    /// The part of a frame that comes before the fault. A frame has several events where the machine was too slow to send each by
    /// itself.
    fn up_to_fault(&mut self, data: Bytes) -> Bytes {
        let mut ends: Vec<usize> =
            memmem::find_iter(&data, EVENT_END).map(|at| at + EVENT_END.len()).collect();
        if ends.last() != Some(&data.len()) {
            ends.push(data.len());
        }
        let passing = self.events_left as usize;
        if passing >= ends.len() {
            self.events_left -= u32::try_from(ends.len()).unwrap_or(u32::MAX);
            return data;
        }
        self.events_left = 0;
        let end = if passing == 0 { 0 } else { ends[passing - 1] };
        if self.kind != FaultKind::HalfEvent {
            return data.slice(..end);
        }
        self.state = FaultState::Flushing;
        data.slice(..end + (ends[passing] - end) / 2)
    }

    /// The inner body ended before the fault could strike.
    fn at_end(
        &mut self,
        end: Option<Result<Frame<Bytes>, AbortedBody>>,
    ) -> Poll<Option<Result<Frame<Bytes>, AbortedBody>>> {
        if self.kind != FaultKind::ChunkedTrailers || end.is_some() {
            return Poll::Ready(end);
        }
        self.kind = FaultKind::NoDone;
        self.state = FaultState::Struck;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-emulator-trailer", http::HeaderValue::from_static("end"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn strike(&mut self) -> Poll<Option<Result<Frame<Bytes>, AbortedBody>>> {
        // The inner body is dropped unfinished, as in a process that died.
        match self.kind {
            FaultKind::Stall => Poll::Pending,
            FaultKind::NoDone => Poll::Ready(None),
            FaultKind::ResetMidStream => {
                self.switch.set(ConnectionFault::Reset);
                Poll::Ready(Some(Err(AbortedBody)))
            }
            _ => {
                self.switch.set(ConnectionFault::Close);
                Poll::Ready(Some(Err(AbortedBody)))
            }
        }
    }
}

//! Faults on demand: what a broken server does to its clients.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::stream::{Body, Cut};

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Takes the request and never answers.
    Hang,
    /// Answers with an error status.
    Status,
    /// Resets the connection (TCP RST) before the first byte of the answer.
    ResetBeforeFirstByte,
    /// Resets the connection (TCP RST) after some events, or after half of an answer that is not streamed.
    ResetMidStream,
    /// Closes the connection (FIN) at the same point, without ending the body.
    CloseEarly,
    /// Closes the connection in the middle of an event.
    HalfEvent,
    /// Sends some events and then nothing more, the connection staying open.
    Stall,
    /// Ends the body in an orderly way after some events, without the last one and without `[DONE]`.
    NoDone,
    /// Answers with bytes that are not HTTP.
    Garbage,
    /// Ends the body with trailers (sent to clients that say `te: trailers`).
    ChunkedTrailers,
    /// Calls itself unwell (`/health*` answer with `status`) and works on, as a server does that is about to stop.
    Unhealthy,
    /// Every engine step takes `factor` times as long.
    Slow,
    /// Stops listening; open connections stay.
    Refuse,
    /// Stops listening and resets every open connection, as a killed process.
    Crash,
}

/// A fault to inject.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Status of [`FaultKind::Status`] and [`FaultKind::Unhealthy`]. Default 500.
    #[serde(default = "default_status")]
    pub status: u16,
    /// Factor of [`FaultKind::Slow`]. Default 4.
    #[serde(default = "default_factor")]
    pub factor: f64,
    /// Events (frames) sent before a mid-stream fault strikes. Default 3.
    #[serde(default = "default_after_events")]
    pub after_events: u32,
    /// Requests it strikes before it is over; `None` = all. Default `None`.
    #[serde(default)]
    pub count: Option<u64>,
    /// Seconds until it is over; `None` = until cleared. Default `None`.
    #[serde(default)]
    pub duration_secs: Option<f64>,
    /// Whether health and information routes are struck too. Default false.
    #[serde(default)]
    pub health: bool,
}

fn default_status() -> u16 {
    500
}

fn default_factor() -> f64 {
    4.0
}

fn default_after_events() -> u32 {
    3
}

impl Fault {
    /// A fault of that kind with defaults for the rest.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            status: default_status(),
            factor: default_factor(),
            after_events: default_after_events(),
            count: None,
            duration_secs: None,
            health: false,
        }
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        self.duration_secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok())
    }
}

#[derive(Clone, Debug)]
struct Active {
    fault: Fault,
    generation: u64,
    until: Option<Instant>,
}

/// The fault in force, if any. A new one replaces the old.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: Mutex<(u64, Option<Active>)>,
}

impl Faults {
    /// Puts a fault in force; returns its generation for [`Faults::expire`].
    pub(crate) fn set(&self, fault: Fault) -> u64 {
        let mut active = self.active.lock();
        active.0 += 1;
        let until = fault.duration().map(|d| Instant::now() + d);
        active.1 = Some(Active { fault, generation: active.0, until });
        active.0
    }

    pub(crate) fn clear(&self) -> Option<Fault> {
        self.active.lock().1.take().map(|a| a.fault)
    }

    /// Clears the fault if it is still that one.
    pub(crate) fn expire(&self, generation: u64) -> Option<Fault> {
        let mut active = self.active.lock();
        active.1.take_if(|a| a.generation == generation).map(|a| a.fault)
    }

    pub(crate) fn get(&self) -> Option<Fault> {
        self.active.lock().1.as_ref().map(|a| a.fault.clone())
    }

    /// The fault that strikes a request, counting it.
    pub(crate) fn strike(&self, scope: Scope) -> Option<Fault> {
        let mut active = self.active.lock();
        let current = active.1.as_mut()?;
        let concerned = match (current.fault.kind, scope) {
            (FaultKind::Unhealthy, scope) => scope == Scope::Health,
            (_, Scope::Inference) => true,
            (_, Scope::Information | Scope::Health) => current.fault.health,
        };
        if !concerned || current.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        let struck = current.fault.clone();
        match &mut current.fault.count {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        Some(struck)
    }
}

/// What a route is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    Inference,
    Information,
    Health,
}

/// How a connection is to end once its task gets it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Reset,
    Close,
    Garbage,
}

/// Set by whoever decides that the connection must end; read by the connection's task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switch(Arc<Mutex<Option<Fate>>>);

impl Switch {
    pub(crate) fn set(&self, fate: Fate) {
        *self.0.lock() = Some(fate);
    }

    pub(crate) fn get(&self) -> Option<Fate> {
        *self.0.lock()
    }
}

/// A body with a fault in it.
#[derive(Debug)]
pub(crate) struct FaultyBody {
    inner: Body,
    kind: FaultKind,
    frames_left: u32,
    state: FaultState,
    switch: Switch,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FaultState {
    Passing,
    /// The last bytes are handed over; one more turn lets the connection flush them.
    Flushing,
    Struck,
}

impl FaultyBody {
    pub(crate) fn new(inner: Body, fault: &Fault, switch: Switch) -> Self {
        Self { inner, kind: fault.kind, frames_left: fault.after_events, state: FaultState::Passing, switch }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        // Cut short in an orderly way, a body must not promise its length.
        match self.kind {
            FaultKind::NoDone | FaultKind::ChunkedTrailers => SizeHint::default(),
            _ => self.inner.size_hint(),
        }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.state {
            FaultState::Flushing => {
                self.state = FaultState::Struck;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            FaultState::Struck => return self.strike(),
            FaultState::Passing => {}
        }
        if self.frames_left == 0
            && self.kind != FaultKind::HalfEvent
            && self.kind != FaultKind::ChunkedTrailers
        {
            self.state = FaultState::Flushing;
            return self.poll_frame(cx);
        }
        let whole = matches!(self.inner, Body::Whole(_));
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let Some(Ok(frame)) = frame else { return self.at_end(frame) };
        let Ok(data) = frame.into_data() else { return Poll::Ready(None) };
        if self.kind == FaultKind::ChunkedTrailers {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if whole || (self.frames_left == 0 && self.kind == FaultKind::HalfEvent) {
            self.state = FaultState::Flushing;
            return Poll::Ready(Some(Ok(Frame::data(data.slice(..data.len() / 2)))));
        }
        self.frames_left = self.frames_left.saturating_sub(1);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    /// The inner body ended before the fault could strike.
    fn at_end(&mut self, end: Option<Result<Frame<Bytes>, Cut>>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.kind != FaultKind::ChunkedTrailers || end.is_some() {
            return Poll::Ready(end);
        }
        self.kind = FaultKind::NoDone;
        self.state = FaultState::Struck;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-emulator-trailer", http::HeaderValue::from_static("end"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn strike(&mut self) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        // Whatever the inner body still waits for is given up, as by a process that died.
        match self.kind {
            FaultKind::Stall => Poll::Pending,
            FaultKind::NoDone => Poll::Ready(None),
            FaultKind::ResetMidStream => {
                self.switch.set(Fate::Reset);
                Poll::Ready(Some(Err(Cut)))
            }
            _ => {
                self.switch.set(Fate::Close);
                Poll::Ready(Some(Err(Cut)))
            }
        }
    }
}

//! Where one generation's progress meets its client: the driver writes, the answer reads.
//!
//! Progress is a count, not a queue: a client that is slow, or a driver that is late, sees several tokens as
//! one, as on a real server.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use router_core::Time;
use router_engine::{JobId, JobRecord, JobTimes};

use crate::driver::Driver;

/// The first output of an answer that is not streamed reaches SGLang's front at this token, which is why such
/// an answer's `server_first_token_time` is the time of token 50 and missing below.
const UNSTREAMED_INTERVAL: u32 = 50;

/// How a generation ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum End {
    /// It ran to its end.
    Finished(JobRecord),
    /// It was aborted while it ran.
    Aborted(JobRecord),
    /// It was aborted before it was ever scheduled.
    Unscheduled(JobRecord),
}

impl End {
    pub(crate) fn record(&self) -> &JobRecord {
        match self {
            Self::Finished(record) | Self::Aborted(record) | Self::Unscheduled(record) => record,
        }
    }
}

/// How far a generation is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Seen {
    /// Tokens generated.
    pub(crate) generated: u32,
    /// Set with the first token.
    pub(crate) first: Option<First>,
    /// When token 50 came out.
    pub(crate) fiftieth_at: Option<Time>,
    /// Set at the end.
    pub(crate) end: Option<End>,
}

/// What is known from the first token on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct First {
    pub(crate) times: JobTimes,
    pub(crate) cached_tokens: u32,
}

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    waker: Option<Waker>,
    wants: Wants,
}

/// What the reader waits for, so that an answer nobody streams costs no wake-up per token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Wants {
    #[default]
    Tokens,
    End,
}

/// Shared state of one generation.
#[derive(Debug, Default)]
pub(crate) struct Outlet(Mutex<State>);

impl Outlet {
    pub(crate) fn first_token(&self, times: JobTimes, cached_tokens: u32) {
        self.update(|seen| {
            seen.generated = 1;
            seen.first = Some(First { times, cached_tokens });
        });
    }

    pub(crate) fn token(&self, generated: u32, at: Time) {
        self.update(|seen| {
            seen.generated = generated;
            if generated == UNSTREAMED_INTERVAL {
                seen.fiftieth_at = Some(at);
            }
        });
    }

    pub(crate) fn end(&self, end: End) {
        self.update(|seen| seen.end = Some(end));
    }

    fn update(&self, change: impl FnOnce(&mut Seen)) {
        let mut state = self.0.lock();
        change(&mut state.seen);
        let due = state.wants == Wants::Tokens || state.seen.end.is_some();
        let waker = if due { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A generation in the engine. Dropped before its end, it is aborted: the client went away.
#[derive(Debug)]
pub(crate) struct Run {
    driver: Driver,
    id: JobId,
    outlet: Arc<Outlet>,
    submitted_at: Time,
}

impl Run {
    pub(crate) fn new(driver: Driver, id: JobId, outlet: Arc<Outlet>, submitted_at: Time) -> Self {
        Self { driver, id, outlet, submitted_at }
    }

    /// When it was handed to the engine.
    pub(crate) fn submitted_at(&self) -> Time {
        self.submitted_at
    }

    /// What is there now; registers for the next change unless it is over.
    pub(crate) fn poll_seen(&self, cx: &Context<'_>, wants: Wants) -> Seen {
        let mut state = self.outlet.0.lock();
        state.wants = wants;
        if state.seen.end.is_none() && !state.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        state.seen
    }

    /// Waits for the end, for answers that wake nobody for single tokens.
    pub(crate) async fn finished(&self) -> (Seen, End) {
        poll_fn(|cx| {
            let seen = self.poll_seen(cx, Wants::End);
            seen.end.map_or(Poll::Pending, |end| Poll::Ready((seen, end)))
        })
        .await
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let ended = self.outlet.0.lock().seen.end.is_some();
        if !ended {
            self.driver.abandon(self.id);
        }
    }
}

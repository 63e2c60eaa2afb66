//! The progress of one generation: written by the driver, read by the response body.
//!
//! Progress is a count, not a queue: a client that is slow, or a driver that is late, sees several tokens as
//! one, as on a real server.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use router_core::Time;
use router_engine::{JobId, JobRecord, JobTimes};

use crate::engine_task::driver::EngineDriver;

/// SGLang's HTTP process gets unstreamed output every 50 tokens only. So `server_first_token_time` of an unstreamed
/// response is the time of token 50, and is missing below 50 tokens.
const UNSTREAMED_INTERVAL: u32 = 50;

/// How a generation ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum GenerationEnd {
    /// It ran to its end.
    Finished(JobRecord),
    /// It was aborted while it ran.
    Aborted(JobRecord),
    /// It was aborted before it was ever scheduled.
    Unscheduled(JobRecord),
}

impl GenerationEnd {
    pub(crate) fn record(&self) -> &JobRecord {
        match self {
            Self::Finished(record) | Self::Aborted(record) | Self::Unscheduled(record) => record,
        }
    }
}

/// How far a generation is.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct GenerationProgress {
    /// Tokens generated.
    pub(crate) generated: u32,
    /// Set with the first token.
    pub(crate) first: Option<FirstToken>,
    /// When token 50 came out.
    pub(crate) fiftieth_at: Option<Time>,
    /// Set at the end.
    pub(crate) end: Option<GenerationEnd>,
}

/// What is known from the first token on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct FirstToken {
    pub(crate) times: JobTimes,
    pub(crate) cached_tokens: u32,
}

#[derive(Debug, Default)]
struct CellState {
    progress: GenerationProgress,
    waker: Option<Waker>,
    wake_on: WakeOn,
}

/// When the reader is woken: an unstreamed response needs no wake-up per token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum WakeOn {
    #[default]
    Tokens,
    GenerationEnd,
}

/// Shared state of one generation.
#[derive(Debug, Default)]
pub(crate) struct ProgressCell(Mutex<CellState>);

impl ProgressCell {
    pub(crate) fn first_token(&self, times: JobTimes, cached_tokens: u32) {
        self.update(|progress| {
            progress.generated = 1;
            progress.first = Some(FirstToken { times, cached_tokens });
        });
    }

    pub(crate) fn token(&self, generated: u32, at: Time) {
        self.update(|progress| {
            progress.generated = generated;
            if generated == UNSTREAMED_INTERVAL {
                progress.fiftieth_at = Some(at);
            }
        });
    }

    pub(crate) fn end(&self, end: GenerationEnd) {
        self.update(|progress| progress.end = Some(end));
    }

    fn update(&self, change: impl FnOnce(&mut GenerationProgress)) {
        let mut state = self.0.lock();
        change(&mut state.progress);
        let due = state.wake_on == WakeOn::Tokens || state.progress.end.is_some();
        let waker = if due { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A generation in the engine. Dropping it before the end aborts it.
#[derive(Debug)]
pub(crate) struct GenerationHandle {
    driver: EngineDriver,
    id: JobId,
    cell: Arc<ProgressCell>,
    submitted_at: Time,
}

impl GenerationHandle {
    pub(crate) fn new(driver: EngineDriver, id: JobId, cell: Arc<ProgressCell>, submitted_at: Time) -> Self {
        Self { driver, id, cell, submitted_at }
    }

    /// When it was handed to the engine.
    pub(crate) fn submitted_at(&self) -> Time {
        self.submitted_at
    }

    /// The progress now. Registers a wake-up for the next change unless the generation has ended.
    pub(crate) fn poll_progress(&self, cx: &Context<'_>, wake_on: WakeOn) -> GenerationProgress {
        let mut state = self.cell.0.lock();
        state.wake_on = wake_on;
        if state.progress.end.is_none() && !state.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        state.progress
    }

    /// Waits for the end, without wake-ups for single tokens.
    pub(crate) async fn finished(&self) -> (GenerationProgress, GenerationEnd) {
        poll_fn(|cx| {
            let progress = self.poll_progress(cx, WakeOn::GenerationEnd);
            progress.end.map_or(Poll::Pending, |end| Poll::Ready((progress, end)))
        })
        .await
    }
}

impl Drop for GenerationHandle {
    fn drop(&mut self) {
        let ended = self.cell.0.lock().progress.end.is_some();
        if !ended {
            self.driver.abandon(self.id);
        }
    }
}

//! The body of a split request: the decode worker's, while the prefill leg is still open or has something to add to it.

use super::upstream_body::{RelayError, UpstreamBody};
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use router_protocol::disaggregation::LogprobsMerger;
use router_upstream::WorkerPool;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// After the client's response has ended, the prefill worker's may take this long: its work is done, so only its last
/// bytes can be missing.
const LINGER: Duration = Duration::from_secs(10);

/// A prefill leg that is still running; whether it succeeded. It owns its lease.
type RunningPrefill = Pin<Box<dyn Future<Output = bool> + Send>>;

/// What the prefill leg still has to do with the response.
pub(crate) struct PrefillTail {
    /// Adds what only the prefill worker knows.
    merger: Option<LogprobsMerger>,
    running: Option<RunningPrefill>,
    pool: Arc<WorkerPool>,
    /// How many prompts are handed over, each at its own time.
    prompts: u32,
}

impl fmt::Debug for PrefillTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.running.is_some();
        f.debug_struct("PrefillTail").field("merger", &self.merger).field("running", &running).finish()
    }
}

impl PrefillTail {
    /// The rest of a prefill leg in `pool` for a request of `prompts` prompts.
    pub(crate) fn new(
        merger: Option<LogprobsMerger>,
        running: Option<RunningPrefill>,
        pool: &Arc<WorkerPool>,
        prompts: u32,
    ) -> Self {
        Self { merger, running, pool: Arc::clone(pool), prompts }
    }

    /// All of a body that is there already, as the client gets it.
    pub(super) fn finish(mut self, body: &Bytes) -> Bytes {
        self.detach();
        match self.merger.take() {
            Some(merger) => merged(merger, body),
            None => body.clone(),
        }
    }

    /// Lets the prefill leg end in a task of its own.
    fn detach(&mut self) {
        // A body may be dropped after the runtime is gone; then everything stops anyway.
        if let Some(running) = self.running.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let stopping = self.pool.stopping.clone();
            let rest = async move {
                tokio::select! {
                    // Either way its lease has recorded how it ended.
                    _ = tokio::time::timeout(LINGER, running) => {}
                    () = stopping.cancelled() => {}
                }
            };
            self.pool.tasks.spawn_on(rest, &runtime);
        }
    }
}

fn merged(mut merger: LogprobsMerger, last: &[u8]) -> Bytes {
    let mut out = BytesMut::from(merger.push(last));
    out.extend_from_slice(&merger.finish());
    out.freeze()
}

/// The decode worker's body, tied to the prefill leg.
#[derive(Debug)]
pub(super) struct SplitBody {
    decode: Box<UpstreamBody>,
    prefill: PrefillTail,
    /// The decode worker's body has ended as it should.
    is_complete: bool,
}

impl SplitBody {
    pub(super) const fn new(decode: Box<UpstreamBody>, prefill: PrefillTail) -> Self {
        Self { decode, prefill, is_complete: false }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        if self.prefill_failed(cx) {
            return self.decode.fail(cx, RelayError::Prefill);
        }
        loop {
            let frame = match ready!(self.decode.poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.is_complete = true;
                    let rest = self.prefill.merger.take().map(|m| merged(m, &[]));
                    return Poll::Ready(rest.filter(|r| !r.is_empty()).map(|r| Ok(Frame::data(r))));
                }
            };
            self.is_complete |= self.decode.is_end_stream();
            let Some(merger) = &mut self.prefill.merger else { return Poll::Ready(Some(Ok(frame))) };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            let out = merger.push(&data);
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }

    /// Whether the response can no longer end well. A single prompt was handed over before its response began; of
    /// several, some may still be with the worker that failed.
    fn prefill_failed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(running) = &mut self.prefill.running else { return false };
        let Poll::Ready(succeeded) = running.as_mut().poll(cx) else { return false };
        self.prefill.running = None;
        !succeeded && self.prefill.prompts > 1 && !self.is_complete
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.prefill.merger.is_none() && self.decode.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.prefill.merger.is_some() { SizeHint::default() } else { self.decode.size_hint() }
    }
}

impl Drop for SplitBody {
    /// A client that leaves early ends both legs; one that has its whole response does not.
    fn drop(&mut self) {
        if self.is_complete {
            self.prefill.detach();
        }
    }
}

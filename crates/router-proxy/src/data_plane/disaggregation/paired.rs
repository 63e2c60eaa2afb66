//! An answer on its way to the client while the prompt's own answer is still open, or has something to add to it.

use super::super::relay::{Relay, RelayError};
use super::prefill::Prefilling;
use crate::router::Shared;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use router_protocol::disaggregation::LogprobsMerger;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// After the client's answer has ended, so long may the prompt's own take: its work is done, so only its last bytes
/// can be missing.
const LINGER: Duration = Duration::from_secs(10);

/// What the other leg still has to do with an answer.
pub(in super::super) struct Bond {
    /// What the prompt's answer adds.
    merger: Option<LogprobsMerger>,
    /// The prompt's answer, while it is open.
    open: Option<Prefilling>,
    pool: Arc<Shared>,
    /// How many prompts are handed over, each at its own time.
    parts: u32,
}

impl fmt::Debug for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bond").field("merger", &self.merger).field("open", &self.open.is_some()).finish()
    }
}

impl Bond {
    pub(super) fn new(merger: Option<LogprobsMerger>, open: Option<Prefilling>, pool: &Arc<Shared>) -> Self {
        Self { merger, open, pool: Arc::clone(pool), parts: 1 }
    }

    /// The same, for a request of so many prompts.
    pub(super) const fn with_parts(mut self, parts: u32) -> Self {
        self.parts = parts;
        self
    }

    /// All of a body that is there already, as the client gets it.
    pub(in super::super) fn conclude(mut self, body: Bytes) -> Bytes {
        self.let_go();
        match self.merger.take() {
            Some(merger) => merged(merger, &body),
            None => body,
        }
    }

    /// Lets the prompt's own answer end without us.
    fn let_go(&mut self) {
        // An answer may be dropped where no runtime is left; then everything stops anyway.
        if let Some(open) = self.open.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let stopping = self.pool.stopping.clone();
            let rest = async move {
                tokio::select! {
                    // Either way its lease has been told how it ended.
                    _ = tokio::time::timeout(LINGER, open) => {}
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

/// A worker's body, bound to the other leg.
#[derive(Debug)]
pub(in super::super) struct Paired {
    relay: Box<Relay>,
    bond: Bond,
    /// The worker's body has ended as it should.
    ended: bool,
}

impl Paired {
    pub(in super::super) const fn new(relay: Box<Relay>, bond: Bond) -> Self {
        Self { relay, bond, ended: false }
    }

    pub(in super::super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        if self.lost(cx) {
            return self.relay.fail(cx, RelayError::Prefill);
        }
        loop {
            let frame = match ready!(self.relay.poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.ended = true;
                    let rest = self.bond.merger.take().map(|m| merged(m, &[]));
                    return Poll::Ready(rest.filter(|r| !r.is_empty()).map(|r| Ok(Frame::data(r))));
                }
            };
            self.ended |= self.relay.is_end_stream();
            let Some(merger) = &mut self.bond.merger else { return Poll::Ready(Some(Ok(frame))) };
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

    /// Whether the answer can no longer end well. One prompt was handed over before its answer began; of several, some
    /// may still be with the worker that failed.
    fn lost(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(open) = &mut self.bond.open else { return false };
        let Poll::Ready(end) = open.as_mut().poll(cx) else { return false };
        self.bond.open = None;
        end.is_err() && self.bond.parts > 1 && !self.ended
    }

    pub(in super::super) fn is_end_stream(&self) -> bool {
        self.bond.merger.is_none() && self.relay.is_end_stream()
    }

    pub(in super::super) fn size_hint(&self) -> SizeHint {
        if self.bond.merger.is_some() { SizeHint::default() } else { self.relay.size_hint() }
    }
}

impl Drop for Paired {
    /// A client that left takes both legs along; one that has its whole answer does not.
    fn drop(&mut self) {
        if self.ended {
            self.bond.let_go();
        }
    }
}

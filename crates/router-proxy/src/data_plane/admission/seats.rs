//! Waiting for a worker when every one of them has as many requests as it may have.

use crate::error::ProxyError;
use router_core::NoWorker;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, Semaphore};

/// Whether a wait can help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Vacancy {
    /// A worker is in service and full.
    Later,
    /// No worker is in service.
    Never,
}

/// The line of requests that wait for a worker.
///
/// The first of the line alone asks the balancer again, each time a request has ended; whoever comes later does not
/// overtake it.
#[derive(Debug)]
pub(crate) struct Seats {
    /// Whether workers have a cap at all.
    capped: bool,
    /// Held by the first of the line; a fair lock, so the line keeps its order.
    first: Mutex<()>,
    in_line: AtomicUsize,
    freed: Notify,
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Seats {
    pub(super) fn new(capped: bool, places: Arc<Semaphore>, timeout: Duration) -> Self {
        Self {
            capped,
            first: Mutex::const_new(()),
            in_line: AtomicUsize::new(0),
            freed: Notify::const_new(),
            places,
            timeout,
        }
    }

    /// A request has left its worker.
    pub(crate) fn freed(&self) {
        if self.capped {
            self.freed.notify_waiters();
        }
    }

    /// Whether a worker can be full at all.
    pub(crate) const fn are_capped(&self) -> bool {
        self.capped
    }

    /// Dispatches now, unless others wait.
    pub(crate) fn at_once<T>(&self, dispatch: impl FnOnce() -> Result<T, NoWorker>) -> Option<T> {
        if self.capped && self.in_line.load(Relaxed) > 0 {
            return None;
        }
        dispatch().ok()
    }

    /// Dispatches now, or when a worker that is full has room again.
    ///
    /// # Errors
    /// `None` when waiting is of no use, else why the wait ended.
    pub(crate) async fn take<T>(
        &self,
        vacancy: impl Fn() -> Vacancy,
        mut dispatch: impl FnMut() -> Result<T, NoWorker>,
    ) -> Result<T, Option<ProxyError>> {
        if let Some(seat) = self.at_once(&mut dispatch) {
            return Ok(seat);
        }
        if !self.capped || (self.in_line.load(Relaxed) == 0 && vacancy() == Vacancy::Never) {
            return Err(None);
        }
        let full = || Some(ProxyError::WorkersFull);
        let _place = self.places.try_acquire().map_err(|_| full())?;
        let _in_line = InLine::enter(&self.in_line);
        let wait = async {
            let _first = self.first.lock().await;
            loop {
                // It listens before it asks, so that no end of a request falls between the two.
                let mut freed = std::pin::pin!(self.freed.notified());
                freed.as_mut().enable();
                match dispatch() {
                    Ok(seat) => return Ok(seat),
                    Err(NoWorker) if vacancy() == Vacancy::Never => return Err(None),
                    Err(NoWorker) => freed.await,
                }
            }
        };
        tokio::time::timeout(self.timeout, wait).await.unwrap_or_else(|_| Err(full()))
    }
}

/// Counts one waiting request, however its wait ends.
struct InLine<'a>(&'a AtomicUsize);

impl<'a> InLine<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

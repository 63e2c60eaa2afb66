//! Work whose length grows with a body is done apart from the threads that serve clients.

use bytes::Bytes;
use std::num::NonZero;
use tokio::sync::Semaphore;

/// Bodies longer than this are worked on apart. A thread that serves clients scans this much in about a millisecond; the
/// two switches of threads cost a few microseconds.
const LARGE_BODY: usize = 1 << 20;

/// Whether the work on this body is done apart.
pub(crate) fn is_large(body: &Bytes) -> bool {
    body.len() > LARGE_BODY
}

/// Runs work on large bodies, on as many threads as leave others to the clients.
#[derive(Debug)]
pub(crate) struct LargeBodyWork {
    permits: Semaphore,
}

impl LargeBodyWork {
    /// Half of the machine's cores, at least one.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { permits: Semaphore::new((cores / 2).max(1)) }
    }

    /// The result of `work`, which runs on another thread when its turn has come.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Cancelled: the runtime stops, and with it this request.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn work_leaves_the_thread_free() {
        let work = LargeBodyWork::new();
        let (to_work, from_thread) = mpsc::channel();
        // The work ends only when this thread does something else meanwhile.
        let (got, ()) = tokio::join!(work.run(move || from_thread.recv()), async {
            to_work.send(7).unwrap_or_else(|e| panic!("{e}"));
        });
        assert_eq!(got, Ok(7));
    }
}

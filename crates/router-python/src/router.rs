//! A router that runs on threads of its own beside Python.

use crate::decisions::Decisions;
use crate::{options, registry, stats};
use parking_lot::{Condvar, Mutex};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use router_proxy::StartError;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Python looks for signals this often while it waits for the router.
const TICK: Duration = Duration::from_millis(50);

/// A worker that is ready is noticed within this.
const READY_TICK: Duration = Duration::from_millis(2);

/// A thread that is stuck in foreign code for longer than this after the router has stopped is left behind.
const LAST_WAIT: Duration = Duration::from_secs(30);

/// A router that runs. What is asked of it after its end is answered with a `RuntimeError`.
#[pyclass(frozen, weakref, module = "sgl_router._native")]
pub(crate) struct RunningRouter {
    url: String,
    prometheus_url: Option<String>,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Running(Box<Inner>),
    Stopping,
    Stopped,
}

/// The router and the threads that run it, until they are taken apart to be stopped.
struct Inner(Option<(router_proxy::RunningRouter, Runtime)>);

/// Starts a router with these options and returns once its ports are bound.
#[pyfunction]
pub(crate) fn start_router(py: Python<'_>, arguments: &Bound<'_, PyDict>) -> PyResult<RunningRouter> {
    let options = options::read(arguments)?;
    py.detach(|| {
        let config = options.check(&registry::registry());
        let config = config.map_err(|error| PyValueError::new_err(error.to_string()))?;
        sgl_router::init_logs(&options).map_err(|error| PyValueError::new_err(error.to_string()))?;
        // Clients have threads of their own; this one is for what the router does in the background.
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().thread_name("sgl-router").build();
        let runtime = runtime.map_err(|e| PyRuntimeError::new_err(format!("cannot start threads: {e}")))?;
        let router = runtime.block_on(sgl_router::start(config, options.threads.and_then(NonZeroUsize::new)));
        let router = router.map_err(|error| start_error(&error))?;
        Ok(RunningRouter {
            url: router.url(),
            prometheus_url: router.prometheus_address().map(|address| format!("http://{address}/metrics")),
            state: Mutex::new(State::Running(Box::new(Inner(Some((router, runtime)))))),
            changed: Condvar::new(),
        })
    })
}

/// A port that is taken is an `OSError`, as it is for Python's own servers.
fn start_error(error: &StartError) -> PyErr {
    let message = error.to_string();
    match error {
        StartError::Bind { source, .. } => match source.raw_os_error() {
            Some(number) => PyOSError::new_err((number, message)),
            None => PyOSError::new_err(message),
        },
        StartError::Config(_) => PyValueError::new_err(message),
        _ => PyRuntimeError::new_err(message),
    }
}

#[pymethods]
impl RunningRouter {
    /// The base URL of the main port.
    #[getter]
    fn url(&self) -> &str {
        &self.url
    }

    /// Where metrics are served besides the main port.
    #[getter]
    fn prometheus_url(&self) -> Option<&str> {
        self.prometheus_url.as_deref()
    }

    /// Whether it serves.
    #[getter]
    fn running(&self) -> bool {
        matches!(*self.state.lock(), State::Running(_))
    }

    /// Returns once requests find a worker, and false if none was found in time.
    fn wait_until_ready(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let seconds = Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err(format!("timeout: {seconds} is no time")))?;
        let end = Instant::now().checked_add(seconds);
        loop {
            if self.with(router_proxy::RunningRouter::is_ready)? {
                return Ok(true);
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(false);
            }
            py.detach(|| self.changed.wait_for(&mut self.state.lock(), READY_TICK));
            py.check_signals()?;
        }
    }

    /// How it stands now.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.with(|router| router.stats()))?;
        stats::to_python(py, &stats)
    }

    /// Every decision from now on; `capacity` of them may wait to be fetched.
    fn decisions(&self, capacity: usize) -> PyResult<Decisions> {
        self.with(|router| Decisions::new(router.decisions(capacity)))
    }

    /// Lets requests end within the grace period, then cuts them; returns how many were cut. Once stopped, it returns 0.
    fn stop(&self, py: Python<'_>) -> PyResult<u64> {
        let taken = std::mem::replace(&mut *self.state.lock(), State::Stopping);
        match taken {
            State::Running(mut inner) => {
                let cut = inner.0.take().map_or(Ok(0), |parts| shut_down(py, parts));
                *self.state.lock() = State::Stopped;
                self.changed.notify_all();
                cut
            }
            State::Stopped => {
                *self.state.lock() = State::Stopped;
                Ok(0)
            }
            // Somebody else stops it.
            State::Stopping => self.wait(py).map(|()| 0),
        }
    }

    /// Stops at once: what runs is cut. Once stopped, it does nothing.
    fn cut(&self, py: Python<'_>) {
        let taken = std::mem::replace(&mut *self.state.lock(), State::Stopped);
        self.changed.notify_all();
        py.detach(|| drop(taken));
    }

    /// Returns once it has stopped.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let stopped = py.detach(|| {
                let mut state = self.state.lock();
                if !matches!(*state, State::Stopped) {
                    self.changed.wait_for(&mut state, TICK);
                }
                matches!(*state, State::Stopped)
            });
            if stopped {
                return Ok(());
            }
            py.check_signals()?;
        }
    }
}

impl RunningRouter {
    fn with<T>(&self, ask: impl FnOnce(&router_proxy::RunningRouter) -> T) -> PyResult<T> {
        match &*self.state.lock() {
            State::Running(inner) => inner.0.as_ref().map(|(router, _)| ask(router)),
            State::Stopping | State::Stopped => None,
        }
        .ok_or_else(|| PyRuntimeError::new_err("the router has stopped"))
    }
}

/// Ctrl-C while requests are waited for cuts them, as a second signal does on the command line.
fn shut_down(py: Python<'_>, (router, runtime): (router_proxy::RunningRouter, Runtime)) -> PyResult<u64> {
    let mut shutdown = runtime.spawn(router.shutdown());
    let cut = loop {
        let ended = py.detach(|| runtime.block_on(async { timeout(TICK, &mut shutdown).await }));
        match ended {
            Ok(Ok(cut)) => break Ok(cut),
            Ok(Err(panic)) => break Err(PyRuntimeError::new_err(format!("the router broke: {panic}"))),
            Err(_) => {
                if let Err(interrupt) = py.check_signals() {
                    shutdown.abort();
                    break Err(interrupt);
                }
            }
        }
    };
    py.detach(|| runtime.shutdown_timeout(LAST_WAIT));
    cut
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some((router, runtime)) = self.0.take() {
            drop(router);
            // Whoever drops it may hold Python, and a thread may wait for that.
            runtime.shutdown_background();
        }
    }
}

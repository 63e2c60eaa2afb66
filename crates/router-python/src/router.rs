//! A router that runs on its own threads in a Python process.

use crate::decisions::Decisions;
use crate::value::to_json;
use crate::{options, registry, stats};
use parking_lot::{Condvar, Mutex};
use pyo3::exceptions::{PyKeyError, PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use router_config::{KnownFields, WorkerSpec};
use router_proxy::StartError;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Interval at which Python checks for signals while it waits for the router.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Interval of checks for a ready worker.
const READY_INTERVAL: Duration = Duration::from_millis(2);

/// After the router has stopped, its threads are waited for this long.
const THREADS_TIMEOUT: Duration = Duration::from_secs(30);

/// A running router. After it has stopped, its methods raise a `RuntimeError`.
#[pyclass(frozen, weakref, module = "sgl_router._native")]
pub(crate) struct RunningRouter {
    url: String,
    prometheus_url: Option<String>,
    state: Mutex<RouterState>,
    changed: Condvar,
}

enum RouterState {
    Running(Box<RouterGuard>),
    Stopping,
    Stopped,
}

/// The router and the threads that run it.
struct RouterParts {
    router: router_proxy::RunningRouter,
    runtime: Runtime,
}

/// Stops the router when it is dropped, unless its parts were taken out to shut it down.
struct RouterGuard(Option<RouterParts>);

/// Starts a router with these options and returns once its ports are bound.
#[pyfunction]
pub(crate) fn start_router(py: Python<'_>, arguments: &Bound<'_, PyDict>) -> PyResult<RunningRouter> {
    let options = options::read(arguments)?;
    py.detach(|| {
        let config = options.check(&registry::registry());
        let config = config.map_err(|error| PyValueError::new_err(error.to_string()))?;
        sgl_router::init_logs(&options).map_err(|error| PyValueError::new_err(error.to_string()))?;
        // Serving has its own threads; this one is for background tasks.
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().thread_name("sgl-router").build();
        let runtime = runtime.map_err(|e| PyRuntimeError::new_err(format!("cannot start threads: {e}")))?;
        let router = runtime.block_on(sgl_router::start(config, options.threads.and_then(NonZeroUsize::new)));
        let router = router.map_err(|error| start_error(&error))?;
        Ok(RunningRouter {
            url: router.url(),
            prometheus_url: router.prometheus_address().map(|address| format!("http://{address}/metrics")),
            state: Mutex::new(RouterState::Running(Box::new(RouterGuard(Some(RouterParts {
                router,
                runtime,
            }))))),
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

    /// Whether it is running.
    #[getter]
    fn running(&self) -> bool {
        matches!(*self.state.lock(), RouterState::Running(_))
    }

    /// Waits until a worker is ready; false if none is in time.
    fn wait_until_ready(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let seconds = Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err(format!("timeout: {seconds} is not a valid time")))?;
        let end = Instant::now().checked_add(seconds);
        loop {
            if self.with(router_proxy::RunningRouter::is_ready)? {
                return Ok(true);
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(false);
            }
            py.detach(|| self.changed.wait_for(&mut self.state.lock(), READY_INTERVAL));
            py.check_signals()?;
        }
    }

    /// Its statistics now.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.with(|router| router.stats()))?;
        stats::to_python(py, &stats)
    }

    /// All workers, as the JSON text of `GET /workers`.
    fn workers(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| self.with(|router| router.workers().to_string()))
    }

    /// Adds a worker; the JSON text of the response to `POST /workers`.
    fn add_worker(&self, py: Python<'_>, spec: &Bound<'_, PyDict>) -> PyResult<String> {
        let spec = to_json("worker", spec)?;
        let KnownFields { value, warnings } = KnownFields::<WorkerSpec>::read(spec.to_string().as_bytes())
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        if let Some(warning) = warnings.first() {
            return Err(PyTypeError::new_err(warning.clone()));
        }
        let added = py.detach(|| self.with_runtime(|parts| parts.router.add_worker(&value)))?;
        added.map(|body| body.to_string()).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Begins to drain a worker; the JSON text of the response to `DELETE /workers/{id}`.
    fn remove_worker(&self, py: Python<'_>, worker: &str) -> PyResult<String> {
        let removed = py.detach(|| self.with_runtime(|parts| parts.router.remove_worker(worker)))?;
        removed.map(|body| body.to_string()).map_err(|error| PyKeyError::new_err(error.to_string()))
    }

    /// The trace of a request in words.
    fn explain(&self, py: Python<'_>, request_id: &str) -> PyResult<String> {
        let trace =
            py.detach(|| self.with_runtime(|parts| parts.runtime.block_on(parts.router.trace(request_id))))?;
        match trace.map_err(|error| PyRuntimeError::new_err(error.to_string()))? {
            Some(trace) => Ok(sgl_router::explain_trace(&trace)),
            None => {
                let problem = format!("no trace of request '{request_id}'; it may be too old");
                Err(PyKeyError::new_err(problem))
            }
        }
    }

    /// Subscribes to the decisions from now on, with a queue of `capacity`.
    fn decisions(&self, capacity: usize) -> PyResult<Decisions> {
        self.with(|router| Decisions::new(router.decisions(capacity)))
    }

    /// Drains requests for the grace period, then aborts the rest; returns how many were aborted. 0 once stopped.
    fn stop(&self, py: Python<'_>) -> PyResult<u64> {
        let taken = std::mem::replace(&mut *self.state.lock(), RouterState::Stopping);
        match taken {
            RouterState::Running(mut inner) => {
                let cut = inner.0.take().map_or(Ok(0), |parts| shut_down(py, parts));
                *self.state.lock() = RouterState::Stopped;
                self.changed.notify_all();
                cut
            }
            RouterState::Stopped => {
                *self.state.lock() = RouterState::Stopped;
                Ok(0)
            }
            // Another thread is stopping it.
            RouterState::Stopping => self.wait(py).map(|()| 0),
        }
    }

    /// Stops at once and aborts running requests. No effect once stopped.
    fn cut(&self, py: Python<'_>) {
        let taken = std::mem::replace(&mut *self.state.lock(), RouterState::Stopped);
        self.changed.notify_all();
        py.detach(|| drop(taken));
    }

    /// Waits until it has stopped.
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let stopped = py.detach(|| {
                let mut state = self.state.lock();
                if !matches!(*state, RouterState::Stopped) {
                    self.changed.wait_for(&mut state, SIGNAL_INTERVAL);
                }
                matches!(*state, RouterState::Stopped)
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
        self.with_parts(|parts| ask(&parts.router))
    }

    /// The same, within the router's runtime, for what starts tasks.
    fn with_runtime<T>(&self, ask: impl FnOnce(&RouterParts) -> T) -> PyResult<T> {
        self.with_parts(|parts| {
            let _entered = parts.runtime.enter();
            ask(parts)
        })
    }

    fn with_parts<T>(&self, ask: impl FnOnce(&RouterParts) -> T) -> PyResult<T> {
        match &*self.state.lock() {
            RouterState::Running(inner) => inner.0.as_ref().map(ask),
            RouterState::Stopping | RouterState::Stopped => None,
        }
        .ok_or_else(|| PyRuntimeError::new_err("the router has stopped"))
    }
}

/// Shuts the router down. Ctrl-C while it drains aborts the requests, as a second signal does on the command line.
fn shut_down(py: Python<'_>, parts: RouterParts) -> PyResult<u64> {
    let RouterParts { router, runtime } = parts;
    let mut shutdown = runtime.spawn(router.shutdown());
    let cut = loop {
        let ended = py.detach(|| runtime.block_on(async { timeout(SIGNAL_INTERVAL, &mut shutdown).await }));
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
    py.detach(|| runtime.shutdown_timeout(THREADS_TIMEOUT));
    cut
}

impl Drop for RouterGuard {
    fn drop(&mut self) {
        if let Some(RouterParts { router, runtime }) = self.0.take() {
            drop(router);
            // Not waited for: a thread may need the GIL, which the caller may hold.
            runtime.shutdown_background();
        }
    }
}

//! Starting and stopping emulated servers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{EmulatorConfig, ServerRole, SglangVersion};
use crate::engine_task::driver::{EngineDriver, EngineStats};
use crate::faults::Fault;
use crate::kv_transfer;
use crate::server::listener;
use crate::state::ServerState;

/// Starts emulated servers.
#[derive(Debug)]
pub struct Emulator;

impl Emulator {
    /// Binds the address and serves until the handle is dropped or shut down. Needs a tokio runtime with time
    /// and I/O.
    ///
    /// # Errors
    /// The error of binding an address, or a gRPC port of a server that has none.
    pub async fn start(mut config: EmulatorConfig) -> io::Result<RunningEmulator> {
        let listener = TcpListener::bind(config.listen).await?;
        let addr = listener.local_addr()?;
        config.listen = addr;
        let meetings = if config.role == ServerRole::Prefill {
            let meetings = TcpListener::bind((addr.ip(), config.bootstrap_port)).await?;
            config.bootstrap_port = meetings.local_addr()?.port();
            Some(meetings)
        } else {
            None
        };
        let calls = bind_grpc(&mut config).await?;
        let server = ServerState::new(config, addr.port());
        let stop = CancellationToken::new();
        let accept =
            tokio::spawn(listener::run(server.clone(), listener, addr, stop.clone(), listener::http1));
        let mut tasks = vec![accept];
        #[cfg(feature = "grpc")]
        if let Some((calls, addr)) = calls {
            let serve = crate::grpc::connection::run;
            tasks.push(tokio::spawn(listener::run(server.clone(), calls, addr, stop.clone(), serve)));
        }
        #[cfg(not(feature = "grpc"))]
        drop(calls);
        for rank in server.ranks().iter().cloned() {
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move {
                tokio::select! {
                    () = rank.run() => {}
                    () = stop.cancelled() => {}
                }
            }));
        }
        if let Some(meetings) = meetings {
            tasks.push(tokio::spawn(kv_transfer::run(Arc::clone(server.handover()), meetings, stop.clone())));
        }
        Ok(RunningEmulator { server, addr, tasks, stop: stop.drop_guard() })
    }
}

/// Binds the gRPC port of a server that has one, and sets its number.
async fn bind_grpc(config: &mut EmulatorConfig) -> io::Result<Option<(TcpListener, SocketAddr)>> {
    let Some(port) = config.grpc_port else { return Ok(None) };
    if config.version == SglangVersion::Classic {
        let problem = "SGLang 0.4 does not serve gRPC, 0.5.23 (stock) does";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    if !cfg!(feature = "grpc") {
        let problem = "gRPC is not in this build: the feature `grpc` is off";
        return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
    }
    let addr = SocketAddr::new(config.listen.ip(), port);
    let listener = TcpListener::bind(addr)
        .await
        .map_err(|e| io::Error::new(e.kind(), format!("the gRPC port {port} cannot be bound: {e}")))?;
    let addr = listener.local_addr()?;
    config.grpc_port = Some(addr.port());
    Ok(Some((listener, addr)))
}

/// A running emulated server. Dropping it stops it.
#[derive(Debug)]
pub struct RunningEmulator {
    server: Arc<ServerState>,
    addr: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
    stop: DropGuard,
}

impl RunningEmulator {
    /// Base URL, e.g. `http://127.0.0.1:30001`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// URL of its gRPC port, e.g. `grpc://127.0.0.1:31001`, where it has one.
    pub fn grpc_url(&self) -> Option<String> {
        let config = self.server.config();
        config.grpc_port.map(|port| format!("grpc://{}", SocketAddr::new(config.listen.ip(), port)))
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its configuration, with the ports it got.
    pub fn config(&self) -> &EmulatorConfig {
        self.server.config()
    }

    /// Totals and present load; the counts are those of all ranks, the engine's own figures those of the first.
    pub fn stats(&self) -> EngineStats {
        let mut ranks = self.rank_stats().into_iter();
        let first = ranks.next().unwrap_or_else(|| self.server.driver().stats());
        ranks.fold(first, EngineStats::and)
    }

    /// Totals and present load of each data-parallel rank.
    pub fn rank_stats(&self) -> Vec<EngineStats> {
        self.server.ranks().iter().map(EngineDriver::stats).collect()
    }

    /// Activates a fault, replacing the active one. Must be called within the runtime.
    pub fn set_fault(&self, fault: Fault) {
        self.server.set_fault(fault);
    }

    /// Ends the active fault.
    pub fn clear_fault(&self) {
        self.server.clear_fault();
    }

    /// Closes the listener and every connection, and waits until they are closed.
    pub async fn shutdown(self) {
        drop(self.stop);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

//! Starting and stopping emulated servers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{EmulatorConfig, ServerRole};
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
    /// The error of binding the address.
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
        let server = ServerState::new(config, addr.port());
        let stop = CancellationToken::new();
        let accept = tokio::spawn(listener::run(server.clone(), listener, addr, stop.clone()));
        let mut tasks = vec![accept];
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

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its configuration, with the port it got.
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

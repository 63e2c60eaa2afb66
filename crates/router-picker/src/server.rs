//! The ports of a picker: connections of gateways, over plain TCP or TLS, until the router stops.

use crate::destination::WorkerEndpoints;
use crate::picker_state::PickerState;
use crate::services::{Services, serve};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use router_config::CertificateFiles;
use router_proxy::{AlpnProtocols, Hosting, RunningRouter, ServerTls, TlsError, watch_certificate};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// How often an idle connection is asked whether its gateway is there, and how long the answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Time limit of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a connection could not be accepted, usually because the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a gateway may send before it is read, in bytes: of one request, and of all requests of a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// How a picker serves gateways.
#[derive(Clone, Debug)]
pub struct PickerConfig {
    /// The address of the external processor and of the health service.
    pub listen: SocketAddr,
    /// A further address of the health service, without TLS; `None` for none.
    pub health: Option<SocketAddr>,
    /// The certificate for `listen`; `None` for plain TCP.
    pub tls: Option<CertificateFiles>,
    /// Endpoints that are named beside the chosen one, for retries of the gateway.
    pub fallbacks: usize,
}

/// Why a picker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum PickerError {
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A picker that serves, for as long as its router runs.
#[derive(Clone, Copy, Debug)]
pub struct Picker {
    address: SocketAddr,
    health: Option<SocketAddr>,
}

impl Picker {
    /// Serves gateways from the routing of `router`, and stops with it.
    ///
    /// # Errors
    /// When a port cannot be bound, or the certificate cannot be used.
    pub async fn start(router: &RunningRouter, config: PickerConfig) -> Result<Self, PickerError> {
        let tls = config.tls.map(|files| ServerTls::load(files, AlpnProtocols::Http2)).transpose()?;
        let main = bind(config.listen).await?;
        let health = match config.health {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let picker = Self {
            address: main.local_addr().unwrap_or(config.listen),
            health: health.as_ref().and_then(|listener| listener.local_addr().ok()),
        };
        let state = Arc::new(PickerState {
            routing: router.routing(),
            endpoints: WorkerEndpoints::default(),
            fallbacks: config.fallbacks,
        });
        let hosting = router.hosting();
        if let Some(tls) = tls.clone() {
            hosting.tasks.spawn(watch_certificate(tls, hosting.graceful.clone()));
        }
        let port = Port { state: Arc::clone(&state), services: Services::All, tls, hosting: hosting.clone() };
        hosting.tasks.spawn(accept(main, port));
        if let Some(listener) = health {
            let port = Port { state, services: Services::Health, tls: None, hosting: hosting.clone() };
            hosting.tasks.spawn(accept(listener, port));
        }
        Ok(picker)
    }

    /// Where gateways find it.
    pub const fn address(self) -> SocketAddr {
        self.address
    }

    /// Where the health service alone is, if it has a port of its own.
    pub const fn health_address(self) -> Option<SocketAddr> {
        self.health
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, PickerError> {
    TcpListener::bind(address).await.map_err(|source| PickerError::Bind { address, source })
}

/// What the connections of one port share.
#[derive(Clone, Debug)]
struct Port {
    state: Arc<PickerState>,
    services: Services,
    tls: Option<ServerTls>,
    hosting: Hosting,
}

async fn accept(listener: TcpListener, port: Port) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = port.hosting.graceful.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let hosting = port.hosting.clone();
                let port = port.clone();
                let connect = async move {
                    // A thread of its own has its own registry of sockets.
                    if let Ok(stream) = stream.into_std().and_then(TcpStream::from_std) {
                        secure(stream, port).await;
                    }
                };
                hosting.threads.spawn_connection(&hosting.tasks, connect);
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Shakes hands where there is a certificate, and serves the connection.
async fn secure(stream: TcpStream, port: Port) {
    // Without it, answers wait for acknowledgements; where it cannot be set, they are late.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &port.tls else { return run(stream, port).await };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => run(stream, port).await,
        Ok(Err(error)) => tracing::debug!(%error, "a gateway's TLS handshake failed"),
        Err(_) => tracing::debug!("a gateway's TLS handshake took too long"),
    }
}

/// Serves one connection until it or the router ends.
async fn run(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, port: Port) {
    let Port { state, services, hosting, .. } = port;
    let service = service_fn(move |request| serve(Arc::clone(&state), services, request));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // A gateway has one stream for each of its requests; the limits of the router bound them.
        .max_concurrent_streams(None);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut is_closing = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a gateway's connection broke");
                }
                return;
            }
            () = hosting.force.cancelled() => return,
            () = hosting.graceful.cancelled(), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

//! What all connections of one port have in common.

use router_config::{ClientTimeouts, Http2Config};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Largest request head, in bytes; a larger one gets 431. hyper checks the size of an HTTP/1.1 head between two reads, so one
/// that arrives fast may have up to twice as many bytes.
pub(super) const MAX_HEAD: u32 = 64 << 10;

/// How long a connection that is cut may take to say so.
pub(super) const FAREWELL: Duration = Duration::from_millis(500);

/// Settings of all connections of one port.
pub(super) struct ConnectionConfig {
    pub(super) timeouts: ClientTimeouts,
    /// HTTP/2; absent where only HTTP/1.1 is served.
    pub(super) http2: Option<Http2Config>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) shutdown: Shutdown,
}

impl std::fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnectionConfig({:?}, {:?})", self.timeouts, self.http2)
    }
}

/// Tokens by which the router stops.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    /// Stops accepting connections and requests; requests in flight go on.
    pub(crate) graceful: CancellationToken,
    /// Closes all connections at once.
    pub(crate) force: CancellationToken,
}

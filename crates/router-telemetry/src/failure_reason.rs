//! Why a worker cannot be used, as metrics, logs and the admin API show it.

/// Why a health check or a connection failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureReason {
    /// Its name cannot be resolved.
    Dns,
    /// It refuses connections: no process listens there.
    ConnectionRefused,
    /// None of its addresses answered in time.
    ConnectTimeout,
    /// The network does not reach it.
    Unreachable,
    /// Its certificate is refused.
    Certificate,
    /// The TLS handshake failed for another reason.
    Tls,
    /// It closed the connection before its response was complete.
    Disconnected,
    /// Its response is not HTTP/1.1.
    InvalidResponse,
    /// It responded with an error status.
    Status,
    /// It did not respond in time.
    Timeout,
    /// It has requests in flight, and neither they nor the check received a byte.
    Silent,
}

impl FailureReason {
    /// All reasons.
    pub const ALL: [Self; 11] = [
        Self::Dns,
        Self::ConnectionRefused,
        Self::ConnectTimeout,
        Self::Unreachable,
        Self::Certificate,
        Self::Tls,
        Self::Disconnected,
        Self::InvalidResponse,
        Self::Status,
        Self::Timeout,
        Self::Silent,
    ];

    /// The name of the reason in admin responses, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Unreachable => "unreachable",
            Self::Certificate => "certificate",
            Self::Tls => "tls",
            Self::Disconnected => "disconnected",
            Self::InvalidResponse => "invalid_response",
            Self::Status => "status",
            Self::Timeout => "timeout",
            Self::Silent => "silent",
        }
    }
}

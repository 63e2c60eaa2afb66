//! Why there is no connection to a worker. It has seen nothing of the request then.

use crate::happy_eyeballs::FailedAddresses;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why there is no connection to a worker.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its name has no address.
    #[error("the name '{name}' cannot be resolved: {error}")]
    Resolve {
        /// The name.
        name: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// None of its addresses took the connection.
    #[error("{}", Tried(tried, *timeout))]
    NoAddress {
        /// All that were tried, and why each failed.
        tried: FailedAddresses,
        /// How long they were waited for.
        timeout: Duration,
    },
    /// Its certificate is not accepted.
    #[error("its certificate is refused: {0}")]
    Certificate(rustls::CertificateError),
    /// The TLS handshake failed for another reason.
    #[error("the TLS handshake failed: {error}{}", hint(error))]
    Handshake {
        /// The reason.
        error: io::Error,
    },
    /// The TLS handshake did not end in time.
    #[error("the TLS handshake did not end within {} s", .0.as_secs_f64())]
    HandshakeTimeout(Duration),
}

impl ConnectError {
    /// What the failure of a TLS handshake means.
    pub(crate) fn of_handshake(error: io::Error) -> Self {
        match rustls_error(&error) {
            Some(rustls::Error::InvalidCertificate(refusal)) => Self::Certificate(refusal.clone()),
            _ => Self::Handshake { error },
        }
    }

    /// Whether every address refused the connection: no process listens there.
    pub fn is_refused(&self) -> bool {
        let refused = |error: &Option<io::Error>| {
            error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        matches!(self, Self::NoAddress { tried, .. } if tried.iter().all(|(_, error)| refused(error)))
    }

    /// Whether an address did not answer in time.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::NoAddress { tried, .. } => tried.iter().any(|(_, error)| error.is_none()),
            Self::HandshakeTimeout(_) => true,
            Self::Resolve { .. } | Self::Certificate(_) | Self::Handshake { .. } => false,
        }
    }
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What to do about a failed handshake, where that is plain.
fn hint(error: &io::Error) -> &'static str {
    match rustls_error(error) {
        Some(rustls::Error::InvalidMessage(_)) => " (the port does not speak TLS: http:// instead of https://?)",
        _ => "",
    }
}

/// The addresses that were tried, with the cause of each.
struct Tried<'a>(&'a FailedAddresses, Duration);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (address, error)) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            match error {
                Some(error) => write!(f, "{separator}{address}: {error}")?,
                None => write!(f, "{separator}{address}: no answer within {} s", self.1.as_secs_f64())?,
            }
        }
        Ok(())
    }
}

//! Why there is no connection to a worker. It has seen nothing of the request then.

use crate::happy_eyeballs::FailedAddresses;
use rustls::{CertificateError, InvalidMessage};
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
    #[error("its certificate is refused: {}", refusal(.0))]
    Certificate(io::Error),
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
        let example = CertificateError::UnknownIssuer;
        let detail = example.to_string();
        if is_like(&error, &rustls::Error::InvalidCertificate(example), &detail) {
            Self::Certificate(error)
        } else {
            Self::Handshake { error }
        }
    }

    /// Whether every address refused the connection: no process listens there.
    pub(crate) fn is_refused(&self) -> bool {
        let refused = |error: &Option<io::Error>| {
            error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        matches!(self, Self::NoAddress { tried, .. } if tried.iter().all(|(_, error)| refused(error)))
    }

    /// Whether an address did not answer in time.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::NoAddress { tried, .. } => tried
                .iter()
                .any(|(_, error)| error.as_ref().is_none_or(|error| error.kind() == io::ErrorKind::TimedOut)),
            _ => false,
        }
    }
}

/// Why a certificate is refused, and what to do about it where that is plain.
fn refusal(error: &io::Error) -> String {
    let text = error.to_string();
    let is_untrusted = [CertificateError::UnknownIssuer, CertificateError::BadSignature]
        .into_iter()
        .any(|refusal| text == rustls::Error::InvalidCertificate(refusal).to_string());
    if is_untrusted {
        return "no authority in --ca-cert-paths, or in the system's list without it, has signed it"
            .to_owned();
    }
    text
}

/// What to do about a failed handshake, where that is plain.
fn hint(error: &io::Error) -> &'static str {
    let example = InvalidMessage::InvalidContentType;
    if is_like(error, &rustls::Error::InvalidMessage(example), &format!("{example:?}")) {
        " (the port does not speak TLS: http:// instead of https://, or grpc:// instead of grpcs://?)"
    } else {
        ""
    }
}

/// Whether a handshake failed in the same way as `example`, whose text ends in `detail`. The handshake's error is rustls'
/// as text.
fn is_like(error: &io::Error, example: &rustls::Error, detail: &str) -> bool {
    let example = example.to_string();
    example.strip_suffix(detail).is_some_and(|start| error.to_string().starts_with(start))
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

//! The router's own address, which cannot be a worker's.

use crate::worker_url::WorkerUrl;
use std::net::IpAddr;

/// Where the router listens: the host as it is configured, and the port that is bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnAddress {
    /// A name or an IP address.
    pub host: String,
    /// The port; 0 while it is not known.
    pub port: u16,
}

/// A worker's URL leads back to the router.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("worker '{0}' is the router's own address: it would forward to itself")]
pub struct OwnAddressError(WorkerUrl);

impl OwnAddress {
    /// Checks that a worker's URL does not name this address. Another name of this machine is not recognised.
    ///
    /// # Errors
    /// When it does.
    pub fn check(&self, url: &WorkerUrl) -> Result<(), OwnAddressError> {
        if self.is(url) { Err(OwnAddressError(url.clone())) } else { Ok(()) }
    }

    fn is(&self, url: &WorkerUrl) -> bool {
        let Ok(uri) = url.uri() else { return false };
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let (host, own) = (bare(uri.host().unwrap_or_default()), bare(&self.host));
        self.port != 0
            && uri.port_u16().unwrap_or(default_port) == self.port
            && (host.eq_ignore_ascii_case(own) || (is_local(host) && is_local(own)))
    }
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.trim_matches(['[', ']'])
}

/// Whether a connection to this host, or a listener on it, is of this machine's loopback interface. A listener on all
/// addresses is, and so is a connection to the unspecified address.
fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_listener_are_recognised() {
        for (host, port, url, is_own) in [
            ("127.0.0.1", 30000, "http://localhost:30000", true),
            ("0.0.0.0", 30000, "http://127.0.0.1:30000/v1", true),
            ("0.0.0.0", 30000, "http://0.0.0.0:30000", true),
            ("::", 30000, "http://[::1]:30000", true),
            ("gpu-1", 80, "http://GPU-1", true),
            ("gpu-1", 443, "https://gpu-1", true),
            ("127.0.0.1", 30000, "http://localhost:30001", false),
            ("10.0.0.1", 30000, "http://localhost:30000", false),
            ("127.0.0.1", 0, "http://localhost:80", false),
        ] {
            let own = OwnAddress { host: host.to_owned(), port };
            assert_eq!(own.check(&url.parse().unwrap()).is_err(), is_own, "{host}:{port} {url}");
        }
    }
}

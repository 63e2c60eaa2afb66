//! The router or engine that requests are sent to.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri};
use std::net::SocketAddr;

/// Why a target is not valid.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is not a URL.
    #[error("'{url}' is not a URL of the form http://HOST:PORT")]
    NotAUrl {
        /// As given.
        url: String,
    },
    /// Its host has no address.
    #[error("cannot look up '{host}': {source}")]
    Unknown {
        /// The host and port.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// A header name or value that HTTP does not allow.
    #[error("'{0}' is not a header of the form NAME: VALUE")]
    BadHeader(String),
}

/// One router or engine.
#[derive(Clone, Debug)]
pub struct LoadTarget {
    pub(crate) addresses: Vec<SocketAddr>,
    /// As in the URL, for messages.
    pub(crate) host: String,
    /// Path before those of the endpoints; without a slash at its end.
    pub(crate) base: String,
    pub(crate) headers: HeaderMap,
}

impl LoadTarget {
    /// The target at `url`, its name looked up once.
    ///
    /// # Errors
    /// The URL is not plain HTTP, or its host has no address.
    pub async fn resolve(url: &str) -> Result<Self, TargetError> {
        let wrong = || TargetError::NotAUrl { url: url.to_owned() };
        let parsed: Uri = url.parse().map_err(|_| wrong())?;
        let authority = parsed.authority().filter(|a| !a.as_str().contains('@')).ok_or_else(wrong)?;
        if parsed.scheme() != Some(&uri::Scheme::HTTP) || parsed.query().is_some() {
            return Err(wrong());
        }
        let port = parsed.port_u16().unwrap_or(80);
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        let host = authority.as_str().to_owned();
        let unknown = |source| TargetError::Unknown { host: host.clone(), source };
        let addresses: Vec<_> = tokio::net::lookup_host((name, port)).await.map_err(unknown)?.collect();
        if addresses.is_empty() {
            return Err(unknown(std::io::ErrorKind::NotFound.into()));
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(|_| wrong())?);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let base = parsed.path().trim_end_matches('/').to_owned();
        Ok(Self { addresses, host, base, headers })
    }

    /// Sends the header `line` (`NAME: VALUE`) with every request, replacing one of the same name.
    ///
    /// # Errors
    /// It is not a header.
    pub fn with_header(mut self, line: &str) -> Result<Self, TargetError> {
        // The value may be a secret, so only the name is repeated to the user.
        let wrong = |name: &str| TargetError::BadHeader(name.to_owned());
        let (name, value) = line.split_once(':').ok_or_else(|| wrong(line))?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong(name))?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong(name))?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Sends `key` as a bearer token with every request.
    ///
    /// # Errors
    /// It holds characters that are not allowed in a header.
    pub fn with_api_key(mut self, key: &str) -> Result<Self, TargetError> {
        let value = HeaderValue::from_str(&format!("Bearer {key}"));
        let mut value = value.map_err(|_| TargetError::BadHeader("authorization".to_owned()))?;
        value.set_sensitive(true);
        self.headers.insert(header::AUTHORIZATION, value);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(url: &str) -> Result<LoadTarget, TargetError> {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(LoadTarget::resolve(url))
    }

    #[test]
    fn http_url_keeps_its_path() {
        let target = resolve("http://127.0.0.1:30000/behind/").unwrap();
        assert_eq!((target.base.as_str(), target.addresses[0].port()), ("/behind", 30000));
        assert_eq!(target.headers[header::HOST], "127.0.0.1:30000");
        assert_eq!(resolve("http://[::1]").unwrap().addresses[0].port(), 80);
        for wrong in ["", "127.0.0.1:30000", "https://127.0.0.1", "http://", "http://u@h", "http://h/?q"] {
            assert!(matches!(resolve(wrong), Err(TargetError::NotAUrl { .. })), "{wrong}");
        }
    }

    #[test]
    fn bad_header_error_hides_value() {
        let target = resolve("http://127.0.0.1").unwrap();
        let target = target.with_header("X-User: 7").unwrap().with_api_key("k").unwrap();
        assert_eq!(target.headers["x-user"], "7");
        assert_eq!(target.headers["authorization"], "Bearer k");
        let error = target.with_header("bad name: secret").unwrap_err().to_string();
        assert!(error.contains("bad name") && !error.contains("secret"), "{error}");
    }
}

//! The base URL of a worker, parsed once where it enters the router.

use http::Uri;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not a worker URL. The message contains the text.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("worker URL '{url}': {problem}")]
pub struct WorkerUrlError {
    url: String,
    problem: &'static str,
}

/// The base URL of a worker: `http://host:port` or `https://host:port`, optionally with a path that is put before every request's path,
/// or `grpc://host:port` or `grpcs://host:port` for the gRPC service of an SGLang server.
///
/// URLs are normalized: case of the host, a trailing slash and a default port make no difference.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerUrl {
    text: Arc<str>,
}

impl WorkerUrl {
    /// The normalized URL, without a trailing slash: the worker's name everywhere.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The normalized URL, without a copy.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// The URL as [`http::Uri`].
    ///
    /// # Errors
    /// Never in practice: parsing the URL has checked this too.
    pub fn uri(&self) -> Result<Uri, http::uri::InvalidUri> {
        Uri::from_str(&self.text)
    }

    /// Whether the worker is reached by its gRPC service.
    pub fn is_grpc(&self) -> bool {
        self.text.starts_with("grpc")
    }

    /// The same address by gRPC.
    ///
    /// # Errors
    /// When it has a path, or no port.
    pub fn by_grpc(&self) -> Result<Self, WorkerUrlError> {
        if self.is_grpc() { Ok(self.clone()) } else { self.text.replacen("http", "grpc", 1).parse() }
    }
}

impl FromStr for WorkerUrl {
    type Err = WorkerUrlError;

    fn from_str(text: &str) -> Result<Self, WorkerUrlError> {
        let fail = |problem| WorkerUrlError { url: text.to_owned(), problem };
        if text.trim().is_empty() {
            return Err(fail("is empty"));
        }
        if !text.contains("://") {
            return Err(fail("has no scheme; write http://HOST:PORT"));
        }
        let given = url::Url::parse(text).map_err(|_| fail("is not a URL; write http://HOST:PORT"))?;
        let is_grpc = matches!(given.scheme(), "grpc" | "grpcs");
        // Hosts are normalized for the schemes of HTTP only.
        let url = if is_grpc {
            url::Url::parse(&given.as_str().replacen("grpc", "http", 1))
        } else {
            Ok(given.clone())
        };
        let url = url.map_err(|_| fail("is not a URL; write http://HOST:PORT"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(fail("the scheme must be http, https, grpc or grpcs"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(fail("has no host"));
        }
        if url.port() == Some(0) {
            return Err(fail("port 0 is not allowed"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fail("must not carry a user or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(fail("must not carry a query or fragment"));
        }
        let text = if is_grpc {
            if !matches!(url.path(), "" | "/") {
                return Err(fail("must not carry a path: gRPC has none"));
            }
            let port = given.port().ok_or_else(|| fail("has no port; write grpc://HOST:PORT"))?;
            format!("{}://{}:{port}", given.scheme(), url.host_str().unwrap_or_default())
        } else {
            url.as_str().trim_end_matches('/').to_owned()
        };
        let url = Self { text: text.into() };
        url.uri().map_err(|_| fail("is not a URL; write http://HOST:PORT"))?;
        Ok(url)
    }
}

impl fmt::Display for WorkerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for WorkerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(text: &str) -> WorkerUrl {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn normalized_urls_are_equal() {
        assert_eq!(ok("http://127.0.0.1:30001"), ok("http://127.0.0.1:30001/"));
        assert_eq!(ok("http://GPU-1:80"), ok("http://gpu-1"));
        assert_eq!(ok("http://[::1]:30001").as_str(), "http://[::1]:30001");
        assert_eq!(ok("GRPC://GPU-1:80/").as_str(), "grpc://gpu-1:80");
        assert_eq!(ok("grpcs://[::1]:30001").as_str(), "grpcs://[::1]:30001");
        assert_ne!(ok("grpc://a:1"), ok("http://a:1"));
        assert_eq!(ok("https://a:1").by_grpc().unwrap(), ok("grpcs://a:1"));
    }

    #[test]
    fn errors_contain_the_url() {
        for bad in [
            "",
            "localhost:3000",
            "127.0.0.1",
            "ftp://a",
            "http://",
            "http://a:0",
            "http://u:p@a",
            "http://a?x",
            "grpc://a",
            "grpc://a:0",
            "grpc://a:1/v1",
            "grpcs://u:p@a:1",
            "grpc://",
            "http://a:99999",
        ] {
            let error = bad.parse::<WorkerUrl>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("worker URL '{bad}': ")), "{error}");
        }
    }
}

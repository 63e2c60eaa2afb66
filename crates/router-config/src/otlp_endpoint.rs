//! Address of the OpenTelemetry collector.

use std::fmt;
use std::str::FromStr;

/// Why a text is not the address of a collector.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{text}' {problem}")]
pub struct OtlpEndpointError {
    text: String,
    problem: &'static str,
}

/// The address of an OpenTelemetry collector: `host:port` or `http://host:port` for OTLP over gRPC, and an `http` URL
/// with a path, such as `http://host:4318/v1/traces`, for OTLP over HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OtlpEndpoint {
    /// OTLP over gRPC: URL without a path.
    Grpc(String),
    /// OTLP over HTTP with protobuf bodies: URL of the POST requests.
    Http(String),
}

impl OtlpEndpoint {
    fn url(&self) -> &str {
        match self {
            Self::Grpc(url) | Self::Http(url) => url,
        }
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url())
    }
}

impl FromStr for OtlpEndpoint {
    type Err = OtlpEndpointError;

    fn from_str(text: &str) -> Result<Self, OtlpEndpointError> {
        let fail = |problem| OtlpEndpointError { text: text.to_owned(), problem };
        let bare = !text.contains("://");
        let url = if bare { format!("http://{text}") } else { text.to_owned() };
        let url = url::Url::parse(&url).map_err(|_| fail("is not an address; write HOST:PORT"))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(fail("needs TLS, which is not supported; use a collector on this machine"));
            }
            _ => return Err(fail("must be HOST:PORT or an http URL")),
        }
        if url.port() == Some(0) {
            return Err(fail("has port 0, which is not allowed"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(fail("must not carry a user, password or fragment"));
        }
        // The parsed URL leaves out port 80, so the text is checked.
        let has_port =
            text.trim_end_matches('/').rsplit_once(':').is_some_and(|(_, p)| p.parse::<u16>().is_ok());
        match (url.path(), url.query()) {
            ("/", None) if bare && !has_port => Err(fail("has no port; OTLP over gRPC is usually on 4317")),
            ("/", None) => Ok(Self::Grpc(url.as_str().trim_end_matches('/').to_owned())),
            _ if bare => Err(fail("has a path; for OTLP over HTTP write http:// before it")),
            _ => Ok(Self::Http(url.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_with_path_is_http() {
        let grpc = |url: &str| Ok(OtlpEndpoint::Grpc(url.to_owned()));
        for (text, endpoint) in [
            ("localhost:4317", grpc("http://localhost:4317")),
            ("collector:80", grpc("http://collector")),
            ("[::1]:4317", grpc("http://[::1]:4317")),
            ("http://10.0.0.1:4317", grpc("http://10.0.0.1:4317")),
            ("http://collector:4317/", grpc("http://collector:4317")),
            ("http://c:4318/v1/traces", Ok(OtlpEndpoint::Http("http://c:4318/v1/traces".to_owned()))),
        ] {
            assert_eq!(text.parse::<OtlpEndpoint>(), endpoint, "{text}");
        }
    }

    #[test]
    fn invalid_address_is_named() {
        for text in [
            "",
            "localhost",
            "[::1]",
            "localhost:x",
            "c:0",
            "c:4318/v1/traces",
            "https://c:4317",
            "http://u:p@c:1",
        ] {
            let error = text.parse::<OtlpEndpoint>().expect_err(text);
            assert!(error.to_string().starts_with(&format!("'{text}' ")), "{error}");
        }
    }
}

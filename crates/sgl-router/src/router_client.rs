//! Requests of commands to a running router.

use crate::clean_text::clean;
use crate::error::CommandError;
use bytes::Bytes;
use clap::Args;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use router_config::{Secret, WorkerSpec, WorkerTlsFiles};
use router_upstream::tls::WorkerTls;
use router_upstream::{ConnectConfig, Worker, WorkerConnection, root_cause, standalone_worker};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Time limit to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit of one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where the router is, and the key for it.
#[derive(Debug, Args)]
pub(crate) struct RouterArgs {
    /// Base URL of the router; of its admin port, where it has one
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:30000")]
    url: String,

    /// Admin key of the router
    #[arg(long, global = true, value_name = "KEY", env = "SGL_ROUTER_ADMIN_API_KEY", hide_env_values = true)]
    api_key: Option<Secret>,

    /// Certificate authorities trusted for an https router, PEM; repeatable; default: the system's
    #[arg(long, global = true, value_name = "FILE")]
    ca_cert_paths: Vec<PathBuf>,
}

/// A running router.
#[derive(Debug)]
pub(crate) struct RouterClient {
    server: Worker,
}

/// The body of an answer that goes on, such as a stream of events.
#[derive(Debug)]
pub(crate) struct RouterStream {
    connection: WorkerConnection,
}

/// What the router answered, with a status that is no error.
#[derive(Debug)]
pub(crate) struct RouterReply {
    pub(crate) body: Value,
}

/// Why the router did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouterClientError {
    #[error("cannot reach the router at {url}: {cause}; --url names another")]
    Unreachable { url: String, cause: String },
    #[error("the router at {url} wants another key (401): give --api-key, or set SGL_ROUTER_ADMIN_API_KEY")]
    Key { url: String },
    #[error("the router at {url} refused ({status}): {message}")]
    Refused { url: String, status: u16, message: String },
    #[error("the answer of {url} is not that of a router: {problem}")]
    NoRouter { url: String, problem: String },
}

impl RouterClientError {
    /// Whether what was asked for is not there.
    pub(crate) const fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

impl From<RouterClientError> for CommandError {
    fn from(error: RouterClientError) -> Self {
        Self::runtime(error)
    }
}

impl RouterClient {
    /// The router that the flags name.
    ///
    /// # Errors
    /// When the URL, the key or a certificate cannot be used.
    pub(crate) fn new(args: &RouterArgs) -> Result<Self, CommandError> {
        let files = WorkerTlsFiles { authorities: args.ca_cert_paths.clone(), identity: None };
        let tls = WorkerTls::load(files).map_err(CommandError::flag("--ca-cert-paths"))?;
        let connect = ConnectConfig { connect_timeout: CONNECT_TIMEOUT, tls: Arc::new(tls) };
        let spec =
            WorkerSpec { url: args.url.clone(), api_key: args.api_key.clone(), ..WorkerSpec::default() };
        let server = standalone_worker(&spec, connect).map_err(|error| {
            let problem = error.to_string();
            CommandError::flag("--url")(problem.trim_start_matches("worker URL ").to_owned())
        })?;
        Ok(Self { server })
    }

    /// Sends a request, with a JSON body if there is one.
    ///
    /// # Errors
    /// When the router cannot be reached or refuses.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<RouterReply, RouterClientError> {
        let target = self.target(path)?;
        let mut headers = accepting("application/json");
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let text = body.map(Value::to_string).unwrap_or_default();
        let sent =
            router_upstream::request(&self.server, &method, &target, &headers, text.into(), TIMEOUT).await;
        let (status, bytes) = sent.map_err(|error| self.unreachable(&error.to_string()))?;
        if !status.is_success() {
            return Err(self.refusal(status, &bytes));
        }
        let body = serde_json::from_slice::<Value>(&bytes);
        let body = body.map_err(|e| self.no_router(format!("{path} is no JSON: {e}")))?;
        Ok(RouterReply { body })
    }

    /// Begins to read a stream of events.
    ///
    /// # Errors
    /// When the router cannot be reached, refuses, or answers with anything else.
    pub(crate) async fn events(&self, path: &str) -> Result<RouterStream, RouterClientError> {
        /// The type of a stream of events.
        const EVENTS: &str = "text/event-stream";
        let target = self.target(path)?;
        let mut head = self.server.request(&Method::GET, &target, Bytes::new());
        head.forward(&accepting(EVENTS));
        let sent = tokio::time::timeout(TIMEOUT, self.server.transport.send(head.finish())).await;
        let sent = sent.map_err(|_| self.unreachable(&format!("no response within {} s", TIMEOUT.as_secs())));
        let (parts, connection) = sent?.map_err(|error| self.unreachable(&root_cause(&error)))?;
        let stream = RouterStream { connection };
        if !parts.status.is_success() {
            return Err(self.refusal(parts.status, &stream.short_rest().await));
        }
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with(EVENTS)) {
            return Err(self.no_router(format!("{path} is no stream of events")));
        }
        Ok(stream)
    }

    fn target(&self, path: &str) -> Result<PathAndQuery, RouterClientError> {
        path.parse().map_err(|e| self.no_router(format!("{path}: {e}")))
    }

    fn unreachable(&self, cause: &str) -> RouterClientError {
        RouterClientError::Unreachable { url: self.url(), cause: clean(cause) }
    }

    fn no_router(&self, problem: String) -> RouterClientError {
        RouterClientError::NoRouter { url: self.url(), problem }
    }

    /// The error for an answer with a status that is one.
    fn refusal(&self, status: StatusCode, body: &[u8]) -> RouterClientError {
        if status == StatusCode::UNAUTHORIZED {
            return RouterClientError::Key { url: self.url() };
        }
        let parsed = serde_json::from_slice::<Value>(body).ok();
        let message = parsed.and_then(|body| message_of(&body)).unwrap_or_else(|| {
            let text = String::from_utf8_lossy(body).trim().chars().take(200).collect::<String>();
            if text.is_empty() { "no reason given".to_owned() } else { text }
        });
        RouterClientError::Refused { url: self.url(), status: status.as_u16(), message: clean(&message) }
    }

    /// The base URL of the router.
    pub(crate) fn url(&self) -> String {
        self.server.url.to_string()
    }
}

impl RouterStream {
    /// Bytes of a refusal that are read at most.
    const REFUSAL: usize = 64 << 10;

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        while let Some(frame) = self.connection.frame().await {
            // Trailers say nothing.
            if let Ok(data) = frame.map_err(|error| root_cause(&error))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The rest of the body, as far as it comes soon and is short.
    async fn short_rest(mut self) -> Vec<u8> {
        let mut body = Vec::new();
        let read = async {
            while let Ok(Some(data)) = self.next().await {
                body.extend_from_slice(&data);
                if body.len() > Self::REFUSAL {
                    return;
                }
            }
        };
        // What came until then says enough.
        let _ = tokio::time::timeout(CONNECT_TIMEOUT, read).await;
        body
    }
}

fn accepting(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(kind))])
}

/// The message of an error body: `{"error": {"message": "..."}}` or `{"error": "..."}`.
fn message_of(body: &Value) -> Option<String> {
    let error = body.get("error")?;
    error.get("message").unwrap_or(error).as_str().map(str::to_owned)
}

/// Any text as one part of a path.
pub(crate) fn path_part(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut part, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            part.push(char::from(byte));
        } else {
            let _ = write!(part, "%{byte:02X}");
        }
        part
    })
}

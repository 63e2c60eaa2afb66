//! Requests of commands to a running router.

use crate::error::CommandError;
use clap::Args;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use router_config::{Secret, WorkerSpec, WorkerTlsFiles};
use router_upstream::tls::WorkerTls;
use router_upstream::{ConnectConfig, Worker, standalone_worker};
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
        let url = || self.server.url.to_string();
        let no_router = |problem: String| RouterClientError::NoRouter { url: url(), problem };
        let target = path.parse().map_err(|e| no_router(format!("{path}: {e}")))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let text = body.map(Value::to_string).unwrap_or_default();
        let sent =
            router_upstream::request(&self.server, &method, &target, &headers, text.into(), TIMEOUT).await;
        let (status, bytes) =
            sent.map_err(|error| RouterClientError::Unreachable { url: url(), cause: error.to_string() })?;
        let parsed = serde_json::from_slice::<Value>(&bytes);
        if status.is_success() {
            let body = parsed.map_err(|e| no_router(format!("{path} is no JSON: {e}")))?;
            return Ok(RouterReply { body });
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(RouterClientError::Key { url: url() });
        }
        let message = parsed.ok().and_then(|body| message_of(&body)).unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&bytes).trim().chars().take(200).collect::<String>();
            if text.is_empty() { "no reason given".to_owned() } else { text }
        });
        Err(RouterClientError::Refused { url: url(), status: status.as_u16(), message })
    }
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

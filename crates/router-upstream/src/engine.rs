//! All differences between engines, in one place.
//!
//! A new engine is a variant of [`Engine`] and its column here; where its load stands is in
//! `router_protocol::LoadEndpoint`.

use crate::worker::Worker;
use http::HeaderName;
use router_config::Engine;

/// Selects the data-parallel rank for a request. vLLM reads it, and SGLang on the OpenAI routes.
pub const RANK_HEADER: HeaderName = HeaderName::from_static("x-data-parallel-rank");

/// Requests a load report in the response headers (ORCA).
pub const LOAD_REPORT_HEADER: HeaderName = HeaderName::from_static("endpoint-load-metrics-format");

/// Endpoints that only one engine has, in the order in which they are tried: its server information, under the path since
/// 0.5.6 and the one before.
pub(crate) const SERVER_INFO: [(&str, Engine); 2] =
    [("/server_info", Engine::Sglang), ("/get_server_info", Engine::Sglang)];

/// The path at which engines abort a request by its id.
pub(crate) const ABORT_PATH: &str = "/abort_request";

/// The behaviour of an engine that differs from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EngineQuirks {
    /// The rank must be in the body as well as in [`RANK_HEADER`], because some routes do not read the header.
    pub rank_in_body: bool,
    /// It reports its load in response headers when [`LOAD_REPORT_HEADER`] asks for it.
    pub reports_load_in_headers: bool,
}

impl EngineQuirks {
    /// The quirks of `engine`; those of SGLang while the engine is unknown.
    pub const fn of(engine: Option<Engine>) -> Self {
        match engine {
            Some(Engine::Vllm) => Self { rank_in_body: false, reports_load_in_headers: true },
            Some(Engine::Sglang) | None => Self { rank_in_body: true, reports_load_in_headers: false },
        }
    }
}

impl Worker {
    /// The behaviour of its engine that differs from others.
    pub fn quirks(&self) -> EngineQuirks {
        EngineQuirks::of(self.profile.load().engine())
    }
}

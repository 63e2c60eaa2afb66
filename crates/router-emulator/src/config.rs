//! Configuration of one emulated server.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use router_engine::{EngineLimits, EngineProfile};

/// The SGLang version that the server imitates.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SglangVersion {
    /// A 0.4.9 build whose `meta_info` carries `queue_length`, `queue_time_start`, `queue_time_end`,
    /// `server_created_time` and `server_first_token_time`. It has `/get_load` and lacks `/v1/loads`,
    /// `/server_info` and `/model_info`.
    #[default]
    Classic,
    /// 0.5.23 with metrics on: `queue_time`, `first_token_latency` and the other time stamps, `output_ids`,
    /// `/v1/loads`; no `/get_load`.
    Stock,
}

impl std::str::FromStr for SglangVersion {
    type Err = UnknownVersion;

    fn from_str(s: &str) -> Result<Self, UnknownVersion> {
        match s {
            "classic" => Ok(Self::Classic),
            "stock" => Ok(Self::Stock),
            other => Err(UnknownVersion(other.to_owned())),
        }
    }
}

/// Role of the server in prefill-decode disaggregation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ServerRole {
    /// Prefill and decode on this server.
    #[default]
    Unified,
    /// Prefill only. The KV cache goes to the decode server that names the request's `bootstrap_room` (SGLang), or the
    /// `kv_transfer_params` of the response (vLLM).
    Prefill,
    /// Decode only. The KV cache comes from a prefill server.
    Decode,
}

impl ServerRole {
    /// The name, as `disaggregation_mode` of SGLang has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unified => "null",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

/// The given name is not a known SGLang version.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown SGLang version {0:?}: expected classic or stock")]
pub struct UnknownVersion(String);

/// Configuration of one emulated server.
#[derive(Clone, Debug)]
pub struct EmulatorConfig {
    /// Engine timing and default limits. Default `sglang_8b`.
    pub profile: EngineProfile,
    /// Overrides of the profile's limits; `None` = the profile's own. Default `None`.
    pub limits: Option<EngineLimits>,
    /// Time scale: 2 = everything takes half the time. Default 1.
    pub speed: f64,
    /// The SGLang version to imitate. Default classic.
    pub version: SglangVersion,
    /// How many data-parallel ranks it has: engines of their own behind one address. A request that names none
    /// (`data_parallel_rank`, `routed_dp_rank`, or the header `x-data-parallel-rank`) goes to them round-robin. Default 1.
    pub dp_size: u32,
    /// Its role in prefill-decode disaggregation. Default unified.
    pub role: ServerRole,
    /// Port on which a prefill server transfers KV caches; 0 = any free port. Default 0.
    pub bootstrap_port: u16,
    /// How long a decode server waits for a KV cache. Default 14 s, as measured on SGLang 0.5.23
    /// whose prefill server had died.
    pub bootstrap_timeout: Duration,
    /// Where to listen; port 0 = any free port. Default 127.0.0.1:0.
    pub listen: SocketAddr,
    /// Port at which it serves SGLang's gRPC service beside HTTP, at the same address; 0 = any free port; `None` = HTTP
    /// alone. SGLang 0.5.23 has it, 0.4 does not. Default `None`.
    pub grpc_port: Option<u16>,
    /// Model name and path it reports. Default `emulated`.
    pub model_name: String,
    /// Seed of output lengths, texts and request ids. Default 0.
    pub seed: u64,
    /// Bearer token clients must send, except to `/health*` and `/metrics`; `None` = open. Default `None`.
    pub api_key: Option<String>,
    /// How long an idle connection is kept open. Default 5 s, as uvicorn's, which real SGLang runs on; a client
    /// that pools connections longer than this gets resets.
    pub keep_alive: Duration,
}

impl EmulatorConfig {
    /// A server with this profile and defaults for the rest.
    pub fn new(profile: EngineProfile) -> Self {
        Self {
            profile,
            limits: None,
            speed: 1.0,
            version: SglangVersion::default(),
            dp_size: 1,
            role: ServerRole::default(),
            bootstrap_port: 0,
            bootstrap_timeout: Duration::from_secs(14),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            grpc_port: None,
            model_name: "emulated".to_owned(),
            seed: 0,
            api_key: None,
            keep_alive: Duration::from_secs(5),
        }
    }
}

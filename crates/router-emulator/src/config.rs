//! What one emulated server is told at its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use router_engine::{Limits, Profile};

/// Which SGLang the server speaks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Meta {
    /// A 0.4.9 build whose `meta_info` carries `queue_length`, `queue_time_start`, `queue_time_end`,
    /// `server_created_time` and `server_first_token_time`. It has `/get_load` and lacks `/v1/loads`,
    /// `/server_info` and `/model_info`.
    #[default]
    Classic,
    /// 0.5.23 with metrics on: `queue_time`, `first_token_latency` and the other time stamps, `output_ids`,
    /// `/v1/loads`; no `/get_load`.
    Stock,
}

impl std::str::FromStr for Meta {
    type Err = UnknownMeta;

    fn from_str(s: &str) -> Result<Self, UnknownMeta> {
        match s {
            "classic" => Ok(Self::Classic),
            "stock" => Ok(Self::Stock),
            other => Err(UnknownMeta(other.to_owned())),
        }
    }
}

/// The given name is no flavour of `meta_info`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown meta {0:?}: expected classic or stock")]
pub struct UnknownMeta(String);

/// Configuration of one emulated server.
#[derive(Clone, Debug)]
pub struct EmulatorConfig {
    /// Engine timing and default limits. Default `sglang_8b`.
    pub profile: Profile,
    /// Overrides of the profile's limits; `None` = the profile's own. Default `None`.
    pub limits: Option<Limits>,
    /// Time scale: 2 = everything takes half the time. Default 1.
    pub speed: f64,
    /// Which SGLang to speak like. Default classic.
    pub meta: Meta,
    /// Where to listen; port 0 = any free port. Default 127.0.0.1:0.
    pub listen: SocketAddr,
    /// Model name and path it reports. Default `emulated`.
    pub model_name: String,
    /// Seed of output lengths, texts and request ids. Default 0.
    pub seed: u64,
    /// Bearer token clients must send, except to `/health*` and `/metrics`; `None` = open. Default `None`.
    pub api_key: Option<String>,
    /// How long an idle connection is kept open. Default 5 s, as uvicorn's, which real SGLang runs on; a client
    /// that pools connections longer than this meets resets.
    pub keep_alive: Duration,
}

impl EmulatorConfig {
    /// A server with this profile and defaults for the rest.
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            limits: None,
            speed: 1.0,
            meta: Meta::default(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            model_name: "emulated".to_owned(),
            seed: 0,
            api_key: None,
            keep_alive: Duration::from_secs(5),
        }
    }
}

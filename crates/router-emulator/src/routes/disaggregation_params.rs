//! The members of a request about disaggregation and data-parallel ranks.

use futures_util::future::try_join_all;
use serde::Deserialize;
use std::io;
use std::time::Duration;

use crate::api::request::OneOrMany;
use crate::config::ServerRole;
use crate::kv_transfer::{KvOffer, fetch};
use crate::state::ServerState;

/// SGLang's default bootstrap port, for requests that name none.
const DEFAULT_PORT: u16 = 8998;

/// Members for a prefill and a decode server, and for ranks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DisaggregationParams {
    bootstrap_host: Option<OneOrMany<String>>,
    bootstrap_port: Option<OneOrMany<Option<u16>>>,
    bootstrap_room: Option<OneOrMany<u64>>,
    kv_transfer_params: Option<VllmTransferParams>,
    data_parallel_rank: Option<u32>,
    routed_dp_rank: Option<u32>,
    /// Whether the client wants logprobs; only the prefill server has those of the prompt.
    pub(crate) return_logprob: bool,
}

/// The members that vLLM uses.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct VllmTransferParams {
    do_remote_decode: bool,
    do_remote_prefill: bool,
    remote_engine_id: Option<String>,
    remote_host: Option<String>,
    remote_port: Option<u16>,
}

/// Host, port and key of a KV cache to fetch.
#[derive(Clone, Debug)]
pub(crate) struct KvAddress {
    host: String,
    port: u16,
    key: String,
}

/// The KV transfer that a request needs.
#[derive(Clone, Debug)]
pub(crate) enum KvTransfer {
    /// No transfer.
    None,
    /// Offer the KV caches in these rooms before responding.
    Offer(Vec<u64>),
    /// Keep the KV cache under this key.
    Keep(String),
    /// Fetch the KV caches from these addresses.
    Fetch(Vec<KvAddress>),
    /// The request lacks the address that its server needs.
    Missing,
}

impl DisaggregationParams {
    /// Parses a body. A malformed one gives the default here and is rejected by its route.
    pub(crate) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    /// The data-parallel rank that the body names; `routed_dp_rank` takes precedence.
    pub(crate) fn rank(&self) -> Option<u32> {
        self.routed_dp_rank.or(self.data_parallel_rank)
    }

    /// The KV transfer of a request to a server of this role.
    pub(crate) fn kv_transfer(self, server: &ServerState) -> KvTransfer {
        let vllm = self.kv_transfer_params.unwrap_or_default();
        match (server.config().role, self.bootstrap_room.map(OneOrMany::into_vec)) {
            (ServerRole::Unified, _) => KvTransfer::None,
            (ServerRole::Prefill, _) if vllm.do_remote_decode => KvTransfer::Keep(server.new_id()),
            (ServerRole::Prefill, Some(rooms)) => KvTransfer::Offer(rooms),
            (ServerRole::Decode, _) if vllm.do_remote_prefill => {
                match (vllm.remote_host, vllm.remote_port, vllm.remote_engine_id) {
                    (Some(host), Some(port), Some(key)) => {
                        KvTransfer::Fetch(vec![KvAddress { host, port, key }])
                    }
                    _ => KvTransfer::Missing,
                }
            }
            (ServerRole::Decode, Some(rooms)) => {
                let hosts = self.bootstrap_host.map(OneOrMany::into_vec).unwrap_or_default();
                let ports = self.bootstrap_port.map(OneOrMany::into_vec).unwrap_or_default();
                let address = |(n, room): (usize, u64)| {
                    let host = hosts.get(n).or(hosts.first())?.clone();
                    let port = ports.get(n).or(ports.first()).copied().flatten().unwrap_or(DEFAULT_PORT);
                    Some(KvAddress { host, port, key: room.to_string() })
                };
                let addresses: Option<Vec<_>> = rooms.into_iter().enumerate().map(address).collect();
                addresses.map_or(KvTransfer::Missing, KvTransfer::Fetch)
            }
            (ServerRole::Prefill | ServerRole::Decode, None) => KvTransfer::Missing,
        }
    }
}

/// Offers the prompts of these rooms.
pub(crate) fn offers(server: &ServerState, rooms: &[u64]) -> Vec<KvOffer> {
    rooms.iter().map(|room| server.handover().offer(room.to_string())).collect()
}

/// Fetches KV caches. A failed fetch waits for the timeout too: a decode server notices a lost prefill server late.
pub(crate) async fn fetch_all(addresses: &[KvAddress], patience: Duration) -> io::Result<()> {
    let all = try_join_all(addresses.iter().map(fetch_patiently));
    tokio::time::timeout(patience, all)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map(drop)
}

async fn fetch_patiently(address: &KvAddress) -> io::Result<()> {
    let KvAddress { host, port, key } = address;
    match fetch(host, *port, key).await {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::debug!(host, port, key, %error, "the prompt does not come");
            std::future::pending().await
        }
    }
}

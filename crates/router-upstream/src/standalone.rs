//! A server outside of any pool, for programs that talk to one server only.

use crate::connect::ConnectConfig;
use crate::membership::MembershipError;
use crate::profile::WorkerProfile;
use crate::worker::{NewWorker, Worker};
use router_config::{ConnectionMode, WorkerSpec, WorkerSpecError};
use router_core::Time;

/// The server of `spec`, to which [`request`](crate::request) and [`get`](crate::get) can be sent. Nothing checks its health.
///
/// # Errors
/// When the URL or the key is invalid, or TLS is not possible.
pub fn standalone_worker(spec: &WorkerSpec, connect: ConnectConfig) -> Result<Worker, MembershipError> {
    let url = spec.base_url(ConnectionMode::Http).map_err(WorkerSpecError::from)?;
    let parts = NewWorker {
        url: url.clone(),
        spec: spec.clone(),
        profile: WorkerProfile::new(spec, None, None)?,
        health: None,
        breaker: None,
        connect,
        uses_grpc_port: false,
        owner: None,
        joined_at: Time::ZERO,
    };
    Worker::new(parts).map_err(|source| MembershipError::Invalid { url, source })
}

//! Prefill and decode on separate servers.

pub(crate) mod kv_transfer;
pub(crate) mod params;
pub(crate) mod responses;

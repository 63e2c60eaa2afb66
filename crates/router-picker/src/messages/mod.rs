//! Messages of the gRPC services, written by hand: the fields that are used. prost skips all others.

pub(crate) mod health;
pub(crate) mod metadata;
pub(crate) mod processing;

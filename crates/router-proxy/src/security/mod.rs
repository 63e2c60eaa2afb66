//! API keys, CORS and TLS.
//!
//! It routes nothing and sees only the heads of requests.

mod auth;
mod cors;
mod reloading_cert;
mod tls;

pub(crate) use auth::{Authenticator, ListenerKind, Peer, RequiredRole};
pub(crate) use cors::Cors;
pub(crate) use reloading_cert::watch_certificate;
pub(crate) use tls::ServerTls;

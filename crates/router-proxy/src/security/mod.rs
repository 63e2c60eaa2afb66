//! API keys, CORS, TLS, and clients behind proxies.
//!
//! It routes nothing and sees only the heads of requests.

mod auth;
mod client_address;
mod cors;
mod forwarded;
mod reloading_cert;
mod tls;

pub(crate) use auth::{Authenticator, ListenerKind, Peer, RequiredRole};
pub(crate) use client_address::TrustedProxies;
pub(crate) use cors::Cors;
pub(crate) use forwarded::{ForwardedLines, Forwarding};
pub use reloading_cert::watch_certificate;
pub(crate) use tls::HTTP_2;
pub use tls::{AlpnProtocols, ServerTls};

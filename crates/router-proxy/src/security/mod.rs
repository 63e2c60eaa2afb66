//! Who may ask what, and over what wire: keys, browsers' origins, TLS.
//!
//! It routes nothing, and it knows nothing of the requests beyond their heads.

mod auth;
mod cors;
mod reloading_cert;
mod tls;

pub(crate) use auth::{Access, Door, Guard, Visit};
pub(crate) use cors::Cors;
pub(crate) use reloading_cert::keep_fresh;
pub use tls::TlsError;
pub(crate) use tls::{ServerTls, WorkerTls};

//! Who may ask what, and over what wire: keys, browsers' origins, TLS.
//!
//! It routes nothing, and it knows nothing of the requests beyond their heads.

mod auth;
mod cors;
mod renewal;
mod secret;
mod tls;

pub(crate) use auth::{Access, Door, Guard, Visit};
pub use auth::{Keys, KeysError};
pub use cors::{Cors, CorsError};
pub(crate) use renewal::keep_fresh;
pub use secret::Secret;
pub use tls::{ServerTls, TlsError, WorkerTls};

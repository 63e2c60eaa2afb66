//! Checks of single values, shared by several options.

use crate::error::ConfigError;
use http::HeaderName;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroU32;
use std::time::Duration;

pub(crate) fn headers(option: &'static str, names: &[String]) -> Result<Vec<HeaderName>, ConfigError> {
    let header = |name: &String| {
        name.parse().map_err(|_| ConfigError::option(option, format!("'{name}' is not a header name")))
    };
    names.iter().map(header).collect()
}

pub(crate) fn count(option: &'static str, n: u32) -> Result<NonZeroU32, ConfigError> {
    NonZeroU32::new(n).ok_or_else(|| ConfigError::option(option, "must be at least 1"))
}

pub(crate) fn positive(option: &'static str, secs: f64) -> Result<Duration, ConfigError> {
    Duration::try_from_secs_f64(secs)
        .ok()
        .filter(|d| !d.is_zero())
        .ok_or_else(|| ConfigError::option(option, format!("{secs} must be a time above 0")))
}

/// A timeout that 0 switches off.
///
/// # Errors
/// When it is negative or not a number.
pub(crate) fn timeout_or_never(option: &'static str, secs: f64) -> Result<Duration, ConfigError> {
    if secs == 0.0 { Ok(NEVER) } else { positive(option, secs) }
}

/// Longer than any process runs, and short enough to be added to the time of any clock.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

pub(crate) fn address(option: &'static str, host: &str, port: u16) -> Result<SocketAddr, ConfigError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found = (bare, port).to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| ConfigError::option(option, format!("'{host}' is not an address of this machine")))
}

/// The address if a port is given.
pub(crate) fn address_if(
    option: &'static str,
    host: &str,
    port: Option<u16>,
) -> Result<Option<SocketAddr>, ConfigError> {
    port.map(|port| address(option, host, port)).transpose()
}

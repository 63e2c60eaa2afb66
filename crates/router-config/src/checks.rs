//! Checks of single values that several options share.

use crate::error::ConfigError;
use http::HeaderName;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroU32;
use std::time::Duration;

pub(crate) fn headers(option: &'static str, names: &[String]) -> Result<Vec<HeaderName>, ConfigError> {
    let header = |name: &String| {
        let problem = || format!("'{name}' is not a header name");
        name.parse().map_err(|_| ConfigError::Option { option, problem: problem() })
    };
    names.iter().map(header).collect()
}

pub(crate) fn count(option: &'static str, n: u32) -> Result<NonZeroU32, ConfigError> {
    NonZeroU32::new(n).ok_or(ConfigError::Option { option, problem: "must be at least 1".to_owned() })
}

pub(crate) fn positive(option: &'static str, secs: f64) -> Result<Duration, ConfigError> {
    Duration::try_from_secs_f64(secs)
        .ok()
        .filter(|d| !d.is_zero())
        .ok_or_else(|| ConfigError::Option { option, problem: format!("{secs} must be a time above 0") })
}

pub(crate) fn address(option: &'static str, host: &str, port: u16) -> Result<SocketAddr, ConfigError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let found = (bare, port).to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| ConfigError::Option {
        option,
        problem: format!("'{host}' is not an address of this machine"),
    })
}

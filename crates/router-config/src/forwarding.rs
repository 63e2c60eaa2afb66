//! What workers and the router itself learn of clients behind proxies.

use crate::error::ConfigError;
use clap::ValueEnum;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Headers by which workers learn the client's address, protocol and host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeaders {
    /// None is added.
    #[default]
    Off,
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Rfc7239,
    /// All of these.
    Both,
}

/// What is told to workers of clients, and which proxies are believed.
#[derive(Clone, Debug, Default)]
pub struct ForwardingConfig {
    /// The headers that workers get.
    pub headers: ForwardedHeaders,
    /// Networks whose proxies are believed when they name the client.
    pub trusted_proxies: Vec<IpNet>,
}

impl ForwardingConfig {
    /// Parses the values of `--trusted-proxies`.
    ///
    /// # Errors
    /// For the first value that is neither an address nor a network.
    pub(crate) fn parse(headers: ForwardedHeaders, proxies: &[String]) -> Result<Self, ConfigError> {
        let trusted = proxies.iter().map(|text| {
            network(text).ok_or_else(|| {
                let problem = format!(
                    "'{text}' is not an IP address or a network, such as 10.0.0.0/8 or 2001:db8::/32"
                );
                ConfigError::option("--trusted-proxies", problem)
            })
        });
        Ok(Self { headers, trusted_proxies: trusted.collect::<Result<_, _>>()? })
    }
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

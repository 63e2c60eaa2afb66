//! Clients behind proxies: whose address a request is said to come from, and whether that is believed.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use router_config::{ForwardedHeaders, ForwardingConfig};
use std::net::{IpAddr, SocketAddr};

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers by which a proxy names the client that it forwards for, besides all that begin with [`FORWARDED_PREFIX`].
const FORWARDED: [&str; 7] = [
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "cf-connecting-ip",
    "true-client-ip",
];

const FORWARDED_PREFIX: &str = "x-forwarded-";

/// Whether a proxy names its client by this header.
pub(super) fn names_client(name: &HeaderName) -> bool {
    name.as_str().starts_with(FORWARDED_PREFIX) || FORWARDED.contains(&name.as_str())
}

/// The proxies that are believed when they name a client.
#[derive(Debug, Default)]
pub(crate) struct TrustedProxies {
    networks: Vec<IpNet>,
    /// The headers that workers get are the ones that are read, so that both name the same client.
    headers: ForwardedHeaders,
}

impl TrustedProxies {
    pub(crate) fn new(config: &ForwardingConfig) -> Self {
        Self { networks: config.trusted_proxies.clone(), headers: config.headers }
    }

    /// Whether a proxy at this address is believed.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The client's address: the last one that is no trusted proxy, seen from the router. `X-Forwarded-For` and `Forwarded`
    /// grow at their end, so what a client wrote itself comes first and is never reached.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        for hop in self.hops(headers) {
            // A hop that hides its address, or is no address, ends what is known.
            let Some(address) = hop else { break };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }

    /// The addresses that proxies have named, the nearest first.
    fn hops(&self, headers: &HeaderMap) -> Vec<Option<IpAddr>> {
        let reads_x = match self.headers {
            ForwardedHeaders::XForwarded => true,
            ForwardedHeaders::Rfc7239 => false,
            ForwardedHeaders::Off | ForwardedHeaders::Both => headers.contains_key(X_FORWARDED_FOR),
        };
        let name = if reads_x { X_FORWARDED_FOR } else { header::FORWARDED };
        let lines = headers.get_all(name).iter().rev().map(|line| line.to_str().unwrap_or(""));
        if reads_x {
            lines.flat_map(|line| line.rsplit(',')).map(address).collect()
        } else {
            lines.flat_map(|line| split(line, b',').into_iter().rev()).map(forwarded_for).collect()
        }
    }
}

/// The address of an element of `Forwarded`, such as `for=192.0.2.1;proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let value = split(element, b';').into_iter().find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    })?;
    address(value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
}

/// An IP address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
    address.map(|address| address.to_canonical())
}

/// The parts of `text` between separators that are not within quotes.
fn split(text: &str, separator: u8) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ if byte == separator && !is_quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// All values of a header with one more at the end, as one line.
pub(super) fn appended(headers: &HeaderMap, name: &HeaderName, last: &str) -> Option<HeaderValue> {
    let mut line = Vec::new();
    for value in headers.get_all(name) {
        line.extend_from_slice(value.as_bytes());
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(last.as_bytes());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(line)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(headers: ForwardedHeaders) -> TrustedProxies {
        let networks = ["10.0.0.0/8", "fd00::/8", "127.0.0.1/32"].map(|n| n.parse().unwrap());
        TrustedProxies { networks: networks.into(), headers }
    }

    fn client(kind: ForwardedHeaders, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        trusted(kind).client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_trusted_proxies_name_the_client() {
        const X: &str = "x-forwarded-for";
        for (peer, lines, expected) in [
            ("203.0.113.1", &[(X, "1.1.1.1")][..], "203.0.113.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[(X, "1.1.1.1")], "1.1.1.1"),
            ("::ffff:10.0.0.1", &[(X, "1.1.1.1")], "1.1.1.1"),
            ("10.0.0.1", &[(X, "6.6.6.6, 1.1.1.1,10.0.0.2")], "1.1.1.1"),
            ("10.0.0.1", &[(X, "6.6.6.6"), (X, "1.1.1.1, 10.9.9.9")], "1.1.1.1"),
            ("10.0.0.1", &[(X, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            ("10.0.0.1", &[(X, "1.1.1.1, unknown, 10.0.0.2")], "10.0.0.2"),
            ("10.0.0.1", &[(X, "")], "10.0.0.1"),
            ("fd00::1", &[(X, "2001:db8::7")], "2001:db8::7"),
            ("fd00::1", &[(X, "[2001:db8::7]:443")], "2001:db8::7"),
            ("fd00::1", &[(X, "1.1.1.1:443")], "1.1.1.1"),
        ] {
            assert_eq!(client(ForwardedHeaders::Off, peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn forwarded_elements_are_parsed() {
        for (line, expected) in [
            ("for=1.1.1.1", "1.1.1.1"),
            ("For=\"1.1.1.1:80\";proto=https;by=10.0.0.1", "1.1.1.1"),
            ("for=6.6.6.6, proto=http; for = 1.1.1.1 ,for=10.0.0.2", "1.1.1.1"),
            ("for=\"[2001:db8::7]:443\"", "2001:db8::7"),
            ("for=1.1.1.1;host=\"a,b;for=6.6.6.6\"", "1.1.1.1"),
            ("for=1.1.1.1, for=_hidden", "10.0.0.1"),
            ("for=1.1.1.1, proto=http", "10.0.0.1"),
            ("for=1.1.1.1;host=\"a\\\", for=6.6.6.6\"", "1.1.1.1"),
        ] {
            assert_eq!(client(ForwardedHeaders::Off, "10.0.0.1", &[("forwarded", line)]), expected, "{line}");
        }
    }

    #[test]
    fn other_family_is_not_read() {
        let both = &[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")][..];
        let of = |kind| client(kind, "10.0.0.1", both);
        assert_eq!(of(ForwardedHeaders::Rfc7239), "2.2.2.2");
        assert_eq!(of(ForwardedHeaders::XForwarded), "1.1.1.1");
        assert_eq!(of(ForwardedHeaders::Both), "1.1.1.1");
        assert_eq!(client(ForwardedHeaders::Rfc7239, "10.0.0.1", &both[..1]), "10.0.0.1");
    }
}

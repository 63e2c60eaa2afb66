//! What workers are told of a client: its address, and the protocol and host that it used.

use super::client_address::{TrustedProxies, X_FORWARDED_FOR, appended, names_client};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use router_config::ForwardedHeaders;
use std::net::IpAddr;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Headers for a worker. They take the place of those that the client sent.
pub(crate) type ForwardedLines = Vec<(HeaderName, HeaderValue)>;

/// Tells workers of clients.
#[derive(Debug)]
pub(crate) struct Forwarding {
    headers: ForwardedHeaders,
    /// The protocol that clients speak with the router.
    proto: &'static str,
}

impl Forwarding {
    /// Tells workers by these headers; `None` where nothing is told. `proto` is what clients speak with the router.
    pub(crate) fn new(headers: ForwardedHeaders, proto: &'static str) -> Option<Self> {
        (headers != ForwardedHeaders::Off).then_some(Self { headers, proto })
    }

    /// The headers for the workers of a request. What an untrusted peer says about another client is removed from `headers`;
    /// to what a trusted one says the peer is added.
    pub(crate) fn lines(
        &self,
        trusted: &TrustedProxies,
        peer: IpAddr,
        authority: Option<&Authority>,
        headers: &mut HeaderMap,
    ) -> ForwardedLines {
        let peer = peer.to_canonical();
        if !trusted.trusts(peer) {
            let claimed: Vec<_> = headers.keys().filter(|name| names_client(name)).cloned().collect();
            for name in claimed {
                headers.remove(name);
            }
        }
        let host = match authority {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => headers.get(header::HOST).filter(|host| !host.is_empty()).cloned(),
        };
        let mut lines = ForwardedLines::new();
        if matches!(self.headers, ForwardedHeaders::XForwarded | ForwardedHeaders::Both) {
            self.add_x_forwarded(peer, host.as_ref(), headers, &mut lines);
        }
        if matches!(self.headers, ForwardedHeaders::Rfc7239 | ForwardedHeaders::Both) {
            let element = self.element(peer, host.as_ref());
            lines.extend(appended(headers, &header::FORWARDED, &element).map(|v| (header::FORWARDED, v)));
        }
        lines
    }

    /// A trusted proxy that named protocol or host knows what the client used; this router saw only the proxy's own.
    fn add_x_forwarded(
        &self,
        peer: IpAddr,
        host: Option<&HeaderValue>,
        headers: &HeaderMap,
        lines: &mut ForwardedLines,
    ) {
        let chain = appended(headers, &X_FORWARDED_FOR, &peer.to_string());
        lines.extend(chain.map(|chain| (X_FORWARDED_FOR, chain)));
        let own = [
            (X_FORWARDED_PROTO, Some(HeaderValue::from_static(self.proto))),
            (X_FORWARDED_HOST, host.cloned()),
        ];
        for (name, own) in own {
            let value = headers.get(&name).cloned().or(own);
            lines.extend(value.map(|value| (name, value)));
        }
    }

    /// This hop as an element of `Forwarded`.
    fn element(&self, peer: IpAddr, host: Option<&HeaderValue>) -> String {
        let node = if peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_string() };
        // A host has been checked: it contains no quotes.
        let host = host.and_then(|host| host.to_str().ok());
        let host = host.map_or_else(String::new, |host| format!(";host=\"{host}\""));
        format!("for={node}{host};proto={}", self.proto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use router_config::ForwardingConfig;

    /// The headers of the kind for a worker, and the names of what is left of the client's own.
    fn told(kind: ForwardedHeaders, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let config = ForwardingConfig { headers: kind, trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()] };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("api.example:30000"));
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let forwarding = Forwarding::new(kind, "https").unwrap();
        let trusted = TrustedProxies::new(&config);
        let set = forwarding.lines(&trusted, peer.parse().unwrap(), None, &mut headers);
        let set = set.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        let left = headers.keys().filter(|name| **name != header::HOST).map(|name| format!("({name})"));
        set.chain(left).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn untrusted_claims_are_replaced() {
        let claims = &[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-custom", "a"),
        ];
        assert_eq!(
            told(ForwardedHeaders::XForwarded, "203.0.113.1", claims),
            "x-forwarded-for: 203.0.113.1 | x-forwarded-proto: https | x-forwarded-host: api.example:30000 | \
             (x-custom)"
        );
        assert_eq!(
            told(ForwardedHeaders::Rfc7239, "2001:db8::1", claims),
            "forwarded: for=\"[2001:db8::1]\";host=\"api.example:30000\";proto=https | (x-custom)"
        );
    }

    #[test]
    fn trusted_chain_is_continued() {
        let claims = &[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "http"),
            ("forwarded", "for=1.1.1.1"),
        ];
        assert_eq!(
            told(ForwardedHeaders::Both, "::ffff:10.0.0.1", claims),
            "x-forwarded-for: 1.1.1.1, 10.0.0.2, 10.0.0.1 | x-forwarded-proto: http | \
             x-forwarded-host: api.example:30000 | \
             forwarded: for=1.1.1.1, for=10.0.0.1;host=\"api.example:30000\";proto=https | \
             (x-forwarded-for) | (x-forwarded-proto) | (forwarded)"
        );
    }
}

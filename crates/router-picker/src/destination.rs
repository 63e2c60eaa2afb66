//! Endpoints in the form of the protocol, and the subset of them that a gateway allows.

use crate::messages::metadata::{Kind, Metadata};
use parking_lot::Mutex;
use router_proxy::WorkerAddress;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// The header, and the key in the metadata, that names endpoints.
pub(crate) const DESTINATION: &str = "x-gateway-destination-endpoint";

/// The namespace of what is told to the gateway's load balancer.
pub(crate) const LB_NAMESPACE: &str = "envoy.lb";

/// The namespace and the key of the endpoints that a gateway allows.
const SUBSET_NAMESPACE: &str = "envoy.lb.subset_hint";
const SUBSET: &str = "x-gateway-destination-endpoint-subset";

/// The key of the endpoint that served a request.
pub(crate) const SERVED: &str = "x-gateway-destination-endpoint-served";

/// How long an address of a name is kept.
const NAME_TTL: Duration = Duration::from_secs(30);

/// The endpoints that a gateway allows for a request, as `ip:port`; `None` when it allows all.
pub(crate) fn subset(metadata: Option<&Metadata>) -> Option<Vec<String>> {
    let split = |text: &str| text.split(',').map(|one| one.trim().to_owned()).collect::<Vec<_>>();
    let endpoints = match metadata?.get(SUBSET_NAMESPACE, SUBSET)?.kind.as_ref()? {
        Kind::List(list) => list.values.iter().filter_map(|value| value.text()).flat_map(split).collect(),
        Kind::Text(text) => split(text),
        // Neither allows anything.
        Kind::Struct(_) => Vec::new(),
    };
    Some(endpoints)
}

/// The IP addresses of workers whose URLs have names. The protocol knows addresses only.
#[derive(Debug, Default)]
pub(crate) struct WorkerEndpoints {
    names: Mutex<HashMap<String, (IpAddr, Instant)>>,
}

impl WorkerEndpoints {
    /// The endpoint of a worker.
    ///
    /// # Errors
    /// When its name cannot be looked up.
    pub(crate) async fn of(&self, worker: &WorkerAddress) -> io::Result<SocketAddr> {
        let bare = worker.host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse() {
            return Ok(SocketAddr::new(ip, worker.port));
        }
        let now = Instant::now();
        let known = self.names.lock().get(bare).filter(|(_, until)| *until > now).map(|(ip, _)| *ip);
        if let Some(ip) = known {
            return Ok(SocketAddr::new(ip, worker.port));
        }
        let all: Vec<_> = tokio::net::lookup_host((bare, worker.port)).await?.collect();
        // Servers that listen on one kind of address listen on IPv4.
        let found = all.iter().find(|address| address.is_ipv4()).or_else(|| all.first()).copied();
        let found = found.ok_or_else(|| io::Error::other("the name has no address"))?;
        self.names.lock().insert(bare.to_owned(), (found.ip(), now + NAME_TTL));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::metadata::{ListValue, Struct, Value};
    use std::sync::Arc;

    fn metadata(kind: Kind) -> Metadata {
        let fields = HashMap::from([(SUBSET.to_owned(), Value { kind: Some(kind) })]);
        Metadata { filter_metadata: HashMap::from([(SUBSET_NAMESPACE.to_owned(), Struct { fields })]) }
    }

    #[test]
    fn subset_is_a_list_or_a_text_or_absent() {
        let text = |text: &str| Kind::Text(text.to_owned());
        let values = ["1.2.3.4:1", "5.6.7.8:2"].map(|one| Value { kind: Some(text(one)) }).to_vec();
        let both = Some(vec!["1.2.3.4:1".to_owned(), "5.6.7.8:2".to_owned()]);
        assert_eq!(subset(Some(&metadata(Kind::List(ListValue { values })))), both);
        assert_eq!(subset(Some(&metadata(text("1.2.3.4:1, 5.6.7.8:2")))), both);
        let empty = Kind::List(ListValue::default());
        assert_eq!(subset(Some(&metadata(empty))), Some(Vec::new()), "an empty list allows nothing");
        assert_eq!(subset(Some(&Metadata::default())), None);
        assert_eq!(subset(None), None);
    }

    #[tokio::test]
    async fn endpoints_are_addresses() {
        let endpoints = WorkerEndpoints::default();
        let of = |host: &str, port| WorkerAddress { url: Arc::from("http://x"), host: host.to_owned(), port };
        assert_eq!(endpoints.of(&of("10.0.0.5", 80)).await.unwrap().to_string(), "10.0.0.5:80");
        assert_eq!(endpoints.of(&of("[2600::24ae]", 80)).await.unwrap().to_string(), "[2600::24ae]:80");
        assert_eq!(endpoints.of(&of("localhost", 81)).await.unwrap().to_string(), "127.0.0.1:81");
        assert!(endpoints.of(&of("no-such-name.invalid", 81)).await.is_err());
    }
}

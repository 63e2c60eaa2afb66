//! Request ids: the client's, or one that the router makes.

use http::{HeaderMap, HeaderName, HeaderValue};
use router_core::{RequestId, Rng, Route};
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest id that is accepted from a client, in bytes: every record carries it.
const MAX_LEN: usize = 256;

/// Random characters after the prefix: 24 characters from an alphabet of 62 hold 142 bits.
const LETTERS: usize = 24;

/// What a request is called in records, traces and the response. An engine may take such an id as its own and refuse a
/// second request of that id, so what a client gives is forwarded as it is, and never put into another header.
#[derive(Clone, Debug)]
pub(crate) enum RequestName {
    /// The client's id, which need not be unique.
    Given(HeaderValue),
    /// The router's id, which is unique.
    Made(HeaderValue),
}

impl RequestName {
    /// The id.
    pub(crate) const fn id(&self) -> &HeaderValue {
        match self {
            Self::Given(id) | Self::Made(id) => id,
        }
    }

    /// The id that a worker gets with attempt `attempt`, if the router made one. It differs between attempts, because a
    /// worker may still have an earlier one.
    pub(crate) fn for_worker(&self, attempt: u32) -> Option<HeaderValue> {
        match self {
            Self::Given(_) => None,
            Self::Made(id) if attempt == 0 => Some(id.clone()),
            Self::Made(id) => {
                let text = [id.as_bytes(), b"-", attempt.to_string().as_bytes()].concat();
                HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
            }
        }
    }
}

/// Makes request ids that are unique across routers.
#[derive(Debug)]
pub(crate) struct RequestIds {
    seed: u64,
    count: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self { seed: router_telemetry::random_seed(), count: AtomicU64::new(0) }
    }

    /// The next number for the balancer.
    pub(crate) fn number(&self) -> RequestId {
        RequestId(self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// The client's id, if one of `names` carries one, else a new one.
    pub(crate) fn of(&self, headers: &HeaderMap, names: &[HeaderName], route: Route) -> RequestName {
        let given =
            names.iter().filter_map(|name| headers.get(name)).find(|v| !v.is_empty() && v.len() <= MAX_LEN);
        given.cloned().map_or_else(|| RequestName::Made(self.fresh(route)), RequestName::Given)
    }

    fn fresh(&self, route: Route) -> HeaderValue {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut rng =
            Rng::seeded(self.seed ^ self.number().0.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17));
        let mut text = String::with_capacity(16 + LETTERS);
        text.push_str(route.request_id_prefix());
        // Two draws of 64 bits feed twelve letters each; a multiply-shift takes one letter off the top.
        for _ in 0..2 {
            let mut bits = rng.next_u64();
            for _ in 0..LETTERS / 2 {
                let wide = u128::from(bits) * 62;
                text.push(char::from(ALPHABET[(wide >> 64) as usize]));
                bits = wide as u64;
            }
        }
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
            .unwrap_or(HeaderValue::from_static("req-unknown"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn fresh_ids_differ_and_look_alike() {
        let ids = RequestIds::new();
        let all: HashSet<_> = (0..10_000).map(|_| ids.fresh(Route::ChatCompletions)).collect();
        assert_eq!(all.len(), 10_000);
        for id in all {
            let text = id.to_str().unwrap();
            assert!(text.len() == 33 && text.starts_with("chatcmpl-"), "{text}");
        }
    }

    #[test]
    fn client_id_follows_header_order() {
        let ids = RequestIds::new();
        let names = [HeaderName::from_static("x-request-id"), HeaderName::from_static("x-trace-id")];
        let mut headers = HeaderMap::new();
        headers.insert("x-trace-id", HeaderValue::from_static("t"));
        let id = |headers: &HeaderMap| ids.of(headers, &names, Route::Other).id().clone();
        assert_eq!(id(&headers), "t");
        headers.insert("x-request-id", HeaderValue::from_static("r"));
        assert_eq!(id(&headers), "r");
        headers.insert("x-request-id", HeaderValue::from_static(""));
        assert_eq!(id(&headers), "t", "an empty id is none");
        assert!(ids.of(&headers, &names, Route::Other).for_worker(0).is_none(), "it stays the client's");
    }

    #[test]
    fn made_id_differs_between_attempts() {
        let name = RequestIds::new().of(&HeaderMap::new(), &[], Route::Other);
        let id = name.id().to_str().unwrap();
        assert_eq!(name.for_worker(0).unwrap(), id);
        assert_eq!(name.for_worker(2).unwrap(), format!("{id}-2"));
    }
}

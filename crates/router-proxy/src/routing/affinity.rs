//! What headers say of a request: its routing key, the worker that it names, what its client is known by, and how long its output
//! will be.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use router_config::KeySource;
use router_core::{PolicyNeeds, RequestFeatures};
use router_protocol::RequestFacts;

/// The header that names a worker by its number (SGLang router and smg).
const TARGET_WORKER: HeaderName = HeaderName::from_static("x-smg-target-worker");

/// The header in which a caller states how many tokens the output will have.
const EXPECTED_OUTPUT_TOKENS: HeaderName = HeaderName::from_static("x-expected-output-tokens");

/// Adds the routing key, the client, the stated length and the target worker to `features`, where policies need them. The key is
/// the first value in `sources` that is present and not empty. A client is known by it, or else by the API key that it sends to
/// the workers.
pub(super) fn add(
    features: &mut RequestFeatures<'_>,
    needs: PolicyNeeds,
    sources: &[KeySource],
    headers: &HeaderMap,
    facts: &RequestFacts<'_>,
) {
    let header = |name: &HeaderName| {
        let value = headers.get(name).filter(|value| !value.is_empty())?;
        Some(router_protocol::routing_key(value.as_bytes()))
    };
    if needs.routing_key || needs.forecast {
        let key = sources.iter().find_map(|source| match source {
            KeySource::Header(name) => header(name),
            KeySource::Member(member) => facts.session.routing_key(*member),
        });
        features.routing_key = key.filter(|_| needs.routing_key);
        features.client = key.or_else(|| header(&AUTHORIZATION)).filter(|_| needs.forecast);
    }
    if needs.forecast {
        // A value that is not a positive integer states nothing: a hint must not make a request fail.
        let stated =
            headers.get(EXPECTED_OUTPUT_TOKENS).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        features.stated_output_tokens = stated.filter(|tokens| *tokens > 0);
    }
    if needs.target_worker {
        let given = headers.get(TARGET_WORKER).filter(|value| !value.is_empty());
        // A value that is not a number matches no worker: the request is rejected, not sent to another one.
        features.target_worker =
            given.map(|value| value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(usize::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use router_core::{RequestId, Route, SessionMember};

    const SOURCES: [KeySource; 4] = [
        KeySource::Header(HeaderName::from_static("x-smg-routing-key")),
        KeySource::Header(HeaderName::from_static("x-session-id")),
        KeySource::Member(SessionMember::SessionId),
        KeySource::Member(SessionMember::User),
    ];

    /// The routing key, the target worker and the client of a request with this body and these headers.
    fn keys(
        needs: PolicyNeeds,
        body: &[u8],
        given: &[(&'static str, &'static str)],
    ) -> (Option<u64>, Option<usize>, Option<u64>) {
        let facts = router_protocol::scan(Route::Generate, body);
        let mut features = facts.features(RequestId(1), Route::Generate, &[]);
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers = given.iter().map(pair).collect();
        add(&mut features, needs, &SOURCES, &headers, &facts);
        (features.routing_key, features.target_worker, features.client)
    }

    fn features(needs: PolicyNeeds, given: &[(&'static str, &'static str)]) -> (Option<u64>, Option<usize>) {
        let (routing_key, target, _) = keys(needs, br#"{"text":"a","user":"body"}"#, given);
        (routing_key, target)
    }

    #[test]
    fn first_header_wins_over_body() {
        let needs = PolicyNeeds { routing_key: true, ..PolicyNeeds::NONE };
        let key = |given: &[_]| features(needs, given).0;
        let named = |name: &str| Some(router_protocol::routing_key(name.as_bytes()));
        assert_eq!(key(&[("x-session-id", "s"), ("x-smg-routing-key", "k")]), named("k"));
        assert_eq!(key(&[("x-session-id", "s"), ("x-smg-routing-key", "")]), named("s"));
        assert_eq!(key(&[]), named("body"));
        assert_eq!(features(needs, &[("x-smg-target-worker", "1")]).1, None, "no policy needs it");
    }

    #[test]
    fn client_is_known_by_its_key_or_what_it_authorises_itself_with() {
        let client = |body: &[u8], given: &[(&'static str, &'static str)]| {
            let needs = PolicyNeeds { forecast: true, ..PolicyNeeds::NONE };
            let (routing_key, _, client) = keys(needs, body, given);
            assert_eq!(routing_key, None, "no policy needs it");
            client
        };
        let named = |name: &str| Some(router_protocol::routing_key(name.as_bytes()));
        let key = ("authorization", "Bearer k");
        assert_eq!(client(br#"{"text":"a","user":"u"}"#, &[key]), named("u"));
        assert_eq!(client(br#"{"text":"a"}"#, &[("x-session-id", "s"), key]), named("s"));
        assert_eq!(client(br#"{"text":"a"}"#, &[key]), named("Bearer k"));
        assert_eq!(client(br#"{"text":"a"}"#, &[]), None);
    }

    #[test]
    fn stated_length_is_a_positive_integer_or_ignored() {
        let stated = |needs, value| {
            let mut features = RequestFeatures::default();
            let headers = HeaderMap::from_iter([(EXPECTED_OUTPUT_TOKENS, HeaderValue::from_static(value))]);
            let facts = router_protocol::scan(Route::Generate, br#"{"text":"a"}"#);
            add(&mut features, needs, &SOURCES, &headers, &facts);
            features.stated_output_tokens
        };
        let needs = PolicyNeeds { forecast: true, ..PolicyNeeds::NONE };
        assert_eq!(stated(needs, "250"), Some(250));
        for value in ["", "0", "-5", "2.5", "many", "5 tokens", "99999999999"] {
            assert_eq!(stated(needs, value), None, "{value}");
        }
        assert_eq!(stated(PolicyNeeds::NONE, "250"), None, "no policy needs it");
    }

    #[test]
    fn invalid_target_matches_no_worker() {
        let needs = PolicyNeeds { target_worker: true, ..PolicyNeeds::NONE };
        let target = |value| features(needs, &[("x-smg-target-worker", value)]);
        assert_eq!(target("2"), (None, Some(2)));
        assert_eq!(target("-1").1, Some(usize::MAX));
        assert_eq!(target("http://a").1, Some(usize::MAX));
        assert_eq!(target("").1, None);
    }
}

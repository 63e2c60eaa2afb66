//! The headers of a request as the metadata of a call.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::collections::HashMap;
use std::time::Duration;

/// Headers that say where a request belongs in a trace.
const TRACE_HEADERS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// The trace headers, for the field of that name.
pub(super) fn trace_headers(headers: &HeaderMap) -> HashMap<String, String> {
    let value = |name: &str| Some((name.to_owned(), headers.get(name)?.to_str().ok()?.to_owned()));
    TRACE_HEADERS.into_iter().filter_map(value).collect()
}

/// Whether a header may be the metadata of a call. What describes an HTTP body does not fit the messages, names that begin with
/// `grpc-` belong to gRPC, and values of names that end with `-bin` would have to be base64.
pub(crate) fn is_metadata(name: &HeaderName) -> bool {
    let is_of_http = matches!(
        *name,
        header::CONTENT_TYPE
            | header::CONTENT_LENGTH
            | header::CONTENT_ENCODING
            | header::ACCEPT
            | header::ACCEPT_ENCODING
            | header::CONNECTION
            | header::EXPECT
            | header::HOST
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::USER_AGENT
    );
    !is_of_http && !name.as_str().starts_with("grpc-") && !name.as_str().ends_with("-bin")
}

/// A value as metadata. One that differs for each request would push the others out of the table by which headers are compressed, so it
/// is marked to stay out of it.
pub(crate) fn value(name: &HeaderName, value: &HeaderValue) -> HeaderValue {
    let mut value = value.clone();
    if matches!(name.as_str(), "x-request-id" | "traceparent") {
        value.set_sensitive(true);
    }
    value
}

/// The header that says how long a call may take.
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// The units of [`TIMEOUT`], each with its nanoseconds.
const UNITS: [(u64, char); 6] =
    [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (SECOND, 'S'), (60 * SECOND, 'M'), (3_600 * SECOND, 'H')];

/// How long a call may take by its `grpc-timeout`. One that cannot be read is no limit, as for tonic's server.
pub fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_count = matches!(count.len(), 1..=8) && count.bytes().all(|digit| digit.is_ascii_digit());
    let (nanos, _) = UNITS.into_iter().find(|(_, name)| unit.starts_with(*name)).filter(|_| is_count)?;
    Duration::from_nanos(nanos).checked_mul(count.parse().ok()?)
}

/// The time that is left of a call, for [`TIMEOUT`]: at most eight digits and the finest unit in which they suffice, rounded up so that the
/// worker does not give up before the router does. More than 99,999,999 hours is written as that many.
pub(crate) fn timeout(left: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let mut counts = UNITS.into_iter().map(|(unit, name)| (left.as_nanos().div_ceil(u128::from(unit)), name));
    let (count, name) = counts.find(|(count, _)| *count <= MOST).unwrap_or((MOST, 'H'));
    // Digits and a letter are always valid.
    let text = HeaderValue::try_from(format!("{count}{name}"));
    let mut text = text.unwrap_or(HeaderValue::from_static("99999999H"));
    // It differs from call to call, as the ids above do.
    text.set_sensitive(true);
    text
}

/// The headers of every HTTP/2 request that carries a call.
pub(crate) fn begin() -> HeaderMap {
    const AGENT: HeaderValue = HeaderValue::from_static(concat!("sgl-router/", env!("CARGO_PKG_VERSION")));
    let mut metadata = HeaderMap::with_capacity(16);
    metadata.insert(header::TE, HeaderValue::from_static("trailers"));
    metadata.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert(header::USER_AGENT, AGENT);
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_eight_digits_at_most_and_the_finest_unit() {
        let secs = Duration::from_secs;
        for (left, written) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_001), "100001u"),
            (secs(1), "1000000u"),
            (secs(99) + Duration::from_nanos(999_999_001), "100000m"),
            (secs(1_800), "1800000m"),
            (secs(100_000), "100000S"),
            (secs(100_000_000), "1666667M"),
            (secs(100 * 365 * 24 * 3600), "52560000M"),
            (secs(99_999_999 * 60 + 1), "1666667H"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(timeout(left), written, "{left:?}");
            let headers = HeaderMap::from_iter([(TIMEOUT, timeout(left))]);
            let read = timeout_of(&headers).unwrap();
            assert!(read >= left || left == Duration::MAX, "{left:?}: {read:?}");
        }
        for unreadable in ["", "S", "123456789S", "5", "5x", "-5S", "+5S", "5 S"] {
            let headers = HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_static(unreadable))]);
            assert_eq!(timeout_of(&headers), None, "{unreadable}");
        }
    }

    #[test]
    fn headers_of_http_are_no_metadata() {
        let all =
            ["content-type", "accept", "host", "grpc-timeout", "token-bin", "x-request-id", "authorization"];
        let names = all.into_iter().filter(|name| is_metadata(&HeaderName::from_static(name)));
        assert_eq!(names.collect::<Vec<_>>(), ["x-request-id", "authorization"]);
    }
}

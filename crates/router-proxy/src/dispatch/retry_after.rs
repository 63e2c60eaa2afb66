//! The `retry-after` of a worker's response.

use http::{HeaderMap, header};
use std::time::{Duration, UNIX_EPOCH};

/// How long a response asks not to be sent requests, if it says: seconds, also with a fraction, or a date. The date counts
/// from that of the response, and from `unix_now`, the time since the Unix epoch, where the response has none.
pub(crate) fn retry_after(headers: &HeaderMap, unix_now: Duration) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok();
    let sent = headers.get(header::DATE).and_then(|sent| sent.to_str().ok()).and_then(date);
    Some(date(text)?.saturating_sub(sent.unwrap_or(unix_now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[test]
    fn seconds_fractions_and_dates_are_read() {
        // Sun, 06 Nov 1994 08:49:37 GMT.
        let now = Duration::from_secs(784_111_777);
        let read = |all: &[(HeaderName, &'static str)]| {
            retry_after(&all.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v))).collect(), now)
        };
        for (text, expected) in [
            ("3", Some(3.0)),
            (" 1.5 ", Some(1.5)),
            ("0", Some(0.0)),
            ("Sun, 06 Nov 1994 08:49:44 GMT", Some(7.0)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0.0)),
            ("-1", None),
            ("nan", None),
            ("1e300", None),
            ("soon", None),
        ] {
            let expected = expected.map(Duration::from_secs_f64);
            assert_eq!(read(&[(header::RETRY_AFTER, text)]), expected, "{text}");
        }
        let date = "Sun, 06 Nov 1994 08:59:44 GMT";
        let sent = "Sun, 06 Nov 1994 08:59:40 GMT";
        let ahead = read(&[(header::RETRY_AFTER, date), (header::DATE, sent)]);
        assert_eq!(ahead, Some(Duration::from_secs(4)), "the worker's clock may be ahead");
        assert_eq!(read(&[]), None);
    }
}

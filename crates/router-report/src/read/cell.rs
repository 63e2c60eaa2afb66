//! Parses single values. An empty value is unknown, and so are the spellings of a missing value in Python.

/// The value does not have the type of its column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MalformedValue;

fn is_unknown(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 4] = [b"None", b"nan", b"NaN", b"null"];
    text.is_empty() || WORDS.contains(&text)
}

/// Parses a number; infinities count as unknown.
pub(crate) fn number(text: &[u8]) -> Result<Option<f64>, MalformedValue> {
    if is_unknown(text) {
        return Ok(None);
    }
    let parsed = std::str::from_utf8(text).ok().and_then(|t| t.parse::<f64>().ok()).ok_or(MalformedValue)?;
    Ok(Some(parsed).filter(|n| n.is_finite()))
}

/// Parses a boolean as Python or Rust writes it.
pub(crate) fn flag(text: &[u8]) -> Result<Option<bool>, MalformedValue> {
    match text {
        b"True" | b"true" | b"1" => Ok(Some(true)),
        b"False" | b"false" | b"0" => Ok(Some(false)),
        text if is_unknown(text) => Ok(None),
        _ => Err(MalformedValue),
    }
}

/// Parses a time to nanoseconds since the Unix epoch, exactly: Unix seconds with a decimal fraction, or a date with a
/// time of day, which is UTC without an offset.
pub(crate) fn unix_nanos(text: &[u8]) -> Result<Option<u64>, MalformedValue> {
    if is_unknown(text) {
        return Ok(None);
    }
    let text = std::str::from_utf8(text).map_err(|_| MalformedValue)?;
    let nanos = if text.get(4..5) == Some("-") { date_time(text) } else { decimal_nanos(text) };
    nanos.map(Some).ok_or(MalformedValue)
}

/// Parses seconds to nanoseconds without a float in between: today's Unix time has more digits than a float keeps.
pub(crate) fn decimal_nanos(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(1_000_000_000)?.checked_add(fraction_nanos(fraction)?)
}

fn fraction_nanos(digits: &str) -> Option<u64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = digits.bytes().chain(std::iter::repeat(b'0')).take(9);
    Some(nanos.fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

/// Parses `2025-07-31 06:49:11.659`, also with `T`, `Z` or `+08:00`.
fn date_time(text: &str) -> Option<u64> {
    let (text, offset) = split_offset(text)?;
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(['-', ' ', 'T', ':']).map(|part| part.parse::<i64>().ok());
    let mut next = |low: i64, high: i64| parts.next()?.filter(|n| (low..=high).contains(n));
    let (year, month, day) = (next(1970, 9999)?, next(1, 12)?, next(1, 31)?);
    let (hour, minute, second) = (next(0, 23)?, next(0, 59)?, next(0, 60)?);
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    let seconds = u64::try_from(seconds).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction_nanos(fraction)?)
}

/// The text without its offset from UTC, and the offset in seconds.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(utc) = text.strip_suffix('Z') {
        return Some((utc, 0));
    }
    // A `-` in the first ten characters belongs to the date.
    let Some(at) = text.rfind(['+', '-']).filter(|&at| at > 10) else { return Some((text, 0)) };
    let (hours, minutes) = text[at + 1..].split_once(':')?;
    let offset = hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60;
    Some((&text[..at], if text[at..].starts_with('-') { -offset } else { offset }))
}

/// Days from 1970-01-01 in the Gregorian calendar, counting years from March so that the leap day comes last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_numbers_are_unknown() {
        assert_eq!(number(b"1.5e-3"), Ok(Some(0.0015)));
        for nothing in [&b""[..], b"None", b"nan", b"inf"] {
            assert_eq!(number(nothing), Ok(None));
        }
        assert_eq!(number(b"12ms"), Err(MalformedValue));
        assert_eq!(number(b"\xff\xfe"), Err(MalformedValue));
    }

    #[test]
    fn times_keep_every_nanosecond() {
        assert_eq!(unix_nanos(b"1753978493.123456789"), Ok(Some(1_753_978_493_123_456_789)));
        assert_eq!(unix_nanos(b"1753978493"), Ok(Some(1_753_978_493_000_000_000)));
        assert_eq!(unix_nanos(b"1753978493.1234567899"), Ok(Some(1_753_978_493_123_456_789)));
        for wrong in [&b"-1.0"[..], b"1.2.3", b"1.5s", b"99999999999999999999", b"2025-13-01 00:00:00"] {
            assert_eq!(unix_nanos(wrong), Err(MalformedValue), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn dates_default_to_utc() {
        // `date -u -d '2025-07-31 06:49:11' +%s` says 1753944551, and 951782400 for 2000-02-29.
        let at = Ok(Some(1_753_944_551_659_000_000));
        assert_eq!(unix_nanos(b"2025-07-31 06:49:11.659"), at);
        assert_eq!(unix_nanos(b"2025-07-31T06:49:11.659Z"), at);
        assert_eq!(unix_nanos(b"2025-07-31T14:49:11.659+08:00"), at);
        assert_eq!(unix_nanos(b"2025-07-31T01:19:11.659-05:30"), at);
        assert_eq!(unix_nanos(b"2000-02-29 00:00:00"), Ok(Some(951_782_400_000_000_000)));
        assert_eq!(unix_nanos(b"1970-01-01 00:00:00"), Ok(Some(0)));
    }
}

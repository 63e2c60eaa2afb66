//! Figures of few letters. What is unknown is a dash.

use crate::explain::{number, seconds};
use jiff::Timestamp;

/// What stands for an unknown value.
pub(super) const UNKNOWN: &str = "-";

/// A text, or a dash.
pub(super) fn or_unknown(text: Option<&String>) -> String {
    text.map_or_else(|| UNKNOWN.to_owned(), Clone::clone)
}

fn known(value: Option<f64>, form: impl Fn(f64) -> String) -> String {
    value.filter(|value| value.is_finite()).map_or_else(|| UNKNOWN.to_owned(), form)
}

/// A count or a rate: `12.3`, `1234`, `56.7k`, `8.9M`.
pub(super) fn amount(value: Option<f64>) -> String {
    known(value, |value| match value.abs() {
        v if v >= 9_999_500.0 => format!("{:.0}M", value / 1e6),
        v if v >= 999_500.0 => format!("{:.1}M", value / 1e6),
        v if v >= 99_950.0 => format!("{:.0}k", value / 1e3),
        v if v >= 9_999.5 => format!("{:.1}k", value / 1e3),
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 0.05 || v == 0.0 => number((value * 10.0).round() / 10.0),
        _ => number((value * 1000.0).round() / 1000.0),
    })
}

/// A share of 1, in percent.
pub(super) fn percent(share: Option<f64>) -> String {
    known(share, |share| match 100.0 * share {
        percent if percent.abs() >= 9.95 || percent == 0.0 => format!("{percent:.0} %"),
        percent => format!("{percent:.1} %"),
    })
}

/// A duration in seconds, in the unit that suits it.
pub(super) fn time(secs: Option<f64>) -> String {
    known(secs, |secs| match secs {
        secs if secs >= 99.5 => format!("{secs:.0} s"),
        secs if secs >= 9.995 => format!("{secs:.1} s"),
        // Nobody looks for tenths of a millisecond.
        secs if secs >= 0.01 => seconds((secs * 1e3).round() / 1e3),
        secs => seconds(secs),
    })
}

/// How many times as much.
pub(super) fn factor(value: Option<f64>) -> String {
    known(value, |value| if value >= 9.95 { format!("x{value:.0}") } else { format!("x{value:.2}") })
}

/// The time of day in UTC.
pub(super) fn clock(unix: f64) -> String {
    let time = Timestamp::from_millisecond((unix * 1e3) as i64);
    time.map_or_else(|_| UNKNOWN.to_owned(), |time| time.strftime("%H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let amounts = [0.0, 0.004, 0.26, 12.34, 123.4, 9_999.0, 56_700.0, 156_700.0, 8_940_000.0, 4e7];
        assert_eq!(
            amounts.map(|value| amount(Some(value))).join(" "),
            "0 0.004 0.3 12.3 123 9999 56.7k 157k 8.9M 40M"
        );
        assert_eq!(
            [0.0, 0.004, 0.25, 1.0].map(|share| percent(Some(share))).join(", "),
            "0 %, 0.4 %, 25 %, 100 %"
        );
        assert_eq!(
            [0.000_9, 0.012_34, 0.345, 1.234, 12.34, 123.4].map(|secs| time(Some(secs))).join(", "),
            "900 us, 12 ms, 345 ms, 1.23 s, 12.3 s, 123 s"
        );
        assert_eq!([0.2, 1.0, 12.0].map(|value| factor(Some(value))).join(" "), "x0.20 x1.00 x12");
        assert_eq!([amount(None), percent(None), time(Some(f64::NAN))].join(" "), "- - -");
        assert_eq!(clock(1_700_000_000.5), "22:13:20");
    }
}

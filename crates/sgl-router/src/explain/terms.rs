//! The terms of policies' scores in words. Their pages in docs/policies explain them.

/// The unit of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ValueUnit {
    Seconds,
    /// A count of these things.
    Of(&'static str),
    /// A share of 1.
    Share,
    /// How many times as much.
    Factor,
    /// A number with this unit, or with none.
    Number(&'static str),
}

/// Each term of the policies of this router, with its unit and its meaning.
const TERMS: [(&str, ValueUnit, &str); 37] = {
    use ValueUnit::{Factor, Number, Of, Seconds, Share};
    [
        ("assumed_waiting", Of("requests"), "waiting, as assumed without a recent report"),
        ("avg_latency", Seconds, "mean duration of its recent requests"),
        ("avg_throughput", Number("tokens/s"), "throughput of its recent requests"),
        ("backlog", Seconds, "delay of later requests"),
        ("batch", Of("requests"), "in flight there, with this one"),
        ("copies", Seconds, "time to compute again what this prompt evicts"),
        ("estimated_waiting", Of("requests"), "waiting there, as reported and corrected"),
        ("externality", Seconds, "delay of the requests already there"),
        ("health", Factor, "slower than its model at present"),
        ("hot", Number(""), "whether it was hot (1) or cold (0)"),
        ("in_flight", Of("requests"), "in flight there from this router"),
        ("keys", Of("routing keys"), "that it served last"),
        ("kv_usage", Share, "of its KV cache in use"),
        ("lateness", Seconds, "lateness of the first token"),
        ("latency_gradient", Number("s/s"), "trend of its latency"),
        ("match_ratio", Share, "of the prompt is thought to be cached there"),
        ("matched_blocks", Of("blocks"), "of the prompt were sent there before"),
        ("new_tokens", Of("prompt tokens"), "to compute there"),
        ("outstanding_requests", Of("requests"), "in flight there from this router"),
        ("own_latency", Seconds, "predicted duration of this request"),
        ("prediction_error", Share, "mean error of predictions for it"),
        ("probability", Share, "probability of being drawn"),
        ("queued_tokens", Of("tokens"), "queued there and sent since"),
        ("recent_bytes", Of("bytes"), "sent there recently"),
        ("reported_requests", Of("requests"), "running and waiting there, as reported and corrected"),
        ("reported_tokens", Of("tokens"), "held or waiting there, as reported and corrected"),
        ("rtt", Seconds, "response time"),
        ("rtt_per_100_tokens", Seconds, "response time per 100 tokens"),
        ("score", Number(""), "score"),
        ("secs_per_token", Seconds, "per generated token"),
        ("slo_miss", Seconds, "price of the SLO misses that it causes"),
        ("throughput", Number("tokens/s"), "throughput"),
        ("throughput_gradient", Number("tokens/s^2"), "trend of its throughput"),
        ("ttft", Seconds, "predicted time to the first token"),
        ("uncached_tokens", Of("prompt tokens"), "to compute there"),
        ("weight", Number(""), "weight"),
        ("window_size", Of("requests"), "in its window"),
    ]
};

/// A value with its unit.
pub(crate) fn quantity(value: f64, unit: ValueUnit) -> String {
    match unit {
        ValueUnit::Seconds => seconds(value),
        ValueUnit::Of(things) => format!("{} {things}", number(value)),
        ValueUnit::Share => format!("{} %", number(value * 100.0)),
        ValueUnit::Factor => format!("{} times", number(value)),
        ValueUnit::Number(unit) => format!("{} {unit}", number(value)).trim_end().to_owned(),
    }
}

/// A duration in the unit in which it has few digits.
pub(crate) fn seconds(value: f64) -> String {
    match value.abs() {
        v if v >= 0.9995 => format!("{value:.2} s"),
        v if v >= 0.000_999_5 => format!("{} ms", number(value * 1e3)),
        0.0 => "0 s".to_owned(),
        _ => format!("{} us", number(value * 1e6)),
    }
}

/// A number with three digits, more where they are before the point.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v.fract() == 0.0 && v < 1e15 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A term in words. A term of another policy is shown by its name.
pub(crate) fn in_words(name: &str, value: f64) -> String {
    match TERMS.iter().find(|(known, ..)| *known == name) {
        Some((_, unit @ (ValueUnit::Of(_) | ValueUnit::Share | ValueUnit::Factor), meaning)) => {
            format!("{} {meaning}", quantity(value, *unit))
        }
        Some((_, unit, meaning)) => format!("{meaning} {}", quantity(value, *unit)),
        None => format!("{name} {}", number(value)),
    }
}

/// The unit of a cost that was made of these terms.
pub(crate) fn cost_unit<'a>(mut terms: impl Iterator<Item = &'a str>) -> ValueUnit {
    // Only predicted durations add up to one.
    if terms.any(|name| name == "own_latency") { ValueUnit::Seconds } else { ValueUnit::Number("") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_few_digits() {
        let of = |value, unit| quantity(value, unit);
        assert_eq!(of(0.012_345, ValueUnit::Seconds), "12.3 ms");
        assert_eq!(of(1.836, ValueUnit::Seconds), "1.84 s");
        assert_eq!(of(0.000_004_2, ValueUnit::Seconds), "4.2 us");
        assert_eq!(of(3.0, ValueUnit::Of("requests")), "3 requests");
        assert_eq!(of(0.755, ValueUnit::Share), "75.5 %");
        assert_eq!(in_words("mine", 1234.5), "mine 1234");
        assert_eq!(in_words("rtt", 0.0), "response time 0 s");
    }

    #[test]
    fn terms_of_all_pages_have_words() {
        let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policies");
        let mut found = 0;
        for page in std::fs::read_dir(pages).unwrap() {
            let page = page.unwrap().path();
            let text = if page.is_file() { std::fs::read_to_string(page).unwrap() } else { String::new() };
            let Some((_, text)) = text.split_once("**Explanation.**") else { continue };
            let table = text.lines().skip_while(|line| !line.starts_with("| term |")).skip(2);
            for line in table.take_while(|line| line.starts_with('|')) {
                let name = line.split('`').nth(1).unwrap();
                let is_known = TERMS.iter().any(|(known, ..)| *known == name);
                assert!(is_known, "`{name}` has no words");
                found += 1;
            }
        }
        assert!(found > 40, "{found} terms were found on the pages");
    }
}

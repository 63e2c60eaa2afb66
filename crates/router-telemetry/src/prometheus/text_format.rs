//! The Prometheus text format 0.0.4, made from OpenMetrics text.

/// Rewrites OpenMetrics text in the text format 0.0.4. There a counter's family has the name of its samples, with
/// `_total`; units and the end are not marked, and an unknown type is called untyped.
pub(crate) fn to_text_format(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    // The help comes before the type, on which its name depends.
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(given) = line.strip_prefix("# HELP ") {
            help = Some(given);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, about)) = help.take().and_then(|help| help.split_once(' ')) {
                push_line(&mut text, &["# HELP ", name, total, " ", about]);
            }
            let kind = if kind == "unknown" { "untyped" } else { kind };
            push_line(&mut text, &["# TYPE ", name, total, " ", kind]);
        } else if !line.starts_with('#') {
            push_line(&mut text, &[line]);
        }
    }
    text
}

fn push_line(text: &mut String, parts: &[&str]) {
    text.extend(parts.iter().copied());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_like_their_samples() {
        let open = "# HELP r_requests Requests received.\n# TYPE r_requests counter\nr_requests_total{a=\"# b\"} 3\n\
                    # HELP r_load Load.\n# TYPE r_load gauge\n# UNIT r_load seconds\nr_load 1.5\n\
                    # HELP r_x X.\n# TYPE r_x unknown\nr_x 1\n# EOF\n";
        let expected = "# HELP r_requests_total Requests received.\n# TYPE r_requests_total counter\n\
                        r_requests_total{a=\"# b\"} 3\n# HELP r_load Load.\n# TYPE r_load gauge\nr_load 1.5\n\
                        # HELP r_x X.\n# TYPE r_x untyped\nr_x 1\n";
        assert_eq!(to_text_format(open), expected);
    }
}

//! Lines of a Prometheus page.

/// The name of the metric that a line is a sample of.
pub(crate) fn metric_name(line: &str) -> &str {
    line.split(['{', ' ']).next().unwrap_or_default()
}

/// One sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample<'a> {
    labels: &'a str,
    /// Finite and not negative.
    pub(crate) value: f64,
}

impl<'a> Sample<'a> {
    /// Reads `name{labels} value [time]`. `None` for another line, and for a value that is no gauge's.
    pub(crate) fn read(line: &'a str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (labels, value) = match line[end..].strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", &line[end..]),
        };
        let value: f64 = value.split_ascii_whitespace().next()?.parse().ok()?;
        (value.is_finite() && value >= 0.0).then_some(Self { labels, value })
    }

    /// The value of a label.
    pub(crate) fn label(&self, name: &str) -> Option<&'a str> {
        let is_it = |pair: &'a str| pair.trim().strip_prefix(name)?.strip_prefix("=\"")?.split('"').next();
        self.labels.split(',').find_map(is_it)
    }
}

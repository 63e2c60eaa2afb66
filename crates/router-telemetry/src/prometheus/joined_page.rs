//! Pages of metrics of several workers, joined to one.

use std::collections::HashMap;
use std::fmt::Write as _;

/// The label that tells the workers apart. One that a worker has itself gets the name that Prometheus gives it.
const LABEL: &str = "worker";
const RENAMED: &str = "exported_worker";

/// What the samples of a histogram or a summary have behind the name of their family, in either text format.
const SUFFIXES: [&str; 7] = ["_bucket", "_sum", "_count", "_total", "_created", "_gsum", "_gcount"];

/// One family of metrics.
#[derive(Debug)]
struct MetricFamily {
    name: String,
    help: Option<String>,
    kind: Option<String>,
    samples: String,
}

/// Pages in the text format 0.0.4, joined: each family once, with the samples of all workers, each of which has the label
/// `worker`.
#[derive(Debug, Default)]
pub struct JoinedPage {
    families: Vec<MetricFamily>,
    by_name: HashMap<String, usize>,
    /// Each worker, and whether it has a page.
    up: Vec<(String, bool)>,
    notes: Vec<String>,
}

impl JoinedPage {
    /// Adds the page of a worker. What is not in the format is left out; a comment on the page says how much.
    pub fn add(&mut self, worker: &str, page: &str) {
        self.up.push((worker.to_owned(), true));
        let label = format!("{LABEL}=\"{}\"", escaped(worker));
        let (mut current, mut invalid, mut conflicting) = (None, 0_u32, 0_u32);
        let mut kinds = HashMap::new();
        for line in page.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some((name, help)) = line.strip_prefix("# HELP ").map(first_word) {
                let at = self.family(name);
                self.families[at].help.get_or_insert_with(|| help.to_owned());
                current = Some(at);
            } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").map(first_word) {
                let at = self.family(name);
                self.families[at].kind.get_or_insert_with(|| kind.to_owned());
                kinds.insert(at, kind);
                current = Some(at);
            } else if line.starts_with('#') {
            } else if let Some(sample) = Sample::parse(line) {
                let at = current
                    .filter(|at| self.has(*at, sample.name))
                    .unwrap_or_else(|| self.family(sample.name));
                let is_other_kind =
                    kinds.get(&at).is_some_and(|kind| self.families[at].kind.as_deref() != Some(kind));
                if is_other_kind {
                    conflicting += 1;
                } else {
                    sample.write(&label, &mut self.families[at].samples);
                }
            } else {
                invalid += 1;
            }
        }
        for (count, what) in
            [(invalid, "invalid lines"), (conflicting, "samples of another type than on other workers")]
        {
            if count > 0 {
                self.notes.push(format!("{worker}: {count} {what} left out"));
            }
        }
    }

    /// Notes that a worker has no page, and why.
    pub fn add_failed(&mut self, worker: &str, problem: &str) {
        self.up.push((worker.to_owned(), false));
        self.notes.push(format!("{worker}: {problem}"));
    }

    /// The page.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for note in &self.notes {
            // A line break would end the comment.
            let _ = writeln!(text, "# {}", note.replace(['\r', '\n'], " "));
        }
        text.push_str(
            "# HELP sgl_router_engine_metrics_up 1 if the worker's metrics are on this page, else 0\n",
        );
        text.push_str("# TYPE sgl_router_engine_metrics_up gauge\n");
        for (worker, is_up) in &self.up {
            let _ = writeln!(
                text,
                "sgl_router_engine_metrics_up{{{LABEL}=\"{}\"}} {}",
                escaped(worker),
                u8::from(*is_up)
            );
        }
        for family in self.families.iter().filter(|family| !family.samples.is_empty()) {
            let name = &family.name;
            if let Some(help) = &family.help {
                let _ = writeln!(text, "# HELP {name} {help}");
            }
            if let Some(kind) = &family.kind {
                let _ = writeln!(text, "# TYPE {name} {kind}");
            }
            text.push_str(&family.samples);
        }
        text
    }

    fn family(&mut self, name: &str) -> usize {
        if let Some(at) = self.by_name.get(name) {
            return *at;
        }
        let at = self.families.len();
        self.families.push(MetricFamily {
            name: name.to_owned(),
            help: None,
            kind: None,
            samples: String::new(),
        });
        self.by_name.insert(name.to_owned(), at);
        at
    }

    /// Whether a sample of this name belongs to a family.
    fn has(&self, at: usize, sample: &str) -> bool {
        let rest = sample.strip_prefix(self.families[at].name.as_str());
        rest.is_some_and(|suffix| suffix.is_empty() || SUFFIXES.contains(&suffix))
    }
}

/// The first word of a line, and what follows it.
fn first_word(line: &str) -> (&str, &str) {
    line.split_once([' ', '\t']).map_or((line, ""), |(word, rest)| (word, rest.trim()))
}

/// One line with a value.
#[derive(Debug)]
struct Sample<'a> {
    name: &'a str,
    /// Between the braces.
    labels: &'a str,
    /// The value, and the time if there is one.
    value: &'a str,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
        let (name, rest) = line.split_at(end);
        let (labels, value) = match rest.strip_prefix('{') {
            None => ("", rest),
            Some(rest) => {
                let close = end_of_labels(rest)?;
                (rest[..close].trim().trim_end_matches(','), &rest[close + 1..])
            }
        };
        // An exemplar is of the other format.
        let value = value.split(" # ").next().unwrap_or(value).trim();
        let mut parts = value.split_ascii_whitespace();
        parts.next()?.parse::<f64>().ok()?;
        let is_valid_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty();
        is_valid_name.then_some(Self { name, labels, value })
    }

    /// Writes the line with the label of its worker.
    fn write(&self, label: &str, text: &mut String) {
        let _ = write!(text, "{}{{{label}", self.name);
        for one in split_labels(self.labels) {
            text.push(',');
            match one.strip_prefix(LABEL).filter(|rest| rest.trim_start().starts_with('=')) {
                Some(rest) => {
                    let _ = write!(text, "{RENAMED}{rest}");
                }
                None => text.push_str(one),
            }
        }
        let _ = writeln!(text, "}} {}", self.value);
    }
}

/// The positions of bytes that are not inside a quoted value.
fn unquoted(text: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.bytes().enumerate().filter(move |(_, byte)| {
        let was_quoted = is_quoted;
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_quoted,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        !was_quoted
    })
}

/// Where the braces close.
fn end_of_labels(text: &str) -> Option<usize> {
    unquoted(text).find(|(_, byte)| *byte == b'}').map(|(at, _)| at)
}

/// `name="value"` for `name="value"`.
fn split_labels(text: &str) -> impl Iterator<Item = &str> {
    let ends = unquoted(text).filter(|(_, byte)| *byte == b',').map(|(at, _)| at).chain([text.len()]);
    let mut start = 0;
    ends.filter_map(move |end| {
        let one = text.get(start..end).map(str::trim);
        start = end + 1;
        one.filter(|one| !one.is_empty())
    })
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_workers_are_joined() {
        let mut page = JoinedPage::default();
        page.add(
            "http://a:1",
            "# HELP run Running, in all.\n# TYPE run gauge\nrun{model=\"m\"} 3\n# HELP t Time.\n# TYPE t histogram\n\
             t_bucket{le=\"+Inf\"} 2\nt_sum 0.5\nt_count 2\nbare 7 1700000000000\n",
        );
        page.add("http://b:1", "# TYPE run gauge\nrun{model=\"m\"} 4\n# TYPE t histogram\nt_count 1\n");
        page.add_failed("http://c:1", "no response\nwithin 5 s");
        let expected = "# http://c:1: no response within 5 s\n\
            # HELP sgl_router_engine_metrics_up 1 if the worker's metrics are on this page, else 0\n\
            # TYPE sgl_router_engine_metrics_up gauge\n\
            sgl_router_engine_metrics_up{worker=\"http://a:1\"} 1\n\
            sgl_router_engine_metrics_up{worker=\"http://b:1\"} 1\n\
            sgl_router_engine_metrics_up{worker=\"http://c:1\"} 0\n\
            # HELP run Running, in all.\n# TYPE run gauge\n\
            run{worker=\"http://a:1\",model=\"m\"} 3\nrun{worker=\"http://b:1\",model=\"m\"} 4\n\
            # HELP t Time.\n# TYPE t histogram\nt_bucket{worker=\"http://a:1\",le=\"+Inf\"} 2\n\
            t_sum{worker=\"http://a:1\"} 0.5\nt_count{worker=\"http://a:1\"} 2\n\
            t_count{worker=\"http://b:1\"} 1\nbare{worker=\"http://a:1\"} 7 1700000000000\n";
        assert_eq!(page.render(), expected);
    }

    #[test]
    fn labels_of_workers_stay() {
        let mut page = JoinedPage::default();
        page.add("http://a:1", "x{worker=\"7\",note=\"a,}\\\"{b\",worker_rank=\"0\",} NaN\ny{} +Inf\n");
        let text = page.render();
        let x = "x{worker=\"http://a:1\",exported_worker=\"7\",note=\"a,}\\\"{b\",worker_rank=\"0\"} NaN\n";
        assert!(text.ends_with(&format!("{x}y{{worker=\"http://a:1\"}} +Inf\n")), "{text}");
    }

    #[test]
    fn unusable_lines_are_counted() {
        let mut page = JoinedPage::default();
        page.add("http://a:1", "# TYPE x gauge\nx 1\n");
        page.add("http://b:1", "# TYPE x counter\nx 2\n<html>\ny{a=\"1 3\nz one\n");
        let text = page.render();
        assert!(text.contains("# http://b:1: 3 invalid lines left out\n"), "{text}");
        assert!(text.contains("# http://b:1: 1 samples of another type"), "{text}");
        assert!(
            text.contains("\nx{worker=\"http://a:1\"} 1\n") && !text.contains("x{worker=\"http://b:1\"}")
        );
    }
}

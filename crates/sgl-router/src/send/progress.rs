//! How far the load is, while it runs.

use indicatif::{ProgressBar, ProgressStyle};
use router_load::LoadSummary;
use std::time::{Duration, Instant};

/// A terminal is told this often; a log file need not be told more often than the other.
const ON_TERMINAL: Duration = Duration::from_millis(250);
const IN_LOG: Duration = Duration::from_secs(10);

/// A bar and a line of totals on standard error; plain lines now and then where that is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    told: Instant,
}

impl Progress {
    pub(super) fn new(requests: usize) -> Self {
        let bar = ProgressBar::new(requests as u64);
        // The template is a constant; a wrong one would show in the first run.
        if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {elapsed} {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(ON_TERMINAL);
        Self { bar, told: Instant::now() }
    }

    pub(super) fn show(&mut self, summary: &LoadSummary) {
        let pause = if self.bar.is_hidden() { IN_LOG } else { ON_TERMINAL };
        if self.told.elapsed() < pause {
            return;
        }
        self.told = Instant::now();
        let line = line(summary);
        if self.bar.is_hidden() {
            eprintln!("{}/{} {line}", summary.ended(), summary.planned);
        } else {
            self.bar.set_position(summary.ended());
            self.bar.set_message(line);
        }
    }

    pub(super) fn clear(self) {
        self.bar.finish_and_clear();
    }
}

fn line(summary: &LoadSummary) -> String {
    let millis =
        |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), |s| format!("{:.0} ms", s * 1000.0));
    format!(
        "{:.1}/s, {} open, {} failed | E2E p50 {} p99 {} | TTFT p50 {} | {:.0} tok/s | late p99 {}",
        summary.responses_per_second(),
        summary.in_flight,
        summary.failed,
        millis(summary.latency.at(50.0)),
        millis(summary.latency.at(99.0)),
        millis(summary.ttft.at(50.0)),
        summary.tokens_per_second(),
        summary.lateness.at(99.0).map_or_else(|| "-".to_owned(), |s| format!("{:.2} ms", s * 1000.0)),
    )
}

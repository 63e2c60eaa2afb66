//! The progress of a load.

use indicatif::{ProgressBar, ProgressStyle};
use router_load::LoadSummary;
use std::time::{Duration, Instant};

/// Pause between updates on a terminal.
const ON_TERMINAL: Duration = Duration::from_millis(250);
/// Pause between lines where standard error is not a terminal.
const IN_LOG: Duration = Duration::from_secs(10);

/// A bar and a line of totals on standard error; plain lines if it is not a terminal.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    updated_at: Instant,
}

impl Progress {
    pub(super) fn new(requests: usize) -> Self {
        let bar = ProgressBar::new(requests as u64);
        // The template is a constant, so it is valid.
        if let Ok(style) = ProgressStyle::with_template("[{bar:20}] {pos}/{len} {elapsed} {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(ON_TERMINAL);
        Self { bar, updated_at: Instant::now() }
    }

    pub(super) fn show(&mut self, summary: &LoadSummary) {
        let pause = if self.bar.is_hidden() { IN_LOG } else { ON_TERMINAL };
        if self.updated_at.elapsed() < pause {
            return;
        }
        self.updated_at = Instant::now();
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
        "{:.1}/s, {} in flight, {} failed | E2E p50 {} p99 {} | TTFT p50 {} | {:.0} tok/s | late p99 {}",
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

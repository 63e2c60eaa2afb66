//! The totals of a load test.

use crate::histogram::TimeHistogram;
use crate::outcome::RequestOutcome;
use crate::plan::LoadPlan;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Seconds. A sender whose 99th percentile of lateness is above this distorts the measured latencies: 5 ms is the time
/// of a few output tokens on a busy engine.
const MAX_LATENESS_P99_SECS: f64 = 0.005;

/// Clients in the text of a summary; the JSON has all of them.
const MAX_CLIENTS: usize = 12;

/// The totals of the requests of one client.
#[derive(Clone, Debug, Default)]
pub struct ClientSummary {
    /// Its name.
    pub name: String,
    /// Requests with a complete response without an error.
    pub answered: u64,
    /// Requests that failed.
    pub failed: u64,
    /// From arrival to the last byte, of successful requests.
    pub latency: TimeHistogram,
    /// From arrival to the first event, of streams.
    pub ttft: TimeHistogram,
    /// Generated tokens, as far as reported.
    pub output_tokens: u64,
}

impl ClientSummary {
    fn add(&mut self, outcome: &RequestOutcome) {
        if !outcome.is_ok() {
            self.failed += 1;
            return;
        }
        self.answered += 1;
        self.latency.add(outcome.latency());
        outcome.ttft().into_iter().for_each(|t| self.ttft.add(t));
        self.output_tokens += outcome.facts.usage.output_tokens.map_or(0, u64::from);
    }

    /// Generated tokens per response. `None` without a response.
    pub fn tokens_per_response(&self) -> Option<f64> {
        (self.answered > 0).then(|| self.output_tokens as f64 / self.answered as f64)
    }
}

/// The totals of a load test so far.
#[derive(Clone, Debug, Default)]
pub struct LoadSummary {
    /// Requests in the plan.
    pub planned: usize,
    /// Requests with a complete response without an error.
    pub answered: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests in flight.
    pub in_flight: usize,
    /// From arrival to the last byte, of successful requests.
    pub latency: TimeHistogram,
    /// From arrival to the first event, of streams.
    pub ttft: TimeHistogram,
    /// Time per output token after the first, of streams.
    pub tpot: TimeHistogram,
    /// How much later than planned requests were sent: this is an error of the sender.
    pub lateness: TimeHistogram,
    /// Prompt tokens, as far as reported.
    pub prompt_tokens: u64,
    /// Prompt tokens that workers had in their caches, as far as reported.
    pub cached_tokens: u64,
    /// Generated tokens, as far as reported.
    pub output_tokens: u64,
    /// Responses per worker, by the router's header.
    pub responses_by_worker: BTreeMap<String, u64>,
    /// The totals of each client, in the order of the plan; empty if it has none.
    pub clients: Vec<ClientSummary>,
    /// Failures per kind, and the text of the first of each.
    pub failures: BTreeMap<&'static str, (u64, String)>,
    /// From the start to the last response.
    pub duration: Duration,
    /// When the last request was sent, after the start.
    pub last_sent: Duration,
}

impl LoadSummary {
    /// Totals before the first outcome.
    pub(crate) fn new(plan: &LoadPlan) -> Self {
        let client =
            |name: &dyn fmt::Display| ClientSummary { name: name.to_string(), ..ClientSummary::default() };
        let clients = plan.clients.iter().map(|name| client(name)).collect();
        Self { planned: plan.requests.len(), clients, ..Self::default() }
    }

    /// Adds how a request of this client ended.
    pub(crate) fn add(&mut self, outcome: &RequestOutcome, client: Option<usize>, in_flight: usize) {
        if let Some(client) = client.and_then(|index| self.clients.get_mut(index)) {
            client.add(outcome);
        }
        self.in_flight = in_flight;
        self.duration = self.duration.max(outcome.finished);
        self.last_sent = self.last_sent.max(outcome.sent);
        if let Some(lateness) = outcome.lateness {
            self.lateness.add(lateness);
        }
        if let Some(failure) = &outcome.failure {
            self.failed += 1;
            self.failures.entry(failure.kind()).or_insert_with(|| (0, failure.to_string())).0 += 1;
            return;
        }
        self.answered += 1;
        self.latency.add(outcome.latency());
        outcome.ttft().into_iter().for_each(|t| self.ttft.add(t));
        outcome.tpot().into_iter().for_each(|t| self.tpot.add(t));
        let usage = &outcome.facts.usage;
        self.prompt_tokens += usage.prompt_tokens.map_or(0, u64::from);
        self.cached_tokens += usage.cached_tokens.map_or(0, u64::from);
        self.output_tokens += usage.output_tokens.map_or(0, u64::from);
        if let Some(worker) = &outcome.worker {
            match self.responses_by_worker.get_mut(worker) {
                Some(count) => *count += 1,
                None => drop(self.responses_by_worker.insert(worker.clone(), 1)),
            }
        }
    }

    /// Requests that have ended.
    pub const fn ended(&self) -> u64 {
        self.answered + self.failed
    }

    /// Generated tokens per second over the whole load.
    pub fn tokens_per_second(&self) -> f64 {
        self.output_tokens as f64 / self.duration.as_secs_f64().max(1e-9)
    }

    /// Successful responses per second over the whole load test.
    pub fn responses_per_second(&self) -> f64 {
        self.answered as f64 / self.duration.as_secs_f64().max(1e-9)
    }

    /// Requests sent per second, up to the last one. `None` of fewer than two.
    pub fn sent_per_second(&self) -> Option<f64> {
        let gaps = self.ended().checked_sub(1).filter(|n| *n > 0)?;
        Some(gaps as f64 / self.last_sent.as_secs_f64().max(1e-9))
    }

    /// Whether the sender was too late for valid measurements: p99 above 5 ms.
    pub fn is_late(&self) -> bool {
        self.lateness.at(99.0).is_some_and(|late| late > MAX_LATENESS_P99_SECS)
    }
}

impl fmt::Display for LoadSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = self.sent_per_second().map_or_else(String::new, |rate| format!("sent {rate:.1}/s, "));
        writeln!(
            f,
            "{} of {} requests in {:.2} s: {} answered, {} failed ({sent}answered {:.1}/s)",
            self.ended(),
            self.planned,
            self.duration.as_secs_f64(),
            self.answered,
            self.failed,
            self.responses_per_second()
        )?;
        for (count, first) in self.failures.values() {
            writeln!(f, "  {count} x {first}")?;
        }
        writeln!(
            f,
            "\n{:<22}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "milliseconds", "mean", "p50", "p90", "p99", "max"
        )?;
        for (name, times) in [
            ("E2E latency", &self.latency),
            ("time to first token", &self.ttft),
            ("time per output token", &self.tpot),
            ("sender's lateness", &self.lateness),
        ] {
            line(f, name, times)?;
        }
        writeln!(
            f,
            "\noutput tokens         {:>10.1}/s  ({} in all)",
            self.tokens_per_second(),
            self.output_tokens
        )?;
        if self.cached_tokens > 0 {
            let share = self.cached_tokens as f64 / self.prompt_tokens.max(1) as f64 * 100.0;
            writeln!(
                f,
                "prompt tokens cached  {share:>10.1} %   ({} of {})",
                self.cached_tokens, self.prompt_tokens
            )?;
        }
        for (worker, responses) in &self.responses_by_worker {
            let share = *responses as f64 / self.answered.max(1) as f64 * 100.0;
            writeln!(f, "{worker:<22}{share:>10.1} %   ({responses} responses)")?;
        }
        self.write_clients(f)
    }
}

impl LoadSummary {
    fn write_clients(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.clients.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\n{:<22}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "client, milliseconds", "answered", "failed", "E2E mean", "E2E p99", "TTFT p99", "tokens"
        )?;
        for client in self.clients.iter().take(MAX_CLIENTS) {
            write!(f, "{:<22}{:>10}{:>10}", client.name, client.answered, client.failed)?;
            for time in [client.latency.mean(), client.latency.at(99.0), client.ttft.at(99.0)] {
                let text = time.map_or_else(|| "-".to_owned(), |seconds| format!("{:.2}", seconds * 1000.0));
                write!(f, "{text:>10}")?;
            }
            let tokens = client.tokens_per_response();
            writeln!(f, "{:>10}", tokens.map_or_else(|| "-".to_owned(), |tokens| format!("{tokens:.1}")))?;
        }
        match self.clients.len().checked_sub(MAX_CLIENTS) {
            Some(more @ 1..) => writeln!(f, "and {more} more; --json has all clients"),
            _ => Ok(()),
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, times: &TimeHistogram) -> fmt::Result {
    if times.count() == 0 {
        return Ok(());
    }
    write!(f, "{name:<22}")?;
    for value in [times.mean(), times.at(50.0), times.at(90.0), times.at(99.0), times.max()] {
        write!(f, "{:>10.2}", value.unwrap_or_default() * 1000.0)?;
    }
    writeln!(f)
}

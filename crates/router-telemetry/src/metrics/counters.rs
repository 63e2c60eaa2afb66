//! The counters and histograms of workers: one series for each worker, and the sums of the whole fleet.
//!
//! Those of a worker exist once they have counted something. Those of the fleet exist from the start, so that the first
//! event is an increase.

use crate::breaker_state::BreakerState;
use crate::failure_reason::FailureReason;
use crate::prometheus::histogram::HistogramTotals;
use crate::worker::{OUTCOMES, TimeTotals, WorkerSums, WorkerTotals};
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use router_core::{Outcome, Route};
use std::fmt;
use std::sync::Arc;

/// One family of counters.
struct CounterFamily {
    name: &'static str,
    /// The name of the fleet's sums.
    fleet: &'static str,
    help: &'static str,
    /// The label beside the worker's, and its values.
    kinds: Option<(&'static str, Vec<&'static str>)>,
    /// Whether a worker has all its series from its first attempt on, those that are 0 included, so that shares of them are
    /// known; if not, each appears with its first event.
    starts_with_worker: bool,
    /// The counts, one for each value.
    counts: fn(&WorkerTotals) -> &[u64],
}

impl CounterFamily {
    const fn plain(
        [name, fleet]: [&'static str; 2],
        help: &'static str,
        counts: fn(&WorkerTotals) -> &[u64],
    ) -> Self {
        Self { name, fleet, help, kinds: None, starts_with_worker: true, counts }
    }

    fn encode(&self, sums: &WorkerSums, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.counts;
        let is_shown = |totals: &WorkerTotals, count: u64| {
            count > 0 || (self.starts_with_worker && totals.processed > 0)
        };
        let is_used = |totals: &WorkerTotals| counts(totals).iter().any(|count| is_shown(totals, *count));
        if sums.workers.iter().any(|(_, totals)| is_used(totals)) {
            let mut family = encoder.encode_descriptor(self.name, self.help, None, MetricType::Counter)?;
            for (worker, totals) in &sums.workers {
                for (at, count) in
                    counts(totals).iter().enumerate().filter(|(_, count)| is_shown(totals, **count))
                {
                    self.encode_one(&mut family, Some(worker), at, *count)?;
                }
            }
        }
        let help = format!("{}, of the whole fleet", self.help);
        let mut family = encoder.encode_descriptor(self.fleet, &help, None, MetricType::Counter)?;
        for (at, count) in counts(&sums.fleet).iter().enumerate() {
            self.encode_one(&mut family, None, at, *count)?;
        }
        Ok(())
    }

    fn encode_one(
        &self,
        family: &mut MetricEncoder<'_>,
        worker: Option<&Arc<str>>,
        at: usize,
        count: u64,
    ) -> fmt::Result {
        let kind = self.kinds.as_ref().and_then(|(label, kinds)| Some((*label, *kinds.get(at)?)));
        encode_counter(family, &labels(worker, kind), count)
    }
}

/// The labels of a series: the worker's, where it is one worker's, and one more.
fn labels<'a>(
    worker: Option<&'a Arc<str>>,
    other: Option<(&'static str, &'a str)>,
) -> Vec<(&'static str, &'a str)> {
    worker.map(|worker| ("worker", &**worker)).into_iter().chain(other).collect()
}

fn encode_counter(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], count: u64) -> fmt::Result {
    if labels.is_empty() {
        return family.encode_counter::<NoLabelSet, u64, f64>(&count, None);
    }
    family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&count, None)
}

/// The counters of all routers.
fn families() -> [CounterFamily; 9] {
    use std::slice::from_ref;
    [
        CounterFamily::plain(
            ["processed_requests", "fleet_processed_requests"],
            "Attempts that ended",
            |t| from_ref(&t.processed),
        ),
        CounterFamily {
            name: "worker_outcomes",
            fleet: "fleet_outcomes",
            help: "Attempts that ended, by outcome",
            kinds: Some(("outcome", OUTCOMES.map(Outcome::as_str).to_vec())),
            starts_with_worker: true,
            counts: |t| &t.outcomes,
        },
        CounterFamily {
            name: "worker_cb_transitions",
            fleet: "fleet_cb_transitions",
            help: "State changes of circuit breakers, by new state",
            kinds: Some(("to", BreakerState::ALL.map(BreakerState::as_str).to_vec())),
            starts_with_worker: false,
            counts: |t| &t.breaker,
        },
        CounterFamily {
            name: "worker_check_failures",
            fleet: "fleet_check_failures",
            help: "Failed health checks and connections that requests could not make, by reason",
            kinds: Some(("reason", FailureReason::ALL.map(FailureReason::as_str).to_vec())),
            starts_with_worker: false,
            counts: |t| &t.failures,
        },
        CounterFamily::plain(
            ["cache_hits", "fleet_cache_hits"],
            "Responses whose prompt was at least partly in the worker's cache",
            |t| from_ref(&t.hits),
        ),
        CounterFamily::plain(
            ["cache_misses", "fleet_cache_misses"],
            "Responses whose prompt was not in the worker's cache",
            |t| from_ref(&t.misses),
        ),
        CounterFamily::plain(
            ["prompt_tokens", "fleet_prompt_tokens"],
            "Prompt tokens, as workers reported them",
            |t| from_ref(&t.prompt_tokens),
        ),
        CounterFamily::plain(
            ["cached_tokens", "fleet_cached_tokens"],
            "Prompt tokens found in a cache, as workers reported them",
            |t| from_ref(&t.cached_tokens),
        ),
        CounterFamily::plain(
            ["output_tokens", "fleet_output_tokens"],
            "Generated tokens, reported or counted from events",
            |t| from_ref(&t.output_tokens),
        ),
    ]
}

/// The counters of the legs of split requests.
fn leg_families() -> [CounterFamily; 5] {
    use std::slice::from_ref;
    [
        CounterFamily::plain(
            ["pd_prefill_requests", "fleet_pd_prefill_requests"],
            "Prefill legs that ended",
            |t| from_ref(&t.prefill.requests),
        ),
        CounterFamily::plain(
            ["pd_prefill_errors", "fleet_pd_prefill_errors"],
            "Prefill legs that failed or were rejected as overloaded",
            |t| from_ref(&t.prefill.errors),
        ),
        CounterFamily::plain(
            ["pd_decode_requests", "fleet_pd_decode_requests"],
            "Decode legs that ended",
            |t| from_ref(&t.decode.requests),
        ),
        CounterFamily::plain(
            ["pd_decode_errors", "fleet_pd_decode_errors"],
            "Decode legs that failed or were rejected as overloaded",
            |t| from_ref(&t.decode.errors),
        ),
        CounterFamily::plain(
            ["pd_stream_errors", "fleet_pd_stream_errors"],
            "Split streams that failed after a part was sent to the client",
            |t| from_ref(&t.stream_errors),
        ),
    ]
}

/// One family of histograms.
struct HistogramFamily {
    name: &'static str,
    fleet: &'static str,
    help: &'static str,
    totals: fn(&TimeTotals) -> &HistogramTotals,
}

const HISTOGRAMS: [HistogramFamily; 3] = [
    HistogramFamily {
        name: "ttft_seconds",
        fleet: "fleet_ttft_seconds",
        help: "From request sent to first byte; streams only",
        totals: |times| &times.ttft,
    },
    HistogramFamily {
        name: "tpot_seconds",
        fleet: "fleet_tpot_seconds",
        help: "Time per token after the first; streams only",
        totals: |times| &times.tpot,
    },
    HistogramFamily {
        name: "e2e_seconds",
        fleet: "fleet_e2e_seconds",
        help: "From request received to last byte, by route",
        totals: |times| &times.e2e,
    },
];

impl HistogramFamily {
    fn encode(&self, sums: &WorkerSums, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let of_workers = sums.workers.iter().flat_map(|(worker, totals)| {
            let used = self.used(totals);
            used.map(move |(route, times)| (vec![("route", route), ("worker", &**worker)], times))
        });
        encode_histograms(encoder, [self.name, self.help], of_workers)?;
        let of_fleet = self.used(&sums.fleet).map(|(route, times)| (vec![("route", route)], times));
        encode_histograms(encoder, [self.fleet, &format!("{}, of the whole fleet", self.help)], of_fleet)
    }

    /// The routes with observations.
    fn used<'a>(
        &self,
        totals: &'a WorkerTotals,
    ) -> impl Iterator<Item = (&'static str, &'a HistogramTotals)> + use<'a> {
        let of = self.totals;
        let routes = Route::ALL.iter().map(|route| route.as_str());
        routes.zip(totals.times.iter().map(of)).filter(|(_, times)| times.count() > 0)
    }
}

fn encode_histograms<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    [name, help]: [&str; 2],
    series: impl Iterator<Item = (Vec<(&'static str, &'a str)>, &'a HistogramTotals)>,
) -> fmt::Result {
    let mut series = series.peekable();
    if series.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, times) in series {
        times.encode(family.encode_family(&labels.as_slice())?)?;
    }
    Ok(())
}

fn encode_decisions(sums: &WorkerSums, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let of = |worker: Option<&'_ Arc<str>>, totals: &WorkerTotals, family: &mut MetricEncoder<'_>| {
        totals.decisions.iter().filter(|(_, count)| worker.is_none() || *count > 0).try_for_each(
            |(policy, count)| {
                let mut labels = vec![("policy", &**policy)];
                labels.extend(worker.map(|worker| ("worker", &**worker)));
                encode_counter(family, &labels, *count)
            },
        )
    };
    let help = "Decisions by policy and chosen worker";
    if sums.workers.iter().any(|(_, totals)| totals.decisions.iter().any(|(_, count)| *count > 0)) {
        let mut family = encoder.encode_descriptor("policy_decisions", help, None, MetricType::Counter)?;
        for (worker, totals) in &sums.workers {
            of(Some(worker), totals, &mut family)?;
        }
    }
    let help = "Decisions by policy, of the whole fleet";
    let mut family = encoder.encode_descriptor("fleet_decisions", help, None, MetricType::Counter)?;
    of(None, &sums.fleet, &mut family)
}

/// Writes all counters and histograms; those of split requests where `has_legs` says so.
pub(crate) fn encode(sums: &WorkerSums, has_legs: bool, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    encode_decisions(sums, encoder)?;
    for family in families() {
        family.encode(sums, encoder)?;
    }
    for family in leg_families().iter().filter(|_| has_legs) {
        family.encode(sums, encoder)?;
    }
    HISTOGRAMS.iter().try_for_each(|family| family.encode(sums, encoder))
}

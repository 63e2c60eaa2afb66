//! Traces of the last requests in memory, bounded in number and age.

use super::trace::{RequestTrace, TraceStatus};
use crate::clock::Clock;
use crate::policy_names::PolicyNames;
use crate::record::Record;
use crate::worker::WorkerNames;
use parking_lot::Mutex;
use router_config::TraceConfig;
use router_core::Time;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// The filter of a list of traces.
#[derive(Clone, Debug)]
pub struct TraceQuery {
    /// The maximum number of traces; the newest come first.
    pub limit: usize,
    /// Only requests that had an attempt on this worker.
    pub worker: Option<String>,
    /// Only requests in this state.
    pub status: Option<TraceStatus>,
}

/// The traces of one router.
#[derive(Debug)]
pub struct TraceStore {
    config: TraceConfig,
    clock: Clock,
    policies: Arc<PolicyNames>,
    index: Mutex<TraceIndex>,
}

#[derive(Debug, Default)]
struct TraceIndex {
    by_id: HashMap<Arc<str>, (u64, RequestTrace)>,
    /// Ids by age, oldest first. A request id that was used twice is in here twice; only the entry whose number is that in
    /// `by_id` is current.
    by_age: VecDeque<(u64, Arc<str>)>,
    /// The number of the last trace, counted from 1.
    last_number: u64,
}

impl TraceStore {
    pub(crate) fn new(config: TraceConfig, clock: Clock, policies: Arc<PolicyNames>) -> Self {
        Self { config, clock, policies, index: Mutex::default() }
    }

    /// Adds a record to the trace of its request.
    pub(crate) fn record(&self, record: &Record, names: &WorkerNames) {
        let mut index = self.index.lock();
        match record {
            Record::Decision(d) => {
                let id = d.info.request_id.as_str();
                // Attempt 0 starts a new trace, even if the request id was used before.
                if d.info.attempt == 0 || !index.by_id.contains_key(id) {
                    index.add(RequestTrace::of_decision(d));
                }
                index.update(id, |trace| trace.decided(d, names));
            }
            Record::FirstByte(id) => index.update(id.as_str(), RequestTrace::first_byte_received),
            Record::Completion(c) => index.update(c.info.request_id.as_str(), |trace| trace.completed(c)),
            Record::ErrorResponse(r) => {
                let id = r.request_id.as_str();
                let known = index.by_id.get(id).is_some_and(|(_, t)| t.received_at == r.received_at);
                if !known {
                    index.add(RequestTrace::of_error_response(r));
                }
                index.update(id, |trace| trace.error_response(r));
            }
            Record::Model(..) | Record::Joined(..) | Record::Left(..) | Record::Sync(_) => {}
        }
        index.trim(&self.config, self.clock.now());
    }

    /// The trace of one request, as JSON. `policy` is named where no policy decided.
    pub fn get(&self, policy: &str, id: &str) -> Option<Value> {
        let mut index = self.index.lock();
        index.trim(&self.config, self.clock.now());
        index.by_id.get(id).map(|(_, trace)| trace.json(&self.policies, policy, &self.clock))
    }

    /// The traces that match the query, as JSON, newest first. `policy` is named where no policy decided.
    pub fn list(&self, policy: &str, query: &TraceQuery) -> Vec<Value> {
        let mut index = self.index.lock();
        index.trim(&self.config, self.clock.now());
        let matches = |trace: &&RequestTrace| {
            query.worker.as_ref().is_none_or(|url| trace.has_attempt_on(url))
                && query.status.is_none_or(|status| trace.status == status)
        };
        let found = index.newest_first().filter(matches).take(query.limit);
        found.map(|trace| trace.json(&self.policies, policy, &self.clock)).collect()
    }

    /// Counts of traces by worker, state and route, and the times of the oldest and the newest, as JSON.
    pub fn stats(&self) -> Value {
        let mut index = self.index.lock();
        index.trim(&self.config, self.clock.now());
        let mut workers = BTreeMap::<&str, u64>::new();
        let mut routes = BTreeMap::<&str, u64>::new();
        let mut states: Map<String, Value> =
            TraceStatus::ALL.iter().map(|s| (s.as_str().to_owned(), json!(0))).collect();
        for (_, trace) in index.by_id.values() {
            *workers.entry(trace.worker().map_or("none", |url| url)).or_default() += 1;
            *routes.entry(trace.route.as_str()).or_default() += 1;
            if let Some(n) = states.get_mut(trace.status.as_str()) {
                *n = json!(n.as_u64().unwrap_or(0) + 1);
            }
        }
        let unix = |trace: Option<&RequestTrace>| trace.map(|t| self.clock.unix(t.received_at).as_secs_f64());
        json!({
            "total_traces": index.by_id.len(),
            "node_distribution": workers,
            "status_distribution": states,
            "route_distribution": routes,
            "oldest_trace": unix(index.newest_first().last()),
            "newest_trace": unix(index.newest_first().next()),
        })
    }
}

impl TraceIndex {
    fn add(&mut self, trace: RequestTrace) {
        self.last_number += 1;
        self.by_age.push_back((self.last_number, Arc::clone(&trace.id)));
        self.by_id.insert(Arc::clone(&trace.id), (self.last_number, trace));
    }

    fn update(&mut self, id: &str, update: impl FnOnce(&mut RequestTrace)) {
        // A trace that was removed already is not added again.
        if let Some((_, trace)) = self.by_id.get_mut(id) {
            update(trace);
        }
    }

    fn newest_first(&self) -> impl Iterator<Item = &RequestTrace> {
        self.by_age.iter().rev().filter_map(|(number, id)| {
            self.by_id.get(id).filter(|(current, _)| current == number).map(|(_, trace)| trace)
        })
    }

    /// Removes traces that are too many or too old.
    fn trim(&mut self, config: &TraceConfig, now: Time) {
        while let Some((number, id)) = self.by_age.front() {
            let current = self.by_id.get(id).filter(|(b, _)| b == number).map(|(_, trace)| trace);
            let keep = current.is_some_and(|trace| {
                self.by_id.len() <= config.max_entries && now.since(trace.received_at) <= config.ttl
            });
            if keep {
                return;
            }
            if current.is_some() {
                let id = Arc::clone(id);
                self.by_id.remove(&id);
            }
            self.by_age.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt_info::AttemptInfo;
    use crate::metrics::Metrics;
    use crate::record::{CompletionRecord, DecisionRecord};
    use crate::worker::WorkerTelemetry;
    use http::HeaderValue;
    use router_core::{
        AttemptResult, Balancer, ExplainLevel, MAX_TERMS, Outcome, Policy, Reason, RequestFeatures,
        ScoreTerms, WorkerInfo, policy,
    };
    use std::time::Duration;

    /// A policy that gives every candidate the maximum number of terms.
    #[derive(Debug)]
    struct TenTerms;

    impl Policy for TenTerms {
        fn name(&self) -> &'static str {
            "ten_terms"
        }

        fn decide(&mut self, mut cx: policy::DecisionContext<'_>) -> router_core::Decision {
            const NAMES: [&str; MAX_TERMS] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
            cx.lowest(
                Reason::LowestCost,
                |w| f64::from(w.in_flight),
                |_| ScoreTerms::new(NAMES.map(|n| (n, 1.5))),
            )
        }
    }

    fn resident_bytes() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// A balancer with eight workers.
    struct TraceBench {
        balancer: Balancer,
        names: WorkerNames,
    }

    impl TraceBench {
        fn new() -> Self {
            let mut balancer = Balancer::new(Box::new(TenTerms), 1);
            let metrics = Metrics::new("ten_terms");
            let mut names = WorkerNames::default();
            for n in 0..8 {
                let url: Arc<str> = format!("http://10.0.0.{n}:30000").into();
                let id = balancer.join(Time::ZERO, WorkerInfo::new(&url));
                let metrics = metrics.worker(&url);
                names.join(&Arc::new(WorkerTelemetry { id, name: Arc::clone(&url), url, metrics }));
            }
            Self { balancer, names }
        }

        fn run_request(&mut self, traces: &TraceStore, id: &str, at: Time) {
            let features = RequestFeatures::default();
            let routed = self.balancer.dispatch(at, &features, &[], ExplainLevel::All).unwrap();
            let info = AttemptInfo::new((&HeaderValue::from_str(id).unwrap()).into(), &features, at);
            let decision = DecisionRecord {
                info: info.clone(),
                at,
                decision: routed.decision,
                snapshot: routed.snapshot,
                chosen: routed.chosen,
                scores: routed.scores,
                shadows: routed.shadows,
                took: Duration::from_nanos(500),
            };
            traces.record(&Record::Decision(decision), &self.names);
            let completion = self.balancer.finish(at, routed.ticket, AttemptResult::of(Outcome::Success));
            let (in_flight, forwarded, error) = (0, true, None);
            let record = CompletionRecord { info, completion, in_flight, forwarded, error };
            traces.record(&Record::Completion(record), &self.names);
        }
    }

    #[test]
    fn hundred_thousand_traces_fit_200_mib() {
        let config = TraceConfig { max_entries: 100_000, ttl: Duration::from_secs(3600) };
        let traces = TraceStore::new(config, Clock::start(), Arc::default());
        let mut bench = TraceBench::new();
        let before = resident_bytes();
        for n in 0..110_000 {
            bench.run_request(&traces, &format!("chatcmpl-{n:024}"), Time::ZERO);
        }
        let grown = resident_bytes().saturating_sub(before);
        assert_eq!(traces.stats()["total_traces"], 100_000);
        assert!(grown < 200 << 20, "{} MiB for 100,000 traces of 8 candidates with 10 terms", grown >> 20);
        println!("{} MiB for 100,000 traces of 8 candidates with 10 terms", grown >> 20);
    }

    #[tokio::test(start_paused = true)]
    async fn old_traces_expire_and_reused_ids_restart() {
        let config = TraceConfig { max_entries: 10, ttl: Duration::from_secs(60) };
        let clock = Clock::start();
        let traces = TraceStore::new(config, clock, Arc::default());
        let mut bench = TraceBench::new();
        bench.run_request(&traces, "old", clock.now());
        tokio::time::advance(Duration::from_secs(50)).await;
        bench.run_request(&traces, "again", clock.now());
        bench.run_request(&traces, "again", clock.now());
        let all = TraceQuery { limit: 100, worker: None, status: None };
        assert_eq!(traces.list("p", &all).len(), 2);
        assert_eq!(traces.get("p", "again").unwrap()["attempts"].as_array().unwrap().len(), 1);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(traces.get("p", "old").is_none() && traces.get("p", "again").is_some());
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(traces.stats()["total_traces"], 0);
    }
}

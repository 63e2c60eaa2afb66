//! The last requests, in memory: bounded in number and in age.

use super::trace::{Trace, TraceStatus};
use crate::clock::Clock;
use crate::record::Record;
use parking_lot::Mutex;
use router_config::TraceConfig;
use router_core::Time;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Which traces are asked for.
#[derive(Clone, Debug)]
pub struct TraceQuery {
    /// How many at most, newest first.
    pub limit: usize,
    /// Only those that were sent to this worker.
    pub worker: Option<String>,
    /// Only those in this state.
    pub status: Option<TraceStatus>,
}

/// All traces of one router.
#[derive(Debug)]
pub struct TraceStore {
    config: TraceConfig,
    clock: Clock,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    by_id: HashMap<Arc<str>, (u64, Trace)>,
    /// Ids by age, oldest first. A request id that came again is here twice; its number tells which one counts.
    by_age: VecDeque<(u64, Arc<str>)>,
    /// How many traces there ever were.
    born: u64,
}

impl TraceStore {
    pub(crate) fn new(config: TraceConfig, clock: Clock) -> Self {
        Self { config, clock, store: Mutex::default() }
    }

    /// Takes one record in.
    pub(crate) fn take(&self, record: &Record) {
        let mut store = self.store.lock();
        match record {
            Record::Decision(d) => {
                let id = d.info.id();
                // A first attempt is a new request, also when its id was used before.
                if d.info.attempt == 0 || !store.by_id.contains_key(id.as_ref()) {
                    store.add(Trace::of_decision(d));
                }
                store.change(&id, |trace| trace.decided(d));
            }
            Record::Started(id) => store.change(&String::from_utf8_lossy(id.as_bytes()), Trace::started),
            Record::Completion(c) => store.change(&c.info.id(), |trace| trace.completed(c)),
            Record::ErrorResponse(r) => {
                let id = String::from_utf8_lossy(r.request_id.as_bytes());
                let known = store.by_id.get(id.as_ref()).is_some_and(|(_, t)| t.received_at == r.received_at);
                if !known {
                    store.add(Trace::of_error_response(r));
                }
                store.change(&id, |trace| trace.error_response(r));
            }
            Record::Sync(_) => {}
        }
        store.trim(&self.config, self.clock.now());
    }

    /// The trace of one request.
    pub fn get(&self, policy: &str, id: &str) -> Option<Value> {
        let mut store = self.store.lock();
        store.trim(&self.config, self.clock.now());
        store.by_id.get(id).map(|(_, trace)| trace.json(policy, &self.clock))
    }

    /// The traces that match, newest first.
    pub fn list(&self, policy: &str, query: &TraceQuery) -> Vec<Value> {
        let mut store = self.store.lock();
        store.trim(&self.config, self.clock.now());
        let fits = |trace: &&Trace| {
            query.worker.as_ref().is_none_or(|url| trace.touches(url))
                && query.status.is_none_or(|status| trace.status == status)
        };
        let found = store.newest_first().filter(fits).take(query.limit);
        found.map(|trace| trace.json(policy, &self.clock)).collect()
    }

    /// How many traces there are, by worker, state and route, and how old they are.
    pub fn stats(&self) -> Value {
        let mut store = self.store.lock();
        store.trim(&self.config, self.clock.now());
        let mut workers = BTreeMap::<&str, u64>::new();
        let mut routes = BTreeMap::<&str, u64>::new();
        let mut states: Map<String, Value> =
            TraceStatus::ALL.iter().map(|s| (s.as_str().to_owned(), json!(0))).collect();
        for (_, trace) in store.by_id.values() {
            *workers.entry(trace.worker().map_or("none", |url| url)).or_default() += 1;
            *routes.entry(trace.route.as_str()).or_default() += 1;
            if let Some(n) = states.get_mut(trace.status.as_str()) {
                *n = json!(n.as_u64().unwrap_or(0) + 1);
            }
        }
        let unix = |trace: Option<&Trace>| trace.map(|t| self.clock.unix(t.received_at).as_secs_f64());
        json!({
            "total_traces": store.by_id.len(),
            "node_distribution": workers,
            "status_distribution": states,
            "route_distribution": routes,
            "oldest_trace": unix(store.newest_first().last()),
            "newest_trace": unix(store.newest_first().next()),
        })
    }
}

impl Store {
    fn add(&mut self, trace: Trace) {
        self.born += 1;
        self.by_age.push_back((self.born, Arc::clone(&trace.id)));
        self.by_id.insert(Arc::clone(&trace.id), (self.born, trace));
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Trace)) {
        // A trace that is gone already is not brought back.
        if let Some((_, trace)) = self.by_id.get_mut(id) {
            change(trace);
        }
    }

    fn newest_first(&self) -> impl Iterator<Item = &Trace> {
        self.by_age.iter().rev().filter_map(|(born, id)| {
            self.by_id.get(id).filter(|(current, _)| current == born).map(|(_, trace)| trace)
        })
    }

    fn trim(&mut self, config: &TraceConfig, now: Time) {
        while let Some((born, id)) = self.by_age.front() {
            let current = self.by_id.get(id).filter(|(b, _)| b == born).map(|(_, trace)| trace);
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
    use crate::metrics::Metrics;
    use crate::record::{AttemptInfo, CompletionRecord, DecisionRecord};
    use crate::worker::{WorkerDirectory, WorkerTelemetry};
    use http::HeaderValue;
    use router_core::{
        AttemptResult, Balancer, ExplainLevel, MAX_TERMS, Outcome, Policy, Reason, RequestFeatures,
        ScoreTerms, WorkerInfo, policy,
    };
    use std::time::Duration;

    /// Ten terms for every candidate: as much as any policy can tell.
    #[derive(Debug)]
    struct Talkative;

    impl Policy for Talkative {
        fn name(&self) -> &'static str {
            "talkative"
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

    /// A balancer with eight workers, and the way of one request through it.
    struct Bench {
        balancer: Balancer,
        workers: WorkerDirectory,
    }

    impl Bench {
        fn new() -> Self {
            let mut balancer = Balancer::new(Box::new(Talkative), 1);
            let metrics = Metrics::new("talkative");
            let workers = (0..8).map(|n| {
                let url: Arc<str> = format!("http://10.0.0.{n}:30000").into();
                let id = balancer.join(Time::ZERO, WorkerInfo::new(&url));
                let metrics = metrics.worker(&url);
                Some(Arc::new(WorkerTelemetry { id, name: Arc::clone(&url), url, metrics }))
            });
            let workers = Arc::new(workers.collect());
            Self { balancer, workers }
        }

        fn pass(&mut self, traces: &TraceStore, id: &str, at: Time) {
            let features = RequestFeatures::default();
            let routed = self.balancer.dispatch(at, &features, &[], ExplainLevel::All).unwrap();
            let info = AttemptInfo::new(HeaderValue::from_str(id).unwrap(), &features, at);
            let worker = Arc::clone(self.workers[routed.decision.worker.slot()].as_ref().unwrap());
            traces.take(&Record::Decision(DecisionRecord {
                info: info.clone(),
                at,
                worker: Arc::clone(&worker),
                workers: Arc::clone(&self.workers),
                decision: routed.decision,
                snapshot: routed.snapshot,
                chosen: routed.chosen,
                scores: routed.scores,
                shadows: routed.shadows,
                took: Duration::from_nanos(500),
            }));
            let completion = self.balancer.finish(at, routed.ticket, AttemptResult::of(Outcome::Success));
            let (in_flight, forwarded, error) = (0, true, None);
            let record = CompletionRecord { info, worker, completion, in_flight, forwarded, error };
            traces.take(&Record::Completion(record));
        }
    }

    #[test]
    fn a_hundred_thousand_traces_stay_under_two_hundred_megabytes() {
        let config = TraceConfig { max_entries: 100_000, ttl: Duration::from_secs(3600) };
        let traces = TraceStore::new(config, Clock::start());
        let mut bench = Bench::new();
        let before = resident_bytes();
        for n in 0..110_000 {
            bench.pass(&traces, &format!("chatcmpl-{n:024}"), Time::ZERO);
        }
        let grown = resident_bytes().saturating_sub(before);
        assert_eq!(traces.stats()["total_traces"], 100_000);
        assert!(grown < 200 << 20, "{} MiB for 100,000 traces of 8 candidates with 10 terms", grown >> 20);
        println!("{} MiB for 100,000 traces of 8 candidates with 10 terms", grown >> 20);
    }

    #[tokio::test(start_paused = true)]
    async fn old_traces_go_and_an_id_used_again_is_a_new_trace() {
        let config = TraceConfig { max_entries: 10, ttl: Duration::from_secs(60) };
        let clock = Clock::start();
        let traces = TraceStore::new(config, clock);
        let mut bench = Bench::new();
        bench.pass(&traces, "old", clock.now());
        tokio::time::advance(Duration::from_secs(50)).await;
        bench.pass(&traces, "again", clock.now());
        bench.pass(&traces, "again", clock.now());
        let all = TraceQuery { limit: 100, worker: None, status: None };
        assert_eq!(traces.list("p", &all).len(), 2);
        assert_eq!(traces.get("p", "again").unwrap()["attempts"].as_array().unwrap().len(), 1);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert!(traces.get("p", "old").is_none() && traces.get("p", "again").is_some());
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(traces.stats()["total_traces"], 0);
    }
}

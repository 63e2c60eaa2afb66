//! The loop that samples the router, and what it keeps from one sample to the next.

use super::peers::{ERROR, compare, predicted_ratios};
use super::rows::WorkerHistory;
use super::shadow_pairs::Shadows;
use super::window::{Counted, EventRate, RecentValues, WINDOW, rounded};
use super::{choices, fleet, rows};
use crate::state::AppState;
use crate::viewers::{Publisher, Watched};
use router_core::{Time, WorkerId};
use router_live::{
    DECISIONS_KEPT, DecisionRow, Delta, ModelRow, PoolScale, ShadowRow, Snapshot, Totals, WorkerRow, diagnose,
};
use router_telemetry::{LiveChoice, LiveCompletion, LiveEvent, LiveFirstByte, RecordedPool};
use router_upstream::WorkerPool;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How often the router is sampled.
const EVERY: Duration = Duration::from_millis(500);
/// Decisions that are explained for one sample, at most.
const DECISIONS_PER_SAMPLE: u32 = 10;
/// What changes slowly is looked at with every so many samples.
const SLOW_SAMPLES: u64 = 4;
/// Shadows are evaluated with every so many samples.
const SHADOW_SAMPLES: u64 = 10;
/// Times to the first byte that are kept of the whole fleet.
const KEPT_VALUES: usize = 2048;

/// Samples the router until nobody watches.
#[derive(Debug)]
pub(super) struct Sampler {
    state: Arc<AppState>,
    began: Time,
    seq: u64,
    workers: HashMap<(RecordedPool, WorkerId), WorkerHistory>,
    ttft: RecentValues,
    decisions: VecDeque<DecisionRow>,
    shadows: BTreeMap<RecordedPool, Shadows>,
    refusals: BTreeMap<&'static str, EventRate>,
    retries: EventRate,
    dropped: EventRate,
    dropped_before: u64,
    scale: Vec<PoolScale>,
    shadow_rows: Vec<ShadowRow>,
    lag: Duration,
}

/// The workers at one moment.
#[derive(Debug, Default)]
struct Sampled {
    rows: Vec<WorkerRow>,
    models: Vec<ModelRow>,
    counted: Counted,
    in_flight: u64,
}

impl Sampler {
    pub(super) fn new(state: Arc<AppState>) -> Self {
        let (began, dropped_before) = (state.clock.now(), state.main.telemetry.metrics.records_dropped());
        Self {
            state,
            began,
            seq: 0,
            workers: HashMap::new(),
            ttft: RecentValues::new(KEPT_VALUES),
            decisions: VecDeque::new(),
            shadows: BTreeMap::new(),
            refusals: BTreeMap::new(),
            retries: EventRate::default(),
            dropped: EventRate::default(),
            dropped_before,
            scale: Vec::new(),
            shadow_rows: Vec::new(),
            lag: Duration::ZERO,
        }
    }

    /// Samples the router for `publisher` until nobody watches.
    pub(super) async fn run(mut self, mut publisher: Publisher) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Arc::new(Snapshot::default());
        loop {
            let due = ticks.tick().await;
            self.lag = Instant::now().saturating_duration_since(due);
            let snapshot = Arc::new(self.sample());
            let delta = Delta::between(&last, &snapshot);
            last = Arc::clone(&snapshot);
            if publisher.publish(snapshot, &delta) == Watched::No {
                break;
            }
        }
        self.state.main.telemetry.feed.close();
    }

    /// The router at this moment.
    fn sample(&mut self) -> Snapshot {
        let state = Arc::clone(&self.state);
        let pools: Vec<_> = state.pools().collect();
        self.take_events(&pools);
        let now = state.clock.now();
        let watched = now.since(self.began);
        let is_slow_turn = self.seq.is_multiple_of(SLOW_SAMPLES);
        if is_slow_turn {
            self.scale = fleet::scale(&state);
        }
        if self.seq.is_multiple_of(SHADOW_SAMPLES) {
            self.shadow_rows = self.shadow_rows(&pools);
        }
        self.seq += 1;
        let sampled = self.sample_workers(&pools, now);
        let mut snapshot = Snapshot {
            seq: self.seq,
            at: rows::rounded_time(state.clock, now),
            router: fleet::router(&state),
            totals: self.totals(&sampled, now, watched),
            problems: Vec::new(),
            queue: fleet::queue(&state, &pools, &mut self.refusals, now, watched),
            workers: sampled.rows,
            models: sampled.models,
            scale: self.scale.clone(),
            decisions: self.decisions.iter().cloned().collect(),
            shadows: self.shadow_rows.clone(),
        };
        let dropped = state.main.telemetry.metrics.records_dropped();
        self.dropped.add(now, dropped.saturating_sub(std::mem::replace(&mut self.dropped_before, dropped)));
        snapshot.router.records_dropped_per_sec = Some(self.dropped.per_sec(now, watched));
        snapshot.router.window_secs = watched.min(WINDOW).as_secs_f64().round();
        snapshot.router.lag_secs = (self.lag.as_secs_f64() * 10.0).round() / 10.0;
        snapshot.problems = diagnose(&snapshot);
        snapshot
    }

    /// Takes in what has happened since the last sample.
    fn take_events(&mut self, pools: &[Arc<WorkerPool>]) {
        let now = self.state.clock.now();
        let (events, _) = self.state.main.telemetry.feed.take(DECISIONS_PER_SAMPLE);
        for event in events {
            match event {
                LiveEvent::Decided(choice) => self.decided(&choice, pools),
                LiveEvent::FirstByte(first) => self.began(first),
                LiveEvent::Completed(completion) => self.completed(&completion),
                LiveEvent::Refused(code) => self.refusals.entry(code).or_default().add(now, 1),
                LiveEvent::Retried => self.retries.add(now, 1),
            }
        }
    }

    fn decided(&mut self, choice: &LiveChoice, pools: &[Arc<WorkerPool>]) {
        let Some(pool) = pools.iter().find(|pool| pool.telemetry.pool == choice.pool) else { return };
        self.shadows.entry(choice.pool).or_default().decided(choice);
        let all =
            || std::iter::once(&choice.scores).chain(choice.shadows.iter().map(|shadow| &shadow.scores));
        let ratios = all().find_map(|scores| predicted_ratios(scores, choice.candidates)).unwrap_or_default();
        for (worker, ratio) in ratios {
            if let Some(history) = self.workers.get_mut(&(choice.pool, worker)) {
                history.predicted(choice.at, ratio);
            }
        }
        for score in all().flatten() {
            if let Some(error) = score.terms.get(ERROR).filter(|error| *error > 0.0)
                && let Some(history) = self.workers.get_mut(&(choice.pool, score.worker))
            {
                history.forecast_error = Some(rounded(error));
            }
        }
        if let Some(row) = choices::row(choice, pool, self.state.clock) {
            self.decisions.push_back(row);
            if self.decisions.len() > DECISIONS_KEPT {
                self.decisions.pop_front();
            }
        }
    }

    fn began(&mut self, first: LiveFirstByte) {
        self.ttft.push(first.at, first.secs);
        if let Some(history) = self.workers.get_mut(&(first.pool, first.worker)) {
            history.began(first);
        }
    }

    fn completed(&mut self, completion: &LiveCompletion) {
        if let Some(history) = self.workers.get_mut(&(completion.pool, completion.worker)) {
            history.completed(completion, self.state.clock);
        }
    }

    fn sample_workers(&mut self, pools: &[Arc<WorkerPool>], now: Time) -> Sampled {
        let mut sampled = Sampled::default();
        for pool in pools {
            let first = sampled.rows.len();
            let (mut in_flight, mut of_pool, mut decisions) = (0, Counted::default(), Vec::new());
            for load in pool.worker_loads() {
                let key = (pool.telemetry.pool, load.worker.id);
                let history = self.workers.entry(key).or_default();
                history.seen = self.seq;
                let counted = history.count(now, &load.worker.telemetry);
                counted.iter().for_each(|counted| of_pool.add(counted));
                decisions.push(counted.map(|counted| counted.decisions));
                in_flight += u64::from(load.in_flight);
                sampled.rows.push(rows::row(pool, &load, now, history, counted.as_ref()));
            }
            for (row, own) in sampled.rows[first..].iter_mut().zip(decisions) {
                let own = own.filter(|_| of_pool.decisions > 0);
                row.share = own.map(|own| rounded(own as f64 / of_pool.decisions as f64));
            }
            compare(&mut sampled.rows[first..]);
            sampled.counted.add(&of_pool);
            sampled.models.push(fleet::model(pool, in_flight));
            sampled.in_flight += in_flight;
        }
        let seq = self.seq;
        self.workers.retain(|_, history| history.seen == seq);
        sampled
    }

    fn totals(&mut self, sampled: &Sampled, now: Time, watched: Duration) -> Totals {
        let ttft = self.ttft.quantiles(now, [0.5, 0.99]);
        let counted = &sampled.counted;
        Totals {
            workers: sampled.rows.len() as u32,
            healthy: sampled.models.iter().map(|model| model.healthy).sum(),
            in_flight: sampled.in_flight,
            requests: self.state.main.telemetry.metrics.requests(),
            requests_per_sec: counted.requests_per_sec(),
            tokens_per_sec: counted.tokens_per_sec(),
            ttft_p50: ttft.map(|[median, _]| median),
            ttft_p99: ttft.map(|[_, high]| high),
            cached_share: counted.cached_share(),
            failure_share: counted.failure_share(),
            retries_per_sec: Some(self.retries.per_sec(now, watched)),
        }
    }

    fn shadow_rows(&self, pools: &[Arc<WorkerPool>]) -> Vec<ShadowRow> {
        let of = |pool: &Arc<WorkerPool>| {
            let model = pool.model.name();
            let shadows = self.shadows.get(&pool.telemetry.pool)?;
            Some(shadows.rows(model.as_deref()).collect::<Vec<_>>())
        };
        pools.iter().filter_map(of).flatten().collect()
    }
}

//! What is wrong with a router and its fleet, by what a snapshot says.

use crate::problem::{Problem, ProblemCode, Severity};
use crate::snapshot::Snapshot;
use crate::worker::WorkerRow;

/// So many workers with the same problem are named; of the others only the number is told.
pub const NAMED_WORKERS: usize = 3;

/// A worker counts as slow from so small a part of the speed of its peers, or from so many times the time that is predicted.
const SLOW_FACTOR: f64 = 2.0;
/// And from so many times their time to the first byte, which depends on what waits and runs at that moment.
const SLOW_TTFT_FACTOR: f64 = 3.0;
/// A worker whose first byte takes less than this is not called slow by it, in seconds.
const SLOW_TTFT: f64 = 0.05;
/// Fewer responses of a worker say nothing of its speed.
pub const FEWEST_RESPONSES: u32 = 4;
/// From which share of failed attempts on a worker counts as failing.
const FAILING_SHARE: f64 = 0.1;
/// From how many requests more in ten seconds on a queue counts as growing.
const GROWTH: i64 = 8;
/// For so long a worker that has joined may take until its first passed check, in seconds.
const PENDING_SECS: f64 = 10.0;
/// So long requests may wait, in seconds.
const WAIT_SECS: f64 = 1.0;
/// From which share of requests with further attempts on that is a problem.
const RETRY_SHARE: f64 = 0.05;
/// By so much the router's clock may come late, in seconds.
const LATE_SECS: f64 = 0.25;

/// What is wrong, the worst first. Workers with the same problem are one problem.
pub fn diagnose(now: &Snapshot) -> Vec<Problem> {
    let mut found = Vec::new();
    service(now, &mut found);
    queue(now, &mut found);
    workers(now, &mut found);
    router(now, &mut found);
    found.sort_by_key(|problem| problem.severity);
    found.into_iter().map(Problem::in_words).collect()
}

fn problem(code: ProblemCode, severity: Severity) -> Problem {
    Problem { code, severity, ..Problem::default() }
}

/// Whether there is anybody to serve requests.
fn service(now: &Snapshot, found: &mut Vec<Problem>) {
    if now.workers.is_empty() {
        found.push(problem(ProblemCode::NoWorker, Severity::Critical));
        return;
    }
    let several = now.models.len() > 1;
    for model in now.models.iter().filter(|model| model.healthy == 0 && (model.workers > 0 || several)) {
        found.push(Problem {
            count: model.workers.into(),
            model: model.model.clone().filter(|_| several),
            ..problem(ProblemCode::NoneInService, Severity::Critical)
        });
    }
}

/// Requests that are refused or wait.
fn queue(now: &Snapshot, found: &mut Vec<Problem>) {
    let refusals = now.queue.refusals.iter().filter(|refusals| refusals.per_sec > 0.0);
    if let Some(most) = refusals.clone().max_by(|a, b| a.per_sec.total_cmp(&b.per_sec)) {
        found.push(Problem {
            reason: Some(most.reason.clone()),
            value: Some(refusals.map(|refusals| refusals.per_sec).sum()),
            ..problem(ProblemCode::Refusing, Severity::Critical)
        });
    }
    let waiting: u64 = now.queue.waiting.iter().map(|class| class.requests).sum();
    if let Some(since) = now.queue.oldest_since.filter(|since| waiting > 0 && now.at - since >= WAIT_SECS) {
        let (value, since) = (Some(waiting as f64), Some(since));
        found.push(Problem { value, since, ..problem(ProblemCode::Waiting, Severity::Critical) });
    }
    for pool in &now.scale {
        let Some(saturation) = pool.saturation.value.filter(|saturation| *saturation > 1.0) else { continue };
        found.push(Problem {
            // A float cast saturates.
            count: pool.workers_needed.value.unwrap_or_default().ceil() as u64,
            model: pool.model.clone().filter(|_| now.scale.len() > 1),
            value: Some(saturation),
            ..problem(ProblemCode::Saturated, Severity::Warning)
        });
    }
    if let (Some(retries), Some(requests)) = (now.totals.retries_per_sec, now.totals.requests_per_sec)
        && requests > 0.0
        && retries >= RETRY_SHARE * requests
    {
        found.push(Problem { value: Some(retries), ..problem(ProblemCode::Retrying, Severity::Warning) });
    }
}

/// What is wrong with one worker: the code, how bad it is, why, a figure and since when.
struct Complaint {
    code: ProblemCode,
    severity: Severity,
    reason: Option<String>,
    value: Option<f64>,
    since: Option<f64>,
}

impl Complaint {
    fn new(code: ProblemCode, severity: Severity) -> Self {
        Self { code, severity, reason: None, value: None, since: None }
    }

    /// With the cause of the worker's state.
    fn because(self, row: &WorkerRow) -> Self {
        let cause = row.cause.as_ref();
        Self {
            reason: cause.map(|cause| cause.message.clone()),
            since: cause.and_then(|cause| cause.since).or(row.since),
            ..self
        }
    }
}

/// Problems of workers, those with the same one together.
fn workers(now: &Snapshot, found: &mut Vec<Problem>) {
    let first = found.len();
    for row in &now.workers {
        for complaint in complaints(now, row) {
            let known = found[first..].iter_mut().find(|problem| problem.code == complaint.code);
            match known {
                Some(problem) => join(problem, row, complaint),
                None => found.push(Problem {
                    workers: vec![row.name.clone()],
                    count: 1,
                    reason: complaint.reason,
                    value: complaint.value,
                    since: complaint.since,
                    ..problem(complaint.code, complaint.severity)
                }),
            }
        }
    }
}

/// Adds a further worker to a problem.
fn join(problem: &mut Problem, row: &WorkerRow, complaint: Complaint) {
    problem.count += 1;
    if problem.workers.len() < NAMED_WORKERS {
        problem.workers.push(row.name.clone());
    }
    // Several reasons are not one.
    if problem.reason != complaint.reason {
        problem.reason = None;
    }
    let is_sum = matches!(complaint.code, ProblemCode::WorkerDraining | ProblemCode::WorkerQueueGrowing);
    problem.value = match (problem.value, complaint.value) {
        (Some(a), Some(b)) if is_sum => Some(a + b),
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
    problem.since = match (problem.since, complaint.since) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
}

fn complaints(now: &Snapshot, row: &WorkerRow) -> Vec<Complaint> {
    use ProblemCode::{
        BreakerOpen, WeightsMissed, WorkerDown, WorkerDraining, WorkerFailing, WorkerNotReady,
        WorkerOverloaded, WorkerPending, WorkerQueueGrowing, WorkerSlow,
    };
    let mut all = Vec::new();
    match row.state.as_str() {
        "unhealthy" => return vec![Complaint::new(WorkerDown, Severity::Critical).because(row)],
        "not_ready" => return vec![Complaint::new(WorkerNotReady, Severity::Info).because(row)],
        "draining" | "drained" => {
            let since = row.cause.as_ref().and_then(|cause| cause.since).or(row.since);
            let value = Some(row.in_flight.into());
            return vec![Complaint { value, since, ..Complaint::new(WorkerDraining, Severity::Info) }];
        }
        "pending" => {
            if row.since.is_some_and(|since| now.at - since >= PENDING_SECS) {
                all.push(Complaint::new(WorkerPending, Severity::Warning).because(row));
            }
            return all;
        }
        _ => {}
    }
    if row.breaker.as_deref() == Some("open") {
        all.push(Complaint::new(BreakerOpen, Severity::Critical));
    }
    if row.failure_share.is_some_and(|share| share >= FAILING_SHARE) {
        let reason = row.last_fault.as_ref().map(|fault| fault.reason.clone());
        all.push(Complaint {
            reason,
            value: row.failure_share,
            ..Complaint::new(WorkerFailing, Severity::Warning)
        });
    }
    if let Some((evidence, factor)) = row.slowness() {
        let (reason, value) = (Some(evidence.to_owned()), Some(factor));
        all.push(Complaint { reason, value, ..Complaint::new(WorkerSlow, Severity::Warning) });
    }
    if let Some(growth) = row.waiting_growth.filter(|growth| *growth >= GROWTH) {
        all.push(Complaint {
            value: Some(growth as f64),
            ..Complaint::new(WorkerQueueGrowing, Severity::Warning)
        });
    }
    if row.has_outdated_weights {
        all.push(Complaint::new(WeightsMissed, Severity::Warning).because(row));
    }
    if row.is_overloaded {
        all.push(Complaint::new(WorkerOverloaded, Severity::Info));
    }
    all
}

impl WorkerRow {
    /// How many times slower than its peers the worker is, if it is much slower, and what shows it: `stream_speed`, `ttft`, or, where it
    /// hardly gets requests any more, the `prediction` of the policy.
    pub fn slowness(&self) -> Option<(&'static str, f64)> {
        let speed = self.relative_speed.filter(|speed| self.responses >= FEWEST_RESPONSES && *speed > 0.0);
        let by_speed = speed.map(|speed| 1.0 / speed);
        let is_long =
            self.first_bytes >= FEWEST_RESPONSES && self.ttft_p50.is_some_and(|ttft| ttft >= SLOW_TTFT);
        let by_ttft = self.relative_ttft.filter(|ratio| is_long && *ratio >= SLOW_TTFT_FACTOR);
        // What is measured is not predicted.
        let predicted = self.predicted_slowness.filter(|_| by_speed.is_none());
        let all = [("stream_speed", by_speed), ("ttft", by_ttft), ("prediction", predicted)];
        let known = all.into_iter().filter_map(|(evidence, factor)| Some((evidence, factor?)));
        known.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, factor)| *factor >= SLOW_FACTOR)
    }
}

/// What is wrong with the router itself.
fn router(now: &Snapshot, found: &mut Vec<Problem>) {
    let router = &now.router;
    if let Some(discovery) = router.discovery.as_ref().filter(|discovery| !discovery.is_current) {
        let since = discovery.heard_at;
        found.push(Problem { since, ..problem(ProblemCode::DiscoveryStale, Severity::Warning) });
    }
    if let Some(rate) = router.records_dropped_per_sec.filter(|rate| *rate > 0.0) {
        found.push(Problem { value: Some(rate), ..problem(ProblemCode::RecordsDropped, Severity::Warning) });
    }
    if router.lag_secs >= LATE_SECS {
        found.push(Problem {
            value: Some(router.lag_secs),
            ..problem(ProblemCode::RouterLate, Severity::Warning)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{DiscoveryState, Figure, ModelRow, PoolScale, Refusals, WaitingClass};
    use crate::worker::Cause;

    fn worker(n: usize) -> WorkerRow {
        WorkerRow {
            id: format!("{n}.1"),
            name: format!("http://w{n}:30000"),
            kind: "regular".to_owned(),
            state: "healthy".to_owned(),
            breaker: Some("closed".to_owned()),
            ttft_p50: Some(0.1),
            relative_speed: Some(1.0),
            relative_ttft: Some(1.0),
            responses: 9,
            first_bytes: 9,
            ..WorkerRow::default()
        }
    }

    fn fleet(workers: Vec<WorkerRow>) -> Snapshot {
        let healthy = workers.iter().filter(|row| row.state == "healthy").count() as u32;
        let model = ModelRow { workers: workers.len() as u32, healthy, ..ModelRow::default() };
        Snapshot { at: 1000.0, workers, models: vec![model], ..Snapshot::default() }
    }

    fn english(now: &Snapshot) -> Vec<String> {
        diagnose(now).into_iter().map(|problem| problem.en).collect()
    }

    #[test]
    fn healthy_fleet_has_no_problem() {
        assert_eq!(diagnose(&fleet((0..3).map(worker).collect())), []);
    }

    #[test]
    fn dead_slow_and_draining_workers_are_named_worst_first() {
        let mut all: Vec<_> = (0..4).map(worker).collect();
        (all[0].state, all[0].in_flight) = ("draining".to_owned(), 7);
        all[1].relative_speed = Some(0.25);
        all[2].state = "unhealthy".to_owned();
        all[2].cause = Some(Cause {
            reason: "connection_refused".to_owned(),
            message: "connection refused".to_owned(),
            since: Some(990.0),
        });
        let found = diagnose(&fleet(all));
        let said: Vec<_> = found.iter().map(|problem| problem.en.as_str()).collect();
        assert_eq!(
            said,
            [
                "w2:30000 is down: connection refused.",
                "w1:30000 is 4.0 times slower than the others, by its tokens per second.",
                "w0:30000 is draining: 7 requests left.",
            ]
        );
        assert_eq!((found[0].since, found[0].severity), (Some(990.0), Severity::Critical));
        let chinese: Vec<_> = found.iter().map(|problem| problem.zh.as_str()).collect();
        assert_eq!(
            chinese,
            [
                "w2:30000 不可用：connection refused。",
                "w1:30000 比其他 worker 慢 4.0 倍（按每秒 token 数）。",
                "w0:30000 正在排空：还剩 7 个请求。"
            ]
        );
    }

    #[test]
    fn slowness_shows_in_first_bytes_and_predictions_too() {
        let mut all: Vec<_> = (0..2).map(worker).collect();
        all[1].ttft_p50 = Some(0.35);
        all[1].relative_ttft = Some(3.5);
        let by_ttft = "w1:30000 is 3.5 times slower than the others, by its first tokens.";
        assert_eq!(english(&fleet(all.clone())), [by_ttft]);
        all[1].relative_ttft = Some(2.5);
        assert_eq!(diagnose(&fleet(all.clone())), [], "a queue does that");
        (all[1].relative_ttft, all[1].first_bytes, all[1].responses) = (Some(3.5), 3, 3);
        assert_eq!(diagnose(&fleet(all.clone())), [], "three responses may be long prompts");
        all[1].predicted_slowness = Some(5.0);
        all[0].predicted_slowness = Some(5.0);
        let predicted = "w1:30000 is 5.0 times slower than the others, as the policy predicts.";
        assert_eq!(english(&fleet(all.clone())), [predicted], "it gets no requests, for a reason");
        all[1].predicted_slowness = None;
        (all[1].first_bytes, all[1].ttft_p50) = (9, Some(0.004));
        assert_eq!(diagnose(&fleet(all)), [], "nobody notices milliseconds");
    }

    #[test]
    fn many_with_one_problem_are_one_problem() {
        let mut all: Vec<_> = (0..20).map(worker).collect();
        all.iter_mut().skip(1).for_each(|row| row.state = "unhealthy".to_owned());
        let found = diagnose(&fleet(all));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].count, found[0].workers.len()), (19, NAMED_WORKERS));
        assert_eq!(found[0].en, "w1:30000, w2:30000, w3:30000 and 16 more are down.");
    }

    #[test]
    fn fleet_without_workers_in_service() {
        assert_eq!(english(&Snapshot::default()), ["There is no worker: every request is refused."]);
        let mut one = worker(0);
        one.state = "pending".to_owned();
        one.since = Some(999.0);
        let mut now = fleet(vec![one]);
        assert_eq!(english(&now), ["None of the 1 workers is in service: requests are refused or wait."]);
        now.models.push(ModelRow { model: Some("m".to_owned()), ..ModelRow::default() });
        assert!(english(&now)[1].contains("of model m"));
    }

    #[test]
    fn queue_and_router_problems() {
        let mut now = fleet(vec![worker(0)]);
        now.queue.refusals =
            vec![Refusals { reason: "queue_full".to_owned(), per_sec: 2.5, count: 9 }, Refusals::default()];
        now.queue.waiting = vec![WaitingClass { class: "admission".to_owned(), model: None, requests: 12 }];
        now.queue.oldest_since = Some(995.0);
        now.scale = vec![PoolScale {
            saturation: Figure { value: Some(1.4), ..Figure::default() },
            workers_needed: Figure { value: Some(2.2), ..Figure::default() },
            ..PoolScale::default()
        }];
        (now.totals.retries_per_sec, now.totals.requests_per_sec) = (Some(1.0), Some(10.0));
        now.router.records_dropped_per_sec = Some(3.0);
        now.router.lag_secs = 0.5;
        now.router.discovery = Some(DiscoveryState { is_current: false, heard_at: Some(900.0) });
        assert_eq!(
            english(&now),
            [
                "Requests are refused: queue_full, 2.5 a second.",
                "12 requests wait in the router.",
                "The demand is 1.40 times what the workers can take: 3 are needed.",
                "1.0 requests a second take another attempt.",
                "The source of the workers cannot be reached; the fleet stays as it is.",
                "3 records a second are dropped: the recorder falls behind.",
                "The router is short of CPU: its clock came 0.5 s late.",
            ]
        );
        now.queue.oldest_since = Some(999.5);
        assert!(!english(&now).iter().any(|said| said.contains("wait")), "a moment is no problem");
    }

    #[test]
    fn every_problem_is_said_in_both_languages() {
        let mut bad = worker(0);
        bad.breaker = Some("open".to_owned());
        bad.failure_share = Some(0.5);
        bad.waiting_growth = Some(20);
        (bad.has_outdated_weights, bad.is_overloaded) = (true, true);
        let mut not_ready = worker(1);
        not_ready.state = "not_ready".to_owned();
        let mut pending = worker(2);
        (pending.state, pending.since) = ("pending".to_owned(), Some(900.0));
        let found = diagnose(&fleet(vec![bad, not_ready, pending]));
        assert_eq!(found.len(), 7);
        for problem in found {
            assert!(!problem.en.is_empty() && !problem.zh.is_empty(), "{problem:?}");
            assert!(!problem.zh.is_ascii(), "{problem:?}");
        }
    }
}

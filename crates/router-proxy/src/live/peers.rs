//! What workers are beside their peers: those of the same pool and kind.

use super::window::rounded;
use router_core::{CandidateScore, WorkerId};
use router_live::{FEWEST_RESPONSES, WorkerRow};

/// The term of a cost that says how long a request takes, in seconds.
const LATENCY: &str = "own_latency";
/// The term of a cost that says how many tokens of the prompt must be computed.
const UNCACHED: &str = "uncached_tokens";
/// The term that says how far the predictions of a worker were from its responses; 0 before it has responded.
pub(super) const ERROR: &str = "prediction_error";
/// By so much the tokens to compute may differ between workers whose predictions are compared.
const SAME_WORK: f64 = 0.05;

/// Sets the speed and the first bytes of each worker beside the median of its peers, where there are several.
pub(super) fn compare(rows: &mut [WorkerRow]) {
    // Of two in the middle the faster one says what is usual.
    let enough = |count: u32| count >= FEWEST_RESPONSES;
    let speeds = Medians::of(rows, Middle::Upper, |row| row.stream_speed.filter(|_| enough(row.responses)));
    let ttfts = Medians::of(rows, Middle::Lower, |row| row.ttft_p50.filter(|_| enough(row.first_bytes)));
    for row in rows {
        row.relative_speed = speeds.ratio(row, row.stream_speed);
        row.relative_ttft = ttfts.ratio(row, row.ttft_p50);
        row.is_slow = row.slowness().is_some();
    }
}

/// Which of two values in the middle.
#[derive(Clone, Copy)]
enum Middle {
    Lower,
    Upper,
}

/// The median of each kind of worker, of those that have responded often enough.
struct Medians([(&'static str, Option<f64>); 3]);

impl Medians {
    fn of(rows: &[WorkerRow], middle: Middle, value: impl Fn(&WorkerRow) -> Option<f64>) -> Self {
        Self(["regular", "prefill", "decode"].map(|kind| {
            let of_kind = rows.iter().filter(|row| row.kind == kind);
            let mut all: Vec<f64> = of_kind.filter_map(&value).collect();
            all.sort_by(f64::total_cmp);
            let at = match middle {
                Middle::Lower => all.len().saturating_sub(1) / 2,
                Middle::Upper => all.len() / 2,
            };
            (kind, (all.len() > 1).then(|| all[at]))
        }))
    }

    fn ratio(&self, row: &WorkerRow, own: Option<f64>) -> Option<f64> {
        let median = self.0.iter().find(|(kind, _)| *kind == row.kind)?.1?;
        own.filter(|_| median > 0.0).map(|own| rounded(own / median))
    }
}

/// How many times as long as the median one request was predicted to take on each worker. `None` where that says nothing of the
/// workers: not all `candidates` were compared, no time was predicted, one has not responded yet, or some hold more of the prompt
/// than others.
pub(super) fn predicted_ratios(scores: &[CandidateScore], candidates: u32) -> Option<Vec<(WorkerId, f64)>> {
    if scores.len() < 2 || scores.len() != candidates as usize {
        return None;
    }
    let term = |name| scores.iter().map(move |score| score.terms.get(name)).collect::<Option<Vec<f64>>>();
    let (times, work, errors) = (term(LATENCY)?, term(UNCACHED)?, term(ERROR)?);
    if errors.iter().any(|error| *error <= 0.0) {
        return None;
    }
    let (least, most) = work.iter().fold((f64::MAX, 0.0_f64), |(a, b), w| (a.min(*w), b.max(*w)));
    if most > least * (1.0 + SAME_WORK) {
        return None;
    }
    let mut sorted = times.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[(sorted.len() - 1) / 2];
    let is_time = median > 0.0 && times.iter().all(|time| time.is_finite());
    is_time.then(|| scores.iter().zip(times).map(|(score, time)| (score.worker, time / median)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use router_core::{Balancer, ScoreTerms, Time, WorkerInfo, policy::Random};

    fn row(kind: &str, speed: Option<f64>, ttft: Option<f64>) -> WorkerRow {
        let kind = kind.to_owned();
        let (responses, first_bytes) = (FEWEST_RESPONSES, FEWEST_RESPONSES);
        let row = WorkerRow { responses, first_bytes, ..WorkerRow::default() };
        WorkerRow { kind, stream_speed: speed, ttft_p50: ttft, ..row }
    }

    #[test]
    fn workers_stand_beside_their_peers() {
        let mut rows = [
            row("regular", Some(100.0), Some(0.1)),
            row("regular", Some(25.0), Some(0.4)),
            row("regular", Some(110.0), Some(0.1)),
            row("regular", None, None),
            row("decode", Some(10.0), Some(9.0)),
        ];
        compare(&mut rows);
        assert_eq!(
            rows.each_ref().map(|row| row.relative_speed),
            [Some(1.0), Some(0.25), Some(1.1), None, None]
        );
        assert_eq!(rows.map(|row| row.relative_ttft), [Some(1.0), Some(4.0), Some(1.0), None, None]);
        let mut two = [row("regular", Some(50.0), Some(0.4)), row("regular", Some(100.0), Some(0.2))];
        compare(&mut two);
        assert_eq!(two.each_ref().map(|row| row.relative_speed), [Some(0.5), Some(1.0)]);
        assert_eq!(two.map(|row| row.relative_ttft), [Some(2.0), Some(1.0)]);
    }

    #[test]
    fn predictions_are_compared_for_equal_work_alone() {
        let mut balancer = Balancer::new(Box::new(Random), 1);
        let mut scored = |time: f64, uncached: f64, error: f64| CandidateScore {
            worker: balancer.join(Time::ZERO, WorkerInfo::new("w")),
            cost: time,
            terms: ScoreTerms::new([(LATENCY, time), (UNCACHED, uncached), (ERROR, error)]),
        };
        let new = [scored(1.0, 100.0, 0.1), scored(0.2, 100.0, 0.0)];
        let mut score = |time, uncached| scored(time, uncached, 0.1);
        let all = [score(1.0, 100.0), score(4.0, 101.0), score(1.0, 100.0)];
        let ratios = |scores: &[CandidateScore], candidates| {
            let ratios = predicted_ratios(scores, candidates)?;
            Some(ratios.into_iter().map(|(_, ratio)| ratio).collect::<Vec<_>>())
        };
        assert_eq!(ratios(&all, 3), Some(vec![1.0, 4.0, 1.0]));
        assert_eq!(ratios(&all, 300), None, "the others may be as slow");
        assert_eq!(ratios(&all[..1], 1), None);
        assert_eq!(ratios(&new, 2), None, "nobody knows the other one yet");
        let cached = [score(1.0, 0.0), score(4.0, 100.0)];
        assert_eq!(ratios(&cached, 2), None, "the one holds the prompt");
    }
}
